"""The rating scale."""

from __future__ import annotations

import pytest

from qoemon.core.qoe.scale import ACR5, Scale


def test_cuts_lie_half_way_and_end_with_the_scale() -> None:
    assert ACR5.cuts.tolist() == [1, 1.5, 2.5, 3.5, 4.5, 5]
    assert ACR5.ratings.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "wrong", [{"low": 3}, {"poor": 4}, {"good": 6}, {"good": 2}, {"high": 1}, {"poor": 0}, {"low": 6, "high": 1}]
)
def test_a_scale_out_of_order_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected low <= poor < good <= high"):
        Scale(**wrong)
