"""MOS mappings, against the numbers of their paper."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.core.mapping import MAPPINGS, VIDEO_STALL, WEB_IQX
from tests.oracle import video_mos, web_mos


@pytest.mark.parametrize(
    ("n", "t", "mos"), [(1, 5, 3.6875079390), (2, 10, 2.8671974238), (0, 0, 5), (1e9, 1e9, 1.5)]
)
def test_video_stall_gives_the_published_values(n: float, t: float, mos: float) -> None:
    assert VIDEO_STALL(np.array([n]), np.array([t]))[0] == pytest.approx(mos, abs=1e-10)


def test_mappings_equal_the_equations() -> None:
    rng = np.random.default_rng(1)
    n, t = rng.uniform(0, 30, 100), rng.uniform(0, 80, 100)
    assert VIDEO_STALL(n, t) == pytest.approx([video_mos(*x) for x in zip(n, t, strict=True)], abs=1e-12)
    assert WEB_IQX(t) == pytest.approx([web_mos(x) for x in t], abs=1e-12)


def test_other_constants_move_the_curve_and_leave_the_original() -> None:
    faster = WEB_IQX.with_parameters({"beta": 0.5})
    assert faster(np.array([2.0]))[0] == pytest.approx(web_mos(4))
    assert WEB_IQX(np.array([2.0]))[0] == pytest.approx(web_mos(2))


def test_a_mos_beyond_the_scale_is_cut() -> None:
    assert WEB_IQX.with_parameters({"scale": 10})(np.array([0.0]))[0] == 5
    assert WEB_IQX.with_parameters({"floor": -3})(np.array([100.0]))[0] == 1


def test_an_unknown_constant_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no constant gamma; it has scale, beta, floor"):
        WEB_IQX.with_parameters({"gamma": 1})


def test_every_mapping_says_where_it_is_from() -> None:
    for name, mapping in MAPPINGS.items():
        assert mapping.name == name
        assert mapping.source
        assert mapping.fitted_on
        assert 0 < mapping.theta < 1


def test_the_paper_s_mappings_name_the_paper() -> None:
    assert all("arXiv:2003.12742" in mapping.source for mapping in (VIDEO_STALL, WEB_IQX))
