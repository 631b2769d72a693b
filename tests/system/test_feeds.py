"""Every kind of feed gives what really happened, through `qoemon replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.feeds import CASES, PAYLOADS, Case

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", [*CASES, *PAYLOADS], ids=lambda case: f"{case.number}: {case.feed}")
def test_the_figures_are_what_happened(case: Case, tmp_path: Path) -> None:
    checks = list(case.check(case.replay(tmp_path)))
    assert checks
    for check in checks:
        assert check.holds, f"{check.name} is {check.measured:.4g}, the truth is {check.truth:.4g}"
