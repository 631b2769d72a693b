"""`qoemon feedback` on recordings of some days, and on a daemon that means harm."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from qoemon import cli
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import IQX
from qoemon.core.qoe.scale import Scale
from qoemon.tools.recordings.recording import Header, Recorded, Writer
from tests.support.core import T0, VIDEO, WEB
from tests.support.opinions import sent
from tests.support.rated_days import record_days

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

DAYS = 7
SETTINGS: dict[str, Any] = {"sessions": {"tick": "60s", "rating_interval": "60s"}, "windows": ["60s"]}


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, words)


def feedback(command: str, recording: Path, *words: str, **settings: Any) -> Result:
    """The command on a recording, with these sections of the configuration."""
    config = recording.with_name("qoemon.yaml")
    config.write_text(yaml.safe_dump({**SETTINGS, **settings}))
    return run("feedback", command, "--recording", str(recording), "-c", str(config), *words)


def one_line(result: Result) -> str:
    """The text of a result, with its lines joined."""
    return " ".join(result.stdout.split())


@pytest.fixture(scope="module")
def as_predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Viewers who rate as the published constants say."""
    path = tmp_path_factory.mktemp("right") / "days.jsonl.gz"
    record_days(path, VIDEO, DAYS)
    return path


def test_constants_that_are_right_are_kept(as_predicted: Path) -> None:
    holds = feedback("test", as_predicted)
    assert (holds.exit_code, holds.stderr) == (0, "")
    kept = feedback("fit", as_predicted)
    assert kept.exit_code == 0
    assert "Keep what you have: the new constants predict better only on" in one_line(kept)
    assert "services:" not in kept.stdout
    figures = json.loads(feedback("fit", as_predicted, "--json").stdout)
    assert (figures["proposed"], figures["days"], figures["folds"]) == (False, DAYS, 5)
    assert figures["highest_mos"]["after"] == pytest.approx(5, abs=0.1)


def test_days_can_be_chosen(as_predicted: Path) -> None:
    few = json.loads(feedback("fit", as_predicted, "--json", "--since", "2023-11-19").stdout)
    assert (few["since"], few["until"], few["days"]) == ("2023-11-19", "2023-11-21", 3)
    assert few["text"].startswith("Keep what you have: 3 days with ratings, and 5 are needed")
    none = feedback("export", as_predicted, "--since", "2024-01-01")
    assert none.exit_code == 2
    assert none.stderr == (
        "qoemon: service video has no ratings on these days; its answers are from 2023-11-15 to 2023-11-21\n"
    )
    assert "expected a date such as 2026-11-28" in feedback("fit", as_predicted, "--until", "monday").stderr


def test_a_table_shows_what_was_predicted_for_the_same_sessions(as_predicted: Path) -> None:
    shown, figures = feedback("show", as_predicted), json.loads(feedback("show", as_predicted, "--json").stdout)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.startswith("video: ")
    rated = sum(figures["ratings"].values())
    assert rated == figures["rated_sessions"] > 100
    assert sum(figures["expected_ratings"].values()) == pytest.approx(rated)
    assert f"Ratings {rated}" in " ".join(shown.stdout.split())


def test_constants_of_response_times_are_proposed_too(tmp_path: Path) -> None:
    path = tmp_path / "days.jsonl.gz"
    record_days(path, replace(WEB, mapping=WEB.mapping.with_parameters({"scale": 3.0})), DAYS)
    fit = feedback("fit", path)
    assert fit.exit_code == 0
    proposed = yaml.safe_load(fit.stdout[fit.stdout.index("services:\n") :])["services"]["web"]
    assert proposed["mapping"] == "web-iqx"
    assert proposed["parameters"]["scale"] + proposed["parameters"]["floor"] == pytest.approx(4, abs=0.15)
    assert feedback("test", path).exit_code == 1
    assert feedback("test", path, services={"web": proposed}).exit_code == 0


TEN = Scale(0, 10, 8, 4)
OF_TEN = replace(
    IQX.with_inputs(["response_s"]).with_parameters({"scale": 10.0, "beta": 0.25, "floor": 0.0}), scale=TEN
)


def test_another_scale_and_mapping_are_in_the_commands_that_read_an_export_and_in_the_fragment(
    tmp_path: Path,
) -> None:
    path = tmp_path / "days.jsonl.gz"
    truth = Service("web", OF_TEN.with_parameters({"scale": 7.0}), 0.2, scale=TEN)
    record_days(path, truth, DAYS)
    service = {
        "mapping": "iqx",
        "inputs": ["response_s"],
        "theta": 0.2,
        "scale": {"low": 0, "high": 10, "good": 8, "poor": 4},
        "parameters": {"scale": 10.0, "beta": 0.25, "floor": 0.0},
    }
    fit = feedback("fit", path, services={"web": service})
    proposed = yaml.safe_load(fit.stdout[fit.stdout.index("services:\n") :])["services"]["web"]
    assert (proposed["inputs"], proposed["scale"]) == (service["inputs"], service["scale"])
    assert feedback("test", path, services={"web": proposed}).exit_code == 0

    export = feedback("export", path, services={"web": service})
    file = tmp_path / "answers.csv"
    file.write_text(export.stdout)
    commands = export.stderr.splitlines()[-1].partition("to read them: ")[2].split("; ")
    assert [each.split()[1] for each in commands] == ["theta", "fit", "validate"]
    for command in commands:
        words = command.replace("FILE", str(file)).replace("CONFIG", str(tmp_path / "qoemon.yaml")).split()
        read = run(*words[1:])
        assert read.exit_code == 0, read.stderr


MEASURED = {"mapping": "linear", "inputs": ["vmaf"], "theta": 0.3}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A recording of sessions whose quality is measured, with two ratings."""
    path = tmp_path / "measured.jsonl.gz"
    sessions = [(f"s{rating}", rating) for rating in (3, 4)]
    messages = [sent(5, name, measures={"vmaf": 3.0}) for name, _ in sessions]
    messages += [sent(20, name, rating=rating) for name, rating in sessions]
    with Writer(path, Header(started_s=float(T0))) as file:
        file.write([Recorded(f"{each.topic}/a", each.payload, each.arrival_s) for each in messages])
        file.silence(T0 + 300)
    return path


def test_where_only_the_predicted_mos_is_kept_nothing_is_fitted(measured: Path) -> None:
    fit = feedback("fit", measured, services={"video": MEASURED})
    assert (fit.exit_code, fit.stdout) == (1, "")
    assert fit.stderr == (
        "qoemon: service video cannot be fitted: linear rates measures, of which only the predicted MOS is kept; "
        "fit it to a study that has them instead, with qoemon fit\n"
    )
    export = feedback("export", measured, services={"video": MEASURED})
    file = measured.with_name("answers.csv")
    file.write_text(export.stdout)
    command = export.stderr.splitlines()[-1].partition("to read them: ")[2]
    read = run(*command.replace("FILE", str(file)).split()[1:])
    assert read.exit_code == 0
    assert "From 2 ratings of 1 condition" in " ".join(read.stdout.split())


def test_ratings_of_another_kind_are_not_fitted(tmp_path: Path) -> None:
    path = tmp_path / "days.jsonl.gz"
    record_days(path, WEB, 1)
    binomial = {"mapping": "web-iqx", "ratings": "binomial", "theta": 0.25}
    fit = feedback("fit", path, services={"web": binomial})
    assert fit.exit_code == 1
    assert fit.stderr == "qoemon: service web cannot be fitted: it has ratings: binomial, expected beta\n"


def test_a_daemon_and_a_recording_exclude_each_other(as_predicted: Path) -> None:
    both = feedback("show", as_predicted, "--url", "http://127.0.0.1:1")
    assert (both.exit_code, both.stderr) == (2, "qoemon: --url and --recording: expected one of them\n")
    assert run("feedback", "show", "--url", "nowhere").exit_code == 2


def test_without_a_tick_there_is_no_feedback(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl.gz"
    with Writer(path, Header(started_s=float(T0))):
        pass
    shown = feedback("show", path)
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1)
    assert "has no messages" in shown.stderr


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """The URL of a server that answers everything with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202eab", ""])
def test_nothing_of_a_hostile_daemon_reaches_the_terminal_as_it_is(name: str) -> None:
    with answering(json.dumps({"services": [{"service": name, "feedback": None}]}).encode()) as url:
        shown = run("feedback", "show", "--url", url)
    assert (shown.exit_code, shown.stdout, shown.stderr.count("\n")) == (1, "", 1)
    assert "the answer is none of this qoemon about feedback" in shown.stderr
    assert shown.stderr.rstrip("\n").isprintable()


def test_a_daemon_of_an_earlier_version_is_told_from_one_without_ratings() -> None:
    with answering(json.dumps({"services": [{"service": "video"}]}).encode()) as url:
        shown = run("feedback", "test", "--url", url)
    assert shown.exit_code == 2
    assert "missing required field `feedback`" in shown.stderr
