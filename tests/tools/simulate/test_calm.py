"""In calm, simulated users meet the default objectives, and nothing is alerted: counted and rated by the core."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.alerting.decision import AlertState
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.inputs.inbox import Message
from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Population

START_S, STEP_S, LENGTH_S = 1_700_000_040, 2, 600


def messages(users: Population, now_s: int) -> list[Message]:
    """What the users report at this time."""
    return [
        Message(
            "/".join(["qoe/v1", service, *labels.values()]), msgspec.json.encode(report), now_s - 0.001, 1, 1, 1
        )
        for service, labels, report in users.step(now_s)
    ]


DEMO = {
    "sessions": {"tick": "2s", "rating_interval": "20s", "timeout": "60s", "min_active": "2s"},
    "windows": ["20s", "1m"],
}
"""The times of `qoemon demo`, whose ratings are about so few pages that they differ more."""


@pytest.mark.parametrize("settings", [{}, DEMO], ids=["defaults", "demo"])
def test_calm_users_meet_the_default_objectives_with_room_to_spare(settings: dict[str, Any]) -> None:
    config = Config.model_validate(settings)
    pipeline, evaluation = ShardPipeline(core_plan(config)), new_evaluation(config)
    users = Population(GROUPS, sessions=400, scenario=SCENARIOS["calm"], seed=1, start_s=START_S)
    fired = []
    for elapsed_s in range(STEP_S, LENGTH_S + 1, STEP_S):
        pipeline.apply(messages(users, START_S + elapsed_s))
        if elapsed_s % config.sessions.tick_s == 0:
            tick = evaluation.tick([pipeline.tick(START_S + elapsed_s)])
            fired += [each.key for each in tick.detections.alerts if each.decision.state is AlertState.FIRING]
    assert fired == []
    for service in tick.snapshot.services:
        ratings = service.counts.expected_ratings.sum(axis=0)
        scale = next(each.scale for each in core_plan(config).services if each.name == service.counts.service)
        good = float(ratings[np.asarray(scale.ratings) >= scale.good].sum() / ratings.sum())
        objective = config.services[service.counts.service].slo
        assert objective is not None
        assert ratings.sum() > 1000
        assert good > objective + 0.03, (service.counts.service, good)
