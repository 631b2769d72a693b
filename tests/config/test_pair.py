"""The section of a pair: its sample, its rules, and those it shares with other sections."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qoemon.cli import main
from qoemon.config.config import Config, load
from qoemon.config.sections.pair import Pair
from qoemon.config.yaml.errors import ConfigError
from tests.support.parts import ROOT

PAIR = "pair: {name: a, peer: {url: 'http://b:9877'}%s}\n"


def loaded(directory: Path, text: str) -> Config:
    file = directory / "qoemon.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, {})


def test_the_sample_shows_every_key_with_its_default() -> None:
    lines = (ROOT / "config" / "qoemon.yaml").read_text(encoding="utf-8").splitlines()
    begin, end = lines.index("# pair:"), lines.index("pair: null")
    shown = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines[begin:end]))["pair"]
    assert set(shown) == set(Pair.model_json_schema()["properties"])
    assert Pair.model_validate(shown) == Pair.model_validate({"name": "a", "peer": shown["peer"]})


def test_without_a_section_there_is_no_pair(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{}").pair is None


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (PAIR % ", lease: 5s", "pair.lease", "at least 10s: a delivery must end within half of it"),
        (PAIR % "" + "mqtt: null\ncollector: {}", "pair", "null: the lease is at the broker, and mqtt is null"),
        (PAIR % ", topic: qoe/v1/+", "pair.topic", "a topic without names in braces and without wildcards"),
        (PAIR % ", topic: a/b/", "pair.topic", "a topic without empty levels"),
        (PAIR % ", topic: qoe/v1/video/eu/a", "pair.topic", "another topic than those of the reports"),
        ("pair: {name: a b, peer: {url: 'http://b:9877'}}", "pair.name", ""),
        ("pair: {name: a, peer: {url: 'http://b', username: a, password: b, password_file: /c}}", "pair.peer", ""),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path: Path, text: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, text)
    [only] = raised.value.problems
    assert only.key.startswith(key)
    assert expected in only.expected


def test_a_cluster_has_no_pair(tmp_path: Path) -> None:
    cluster = "engine: {kind: spark, checkpoint: /tmp/c}\nkafka: {brokers: [k:9092]}\n"
    with pytest.raises(ConfigError, match="a checkpoint has one driver"):
        loaded(tmp_path, cluster + PAIR % "")


def test_check_says_who_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded(tmp_path, PAIR % "" + "notify: {webhooks: [{url: 'http://hook'}]}")
    monkeypatch.setattr("sys.argv", ["qoemon", "check", "-c", str(tmp_path / "qoemon.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    line = next(line for line in capsys.readouterr().out.splitlines() if "pair:" in line)
    assert "this is a, the other daemon is at b:9877" in line
    assert "sends notifications, and is replaced 10s after" in line
