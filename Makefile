# Each target does its whole set-up: a virtual environment in .venv, made with $(PYTHON).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOR ?=
REPOSITORY ?=

.DEFAULT_GOAL := help
.PHONY: help demo demo-players demo-cluster test explore check audit format docs pictures dashboards lock release deb bench bench-cluster start feeds coverage regimes calibration feedback binning fuzz chaos chaos-cluster soak attack clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo  ## see it work: broker, simulated users, daemon (FOR=120s ends it by itself)
	@$(BIN)/qoemon demo $(if $(FOR),--for $(FOR))

demo-players: $(VENV)/demo  ## see real players stall and be rated: hls.js, dash.js, daemon; needs ffmpeg (FOR=120s ends it by itself)
	@$(BIN)/qoemon demo-players $(if $(FOR),--for $(FOR))

demo-cluster: $(VENV)/demo,spark  ## see it on a cluster: Kafka, bridge, Spark, simulated users; needs Java and Maven (FOR=120s ends it by itself)
	@$(BIN)/qoemon demo-cluster $(if $(FOR),--for $(FOR))

test: $(VENV)/dev  ## all tests (QOEMON_PATIENCE=3: each wait may take three times as long)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

explore: $(VENV)/dev  ## the tests of properties with a thousand new random examples each (30 minutes)
	$(BIN)/python -m pytest --hypothesis-profile=explore --numprocesses auto -m hypothesis

check: $(VENV)/dev  ## lint, types, who may import whom, the sample configuration, the audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/qoemon check -c config/qoemon.yaml
	$(BIN)/python .ci/audit.py

audit: $(VENV)/dev  ## ask the database of vulnerabilities about all dependencies
	@$(BIN)/python .ci/audit.py

format: $(VENV)/dev  ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## write the generated pages, draw the figures, build the site into site/
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: $(VENV)/dev  ## take the pictures of the documentation, of running demos (5 minutes; needs ffmpeg)
	$(BIN)/python -m docs.pictures

bench: $(VENV)/dev  ## measure CPU, memory and latency beside rivals; writes docs/performance.md (25 minutes; QUICK=1: 10)
	$(BIN)/python -m benchmarks

bench-cluster: $(VENV)/dev  ## measure the costs of a cluster; `make docs` then writes the sizes in docs/sizing.md (10 minutes)
	$(BIN)/python -m benchmarks cluster

dashboards: $(VENV)/dev  ## write the Grafana boards
	$(BIN)/python -m dashboards.generate

LOCK = $(BIN)/uv pip compile pyproject.toml --extra dashboards --extra ui --universal --python-version 3.11 --generate-hashes \
	  --upgrade --no-annotate --quiet --custom-compile-command "make lock"

lock: $(VENV)/dev  ## pin the newest versions of all dependencies, with hashes, for images, package and unit
	$(LOCK) --output-file config/requirements.txt
	$(LOCK) --extra spark --constraint config/requirements.txt --output-file config/cluster/requirements.txt

release: $(VENV)/dev  ## build wheel, sdist, Helm chart and SBOM, check them, write the notes, into dist/ (REPOSITORY=URL: for a package index)
	@QOEMON_REPOSITORY=$(REPOSITORY) $(BIN)/python .ci/release.py

deb: $(VENV)/demo  ## build a Debian package for the release of Debian or Ubuntu that this is, into dist/
	@$(BIN)/python .ci/deb.py

start: $(VENV)/dev  ## measure what the start of the commands costs beside `import numpy` (1 minute)
	$(BIN)/python -m benchmarks.start

feeds: $(VENV)/dev  ## replay feeds as the field has them, and compare every figure with the truth (2 minutes)
	$(BIN)/python -m tests.support.feeds

coverage: $(VENV)/dev  ## measure how often the confidence intervals contain the truth (6 minutes)
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.session_coverage

regimes: $(VENV)/dev  ## measure false alarms and delays: changes, rules over many groups, missing sessions (13 minutes)
	$(BIN)/python -m benchmarks.regimes
	$(BIN)/python -m benchmarks.many_groups
	$(BIN)/python -m benchmarks.absence

calibration: $(VENV)/dev  ## measure what `qoemon theta`, `fit` and `validate` claim: coverage, bias, errors (4 minutes)
	$(BIN)/python -m benchmarks.calibration

feedback: $(VENV)/dev  ## measure what the comparison of ratings with predictions claims: alarms, coverage, fit, scores (5 minutes)
	$(BIN)/python -m benchmarks.feedback

binning: $(VENV)/dev  ## measure what judging by coarser bins would cost
	$(BIN)/python -m benchmarks.binning

fuzz: $(VENV)/dev  ## five million wrong messages against codec, topics and core (20 minutes)
	$(BIN)/python -m benchmarks.fuzz
	$(BIN)/python -m benchmarks.guided

soak: $(VENV)/dev  ## a daemon under load for long; fails where it grows or stumbles (FOR=20m)
	$(BIN)/python -m benchmarks.soak $(if $(FOR),--for $(FOR))

attack: $(VENV)/dev  ## 100,000 invented label sets and 5 million session ids (2 minutes)
	$(BIN)/python -m benchmarks.attack

chaos: $(VENV)/dev  ## kill daemon, workers and broker again and again under load, and compare every figure (9 minutes)
	QOEMON_CHAOS_ROUNDS=20 QOEMON_CHAOS_PAUSE_S=30 $(BIN)/python -m pytest tests/system/test_kill.py tests/system/test_workers.py --verbose -rP

chaos-cluster: $(VENV)/dev  ## kill executors, driver and nodes of Kafka again and again; writes docs/cluster-operation.md (20 minutes; needs Java and Maven)
	$(BIN)/python -m tests.support.chaos

clean:  ## remove what the other targets made
	rm -rf $(VENV) .venv-rivals build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian and Ubuntu ship python3 without the parts that make virtual environments.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "qoemon needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	       "name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv; \
	  else \
	    echo "$(PYTHON) cannot make virtual environments here:" \
	         "sudo apt-get install python3-venv, then make again" >&2; exit 1; \
	  fi; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo $(VENV)/demo,spark $(VENV)/dev: $(VENV)/%: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
