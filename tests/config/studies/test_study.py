"""A study is read whole, whatever its scale and the order of its columns, or refused with every reason."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qoemon.common.csvfile import ContentError, opened
from qoemon.config.studies.study import Ratings, Study, StudyError, read_ratings, read_study
from qoemon.core.qoe.mapping import IQX, LINEAR, VIDEO_STALL, WEB_IQX, QosMapping

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STALLS = "stall_count,stall_s,play_s"


def file(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


def ratings(text: str, low: float = 1, high: float = 5) -> dict[str, list[float]]:
    read = read_ratings(file(text), low, high)
    return {name: each.tolist() for name, each in read.conditions.items()}


def study(text: str, mapping: QosMapping = WEB_IQX, inputs: Sequence[str] = ()) -> Study:
    return read_study(file(text), mapping, inputs)


def refusal(text: str, mapping: QosMapping = WEB_IQX, inputs: Sequence[str] = ()) -> str:
    with pytest.raises(ContentError) as caught:
        study(text, mapping, inputs)
    return str(caught.value)


def test_ratings_are_sorted_by_condition_in_the_order_of_the_file() -> None:
    text = "\ufeffperson,rating, condition\r\n1,4,hd\r\n1,2, sd \r\n\r\n2,5,hd\r\n2,1,sd\r\n"
    assert list(ratings(text).items()) == [("hd", [4, 5]), ("sd", [2, 1])]


def test_any_scale_will_do() -> None:
    assert ratings("condition,rating\na,0\na,62.5\nb,100\n", 0, 100) == {"a": [0, 62.5], "b": [100]}
    assert ratings("condition,rating\na,-3\na,3\n", -3, 3) == {"a": [-3, 3]}


@pytest.mark.parametrize("ends", [(5, 1), (3, 3), (1, np.inf), (np.nan, 5)])
def test_a_scale_needs_a_low_end_below_its_high_end(ends: tuple[float, float]) -> None:
    with pytest.raises(StudyError, match="expected two numbers, the lower first"):
        ratings("condition,rating\na,1\n", *ends)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,6", "rating: found '6', expected a number from 1 to 5"),
        ("a,0.99", "rating: found '0.99'"),
        ("a,good", "rating: found 'good'"),
        ("a", "rating: found nothing"),
        ("a,inf", "rating: found 'inf'"),
        (",3", "condition: found nothing, expected a name of what was rated"),
        ("  ,3", "condition: found nothing"),
        ("a,3,5", "found 3 cells, expected 2 as in the header (decimals have a point)"),
    ],
)
def test_a_bad_rating_is_reported_with_its_line(row: str, words: str) -> None:
    with pytest.raises(ContentError) as caught:
        ratings(f"condition,rating\na,3\n{row}\nb,3\n")
    message = str(caught.value)
    assert message.startswith("input: 1 of 3 rows cannot be used, so nothing was computed:\n  line 3: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is nothing in it; ratings need a header with condition and rating"),
        ("condition,rating\n", "there is a header but no row below it"),
        (
            "condition,score\na,1\n",
            "line 1: there is no column rating; ratings need a header with",
        ),
        ('condition,"rating\na,1\n', "line 1: is not CSV"),
        ('condition,rating\na,1\n"a,1\n', "line 3: is not CSV"),
        ("condition,rating,rating\na,1,1\n", "found the column rating 2 times"),
    ],
)
def test_a_file_without_ratings_is_rejected_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ContentError) as caught:
        ratings(text)
    assert words in str(caught.value)


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("condition,rating\na,9\n")
    with opened(str(path)) as rows, pytest.raises(ContentError) as caught:
        read_ratings(rows)
    assert str(caught.value).startswith(f"{path}: 1 of 1 rows")


def test_rows_of_the_same_condition_are_pooled_and_counted() -> None:
    read = study("who,response_s,rating\na,4,3\na,0.5,5\nb,4.0,2\nc,4,4\n")
    assert (read.mos.tolist(), read.weights.tolist()) == ([3, 5], [3, 1])
    assert read.axes[0].tolist() == [4, 0.5]
    assert read.names == ("response_s 4", "response_s 0.5")
    assert isinstance(read.ratings, Ratings)
    assert [each.tolist() for each in read.ratings.conditions.values()] == [[3, 2, 4], [5]]


def test_stalls_are_seen_as_the_mapping_sees_them() -> None:
    """One stall in half a minute is two a minute: the same condition."""
    read = study(f"{STALLS},rating\n1,2,30,3\n2,4,60,4\n0,0,60,5\n", VIDEO_STALL)
    assert [axis.tolist() for axis in read.axes] == [[2, 0], [4, 0]]
    assert (read.mos.tolist(), read.weights.tolist()) == ([3.5, 5], [2, 1])
    assert read.names[0] == "stall_count 1, stall_s 2, play_s 30"


@pytest.mark.parametrize(("weight", "expected"), [(",n", [30, 12]), (",weight", [30, 12]), (",note", [2, 1])])
def test_means_count_by_their_ratings_if_the_file_says_how_many(weight: str, expected: list[float]) -> None:
    read = study(f"response_s,mos{weight}\n1,4,10\n2,2.5,12\n1,3.4,20\n")
    assert read.weights.tolist() == expected
    assert read.mos[0] == pytest.approx((4 * 10 + 3.4 * 20) / 30 if weight != ",note" else 3.7)
    assert read.ratings is None


def test_inputs_are_all_columns_that_hold_numbers_unless_they_are_named() -> None:
    text = "condition,audio,video,note,n,mos\n1,1,2,fine,5,2\n2,-3,4.5,,5,4\n"
    read = study(text, LINEAR)
    assert read.mapping.inputs == ("audio", "video")
    assert [axis.tolist() for axis in read.axes] == [[1, -3], [2, 4.5]]
    assert study(text, LINEAR, ["video"]).mapping.inputs == ("video",)
    assert study(text, LINEAR, ["n"]).weights.tolist() == [2], "n is an input here, not a weight"


@pytest.mark.parametrize(
    ("text", "mapping", "inputs", "words"),
    [
        (
            "response_s,score\n1,3\n",
            WEB_IQX,
            (),
            "found no column rating or mos, expected either",
        ),
        ("response_s,mos,rating\n1,3,3\n", WEB_IQX, (), "found the columns rating and mos, expected either"),
        ("response_s,mos,n,weight\n1,3,1,1\n", WEB_IQX, (), "found the columns n and weight, expected one of them"),
        ("wait,mos\n1,3\n", WEB_IQX, (), "line 1: there is no column response_s"),
        ("response_s,mos\n1,3\n-1,3\n", WEB_IQX, (), "line 3: response_s: found '-1', expected seconds"),
        ("response_s,mos\n1,5.5\n", WEB_IQX, (), "line 2: mos: found '5.5', expected a number from 1 to 5"),
        ("response_s,mos,n\n1,3,0\n", WEB_IQX, (), "line 2: n: found '0', expected a number above 0"),
        (f"{STALLS},mos\n1,0,60,3\n", VIDEO_STALL, (), "line 2: stall_s: found 0 with stall_count 1"),
        (f"{STALLS},mos\n1,5,0,3\n", VIDEO_STALL, (), "line 2: play_s: found nothing played"),
        ("a,b,mos\n1,2,3\n1,x,3\n", LINEAR, (), "line 3: b: found 'x', expected a number"),
        ("a,b,mos\n1,inf,3\n", LINEAR, ["b"], "line 2: b: found 'inf', expected a number"),
        ("a,b,mos\n1,2,3\n", LINEAR, ["a", "c"], "line 1: there is no column c"),
        ("a,b,mos\n1,2,3\n", IQX, (), "iqx takes one input, got 2: a, b; name the columns that are its inputs"),
        ("mos\n3\n", LINEAR, (), "got none; name the columns"),
        (
            "response_s,mos\n1,3\n",
            WEB_IQX,
            ["response_s"],
            "has inputs of its own, response_s: name no others",
        ),
    ],
)
def test_a_study_that_does_not_fit_the_mapping_is_refused_with_the_reason(
    text: str, mapping: QosMapping, inputs: Sequence[str], words: str
) -> None:
    assert words in refusal(text, mapping, inputs)
