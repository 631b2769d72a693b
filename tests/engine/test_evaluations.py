"""An evaluation that continues another one."""

from __future__ import annotations

from qoemon.config.config import Config
from qoemon.config.plan import new_evaluation
from qoemon.engine.evaluations import successor


def test_a_changed_configuration_keeps_the_alerts_of_the_other_daemon() -> None:
    """Also of a group that has not reported here: nobody else would end it."""
    before = new_evaluation(Config())
    before.adopt_alerts({("ManyPoor", "video", ("eu", "a")): 1_700_000_000})
    after = successor(Config.model_validate({"limits": {"groups": 10}}), before)
    assert after.adopted_alerts == {("ManyPoor", "video", ("eu", "a")): 1_700_000_000}
