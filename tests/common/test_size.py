"""Sizes with a binary unit."""

from __future__ import annotations

import pytest

from qoemon.common import size


@pytest.mark.parametrize(("text", "count"), [("7B", 7), ("2KiB", 2048), ("64MiB", 2**26), ("1GiB", 2**30)])
def test_size_is_in_bytes(text: str, count: int) -> None:
    assert size.byte_count(text) == count


@pytest.mark.parametrize("text", ["", "64", "64MB", "1.5MiB", "-1B", "64 MiB", "64mib"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size such as"):
        size.byte_count(text)
