"""The documentation says what the program does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import typer.main
import yaml

from qoemon import cli
from qoemon.core.alert import Reason as AlertReason
from qoemon.core.mapping import MAPPINGS
from qoemon.core.report import Reject, Report

ROOT = Path(__file__).parents[1]


def test_metrics_page_is_what_make_docs_writes():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    assert (ROOT / "docs/metrics.md").read_text() == generate["metrics_page"]()


def test_readme_names_only_metrics_that_exist():
    known = set(re.findall(r"`(qoemon_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for page in (ROOT / "README.md", ROOT / "docs/operations.md"):
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
    quiet |= {"qoemon_mqtt_connects_total", "qoemon_mqtt_disconnects_total", "qoemon_expected_ratings_total"}
    quiet |= {"qoemon_notifications_total", "qoemon_alert_transitions_total", "qoemon_pow_regime_changes_total"}
    counters = set(re.findall(r"`(qoemon_\w+_total)` \| counter", (ROOT / "docs/metrics.md").read_text()))
    explained = set(re.findall(r"qoemon_\w+", (ROOT / "docs/operations.md").read_text()))
    assert counters - quiet <= explained


def test_readme_yaml_and_links_are_whole():
    readme = (ROOT / "README.md").read_text()
    for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL):
        assert yaml.safe_load(block)
    for page in ROOT.glob("**/*.md"):
        if ".venv" in page.parts:
            continue
        for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("reason", list(AlertReason))
def test_every_reason_of_an_alert_is_documented(reason):
    assert f"`{reason}`" in (ROOT / "docs/alerting.md").read_text()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_mapping_is_documented(mapping):
    assert f"| `{mapping}` |" in (ROOT / "docs/mappings.md").read_text()
