"""What Prometheus and the API get: the contract with dashboards and rules, from payload bytes to exposition."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.counts import Event
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.escape import escape_label
from qoemon.daemon.metrics import initial_metrics
from qoemon.inputs.inbox import Message
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.published import PublishedTick
from tests.support.core import OneShard
from tests.support.parts import parsed, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client import Metric

    from qoemon.core.wire.report import Reject

T0 = 1_700_000_100
"""Seconds since the epoch, where a rating interval begins."""
SETTINGS = {
    "sessions": {"tick": "10s", "rating_interval": "60s", "timeout": "60s"},
    "windows": ["1m", "3m"],
    "labels": ["isp"],
}

GROUP = ("service", "region", "cdn", "isp")
CONTRACT = {
    "qoemon_mos": ("gauge", (*GROUP, "window")),
    "qoemon_sos": ("gauge", (*GROUP, "window")),
    "qoemon_gob_ratio": ("gauge", (*GROUP, "window")),
    "qoemon_pow_ratio": ("gauge", (*GROUP, "window")),
    "qoemon_gob_ratio_theta": ("gauge", (*GROUP, "window", "theta")),
    "qoemon_pow_ratio_theta": ("gauge", (*GROUP, "window", "theta")),
    "qoemon_rating_ratio": ("gauge", (*GROUP, "window", "rating")),
    "qoemon_opinion_quantile": ("summary", (*GROUP, "window", "quantile")),
    "qoemon_observations": ("gauge", (*GROUP, "window")),
    "qoemon_active_sessions": ("gauge", GROUP),
    "qoemon_open_stalls": ("gauge", GROUP),
    "qoemon_open_stall_oldest_seconds": ("gauge", GROUP),
    "qoemon_service_silence_seconds": ("gauge", ("service",)),
    "qoemon_service_usual_sessions": ("gauge", ("service",)),
    "qoemon_expected_ratings": ("counter", (*GROUP, "rating")),
    "qoemon_stall_count": ("histogram", GROUP),
    "qoemon_stall_seconds": ("histogram", GROUP),
    "qoemon_response_seconds": ("histogram", GROUP),
    "qoemon_reports": ("counter", ()),
    "qoemon_reports_duplicate": ("counter", ()),
    "qoemon_reports_rejected": ("counter", ("reason",)),
    "qoemon_messages": ("counter", ()),
    "qoemon_mqtt_connected": ("gauge", ()),
    "qoemon_mqtt_subscribed": ("gauge", ()),
    "qoemon_last_message_age_seconds": ("gauge", ()),
    "qoemon_inbox_messages": ("gauge", ()),
    "qoemon_inbox_bytes": ("gauge", ()),
    "qoemon_tick_seconds": ("histogram", ()),
    "qoemon_tick_lag_seconds": ("gauge", ()),
}
"""Of docs/metrics.md, what dashboards and rules build on; counters without _total, as the parser names them."""


class Line:
    """The daemon without its sockets: payloads in, what is served out."""

    def __init__(self, **more: Any) -> None:
        plan = core_plan(Config.model_validate(SETTINGS | more))
        self._codec, self._monitor, self._exporter = Codec(plan), OneShard(plan), Exporter()
        self._watch = Detector(plan, (), RegimeRules())

    def say(self, topic: str, reports: list[dict[str, Any]], at_s: float) -> None:
        assert not self._say(topic, reports, at_s)

    def say_with_rubbish(self, topic: str, reports: list[dict[str, Any]], at_s: float) -> None:
        assert self._say(topic, reports, at_s)

    def _say(self, topic: str, reports: list[dict[str, Any]], at_s: float) -> Mapping[Reject, str]:
        """Why they were not taken, if so. As in the daemon, whatever is left of the message counts."""
        decoded = self._codec.decode([Message(topic, json.dumps(reports).encode(), at_s, 1, 1, 1)])
        if len(decoded.batch):
            self._monitor.apply(decoded.batch, at_s)
        return decoded.sample

    def tick(self, at_s: float) -> PublishedTick:
        snapshot = self._monitor.snapshot(at_s)
        published = self._exporter.render(snapshot, self._watch.observe(snapshot), initial_metrics())
        self._exporter.observe_tick(0.1)
        return published


def reader(session: str, times_s: list[float]) -> dict[str, Any]:
    return {"session": session, "response_s": times_s, "labels": {"isp": "x"}}


def viewer(session: str, **more: Any) -> dict[str, Any]:
    return {"session": session, "stall_count": 1, "stall_s": 3.0, "play_s": 50.0, "labels": {"isp": "x"}} | more


@pytest.fixture
def busy() -> Line:
    return busy_line()


def busy_line() -> Line:
    """Viewers of two groups, one of them stalling, and page loads, in the rating interval from T0."""
    line = Line()
    line.say("qoe/v1/video/eu/a", [viewer(f"a{n}", stall_s=n / 2 + 0.1) for n in range(20)], T0 + 5)
    line.say("qoe/v1/video/us/b", [viewer(f"b{n}") for n in range(20)], T0 + 6)
    line.say("qoe/v1/web/eu/a", [reader(f"c{n}", [0.3 * n, 2.5]) for n in range(20)], T0 + 7)
    line.say("qoe/v1/video/us/b", [viewer("b0", stalled=True, stall_count=2, stall_s=3.5)], T0 + 8)
    return line


@pytest.fixture(scope="module")
def busy_tick() -> PublishedTick:
    return busy_line().tick(T0 + 60)


def families(published: PublishedTick) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(published.metrics.whole.decode())}


def names(published: PublishedTick) -> set[str]:
    return {name for name, _ in parsed(published.metrics.whole.decode())}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_metric_of_the_contract_is_exported_with_its_type_and_labels(
    busy_tick: PublishedTick, name: str
) -> None:
    kind, labels = CONTRACT[name]
    family = families(busy_tick)[name]
    assert family.type == kind
    assert family.documentation
    assert family.samples
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == set(labels)


def test_counters_end_in_total_and_nothing_else_does(busy: Line) -> None:
    for family in families(busy.tick(T0 + 60)).values():
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_rating_labels_are_those_of_the_scale_and_shares_add_up(busy: Line) -> None:
    by_group: dict[Any, dict[str, float]] = defaultdict(dict)
    for sample in families(busy.tick(T0 + 60))["qoemon_rating_ratio"].samples:
        labels = dict(sample.labels)
        rating = labels.pop("rating")
        by_group[tuple(labels.items())][rating] = sample.value
    assert len(by_group) == 6  # three groups, two windows
    for shares in by_group.values():
        assert list(shares) == ["1", "2", "3", "4", "5"]
        assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["qoemon_stall_count", "qoemon_stall_seconds", "qoemon_response_seconds"])
def test_histogram_buckets_are_cumulative_and_end_in_the_count(busy: Line, name: str) -> None:
    busy.tick(T0 + 60)
    found = parsed(busy.tick(T0 + 130).metrics.whole.decode())
    buckets: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for (sample, labels), value in found.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            buckets[tuple(pair for pair in labels if pair[0] != "le")].append((bound, value))
    assert buckets
    for labels, of_group in buckets.items():
        assert of_group == sorted(of_group)
        assert all(low <= high for (_, low), (_, high) in pairwise(of_group))
        assert of_group[-1] == (float("inf"), found[f"{name}_count", labels])
        assert (found[f"{name}_sum", labels] > 0) == (found[f"{name}_count", labels] > 0)


def test_response_buckets_hold_exactly_the_responses_up_to_their_bound(busy: Line) -> None:
    busy.tick(T0 + 60)
    found = parsed(busy.tick(T0 + 130).metrics.whole.decode())
    group = {"service": "web", "region": "eu", "cdn": "a", "isp": "x"}
    times_s = [time_s for number in range(20) for time_s in (0.3 * number, 2.5)]
    for bound in ("0.1", "1", "10", "100"):
        labels = tuple(sorted({**group, "le": bound}.items()))
        assert found["qoemon_response_seconds_bucket", labels] == sum(t <= float(bound) for t in times_s)


def test_an_empty_daemon_exports_no_score_and_no_group(busy: Line) -> None:
    silent = names(Line().tick(T0 + 60))
    with_users = names(busy.tick(T0 + 60))
    of_groups = {name for name, (_, labels) in CONTRACT.items() if "service" in labels}
    assert not {name for name in silent if name.removesuffix("_total") in of_groups}
    assert {"qoemon_mos", "qoemon_gob_ratio", "qoemon_expected_ratings_total"} <= with_users - silent
    assert "qoemon_reports_total" in silent


def test_a_window_without_observations_has_no_sample_while_another_has(busy: Line) -> None:
    busy.tick(T0 + 60)
    later = busy.tick(T0 + 130)
    windows = {
        dict(labels)["window"] for name, labels in parsed(later.metrics.whole.decode()) if name == "qoemon_mos"
    }
    assert windows == {"3m"}
    (video, web) = json.loads(later.json.whole)["services"]
    assert {tuple(group["windows"]) for group in (*video["groups"], *web["groups"])} == {("3m",)}


def test_a_group_that_was_empty_for_the_longest_window_leaves_but_its_counters_stay(busy: Line) -> None:
    last = {}
    for at_s in range(T0 + 60, T0 + 60 + 181, 60):
        last = parsed(busy.tick(at_s).metrics.whole.decode())
    left = {name for name, labels in last if dict(labels).get("region")}
    histograms = {f"qoemon_{name}{end}" for name in HISTOGRAMS for end in ("_bucket", "_count", "_sum")}
    assert left == {"qoemon_expected_ratings_total", "qoemon_pow_regime_changes_total", *histograms}
    assert sum(value for (name, _), value in last.items() if name == "qoemon_expected_ratings_total") == (
        # The viewers have watched for 50 s at T0 + 5: most of it in the interval before.
        pytest.approx(2 * (20 + 20) + 40)
    )


def test_counters_of_a_group_that_was_silent_for_long_leave_and_begin_again_at_0() -> None:
    line = Line(limits={"group_idle": "10m"})

    def counters(tick: PublishedTick) -> dict[str, float]:
        found = parsed(tick.metrics.whole.decode()).items()
        return {
            name: value for (name, labels), value in found if dict(labels).get("region") and "bucket" not in name
        }

    line.say("qoe/v1/web/eu/a", [reader("s", [0.5, 2.0])], T0)
    for at_s in range(T0 + 60, T0 + 1020, 60):  # of the session, group_idle, the longest window, two intervals
        last = counters(line.tick(at_s))
        assert "qoemon_response_seconds_count" in last, at_s - T0
    assert last["qoemon_response_seconds_count"] == 2
    ended = line.tick(T0 + 1020)
    assert not counters(ended)
    assert parsed(ended.metrics.whole.decode())["qoemon_groups", ()] == 0
    line.say("qoe/v1/web/us/a", [reader("t", [0.5])], T0 + 1145)
    line.say("qoe/v1/web/eu/a", [reader("s", [0.5])], T0 + 1146)
    for at_s in range(T0 + 1150, T0 + 1220, 10):
        published = line.tick(at_s)
        assert counters(published)["qoemon_response_seconds_count"] == 0
    assert counters(line.tick(T0 + 1220))["qoemon_response_seconds_count"] == 1
    groups = json.loads(published.json.whole)["services"][1]["groups"]
    assert [group["labels"]["region"] for group in groups] == ["eu", "us"]


HISTOGRAMS = ("stall_count", "stall_seconds", "response_seconds")


def test_counters_and_histograms_never_fall_from_tick_to_tick(busy: Line) -> None:
    ticks = []
    for number, at_s in enumerate(range(T0 + 10, T0 + 400, 10)):
        more = {"stall_count": number, "stall_s": number / 3, "play_s": number + 1.0}
        busy.say("qoe/v1/video/eu/a", [viewer(f"late{number}", **more)], at_s + 1)
        ticks.append(families(busy.tick(at_s + 10)))
    for before, after in pairwise(ticks):
        for family in before.values():
            if family.type in {"counter", "histogram"} and family.name.startswith("qoemon_"):
                now = {(s.name, tuple(s.labels.items())): s.value for s in after[family.name].samples}
                for sample in family.samples:
                    assert now[sample.name, tuple(sample.labels.items())] >= sample.value, sample


ODD = [
    'quote"s',
    r"back\slash",
    r"back\n, not a line end",
    "line\nend",
    "ends in a backslash\\",
    "größer 東京 \N{GRINNING FACE}",
    "\x1b[31mred\x1b[0m",
    "<script>alert(1)</script>",
    "{a='b'},",
    "",
    " ",
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_label_values_survive_exposition_and_json_as_what_is_visible_of_them(odd: str) -> None:
    line = Line()
    line.say("qoe/v1/video/eu/a", [viewer("s", labels={"isp": odd})], T0)
    in_topic = odd.replace("/", "|")
    line.say(f"qoe/v1/video/{in_topic}/a", [viewer("t", labels={"isp": "x"})], T0)
    published = line.tick(T0 + 60)
    told = [
        dict(labels)
        for name, labels in parsed(published.metrics.whole.decode())
        if name == "qoemon_active_sessions"
    ]
    assert {label["isp"] for label in told} == {escape_label(odd), "x"}
    assert {label["region"] for label in told} == {"eu", escape_label(in_topic)}
    groups = json.loads(published.json.whole)["services"][0]["groups"]
    assert {group["labels"]["isp"] for group in groups} == {escape_label(odd), "x"}


def test_snapshot_json_says_the_same_as_the_metrics(busy: Line) -> None:
    busy.tick(T0 + 60)
    busy.say("qoe/v1/video/eu/a", [viewer("new")], T0 + 125)
    busy.say("qoe/v1/video/asia/a", [viewer("newer")], T0 + 110)
    published = busy.tick(T0 + 130)
    found, told = parsed(published.metrics.whole.decode()), json.loads(published.json.whole)

    def metric(name: str, **labels: str) -> float:
        return found[f"qoemon_{name}", tuple(sorted(labels.items()))]

    assert metric("snapshot_timestamp_seconds") == told["time_s"] == T0 + 130
    assert metric("sessions") == told["sessions"]
    seen = 0
    for service in told["services"]:
        for group in service["groups"]:
            of = {"service": service["service"], **group["labels"]}
            assert metric("active_sessions", **of) == group["active_sessions"]
            assert metric("open_stalls", **of) == group["open_stalls"]
            assert metric("open_stall_oldest_seconds", **of) == group["open_stall_oldest_s"]
            for rating, expected in group["expected_ratings"].items():
                assert metric("expected_ratings_total", **of, rating=rating) == expected
            for window, judged in group["windows"].items():
                there = {**of, "window": window}
                for name in ("mos", "sos", "observations"):
                    assert metric(name, **there) == judged[name]
                for name in ("gob", "pow"):
                    assert metric(f"{name}_ratio", **there) == judged[name]
                for rating, share in judged["ratings"].items():
                    assert metric("rating_ratio", **there, rating=rating) == share
                for quantile, opinion in judged["opinion_quantiles"].items():
                    assert metric("opinion_quantile", **there, quantile=quantile) == opinion
                for theta, shares in judged["theta_band"].items():
                    assert metric("gob_ratio_theta", **there, theta=theta) == shares["gob"]
                    assert metric("pow_ratio_theta", **there, theta=theta) == shares["pow"]
                seen += 1
    assert seen == sum(name == "qoemon_mos" for name, _ in found) == 6


users_or_none = pytest.mark.parametrize("users", [True, False], ids=["busy", "empty"])


@users_or_none
def test_snapshot_json_tells_every_event_that_the_metrics_tell(busy: Line, users: bool) -> None:
    published = (busy if users else Line()).tick(T0 + 60)
    found, events = parsed(published.metrics.whole.decode()), json.loads(published.json.whole)["events"]
    assert events.pop(Event.UNKNOWN_MS) == 1000 * found["qoemon_cmcd_unknown_seconds_total", ()]
    assert events == {str(event): found[sample_of(event)] for event in Event if event is not Event.UNKNOWN_MS}


def sample_of(event: Event) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Name and labels of the counter of an event."""
    name, _, reason = event.partition("_implausible_")
    return (f"qoemon_{name}_implausible_total", (("reason", reason),)) if reason else (f"qoemon_{event}_total", ())


@pytest.mark.prometheus
@users_or_none
def test_promtool_finds_nothing_to_say_about_the_metrics(busy: Line, users: bool) -> None:
    line = busy if users else Line()
    check = [program("promtool", "Debian package prometheus"), "check", "metrics"]
    said = subprocess.run(check, input=line.tick(T0 + 60).metrics.whole, capture_output=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, b"")


def test_a_group_is_known_by_the_labels_of_the_report_not_by_those_of_its_topic_alone() -> None:
    line = Line()
    line.say("qoe/v1/video/eu/a", [viewer("s", labels={"isp": "x"})], T0)
    found = parsed(line.tick(T0 + 60).metrics.whole.decode())
    assert found["qoemon_groups", ()] == 1
    assert {dict(labels)["isp"] for name, labels in found if name == "qoemon_expected_ratings_total"} == {"x"}


def test_rejected_reports_make_no_group() -> None:
    """Else anyone who sends rubbish to many topics fills limits.groups, and users end up in `other`."""
    line = Line()
    bad, good = {"session": "s", "play_s": -1, "labels": {"isp": "rubbish"}}, viewer("t", labels={"isp": "x"})
    line.say_with_rubbish("qoe/v1/video/eu/a", [bad, good], T0)
    found = parsed(line.tick(T0 + 60).metrics.whole.decode())
    assert "rubbish" not in {dict(labels).get("isp") for _, labels in found}


def test_a_published_tick_stays_as_it_was(busy: Line) -> None:
    """Readers hold on to a tick for as long as they like."""
    published = busy.tick(T0 + 60)
    before = repr(summary(published))
    for at_s in range(T0 + 70, T0 + 200, 10):
        busy.say("qoe/v1/video/eu/a", [viewer(f"s{at_s}")], at_s - 1)
        busy.tick(at_s)
    assert repr(summary(published)) == before  # NaN, which is not equal to itself, is the same as before


def summary(published: PublishedTick) -> Sequence[object]:
    return [
        (service.counts.expected_ratings.tolist(), [d.mos.tolist() for d in service.distributions.values()])
        for service in published.snapshot.services
    ]


def test_silence_of_a_service_is_exported_while_it_is_watched(busy: Line) -> None:
    """The reports are of the minute before the first tick."""
    ticks = [busy.tick(T0 + 60 + 10 * number) for number in range(13)]
    samples = [parsed(tick.metrics.whole.decode()) for tick in ticks]
    for service in ("video", "web"):
        silence = [each["qoemon_service_silence_seconds", (("service", service),)] for each in samples]
        assert silence == [10 * number for number in range(13)]
    assert not any(name == "qoemon_silence_seconds" for each in samples for name, _ in each)


MEDIA = {
    "film": {"mapping": "media-stall", "quality": "linear", "inputs": ["q"], "theta": 0.2},
    "video": {"mapping": "video-stall", "theta": 0.3},
}


def test_quality_and_sessions_without_measures_are_exported_of_services_that_rate_quality() -> None:
    line = Line(services=MEDIA, alerts=[])
    told = [viewer(f"a{n}", measures={"q": 2 + n}) for n in range(3)]
    line.say("qoe/v1/film/eu/a", [*told, viewer("b"), viewer("c")], T0 + 5)
    line.say("qoe/v1/video/eu/a", [viewer("d")], T0 + 5)
    found = families(line.tick(T0 + 60))
    (quality,), (without,) = (
        found[name].samples for name in ("qoemon_media_quality_mos", "qoemon_sessions_without_measures")
    )
    assert quality.labels == without.labels == {"service": "film", "region": "eu", "cdn": "a", "isp": "x"}
    assert (quality.value, without.value) == (3, 2)
    factors = [sample for sample in found["qoemon_pow_contribution"].samples if sample.labels["service"] == "film"]
    assert {sample.labels["factor"] for sample in factors} == {"media_quality", "stall_count", "stall_time"}


def test_a_report_with_some_of_the_measures_is_rejected() -> None:
    line = Line(services={"film": MEDIA["film"] | {"inputs": ["audio", "video"]}}, alerts=[])
    line.say_with_rubbish("qoe/v1/film/eu/a", [viewer("a", measures={"audio": 4})], T0 + 5)
    line.say("qoe/v1/film/eu/a", [viewer("b", measures={"audio": 4, "video": 3}), viewer("b")], T0 + 6)
