"""`qoemon rescale`: what it checks, what it stores for the next start of the driver, and what it says."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.config.sections.state import Durability
from qoemon.core.plan.plan import Timing
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.engine.spark.position import Position
from qoemon.engine.spark.rescale import beginning_s
from qoemon.state.directory import locked
from qoemon.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_700_000_100
A, B = "/checkpoint/a", "/checkpoint/b"


class Stopped:
    """The state of a driver that has stopped at T0."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.state = directory, directory / "state"

    def settings(self, shards: int = 7, checkpoint: str = B, **more: Any) -> dict[str, Any]:
        return {
            "engine": {"kind": "spark", "shards": shards, "checkpoint": checkpoint},
            "kafka": {"brokers": ["kafka:9092"], "topic": "reports"},
            "state": {"dir": str(self.state)},
            "windows": ["1m", "1h"],
            **more,
        }

    def store(self, position: Position) -> None:
        config = Config.model_validate(self.settings())
        evaluation = new_evaluation(config)
        evaluation.tick([ShardPipeline(core_plan(config)).tick(T0)])
        with self._store() as store:
            store.checkpoint({**evaluation.dump(), **position.stored()})

    def arrays(self) -> dict[str, bytes]:
        """All that is stored."""
        with self._store() as store:
            return {name: array.tobytes() for name, array in store.state().items()}

    def stored(self) -> Position:
        with self._store() as store:
            return Position.restored(store.state())

    def rescale(self, **settings: Any) -> tuple[int, str]:
        """Exit code, and what is said."""
        file = self._directory / "qoemon.yaml"
        file.write_text(json.dumps(self.settings(**settings)))
        result = CliRunner().invoke(cli.app, ["rescale", "-c", str(file)])
        return result.exit_code, result.output

    def _store(self) -> contextlib.closing[Store]:
        return contextlib.closing(Store(self.state / "cluster", Durability.PROCESS, 1))


@pytest.fixture
def stopped(tmp_path: Path) -> Stopped:
    found = Stopped(tmp_path)
    found.store(Position().running("query", A, 4).at(T0))
    return found


def test_the_next_start_continues_with_other_shards(stopped: Stopped) -> None:
    code, text = stopped.rescale()
    assert code == 0, text
    # The longest window, the timeout of sessions, and a rating interval; at the beginning of one.
    start_s = (T0 - 3600 - 300 - 60) // 60 * 60
    assert stopped.stored() == Position(None, B, 7, T0, start_s, adopting=True)
    assert "7 shards (before: 4) in checkpoint /checkpoint/b" in text
    assert "They read topic reports from 2023-11-14 21:09:00 UTC on, 1h6m before the newest tick" in text
    assert "Kafka must still have these records when the driver starts (retention.ms of topic reports)" in text
    assert (
        "Records that were written for 4 shards are divided again where they are read; restart the bridges" in text
    )
    assert "Checkpoint /checkpoint/a is not used any more" in text


@pytest.mark.parametrize("tick_s", [T0, T0 + 10, T0 + 59])
def test_shards_begin_with_a_rating_interval_early_enough(tick_s: int) -> None:
    timing = Timing(windows_s=(60, 300), session_timeout_s=100.5)
    start_s = beginning_s(timing, tick_s)
    assert start_s % 60 == 0
    assert 300 + 100.5 + 60 <= tick_s - start_s < 300 + 100.5 + 120


def test_before_the_start_it_can_be_decided_otherwise(stopped: Stopped) -> None:
    assert stopped.rescale(shards=7)[0] == 0
    code, text = stopped.rescale(shards=9)
    assert (code, stopped.stored().shards) == (0, 9), text


def test_a_checkpoint_can_be_left_for_another_with_as_many_shards(stopped: Stopped) -> None:
    assert stopped.rescale(shards=4)[0] == 0
    assert stopped.stored().adopting


def test_the_rest_of_the_state_stays(stopped: Stopped) -> None:
    before = stopped.arrays()
    assert stopped.rescale()[0] == 0
    after = stopped.arrays()
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"cluster/position"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"checkpoint": A},
            "engine.checkpoint is /checkpoint/a, which has the sessions of 4 shards: set another one",
        ),
        ({"engine": {}, "kafka": None}, "engine.kind is not spark: there are no shards of a cluster to rescale"),
        (
            {"state": {}},
            "there is nothing to rescale: state.dir is not set; set engine.shards, and start `qoemon run`",
        ),
        ({"state": {"dir": "/nowhere"}}, "there is nothing to rescale: /nowhere has no state of a cluster; set "),
        ({"labels": ["network"]}, "labels differ: rescale with the configuration that the driver ran with"),
        ({"sessions": {"tick": "5s"}}, "timing differ: rescale with the configuration that the driver ran with"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    stopped: Stopped, settings: dict[str, Any], message: str
) -> None:
    before = stopped.stored()
    code, text = stopped.rescale(**settings)
    assert code == 2
    assert message in text
    assert text.startswith("qoemon: ")
    assert stopped.stored() == before


def test_without_a_tick_there_is_nothing_to_rescale(stopped: Stopped) -> None:
    stopped.store(Position().running("query", A, 4))
    code, text = stopped.rescale()
    assert (code, "has no tick of a cluster yet" in text) == (2, True), text


def test_a_running_driver_is_named(stopped: Stopped) -> None:
    with locked(stopped.state):
        code, text = stopped.rescale()
    assert code == 1
    assert "another qoemon (process " in text
    assert stopped.stored().shards == 4
