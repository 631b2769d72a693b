"""Experiences from a file get the ratings that scipy and the daemon give; a bad file is refused with the reason."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from scipy.optimize import brentq
from scipy.stats import beta, binom
from typer.testing import CliRunner

from qoemon import cli
from qoemon.common.csvfile import ContentError, UnreadableError, opened
from qoemon.config.studies.conditions import Conditions, condition_format, read_conditions
from qoemon.config.studies.reading import Reading
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.confidence import interval
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import LINEAR, VIDEO_STALL, VOICE_G107, WEB_IQX, RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from qoemon.tools.analyze import analyze as module
from qoemon.tools.analyze.analyze import Analysis, ThetaError, analyze, check_theta, table
from tests.support.core import OneShard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qoemon.core.arrays import Floats

VIDEO = Service("video", VIDEO_STALL, theta=0.3, theta_band=(0.1, 0.3))
WEB = Service("web", WEB_IQX, theta=0.25, model=RatingModel.BINOMIAL)
VOICE = Service("voice", VOICE_G107, theta=0.2, theta_band=(0.1, 0.3))
SCORED = Service(
    "scored",
    LINEAR.with_inputs(("audio", "video")).with_parameters({"intercept": 1.5, "audio": 0.25, "video": 0.5}),
    theta=0.25,
)
QUANTILES = (0.05, 0.1, 0.5, 0.9)
HEADER = "stall_count,stall_s,play_s\n"


def read_text(text: str, service: Service = VIDEO) -> Conditions:
    return read_conditions(io.StringIO(text, newline=""), service)


def refusal(text: str, service: Service = VIDEO) -> str:
    with pytest.raises(ContentError) as caught:
        read_text(text, service)
    return str(caught.value)


def rows(conditions: Conditions) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in conditions.columns.values()), strict=True))


def stalls(per_min: float, mean_s: float, play_s: Floats) -> Conditions:
    """Viewers with Poisson numbers of stalls of exponential lengths, in whole milliseconds."""
    rng = np.random.default_rng(7)
    count = rng.poisson(per_min, len(play_s)).astype(float)
    length_s = np.maximum(rng.gamma(np.maximum(count, 1), mean_s).round(3), 0.001)
    return Conditions({"stall_count": count, "stall_s": np.where(count > 0, length_s, 0), "play_s": play_s})


def responses(response_s: Floats) -> Conditions:
    return Conditions({"response_s": response_s})


def video_mos(stall_count: float, stall_s: float, play_s: float) -> float:
    """(22) of the paper, per minute of media."""
    if play_s == 0:
        return 1.5
    return float(3.5 * np.exp(-(4.5 * stall_s + 5.7 * stall_count) / play_s) + 1.5)


def voice_mos(delay_ms: float, loss: float) -> float:
    """ITU-T G.107, (7-27) to (7-29) and Annex B, of G.711 with concealment: R = 93.2 - Idd - Ie,eff."""
    delayed = 0.0
    if delay_ms > 100:
        x = math.log2(delay_ms / 100)
        delayed = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    percent = 100 * min(max(loss, 0), 1)
    r = 93.2 - delayed - 95 * percent / (percent + 25.1)
    return 1.0 if r <= 0 else 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)


def scored_mos(audio: float, video: float) -> float:
    return min(max(1.5 + 0.25 * audio + 0.5 * video, 1), 5)


def opinions_of(mos: float, theta: float) -> Callable[[float], float]:
    """The CDF of the opinions of users at this MOS, from scipy's Beta."""
    if mos in {1, 5}:
        return lambda opinion: float(opinion >= mos)
    total = (1 - theta) / theta
    frozen = beta(total * (mos - 1) / 4, total * (5 - mos) / 4, loc=1, scale=4)
    return lambda opinion: float(frozen.cdf(opinion))


def test_row_by_row_is_what_scipy_says_of_each_row() -> None:
    rng = np.random.default_rng(3)
    conditions = stalls(1, 3, rng.uniform(5, 60, 60).round(3))
    conditions.columns["play_s"][np.flatnonzero(conditions.columns["stall_s"])[:3]] = 0
    analysis = analyze(conditions, VIDEO, QUANTILES, exact=True)
    mos = np.array([video_mos(*row) for row in rows(conditions)])

    def share(opinion: float, theta: float = 0.3) -> float:
        return float(np.mean([opinions_of(m, theta)(opinion) for m in mos]))

    assert analysis.observations == 60
    assert analysis.mos == pytest.approx(mos.mean(), abs=1e-9)
    assert analysis.sos == pytest.approx(np.sqrt(np.mean(0.3 * (5 - mos) * (mos - 1)) + mos.var()), abs=1e-9)
    assert analysis.gob == pytest.approx(1 - share(3.5), abs=1e-9)
    assert analysis.pow == pytest.approx(share(2.5), abs=1e-9)
    below = [0, *(share(cut) for cut in (1.5, 2.5, 3.5, 4.5)), 1]
    assert analysis.ratings == pytest.approx(dict(enumerate(np.diff(below), start=1)), abs=1e-9)
    for theta in (0.1, 0.3):
        assert analysis.theta_band[theta].gob == pytest.approx(1 - share(3.5, theta), abs=1e-9)
        assert analysis.theta_band[theta].pow == pytest.approx(share(2.5, theta), abs=1e-9)
    for q in QUANTILES[:3]:  # at 0.9 all that is left is users who agree on 5
        root = brentq(lambda opinion, q=q: share(opinion) - q, 1, 5)
        assert analysis.quantiles[q] == pytest.approx(root, abs=0.01)


def test_row_by_row_of_a_response_service_is_binomial() -> None:
    response_s = np.random.default_rng(3).lognormal(1, 1, 500)
    analysis = analyze(responses(response_s), WEB, QUANTILES, exact=True)
    ratings = 1 + np.arange(5)
    each = np.asarray(binom.pmf(ratings - 1, 4, np.exp(-0.25 * response_s)[:, None]))
    assert analysis.ratings == pytest.approx(dict(zip(ratings.tolist(), each.mean(axis=0), strict=True)), abs=1e-12)
    assert analysis.gob == pytest.approx(each[:, 3:].sum() / 500, abs=1e-12)
    assert analysis.mos == pytest.approx((each @ ratings).mean(), abs=1e-12)
    reached = np.cumsum(each.mean(axis=0))
    assert analysis.quantiles == {q: ratings[np.searchsorted(reached, q)] for q in QUANTILES}


def calls(rows: int) -> Conditions:
    """Calls from perfect to unbearable; a few lose less than nothing or more than all."""
    rng = np.random.default_rng(11)
    loss = rng.exponential(0.05, rows)
    loss[:4] = (0, 1, -0.5, 1e9)
    return Conditions({"delay_ms": rng.uniform(0, 600, rows), "loss": loss})


def scores(rows: int) -> Conditions:
    """Scores of which some lead beyond either end of the scale."""
    rng = np.random.default_rng(12)
    return Conditions({name: rng.normal(2.5, 2, rows) for name in ("audio", "video")})


@pytest.mark.parametrize(
    ("service", "conditions", "mos_of"),
    [
        pytest.param(VOICE, calls(60), voice_mos, id="voice-g107"),
        pytest.param(SCORED, scores(60), scored_mos, id="linear"),
    ],
)
def test_measures_row_by_row_are_what_scipy_says_of_each_row(
    service: Service, conditions: Conditions, mos_of: Callable[..., float]
) -> None:
    analysis = analyze(conditions, service, QUANTILES, exact=True)
    mos = np.array([mos_of(*row) for row in rows(conditions)])

    def share(opinion: float) -> float:
        return float(np.mean([opinions_of(m, service.theta)(opinion) for m in mos]))

    assert analysis.mos == pytest.approx(mos.mean(), abs=1e-9)
    assert analysis.sos == pytest.approx(
        np.sqrt(np.mean(service.theta * (5 - mos) * (mos - 1)) + mos.var()), abs=1e-9
    )
    below = [0, *(share(cut) for cut in (1.5, 2.5, 3.5, 4.5)), 1]
    assert analysis.ratings == pytest.approx(dict(enumerate(np.diff(below), start=1)), abs=1e-9)
    assert (analysis.gob, analysis.pow) == pytest.approx((1 - share(3.5), share(2.5)), abs=1e-9)


def interval_of(each: Floats, confidence: float, *ends: float) -> tuple[float, float]:
    """The bounds of the mean of what is known of each user."""
    lower, upper = interval(
        np.array([each.mean()]), np.array([(each**2).mean()]), np.array([len(each)]), confidence, *ends
    )[0].tolist()
    return lower, upper


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("exact", [False, True])
def test_bounds_are_those_of_as_many_users_as_there_are_rows(exact: bool, confidence: float) -> None:
    conditions = stalls(1, 3, np.full(200, 60.0))
    analysis = analyze(conditions, VIDEO, QUANTILES, exact=exact, confidence=confidence)
    mos = np.array([video_mos(*row) for row in rows(conditions)])
    good, poor = np.array([[1 - opinions_of(m, 0.3)(3.5), opinions_of(m, 0.3)(2.5)] for m in mos]).T
    off = 1e-9 if exact else 0.003
    assert analysis.confidence == confidence
    assert analysis.mos_bounds == pytest.approx(interval_of(mos, confidence, 1, 5), abs=off)
    assert analysis.gob_bounds == pytest.approx(interval_of(good, confidence), abs=off)
    assert analysis.pow_bounds == pytest.approx(interval_of(poor, confidence), abs=off)
    assert analysis.gob_bounds[0] < analysis.gob < analysis.gob_bounds[1]


@pytest.mark.parametrize("exact", [False, True])
def test_more_of_the_same_rows_make_the_bounds_narrower_and_leave_the_figures(exact: bool) -> None:
    some = stalls(1, 3, np.full(100, 60.0))
    more = Conditions({name: np.tile(column, 16) for name, column in some.columns.items()})
    few, many = (analyze(each, VIDEO, QUANTILES, exact=exact) for each in (some, more))
    assert many.gob == pytest.approx(few.gob, abs=1e-12)
    for narrow, wide in zip(
        (many.mos_bounds, many.gob_bounds, many.pow_bounds),
        (few.mos_bounds, few.gob_bounds, few.pow_bounds),
        strict=True,
    ):
        assert narrow[1] - narrow[0] < 0.4 * (wide[1] - wide[0])


MINUTE = np.full(20_000, 60.0)


@pytest.mark.parametrize(
    ("conditions", "service"),
    [
        pytest.param(stalls(1 / 15, 1.5, MINUTE), VIDEO, id="calm"),
        pytest.param(stalls(0.5, 2, MINUTE), VIDEO, id="moderate"),
        pytest.param(stalls(3, 7, MINUTE), VIDEO, id="heavy"),
        pytest.param(stalls(10, 0.2, MINUTE), VIDEO, id="many short stalls"),
        pytest.param(responses(np.random.default_rng(7).lognormal(1, 1, 20_000)), WEB, id="pages"),
        pytest.param(responses(np.random.default_rng(7).pareto(1, 20_000)), WEB, id="some endless pages"),
        pytest.param(calls(20_000), VOICE, id="calls"),
        pytest.param(scores(20_000), SCORED, id="scores"),
    ],
)
def test_bins_cost_little_against_row_by_row(conditions: Conditions, service: Service) -> None:
    """For media of the mapping's own length; of 40 s, say, one stall is 1.5 a minute, which the bins must round."""
    binned, exact = (analyze(conditions, service, QUANTILES, exact=exact) for exact in (False, True))
    assert binned != exact
    assert binned.mos == pytest.approx(exact.mos, abs=0.003)
    assert binned.gob == pytest.approx(exact.gob, abs=0.0011)
    assert binned.pow == pytest.approx(exact.pow, abs=0.0011)


def test_binned_is_what_the_daemon_says_of_the_same_sessions() -> None:
    conditions = stalls(1, 3, np.random.default_rng(5).uniform(5, 50, 300).round(3))
    plan = Plan((VIDEO,), (TopicTemplate("qoe/{service}"),), (), quantiles=QUANTILES)
    monitor = OneShard(plan)
    monitor.snapshot(1200)
    reports = [
        Report(f"s{i}", stall_count=int(n), stall_s=t, play_s=p, end=True)
        for i, (n, t, p) in enumerate(rows(conditions))
        if t + p <= 59  # what was before the rating interval would count there
    ]
    batch, bad = batch_of(reports, [0] * len(reports), [1259.0] * len(reports), [Route("video", ())])
    monitor.apply(batch, 1259)
    live = monitor.snapshot(1260).services[0].distributions[60]
    text = "".join(f"{r.stall_count},{r.stall_s},{r.play_s}\n" for r in reports)
    analysis = analyze(read_text(HEADER + text), VIDEO, QUANTILES, exact=False)
    assert not len(bad)
    assert analysis.observations == live.observations[0] == len(reports) > 200
    assert (analysis.mos, analysis.gob, analysis.pow, analysis.sos) == (
        live.mos[0],
        live.gob[0],
        live.pow[0],
        live.sos[0],
    )
    assert list(analysis.quantiles.values()) == live.quantiles[0].tolist()
    for found, bounds in (
        (analysis.mos_bounds, live.mos_bounds),
        (analysis.gob_bounds, live.gob_bounds),
        (analysis.pow_bounds, live.pow_bounds),
    ):
        assert found == tuple(bounds[0].tolist())


def test_binned_is_what_the_daemon_says_of_the_same_measures() -> None:
    conditions = calls(300)
    monitor = OneShard(Plan((VOICE,), (TopicTemplate("qoe/{service}"),), (), quantiles=QUANTILES))
    monitor.snapshot(1200)
    names = tuple(conditions.columns)
    reports = [
        Report(f"s{i}", measures=dict(zip(names, row, strict=True))) for i, row in enumerate(rows(conditions))
    ]
    routes = [Route("voice", ())]
    batch, bad = batch_of(reports, [0] * len(reports), [1230.0] * len(reports), routes, names)
    monitor.apply(batch, 1230)
    live = monitor.snapshot(1260).services[0].distributions[60]
    analysis = analyze(conditions, VOICE, QUANTILES, exact=False)
    assert not len(bad)
    assert analysis.observations == live.observations[0] == 300
    assert (analysis.mos, analysis.gob, analysis.pow, analysis.sos) == (
        live.mos[0],
        live.gob[0],
        live.pow[0],
        live.sos[0],
    )
    assert analysis.gob_bounds == tuple(live.gob_bounds[0].tolist())


def test_chunks_of_rows_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = stalls(2, 3, np.random.default_rng(5).uniform(5, 60, 500))
    whole = analyze(conditions, VIDEO, QUANTILES, exact=True)
    monkeypatch.setattr(module, "CHUNK", 7)
    pieces = analyze(conditions, VIDEO, QUANTILES, exact=True)
    assert (pieces.mos, pieces.gob, pieces.pow) == pytest.approx((whole.mos, whole.gob, whole.pow), abs=1e-12)
    assert pieces.quantiles == pytest.approx(whole.quantiles, abs=1e-9)


@pytest.mark.parametrize("exact", [False, True])
def test_an_experience_of_stalling_alone_is_the_worst(exact: bool) -> None:
    analysis = analyze(read_text(HEADER + "0,10,0\n"), VIDEO, QUANTILES, exact=exact)
    assert analysis.mos == pytest.approx(1.5, abs=0.01)


def test_many_rows_are_read_and_judged() -> None:
    analysis = analyze(read_text(HEADER + "0,0,60\n1,5,60\n" * 100_000), VIDEO, QUANTILES, exact=True)
    assert analysis.observations == 200_000
    assert analysis.mos == pytest.approx((5 + 3.6875079390) / 2, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("stall_count,stall_s,play_s\n1,2.5,60\n0,0,50\n", id="plain"),
        pytest.param("play_s,stall_count,stall_s\n60,1,2.5\n50,0,0\n", id="other order"),
        pytest.param("id,stall_count,stall_s,note,play_s\na,1,2.5,,60\nb,0,0,nan,50\n", id="more columns"),
        pytest.param("\ufeffstall_count,stall_s,play_s\n1,2.5,60\n0,0,50\n", id="BOM"),
        pytest.param('\ufeff"stall_count","stall_s",play_s\n"1","2.5",60\n0,0,50\n', id="BOM and quotes"),
        pytest.param("stall_count,stall_s,play_s\r\n1,2.5,60\r\n0,0,50\r\n", id="CRLF"),
        pytest.param("\n\nstall_count,stall_s,play_s\n\n1,2.5,60\n  \n0,0,50", id="blank lines, no last line end"),
        pytest.param(" stall_count , stall_s,play_s\n 1.0 , 25e-1,60.\n0,-0,50,\n", id="spaces, numbers' forms"),
        pytest.param('note,stall_count,stall_s,play_s\n"a\nb,""c""",1,2.5,60\n,0,0,50\n', id="line in a cell"),
    ],
)
def test_a_table_is_read_however_it_was_saved(text: str) -> None:
    assert rows(read_text(text)) == [(1, 2.5, 60), (0, 0, 50)]


def test_response_times_are_read() -> None:
    assert rows(read_text("page,response_s\n/,0.25\n/,4\n", WEB)) == [(0.25,), (4,)]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("1,abc,60", "stall_s: found 'abc', expected seconds from 0 to 1,000,000,000, such as 2.5"),
        ("1,'',60", "stall_s: found '''', expected seconds"),
        ("1,2", "play_s: found nothing, expected seconds"),
        ("1,2,inf", "play_s: found 'inf', expected seconds"),
        ("1,2,1e10", "play_s: found '1e10', expected seconds"),
        ("1,2,1_0", "play_s: found '1_0', expected seconds"),
        ("1,-2,60", "stall_s: found '-2', expected seconds"),
        ("-1,2,60", "stall_count: found '-1', expected a whole number from 0 to 1,000,000,000"),
        ("1.5,2,60", "stall_count: found '1.5', expected a whole number"),
        ("x,2,y", "stall_count: found 'x', expected a whole number from 0 to 1,000,000,000; play_s: found 'y'"),
        ('1,"2,5",60', "stall_s: found '2,5', expected seconds"),
        ("1,2,5,60", "found 4 cells, expected 3 as in the header (decimals have a point)"),
        ("2,0,60", "stall_s: found 0 with stall_count 2, expected the time that the stalls took"),
        ("0,0,0", "play_s: found nothing played and nothing stalled, expected at least a millisecond of either"),
        ("0,0.0002,0.0002", "found nothing played and nothing stalled"),
        ("1,\x1b[2J,60", "stall_s: found '\\x1b[2J'"),
        ("1," + "9" * 1000 + "x,60", "99…', expected seconds"),
    ],
)
def test_a_bad_row_is_told_with_line_column_found_and_expected(row: str, found: str) -> None:
    message = refusal(f"{HEADER}0,0,60\n\n{row}\n1,2,60\n")
    assert "input: 1 of 3 rows cannot be used, so nothing was computed:\n  line 4: " in message
    assert found in message
    assert len(message) < 400


@pytest.mark.parametrize("cell", ["x", "-1", "inf", "2;3"])
def test_a_bad_response_time_is_told(cell: str) -> None:
    assert "line 3: response_s: found " in refusal(f"response_s\n1\n{cell}\n", WEB)


def test_measures_are_read_by_the_names_of_the_inputs_up_to_what_reports_may_carry() -> None:
    text = "loss,call,delay_ms\n0.01,a,150\n-1e9,b,1e9\n1E-3,c,-0.5\n"
    assert rows(read_text(text, VOICE)) == [(150, 0.01), (1e9, -1e9), (-0.5, 0.001)]


@pytest.mark.parametrize("cell", ["x", "inf", "-inf", "1000000001", "-1.1e9", "1_0"])
def test_a_bad_measure_is_told(cell: str) -> None:
    message = refusal(f"delay_ms,loss\n100,0\n100,{cell}\n", VOICE)
    assert "line 3: loss: found " in message
    assert "expected a number from -1,000,000,000 to 1,000,000,000" in message


def test_a_file_without_the_measures_is_told_which_are_missing() -> None:
    message = refusal("delay_ms,lost\n100,0\n", VOICE)
    assert "there is no column loss; service voice needs a header with delay_ms, loss" in message


def test_all_bad_rows_are_counted_and_twenty_shown() -> None:
    message = refusal(HEADER + "0,0,60\n0,0,x\n" * 1023)
    lines = message.splitlines()
    assert lines[0] == "input: 1,023 of 2,046 rows cannot be used, so nothing was computed:"
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"  line {3 + 2 * i}" for i in range(20)]
    assert lines[-1] == "  and 1,003 more"


def test_lines_are_those_an_editor_shows() -> None:
    text = 'note,stall_count,stall_s,play_s\n"a\nb",1,2,60\n\n"c\nd",1,2,x\n'
    assert "line 5: play_s: found 'x'" in refusal(text)


def test_a_quote_that_is_not_closed_is_told_where_it_opens_beside_what_came_before() -> None:
    text = 'stall_count,stall_s,play_s,note\n1,2,x,\n1,2,60,ok\n1,2,60,"open\n1,2,60,\n'
    message = refusal(text)
    assert "line 2: play_s: found 'x'" in message
    assert "line 4: is not CSV (unexpected end of data): is a quote not closed" in message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "there is nothing in it; service video needs a header with stall_count, stall_s, play_s"),
        ("\ufeff\n \n", "there is nothing in it"),
        (HEADER, "there is a header but no row below it"),
        (
            "\na,stall_s\n1,2\n",
            "line 2: there is no column stall_count, play_s; service video needs a header with ",
        ),
        ("\na,stall_s\n1,2\n", " a header with stall_count, stall_s, play_s, found 'a', 'stall_s'"),
        ("\udcff\udcfes\0t\0a\0l\0l\0", "the file is UTF-16, or no text: save the table as CSV in UTF-8"),
        ("stall_s,stall_count,stall_s,play_s\n", "line 1: found the column stall_s 2 times, expected it once"),
        ('stall_count,"stall_s\n', "line 1: is not CSV"),
        ("1,2,60\n", "there is no column stall_count, stall_s, play_s"),
    ],
)
def test_a_file_laid_out_otherwise_is_refused_with_the_reason(text: str, found: str) -> None:
    assert found in refusal(text)


def test_a_file_is_named_and_bytes_of_another_encoding_hurt_only_where_they_matter(tmp_path: Path) -> None:
    path = tmp_path / "rated.csv"
    path.write_bytes(b"city,response_s\nK\xf6ln,1\n")
    with opened(str(path)) as file:
        assert rows(read_conditions(file, WEB)) == [(1,)]
    path.write_bytes(b"city,response_s\nBonn,1\xa0s\n")
    with opened(str(path)) as file, pytest.raises(ContentError) as caught:
        read_conditions(file, WEB)
    assert str(caught.value).startswith(f"{path}: 1 of 1 rows")
    assert "line 2: response_s: found '1\\xa0s'" in str(caught.value)


def test_a_dash_is_standard_input_which_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.BytesIO(b"\xef\xbb\xbfresponse_s\r\n1\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin, encoding="ascii"))
    with opened("-") as file:
        assert rows(read_conditions(file, WEB)) == [(1,)]
    assert not stdin.closed


@pytest.mark.parametrize("name", ["missing.csv", ".", "nul\0"])
def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableError, match=r"cannot be read: .+"), opened(str(tmp_path / name)):
        pass


def test_theta_moves_the_spread_and_leaves_the_mean() -> None:
    conditions = stalls(1, 3, MINUTE[:500])
    less, more = (analyze(conditions, replace(VIDEO, theta=t), QUANTILES, exact=False) for t in (0.1, 0.5))
    assert less.mos == pytest.approx(more.mos, abs=1e-12)
    assert less.sos < more.sos
    assert (less.as_dict()["theta"], more.as_dict()["theta"]) == (0.1, 0.5)
    assert less.theta_band == more.theta_band


@pytest.mark.parametrize("theta", [0, 1, -0.3, float("nan"), float("inf")])
def test_a_theta_that_cannot_be_is_refused(theta: float) -> None:
    with pytest.raises(ThetaError, match=r"service video: theta is .*, expected 0 < theta < 1$"):
        analyze(stalls(1, 3, MINUTE[:5]), replace(VIDEO, theta=theta), QUANTILES, exact=True)


def test_binomial_ratings_take_no_other_theta_and_say_so() -> None:
    with pytest.raises(ThetaError, match=r"theta is 0\.3, but binomial ratings have theta 0\.25; omit theta, or"):
        check_theta(replace(WEB, theta=0.3))
    check_theta(WEB)
    check_theta(replace(WEB, theta=0.3, model=RatingModel.BETA))


def test_empirical_ratings_are_those_of_their_study() -> None:
    study = EmpiricalRatings.of(np.array([[1, 2, 1, 0, 0], [0, 0, 1, 2, 1]]), ACR5)
    service = Service("scored", SCORED.mapping, theta=study.theta, model=RatingModel.EMPIRICAL, study=study)
    conditions = Conditions({"audio": np.array([2.0, 2.0]), "video": np.array([0.0, 4.0])})  # MOS 2 and 4
    for exact in (False, True):
        analysis = analyze(conditions, service, QUANTILES, exact=exact)
        assert list(analysis.ratings.values()) == pytest.approx([1 / 8, 2 / 8, 2 / 8, 2 / 8, 1 / 8], abs=1e-12)


def mixed(service: Service = VIDEO) -> Analysis:
    return analyze(stalls(1, 3, MINUTE[:1000]), service, QUANTILES, exact=False)


def test_json_keeps_its_keys() -> None:
    """A contract: scripts read these."""
    analysis = json.loads(json.dumps(mixed().as_dict(), allow_nan=False))
    assert list(analysis)[:8] == [
        "service",
        "observations",
        "mos",
        "sos",
        "gob",
        "pow",
        "ratings",
        "opinion_quantiles",
    ]
    assert list(analysis)[8:14] == ["theta", "theta_band", "confidence", "mos_bounds", "gob_bounds", "pow_bounds"]
    assert list(analysis)[14:] == ["failed", "users", "groups", "notes"]
    assert list(analysis["ratings"]) == ["1", "2", "3", "4", "5"]
    assert list(analysis["opinion_quantiles"]) == ["0.05", "0.1", "0.5", "0.9"]
    assert analysis["theta_band"].keys() == {"0.1", "0.3"}
    assert analysis["theta_band"]["0.3"] == {"gob": analysis["gob"], "pow": analysis["pow"]}
    assert (analysis["service"], analysis["observations"], analysis["theta"]) == ("video", 1000, 0.3)
    assert analysis["confidence"] == 0.95
    for figure in ("mos", "gob", "pow"):
        lower, upper = analysis[f"{figure}_bounds"]
        assert lower < analysis[figure] < upper
    assert sum(analysis["ratings"].values()) == pytest.approx(1, abs=1e-12)


def test_a_service_without_a_band_has_an_empty_one() -> None:
    assert mixed(replace(VIDEO, theta_band=())).as_dict()["theta_band"] == {}


def printed(analysis: Analysis, encoding: str) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=80).print(table(analysis))
    out.flush()
    out.seek(0)
    return out.read()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_says_in_words_what_it_means_in_80_columns(encoding: str) -> None:
    analysis = mixed()
    text = printed(analysis, encoding)
    gob, poor = (f"{100 * share:.1f} %" for share in (analysis.gob, analysis.pow))
    words = " ".join(text.replace("|", " ").split())
    assert f"Of 1,000 rated experiences of video, {gob} of users would rate good or better, {poor} poor" in words
    assert max(map(len, text.splitlines())) <= 80
    assert f"5 excellent {100 * analysis.ratings[5]:.1f} %" in words
    assert f"MOS {analysis.mos:.2f} mean of all ratings, from 1 to 5" in words
    lower, upper = analysis.mos_bounds
    assert f"from 1 to 5 {lower:.2f} to {upper:.2f}, 95 % confidence SOS" in words
    for found, bounds in (
        (f"GoB {gob} good or better: 4 and above", analysis.gob_bounds),
        (f"PoW {poor} poor or worse: 2 and below", analysis.pow_bounds),
    ):
        assert f"{found} {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %, 95 % confidence" in words
    assert f"opinion quantile 0.05 {analysis.quantiles[0.05]:.2f} 5 % of opinions are at or below" in words
    assert f"GoB {100 * analysis.theta_band[0.1].gob:.1f} % if users differ less: theta 0.1" in words
    assert "theta 0.3" not in text.split("Mapping ")[0], "the theta of the service is in the last line already"


def test_one_experience_is_singular() -> None:
    assert printed(analyze(responses(np.ones(1)), WEB, (), exact=False), "utf-8").startswith(
        "Of 1 rated experience of web, "
    )


def read_as(text: str, service: Service = VIDEO, **reading: Any) -> Conditions:
    return read_conditions(io.StringIO(text, newline=""), service, Reading(**reading))


def figures(analysis: Analysis) -> list[float]:
    return [analysis.mos, analysis.sos, analysis.gob, analysis.pow, *analysis.ratings.values()]


@pytest.mark.parametrize("exact", [False, True])
def test_counts_are_as_many_rows(exact: bool) -> None:
    counted = analyze(read_as("response_s,n\n1,3\n4,0\n9,2\n", WEB), WEB, QUANTILES, exact=exact)
    single = analyze(read_as("response_s\n1\n1\n1\n9\n9\n", WEB), WEB, QUANTILES, exact=exact)
    assert counted.observations == single.observations == 5
    assert figures(counted) == pytest.approx(figures(single), abs=1e-12)
    assert counted.pow_bounds == pytest.approx(single.pow_bounds, abs=1e-12)


@pytest.mark.parametrize("exact", [False, True])
def test_weights_move_the_figures_and_count_as_fewer_users(exact: bool) -> None:
    """Kish: (1 + 1 + 4)^2 / (1 + 1 + 16) = 2 users, whatever the unit of the weights."""
    weighted = analyze(read_as("response_s,weight\n1,.1\n2,.1\n9,.4\n", WEB), WEB, QUANTILES, exact=exact)
    rows_of_6 = analyze(read_as("response_s\n1\n2\n9\n9\n9\n9\n", WEB), WEB, QUANTILES, exact=exact)
    assert figures(weighted) == pytest.approx(figures(rows_of_6), abs=1e-12)
    assert (weighted.observations, weighted.users) == (3, pytest.approx(2))
    lower, upper = weighted.pow_bounds
    assert lower < rows_of_6.pow_bounds[0] < rows_of_6.pow_bounds[1] < upper


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("service", [VIDEO, WEB, SCORED], ids=lambda service: service.name)
def test_what_failed_counts_as_the_worst_rating_whatever_its_qos(service: Service, exact: bool) -> None:
    names = ",".join(column.name for column in condition_format(service.mapping).columns)
    blank = "," * names.count(",")
    good = {"video": "0,0,60", "web": "0.5", "scored": "4,4"}[service.name]
    text = f"failed,{names}\nno,{good}\nno,{good}\nno,{good}\nyes,{blank}\n"
    analysis = analyze(read_as(text, service), service, QUANTILES, exact=exact)
    worked = analyze(read_as(f"{names}\n{good}\n{good}\n{good}\n", service), service, QUANTILES, exact=exact)
    assert (analysis.observations, analysis.failed) == (4, 1)
    assert analysis.pow == pytest.approx(0.75 * worked.pow + 0.25, abs=1e-9)
    assert analysis.gob == pytest.approx(0.75 * worked.gob, abs=1e-9)
    assert analysis.mos == pytest.approx(0.75 * worked.mos + 0.25, abs=1e-9)
    assert analysis.ratings[1] == pytest.approx(0.75 * worked.ratings[1] + 0.25, abs=1e-9)


def test_all_that_failed_is_all_bad() -> None:
    analysis = analyze(read_as("response_s,failed\n,1\n,1\n", WEB), WEB, QUANTILES, exact=True)
    assert (analysis.mos, analysis.pow, analysis.gob) == (1, 1, 0)


@pytest.mark.parametrize("exact", [False, True])
def test_each_group_has_the_figures_of_its_rows(exact: bool) -> None:
    text = "Region,response_s,failed\neu,1,0\nus,3,0\neu,2,0\n,9,0\nus,,1\n"
    analysis = analyze(read_as(text, WEB, group=("region",)), WEB, QUANTILES, exact=exact)
    assert list(analysis.groups) == ["eu", "us", "(none)"]
    alone = analyze(read_as("response_s,failed\n3,0\n,1\n", WEB), WEB, QUANTILES, exact=exact)
    assert figures(analysis.groups["us"]) == pytest.approx(figures(alone), abs=1e-12)
    assert analysis.groups["us"].pow_bounds == pytest.approx(alone.pow_bounds, abs=1e-12)
    sizes = [group.observations for group in analysis.groups.values()]
    assert sizes == [2, 2, 1]
    mean = sum(n * group.mos for n, group in zip(sizes, analysis.groups.values(), strict=True)) / 5
    assert analysis.mos == pytest.approx(mean, abs=1e-12)
    plain = analysis.as_dict()["groups"]["us"]
    assert plain["failed"] == 1
    assert "us" in printed(analysis, "utf-8")


def test_names_of_groups_are_text_and_no_markup() -> None:
    text = "Region,response_s\n/blog/[slug],1\n/blog/[id],3\nhome [/old],2\n"
    shown = printed(analyze(read_as(text, WEB, group=("region",)), WEB, QUANTILES, exact=False), "utf-8")
    for name in ("/blog/[slug]", "/blog/[id]", "home [/old]"):
        assert name in shown


def test_a_ratio_of_stalling_is_the_seconds_of_it() -> None:
    """30 s of stalls beside 60 s of play are a third of the time."""
    text = "stall_count,rebuffering_ratio,play_s\n3,.25,60\n0,0,60\n"
    read = read_as(text)
    assert rows(read) == [(3, 20, 60), (0, 0, 60)]
    assert rows(read_as(text.replace(".25", "25"), columns={"rebuffering_ratio": "rebuffering_ratio/100"})) == rows(
        read
    )
    with pytest.raises(ContentError, match="rebuffering_ratio: found 0 with stall_count 3"):
        read_as("stall_count,rebuffering_ratio,play_s\n3,0,60\n")


def test_stalls_without_seconds_take_the_mean_length_that_an_option_states() -> None:
    read = read_as("stalls,play_s\n3,60\n0,60\n", columns={"stall_count": "stalls"}, stall_s=2.5)
    assert rows(read) == [(3, 7.5, 60), (0, 0, 60)]
    assert read.notes == ("the file has no seconds of stalls: each is taken to be 2.5 s long",)
    with pytest.raises(ContentError, match=r"no column stall_s.*--stall-length 4s"):
        read_as("stalls,play_s\n3,60\n", columns={"stall_count": "stalls"})


def test_missing_qos_is_left_out_and_said() -> None:
    read = read_as("stall_count,stall_s,play_s\n1,2.5,60\n1,,60\nNA,2,nan\n")
    assert rows(read) == [(1, 2.5, 60)]
    said = ["1 of 3 experiences are left out: stall_count is missing"]
    said.append("1 of 3 experiences are left out: stall_s is missing")
    assert sorted(read.notes) == said
    assert analyze(read, VIDEO, QUANTILES, exact=True).as_dict()["notes"] == list(read.notes)


def test_an_input_named_like_a_weight_is_an_input() -> None:
    service = Service("scored", LINEAR.with_inputs(("n", "group")), theta=0.25)
    read = read_as("n,group\n2,3\n", service)
    assert (rows(read), read.count, read.group) == ([(2, 3)], None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("response_s,n,weight\n1,1,1\n", "found the columns n and weight, expected one of them"),
        ("response_s,n\n1,0\n", "n: found 0 in all rows"),
        ("response_s,n\n1,1.5\n", "n: found '1.5', expected a whole number"),
        ("response_s,failed\n1,perhaps\n", "failed: found 'perhaps', expected 1 or 0, true or false"),
    ],
)
def test_bad_counts_and_failures_are_told(text: str, words: str) -> None:
    assert words in refusal(text, WEB)


def test_a_length_of_stalls_that_is_assumed_stands_in_the_table() -> None:
    arguments = ["analyze", "-", "--service", "video", "--stall-length", "4s"]
    result = CliRunner().invoke(cli.app, arguments, input="stall_count,play_s\n2,60\n", env={"COLUMNS": "80"})
    assert "each is taken to be 4 s long." in " ".join(result.stdout.split())
    assert not result.stderr
