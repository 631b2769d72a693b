"""A loop pauses between two looks at its sockets where that is asked for, and at no other time."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

import pytest

from qoemon.net.paced_loop import PAUSE_S, PacedLoop, PacedSelector, Pacer, pacer_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Time that passes by sleeping only; slept: each pause, seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        """Let time pass."""
        self.slept.append(pause_s)
        self.now_s += pause_s


class Paced:
    """A selector with a socket that is ready to be read."""

    def __init__(self) -> None:
        self.clock, self.pacer = Clock(), Pacer()
        self.selector = PacedSelector(self.pacer, self.clock, self.clock.sleep)
        self.near, self.far = socket.socketpair()
        self.far.send(b"x")
        self.selector.register(self.near.fileno(), selectors.EVENT_READ)

    def look(self, timeout_s: float | None = None) -> list[float]:
        """Look once, at the ready socket; returns the pauses before that."""
        self.clock.slept.clear()
        assert [key.fd for key, _ in self.selector.select(timeout_s)] == [self.near.fileno()]
        return self.clock.slept


@pytest.fixture
def paced() -> Iterator[Paced]:
    one = Paced()
    with one.near, one.far:
        yield one
        one.selector.close()


def test_a_look_waits_after_the_last_one_once_if_that_is_asked_for(paced):
    assert paced.look() == []
    paced.pacer.wanted = True
    assert paced.look() == [PAUSE_S]
    assert paced.look() == []


def test_nothing_waits_in_a_loop_that_was_idle(paced):
    paced.pacer.wanted = True
    paced.clock.now_s += PAUSE_S
    assert paced.look() == []


def test_a_pause_ends_when_a_timer_is_due(paced):
    paced.pacer.wanted = True
    assert paced.look(PAUSE_S / 4) == [PAUSE_S / 4]


def test_a_loop_with_work_does_not_pause(paced):
    paced.pacer.wanted = True
    assert paced.look(0) == []


def test_nothing_pauses_while_a_socket_waits_to_be_written_to(paced):
    paced.selector.modify(paced.near.fileno(), selectors.EVENT_READ | selectors.EVENT_WRITE)
    paced.pacer.wanted = True
    assert paced.look() == []
    paced.selector.modify(paced.near.fileno(), selectors.EVENT_READ)
    paced.pacer.wanted = True
    assert paced.look() == [PAUSE_S]


def test_a_closed_socket_that_waited_to_be_written_to_does_not_prevent_pauses(paced):
    near, far = socket.socketpair()
    with near, far:
        paced.selector.register(near.fileno(), selectors.EVENT_WRITE)
        paced.selector.unregister(near.fileno())
    paced.pacer.wanted = True
    assert paced.look() == [PAUSE_S]


def test_a_loop_is_asked_through_its_pacer():
    loop = PacedLoop()
    assert pacer_of(loop) is loop.pacer
    loop.close()
