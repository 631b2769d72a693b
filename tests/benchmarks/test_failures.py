"""A benchmark ends with a table, whatever fails in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.__main__ import measured
from benchmarks.row import Part, Row, Verdict, exit_code, markdown, summary
from benchmarks.wire import cases, receivers, workers
from benchmarks.wire.figures import Figures, attempt, rival_cost
from benchmarks.wire.receivers import LostError

if TYPE_CHECKING:
    from collections.abc import Mapping


def losing() -> float:
    """The cost of a receiver that loses messages."""
    raise LostError(88_341, 100_000)


def rows(figures: Figures) -> Mapping[str, Row]:
    return {row.name: row for row in figures.rows()}


def test_a_case_that_loses_messages_is_a_failed_row_and_the_other_cases_run(capsys):
    figures = Figures()

    def lossy(_: None, figures: Figures) -> None:
        figures.cost("lossy: CPU", "message", losing(), 100_000)

    def not_installed(_: None, __: Figures) -> None:
        pytest.skip("mosquitto is not installed")

    def sound(_: None, figures: Figures) -> None:
        figures.cost("sound: CPU", "message", 0.5, 100_000)

    attempt({"lossy": lossy, "not installed": not_installed, "sound": sound}, None, figures)
    found = rows(figures)
    assert list(found) == ["lossy", "not installed", "sound: CPU"]
    assert (found["lossy"].verdict, found["lossy"].reason) == (Verdict.FAILED, "lost 11,659 of 100,000 messages")
    assert found["not installed"].verdict is Verdict.FAILED
    assert found["sound: CPU"].middle == pytest.approx(5)
    assert exit_code(found.values()) == 1
    assert "LostError" in capsys.readouterr().err


def test_a_rival_that_loses_messages_has_no_ratio_and_does_not_fail_the_run():
    figures = Figures()
    theirs_s = rival_cost(figures, "rival", losing)
    figures.ratio("qoemon / rival", 0.5, theirs_s, at_most=1)
    lines = list(markdown(figures.rows()))
    assert "| rival | rival failed: lost 11,659 of 100,000 messages |" in lines[2]
    assert "| qoemon / rival | not measurable: the rival failed |" in lines[3]
    assert exit_code(figures.rows()) == 0
    assert "1 of rivals failed, 1 not measurable" in summary(figures.rows())


def test_a_round_that_failed_fails_the_row_although_others_did_not():
    figures = Figures()
    figures.cost("ours", "message", 0.5, 100)
    figures.fail("ours", LostError(1, 2))
    figures.cost("ours", "message", 0.5, 100)
    assert rows(figures)["ours"].verdict is Verdict.FAILED


def test_no_measurable_time_is_not_measurable_and_divides_nothing():
    figures = Figures()
    figures.cost("cost", "message", 0.0, 100)
    figures.rate("rate", "reports", 200_000, 0.0)
    figures.load("load", 0.0, 10)
    figures.ratio("ratio", 0.5, 0.0, at_most=1)
    found = [*figures.rows(), Row.ratio("pairs", [1.0], [0.0], at_most=1)]
    assert {row.verdict for row in found} == {Verdict.NOT_MEASURABLE}
    assert exit_code(found) == 0


def test_one_step_of_the_clock_is_measurable():
    figures = Figures()
    figures.cost("cost", "message", 1.13 - 1.12, 100)
    assert rows(figures)["cost"].middle == pytest.approx(100)


def test_workers_whose_cpu_time_is_invisible_are_not_measurable(monkeypatch, tmp_path):
    monkeypatch.setattr(cases, "measure", lambda *_: workers.Measured(0.0, {"broker": 0.0, "daemon": 0.0}))
    monkeypatch.setattr(cases, "pieces", lambda *_, **__: [])
    here, figures = SimpleNamespace(directory=tmp_path, broker=SimpleNamespace(port=0, pid=0)), Figures()
    cases.several_workers(here, figures)  # type: ignore[arg-type]
    assert {row.verdict for row in figures.rows()} == {Verdict.NOT_MEASURABLE}


class ScriptedExporter(receivers.Exporter):
    """A rival that never runs; its counter goes through the given values."""

    pid = 1

    def __init__(self, *counts: float) -> None:
        self._counts = iter(counts)

    def _messages(self) -> float:
        return next(self._counts)


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(receivers, "_settle", lambda _: None)
    monkeypatch.setattr(receivers.time, "sleep", lambda _: None)
    monkeypatch.setattr(receivers.cpu, "seconds", lambda _: 0.0)


@pytest.mark.usefixtures("no_waiting")
def test_a_rival_that_only_looks_idle_has_lost_nothing():
    assert ScriptedExporter(5, 5, 80, 105).cost(100, lambda: None) == 0


@pytest.mark.usefixtures("no_waiting")
def test_a_rival_whose_counter_stops_early_has_lost_the_rest():
    with pytest.raises(LostError, match="lost 20 of 100 messages"):
        ScriptedExporter(5, 5, 85, 85).cost(100, lambda: None)


def test_verdicts_compare_the_median_with_the_bar():
    assert Row.of("a", "times", [1, 2, 9], at_most=2).verdict is Verdict.HOLDS
    assert Row.of("a", "times", [1, 3, 9], at_most=2).verdict is Verdict.MISSED
    assert Row.of("a", "times", [1, 3, 9], at_least=3).verdict is Verdict.HOLDS
    assert Row.of("a", "times", [1, 3, 9], at_least=4).verdict is Verdict.MISSED
    assert Row.of("a", "ms", [1, 3, 9]).verdict is Verdict.NONE


def test_a_part_that_ends_without_figures_is_a_failed_row():
    part = measured("no_such_part")
    assert [row.verdict for row in part.rows] == [Verdict.FAILED]
    assert "python -m benchmarks.no_such_part ended with exit code 1" in part.rows[0].reason


def test_json_has_the_verdict_and_gives_the_same_table():
    failed = Row("b", "ms", problem=Verdict.FAILED, reason="lost 1 of 2 messages")
    part = Part("title", "machine", [Row.of("a", "times", [1], at_most=2), failed])
    encoded = msgspec.json.encode(part.plain())
    assert [row["verdict"] for row in msgspec.json.decode(encoded)["rows"]] == ["holds", "failed"]
    assert msgspec.json.decode(encoded, type=Part) == part
