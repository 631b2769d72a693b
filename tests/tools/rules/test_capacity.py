"""Alerts on what fills up fire while there is time to act, and not for what passes; promtool is the judge."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.tools.rules.files import RULES_FILE
from qoemon.tools.rules.rulefile import write
from qoemon.tools.rules.scrape import prometheus_files
from tests.support.parts import program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.prometheus

GIB, MIB = 2**30, 2**20
FREE, RESIDENT, LIMIT = "qoemon_state_free_bytes", "process_resident_memory_bytes", "qoemon_memory_limit_bytes"
WORKER = "qoemon_worker_memory_bytes"
TARGET = {"job": "qoemon", "instance": "one:9877", "tenant": "shop"}
"""Labels of the target, one of them the operator's own."""


def series(name: str, values: str, **more: str) -> dict[str, str]:
    labels = ",".join(f'{key}="{value}"' for key, value in {**TARGET, **more}.items())
    return {"series": f"{name}{{{labels}}}", "values": values}


def fires(
    tmp_path: Path, alert: str, at_min: int, inputs: list[dict[str, str]], config: dict[str, Any] | None = None
) -> bool:
    """Whether the alert fires after those minutes, for this target, with its labels."""
    (tmp_path / RULES_FILE).write_text(prometheus_files(Config.model_validate(config or {})).rules())

    def verdict(expected: list[dict[str, Any]]) -> bool:
        case = {
            "interval": "1m",
            "input_series": inputs,
            "promql_expr_test": [
                {
                    "expr": f'count without (severity) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": f"{at_min}m",
                    "exp_samples": expected,
                }
            ],
        }
        content = {"rule_files": [RULES_FILE], "evaluation_interval": "1m", "tests": [case]}
        (tmp_path / "test.yml").write_text(write(content, "A test."))
        command = [program("promtool", "Debian package prometheus"), "test", "rules", str(tmp_path / "test.yml")]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    labels = ",".join(
        f'{key}="{value}"' for key, value in {"alertname": alert, "alertstate": "firing", **TARGET}.items()
    )
    fired = verdict([{"labels": f"{{{labels}}}", "value": 1}])
    assert fired is not verdict([])
    return fired


@pytest.mark.parametrize(
    ("values", "at_min", "fired"),
    [
        # Full in 2 h 40 min and 40 min: an hour is left when it fires, or as much as there is.
        (f"{80 * GIB}-{GIB // 2}x300", 80, True),
        (f"{40 * GIB}-{GIB}x300", 28, True),
        # Full in 20 h, which the first six hours do not exceed by chance.
        (f"{100 * GIB}-{100 * GIB // 1200}x600", 200, True),
        # Full in 40 h.
        (f"{100 * GIB}-{100 * GIB // 2400}x600", 400, False),
        # Nearly full, and steady.
        (f"{700 * MIB}x60", 11, True),
        (f"{800 * MIB}x60", 40, False),
        # An export takes 4 of 20 GiB for some minutes.
        (f"{20 * GIB}x60 {16 * GIB}x5 {20 * GIB}x60", 68, False),
        # The first minutes of a daemon: its journal grows to its limit, and then no further.
        (f"{2 * GIB}-{64 * MIB}x4 {2 * GIB - 256 * MIB}x200", 12, False),
        (f"{2 * GIB}-{64 * MIB}x4 {2 * GIB - 256 * MIB}x200", 190, False),
    ],
)
def test_a_disk_that_will_be_full_is_reported_in_time(
    tmp_path: Path, values: str, at_min: int, fired: bool
) -> None:
    assert fires(tmp_path, "QoemonDiskFilling", at_min, [series(FREE, values)]) is fired


def test_without_a_state_directory_nothing_fills(tmp_path: Path) -> None:
    assert not fires(tmp_path, "QoemonDiskFilling", 60, [series("up", "1x60")])


@pytest.mark.parametrize(
    ("own", "workers", "fired"),
    [
        (0.95, (), True),
        (0.85, (), False),
        (0.3, (0.3, 0.35), True),
        (0.3, (0.3, 0.25), False),
    ],
)
def test_memory_is_that_of_the_daemon_and_its_workers(
    tmp_path: Path, own: float, workers: tuple[float, ...], fired: bool
) -> None:
    """Also if the target has labels of its own."""
    inputs = [
        series(RESIDENT, f"{own * GIB:.0f}x30"),
        series(LIMIT, f"{GIB}x30"),
        *(series(WORKER, f"{size * GIB:.0f}x30", worker=str(n)) for n, size in enumerate(workers)),
    ]
    assert fires(tmp_path, "QoemonMemoryNearLimit", 10, inputs) is fired


def test_without_a_limit_of_memory_none_is_near(tmp_path: Path) -> None:
    assert not fires(tmp_path, "QoemonMemoryNearLimit", 10, [series(RESIDENT, f"{100 * GIB}x30")])


@pytest.mark.parametrize("messages", [1, 10, 10_000_000_001])
def test_the_inbox_is_compared_with_its_limit_of_any_size(tmp_path: Path, messages: int) -> None:
    config = {"limits": {"inbox_messages": messages}}
    for waiting in (messages, messages // 2):
        inputs = [series("qoemon_inbox_messages", f"{waiting}x30")]
        assert fires(tmp_path, "QoemonInboxFilling", 10, inputs, config) is (waiting == messages)


def test_groups_near_their_limit_are_reported_with_the_labels_of_the_target(tmp_path: Path) -> None:
    inputs = [
        series("qoemon_expected_ratings_total", "0+1x30", service="video", region="eu", cdn=str(n), rating=rating)
        for n in range(10)
        for rating in ("1", "5")
    ]
    alert, labels = "QoemonGroupsNearLimit", {"service": "video"}
    TARGET.update(labels)
    try:
        assert fires(tmp_path, alert, 10, inputs, {"limits": {"groups": 10}})
        assert not fires(tmp_path, alert, 10, inputs, {"limits": {"groups": 20}})
    finally:
        del TARGET["service"]
