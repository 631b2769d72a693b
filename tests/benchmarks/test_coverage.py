"""The coverage of the bounds: one rule marks the lines and counts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import coverage, session_coverage
from benchmarks.coverage import Cell, figures, measured, players, readers, verdict

GOOD = Cell(
    truth=np.array([0.5, 0.3, 0.6]),
    variance=np.full(3, 0.1),
    users=1000,
    coverage=np.full(3, 0.95),
    width=np.full(3, 1.02),
    other=np.full(3, 0.93),
)
MISSES = replace(GOOD, coverage=np.array([0.95, 0.93, 0.95]))
WIDE = replace(GOOD, width=np.array([1.02, 1.02, 1.2]))


@pytest.mark.parametrize("bad", [MISSES, WIDE])
def test_a_line_is_marked_if_and_only_if_the_last_line_counts_it(
    bad: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [GOOD, bad, replace(bad, least=0, widest=np.inf)]
    assert ["below the bar" in figures(cell) for cell in done] == [False, True, False]
    assert verdict(done) == 1
    assert "3 cells of three figures, 1 below the bar" in capsys.readouterr().out
    assert verdict(done[::2]) == 0


def test_the_block_without_a_bar_is_not_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coverage, "REPETITIONS", 20)
    monkeypatch.setattr(coverage, "USERS", (1000, 3000))
    few_out = readers(1, 0.1, 0.002)
    assert any(cell.fails for cell in measured(few_out, seed=3))
    assert "below the bar" in capsys.readouterr().out
    assert not any(cell.fails for cell in measured(few_out, seed=3, barred=False))
    assert "below the bar" not in capsys.readouterr().out


@pytest.mark.parametrize("lengths", session_coverage.LENGTHS)
def test_bounds_of_unequal_sessions_hold_with_the_effective_number_only(lengths: str) -> None:
    """A small version of the benchmark, where all minutes of a session are alike."""
    draw = session_coverage.LENGTHS[lengths]
    for _, cell in session_coverage.cells(players(1, 4), draw, 1.0, sessions=300, repetitions=2000, seed=1):
        assert (cell.coverage > 0.93).all()
        assert (cell.coverage < 0.985).all()
        assert (cell.width < 1.1).all()
        assert (cell.other < 0.93).all()
