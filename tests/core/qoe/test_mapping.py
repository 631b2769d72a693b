"""MOS mappings, against the numbers of their paper."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.qoe.mapping import (
    AUDIOVISUAL,
    IQX,
    LINEAR,
    LOGISTIC,
    MAPPINGS,
    MEDIA_STALL,
    POWER,
    TABLE,
    VIDEO_STALL,
    VOICE_G107,
    WEB_G1030,
    WEB_IQX,
    Qos,
    QosMapping,
    mos_of_rating,
)
from tests.support.oracle import video_mos, web_mos
from tests.support.streams import FEW


def mos_at(mapping: QosMapping, *condition: float) -> float:
    return float(mapping(*(np.array([each]) for each in condition))[0])


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


@pytest.mark.parametrize(
    ("rating", "mos"), [(0, 1), (60, 3.1), (79.37, 4.0), (93.2, 4.409), (100, 4.5), (-20, 1), (130, 4.5)]
)
def test_a_transmission_rating_has_the_mos_of_g107(rating: float, mos: float) -> None:
    """60 and 100 by hand; 93.2 is the Recommendation's own default (Annex B, Table 3)."""
    assert float(mos_of_rating(np.array([rating]))[0]) == pytest.approx(mos, abs=1e-3)


def test_a_call_without_delay_and_loss_is_as_good_as_g107_gets() -> None:
    assert mos_at(VOICE_G107, 0, 0) == pytest.approx(4.409, abs=5e-4)
    assert VOICE_G107.reach.tolist() == pytest.approx([1, 4.409], abs=5e-4)


@pytest.mark.parametrize(
    ("delay_ms", "loss", "constants", "rating"),
    [
        # At twice the delay that is noticed x is 1, and Idd = 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2).
        (200, 0, {}, 93.2 - 25 * (2 ** (1 / 6) - 3 * (1 + 3**-6) ** (1 / 6) + 2)),
        (80, 0, {"delay_from_ms": 40}, 93.2 - 25 * (2 ** (1 / 6) - 3 * (1 + 3**-6) ** (1 / 6) + 2)),
        (200, 0, {"delay_sense": 0.5}, 93.2 - 25 * (2 ** (1 / 3) - 3 * (1 + 3**-3) ** (1 / 3) + 2)),
        # Ie,eff = ie + (95 - ie) Ppl / (Ppl / burst + bpl), Ppl in percent.
        (0, 0.05, {}, 93.2 - 95 * 5 / (5 + 25.1)),
        (0, 0.05, {"burst": 2}, 93.2 - 95 * 5 / (2.5 + 25.1)),
        (0, 0.05, {"bpl": 4.3}, 93.2 - 95 * 5 / (5 + 4.3)),
        (0, 0.02, {"ie": 11, "bpl": 19}, 93.2 - 11 - 84 * 2 / (2 + 19)),
        (50, 0, {"r0": 80}, 80),
    ],
)
def test_delay_and_loss_cost_what_g107_says(
    delay_ms: float, loss: float, constants: dict[str, float], rating: float
) -> None:
    expected = 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6
    assert mos_at(VOICE_G107.with_parameters(constants), delay_ms, loss) == pytest.approx(expected, abs=1e-9)


def test_delay_begins_to_matter_at_100_ms_without_a_jump() -> None:
    at = [mos_at(VOICE_G107, 100 + delta_ms, 0) for delta_ms in (-100, -1e-6, 0, 1e-6, 1, 10)]
    assert at[0] == at[1] == at[2]
    assert at[2] == pytest.approx(at[3], abs=1e-9)
    delays_ms = np.linspace(90, 2000, 500)
    assert (np.diff(VOICE_G107(delays_ms, np.zeros(500))) <= 0).all()


def test_a_share_lost_beyond_all_is_all() -> None:
    assert mos_at(VOICE_G107, 0, 1.5) == mos_at(VOICE_G107, 0, 1)
    assert mos_at(VOICE_G107, 0, -0.5) == mos_at(VOICE_G107, 0, 0)


@pytest.mark.parametrize(("raw", "mos"), [(4.5, 4.549), (3.118568, 2.999), (-0.5, 1.017)])
def test_the_logistic_has_the_constants_of_p8621(raw: float, mos: float) -> None:
    """P.862.1: 4.5, the best PESQ score, becomes 4.549."""
    assert mos_at(LOGISTIC.with_inputs(["pesq"]), raw) == pytest.approx(mos, abs=1e-3)
    by_hand = 0.999 + 4 / (1 + math.exp(-1.4945 * raw + 4.6607))
    assert mos_at(LOGISTIC.with_inputs(["pesq"]), raw) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("loss", [0, 0.05, 0.2, 0.9])
def test_iqx_takes_the_constants_of_its_paper(loss: float) -> None:
    """Voice over a lossy network, Fiedler et al. 2010: 3.010 exp(-4.473 x) + 1.065."""
    published = IQX.with_inputs(["loss"]).with_parameters({"scale": 3.010, "beta": 4.473, "floor": 1.065})
    assert mos_at(published, loss) == pytest.approx(3.010 * math.exp(-4.473 * loss) + 1.065, abs=1e-12)
    assert published.reach.tolist() == pytest.approx([1.065, 4.075])


@pytest.mark.parametrize(("expected_s", "best_s"), [(6, 0.138), (15, 0.165), (60, 0.3)])
def test_web_g1030_falls_with_the_logarithm_from_5_to_1(expected_s: float, best_s: float) -> None:
    web = WEB_G1030.with_parameters({"best_s": best_s, "worst_s": expected_s})
    middle_s = math.sqrt(best_s * expected_s)
    values = [mos_at(web, x_s) for x_s in (0, best_s, middle_s, expected_s, 1e6)]
    assert values == pytest.approx([5, 5, 3, 1, 1], abs=1e-12)
    assert web.reach.tolist() == pytest.approx([1, 5])


def test_web_g1030_expects_15_s_unless_told_otherwise() -> None:
    assert mos_at(WEB_G1030, 15) == pytest.approx(1)
    assert mos_at(WEB_G1030, math.sqrt(0.165 * 15)) == pytest.approx(3, abs=1e-12)


def test_power_is_that_of_stevens() -> None:
    power = POWER.with_inputs(["x"])
    assert [mos_at(power, x) for x in (0, 1, 4, 100)] == [5, 4, 3, 1]
    assert mos_at(power.with_parameters({"scale": 2, "exponent": 0.25, "offset": 1}), 1) == 3
    assert mos_at(power, -7) == 5


def test_linear_weighs_inputs_by_name_in_whatever_order_they_are_told() -> None:
    linear = LINEAR.with_inputs(["audio", "video"])
    assert mos_at(linear, 4, 2) == 3
    weighed = linear.with_parameters({"video": 0.6, "intercept": 0.2, "audio": 0.35})
    assert mos_at(weighed, 4.1, 3.6) == pytest.approx(0.2 + 0.35 * 4.1 + 0.6 * 3.6)


def points(draw: st.DrawFn) -> list[tuple[float, float]]:
    x = sorted(draw(st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True)))
    mos = sorted(draw(st.lists(st.floats(1, 5), min_size=len(x), max_size=len(x))))
    return list(zip(map(float, x), mos if draw(st.booleans()) else mos[::-1], strict=True))


@FEW
@given(st.composite(points)(), st.randoms(use_true_random=False))
def test_a_table_is_monotone_between_its_points_and_flat_beyond(
    study: list[tuple[float, float]], order: random.Random
) -> None:
    shuffled = study.copy()
    order.shuffle(shuffled)
    table = TABLE.with_inputs(["x"]).with_points(shuffled)
    x, mos = np.array(study).T
    assert table(x) == pytest.approx(mos, abs=1e-9)
    assert table(np.array([x[0] - 1, x[0] - 1e9, x[-1] + 1, x[-1] + 1e9])) == pytest.approx(mos[[0, 0, -1, -1]])
    steps = np.diff(table(np.linspace(x[0], x[-1], 500)))
    assert (steps >= -1e-9).all() or (steps <= 1e-9).all()
    assert table.reach.tolist() == pytest.approx(sorted(mos[[0, -1]]))


@pytest.mark.parametrize("few", [[], [(1, 3)], [(1, 3), (1, 4)], [(1, 3), (2, 4), (1, 3)]])
def test_a_table_needs_points_at_two_or_more_places(few: Sequence[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="two or more points, each at another x"):
        TABLE.with_points(few)


def test_a_formula_takes_no_points() -> None:
    with pytest.raises(ValueError, match="iqx has a formula: expected no points"):
        IQX.with_points([(1, 2), (3, 4)])


@pytest.mark.parametrize("mapping", [IQX, LOGISTIC, POWER, TABLE])
def test_a_mapping_without_inputs_looks_at_what_it_is_told(mapping: QosMapping) -> None:
    """A response time if that is its name, else a measure."""
    assert (mapping.with_inputs(["mine"]).qos, mapping.with_inputs(["mine"]).inputs) == (Qos.MEASURES, ("mine",))
    assert mapping.with_inputs(["response_s"]).qos is Qos.RESPONSES
    assert mapping.inputs == ()


@pytest.mark.parametrize(
    ("mapping", "names", "words"),
    [
        (VIDEO_STALL, ["a"], "video-stall has its own inputs, n, t: expected no others"),
        (VOICE_G107, ["delay_ms", "loss"], "voice-g107 has its own inputs, delay_ms, loss"),
        (IQX, ["a", "b"], "iqx takes one input, got 2: a, b"),
        (TABLE, [], "table takes one input, got 0: none"),
        (LINEAR, [], "linear takes one or more inputs of different names, got none"),
        (LINEAR, ["a", "b", "a"], "linear takes one or more inputs of different names, got a, b, a"),
        (LINEAR, ["a", "intercept"], "linear takes one or more inputs of different names"),
    ],
)
def test_inputs_that_a_mapping_cannot_have_are_refused(mapping: QosMapping, names: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mapping.with_inputs(names)


@pytest.mark.parametrize("name", sorted(MAPPINGS))
def test_no_condition_comes_to_a_mos_beyond_the_reach(name: str) -> None:
    if name == MEDIA_STALL.name:
        mapping: QosMapping = MEDIA_STALL.with_quality(IQX.with_inputs(["x"]).with_parameters({"scale": 2}))
    else:
        mapping = MAPPINGS[name] if MAPPINGS[name].inputs else MAPPINGS[name].with_inputs(["x"])
    if name == TABLE.name:
        mapping = mapping.with_points([(0, 4.5), (2, 3.0), (7, 1.5)])
    axes = np.random.default_rng(1).lognormal(0, 3, (len(mapping.inputs), 5_000))
    low, high = mapping.reach
    mos = mapping(*axes)
    assert low - 1e-9 <= mos.min() <= mos.max() <= high + 1e-9


def test_a_table_with_a_peak_reaches_it() -> None:
    assert TABLE.with_inputs(["x"]).with_points([(0, 1.5), (1, 4.5), (2, 1.5)]).reach.tolist() == [1.5, 4.5]


def test_where_a_formula_has_no_mos_it_is_the_lowest() -> None:
    assert mos_at(IQX.with_inputs(["x"]), math.nan) == 1


QUALITY_5 = TABLE.with_inputs(["x"]).with_points([(0, 1), (1, 5)])
"""A mapping of quality that gives 5 for x from 1 up."""


def test_media_stall_of_the_best_quality_is_video_stall_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    n, t = rng.exponential(5, 10_000), rng.exponential(20, 10_000)
    n[:3], t[:3] = (0, 1e9, 0), (0, 1e9, 1e-3)
    media = MEDIA_STALL.with_quality(QUALITY_5)
    assert np.array_equal(media(n, t, np.full(10_000, 1.0)), VIDEO_STALL(n, t))
    assert np.array_equal(media.after_stalls(np.full(10_000, 5.0), n, t), VIDEO_STALL(n, t))


@pytest.mark.parametrize("quality", [1.0, 1.5, 2.2, 3.7, 5.0])
def test_media_stall_lowers_a_quality_by_its_stalls(quality: float) -> None:
    media = MEDIA_STALL.with_quality(LINEAR.with_inputs(["q"])).with_parameters({"time": 3, "floor": 1.2})
    by_hand = 1.2 + (quality - 1.2) * math.exp(-3 * 10 / 60 - 5.7 * 2 / 60)
    assert mos_at(media, 2, 10, quality) == pytest.approx(max(by_hand, 1), abs=1e-12)
    assert mos_at(media, 0, 0, quality) == pytest.approx(quality)
    assert float(media.after_stalls(np.array([quality]), np.array([2]), np.array([10]))[0]) == mos_at(
        media, 2, 10, quality
    )


def test_constants_of_media_stall_have_names_of_their_own() -> None:
    """One set of constants, so that all can be fitted together; an inner floor is not the floor of stalls."""
    media = MEDIA_STALL.with_quality(LOGISTIC.with_inputs(["psnr"]))
    assert dict(media.parameters) == {
        "time": 4.5,
        "count": 5.7,
        "floor": 1.5,
        "quality_scale": 4.0,
        "quality_slope": 1.4945,
        "quality_middle": 3.118568,
        "quality_floor": 0.999,
    }
    changed = media.with_parameters({"quality_middle": 30, "quality_slope": 0.2, "floor": 1})
    assert changed.quality.parameters["middle"] == 30
    assert mos_at(changed, 1, 5, 30) == pytest.approx(1 + (2.999 - 1) * math.exp(-(4.5 * 5 + 5.7) / 60))
    assert (changed.inputs, changed.measures) == (("n", "t", "psnr"), ("psnr",))
    with pytest.raises(ValueError, match="media-stall has no constant scale"):
        media.with_parameters({"scale": 4})


def test_media_stall_reaches_from_endless_stalls_to_the_best_quality() -> None:
    media = MEDIA_STALL.with_quality(QUALITY_5.with_points([(0, 2.5), (10, 4.5)]))
    assert media.reach.tolist() == [1.5, 4.5]
    assert MEDIA_STALL.with_quality(LINEAR.with_inputs(["q"])).reach.tolist() == [1, 5]


@pytest.mark.parametrize("inner", [VIDEO_STALL, WEB_IQX, IQX, LOGISTIC.with_inputs(["response_s"])])
def test_media_stall_takes_measures_only(inner: QosMapping) -> None:
    with pytest.raises(ValueError, match="media-stall takes a mapping of measures as that of quality"):
        MEDIA_STALL.with_quality(inner)


def test_media_stall_without_quality_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="media-stall takes a mapping of quality"):
        MEDIA_STALL.with_inputs(["x"])


@pytest.mark.parametrize(("audio", "video", "mos"), [(4, 3, 3.82430943), (1, 1, 1.14920836), (5, 5, 5)])
def test_audiovisual_has_the_constants_of_p12033(audio: float, video: float, mos: float) -> None:
    assert mos_at(AUDIOVISUAL, audio, video) == pytest.approx(mos, abs=1e-8)


@pytest.mark.parametrize(
    ("clip_s", "stall_s", "mos"),
    [(30, 8, 2.37), (60, 8, 3.25), (30, 0, 4.39), (60, 0, 4.68)],
)
def test_constants_of_video_stall_come_from_clips_of_30_s(clip_s: float, stall_s: float, mos: float) -> None:
    """On clips of 30 s the exponent was .15 t + .19 n; the paper scales it to the length of the clip."""
    one_stall = 3.5 * math.exp(-(0.15 * stall_s + 0.19) * 30 / clip_s) + 1.5
    assert mos_at(VIDEO_STALL, 60 / clip_s, 60 / clip_s * stall_s) == pytest.approx(one_stall, abs=1e-12)
    assert one_stall == pytest.approx(mos, abs=0.005)


MUSIC_VIDEOS = {
    "C1": (0.2570, 0.5760, 0.0458, 2.6526),
    "C2": (0.3529, 0.5118, 0.2425, 2.8851),
    "C3": (-0.2513, 0.5114, 0.1603, 2.1149),
    "C4": (0.4904, 0.7353, 0.0990, 3.6296),
    "C5": (-0.4628, 0.3334, 0.2711, 1.4130),
    "C6": (0.0813, 0.3765, 0.4255, 2.4383),
    "valence": (0.2284, 0.1382, -0.0741, 0.6330),
    "arousal": (0.3508, -0.0831, -0.0981, -0.1778),
}
"""Of each scale: intercept, weights of audio and video, and its value at (4, 2), all as multiplied by hand."""


@pytest.mark.parametrize("scale", MUSIC_VIDEOS)
def test_linear_integrates_impressions_of_music_videos(scale: str) -> None:
    """The formula itself: valence and arousal are no MOS."""
    intercept, audio, video, expected = MUSIC_VIDEOS[scale]
    constants = {"intercept": intercept, "video": video, "audio": audio}
    linear = LINEAR.with_inputs(["audio", "video"]).with_parameters(constants)
    both = linear.formula(np.array([4.0]), np.array([2.0]), **linear.parameters)
    assert both[0] == pytest.approx(expected, abs=1e-12)
    if expected >= 1:
        assert mos_at(linear, 4, 2) == pytest.approx(expected, abs=1e-12)
