"""The labels to look at first, compared with a search that looks at every combination by itself."""

from __future__ import annotations

from itertools import combinations, product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.snapshot.where_first import CHANCE, SHORTER, TIMES_AS_MANY, WhereFirst, where_first
from tests.support.cube import CDNS, REGIONS, Cube, Hit, nobody
from tests.support.streams import FEW

NAMES = ("region", "cdn", "isp")


def found_by(hit: Hit, **more: object) -> WhereFirst | None:
    return Cube(**more).minute(hit).snapshot.services[0].where_first  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hit", "labels", "users_share"),
    [
        (lambda region, cdn: cdn == "cdn-07", {"cdn": "cdn-07"}, 1 / 20),
        (lambda region, cdn: region == "region-03", {"region": "region-03"}, 1 / 25),
        (
            lambda region, cdn: (region, cdn) == ("region-03", "cdn-07"),
            {"region": "region-03", "cdn": "cdn-07"},
            1 / 500,
        ),
    ],
    ids=["a CDN in every region", "a region", "a CDN in one region"],
)
def test_what_is_hit_is_named_with_its_share(hit: Hit, labels: dict[str, str], users_share: float) -> None:
    found = found_by(hit)
    assert found is not None
    assert found.labels == labels
    assert found.excess_share == pytest.approx(1, abs=0.01)
    assert found.users_share == pytest.approx(users_share)


def test_a_single_value_that_all_groups_have_is_not_named() -> None:
    """Every region has this CDN, and only one region is hit."""
    found = found_by(lambda region, cdn: region == "region-03", cdns=("only",), viewers=40)
    assert found is not None
    assert found.labels == {"region": "region-03"}


def test_nothing_is_said_where_nothing_is_hit() -> None:
    assert found_by(nobody) is None


def test_everything_hit_is_everywhere() -> None:
    assert found_by(lambda region, cdn: True) == WhereFirst({}, 1.0, 1.0)


def test_every_second_group_hit_is_everywhere() -> None:
    """No combination has more of it than others."""
    found = found_by(lambda region, cdn: (REGIONS.index(region) + CDNS.index(cdn)) % 2 == 0)
    assert found == WhereFirst({}, 1.0, 1.0)


def test_one_of_several_that_are_hit_is_named_with_its_part() -> None:
    found = found_by(lambda region, cdn: cdn in {"cdn-03", "cdn-07"})
    assert found is not None
    assert list(found.labels) == ["cdn"]
    assert found.excess_share == pytest.approx(0.5, abs=0.01)


def test_a_few_stalls_anywhere_are_chance() -> None:
    rng = np.random.default_rng(4)
    groups = list(product(REGIONS, CDNS))
    named = 0
    for _ in range(100):
        poor = rng.binomial(6, 0.02, len(groups))
        found = where_first(NAMES[:2], groups, poor * 0.9, np.full(len(groups), 6), np.full(len(groups), 6))
        named += found is not None
    assert named <= 1


def test_several_ratings_of_one_user_are_no_independent_evidence() -> None:
    groups = [("eu",), ("us",)]
    excess, ratings = np.array([10.0, 2.0]), np.array([100, 100])
    of_many = where_first(("region",), groups, excess * 10, ratings * 10, ratings * 10)
    of_few = where_first(("region",), groups, excess * 10, ratings * 10, np.array([10, 10]))
    assert [found and found.labels for found in (of_many, of_few)] == [{"region": "eu"}, {}]


def test_without_labels_or_ratings_nothing_is_named() -> None:
    assert where_first((), [()], np.array([50.0]), np.array([100]), np.array([100])) == WhereFirst({}, 1.0, 1.0)
    assert where_first(("region",), [("eu",)], np.array([0.0]), np.array([0]), np.array([0])) is None
    assert where_first(("region",), [], np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)) is None


def slow(
    groups: list[tuple[str, ...]], excess: list[float], ratings: list[int]
) -> tuple[float, list[dict[str, str]]]:
    """The highest score of all combinations, and those that have it; each counted by itself."""
    total, everyone = sum(excess), sum(ratings)

    def likelihood(some: float, of: float) -> float:
        return sum(part * log(part / of) for part in (some, of - some) if part > 0)

    scores: list[tuple[float, dict[str, str]]] = [(0.0, {})]
    for size in range(1, len(NAMES) + 1):
        for places in combinations(range(len(NAMES)), size):
            for values in {tuple(group[place] for place in places) for group in groups}:
                inside = [tuple(group[place] for place in places) == values for group in groups]
                some = sum(each for each, has in zip(excess, inside, strict=True) if has)
                of = sum(each for each, has in zip(ratings, inside, strict=True) if has)
                if of == everyone or some / of < TIMES_AS_MANY * (total - some) / (everyone - of):
                    continue
                gain = likelihood(some, of) + likelihood(total - some, everyone - of) - likelihood(total, everyone)
                named = {NAMES[place]: value for place, value in zip(places, values, strict=True)}
                scores.append((gain * SHORTER ** (size - 1), named))
    best = max(score for score, _ in scores)
    return best, [labels for score, labels in scores if score == pytest.approx(best, rel=1e-9)]


@FEW
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from("12")),
        st.tuples(st.integers(0, 300), st.integers(1, 300)),
        min_size=1,
        max_size=12,
    )
)
def test_the_search_finds_the_best_of_all_combinations(told: dict[tuple[str, ...], tuple[int, int]]) -> None:
    groups = list(told)
    ratings = [well + poor for poor, well in told.values()]
    excess = [0.9 * poor for poor, _ in told.values()]
    best, labels = slow(groups, excess, ratings)
    found = where_first(NAMES, groups, np.array(excess), np.array(ratings), np.array(ratings))
    # Chance is excluded by at least one combination, and by at most all that could be.
    if best > log(100 * 3 * 4 * 3 / CHANCE):
        assert found is not None
        assert dict(found.labels) in labels
    elif found is not None and found.labels:
        assert dict(found.labels) in labels
        assert best > log(1 / CHANCE)
