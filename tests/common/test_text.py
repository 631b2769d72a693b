"""Text of unknown origin on a terminal: one line, bounded, no two different values alike."""

from __future__ import annotations

import unicodedata
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoemon.common.text import SHORT, printable
from qoemon.core.wire.escape import escape_label

TEXTS = st.text(st.characters() | st.sampled_from("\\\u0316\u0301\u20dd\x1b\n\u202e"))


@given(TEXTS, st.none() | st.integers(1, 50))
@example("\ud800", 5)
@example("e" + "\u0316" * 50, SHORT)
def test_printable_is_one_line_of_bounded_length_and_without_towers_of_marks(text: str, most: int | None) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    shown.encode()
    assert most is None or len(shown) <= most
    marks = groupby(shown, lambda character: unicodedata.category(character).startswith("M"))
    assert max((len(list(run)) for mark, run in marks if mark), default=0) <= 2


@given(st.text(st.characters(exclude_categories=["M"])))
@example("a\\nb")
@example("\x1b[31m\\x1b[31m")
def test_a_label_value_is_shown_as_it_is_in_prometheus(text: str) -> None:
    label = escape_label(text)
    assert printable(label) == label


@pytest.mark.parametrize(("one", "other"), [("a\x1b", "a\x1c"), ("e" + "\u0316" * 3, "e" + "\u0316" * 4)])
def test_different_texts_do_not_look_the_same(one: str, other: str) -> None:
    assert printable(one) != printable(other)


def test_scripts_stay_whole() -> None:
    text = "Zürich 漢字 नमस्ते Việt"
    assert printable(text) == text
    assert printable(unicodedata.normalize("NFD", text)) == unicodedata.normalize("NFD", text)


def test_a_longer_text_is_cut_but_not_within_a_code() -> None:
    assert printable("x" * 1000, SHORT) == "x" * (SHORT - 1) + "…"
    assert printable("x" * SHORT, SHORT) == "x" * SHORT
    assert [printable("ab\x1bcd", most) for most in (8, 7, 6, 2, 1)] == [r"ab\x1bcd", r"ab\x1b…", "ab…", "a…", "…"]
