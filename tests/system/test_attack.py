"""`make attack` in short: half a million invented session ids, a tenth of the default limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import attack
from benchmarks.attack import Outcome
from qoemon.core.plan.plan import Limits

LIMITS = Limits(sessions=100_000, groups=100)


@pytest.fixture(scope="module")
def runs() -> tuple[Outcome, Outcome]:
    """Without the attack, and with it."""
    return attack.both(LIMITS, ids=500_000, label_sets=10_000)


def test_every_promise_is_kept(runs: tuple[Outcome, Outcome]) -> None:
    calm, hit = runs
    assert attack.broken(calm, hit, LIMITS) == []


def test_honest_groups_have_numbers_at_all(runs: tuple[Outcome, Outcome]) -> None:
    """Else it would be easy to keep them the same."""
    calm, _ = runs
    assert (calm.sessions, calm.groups, calm.refused) == (attack.HONEST, 2, 0)
    assert len({tick.tobytes() for tick in calm.honest}) > 2
    assert calm.honest[-1][:2].tolist() == [attack.HONEST / 2] * 2


def test_the_tables_are_full_and_the_rest_is_counted(runs: tuple[Outcome, Outcome]) -> None:
    _, hit = runs
    assert hit.sessions == 2 * LIMITS.sessions
    assert hit.groups == 2 * (LIMITS.groups + 1)
    assert hit.refused == 500_000 + attack.HONEST - hit.sessions


def test_newcomers_are_refused_while_the_table_is_full_and_no_longer(runs: tuple[Outcome, Outcome]) -> None:
    calm, hit = runs
    assert calm.newcomer_refused == 0
    assert (hit.newcomer_refused, hit.newcomer_refused_after) == (1, 0)


def test_a_broken_promise_is_told(runs: tuple[Outcome, Outcome]) -> None:
    calm, hit = runs
    other = [tick + 1e-9 for tick in hit.honest]
    assert attack.broken(calm, replace(hit, honest=other), LIMITS) == ["honest groups have the same numbers"]
    assert attack.broken(calm, replace(hit, peak_bytes=10**10), LIMITS) == ["memory is bounded"]
