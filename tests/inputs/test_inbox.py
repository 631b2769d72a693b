"""The inbox keeps order, keeps its bounds, and says what it refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.inputs.inbox import Inbox, Message


def message(payload: bytes = b"{}", qos: int = 1) -> Message:
    return Message("", payload, arrival_s=0.0, qos=qos, mid=qos, connection=1)


def test_take_gives_everything_in_order_and_leaves_nothing() -> None:
    inbox = Inbox(max_messages=10, max_bytes=100)
    sent = [message(b"%d" % number) for number in range(5)]
    assert all(inbox.put(one) for one in sent)
    assert (inbox.messages, inbox.bytes) == (5, 5)
    assert inbox.drain() == sent
    assert (inbox.messages, inbox.bytes, inbox.drain()) == (5, 5, [])
    inbox.release(sent[:2])
    assert (inbox.messages, inbox.bytes) == (3, 3)
    inbox.release(sent[2:])
    assert (inbox.messages, inbox.bytes) == (0, 0)


def test_a_taken_batch_does_not_grow_any_more() -> None:
    inbox = Inbox(max_messages=10, max_bytes=100)
    inbox.put(message())
    batch = inbox.drain()
    inbox.put(message())
    assert len(batch) == 1


@pytest.mark.parametrize(("qos", "dropped", "withheld"), [(0, 1, 0), (1, 0, 1)])
def test_a_full_inbox_drops_qos_0_and_withholds_qos_1(qos: int, dropped: int, withheld: int) -> None:
    inbox = Inbox(max_messages=1, max_bytes=100)
    inbox.put(message())
    assert not inbox.put(message(qos=qos))
    assert (inbox.dropped, inbox.withheld, inbox.messages) == (dropped, withheld, 1)


def test_an_empty_inbox_takes_a_message_of_any_size() -> None:
    """Otherwise the broker would deliver the same QoS 1 message for ever, and nothing behind it."""
    inbox = Inbox(max_messages=10, max_bytes=4)
    assert inbox.put(message(b"larger than four bytes"))
    assert inbox.full
    assert not inbox.put(message(b""))
    inbox.release(inbox.drain())
    assert inbox.put(message(b"larger than four bytes"))


@given(
    sizes=st.lists(st.integers(0, 20) | st.none(), max_size=60),
    max_messages=st.integers(1, 8),
    max_bytes=st.integers(1, 40),
)
def test_nothing_is_both_stored_and_refused_and_the_bounds_hold(
    sizes: list[int | None], max_messages: int, max_bytes: int
) -> None:
    """A number stands for a message of that size, None for a take."""
    inbox, taken = Inbox(max_messages, max_bytes), 0
    for size in sizes:
        if size is None:
            gone = inbox.drain()
            inbox.release(gone)
            taken += len(gone)
        else:
            inbox.put(message(b"x" * size))
        assert inbox.messages <= max_messages
        assert inbox.bytes < max_bytes + 20
    offered = sum(size is not None for size in sizes)
    assert taken + inbox.messages + inbox.withheld == offered


@pytest.mark.parametrize(("max_messages", "max_bytes"), [(0, 1), (1, 0)])
def test_an_inbox_that_holds_nothing_is_refused(max_messages: int, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        Inbox(max_messages, max_bytes)


def test_topics_take_room_too() -> None:
    inbox = Inbox(max_messages=10, max_bytes=100)
    long = Message("t" * 4096, b"", arrival_s=0.0, qos=1, mid=1, connection=1)
    assert inbox.put(long)
    assert (inbox.bytes, inbox.full) == (4096, True)
    inbox.release(inbox.drain())
    assert (inbox.bytes, inbox.full) == (0, False)
