"""A study is read whole, whatever its scale and the order of its columns, or refused with every reason."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qoemon.common.csvfile import ContentError, opened
from qoemon.config.studies.ratings import Moments, Ratings
from qoemon.config.studies.reading import Reading, Wide
from qoemon.config.studies.study import Study, StudyError, read_ratings, read_study
from qoemon.core.qoe.mapping import IQX, LINEAR, VIDEO_STALL, WEB_IQX, QosMapping

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STALLS = "stall_count,stall_s,play_s"


def file(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


def ratings(text: str, low: float = 1, high: float = 5) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in rated(text, low, high).conditions.items()}


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


def rated(text: str, low: float = 1, high: float = 5, **reading: Any) -> Ratings:
    read = read_ratings(file(text), low, high, Reading(**reading))
    assert isinstance(read, Ratings)
    return read


def means(text: str, low: float = 1, high: float = 5, **reading: Any) -> Moments:
    read = read_ratings(file(text), low, high, Reading(**reading))
    assert isinstance(read, Moments)
    return read


def test_who_rated_is_numbered_in_the_order_of_the_file() -> None:
    read = rated("user,condition,rating\nzoe,a,4\nbob,a,3\nzoe,b,2\n")
    assert read.user is not None
    assert read.user.tolist() == [0, 1, 0]
    assert rated("condition,rating\na,4\n").user is None


def test_several_columns_name_a_condition_and_a_factor_converts_ratings() -> None:
    read = rated("SRC,HRC,Score\n1,2,80\n1,3,40\n", condition=("src", "hrc"), columns={"rating": "score/20"})
    assert {name: each.tolist() for name, each in read.conditions.items()} == {"1, 2": [4], "1, 3": [2]}


def test_missing_ratings_are_left_out_and_said() -> None:
    read = rated("condition,rating\na,4\na,NA\nb,\nb,2\n")
    assert read.rating.tolist() == [4, 2]
    assert read.notes == ("2 of 4 ratings are left out: rating is missing",)


LONG = "condition,user,rating\nx,u1,5\nx,u2,4\nx,u3,3\ny,u1,2\ny,u3,1\n"


@pytest.mark.parametrize(
    ("text", "wide"),
    [
        ("condition,u1,u2,u3\nx,5,4,3\ny,2,NA,1\n", "conditions"),
        (",u1,u2,u3\nx,5,4,3\ny,2,,1\n", "conditions"),
        ("clip;u1;u2;u3;MOS;CI\nx;5;4;3;4,0;0,1\ny;2;-;1;1,5;0,2\n", "conditions"),
        ("user,x,y\nu1,5,2\nu2,4,\nu3,3,1\n", "users"),
    ],
)
def test_a_matrix_has_the_ratings_of_the_long_form(text: str, wide: Wide) -> None:
    def triples(read: Ratings) -> set[tuple[str, int, float]]:
        assert read.user is not None
        names = [read.names[each] for each in read.condition.tolist()]
        return set(zip(names, read.user.tolist(), read.rating.tolist(), strict=True))

    assert triples(rated(text, wide=wide)) == triples(rated(LONG))


def test_a_matrix_without_a_header_has_numbers_for_names() -> None:
    read = rated("5,4,nan\n2,2,1\n", wide="conditions")
    assert {name: each.tolist() for name, each in read.conditions.items()} == {"1": [5, 4], "2": [2, 2, 1]}
    read = rated("5,4,nan\n2,2,1\n", wide="users")
    assert {name: each.tolist() for name, each in read.conditions.items()} == {"1": [5, 2], "2": [4, 2], "3": [1]}


def test_what_is_no_rating_in_a_matrix_is_left_out_by_its_name_and_said() -> None:
    assert rated("clip,u1,u2,MOS\nx,5,4,4.5\n", wide="conditions").notes == (
        "the columns MOS are no ratings: left out",
    )
    with pytest.raises(ContentError, match="line 2: rating: found '45'"):
        rated("clip,u1,u2\nx,5,45\ny,4,4\n", wide="conditions")


def test_a_matrix_of_ratings_beside_qos_is_a_study_for_fit() -> None:
    read = read_study(file("response_s,u1,u2\n0.5,5,4\n4,2,\n"), WEB_IQX, reading=Reading(wide="conditions"))
    assert (read.axes[0].tolist(), read.mos.tolist(), read.weights.tolist()) == ([0.5, 4], [4.5, 2], [2, 1])
    assert read.ratings is not None
    assert read.ratings.user is not None
    assert read.ratings.user.tolist() == [0, 1, 0]


def test_counts_are_as_many_ratings() -> None:
    text = "condition,1,2,3,4,5\nx,0,0,1,0,2\ny,2,0,0,0,0\n"
    expected = {"x": [3, 5, 5], "y": [1, 1]}
    assert {name: each.tolist() for name, each in rated(text).conditions.items()} == expected
    named = text.replace("1,2,3,4,5", "a,b,c,d,e", 1)
    assert {
        name: each.tolist() for name, each in rated(named, counts=("a", "b", "c", "d", "e")).conditions.items()
    } == expected
    half = rated("condition,a,b,c\nx,1,0,1\n", 0, 1, counts=("a", "b", "c"))
    assert half.rating.tolist() == [0, 1]


def test_a_condition_that_nobody_rated_is_none() -> None:
    assert rated("condition,1,2,3,4,5\nx,0,0,1,0,2\ny,0,0,0,0,0\n").names == ("x",)


def test_a_count_beside_each_rating_is_used_if_an_option_says_so() -> None:
    text = "condition,rating,n\nx,5,2\nx,1,1\n"
    assert rated(text, columns={"n": "n"}).rating.tolist() == [5, 5, 1]
    read = rated(text)
    assert read.rating.tolist() == [5, 1]
    assert read.notes == ("n is not used: if each rating was given that many times, --columns n=n",)


def test_counts_of_a_condition_are_ratings_of_a_study_for_fit() -> None:
    read = read_study(file("response_s,1,2,3,4,5\n0.5,0,0,0,1,2\n9,1,1,0,0,0\n"), WEB_IQX)
    assert (read.mos.tolist(), read.weights.tolist()) == ([pytest.approx(14 / 3), 1.5], [3, 2])


def test_means_with_their_spread_are_moments() -> None:
    read = means("condition,MOS,SD,N\nx,3.5,0.9,24\ny,5,0,12\nz,2,NA,1\n")
    assert (read.names, read.mos.tolist(), read.size.tolist()) == (("x", "y"), [3.5, 5], [24, 12])
    assert read.variance.tolist() == [pytest.approx(0.81), 0]
    assert read.notes == ("1 of 3 conditions are left out: sd is missing",)


def test_the_number_of_ratings_may_be_the_same_for_all() -> None:
    read = means("flickr_id,MOS,SOS\n7,3.5,0.9\n", condition=("flickr_id",), columns={"sd": "SOS", "n": "24"})
    assert (read.names, read.size.tolist()) == (("7",), [24])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("condition,mos,sd,n\nx,3,2.5,24\n", "sd: found 2.5, but ratings with the mean 3 have at most 2.2"),
        ("condition,mos,sd,n\nx,3,1,24\nx,4,1,24\n", "the condition x has a mean in line 2 and another in line 3"),
        ("condition,mos\nx,3\n", "there is no column sd, n; means need their standard deviation sd and number n"),
    ],
)
def test_means_that_cannot_be_are_refused(text: str, words: str) -> None:
    with pytest.raises(ContentError) as caught:
        means(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("ratings_given", "low", "high", "words"),
    [
        ([1, 2, 3, 4, 5], 0, 100, "all ratings are from 1 to 5 on a scale from 0 to 100: .* --low 1 --high 5"),
        ([10, 50, 90, 100], 1, 5, "try --low 0 --high 100$"),
        ([0, 5, 7, 10], 1, 5, "try --low 0 --high 10$"),
        ([-3, 0, 2, 3], 1, 5, "try --low -3 --high 3$"),
        ([1, 2, -1, 5], 1, 5, "try --missing -1$"),
    ],
)
def test_another_scale_is_recognised(ratings_given: list[float], low: float, high: float, words: str) -> None:
    text = "condition,rating\n" + "".join(f"a,{each}\n" for each in ratings_given * 3)
    try:
        said = "\n".join(rated(text, low, high).notes)
    except ContentError as error:
        said = str(error)
    assert re.search(words, said)


def test_an_option_that_names_no_column_is_refused_with_the_likely_one() -> None:
    with pytest.raises(ContentError, match=r'there is no column scroe; found .*; did you mean "score"\?'):
        rated("condition,score\na,1\n", columns={"rating": "scroe"})


def test_figures_of_the_ratings_are_no_causes() -> None:
    read = study("audio,video,mos,sd,ci,n\n1,2,3,1,.2,9\n2,3,4,1,.2,9\n3,1,2,1,.2,9\n", LINEAR)
    assert read.mapping.inputs == ("audio", "video")


def test_milliseconds_are_suspected() -> None:
    assert study("response_s,mos\n420,4\n2200,3\n").notes == (
        "most of response_s exceed 300 s: if they are milliseconds, --columns response_s=COLUMN/1000",
    )
