"""Alerts from what viewers report to those who are told: real brokers, Prometheuses and Alertmanagers.

One story is played and watched; the tests look at what was seen. Sixty viewers in Europe are well served, then not,
then well again. Eight in the US are badly served all the time, which is too few to say so.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.hook import Hook
from tests.support.parts import Alertmanager, Daemon, Mosquitto, Prometheus, get
from tests.support.patience import until
from tests.support.viewers import EU, US, VIEWERS, Viewers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.viewers import Group

pytestmark = [pytest.mark.mosquitto, pytest.mark.prometheus, pytest.mark.alertmanager]

ALERTS = {EU: "ManyPoorInEurope", US: "ManyPoorInTheUs"}
THRESHOLD, RECOVERY = 0.3, 0.2
TICK_S, BASE = 1, "5s"

URL = "https://qoe.example.org/monitoring"

WORD = "hunter2"
"""Signs what the webhook gets."""


def settings(broker: int, alertmanager: int, webhook: str) -> dict[str, Any]:
    """Two rules that differ in nothing but the region."""
    rule = {"service": "video", "metric": "pow", "threshold": THRESHOLD, "recovery": RECOVERY, "min_sessions": 20}
    return {
        "mqtt": {"host": "127.0.0.1", "port": broker, "reconnect": {"min": "100ms", "max": "200ms"}},
        "sessions": {"tick": "1s", "rating_interval": BASE, "timeout": "60s", "min_active": "1s"},
        "windows": [BASE, "15s"],
        "alerts": [rule | {"name": name, "groups": {"region": region}} for (region, _), name in ALERTS.items()],
        "regimes": {"dwell": 2},
        "http": {"url": f"{URL}/"},
        "notify": {
            "resend": "2s",
            "expire": "60s",
            "alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager}"}],
            "webhooks": [{"url": webhook, "secret": WORD}],
        },
    }


class Look(NamedTuple):
    """What was to be seen at a time.

    snapshot  the daemon's newest, {} if there was none
    fires     what fires at the Alertmanager that is told by the daemon, and at the one told by Prometheus
    """

    at_s: float
    snapshot: dict[str, Any]
    fires: dict[str, list[dict[str, Any]]]

    def alert(self, group: Group) -> dict[str, Any] | None:
        """The alert of a group in the snapshot."""
        of_group = [alert for alert in self.snapshot.get("alerts", []) if tuple(labels(alert)) == group]
        assert len(of_group) <= 1
        return of_group[0] if of_group else None

    def pow_bounds(self, group: Group) -> tuple[float, float] | None:
        """In the base window; None if nothing was judged in it."""
        for service in self.snapshot.get("services", []):
            for of_group in service["groups"]:
                if tuple(labels(of_group)) == group and BASE in of_group["windows"]:
                    lower, upper = of_group["windows"][BASE]["pow_bounds"]
                    return lower, upper
        return None

    def firing(self, via: str, group: Group) -> list[dict[str, Any]]:
        """The alerts of a group at one of the Alertmanagers."""
        return [alert for alert in self.fires[via] if alert["labels"]["alertname"] == ALERTS[group]]

    def is_firing(self, *via: str) -> bool:
        """Whether Europe's alert is at each of them."""
        return all(self.firing(name, EU) for name in via)


def labels(told: Mapping[str, Any]) -> Iterator[str]:
    return (told["labels"][name] for name in ("region", "cdn"))


VIA = ("daemon", "prometheus")


@dataclass
class Stage:
    """All parts, and all that was seen of them."""

    daemon: Daemon
    viewers: Viewers
    hook: Hook
    alertmanagers: dict[str, Alertmanager]
    prometheus: Prometheus
    looks: list[Look] = field(default_factory=list)

    def look(self) -> Look:
        fires = {via: part.alerts() for via, part in self.alertmanagers.items()}
        self.looks.append(Look(time.time(), self.daemon.snapshot(), fires))
        return self.looks[-1]

    def until(self, condition: Callable[[Look], object]) -> None:
        """Keep looking until it holds."""

        def look() -> object:
            time.sleep(0.15)
            return condition(self.look())

        until(look, self._seen)

    def go_on(self, for_s: float) -> None:
        """Keep looking for a while."""
        end_s = time.time() + for_s
        self.until(lambda look: look.at_s > end_s)

    def _seen(self) -> str:
        last = self.looks[-1]
        return f"{last.snapshot.get('alerts')}; {last.fires}; {self.hook.told}; {self.daemon.log.read_text()}"


@contextmanager
def staged(directory: Path, bad: set[Group], **more: Any) -> Iterator[Stage]:
    """The parts, and viewers of whom some groups are badly served from the beginning.

    more  settings instead of those of the story
    """
    with ExitStack() as parts:
        enter = parts.enter_context
        alertmanagers = {via: enter(Alertmanager(directory, name=f"alertmanager-{via}")) for via in VIA}
        broker, hook = enter(Mosquitto(directory)), enter(Hook())
        daemon = enter(Daemon(directory, settings(broker.port, alertmanagers["daemon"].port, hook.url) | more))
        told = alertmanagers["prometheus"].port
        prometheus = enter(Prometheus(directory, {"qoemon": daemon.port}, rules=daemon.rules(), alertmanager=told))
        yield Stage(daemon.ready(), enter(Viewers(broker.port, bad)), hook, alertmanagers, prometheus)


@dataclass
class Story:
    """What has been seen in the order of Look.at_s.

    posted   what the webhook got
    samples  of /metrics, at the end
    scraped  Europe's figures as Prometheus has them, and where its rule fired: values by time
    missed   evaluations of rules that Prometheus had no time for
    """

    looks: list[Look]
    recovering_s: float
    posted: list[tuple[Mapping[str, str], bytes]]
    resolved: dict[str, float]
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    scraped: dict[str, dict[float, float]]
    missed: float

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.posted]

    def first(self, condition: Callable[[Look], object], after_s: float = 0.0) -> Look:
        return next(look for look in self.looks if look.at_s > after_s and condition(look))

    @property
    def passed(self) -> tuple[int, int]:
        """The last tick at which the bound is not past the threshold, and the first at which it is."""
        before, at = next(pair for pair in pairwise(self.looks) if past(pair[1]))
        return before.snapshot["time_s"], at.snapshot["time_s"]


def past(look: Look) -> bool:
    bounds = look.pow_bounds(EU)
    return bounds is not None and bounds[0] >= THRESHOLD


def time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with staged(tmp_path_factory.mktemp("story"), bad={US}) as stage:
        stage.until(lambda look: look.pow_bounds(EU) and look.pow_bounds(US))
        stage.go_on(3)
        stage.viewers.bad = {EU, US}
        stage.until(lambda look: look.is_firing(*VIA))
        stage.go_on(2)
        stage.viewers.bad = {US}
        recovering_s = time.time()
        stage.until(lambda look: not any(look.is_firing(via) for via in VIA))
        stage.go_on(3)  # Longer than it takes until what fires is told again.
        stage.until(lambda _: regimes(stage.daemon.samples()))
        resolved = {via: part.resolved() for via, part in stage.alertmanagers.items()}
        scraped, missed = in_prometheus(stage.prometheus)
        yield Story(stage.looks, recovering_s, stage.hook.posted, resolved, stage.daemon.samples(), scraped, missed)


def in_prometheus(prometheus: Prometheus) -> tuple[dict[str, dict[float, float]], float]:
    """As Story.scraped and Story.missed."""
    of = 'region="eu",cdn="a"'
    series = {
        "pow": f'qoemon_pow_ratio{{{of},window="{BASE}"}}',
        "lower": f'qoemon_alert_bound{{{of},alert="{ALERTS[EU]}"}}',
        "fires": f'ALERTS{{alertname="{ALERTS[EU]}",alertstate="firing"}}',
    }
    scraped = {}
    for name, selector in series.items():
        (found,) = prometheus.query(f"{selector}[1h]")
        scraped[name] = {at_s: float(value) for at_s, value in found["values"]}
    own = get(prometheus.port, "/metrics").body
    missed = re.findall(r"^prometheus_rule_group_iterations_missed_total\{.*\} (\S+)$", own, re.MULTILINE)
    return scraped, sum(map(float, missed))


def regimes(samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]) -> list[float]:
    """Europe's, if it is known."""
    of = (("cdn", "a"), ("region", "eu"), ("service", "video"))
    return [value for (name, labels), value in samples.items() if (name, labels) == ("qoemon_pow_regime", of)]


def test_alert_at_alertmanager_begins_within_two_ticks_of_the_bound_passing_the_threshold(story: Story) -> None:
    last_quiet_s, passed_s = story.passed
    seen = story.first(lambda look: look.is_firing("daemon"))
    (alert,) = seen.firing("daemon", EU)
    assert alert["generatorURL"] == URL
    assert last_quiet_s < time_of(alert["startsAt"]) <= passed_s + 2 * TICK_S


def test_generated_rules_say_the_same_within_two_ticks_of_the_scrape(story: Story) -> None:
    last_quiet_s, _ = story.passed
    seen = story.first(lambda look: look.is_firing("prometheus"))
    (alert,) = seen.firing("prometheus", EU)
    assert last_quiet_s < time_of(alert["startsAt"])
    late_s = (2 + story.missed) * TICK_S
    passed_s = next(at_s for at_s, lower in story.scraped["lower"].items() if lower >= THRESHOLD)
    assert passed_s <= min(story.scraped["fires"]) <= passed_s + late_s
    recovered_s = next(
        at_s
        for at_s, value in story.scraped["pow"].items()
        if at_s > story.recovering_s and value <= RECOVERY and story.scraped["lower"][at_s] < THRESHOLD
    )
    assert max(story.scraped["fires"]) <= recovered_s + late_s
    assert alert["labels"].items() >= {"region": "eu", "cdn": "a", "service": "video", "job": "qoemon"}.items()


@pytest.mark.parametrize("via", VIA)
def test_alert_is_resolved_after_recovery_and_fires_once_until_then(story: Story, via: str) -> None:
    recovered = story.first(lambda look: not past(look) and is_back(look), story.recovering_s)
    (end_s,) = (time_of(told["ends_at"]) for told in map(json.loads, story.bodies) if told["ends_at"])
    assert end_s <= recovered.snapshot["time_s"] + 2 * TICK_S
    firing = [look for look in story.looks if look.is_firing(via)]
    assert len({alert["startsAt"] for look in firing for alert in look.firing(via, EU)}) == 1
    assert story.recovering_s < firing[-1].at_s
    first, last = story.looks.index(firing[0]), story.looks.index(firing[-1])
    assert len(firing) == last - first + 1, "it was away in between"
    assert story.resolved[via] > 0


def is_back(look: Look) -> bool:
    alert = look.alert(EU)
    return alert is not None and alert["value"] is not None and alert["value"] <= RECOVERY


def test_webhook_gets_one_firing_and_one_resolve_signed(story: Story) -> None:
    firing, resolved = (json.loads(body) for body in story.bodies)
    assert [told["state"] for told in (firing, resolved)] == ["firing", "resolved"]
    for told in (firing, resolved):
        assert (told["alert"], told["service"], told["url"]) == (ALERTS[EU], "video", URL)
        assert told["groups"] == {"region": "eu", "cdn": "a"}
    assert (firing["reason"], resolved["reason"]) == ("past_threshold", "recovered")
    assert firing["figures"]["lower"] >= THRESHOLD
    assert resolved["figures"]["value"] <= RECOVERY
    assert firing["starts_at"] == resolved["starts_at"]
    assert firing["ends_at"] is None
    assert time_of(resolved["ends_at"]) > story.recovering_s
    for headers, body in story.posted:
        signature = hmac.new(WORD.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Qoemon-Signature"] == f"sha256={signature}"
        assert headers["X-Qoemon-Id"] == json.loads(body)["id"]


def test_eight_sessions_do_not_page_however_bad_and_it_is_said_why(story: Story) -> None:
    seen = [alert for look in story.looks if (alert := look.alert(US))]
    would_page = [alert for alert in seen if alert["value"] is not None and alert["value"] >= THRESHOLD]
    judged = [alert for alert in seen if alert["users"] == 8]
    assert len(would_page) > len(judged) / 2 > 0
    assert {(alert["state"], alert["reason"], alert["users"]) for alert in would_page} == {
        ("inactive", "too_few_sessions", 8)
    }
    assert {alert["state"] for alert in seen} == {"inactive"}
    assert not any(look.firing(via, US) for look in story.looks for via in VIA)
    assert {json.loads(body)["groups"]["region"] for body in story.bodies} == {"eu"}


def test_alert_states_are_exported(story: Story) -> None:
    def state(group: Group) -> float:
        region, cdn = group
        of = {"service": "video", "region": region, "cdn": cdn, "alert": ALERTS[group], "severity": "warning"}
        return story.samples["qoemon_alert_state", tuple(sorted(of.items()))]

    assert (state(EU), state(US)) == (0, 0)
    changes = {
        (labels["state"], labels["reason"]): value
        for name, pairs in story.samples
        if name == "qoemon_alert_transitions_total" and (labels := dict(pairs))["alert"] == ALERTS[EU]
        for value in [story.samples[name, pairs]]
    }
    assert changes["firing", "past_threshold"] == changes["inactive", "recovered"] == 1


def test_regime_is_exported_once_it_is_known(story: Story) -> None:
    assert regimes(story.samples)[0] in {0, 1, 2}


@pytest.mark.parametrize(("group", "window"), [(EU, BASE), (US, BASE), (EU, "15s")])
def test_bounds_are_exported_around_what_they_are_of(story: Story, group: Group, window: str) -> None:
    of = {"service": "video", "region": group[0], "cdn": group[1], "window": window}
    for name in ("qoemon_mos", "qoemon_gob_ratio", "qoemon_pow_ratio"):
        lower, upper = (
            story.samples[f"{name}_bound", tuple(sorted({**of, "bound": end}.items()))]
            for end in ("lower", "upper")
        )
        assert lower <= story.samples[name, tuple(sorted(of.items()))] <= upper
        assert lower < upper


def absent_alerts(look: Look, via: str) -> list[dict[str, Any]]:
    return [alert for alert in look.fires[via] if alert["labels"]["alertname"] == "ReportsAbsent"]


def test_viewers_who_do_not_reach_the_broker_are_absent_for_the_daemon_and_for_prometheus(tmp_path: Path) -> None:
    """What was usual is known after a dozen rating intervals."""
    absent = {"name": "ReportsAbsent", "service": "video", "by": [], "metric": "absent", "for": "4s"}
    absent |= {"min_sessions": 20, "severity": "critical", "annotations": {"text": "{users} before"}}
    more = {
        "sessions": {"tick": "1s", "rating_interval": "2s", "timeout": "60s", "min_active": "1s"},
        "windows": ["2s", "4s"],
        "alerts": [absent],
    }
    usual = ("qoemon_service_usual_sessions", (("service", "video"),))
    with staged(tmp_path, set(), **more) as stage:
        stage.until(lambda _: stage.daemon.samples().get(usual, 0) >= 20)
        stage.go_on(5)
        assert not any(absent_alerts(look, via) for look in stage.looks for via in VIA)
        stage.viewers.__exit__()
        stage.until(lambda look: all(absent_alerts(look, via) for via in VIA))
        for via in VIA:
            (alert,) = absent_alerts(stage.looks[-1], via)
            assert alert["labels"]["severity"] == "critical"
            assert "region" not in alert["labels"]
            assert alert["annotations"]["text"] == f"{sum(VIEWERS.values())} before"


def test_restart_while_an_alert_fires_resolves_nothing(tmp_path: Path) -> None:
    with staged(tmp_path, bad={EU, US}) as stage:
        stage.until(lambda look: look.is_firing(*VIA) and len(stage.hook.posted) == 1)
        stage.looks.clear()
        stage.look()
        assert stage.daemon.signal(signal.SIGTERM) == 0
        stage.go_on(1)
        stage.daemon.start()
        back_s = time.time()
        stage.until(lambda look: (alert := look.alert(EU)) and alert["state"] == "firing")
        stage.until(lambda look: time_of(look.firing("daemon", EU)[0]["updatedAt"]) > back_s)
        stage.go_on(4)  # Twice as long as it takes until what fires is told again.
        for look, via in ((look, via) for look in stage.looks for via in VIA):
            (alert,) = look.firing(via, EU)
            assert time_of(alert["endsAt"]) > look.at_s
            # An alert that ends and begins again begins later.
            assert alert["startsAt"] == stage.looks[0].firing(via, EU)[0]["startsAt"]
        assert stage.alertmanagers["daemon"].resolved() == 0
        assert {told["state"] for told in stage.hook.told} == {"firing"}
