"""The writer of Prometheus' text format against prometheus-client, and against a twin that loops over groups."""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import msgspec
import numpy as np
import prometheus_client
import pytest
from prometheus_client.registry import Collector

from qoemon.common import duration
from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from qoemon.daemon.metrics import initial_metrics
from qoemon.net.http.body import PIECE, Body, CompressionDemand
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.alerts import detection_families
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.metrics.qoe import qoe_families
from qoemon.outputs.metrics.text_format import Column, Family, LabelTexts, number_texts, text_format
from qoemon.outputs.routes import _accepts_gzip, application
from qoemon.outputs.snapshot_json import AT_ONCE, snapshot_document, snapshot_json
from tests.support.core import OneShard
from tests.support.http import serve_app
from tests.support.parts import parsed, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

T0 = 1_700_000_100
HOSTILE = [
    'quote"s',
    r"back\slash",
    r"back\n",
    "line\nend",
    "ends\\",
    "größer 東京 \N{GRINNING FACE}",
    "",
    "{a='b'},",
]
PLAN = Plan(
    services=(Service("video", VIDEO_STALL, 0.3, theta_band=(0.1, 0.3)), Service("web", WEB_IQX, 0.25)),
    topics=(TopicTemplate("qoe/v1/{service}/{region}"),),
    labels=("region", "cdn"),
    timing=Timing(windows_s=(60, 180)),
)
RULE = Rule('odd "name"', "video", AlertMetric.POW, 60, 0.2, 0.1, {}, min_sessions=1)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def random_tick(seed: int, minutes: int = 7) -> tuple[Snapshot, Detections]:
    """More groups than one piece of JSON holds; some stall, some leave, some never play."""
    rng = np.random.default_rng(seed)
    monitor, watch = OneShard(PLAN), Detector(PLAN, (RULE,), RegimeRules(min_sessions=1))
    groups = [(value, f"cdn-{n}") for value in HOSTILE for n in range(2 * AT_ONCE // len(HOSTILE))]
    for minute in range(minutes):
        now_s = T0 + 60 * minute
        for service in ("video", "web"):
            routes = [Route(service, group) for group in groups]
            route = rng.integers(0, len(groups) // (1 + minute % 2), 300).tolist()
            reports = [_report(rng, service, minute, number) for number in range(300)]
            monitor.apply(batch_of(reports, route, [now_s + 5.0] * 300, routes)[0], now_s + 5)
        snapshot = monitor.snapshot(now_s + 60)
        watched = watch.observe(snapshot)
    return snapshot, watched


def _report(rng: np.random.Generator, service: str, minute: int, number: int) -> Report:
    if service == "web":
        return Report(f"w{number}-{minute}", response_s=float(rng.gamma(1, 2)))
    stalls = int(rng.poisson(0.5))
    play_s = float(rng.choice([0.0, 3.0, 55.0]))
    stalled = bool(rng.random() < 0.1)
    return Report(f"v{number}-{minute}", stall_count=stalls, stall_s=2.5 * stalls, play_s=play_s, stalled=stalled)


@pytest.fixture(scope="module", params=[1, 2])
def tick(request: pytest.FixtureRequest) -> tuple[Snapshot, Detections]:
    return random_tick(request.param)


def by_group(snapshot: Snapshot, watched: Detections) -> list[Family]:
    families = (*qoe_families(snapshot), *detection_families(snapshot, watched))
    return [family for family in families if isinstance(family, Family)]


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def test_text_is_equivalent_to_that_of_prometheus_client(tick: tuple[Snapshot, Detections]) -> None:
    families: Any = by_group(*tick)
    ours = b"".join(text_format(families)).decode()
    theirs = prometheus_client.generate_latest(_Families(families)).decode()
    assert len(parsed(ours)) > 10_000
    assert parsed(ours) == parsed(theirs)
    assert [line for line in ours.splitlines() if line.startswith("#")] == (
        [line for line in theirs.splitlines() if line.startswith("#")]
    )
    assert ours.count("\n") == theirs.count("\n")


def test_text_has_the_values_of_the_snapshot(tick: tuple[Snapshot, Detections]) -> None:
    snapshot, watched = tick
    ours = parsed(b"".join(text_format(by_group(snapshot, watched))).decode())
    names = {name for name, _ in ours}
    expected = dict(twin(snapshot, watched))
    histograms = {name for name in names if name.endswith(("_bucket", "_count", "_sum"))}
    assert {key: value for key, value in ours.items() if key[0] not in histograms} == expected
    assert len(histograms) == 9


def twin(
    snapshot: Snapshot, watched: Detections
) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    """Every sample with the label of a service, except histograms, one by one."""

    def sample(name: str, value: Any, **labels: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], float]:
        return (f"qoemon_{name}", tuple(sorted(labels.items()))), float(value)

    for service in snapshot.services:
        whole = watched.presence[service.service.name].whole
        yield sample("service_silence_seconds", whole.silence_s[0], service=service.service.name)
        yield sample("service_usual_sessions", whole.usual[0], service=service.service.name)
        for group, values in enumerate(service.counts.groups):
            of = {"service": service.service.name, **dict(zip(snapshot.labels, values, strict=True))}
            for name, value, more in _of_group(service, group, snapshot):
                yield sample(name, value, **of, **more)
            regimes = watched.regimes.get(service.service.name)
            if regimes is None or group >= len(regimes.regime):
                continue
            if regimes.known[group] and service.visible[group]:
                yield sample("pow_regime", regimes.regime[group], **of)
            if not np.isnan(regimes.changed_s[group]):
                yield sample("pow_regime_change_timestamp_seconds", regimes.changed_s[group], **of)
            for direction, count in zip(("up", "down"), regimes.changes[group], strict=True):
                yield sample("pow_regime_changes_total", count, **of, direction=direction)
    for alert in watched.alerts:
        of = {"service": "video", **dict(zip(snapshot.labels, alert.group, strict=True))}
        yield sample("alert_state", alert.decision.state, **of, alert=alert.rule.name, severity="warning")
        if alert.sample and alert.rule.bounded:
            yield sample("alert_bound", alert.sample.confident_value, **of, alert=alert.rule.name)


def _of_group(
    service: ServiceSnapshot, group: int, snapshot: Snapshot
) -> Iterator[tuple[str, Any, dict[str, str]]]:
    counts = service.counts
    for rating, value in zip("12345", (not counts.new[group]) * counts.expected_ratings[group], strict=True):
        yield "expected_ratings_total", value, {"rating": rating}
    if service.visible[group]:
        yield "active_sessions", counts.active_sessions[group], {}
        yield "open_stalls", counts.open_stalls[group], {}
        yield "open_stall_oldest_seconds", counts.oldest_stall_s[group], {}
        if counts.qos[group].any():
            for factor, value in zip(service.factors, service.contributions[group], strict=True):
                yield "pow_contribution", value, {"factor": factor}
    yield from _of_windows(service, group, snapshot)


def _of_windows(
    service: ServiceSnapshot, group: int, snapshot: Snapshot
) -> Iterator[tuple[str, Any, dict[str, str]]]:
    for length, rated in service.distributions.items():
        if not rated.observations[group]:
            continue
        window = {"window": duration.text(length)}
        yield "window_users", service.counts.users[length][group], window
        plain = {"mos": "mos", "sos": "sos", "gob": "gob_ratio", "pow": "pow_ratio", "observations": "observations"}
        for name, metric in plain.items():
            yield metric, getattr(rated, name)[group], window
        for rating, value in zip("12345", rated.ratings[group], strict=True):
            yield "rating_ratio", value, window | {"rating": rating}
        for q, value in zip(snapshot.quantiles, rated.quantiles[group], strict=True):
            yield "opinion_quantile", value, window | {"quantile": f"{q:g}"}
        for name in ("mos", "gob", "pow"):
            metric = "mos_bound" if name == "mos" else f"{name}_ratio_bound"
            for end, value in zip(("lower", "upper"), getattr(rated, f"{name}_bounds")[group], strict=True):
                yield metric, value, window | {"bound": end}
        for name in ("gob", "pow"):
            thetas = service.service.theta_band
            for theta, value in zip(thetas, getattr(rated, f"band_{name}")[group], strict=True):
                yield f"{name}_ratio_theta", value, window | {"theta": f"{theta:g}"}


@pytest.mark.prometheus
def test_promtool_accepts_the_metrics(tick: tuple[Snapshot, Detections]) -> None:
    check = [program("promtool", "Debian package prometheus"), "check", "metrics"]
    text = b"".join(text_format(by_group(*tick)))
    result = subprocess.run(check, input=text, capture_output=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")


def test_special_and_extreme_numbers_are_exact() -> None:
    odd = [0.0, -0.0, 0.1, 1e22, 5e-324, 1.7976931348623157e308, 123456789.123, float("inf"), -float("inf")]
    rows = LabelTexts().rows(("g",), [(str(n),) for n in range(len(odd) + 1)])
    family = Family("x", 'odd \\ "help"\nof two lines', "gauge", ("g",))
    family.add(rows, np.array([*odd, np.nan]))
    found = parsed(b"".join(text_format([family])).decode())
    for number, value in enumerate(odd):
        assert found["x", (("g", str(number)),)] == value
    assert np.isnan(found["x", (("g", str(len(odd))),)])
    assert number_texts(np.array([[2**62, -1]])) == [b"4611686018427387904", b"-1"]


def test_a_family_without_samples_has_help_and_type() -> None:
    family = Family("x", "help", "counter", ("g",))
    family.add(LabelTexts().rows(("g",), []), np.zeros((0, 2)), (Column("a"), Column("b")))
    assert b"".join(text_format([family])) == b"# HELP x_total help\n# TYPE x_total counter\n"


def test_json_in_pieces_equals_the_document_encoded_at_once(tick: tuple[Snapshot, Detections]) -> None:
    in_pieces = b"".join(snapshot_json(*tick))
    assert in_pieces == msgspec.json.encode(snapshot_document(*tick))
    assert all(len(service["groups"]) > AT_ONCE for service in json.loads(in_pieces)["services"])


def test_compressed_body_is_the_same_and_prepared_after_the_first_request() -> None:
    pieces, demand = [b"", b"a" * PIECE, b"b", b"c" * 3], CompressionDemand()
    first = Body(pieces, demand)
    assert first.whole == b"".join(pieces)
    assert first.ready is None
    first.want()
    assert gzip.decompress(b"".join(first.packed())) == first.whole
    assert first.packed() is first.packed()
    second = Body(pieces, demand)
    assert second.ready is not None
    assert gzip.decompress(b"".join(second.ready)) == second.whole


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("identity", False),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0, identity", False),
        ("gzip; q=0.0", False),
        ("br,zstd", False),
        ("x-gzip", True),
    ],
)
def test_gzip_is_sent_only_to_clients_that_accept_it(accepted: str, takes: bool) -> None:
    assert _accepts_gzip(accepted) is takes


async def test_a_scrape_gets_the_same_content_compressed_or_not_with_its_length() -> None:
    snapshot, watched = random_tick(3, minutes=2)
    latest, published = Latest(), Exporter().render(snapshot, watched, initial_metrics())
    await latest.put(published)
    assert len(published.metrics.pieces) > 1
    app = application(latest, list, list)
    serving, port = await serve_app(app, "127.0.0.1", 0)
    try:
        for path, whole in (("/metrics", published.metrics.whole), ("/api/v1/snapshot", published.json.whole)):
            plain, packed, head = [
                await _ask(port, method, path, coding)
                for method, coding in (("GET", "identity"), ("GET", "gzip"), ("HEAD", "identity"))
            ]
            assert (plain.content, plain.coding, plain.length) == (whole, None, len(whole))
            assert (gzip.decompress(packed.content), packed.coding) == (whole, "gzip")
            assert packed.length == len(packed.content) < len(whole) / 3
            assert (head.content, head.length) == (b"", len(whole))
    finally:
        await serving.cleanup()


class Asked(NamedTuple):
    content: bytes
    coding: str | None
    length: int


async def _ask(port: int, method: str, path: str, coding: str) -> Asked:
    url, headers = f"http://127.0.0.1:{port}{path}", {"Accept-Encoding": coding}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.request(method, url, headers=headers) as answer,
    ):
        assert answer.headers["Vary"] == "Accept-Encoding"
        content = await answer.read()
        return Asked(content, answer.headers.get("Content-Encoding"), int(answer.headers["Content-Length"]))
