"""The alerts of the configuration have one sender, which every generated file names."""

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from qoemon.config.config import Config
from qoemon.tools.rules.delivery import Sender
from qoemon.tools.rules.files import PromFiles
from qoemon.tools.rules.scrape import prometheus_files, targets
from tests.support.parts import ROOT, program

if TYPE_CHECKING:
    from pathlib import Path

ALERTMANAGER = {"url": "http://alertmanager:9093"}
RECEIVERS: dict[str, Any] = {
    "alertmanagers": [ALERTMANAGER],
    "webhooks": [{"url": "https://hooks.example.org/qoe"}],
    "mqtt": {},
}


def files(sender: Sender | None = None, **notify: Any) -> PromFiles:
    """Of a configuration with these receivers."""
    return prometheus_files(Config.model_validate({"notify": notify}), "my.yaml", sender)


def alerts(written: PromFiles) -> set[str]:
    """The alerts that Prometheus would evaluate."""
    groups = yaml.safe_load(written.rules())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def head(text: str) -> str:
    """The comments at the head of a file, as one line."""
    comments = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.removeprefix("# ") for line in comments)


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_what_the_daemon_sends_prometheus_does_not(receiver: str) -> None:
    written = files(**{receiver: RECEIVERS[receiver]})
    assert "ManyPoorRatings" not in alerts(written)
    assert {"QoemonDown", "QoemonSloBurn3d"} < alerts(written)
    assert "ManyPoorRatings" not in written.tests()
    for text in (written.rules(), written.tests(), written.scrape("127.0.0.1:9877")):
        assert f"qoemon sends the alerts of the configuration to notify.{receiver}; Prometheus sends" in head(text)


def test_without_a_receiver_prometheus_sends_all() -> None:
    written = files()
    assert {"ManyPoorRatings", "QoemonDown", "QoemonSloBurn3d"} < alerts(written)
    for text in (written.rules(), written.tests(), written.scrape("127.0.0.1:9877")):
        assert "Prometheus sends all alerts, as notify in the configuration has no receiver" in head(text)
        assert "name your Alertmanager" in head(text)
    assert "alerting" not in yaml.safe_load(written.scrape("127.0.0.1:9877"))


def test_asked_to_send_all_prometheus_does_and_the_head_says_what_to_remove() -> None:
    written = files(Sender.PROMETHEUS, **RECEIVERS)
    assert "ManyPoorRatings" in alerts(written)
    rules = head(written.rules())
    assert rules.startswith("Written by: qoemon rules -c my.yaml --alerting prometheus ")
    assert "remove notify.alertmanagers and notify.webhooks and notify.mqtt from the configuration" in rules


def test_asked_to_send_nothing_prometheus_has_no_rules_for_the_configuration() -> None:
    written = files(Sender.QOEMON)
    assert "ManyPoorRatings" not in alerts(written)
    assert "to nobody, as notify has no receiver" in head(written.rules())


@pytest.mark.parametrize("sender", [None, *Sender])
@pytest.mark.prometheus
def test_prometheus_sends_to_the_alertmanagers_of_the_configuration(tmp_path: Path, sender: Sender | None) -> None:
    (tmp_path / "ca.pem").touch()
    secured = {
        "url": "https://alerts.example.org/am",
        "username": "qoemon",
        "password": "hidden word",
        "ca_file": str(tmp_path / "ca.pem"),
    }
    text = files(sender, alertmanagers=[ALERTMANAGER, {"url": "http://[::1]"}, secured]).scrape("127.0.0.1:9877")
    assert "hidden word" not in text
    plain, version_6, over_tls = yaml.safe_load(text)["alerting"]["alertmanagers"]
    assert plain == {"static_configs": [{"targets": ["alertmanager:9093"]}]}
    assert version_6 == {"static_configs": [{"targets": ["[::1]:80"]}]}
    assert over_tls == {
        "scheme": "https",
        "path_prefix": "/am",
        "tls_config": {"ca_file": str(tmp_path / "ca.pem")},
        "basic_auth": {"username": "qoemon", "password_file": "alertmanager.password"},
        "static_configs": [{"targets": ["alerts.example.org:443"]}],
    }
    (tmp_path / "alertmanager.password").touch()
    (tmp_path / "rules.yml").write_text("groups: []\n")
    (tmp_path / "prometheus.yml").write_text(text)
    promtool = program("promtool", "Debian package prometheus")
    check = [promtool, "check", "config", "prometheus.yml"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("host", "scraped"),
    [("0.0.0.0", "127.0.0.1:9877"), ("::", "127.0.0.1:9877"), ("::1", "[::1]:9877")],  # noqa: S104
)
def test_the_target_is_an_address_that_can_be_reached(host: str, scraped: str) -> None:
    assert targets(Config.model_validate({"http": {"host": host}})) == [scraped]


@pytest.mark.parametrize(
    ("url", "ours"), [(None, "127.0.0.1:9877"), ("https://a.example.org", "a.example.org:443")]
)
def test_both_daemons_of_a_pair_are_scraped(tmp_path: Path, url: str | None, ours: str) -> None:
    file = tmp_path / "my.yaml"
    pair = {"name": "a", "peer": {"url": "http://b.example.org:9877"}}
    settings = {"mqtt": {"client_id": "qoemon-a"}, "state": {"dir": str(tmp_path)}, "pair": pair}
    file.write_text(yaml.safe_dump(settings | {"http": {"host": "0.0.0.0", "url": url}}))  # noqa: S104
    command = [sys.executable, "-m", "qoemon", "rules", "--scrape", "-c", str(file)]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["static_configs"] == [{"targets": [ours, "b.example.org:9877"]}]


def test_the_command_takes_the_sender(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("notify: {webhooks: [{url: https://hooks.example.org/qoe}]}\n")
    command = [sys.executable, "-m", "qoemon", "rules", "-c", str(file)]
    texts = [
        subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for more in ((), ("--alerting", "prometheus"))
    ]
    assert ["ManyPoorRatings" in text for text in texts] == [False, True]
