"""The boards ask for what the daemon exports, and get an answer to each question."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from prometheus_client.registry import CollectorRegistry

pytest.importorskip("grafana_foundation_sdk", reason="the boards are generated with the extra `dashboards`")

from dashboards.generate import SAMPLE
from qoemon.config.config import Config, load
from qoemon.config.plan import alert_rules, core_plan
from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.report import Reject
from qoemon.daemon.metrics import LoopStats, build_metrics, loop_metrics, reload_metrics
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.spark.metrics import ClusterStats, cluster_metrics
from qoemon.engine.stats import EngineStats, WorkerStats
from qoemon.inputs.inbox import Message
from qoemon.inputs.stats import CollectorStats, MqttStats
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.net.kafka.producer import ProducerStats
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.notify.metrics import receiver_metrics
from qoemon.outputs.notify.receiver_stats import ReceiverStats
from qoemon.tools.bridge.metrics import delivery_histogram, kafka_metrics
from qoemon.tools.dashboards.boards import boards
from qoemon.tools.simulate.raters import Raters
from qoemon.tools.simulate.simulate import Phase, Population, Scenario
from tests.support.core import OneShard
from tests.support.parts import ROOT, Prometheus, get, parsed, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG = load(SAMPLE)
GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]

POPULATED = [*GROUPS, GROUPS[0], GROUPS[0]]
"""One group, which the scenario hits, is three times the others: a plain mean over groups is wrong."""

START_S = 1_700_004_240
"""Before midnight (UTC), as an interval of the bias takes two days."""
DAY_S = 3600
"""A day, shortened."""
TICK_S = 20
SCENARIO = Scenario((Phase("calm", 50), Phase("degraded", 30, 1, 1), Phase("recover", 20, 1, 0)), DAY_S)
"""It gets bad from one moment to the next, which is a change to be marked."""
WORST_S = START_S + DAY_S * 7 // 10
"""When the scenario is at its worst, which is where figures of the moment are asked for."""

PATH = "/cmcd/v1/{service}/{region}/{cdn}"

TARGET = {"job": "qoemon", "instance": "one:9877"}
"""What Prometheus adds to each series."""
PEER = TARGET | {"instance": "two:9877"}
"""The same of the other daemon of a pair."""

CHOICES: dict[str, dict[str, str]] = {
    "all": {},
    "video": {"service": "video"},
    "web": {"service": "web"},
    "region": {"region": "eu"},
    "cdn": {"cdn": "a"},
    "window": {"window": "1m"},
    "instance": {"instance": TARGET["instance"]},
}
"""Each variable at All and at one value."""

BUDGETS = {"video": 0.1, "web": 0.2}
"""1 less the objectives of the sample configuration."""

EMPTY = {
    "qoemon_stall_count_bucket": ("web", "readers don't stall"),
    "qoemon_stall_seconds_bucket": ("web", "readers don't stall"),
    "qoemon_response_seconds_bucket": ("video", "viewers don't wait for pages"),
    "qoemon_startup_seconds_bucket": ("web", "pages are no players"),
    "qoemon_startup_seconds_count": ("web", "pages are no players"),
    "qoemon_gob_ratio_theta": ("web", "the sample configuration has no theta_band for web"),
    "qoemon_pow_ratio_theta": ("web", "the sample configuration has no theta_band for web"),
}
"""What is empty by nature: the metric, the choice, the reason."""


class Query(NamedTuple):
    """A question of a board, as it stands in the file."""

    board: str
    title: str
    expr: str
    legend: str = ""
    instant: bool = False
    step_s: int = TICK_S


FILES = sorted((ROOT / "dashboards").glob("*.json"))
BOARDS = {file.name: json.loads(file.read_text()) for file in FILES}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
panels = pytest.mark.parametrize("panel", [p for _, p in PANELS], ids=[f"{n}-{p['title']}" for n, p in PANELS])


def queries() -> Iterator[Query]:
    for name, panel in PANELS:
        for target in panel["targets"]:
            step_s = {None: TICK_S, "1m": 60}[target.get("interval")]
            instant = target.get("instant", False)
            assert instant != target.get("range", False), "a query is of a moment or of a time"
            yield Query(name, panel["title"], target["expr"], target["legendFormat"], instant, step_s)
    for name, board in BOARDS.items():
        for note in board["annotations"].get("list") or ():
            yield Query(name, note["name"], note["expr"], note["titleFormat"])


QUERIES = list(queries())
each_query = pytest.mark.parametrize("query", QUERIES, ids=[f"{q.board}-{q.title}" for q in QUERIES])


def ticks() -> Iterator[tuple[int, str]]:
    """What the daemon would have served: time, s, and exposition."""
    plan = core_plan(CONFIG)
    plan = replace(plan, timing=replace(plan.timing, tick_s=TICK_S), paths=(TopicTemplate(PATH),))
    codec, monitor, exporter = Codec(plan), OneShard(plan), Exporter()
    watch = Detector(plan, alert_rules(CONFIG), RegimeRules())
    users = Population(
        POPULATED,
        sessions=1000,
        scenario=SCENARIO,
        seed=1,
        start_s=START_S,
        report_every_s=TICK_S,
        raters=Raters(plan.services, 0.5, 0.0, interval_s=plan.timing.interval_s, seed=1),
    )
    delivery = delivery_histogram(CollectorRegistry())
    messages = 0
    for now_s in range(START_S + TICK_S, START_S + DAY_S + 1, TICK_S):
        arrived = spoken(users, now_s - 1)
        messages += len(arrived)
        decoded = codec.decode(arrived)
        assert not decoded.sample
        monitor.apply(decoded.batch, now_s - 1)
        monitor.monitor.apply_players(codec.decode(started(now_s - 1)).players, now_s - 1)
        snapshot = monitor.snapshot(now_s)
        receiver = ReceiverStats("webhook", sent=messages // 999, failed=1, dropped=0, queue=2, last_error=None)
        ingest = MqttStats(connected=True, subscribed=True, messages_total=messages, last_message_s=now_s)
        collector = CollectorStats(answers=Counter({204: messages, 429: 1}), in_flight=3)
        worker = WorkerStats(up=True, restarts=1, cpu_s=messages * 1e-5, memory=2**27, reports=messages)
        stats = EngineStats(ingest, collector)
        cluster = ClusterStats(batches=messages, batch_s=2.0, records=40, state_bytes=10**6)
        own = [
            *build_metrics(),
            *loop_metrics(LoopStats()),
            *reload_metrics(successful=True),
            *engine_metrics(stats, {next(iter(Reject)): messages // 100}, (worker, worker), now_s),
            *http_metrics(HttpStats()),
            *receiver_metrics((receiver,)),
            *cluster_metrics(cluster, now_s - 3, now_s),
            *kafka_metrics(ProducerStats(records_total=messages), messages),
            *delivery.collect(),
        ]
        delivery.observe(0.02)
        yield now_s, exporter.render(snapshot, watch.observe(snapshot), own).metrics.whole.decode()
        exporter.observe_tick(0.1)


def spoken(users: Population, now_s: float) -> list[Message]:
    """What the users report, as messages: one a topic."""
    by_topic: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for service, labels, report in users.step(now_s):
        by_topic[f"qoe/v1/{service}/{labels['region']}/{labels['cdn']}"].append(report)
    return [Message(topic, json.dumps(told).encode(), now_s, 1, 1, 1) for topic, told in by_topic.items()]


def started(now_s: float) -> list[Message]:
    """Viewings that have just begun to play, after 1 to 4 s, or failed; each ends before it is rated."""
    messages = []
    for group in GROUPS:
        states = [f"{first}{second}" for first, second in ("sp", "sp", "sp", "sf")]
        for number, (first, last) in enumerate(states, 1):
            session = f'sid="start-{now_s}-{number}"'
            ends_ms = round(1000 * now_s)
            records = [
                f"e=ps,{session},sn=0,sta={first},ts={ends_ms - 1000 * number},v=2",
                f"e=ps,{session},sn=1,sta={last},ts={ends_ms},v=2",
                f"e=ps,{session},sn=2,sta=e,ts={ends_ms + 1},v=2",
            ]
            path = f"/cmcd/v1/video/{group['region']}/{group['cdn']}"
            messages.append(Message(path, "\n".join(records).encode(), now_s, 1, 1, 1, Kind.CMCD))
    return messages


@pytest.fixture(scope="module")
def day() -> list[tuple[int, str]]:
    return list(ticks())


@pytest.fixture(scope="module")
def prometheus(day: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped the whole day."""
    with scraped(day, tmp_path_factory.mktemp("prometheus"), TARGET) as part:
        yield part


@pytest.fixture(scope="module")
def prometheus_of_two(day: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped both daemons of a pair the whole day."""
    with scraped(day, tmp_path_factory.mktemp("prometheus-of-two"), TARGET, PEER) as part:
        yield part


@contextmanager
def scraped(day: list[tuple[int, str]], directory: Path, *targets: Mapping[str, str]) -> Iterator[Prometheus]:
    history = directory / "day.txt"
    with history.open("w") as file:
        for at_s, exposition in day:
            for target in targets:
                file.writelines(stamped(exposition, at_s, target))
        file.write("# EOF\n")
    create = [program("promtool", "Debian package prometheus"), "tsdb", "create-blocks-from", "openmetrics"]
    made = subprocess.run([*create, history, directory / "tsdb"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    with Prometheus(directory, {}) as part:
        yield part


def stamped(exposition: str, at_s: int, of: Mapping[str, str]) -> Iterator[str]:
    """Its samples as Prometheus would have stored them. of: labels of the target."""
    target = ",".join(f'{name}="{value}"' for name, value in of.items())
    for line in exposition.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            inner = labels.removesuffix("}").removesuffix(",")
            yield f"{name}{{{inner + ',' if inner else ''}{target}}} {value} {at_s}\n"


def asked(query: Query, chosen: Mapping[str, str]) -> str:
    """What Grafana sends."""
    text = query.expr.replace("$__rate_interval", f"{4 * query.step_s}s")
    return re.sub(r"\$(\w+)", lambda found: chosen.get(found[1], ".*"), text)


def answer(prometheus: Prometheus, query: Query, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    promql = asked(query, chosen)
    if query.instant:
        return prometheus.query(promql, WORST_S)
    span = {"start": START_S + 600, "end": START_S + DAY_S, "step": 60}
    told = json.loads(
        get(prometheus.port, f"/api/v1/query_range?{urllib.parse.urlencode({'query': promql, **span})}").body
    )
    assert told["status"] == "success", f"{promql}: {told['error']}"
    result: list[dict[str, Any]] = told["data"]["result"]
    return result


def figures(series: list[dict[str, Any]]) -> list[float]:
    """The values that can be drawn."""
    points = [point for one in series for point in one.get("values", [one.get("value")])]
    return [float(value) for _, value in points if value != "NaN"]


def excused(query: Query, choice: str) -> bool:
    return any(metric in query.expr and choice == where for metric, (where, _) in EMPTY.items())


@pytest.mark.prometheus
@pytest.mark.parametrize("choice", CHOICES)
def test_every_query_has_an_answer(prometheus: Prometheus, choice: str) -> None:
    chosen = CHOICES[choice]
    empty = []
    for query in QUERIES:
        names = set(re.findall(r"\$(\w+)", query.expr))
        if chosen and not names & chosen.keys():
            continue
        series = answer(prometheus, query, chosen)
        if not figures(series) and not excused(query, choice):
            empty.append((query.board, query.title, asked(query, chosen)))
    assert not empty


OF_DAEMONS = {"qoemon-daemon.json": 0, "qoemon-players.json": 3}
"""Boards with figures of daemons, one of each; and how many of their first queries are on users."""


@pytest.mark.prometheus
def test_boards_count_each_user_once_with_two_daemons_of_a_pair(
    prometheus: Prometheus, prometheus_of_two: Prometheus
) -> None:
    every = "sum by (service) (qoemon_active_sessions)"
    one, two = (by_service(part.query(every, WORST_S)) for part in (prometheus, prometheus_of_two))
    assert {name: 2 * value for name, value in one.items()} == two
    differ = []
    for board in BOARDS:
        of_board = [query for query in QUERIES if query.board == board]
        for query in of_board[: OF_DAEMONS.get(board)]:
            single, pair = (drawn(answer(part, query, {})) for part in (prometheus, prometheus_of_two))
            if single != pytest.approx(pair):
                differ.append((board, query.title, query.expr))
    assert not differ


def drawn(series: list[dict[str, Any]]) -> dict[tuple[Any, float], float]:
    """Each point, by labels and time."""
    return {
        (tuple(sorted(one["metric"].items())), at_s): float(value)
        for one in series
        for at_s, value in one.get("values", [one.get("value")])
        if value != "NaN"
    }


@pytest.mark.prometheus
def test_what_is_excused_is_empty(prometheus: Prometheus) -> None:
    for metric, (choice, reason) in EMPTY.items():
        of_metric = [query for query in QUERIES if metric in query.expr]
        assert of_metric, metric
        for query in of_metric:
            assert not answer(prometheus, query, CHOICES[choice]), f"{query.title}: {reason}?"


@pytest.mark.prometheus
@pytest.mark.parametrize("choice", ["all", "video", "region"])
def test_shares_are_shares_and_bounds_enclose_them(prometheus: Prometheus, choice: str) -> None:
    for panel in ("Good or better, with bounds", "Poor or worse, with bounds"):
        share, lower, upper = (
            values(answer(prometheus, query, CHOICES[choice])) for query in QUERIES if query.title == panel
        )
        assert share.keys() == lower.keys() == upper.keys() != set()
        for key, value in share.items():
            assert 0 <= lower[key] <= value <= upper[key] <= 1


@pytest.mark.prometheus
def test_shares_over_groups_are_those_of_all_their_ratings(prometheus: Prometheus) -> None:
    """The gauges of a window, weighted, against the counters over the same time, which sum exactly."""
    gauge = values_of(prometheus, "qoemon-overview.json", "Good or better", {"window": "1h"})
    every = "sum by (service) (qoemon_expected_ratings_total)"
    good = 'sum by (service) (qoemon_expected_ratings_total{rating=~"4|5"})'
    counted = {
        row["metric"]["service"]: float(row["value"][1]) for row in prometheus.query(f"{good} / {every}", WORST_S)
    }
    assert gauge == pytest.approx(counted, abs=0.005)
    assert len(gauge) == 2


@pytest.mark.prometheus
def test_burn_rates_and_budgets_are_those_of_the_objectives(prometheus: Prometheus) -> None:
    share = values_of(prometheus, "qoemon-slo.json", "Good ratings, 30d", {})
    left = values_of(prometheus, "qoemon-slo.json", "Error budget left, 30d", {})
    assert values_of(prometheus, "qoemon-slo.json", "Objective", {}) == {"video": 0.9, "web": 0.8}
    assert left == pytest.approx({name: 1 - (1 - share[name]) / budget for name, budget in BUDGETS.items()})


@pytest.mark.prometheus
def test_starts_are_those_that_players_have_told(prometheus: Prometheus) -> None:
    """Of four viewings one fails; the others take 1, 2 and 3 s."""
    of_board = [query for query in QUERIES if query.board == "qoemon-players.json"]
    (failed,) = (query for query in of_board if query.title == "Failed starts")
    half, tenth = (query for query in of_board if query.title == "Startup time")
    chosen = {"service": "video"}
    assert figures(answer(prometheus, failed, chosen)) == pytest.approx([0.25] * 51)
    assert all(1.5 <= value <= 2 for value in figures(answer(prometheus, half, chosen)))
    assert all(2 <= value <= 3 for value in figures(answer(prometheus, tenth, chosen)))


@pytest.mark.prometheus
def test_queries_of_the_cookbook_about_starts_have_answers(prometheus: Prometheus) -> None:
    cookbook = (ROOT / "docs/alerting-cookbook.md").read_text()
    found = [each for each in re.findall(r"```promql\n(.*?)```", cookbook, re.DOTALL) if "qoemon_start" in each]
    above_0 = [each.rpartition(">")[0] + "> 0" for each in found]
    values = [{row["value"][1] for row in prometheus.query(each, WORST_S)} for each in above_0]
    assert len(values) == 2
    assert [float(value) for value in values[0]] == pytest.approx([0.25])
    assert all(2 <= float(value) <= 3 for value in values[1])


@pytest.mark.prometheus
def test_the_worst_groups_are_those_that_the_scenario_hits(prometheus: Prometheus) -> None:
    (query,) = (query for query in QUERIES if query.title == "Worst groups")
    rows = answer(prometheus, query, {"service": "video"})
    worst = max(rows, key=lambda row: float(row["value"][1]))["metric"]
    assert {name: worst[name] for name in ("region", "cdn")} == GROUPS[0]


def values_of(prometheus: Prometheus, board: str, title: str, chosen: Mapping[str, str]) -> dict[str, float]:
    """Of a figure of the moment, by service."""
    (query,) = (query for query in QUERIES if (query.board, query.title) == (board, title))
    return by_service(answer(prometheus, query, chosen))


def by_service(series: list[dict[str, Any]]) -> dict[str, float]:
    return {one["metric"]["service"]: float(one["value"][1]) for one in series}


def values(series: list[dict[str, Any]]) -> dict[tuple[str, str, float], float]:
    return {
        (one["metric"]["service"], one["metric"]["window"], at_s): float(value)
        for one in series
        for at_s, value in one["values"]
    }


@pytest.mark.prometheus
def test_legends_name_labels_that_the_answers_have(prometheus: Prometheus) -> None:
    for query in QUERIES:
        wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        for series in answer(prometheus, query, {}):
            assert wanted <= series["metric"].keys(), (query.title, series["metric"])


def exported(day: list[tuple[int, str]]) -> dict[str, set[str]]:
    """The labels of each metric, over the day."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for _, exposition in day[:: len(day) // 4]:
        for name, pairs in parsed(exposition):
            labels[name] |= {label for label, _ in pairs} | TARGET.keys()
    return labels


def test_boards_name_only_metrics_and_labels_that_the_daemon_exports(day: list[tuple[int, str]]) -> None:
    labels = exported(day)
    every = set().union(*labels.values())
    variables = [
        variable["query"]
        for board in BOARDS.values()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert variables
    for text in [*variables, *(query.expr for query in QUERIES)]:
        used = set(re.findall(r"\b(?:qoemon|process)_\w+", text))
        assert used <= labels.keys(), text
        for metric, matchers in re.findall(r"(\w+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[metric], text
        for named in re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", text):
            assert set(named.split(", ")) <= every, text
        if found := re.fullmatch(r"label_values\((\w+).*, (\w+)\)", text):
            assert found[2] in labels[found[1]], text


def test_boards_are_what_the_program_writes() -> None:
    assert {file.name: file.read_text() for file in FILES} == boards(CONFIG)


def test_boards_follow_the_configuration() -> None:
    """Other labels, another rating interval, a scale of its own."""
    topics = {"topics": ["q/{service}/{site}"]}
    scale = {"low": 1, "high": 5, "good": 5, "poor": 1}
    video = {"mapping": "video-stall", "theta": 0.3, "scale": scale, "slo": 0.4}
    config = Config.model_validate(
        {
            "mqtt": topics,
            "services": {"video": video, "web": {"mapping": "web-iqx", "theta": 0.25}},
            "sessions": {"rating_interval": "2m"},
            "windows": ["2m"],
        }
    )
    text = "".join(boards(config).values())
    assert 'site=~\\"$site\\"' in text
    assert "$region" not in text
    assert 'window=\\"2m\\"' in text
    assert 'service=~\\"video\\",rating=~\\"5\\"' in text
    assert 'service=~\\"web\\",rating=~\\"4|5\\"' in text


def test_without_objectives_there_is_no_board_about_them() -> None:
    config = Config.model_validate({"services": {"video": {"mapping": "video-stall", "theta": 0.3, "slo": None}}})
    assert set(BOARDS) - boards(config).keys() == {"qoemon-slo.json"}


@panels
def test_every_panel_says_what_it_is_and_what_to_do(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 60
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"]
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@each_query
def test_rates_leave_their_time_to_grafana_and_gauges_are_not_averaged(query: Query) -> None:
    for span in re.findall(r"\brate\([^[]*\[([^]]*)\]", query.expr):
        assert span == "$__rate_interval"
    assert not re.search(r"\bavg\b", query.expr)


@panels
def test_services_are_not_added_up(panel: dict[str, Any]) -> None:
    """Sums are by service, or the panel is repeated for each. Bins of a histogram are of one kind of service."""
    for target in panel["targets"]:
        for by, summed in re.findall(r"sum by \(([^)]*)\) \((.*?\})", target["expr"]):
            apart = {"service", "le"} & set(by.split(", ")) or panel.get("repeat") == "service"
            assert apart or "$service" not in summed, target["expr"]


@pytest.mark.parametrize("name", BOARDS)
def test_boards_are_small_and_panels_fill_their_rows(name: str) -> None:
    board = BOARDS[name]
    assert len(board["panels"]) <= 16
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    rows: defaultdict[int, int] = defaultdict(int)
    for panel in board["panels"]:
        rows[panel["gridPos"]["y"]] += panel["gridPos"]["w"]
    assert set(rows.values()) == {24}


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_has_all_and_is_used(name: str) -> None:
    variables = {variable["name"]: variable for variable in BOARDS[name]["templating"]["list"]}
    asked_for = " ".join(query.expr for query in QUERIES if query.board == name) + "${datasource}"
    used = set(re.findall(r"\$\{?(\w+)", asked_for)) - {"__rate_interval"}
    assert used == variables.keys()
    for variable in variables.values():
        if variable["type"] == "query":
            assert variable["multi"]
            assert variable["includeAll"]


def provisioned(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (ROOT / "config/grafana/provisioning" / name / "qoemon.yml").read_text()
    )
    return content


def test_provisioning_suits_the_boards() -> None:
    (source,) = provisioned("datasources")["datasources"]
    (boards,) = provisioned("dashboards")["providers"]
    assert source["type"] == "prometheus"
    scrape = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    assert boards["type"] == "file"


def test_the_page_names_every_board() -> None:
    page = (ROOT / "docs/dashboards.md").read_text()
    for name, board in BOARDS.items():
        assert f"`{name}`" in page
        assert board["title"].removeprefix("qoemon: ") in page
