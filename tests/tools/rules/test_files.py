"""Prometheus decides by the rules that qoemon writes as qoemon decides itself; promtool is the judge."""

from __future__ import annotations

import json
import random
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qoemon.common import duration
from qoemon.config.config import Config, load
from qoemon.config.plan import core_plan
from qoemon.core.alerting.decision import Sample
from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.daemon.metrics import initial_metrics
from qoemon.net.kafka.producer import ProducerStats
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.tools.bridge.metrics import kafka_metrics
from qoemon.tools.rules import alertcase
from qoemon.tools.rules.alertcase import Phase
from qoemon.tools.rules.alertrule import AnnotationError, PromRule
from qoemon.tools.rules.files import RULES_FILE, PromFiles
from qoemon.tools.rules.rulefile import selector, write
from qoemon.tools.rules.scrape import prometheus_files
from qoemon.tools.rules.slo import BURNS, ObjectiveError, Slo
from tests.support.core import OneShard
from tests.support.parts import ROOT, program

PLAN = core_plan(Config())
NASTY = 'a"b\\c.*|{{é}}\nü'


def _rule(name="Poor", metric=AlertMetric.POW, threshold=0.1, recovery=0.05, **more) -> Rule:
    more = {"service": "video", "window_s": 300, "groups": {}, "min_sessions": 50, "for_s": 120, **more}
    return Rule(name=name, metric=metric, threshold=threshold, recovery=recovery, **more)


ALL = _rule(
    "all-features",
    groups={"region": ["eu", "us.west"]},
    all_thetas=True,
    severity="critical",
    labels={"team": "{{ no template }}"},
    annotations={
        "summary": "{pow:.1%} of {users} users in {region}/{cdn} would rate poor, at least {lower:.3f}",
        "more": "{alert} {service} {severity} {window} {threshold:.0%} {value} {gob:.2f} {{braces}} {{{{",
    },
)

EVERY = (
    ALL,
    _rule("Plain", confident=False, min_sessions=0, for_s=0, recovery=0.1),
    _rule("Gob", AlertMetric.GOB, 0.6, 0.75, all_thetas=True, window_s=60, for_s=90),
    _rule("Mos", AlertMetric.MOS, 3, 3.5, all_thetas=True, annotations={"s": "{value:.2f} {upper:.2f} {mos}"}),
    _rule("Quantile", AlertMetric.QUANTILE, 2.0, 2.5, quantile=0.05, annotations={"s": "{opinion_quantile:.1f}"}),
    _rule("Open", AlertMetric.OPEN_STALLS, 0.3, 0.2, window_s=60, annotations={"s": "{value:.0%} of {users}"}),
    _rule("OpenAny", AlertMetric.OPEN_STALLS, 0.3, 0.2, window_s=60, min_sessions=0),
    _rule(
        "Nasty", groups={"region": [NASTY, 'x"y'], "cdn": [NASTY]}, annotations={"s": "{region} {cdn} {pow:.3g}"}
    ),
    _rule("NoCdn", groups={"cdn": [""]}, annotations={"s": "in {cdn}{region}"}),
    _rule("ByCdn", by=("cdn",), all_thetas=True, annotations={"s": "{pow:.0%} of {users} in {cdn}, {lower:.2f}"}),
    _rule("Whole", AlertMetric.QUANTILE, 2.0, 2.5, quantile=0.05, by=(), annotations={"s": "{value:.1f}"}),
    _rule(
        "OpenByCdn", AlertMetric.OPEN_STALLS, 0.3, 0.2, window_s=60, by=("cdn",), annotations={"s": "{value:.0%}"}
    ),
    _rule(
        "SomeByCdn",
        by=("cdn",),
        groups={"region": ["eu", "100% `us`", NASTY], "cdn": ["a", "b"]},
        annotations={"s": "{pow:.3g} in {cdn}"},
    ),
    # Missing sessions, of a service and of groups.
    _rule(
        "Silent",
        AlertMetric.ABSENT,
        120,
        0,
        by=(),
        for_s=0,
        annotations={"s": "{value:.0f} s, {users} of {service}"},
    ),
    _rule(
        "SilentGroup", AlertMetric.ABSENT, 300, 0, for_s=0, groups={"region": ["eu"]}, annotations={"s": "{region}"}
    ),
    _rule("Fall", AlertMetric.DROP, 0.4, 0.25, by=(), annotations={"s": "{value:.0%} of {users} of {service}"}),
    _rule("FallOfGroup", AlertMetric.DROP, 0.5, 0.25, confident=False, min_sessions=0),
    # The model of a service.
    _rule(
        "Off",
        AlertMetric.MODEL,
        1,
        1,
        by=(),
        for_s=0,
        min_sessions=0,
        confident=False,
        annotations={
            "s": "{service} {way} {since} {bias:.2f} {lower:.2f} {upper:.2f} {spread:.2f} {users} {days} {value}",
            "fit": "qoemon feedback fit {service}",
        },
    ),
    # One name for several services; the second has no band.
    _rule("Twice", for_s=0),
    _rule("Twice", service="web", all_thetas=True, for_s=0),
)


def _promtool(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "Debian package prometheus"), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def _tested(directory: Path, rules: str, tests: str) -> subprocess.CompletedProcess[str]:
    (directory / RULES_FILE).write_text(rules)
    (directory / "test.yml").write_text(tests)
    return _promtool(directory, "test", "rules", "test.yml")


def _sample() -> PromFiles:
    """What `qoemon rules -c config/qoemon.yaml` is about."""
    return prometheus_files(load(ROOT / "config/qoemon.yaml"), "config/qoemon.yaml")


def _only(text: str, *, groups: str = "", tests: str = "") -> dict:
    """A file with only those rule groups, or tests, whose name matches."""
    content = yaml.safe_load(text)
    for key, pattern in (("groups", groups), ("tests", tests)):
        if pattern:
            content[key] = [part for part in content[key] if re.match(pattern, part["name"])]
            assert content[key]
    return content


@pytest.mark.prometheus
def test_rules_of_the_sample_configuration_hold(tmp_path):
    files = _sample()
    tested = _tested(tmp_path, files.rules(), files.tests())
    assert tested.returncode == 0, tested.stdout + tested.stderr
    (tmp_path / "prometheus.yml").write_text(files.scrape("127.0.0.1:9877"))
    for arguments in (("rules", RULES_FILE), ("config", "prometheus.yml")):
        checked = _promtool(tmp_path, "check", *arguments)
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
        assert "duplicate" not in checked.stdout


def _holds(directory: Path, config: Config) -> None:
    """Its rules pass their tests, without those of burn rates.

    They are the same for all, and promtool needs minutes for them: test_rules_of_the_sample_configuration_hold.
    """
    files = prometheus_files(config)
    tests = _only(files.tests(), tests="(?!QoemonSloBurn)")
    tested = _tested(directory, files.rules(), write(tests, ""))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.prometheus
@pytest.mark.parametrize("inputs", [{"mqtt": None, "collector": {}}, {"collector": {}}], ids=["collector", "both"])
def test_rules_of_a_collector_hold(tmp_path, inputs):
    _holds(tmp_path, Config.model_validate(inputs))


OF_BRIDGE = tuple(kafka_metrics(ProducerStats(), 0))
CLUSTER = {
    "mqtt": {},
    "engine": {"kind": "spark", "checkpoint": "/checkpoint"},
    "kafka": {"brokers": ["kafka1:9092"]},
    "state": {"dir": "/state"},
}


@pytest.mark.prometheus
def test_rules_of_a_cluster_hold(tmp_path):
    _holds(tmp_path, Config.model_validate(CLUSTER))
    checked = _promtool(tmp_path, "check", "rules", RULES_FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_only_a_cluster_has_rules_on_one():
    about = re.compile("qoemon_cluster|qoemon_bridge")
    assert {"QoemonClusterLag", "QoemonBridgeUndelivered"} <= _alerts(
        prometheus_files(Config.model_validate(CLUSTER))
    )
    assert not about.search(_sample().rules())


def _alerts(files: PromFiles) -> set[str]:
    groups = yaml.safe_load(files.rules())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("alert", "right", "wrong"),
    [
        ("QoemonClusterLag", "> 30", "> 40"),
        ("QoemonBridgeUndelivered", " and rate(qoemon_bridge_records_total[2m]) == 0", ""),
        ("QoemonBridgeNotConnected", "== 0", "< 0"),
    ],
)
def test_a_rule_on_a_cluster_that_is_wrong_fails_its_test(tmp_path, alert, right, wrong):
    files = prometheus_files(Config.model_validate(CLUSTER))
    rules, tests = _only(files.rules(), groups="qoemon-daemon"), _only(files.tests(), tests=alert)
    (rule,) = [each for each in rules["groups"][0]["rules"] if each.get("alert") == alert]
    assert right in rule["expr"]
    rule["expr"] = rule["expr"].replace(right, wrong)
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    assert tested.returncode == 1
    assert f"alertname: {alert}," in tested.stdout + tested.stderr


PAIR = {"pair": {"name": "a", "peer": {"url": "http://qoemon-b:9877"}}}


@pytest.mark.prometheus
@pytest.mark.parametrize("right", [True, False])
def test_rules_of_a_pair_hold_and_can_fail(tmp_path, right):
    files = prometheus_files(Config.model_validate(PAIR))
    rules, tests = _only(files.rules(), groups="qoemon-daemon"), _only(files.tests(), tests="QoemonNoLeader")
    (rule,) = [each for each in rules["groups"][0]["rules"] if each.get("alert") == "QoemonNoLeader"]
    if not right:
        rule["expr"] = "qoemon_leader == 0"  # Of each daemon: the one that stands by would always alert.
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    assert (tested.returncode == 0) is right, tested.stdout + tested.stderr
    assert {"QoemonNoLeader", "QoemonPeerDown"} <= _alerts(files)
    assert not {"QoemonNoLeader", "QoemonPeerDown"} & _alerts(_sample())


def test_a_takeover_is_no_alert_however_long_the_lease_is():
    """While a lease runs out after the death of its holder, neither daemon sends."""
    pair = {**PAIR["pair"], "lease": "5m"}
    rules = _only(prometheus_files(Config.model_validate({"pair": pair})).rules(), groups="qoemon-daemon")
    (rule,) = [each for each in rules["groups"][0]["rules"] if each.get("alert") == "QoemonNoLeader"]
    assert duration.seconds(rule["for"]) > duration.seconds("5m")


def test_without_a_broker_no_rule_is_about_one():
    """They would be silent for lack of metrics, or fire."""
    rules = prometheus_files(Config.model_validate({"mqtt": None, "collector": {}})).rules()
    assert "qoemon_mqtt" not in rules
    assert "qoemon_messages_total" not in rules
    withheld = next(line for line in rules.splitlines() if "inbox is repeatedly full" in line)
    assert "answers requests with 429" in withheld
    assert "broker" not in withheld


@pytest.mark.prometheus
def test_rules_with_every_feature_hold(tmp_path):
    files = PromFiles(PLAN, EVERY, objectives={}, job='q "1"')
    tests = _only(files.tests(), tests="|".join(rule.name for rule in EVERY))
    tested = _tested(tmp_path, files.rules(), write(tests, ""))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    checked = _promtool(tmp_path, "check", "rules", RULES_FILE)
    assert checked.returncode == 0
    assert "duplicate" not in checked.stdout


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "rule",
    [rule for rule in EVERY if rule.name in {ALL.name, "Gob", "Open", "ByCdn", "OpenByCdn", "Silent", "Fall"}],
    ids=lambda rule: rule.name,
)
def test_prometheus_decides_as_the_daemon_whatever_happens(tmp_path, rule):
    """Random phases, a minute per step, evaluated by decide() and by Prometheus at each step."""
    prom = PromRule.of(rule, PLAN, "qoemon")
    found = replace(alertcase.case_of(prom, _random_phases(prom, random.Random(7))), name="random")
    firing = [bool(check.firing) for check in found.checks]
    assert 0.2 < sum(firing) / len(firing) < 0.9
    rules = _only(PromFiles(PLAN, [rule]).rules(), groups="qoemon-users")
    tests = {"rule_files": [RULES_FILE], "evaluation_interval": "1m", "tests": [found.as_dict()]}
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def _random_phases(prom: PromRule, draw: random.Random) -> list[Phase]:
    rule = prom.rule
    figures = [
        rule.threshold,
        rule.recovery,
        (rule.threshold + rule.recovery) / 2,
        3 * rule.threshold - 2 * rule.recovery,
    ]
    users = [rule.min_sessions - 1, 64, 64, 128, 128]
    phases = [Phase("first", 3, alertcase.confident_sample(prom, 3 * rule.recovery - 2 * rule.threshold))]
    while len(phases) < 300:
        what, length = draw.random(), draw.randint(1, 5)
        if what < 0.03:
            phases.append(Phase("away", draw.randint(1, 50), known=False, scraped=False, evaluated=False))
            phases.append(Phase("back", 2, known=False, evaluated=False))
        elif what < 0.08:
            phases.append(Phase("gone", length, known=False))
        elif what < 0.15:
            phases.append(Phase("nothing", length))
        else:
            one = draw.choice(figures)
            sure = draw.random() < 0.7
            doubted = Sample(
                one,
                one if sure or not prom.bound else draw.choice(figures),
                tuple(one if sure else draw.choice(figures) for _ in prom.band if prom.by_theta),
                draw.choice(users),
            )
            phases.append(Phase("some", length, doubted))
    return phases


MUTATIONS = {
    "begins without asking for sessions": (r"\n *and [^\n]*qoemon_window_users[^\n]* >= 50(?=\n\)\nor)", ""),
    "ends without asking for sessions": (r"\n *and [^\n]*qoemon_window_users[^\n]* >= 50(?=\n  \)\n)", ""),
    "does not ask for the bound": (r"\n *and [^\n]*_bound[^\n]*", ""),
    "asks for the bound of another rule": (r'(_bound\{[^}]*)alert="[^"]*"', r'\1alert="another"'),
    "does not ask for the thetas": (r"\n *and [^\n]*_theta[^\n]*", ""),
    "asks for one theta only": (r"min without \(window, theta\)", "max without (window, theta)"),
    "begins past, not at, the threshold": (r">= 0\.1\n", "> 0.1\n"),
    "ends below, not at, the threshold": (r"<= 0\.05", "< 0.05"),
    "has one threshold only": (r"<= 0\.05", "<= 0.1"),
    "takes any group": (r',region=~"[^"]*"', ""),
    "takes any window": (',window="5m"', ""),
    "takes any service": (r'(qoemon_\w+\{)service="video",', r"\1"),
    "forgets that it fires": (r"and on \([^)]*\) ALERTS", "and on (job) ALERTS_OF_ANOTHER"),
    "always fires": (r"and on \([^)]*\) ALERTS\{[^}]*\}", ""),
    "ends without data": (r"or\n +NaN \*", "unless"),
    "ends with the daemon": (r"last_over_time\(([^\n]*)\[1h\]\)", r"\1"),
    "outlives its group": (r"\n *unless on \(job, instance\)[^\n]*", ""),
    "ends as the daemon starts": ("> 120", "> 0"),
    "never ends": (r"unless \(\n", "unless (vector(0) > 1 and on ()\n"),
}


@pytest.mark.prometheus
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_rule_with_another_meaning_fails_its_test(tmp_path, mutation):
    files = PromFiles(PLAN, [ALL])
    rules = _only(files.rules(), groups="qoemon-users")
    tests = _only(files.tests(), tests="all-features")
    rule = rules["groups"][0]["rules"][0]
    mutant = re.sub(*MUTATIONS[mutation], rule["expr"])
    assert mutant != rule["expr"]
    rule["expr"] = mutant
    assert _tested(tmp_path, write(rules, ""), write(tests, "")).returncode == 1
    assert _promtool(tmp_path, "check", "rules", RULES_FILE).returncode == 0, "it is not even a rule"


@pytest.mark.prometheus
@pytest.mark.parametrize("key", ["for", "labels", "annotations"])
def test_a_rule_with_other_labels_or_annotations_fails_its_test(tmp_path, key):
    files = PromFiles(PLAN, [ALL])
    rules = _only(files.rules(), groups="qoemon-users")
    del rules["groups"][0]["rules"][0][key]
    tests = _only(files.tests(), tests="all-features")
    assert _tested(tmp_path, write(rules, ""), write(tests, "")).returncode == 1


@pytest.mark.prometheus
@pytest.mark.parametrize(("always", "verdict"), [("vector(0) > 1", "fires"), ("vector(1)", "does not fire")])
def test_daemon_rules_are_seen_both_firing_and_not(tmp_path, always, verdict):
    files = PromFiles(PLAN, (), objectives={})
    rules = _only(files.rules(), groups="qoemon-daemon")
    alerts = [rule for rule in rules["groups"][0]["rules"] if "alert" in rule]
    for rule in alerts:
        rule |= {"expr": always, "for": "0s"}
    tests = _only(files.tests(), tests=f"Qoemon.* {verdict}")
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    found = tested.stdout + tested.stderr
    assert [rule["alert"] for rule in alerts if f"alertname: {rule['alert']}," not in found] == []
    assert len(tests["tests"]) == len(alerts)


SEEN_BY = {
    "long window": "begun too recently",
    "short window": "without history, with it, and burning no longer",
    "ratings": "too few ratings",
    "records": "not recorded for most of the time",
    "history": "without history, with it, and burning no longer",
}
"""The conditions of a burn rate, in their order, and the case that fails if one is missing."""


@pytest.mark.prometheus
@pytest.mark.parametrize("alert", ["QoemonSloBurn1h", "QoemonSloBurn6h"])
@pytest.mark.parametrize("without", SEEN_BY)
def test_a_burn_rate_without_one_of_its_conditions_fails_its_test(tmp_path, alert, without):
    place = list(SEEN_BY).index(without)
    files = PromFiles(PLAN, ())
    rules = _only(files.rules(), groups="qoemon-slo")
    for rule in rules["groups"][0]["rules"]:
        if rule.get("alert") == alert:
            conditions = rule["expr"].split("and ")
            assert len(conditions) == len(SEEN_BY)
            rule["expr"] = "and ".join([*conditions[:place], *conditions[place + 1 :]])
    tests = _only(files.tests(), tests=f"{alert}, {SEEN_BY[without]}$")
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    assert tested.returncode == 1
    assert f"alertname: {alert}," in tested.stdout + tested.stderr


def test_values_of_a_selector_are_taken_as_they_are():
    several = json.loads(selector("m", {"a": ["x.y", NASTY, ""]}).removeprefix("m{a=~").removesuffix("}"))
    values = ("x.y", NASTY, "", "x-y", "x")
    assert [value for value in values if re.fullmatch(several, value)] == ["x.y", NASTY, ""]
    assert selector("m", {"a": ["x.y"], "b": 'q"'}) == 'm{a="x.y",b="q\\""}'


@pytest.mark.prometheus
def test_longer_rating_intervals_get_longer_windows(tmp_path):
    """With ratings every 10 minutes only, 5 minutes would often have none."""
    settings = {"sessions": {"rating_interval": "10m", "timeout": "10m"}, "windows": ["10m"]}
    files = PromFiles(core_plan(Config(**settings)), ())
    rules, tests = _only(files.rules(), groups="qoemon-slo"), _only(files.tests(), tests="shares|QoemonSloBurn1h")
    assert "rate5m" not in str(rules)
    tested = _tested(tmp_path, write(rules, ""), write(tests, ""))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_rules_use_only_metrics_that_the_daemon_exports():
    snapshot = OneShard(PLAN).snapshot(0)
    watched = Detector(PLAN, (), RegimeRules()).observe(snapshot)
    exported = Exporter().render(snapshot, watched, initial_metrics()).metrics.whole.decode()
    known = set(re.findall(r"^# TYPE (\S+)", exported, re.MULTILINE))
    known |= {f"{name}_{part}" for name in known for part in ("sum", "count")}
    known |= {f"{each.name}_total" if each.type == "counter" else each.name for each in OF_BRIDGE}
    both = core_plan(Config.model_validate({"collector": {}}))
    files = PromFiles(both, EVERY, clustered=True, lease_s=10)
    rules = [rule for group in yaml.safe_load(files.rules())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for text in (files.rules(), files.tests()):
        used = set(re.findall(r"(?<![\w:])(?:qoemon|process)_\w+(?![\w:])(?=\W)", text))
        used |= {name for name in re.findall(r"[\w]+:[\w:]+:\w+", text) if name not in recorded}
        assert used <= known, sorted(used - known)


@pytest.mark.parametrize("name", ["rules.yml", "rules_test.yml", "prometheus.yml"])
def test_copies_are_what_the_program_writes(name):
    files = _sample()
    written = {"rules.yml": files.rules, "rules_test.yml": files.tests}
    text = files.scrape("127.0.0.1:9877") if name == "prometheus.yml" else written[name]()
    assert (ROOT / "config/prometheus" / name).read_text() == text


def test_files_say_which_command_wrote_them_and_are_stable():
    first, again = (PromFiles(PLAN, EVERY, options=("-c", "my.yaml")) for _ in range(2))
    assert first.rules().startswith("# Written by: qoemon rules -c my.yaml\n")
    assert first.tests().startswith("# Written by: qoemon rules -c my.yaml --tests\n")
    assert PromFiles(PLAN, EVERY).scrape("127.0.0.1:9877").startswith("# Written by: qoemon rules --scrape\n")
    assert (first.rules(), first.tests()) == (again.rules(), again.tests())


@pytest.mark.parametrize(
    ("template", "words"),
    [("{nobody}", "found {nobody}, expected one of service, region, cdn"), ("{pow:>9}", "found {pow:>9}")],
)
def test_annotations_without_counterpart_are_refused(template, words):
    with pytest.raises(AnnotationError, match="alert Poor: annotation s") as error:
        PromFiles(PLAN, [_rule(annotations={"s": template})]).rules()
    assert words in str(error.value)


@pytest.mark.parametrize("service", PLAN.services, ids=lambda service: service.name)
@pytest.mark.parametrize("objective", [0.1, 0.5, 0.9, 0.95, 0.99, 0.999])
def test_every_burn_rate_can_be_reached(service, objective):
    slo = Slo(service, objective)
    least = [slo.threshold(burn) for burn in slo.burns]
    assert all(1 - slo.worst < share < 1 for share in least)
    assert least == sorted(least)
    assert least[-1] == pytest.approx(objective)


def test_burn_rates_are_those_of_the_workbook_where_they_can_be_reached():
    assert Slo(PLAN.services[0], 0.99).burns == BURNS


@pytest.mark.parametrize("objective", [0.0, 0.01, 1.0])
def test_objectives_that_cannot_be_met_or_missed_are_refused(objective):
    with pytest.raises(ObjectiveError, match="service video: found the objective"):
        PromFiles(PLAN, (), {"video": objective}).rules()
