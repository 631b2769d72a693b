"""Parts of a cluster are killed under load, and the figures come out as if nothing had happened.

`make chaos-cluster` runs the long form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import KINDS, disturbed
from tests.support.patience import TEST_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.mosquitto, pytest.mark.timeout(3 * TEST_S)]


async def test_whatever_is_killed_each_report_counts_once(tmp_path: Path) -> None:
    outcome = await disturbed(tmp_path, list(KINDS))
    assert outcome.counted == outcome.sent
    assert not outcome.different
    assert (outcome.doubled, outcome.missing) == (0, 0)
    assert any(problem.startswith("starting Spark (local-cluster") for problem in outcome.problems["driver"])
    assert "Traceback" not in outcome.log
    assert "\tat " not in outcome.log, "the stack of a JVM"
