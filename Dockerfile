# syntax=docker/dockerfile:1
# qoemon as an image; docs/containers.md says how to run it.

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY .ci ./.ci
COPY config ./config
COPY dashboards ./dashboards
COPY docs ./docs
COPY qoemon ./qoemon
# The environment is made where the second stage has it: its commands name their interpreter by path.
# It gets no pip: nothing is to be installed into an image that runs. `make lock` pins the versions, with those of the
# extras ui, the charts of the live page, and dashboards, with which `qoemon dashboards -c` makes Grafana boards.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/qoemon \
    && pip --python /opt/qoemon/bin/python install --require-hashes --requirement config/requirements.txt \
    && pip --python /opt/qoemon/bin/python install --no-deps /wheels/qoemon-*.whl
# A new named volume takes over owner and mode of the directory that it hides.
RUN install --directory --owner=65532 --group=65532 --mode=0700 /state

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="qoemon" \
      org.opencontainers.image.description="Live QoE monitoring: what share of your users would call the service good, and what share poor" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/qoemon /opt/qoemon
COPY --from=build --chown=65532:65532 /state /var/lib/qoemon
ENV PATH=/opt/qoemon/bin:$PATH
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 9877
# http.client, since urllib would ask a proxy for 127.0.0.1 if the environment names one.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "import http.client, sys; daemon = http.client.HTTPConnection('127.0.0.1', 9877, timeout=5); daemon.request('GET', '/healthz'); sys.exit(daemon.getresponse().status != 200)"]
ENTRYPOINT ["qoemon"]
CMD ["run", "-c", "/etc/qoemon/qoemon.yaml"]
