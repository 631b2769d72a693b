"""The section of the collector: its sample, its rules, and those it shares with other sections."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from qoemon.config.config import Config, load
from qoemon.config.plan import core_plan
from qoemon.config.sections.collector import Collector
from qoemon.config.yaml.errors import ConfigError
from qoemon.inputs.http.options import collector_options
from tests.support.parts import ROOT

SAMPLE = ROOT / "config" / "qoemon.yaml"


def loaded(directory: Path, text: str) -> Config:
    file = directory / "qoemon.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, {})


def problem(directory: Path, text: str) -> tuple[str, str]:
    """Key and expectation of the only error."""
    with pytest.raises(ConfigError) as raised:
        loaded(directory, text)
    [only] = raised.value.problems
    return only.key, only.expected


def commented_section() -> str:
    """The keys that the sample shows in comments, as YAML."""
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    end = lines.index("collector: null")
    begin = max(at for at in range(end) if not lines[at])
    shown = [line.removeprefix("#   ") for line in lines[begin:end] if line.startswith("#   ")]
    return "\n".join(shown)


def test_the_sample_shows_every_key_of_the_collector_with_its_default() -> None:
    shown = yaml.safe_load(commented_section())
    assert set(shown) == set(Collector.model_json_schema()["properties"])
    assert Collector.model_validate(shown) == Collector.model_validate({})


def test_every_key_of_the_collector_has_a_comment_in_the_sample() -> None:
    lines = commented_section().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"[a-z_]+:", line):
            assert before.startswith("#"), line


def test_without_a_section_nothing_listens(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{}").collector is None


def test_an_input_is_required(tmp_path: Path) -> None:
    key, expected = problem(tmp_path, "mqtt: null")
    assert (key, "no input" in expected) == ("mqtt", True)
    assert loaded(tmp_path, "{mqtt: null, collector: {}}").topics == ()


@pytest.mark.parametrize(
    ("collector", "http"),
    [
        ("{port: 9877}", "{}"),
        ("{port: 7}", "{port: 7}"),
        ("{port: 7, host: 0.0.0.0}", "{port: 7}"),
        ("{port: 7}", '{port: 7, host: "::"}'),
    ],
)
def test_the_collector_never_has_the_port_of_the_metrics(tmp_path: Path, collector: str, http: str) -> None:
    key, expected = problem(tmp_path, f"{{collector: {collector}, http: {http}}}")
    assert (key, "another port than http.port" in expected) == ("collector.port", True)


@pytest.mark.parametrize(
    ("collector", "http"),
    [("{port: 0}", "{port: 0}"), ("{port: 7, host: 127.0.0.2}", "{port: 7}"), ("{}", "{}")],
)
def test_other_ports_and_addresses_and_any_free_port_are_accepted(
    tmp_path: Path, collector: str, http: str
) -> None:
    assert loaded(tmp_path, f"{{collector: {collector}, http: {http}}}").collector is not None


@pytest.mark.parametrize(
    "path",
    [
        "cmcd/{service}",
        "/cmcd/{shard}/{service}",
        "/a b/{service}",
        "/a%20b/{service}",
        "/a?b={service}",
        "/cmcd/{service}/",
        "/cmcd/{service}/{service}",
        "/cmcd/{service}/#",
    ],
)
def test_a_path_that_no_request_can_have_is_an_error(tmp_path: Path, path: str) -> None:
    key, _ = problem(tmp_path, f"collector: {{paths: ['{path}']}}")
    assert key.startswith("collector.paths.0")


def test_two_paths_that_match_the_same_requests_are_an_error(tmp_path: Path) -> None:
    key, _ = problem(tmp_path, "collector: {paths: ['/{service}/a', {template: '/b/+', service: web}]}")
    assert key == "collector.paths.1"


def test_a_path_has_one_service(tmp_path: Path) -> None:
    assert "service" in problem(tmp_path, "collector: {paths: [/a]}")[1]
    both = "collector: {paths: [{template: '/{service}', service: web}]}"
    assert problem(tmp_path, both)[0] == "collector.paths.0.service"


@pytest.mark.parametrize("origin", ["video.example", "https://video.example/", "ftp://video.example", "https://"])
def test_an_origin_has_scheme_and_host_only(tmp_path: Path, origin: str) -> None:
    assert problem(tmp_path, f"collector: {{origins: ['{origin}']}}")[0] == "collector.origins.0"


def test_a_token_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n", encoding="utf-8")
    assert problem(tmp_path, "collector: {token: t, token_file: token}")[0] == "collector.token"


def test_a_token_file_that_is_missing_or_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("none", "empty"):
        assert problem(tmp_path, f"collector: {{token_file: {name}}}")[0] == "collector.token_file"


def test_the_web_configuration_file_has_no_users(tmp_path: Path) -> None:
    """Or its users would be ignored without a word."""
    hashed = "$2b$04$" + "." * 53
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{ada: '{hashed}'}}", encoding="utf-8")
    key, expected = problem(tmp_path, "collector: {web_config_file: web.yml}")
    assert (key, "collector.token" in expected) == ("basic_auth_users", True)
    assert loaded(tmp_path, "http: {web_config_file: web.yml}").http.web_config_file is not None


def test_options_and_plan_have_the_paths(tmp_path: Path) -> None:
    text = "collector: {paths: ['/a/{service}', {template: /b, service: web, off: true}], origins: ['https://V.example']}"
    config = loaded(tmp_path, text)
    assert config.collector is not None
    options = collector_options(config.collector)
    assert [path.template for path in options.paths] == ["/a/{service}"]
    assert [path.template for path in options.off] == ["/b"]
    assert options.origins == {"https://v.example"}
    assert [path.template for path in core_plan(config).paths] == ["/a/{service}", "/b"]
    assert "labels" not in vars(options)
