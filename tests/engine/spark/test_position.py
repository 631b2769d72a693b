"""What the driver remembers: which ticks it has evaluated, and of which checkpoint."""

from __future__ import annotations

import pytest

from qoemon.engine.engine import SetupError
from qoemon.engine.spark.position import Position

A, B = "/checkpoint/a", "/checkpoint/b"
RUNNING = Position().running("query-a", A, 4).at(100)
RESCALED = RUNNING.rescaled(7, B, start_s=40)


@pytest.mark.parametrize("position", [Position(), RUNNING, RESCALED, RESCALED.running("query-b", B, 7)])
def test_a_position_is_restored_from_its_array(position: Position) -> None:
    assert Position.restored(position.stored()) == position
    assert Position.restored({}) == Position()


def test_ticks_that_come_again_are_skipped() -> None:
    assert [RUNNING.step(tick_s) for tick_s in (90, 100, 110)] == ["skip", "skip", "evaluate"]
    assert Position().step(90) == "evaluate"


def test_other_shards_are_adopted_at_the_newest_tick() -> None:
    assert [RESCALED.step(tick_s) for tick_s in (50, 90, 100, 110)] == ["skip", "skip", "adopt", "evaluate"]
    after = RESCALED.running("query-b", B, 7).adopted()
    assert [after.step(tick_s) for tick_s in (90, 100, 110)] == ["skip", "skip", "evaluate"]
    assert after == Position("query-b", B, 7, 100)


def test_a_new_checkpoint_begins_where_it_was_decided_else_behind_the_newest_tick_else_now() -> None:
    assert RESCALED.begin_s == 40
    assert RUNNING.begin_s == 100
    assert Position().begin_s is None


def test_sessions_are_new_in_a_new_checkpoint_unless_its_shards_read_what_came_before() -> None:
    assert not Position().new_sessions("query-a")
    assert not RUNNING.new_sessions("query-a")
    assert RUNNING.new_sessions("query-b")
    assert not RESCALED.new_sessions("query-b")
    assert RESCALED.running("query-b", B, 7).adopted().new_sessions("query-c")


def test_another_number_of_shards_is_refused_before_a_rescale() -> None:
    Position().require(7, A)
    RUNNING.require(4, B)
    with pytest.raises(
        SetupError, match=r"engine.shards is 7, and the checkpoint /checkpoint/a has 4: set it back, or"
    ):
        RUNNING.require(7, B)


def test_after_a_rescale_the_checkpoint_is_that_of_the_rescale() -> None:
    RESCALED.require(7, B)
    with pytest.raises(SetupError, match=r"engine.checkpoint is /checkpoint/a, and `qoemon rescale` was run for "):
        RESCALED.require(7, A)
    with pytest.raises(SetupError, match=r"engine.shards is 4, and the checkpoint /checkpoint/b has 7"):
        RESCALED.require(4, A)
