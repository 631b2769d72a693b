"""The documentation says what the program does."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer.main
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from benchmarks.row import Part, Row
from docs import cluster, generate, pictures
from qoemon import cli
from qoemon.config.config import Config, load
from qoemon.config.plan import alert_rules, core_plan
from qoemon.config.sections.collector import Collector
from qoemon.core.alerting.alerts import Alerts
from qoemon.core.alerting.decision import QUIET, AlertState, Sample, decide
from qoemon.core.alerting.decision import Reason as AlertReason
from qoemon.core.alerting.rule import Rule
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import MAPPINGS, VIDEO_STALL
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.report import Reject, Report
from qoemon.inputs.inbox import Message
from qoemon.tools.paper import curves
from qoemon.tools.rules import daemonrules
from qoemon.tools.rules.capacityrules import Capacity
from tests.core.qoe.test_mapping import MUSIC_VIDEOS
from tests.support.core import OneShard

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", generate.pages())
def test_generated_pages_are_what_make_docs_writes(page):
    assert (ROOT / "docs" / page).read_text() == generate.pages()[page]


def test_sizes_of_a_cluster_are_reckoned_from_the_figures_that_there_are():
    needed = {name for line in cluster.LINES for name in line.needs}
    parts = [Part("all", "a machine", [Row.of(name, "", [40]) for name in needed])]
    lines = list(cluster.table(parts))
    assert len(lines) == 4 + len(cluster.LINES)
    assert any("| 40 bytes a session | 400 MB, 40 MB/s |" in line for line in lines)
    without = [Part("all", "a machine", [row for row in parts[0].rows if "state" not in row.name])]
    assert [line for line in lines if "checkpoint: state" not in line] == list(cluster.table(without))


def _keys(section: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Every section that can occur in a file, with each of its keys."""
    for name, field in section.model_fields.items():
        yield section.__doc__ or "", field.alias or name
        for inner in _sections_in(field.annotation):
            yield from _keys(inner)


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


@pytest.mark.parametrize(("about", "name"), sorted(set(_keys(Config))))
def test_every_key_of_the_configuration_is_documented(about, name):
    page = (ROOT / "docs/configuration.md").read_text()
    chapters = [chapter for chapter in page.split("\n## ") if about in chapter or chapter.startswith("The file")]
    assert any(f"| `{name}` |" in chapter for chapter in chapters)


COOKBOOK = (ROOT / "docs/alerting-cookbook.md").read_text()
RECIPES = re.findall(r"```yaml\n(.*?)```", COOKBOOK, re.DOTALL)


def recipe(alert: str, tmp_path: Path) -> Config:
    """The configuration of the cookbook that has this alert."""
    file = tmp_path / "cookbook.yaml"
    file.write_text(next(text for text in RECIPES if f"name: {alert}\n" in text))
    return load(file, {})


def rule_of(alert: str, tmp_path: Path) -> Rule:
    return alert_rules(recipe(alert, tmp_path))[0]


def reading(shares_at_worst: float, users: int) -> Sample:
    """What a rule on PoW sees of users of whom this share is at the worst MOS, and the others at the best."""
    kernel = Service("video", VIDEO_STALL, 0.3, (0.1, 0.3)).kernel(mos=VIDEO_STALL.reach)
    bad = round(shares_at_worst * 1000)
    told = kernel.distribution(np.array([[bad, 1000 - bad]]), np.array([users]))
    return Sample(told.pow[0], told.pow_bounds[0, 0], tuple(told.band_pow[0]), users)


@pytest.mark.parametrize("text", RECIPES)
def test_every_recipe_is_a_configuration(text, tmp_path):
    file = tmp_path / "cookbook.yaml"
    file.write_text(text)
    assert alert_rules(load(file, {}))


def test_a_few_unlucky_viewers_at_night_wake_nobody(tmp_path):
    rule = rule_of("ManyPoorSmall", tmp_path)
    assert decide(rule, QUIET, reading(0.125, users=8), 0).reason is AlertReason.TOO_FEW_SESSIONS
    few = reading(0.315, users=40)
    assert few.value == pytest.approx(0.28, abs=0.002)
    assert decide(rule, QUIET, few, 0).reason is AlertReason.BOUND_NOT_PAST_THRESHOLD
    assert decide(rule, QUIET, reading(0.6, users=40), 0).state is AlertState.PENDING


def test_a_flapping_link_pages_once(tmp_path):
    """A minute in three is bad: the recipe fires once, the same rule on one minute each time."""
    rule = rule_of("Flapping", tmp_path)
    minutes = [minute % 3 == 0 for minute in range(30)]
    smooth = [sum(minutes[at - 5 : at]) / 5 for at in range(5, 30)]
    assert _fires(rule, smooth) == 1
    assert _fires(rule, [float(bad) for bad in minutes]) == 10


def _fires(rule: Rule, bad_shares: list[float]) -> int:
    """How often an alert begins to fire, a reading a minute."""
    begun, decision = 0, QUIET
    for minute, share in enumerate(bad_shares):
        before, decision = decision, decide(rule, decision, reading(share, users=500), minute * 60)
        begun += decision.state is AlertState.FIRING and before.state is not AlertState.FIRING
    return begun


def test_theta_is_asked_for_all_of_its_band(tmp_path):
    rule = rule_of("ManyPoorWhateverTheta", tmp_path)
    between = Sample(0.2, 0.18, (0.12, 0.2), 500)
    assert decide(rule, QUIET, between, 0).reason is AlertReason.THETAS_DISAGREE
    assert decide(rule, QUIET, reading(0.6, users=500), 0).state is AlertState.PENDING


@pytest.mark.parametrize("alert", ["CdnDegraded", "ManyHang"])
def test_a_failing_cdn_pages_for_its_own_group_alone(alert, tmp_path):
    """Through the whole core, with the simulated users of the figures."""
    watch = Alerts(alert_rules(recipe(alert, tmp_path)))
    found = (alert for snapshot in curves.snapshots() for alert in watch.decide(snapshot))
    fired = Counter(alert.group for alert in found if alert.firing)
    assert fired.keys() == {("eu", "a")}
    assert 6 <= fired["eu", "a"] <= 90


def test_a_canary_is_judged_by_its_own_reports(tmp_path):
    config = recipe("CanaryWorse", tmp_path)
    plan = core_plan(config)
    assert plan.labels == ("region", "cdn", "release")
    reports = [
        {"session": f"{release}{i}", "seq": 1, "stall_count": bad, "stall_s": 9 * bad, "play_s": 50}
        | {"labels": {"release": release}}
        for release, bad in (("canary", 1), ("stable", 0))
        for i in range(200)
    ]
    begin_s = 1_700_000_040
    message = Message("qoe/v1/video/eu/a", json.dumps(reports).encode(), begin_s + 5, 1, 1, 1)
    monitor = OneShard(plan)
    monitor.apply(Codec(plan).decode([message]).batch, begin_s + 5)
    told = Alerts(alert_rules(config)).decide(monitor.snapshot(begin_s + 300))
    assert [(alert.group, alert.decision.reason) for alert in told] == [
        (("eu", "a", "canary"), AlertReason.NOT_LONG_ENOUGH)
    ]


def test_a_slow_start_is_rated_as_the_cookbook_says(tmp_path):
    """Through the mapping of its recipe, each time for all viewers."""
    service = core_plan(recipe("VideosStartLate", tmp_path)).services[1]
    mos = service.mapping(np.array([2.0, 3.0, 4.0, 300.0]))
    rated = [service.kernel(mos=np.array([each])) for each in mos]
    told = [float(kernel.distribution(np.array([[1]]), np.array([1])).pow[0]) for kernel in rated]
    assert [round(share, 2) for share in told] == [0.20, 0.38, 0.55, 1.00]
    text = COOKBOOK.replace("\n", " ")
    assert "if all wait 2 s it is 20 %, at 3 s 38 %, at 4 s 55 %; of starts that fail it is all" in text


def test_readme_names_only_metrics_that_exist():
    known = set(re.findall(r"`(qoemon_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for page in (
        ROOT / "README.md",
        *(ROOT / f"docs/{page}.md" for page in ("brokers", "operations", "running", "troubleshooting")),
    ):
        named = set(re.findall(r"\bqoemon_\w+", page.read_text()))
        assert named <= known, f"{page.name} names {sorted(named - known)}"


@pytest.mark.parametrize("field", Report.__struct_fields__)
def test_every_wire_field_is_documented(field):
    assert f"| `{field}` |" in (ROOT / "docs/wire-format.md").read_text()


@pytest.mark.parametrize("reason", list(Reject))
def test_every_reject_reason_is_documented(reason):
    assert f"| `{reason}` |" in (ROOT / "docs/wire-format.md").read_text()


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in typer.main.get_command(cli.app).commands:
        assert f"qoemon {name}" in readme or f"make {name}" in readme, name


def test_every_counter_of_trouble_is_explained():
    """Counters that should stand still have a line that says what to do."""
    quiet = {"qoemon_reports_total", "qoemon_messages_total", "qoemon_message_bytes_total"}
    quiet |= {"qoemon_collector_bytes_total", "qoemon_collector_preflights_total"}
    quiet |= {"qoemon_mqtt_connects_total", "qoemon_mqtt_disconnects_total", "qoemon_expected_ratings_total"}
    quiet |= {"qoemon_notifications_total", "qoemon_alert_transitions_total", "qoemon_pow_regime_changes_total"}
    quiet |= {"qoemon_bridge_records_total", "qoemon_bridge_bytes_total", "qoemon_bridge_messages_total"}
    quiet |= {"qoemon_cluster_batches_total", "qoemon_cluster_ticks_total"}
    quiet |= {f"qoemon_feedback_{name}_total" for name in ("ratings", "expected_ratings", "asked_sessions")}
    quiet |= {f"qoemon_feedback_{name}_total" for name in ("thumbs", "expected_thumbs")}
    counters = set(re.findall(r"`(qoemon_\w+_total)` \| counter", (ROOT / "docs/metrics.md").read_text()))
    explained = set(re.findall(r"qoemon_\w+", (ROOT / "docs/operations.md").read_text()))
    assert counters - quiet <= explained


def test_every_rule_on_the_daemon_is_in_the_table_with_its_severity():
    plan = core_plan(load(ROOT / "config/qoemon.yaml").model_copy(update={"collector": Collector()}))
    page = (ROOT / "docs/prometheus-rules.md").read_text()
    rows = re.findall(r"^\| (`Qoemon[^|]+) \| (\w+) \|", page, re.MULTILINE)
    table = {alert: severity for names, severity in rows for alert in re.findall(r"`(\w+)`", names)}
    assert table == {rule.alert: rule.severity for rule in daemonrules.rules(plan, "qoemon", Capacity())}
    elsewhere = (ROOT / "docs/cluster-operation.md").read_text() + (ROOT / "docs/two-daemons.md").read_text()
    more = daemonrules.rules(plan, "qoemon", Capacity(), clustered=True, lease_s=10)
    assert [rule.alert for rule in more if rule.alert not in table and f"`{rule.alert}`" not in elsewhere] == []


def test_readme_yaml_and_links_are_whole():
    readme = (ROOT / "README.md").read_text()
    for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL):
        assert yaml.safe_load(block)
    for page in ROOT.glob("**/*.md"):
        if ".venv" in page.parts:
            continue
        for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


CALIBRATION = (ROOT / "docs/calibration.md").read_text()


@pytest.fixture(scope="module")
def fragment(tmp_path_factory):
    """A folder with the configuration of the worked example as my.yaml."""
    folder = tmp_path_factory.mktemp("example")
    yaml_lines = re.search(r"^services:\n  video:\n    mapping: logistic\n(?:    .*\n)*", CALIBRATION, re.MULTILINE)
    (folder / "my.yaml").write_text(yaml_lines[0])
    return folder


@pytest.mark.parametrize("block", re.findall(r"```console\n\$ (.*?)```", CALIBRATION, re.DOTALL))
def test_the_worked_example_prints_what_the_page_says(block, fragment, monkeypatch):
    """The lines of the page are some of those of the command; lines may be wrapped otherwise."""
    command, *lines = block.strip().splitlines()
    words = command.replace("docs/examples", str(ROOT / "docs/examples")).split()
    monkeypatch.chdir(fragment)
    told = " ".join(CliRunner().invoke(cli.app, words[1:], env={"COLUMNS": "80"}).output.split())
    for line in lines:
        assert " ".join(line.split()) in told
    for name in words:
        if name.endswith(".png"):
            assert (fragment / name).stat().st_size > 10_000


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:\w+/)+(?:[\w.]+)?|\w+\.(?:py|toml))`", ARCHITECTURE)))
)
def test_every_path_of_the_architecture_page_exists(path):
    assert (ROOT / "qoemon" / path).exists() or (ROOT / path).exists()


def pictures_of(page: Path) -> set[Path]:
    """The pictures that a page shows."""
    named = re.findall(r"""["(]((?:docs/)?pictures/[^")]+)""", page.read_text())
    return {(page.parent / name).resolve() for name in named}


def test_the_documentation_shows_the_pictures_that_make_pictures_takes():
    taken = {pictures.FOLDER / name for name in pictures.PICTURES}
    assert set(pictures.FOLDER.iterdir()) == taken
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert set().union(*map(pictures_of, pages)) == taken


def test_a_picture_of_the_terminal_fetches_nothing():
    svg = (pictures.FOLDER / pictures.TOP).read_text()
    assert svg.rstrip().endswith("</svg>")
    assert not re.findall(r"url\(\s*[\"']?https?:|href=|@font-face|@import", svg)


@pytest.mark.parametrize("reason", list(AlertReason))
def test_every_reason_of_an_alert_is_documented(reason):
    assert f"`{reason}`" in (ROOT / "docs/alerting.md").read_text()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_mapping_is_documented(mapping):
    assert f"| `{mapping}` |" in (ROOT / "docs/mappings.md").read_text()


PROFILES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/mappings.md").read_text(), re.DOTALL)


def profile(service: str, tmp_path: Path) -> Service:
    """A service of docs/mappings.md, as a user gets it who pastes its configuration."""
    for text in PROFILES:
        file = tmp_path / "profile.yaml"
        file.write_text(text)
        services = load(file, {}).services
        if service in services:
            return services[service].core_service(service)
    raise LookupError(service)


def test_every_configuration_of_the_mappings_page_is_one(tmp_path):
    assert len(PROFILES) >= 5
    for text in PROFILES:
        assert set(yaml.safe_load(text)) == {"services"}
        for name in yaml.safe_load(text)["services"]:
            assert profile(name, tmp_path).mapping.measures


@pytest.mark.parametrize(
    ("service", "condition", "mos"),
    [
        ("gpcc-d1", (60,), 1.589),
        ("gpcc-d1", (65,), 2.925),
        ("gpcc-d1", (70,), 4.391),
        ("gpcc-d1", (75,), 4.896),
        ("gpcc-d2", (70,), 1.155 + 3.682 / (1 + math.exp(-0.3909 * (70 - 69.773)))),
        ("vpcc-d1", (68.614,), 2.803 + 1.664 / 2),
        ("vpcc-d2", (70,), 3.302),
        ("headset", (40, 2), -2.475 + 0.1353 * 40 + 0.1967 * 2),
        ("volumetric", (0, 0, 70), 4.391),
        ("volumetric", (1, 5, 70), 1.5 + (4.391 - 1.5) * math.exp(-(4.5 * 5 + 5.7) / 60)),
        ("lecture", (4, 3), 3.82430943),
        ("film", (0, 0, 4, 3), 3.82430943),
        ("music-video", (4, 2), 2.6526),
    ],
)
def test_profiles_of_the_mappings_page_give_their_figures(service, condition, mos, tmp_path):
    mapping = profile(service, tmp_path).mapping
    assert mapping(*(np.array([float(each)]) for each in condition))[0] == pytest.approx(mos, abs=6e-4)


def test_constants_of_music_videos_are_in_the_page():
    page = (ROOT / "docs/mappings.md").read_text()
    for scale, (intercept, audio, video, _) in MUSIC_VIDEOS.items():
        assert f"| {scale} | {intercept:.4f} | {audio:.4f} | {video:.4f} |" in page
