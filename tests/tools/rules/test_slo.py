"""The rules of objectives in a real Prometheus, which knows hours of one service and two minutes of another."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.tools.rules.scrape import prometheus_files
from tests.support.parts import Prometheus, get, program
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATES = {("eu", "a"): (4.0, 0.2), ("us", "a"): (1.0, 0.0), ("us", "b"): (0.2, 0.2)}
"""Of each group: ratings a second, and good ones among them: 4 % in total."""


def recorded(service: str, minutes: int, now_s: int) -> Iterator[str]:
    """The rates that Prometheus would have recorded each minute, as OpenMetrics without their head."""
    for metric, place in (("qoemon_expected_ratings", 0), ("qoemon_expected_ratings_good", 1)):
        rates = {f'region="{region}",cdn="{cdn}",': rate[place] for (region, cdn), rate in RATES.items()}
        levels = {"service_region_cdn": rates, "service": {"": sum(rates.values())}}
        for level, values in levels.items():
            for labels, value in values.items():
                name = f'{level}:{metric}:rate5m{{{labels}service="{service}"}}'
                yield from (f"{name} {value} {now_s - 60 * ago}\n" for ago in range(minutes, -1, -1))


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """One that evaluates the rules every second, on the past of video and the newest minutes of web."""
    past, now_s = tmp_path / "past.txt", int(time.time())
    lines = sorted([*recorded("video", 130, now_s), *recorded("web", 2, now_s)])
    past.write_text("".join(lines) + "# EOF\n")
    create = [program("promtool", "Debian package prometheus"), "tsdb", "create-blocks-from", "openmetrics"]
    made = subprocess.run([*create, past, tmp_path / "tsdb"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    rules = tmp_path / "rules.yml"
    rules.write_text(prometheus_files(Config()).rules().replace("interval: 1m", "interval: 1s"))
    with Prometheus(tmp_path, {}, rules=rules) as part:
        yield part


def objectives(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The rules of objectives, as Prometheus sees them."""
    groups = json.loads(get(prometheus.port, "/api/v1/rules").body)["data"]["groups"]
    (rules,) = [group["rules"] for group in groups if group["name"] == "qoemon-slo"]
    return list(rules)


def firing(prometheus: Prometheus) -> list[dict[str, Any]]:
    """All alerts of the rules of objectives."""
    return [alert for rule in objectives(prometheus) for alert in rule.get("alerts", ())]


@pytest.mark.prometheus
def test_only_a_service_with_history_burns_its_budget_and_the_text_names_the_groups(prometheus: Prometheus) -> None:
    until(lambda: firing(prometheus), lambda: objectives(prometheus))
    began = firing(prometheus)[0]["activeAt"]
    until(lambda: all(rule["lastEvaluation"] > began for rule in objectives(prometheus)))
    (alert,) = firing(prometheus)
    assert (alert["labels"]["alertname"], alert["labels"]["service"]) == ("QoemonSloBurn1h", "video")
    assert alert["annotations"]["summary"].startswith("7.692% of the ratings of video in the last 1h are good")
    words = "the largest share first: region=eu cdn=a 79.17%, region=us cdn=a 20.83%."
    assert alert["annotations"]["description"].endswith(words)
    # The share of the other service is as bad, of what there is.
    (share,) = prometheus.query('service:qoemon_expected_ratings_good:ratio_rate3d{service="web"}')
    assert float(share["value"][1]) == pytest.approx(0.4 / 5.2)
    assert all(rule["health"] == "ok" for rule in objectives(prometheus))
