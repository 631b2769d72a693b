"""What the publisher keeps over a restart."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qoemon.daemon.metrics import initial_metrics
from qoemon.outputs.latest import Latest
from qoemon.outputs.notify.notifier import Notifier, Receiver
from qoemon.outputs.notify.outbox import Told, TransitionQueue
from qoemon.outputs.publisher import Publisher
from tests.outputs.notify.test_notifier import ended, notice
from tests.support.core import T0, OneShard, plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.outputs.notify.notice import Notice


class Deaf:
    """Never asked: nobody runs its receiver."""

    name = "hook"

    async def send(self, notices: Sequence[Notice]) -> None:
        raise AssertionError

    async def close(self) -> None:
        """Nothing to close."""


@contextlib.contextmanager
def publisher() -> Iterator[tuple[Publisher, Notifier]]:
    notifier = Notifier([Receiver(Deaf(), TransitionQueue())])
    made = Publisher(10, Latest(), notifier)
    try:
        yield made, notifier
    finally:
        made.close()


async def test_a_restart_keeps_what_was_delivered_and_what_was_not() -> None:
    told, waiting = Told(notice("eu", starts_s=1000), 1000), ended(notice("us", starts_s=1000), 1100)
    with publisher() as (before, notifier):
        notifier.learn({"hook": [told]}, 0)
        notifier.stamp = 7
        notifier.dispatch([], [waiting], 1100)
        state = before.dump()
    with publisher() as (after, notifier):
        after.restore(state)
        assert notifier.delivered() == {"hook": [told]}
        assert notifier.stamp == 7
        state = after.dump()  # Before the first tick.
    with publisher() as (again, notifier):
        again.restore(state)
        assert notifier.delivered() == {"hook": [told]}
        await again.publish(OneShard(plan()).evaluate(T0), initial_metrics(), 0.0)
        assert notifier.undelivered() == (waiting,)
        assert notifier.undelivered()[0].id == waiting.id


def test_a_state_of_an_earlier_version_does_not_say_what_was_delivered() -> None:
    with publisher() as (before, _):
        state = before.dump()
    del state["delivered"]
    with publisher() as (after, notifier):
        after.restore(state)
        assert notifier.delivered() == {"hook": []}
        assert notifier.stamp == 0
