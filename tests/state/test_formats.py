"""States of every format that was ever written: each continues where it stopped.

A file in formats/ has the state directory of one process: a checkpoint, the journal behind it, and the history, if
there was one. The code of the commit that is named here made it of the recording in v1/, the later ones with
players.jsonl.gz as well, v3-feedback also with answers.jsonl.gz, and with midnight in the middle.
tests/support/states.py writes one in today's format. tests/state/test_upgrade.py has version 1 with workers.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import re
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from qoemon.config.config import load
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.evaluation import Evaluation
from qoemon.core.feedback.conditions import GivenAnswers, dump_answers
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.snapshot.past import PastQuery, PastRatings
from qoemon.engine.storage import open_store
from qoemon.outputs.snapshot_json import snapshot_json
from qoemon.state.history_rows import UNITS
from qoemon.state.history_store import HistoryStore
from qoemon.state.kept_history import KeptHistory
from qoemon.state.layout import HISTORY
from qoemon.state.recovery import Recovery, recover
from qoemon.state.versions import READABLE, STATE, found_versions
from qoemon.tools.recordings.recording import Recorded, Recording
from tests.support.figures import ROUNDING, differences
from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.config.config import Config
    from qoemon.core.evaluation import Tick
    from qoemon.core.wire.message import Arrived

V1, FORMATS = Path(__file__).parent / "v1", Path(__file__).parent / "formats"
JOURNAL_ENDS_S = 1_700_000_045.0 + 29.2 * 60
"""Earlier messages are in the checkpoint or the journal."""
FROM_S, TO_S = 1_700_000_100, 1_700_001_600
"""A range of whole steps that the histories have, and nothing later adds to."""

COMMITS = {
    "v1-first": "5579476",
    "v2-one-evaluation": "c5c3a61",
    "v3-spread": "be10410",
    "v3-players": "04a28d7",
    "v3-effective-users": "29c0b14",
    "v3-feedback": "0f50f82",
}
"""The first state there was; the last of version 2; the first, three later ones of version 3."""
WITH_PLAYERS = {"v3-players", "v3-effective-users", "v3-feedback"}
WITH_ANSWERS = {"v3-feedback"}
LATER_S = 5400
"""By how much the feed with answers is moved: its first day ends after 16 minutes."""

BOUNDS = r"(mos|gob|pow)_bounds/\d|alerts/\d+/(surest|since_s)"
"""Earlier than v3-effective-users, bounds count the number of users, in windows that reach back to then."""
SAID = r"services/\d+/feedback/.*"
"""Earlier than v3-feedback, none has kept what users said, nor of how many sessions."""
NOTHING = r"(?!)"
DIFFERENT: Mapping[str, str] = {
    "v3-feedback": NOTHING,
    "v3-effective-users": SAID,
    "v3-players": f"{BOUNDS}|{SAID}",
    "v3-spread": f"{BOUNDS}|{SAID}",
}


def unpacked(name: str, directory: Path) -> Path:
    """The state directory of a format."""
    directory.mkdir()
    with tarfile.open(FORMATS / f"{name}.tar.xz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            (directory / member.name).write_bytes(content.read())
    return directory


def config(name: str) -> Config:
    players = ["collector.paths=[{template: '/cmcd/v1/{service}/{region}/{cdn}'}]"]
    return load(V1 / "qoemon.yaml", overrides=players if name in WITH_PLAYERS else ())


def moved_s(name: str) -> int:
    """By how much the feed comes later than it was recorded."""
    return LATER_S if name in WITH_ANSWERS else 0


def journal_ends_s(name: str) -> float:
    """When the state was made: earlier messages are in the checkpoint or the journal."""
    return JOURNAL_ENDS_S + moved_s(name)


def messages(name: str) -> tuple[list[Arrived], float]:
    """The whole feed, and when it ends."""
    recording = Recording(V1 / "recording.jsonl.gz")
    feeds = [recording.messages()]
    if name in WITH_PLAYERS:
        feeds.append(Recording(FORMATS / "players.jsonl.gz").messages())
    if name in WITH_ANSWERS:
        feeds.append(Recording(FORMATS / "answers.jsonl.gz").messages())
    later = [_moved(message, moved_s(name)) for message in heapq.merge(*feeds, key=lambda each: each.arrival_s)]
    return [*later], recording.end_s + moved_s(name)


def _moved(message: Recorded, by_s: int) -> Recorded:
    """The message so much later; players write the time into their records."""
    payload = re.sub(rb"\bts=(\d+)", lambda ts: b"ts=%d" % (int(ts[1]) + 1000 * by_s), message.payload)
    return message._replace(arrival_s=message.arrival_s + by_s, payload=payload)


class Undisturbed(NamedTuple):
    """The last tick of the whole feed without any restart: its document, and what its users said, by service.

    history  what the history answers, by service
    """

    served: dict[str, Any]
    said: Mapping[str, GivenAnswers]
    history: dict[str, PastRatings]


@cache
def undisturbed(name: str) -> Undisturbed:
    """The whole feed without any restart."""
    settings, history = config(name), history_in(None)
    pipeline, evaluation, kept = ShardPipeline(core_plan(settings)), new_evaluation(settings), KeptHistory(history)
    feed, end_s = messages(name)
    for counts in [*pipeline.run(feed), *pipeline.until(end_s)]:
        tick = evaluation.tick([counts])
        kept.put(*tick)
    answers = {service: asyncio.run(kept.ratings(query)) for service, query in questions(name).items()}
    kept.close()
    return Undisturbed(served(tick), tick.snapshot.answers, answers)


def expected(name: str) -> Undisturbed:
    """The same for all states of the same feed."""
    return undisturbed(name if name in WITH_ANSWERS else "v3-players" if name in WITH_PLAYERS else "v3-spread")


def history_in(file: Path | None) -> HistoryStore:
    return HistoryStore(file, interval_s=60, kept_s=30 * 86_400)


def questions(name: str) -> dict[str, PastQuery]:
    """What is asked of a history, by service."""
    services, (from_s, to_s) = core_plan(config(name)).services, (each + moved_s(name) for each in (FROM_S, TO_S))
    return {each.name: PastQuery(each.name, each.scale, from_s, to_s, 300, ("region",)) for each in services}


def continued(name: str, directory: Path) -> Tick:
    """The last tick after a restart with the stored state, and the rest of the feed."""
    settings, evaluations = config(name), list[Evaluation]()
    plan = core_plan(settings)

    def restore(state: Any) -> None:
        evaluations.append(new_evaluation(settings))
        assert evaluations[-1].load(state) == ()

    store = open_store(settings, directory)
    try:
        pipeline, _ = recover(
            store,
            lambda: ShardPipeline(plan),
            Recovery(restore, lambda counts: evaluations[-1].tick([counts])),
        )
    finally:
        store.close()
    assert pipeline.sessions > 400
    feed, end_s = messages(name)
    rest = [message for message in feed if message.arrival_s >= journal_ends_s(name)]
    for counts in [*pipeline.run(rest), *pipeline.until(end_s)]:
        tick = evaluations[-1].tick([counts])
    return tick


def served(tick: Tick) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(b"".join(snapshot_json(*tick)))
    return document


def test_there_is_a_state_of_each_version() -> None:
    assert {int(name[1]) for name in COMMITS} == set(range(1, READABLE[STATE] + 1))
    assert {file.name.partition(".")[0] for file in FORMATS.glob("*.tar.xz")} == COMMITS.keys()


@pytest.mark.parametrize("name", COMMITS)
def test_the_version_of_a_state_is_found(tmp_path: Path, name: str) -> None:
    assert found_versions(unpacked(name, tmp_path / "state"))[STATE] == int(name[1])


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_state_continues_as_if_nothing_had_happened(tmp_path: Path, name: str) -> None:
    now, before = served(continued(name, unpacked(name, tmp_path / "state"))), expected(name).served
    assert {path for path in differences(now, before) if not re.search(DIFFERENT[name], path)} == set()


@pytest.mark.parametrize("name", sorted(COMMITS.keys() - DIFFERENT.keys()))
def test_a_state_of_an_earlier_version_continues_with_its_figures(tmp_path: Path, name: str) -> None:
    """Versions before 3 counted stalls in other intervals: see tests/state/test_upgrade.py."""
    now, before = served(continued(name, unpacked(name, tmp_path / "state"))), expected(name).served
    assert now["sessions"] == before["sessions"]
    for service, twin in zip(now["services"], before["services"], strict=True):
        for group, same in zip(service["groups"], twin["groups"], strict=True):
            assert group["labels"] == same["labels"]
            assert group["active_sessions"] == same["active_sessions"]
            for window, figures in group["windows"].items():
                for figure, within in (("pow", 0.01), ("gob", 0.01), ("mos", 0.03)):
                    assert figures[figure] == pytest.approx(same["windows"][window][figure], abs=within)


@pytest.mark.parametrize("name", sorted(WITH_PLAYERS))
def test_a_history_answers_what_it_answered(tmp_path: Path, name: str) -> None:
    history, answers = history_in(unpacked(name, tmp_path / "state") / HISTORY), expected(name).history
    assert {service for service, answer in answers.items() if answer.observations.any()} == {"video", "web"}
    for service, query in questions(name).items():
        before, now = answers[service], history.ratings(query)
        assert now.series == before.series
        assert np.array_equal(now.observations, before.observations)
        assert np.array_equal(now.users, before.users)
        # Kept in whole units; those of some intervals are rounded the other way on another processor.
        np.testing.assert_allclose(now.sums, before.sums, rtol=ROUNDING, atol=10 / UNITS)
    history.close()


@pytest.mark.parametrize("name", sorted(WITH_ANSWERS))
def test_answers_of_users_are_kept_day_by_day(tmp_path: Path, name: str) -> None:
    """By condition: next year's constants can be compared with them."""
    now, before = continued(name, unpacked(name, tmp_path / "state")).snapshot.answers, expected(name).said
    assert [len(before[service].days) for service in ("video", "web")] == [2, 2]
    for service, given in before.items():
        kept = dump_answers(now[service].days)
        for array, values in dump_answers(given.days).items():
            assert np.array_equal(kept[array], values), (service, array)
        assert len(kept) == len(dump_answers(given.days))


def test_another_processor_serves_the_same() -> None:
    """A state moves to one with another machine; the two of a pair may have different ones."""
    script = "import json, tests.state.test_formats as t; print(json.dumps(t.expected('v3-spread').served))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_CORETYPE": "Nehalem"},  # the oldest that numpy supports
        check=True,
        stdout=subprocess.PIPE,
    )
    assert differences(json.loads(done.stdout), expected("v3-spread").served) == set()
