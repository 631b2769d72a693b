"""Attribution of PoW to factors, compared with single users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from qoemon.core.arrays import Counts
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import RESPONSE_BINS, STALL_BINS
from qoemon.core.qoe.mapping import VOICE_G107, WEB_IQX, RatingModel
from qoemon.core.snapshot.attribution import Attribution
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan
from tests.support.oracle import Mixture, Said, video_mos, web_mos
from tests.support.streams import FEW

STALLS = list(zip(*(axis.tolist() for axis in STALL_BINS.conditions), strict=True))
WAITS_S = RESPONSE_BINS.conditions[0].tolist()
BINOMIAL = Service("web", WEB_IQX, 0.25, model=RatingModel.BINOMIAL)

users_of = {
    size: st.dictionaries(st.integers(0, size - 1), st.integers(1, 50), min_size=1, max_size=6)
    for size in (STALL_BINS.size, RESPONSE_BINS.size)
}


def histogram(size: int, users: dict[int, int]) -> Counts:
    counts = np.zeros((1, size), np.int64)
    counts[0, list(users)] = list(users.values())
    return counts


def contributions(attribution: Attribution, counts: Counts, pow_: float) -> dict[str, float]:
    shares_of = attribution.contributions(counts, np.array([pow_]))
    return dict(zip(attribution.factors, shares_of[0].tolist(), strict=True))


def poor(users: dict[int, int], mos: Callable[[int], float], theta: float = 0.3) -> float:
    return Mixture([(mos(number), count) for number, count in users.items()], theta).pow


@FEW
@given(users_of[STALL_BINS.size])
def test_a_factor_accounts_for_what_would_not_be_poor_without_it(users: dict[int, int]) -> None:
    attribution = Attribution(VIDEO)
    now = poor(users, lambda number: video_mos(*STALLS[number]))
    shares_of = contributions(attribution, histogram(STALL_BINS.size, users), now)
    assert shares_of == pytest.approx(
        {
            "stall_count": now - poor(users, lambda number: video_mos(0, STALLS[number][1])),
            "stall_time": now - poor(users, lambda number: video_mos(STALLS[number][0], 0)),
            "all": now - poor(users, lambda _: video_mos(0, 0)),
        },
        abs=1e-9,
    )
    assert all(-1e-12 <= share <= shares_of["all"] + 1e-12 for share in shares_of.values())


@FEW
@given(users_of[STALL_BINS.size], st.floats(0, 1))
@example({0: 1}, 1.0)
def test_what_is_poor_is_shared_out_as_the_bins_say(users: dict[int, int], pow_: float) -> None:
    """PoW is that of the exact conditions, which differ from their bins: no part may exceed the whole."""
    attribution, counts = Attribution(VIDEO), histogram(STALL_BINS.size, users)
    now = poor(users, lambda number: video_mos(*STALLS[number]))
    shares_of, by_bins = contributions(attribution, counts, pow_), contributions(attribution, counts, now)
    assert shares_of == pytest.approx({name: pow_ * (share / now if now else 0) for name, share in by_bins.items()})
    assert shares_of["all"] == pytest.approx(pow_ if now else 0)


@FEW
@given(users_of[RESPONSE_BINS.size])
def test_waiting_is_all_that_goes_wrong_where_users_wait(users: dict[int, int]) -> None:
    now = poor(users, lambda number: web_mos(WAITS_S[number]), 0.25)
    shares_of = contributions(Attribution(WEB), histogram(RESPONSE_BINS.size, users), now)
    assert shares_of == {"response_time": pytest.approx(now - poor(users, lambda _: 5.0), abs=1e-9)}


@FEW
@given(users_of[RESPONSE_BINS.size])
def test_binomial_ratings_are_attributed_by_their_own_model(users: dict[int, int]) -> None:
    shares = [(web_mos(WAITS_S[number]) - 1) / 4 for number in users]
    now = float(np.average(stats.binom.cdf(1, 4, shares), weights=list(users.values())))
    shares_of = contributions(Attribution(BINOMIAL), histogram(RESPONSE_BINS.size, users), now)
    assert shares_of["response_time"] == pytest.approx(now, abs=1e-9)


def test_where_even_the_best_is_poor_to_some_that_part_is_nobody_s_fault() -> None:
    """The part that can be fixed is PoW beyond that of the best condition, from the same kernel."""
    low = Service("web", WEB_IQX.with_parameters({"scale": 2.0}), 0.25)
    counts = np.random.default_rng(1).integers(0, 9, (4, RESPONSE_BINS.size))
    now = low.kernel().distribution(counts).pow
    best = low.kernel(mos=low.mapping.reach[-1:]).distribution(np.array([[1]])).pow[0]
    assert best > 0.3
    assert Attribution(low).contributions(counts, now)[:, 0] == pytest.approx(now - best, abs=1e-12)


def test_measures_have_no_factors() -> None:
    attribution = Attribution(Service("voice", VOICE_G107, 0.3))
    assert attribution.factors == ()
    assert attribution.contributions(np.zeros((3, 1), np.int64), np.full(3, 0.2)).shape == (3, 0)


def test_groups_do_not_mix_and_an_empty_one_has_none() -> None:
    counts = np.zeros((3, STALL_BINS.size), np.int64)
    counts[0, 700], counts[2, [0, 900, -1]] = 4, [3, 2, 1]
    pow_ = np.array([0.3, np.nan, 0.2])
    attribution = Attribution(VIDEO)
    together = attribution.contributions(counts, pow_)
    assert np.isnan(together[1]).all()
    for group in (0, 2):
        alone = attribution.contributions(counts[[group]], pow_[[group]])[0]
        assert together[group] == pytest.approx(alone)
        assert together[group, -1] == pytest.approx(pow_[group])


def test_where_nobody_is_poor_there_is_nothing_to_mend() -> None:
    assert set(contributions(Attribution(VIDEO), histogram(STALL_BINS.size, {0: 5}), 0.0).values()) == {0.0}


def test_a_snapshot_tells_what_to_mend() -> None:
    """Long stalls in one region, many short ones in the other; together the factors account for the whole PoW."""
    monitor = OneShard(plan(VIDEO))
    shares_of = {"eu": {"stalls": 1, "stall_ms": 20_000}, "us": {"stalls": 18, "stall_ms": 1_000}}
    for region, stalled in shares_of.items():
        said = [Said(f"{region} {i}", T0 * 1000, (region,), play_ms=30_000, **stalled) for i in range(9)]
        monitor.apply(batch(said), T0)
    (service,) = monitor.snapshot(T0 + 10).services
    assert service.factors == ("stall_count", "stall_time", "all")
    eu, us = service.contributions
    assert eu[1] > 4 * eu[0]
    assert us[0] > 4 * us[1]
    assert service.contributions[:, 2] == pytest.approx(service.distributions[60].pow)
    assert service.excess_poor == pytest.approx(9 * service.distributions[60].pow)
