"""Durations with a unit: one canonical text for each, and nothing else accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.common import duration


@given(st.integers(0, 10**12))
def test_duration_reads_back_what_it_writes(length_ms: int) -> None:
    assert duration.seconds(duration.text(length_ms / 1000)) == length_ms / 1000


@pytest.mark.parametrize(
    ("text", "length_s", "canonical"),
    [
        ("500ms", 0.5, "500ms"),
        ("10s", 10, "10s"),
        ("60s", 60, "1m"),
        ("90m", 5400, "1h30m"),
        ("1h30m", 5400, "1h30m"),
        ("24h", 86400, "1d"),
        ("1d1ms", 86400.001, "1d1ms"),
        ("0s", 0, "0s"),
    ],
)
def test_duration_has_one_canonical_text(text: str, length_s: float, canonical: str) -> None:
    assert duration.seconds(text) == length_s
    assert duration.text(length_s) == canonical


@pytest.mark.parametrize("text", ["", "s", "10", "1.5h", "-1s", "1s1m", "1m1m", " 1s", "1s\n", "1S", "١s", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration such as"):
        duration.seconds(text)
