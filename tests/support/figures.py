"""Comparison of documents that were computed on different processors.

Integers and texts are the same everywhere. Floats are sums, which numpy and OpenBLAS add up in the order that suits
the processor: with AVX-512 some of them have another last digit than without.
"""

from __future__ import annotations

from typing import Any

import pytest

ROUNDING = 1e-9
"""Beyond what another order of adding up changes, and far below the share of a single session."""


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every figure by its path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, each in items for name, leaf in flat(each, f"{path}/{key}").items()}
    return {path: value}


def differences(now: Any, before: Any) -> set[str]:
    """Paths of the figures in which two documents differ by more than rounding, or that only one of them has."""
    one, other = flat(now), flat(before)
    both = one.keys() & other.keys()
    return (one.keys() ^ other.keys()) | {path for path in both if not _same(one[path], other[path])}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(one == pytest.approx(other, rel=ROUNDING, abs=ROUNDING))
    return bool(one == other)
