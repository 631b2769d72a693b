"""A recording of some days on which users rate their sessions, made at once with times of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qoemon.tools.recordings.recording import Header, Recorded, Writer
from qoemon.tools.simulate.raters import Raters
from qoemon.tools.simulate.simulate import Health, Phase, Population, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.core.plan.plan import Service

DAY_S = 86_400
MIDNIGHT_S = 1_700_006_400
"""2023-11-15 00:00 UTC."""

EVENING_S = 20 * 3600
STEP_S = 10


def record_days(
    path: Path,
    truth: Service,
    days: int,
    *,
    sessions: int = 40,
    minutes: int = 20,
    share: float = 0.5,
    seed: int = 1,
) -> None:
    """Record some evenings of viewers who rate by this model, whatever the configuration predicts.

    truth     how they rate
    sessions  at any time of an evening
    minutes   length of an evening
    share     of the sessions, whose users rate
    """
    scenario = Scenario((Phase("uneven", 1.0, 0.5, 0.5),), worst=Health(1.0, 5.0, 1.0))
    with Writer(path, Header(started_s=float(MIDNIGHT_S), source="simulated")) as file:
        for day in range(days):
            start_s = MIDNIGHT_S + day * DAY_S + EVENING_S
            raters = Raters([truth], share, 0.0, interval_s=60, seed=seed + day)
            population = Population(
                [{"region": "eu", "cdn": "a"}],
                sessions=sessions,
                scenario=scenario,
                seed=seed + day,
                start_s=start_s,
                report_every_s=STEP_S,
                services=((truth.name,), ()),
                raters=raters,
            )
            for at_s in range(start_s + STEP_S, start_s + 60 * minutes + 1, STEP_S):
                # The names of sessions are the same on each day.
                reports = [
                    {**report, "session": f"{day} {report['session']}"} for *_, report in population.step(at_s)
                ]
                payload = json.dumps(reports).encode()
                file.write([Recorded(f"qoe/v1/{truth.name}/eu/a", payload, float(at_s))])
        file.silence(MIDNIGHT_S + days * DAY_S + 3600)
