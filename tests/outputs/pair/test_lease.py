"""Two daemons and a broker in virtual time: at most one holds the lease at a time, and in the end one does."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.outputs.pair.lease import NOTHING, RENEWALS, SETTLE_S, Lease, Record, RecordId

LENGTH_S = 10.0
STEP_S = 0.1


@dataclass
class Broker:
    """Delivers records in one order, to each subscriber after a delay of its own; retains the newest."""

    rng: random.Random
    retained: Record | None = None
    subscribers: list[Daemon] = field(default_factory=list)
    underway: list[tuple[float, Record]] = field(default_factory=list)
    """Records of connections that have ended, and when they arrive."""

    def step(self, now_s: float) -> None:
        for packet in [packet for packet in self.underway if packet[0] <= now_s]:
            self.underway.remove(packet)
            self.publish(packet[1], now_s)

    def publish(self, record: Record, now_s: float) -> None:
        self.retained = record
        for subscriber in self.subscribers:
            subscriber.expect(record, now_s + self.rng.uniform(0, 0.5), retained=False)

    def subscribe(self, daemon: Daemon, now_s: float) -> None:
        self.subscribers.append(daemon)
        if self.retained is not None:
            daemon.expect(self.retained, now_s + self.rng.uniform(0, 0.5), retained=True)


@dataclass(eq=False)
class Daemon:
    """A daemon that can be stopped, disconnected and restarted; its clock has nothing to do with the other one."""

    name: str
    broker: Broker
    offset_s: float
    runs: int = 0
    frozen: bool = False
    inbox: list[tuple[float, Record, bool]] = field(default_factory=list)
    outbox: list[tuple[float, Record]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lease = self._new()

    def _new(self) -> Lease:
        self.runs += 1
        return Lease(self.name, f"{self.name}{self.runs}", LENGTH_S)

    @property
    def connected(self) -> bool:
        return self in self.broker.subscribers

    def clock(self, now_s: float) -> float:
        return now_s + self.offset_s

    def expect(self, record: Record, at_s: float, *, retained: bool) -> None:
        earliest_s = max([at_s, *(each[0] for each in self.inbox)])
        self.inbox.append((earliest_s, record, retained))

    def step(self, now_s: float) -> None:
        """What the event loop does, in an order that depends on nothing: first send, then receive."""
        if self.frozen:
            return
        for at_s, record in list(self.outbox):
            if at_s <= now_s and self.connected:
                self.broker.publish(record, now_s)
                self.outbox.remove((at_s, record))
        while self.inbox and self.inbox[0][0] <= now_s:
            _, record, retained = self.inbox.pop(0)
            self.lease.observe(record, self.clock(now_s), retained=retained)
        if self.connected and (record := self.lease.due(self.clock(now_s), willing=True)):
            self.outbox.append((now_s + self.broker.rng.uniform(0, 0.5), record))

    def connect(self, now_s: float) -> None:
        if not self.connected and not self.frozen:
            self.lease.connected(self.clock(now_s))
            self.broker.subscribe(self, now_s)

    def disconnect(self) -> None:
        """What is on its way to us is lost; what is on its way to the broker may arrive there."""
        if self.connected:
            self.broker.subscribers.remove(self)
        self.broker.underway += [packet for packet in self.outbox if self.broker.rng.random() < 0.5]
        self.inbox.clear()
        self.outbox.clear()

    def restart(self) -> None:
        self.disconnect()
        self.frozen = False
        self.lease = self._new()

    def holds(self, now_s: float) -> bool:
        return self.lease.remaining_s(self.clock(now_s)) > 0


EVENTS = ("freeze", "thaw", "disconnect", "connect", "restart", "lose", "nothing")


@given(
    st.integers(0, 2**32), st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1)), min_size=2, max_size=25)
)
def test_never_both_and_in_the_end_one(seed: int, events: list[tuple[str, int]]) -> None:
    """Stops, cuts, restarts and a broker that forgets; clocks that have nothing to do with each other."""
    rng = random.Random(seed)
    broker = Broker(rng)
    daemons = [Daemon("a", broker, 0.0), Daemon("b", broker, 1e6)]
    now_s = 0.0

    def run(for_s: float) -> None:
        nonlocal now_s
        end_s = now_s + for_s
        while now_s < end_s:
            broker.step(now_s)
            for daemon in rng.sample(daemons, 2):
                daemon.step(now_s)
                assert sum(each.holds(now_s) for each in daemons) <= 1, now_s
            now_s += STEP_S

    for daemon in daemons:
        daemon.connect(now_s)
    for event, which in events:
        daemon = daemons[which]
        if event in {"freeze", "thaw"}:
            daemon.frozen = event == "freeze"
        elif event == "disconnect":
            daemon.disconnect()
        elif event == "connect":
            daemon.connect(now_s)
        elif event == "restart":
            daemon.restart()
        elif event == "lose":  # A broker without persistence restarts.
            broker.retained = None
            for each in daemons:
                each.disconnect()
        run(rng.choice([0.3, 2.0, 11.0]))
    for daemon in daemons:
        daemon.frozen = False
        daemon.connect(now_s)
    run(3 * LENGTH_S)
    assert [daemon.holds(now_s) for daemon in daemons].count(True) == 1


def test_of_two_that_start_at_once_the_first_claim_wins() -> None:
    a, b = (Lease(name, name, LENGTH_S) for name in "ab")
    for each in (a, b):
        each.connected(0)
    claims = [each.due(LENGTH_S, willing=True) for each in (a, b)]
    assert claims == [Record("a", "a", 1, 1, NOTHING), Record("b", "b", 1, 1, NOTHING)]
    for record in claims:
        assert record is not None
        for each in (a, b):
            each.observe(record, LENGTH_S)
    assert (a.remaining_s(LENGTH_S), b.remaining_s(LENGTH_S)) == (LENGTH_S, 0)
    assert b.holder == "a"


def test_a_renewal_that_comes_before_a_claim_keeps_the_lease() -> None:
    """The claim names the record before the renewal."""
    a, b = held_by_a()
    renewal = a.due(LENGTH_S + 9.9, willing=True)
    claim = b.due(LENGTH_S + LENGTH_S, willing=True)
    assert renewal is not None
    assert claim is not None
    for record in (renewal, claim):
        for each in (a, b):
            each.observe(record, LENGTH_S + 10.1)
    assert a.remaining_s(LENGTH_S + 10.1) > 0
    assert b.remaining_s(LENGTH_S + 10.1) == 0


def test_a_holder_that_gives_the_lease_back_is_followed_at_once() -> None:
    a, b = held_by_a()
    record = a.release(LENGTH_S + 1)
    assert record is not None
    assert a.remaining_s(LENGTH_S + 1) == 0
    for each in (a, b):
        each.observe(record, LENGTH_S + 1)
    claim = b.due(LENGTH_S + 1, willing=True)
    assert claim == Record("b", "b", 1, 2, RecordId("a", 2))
    b.observe(claim, LENGTH_S + 1)
    assert b.remaining_s(LENGTH_S + 1) == LENGTH_S


@pytest.mark.parametrize("holder", ["a", None])
def test_a_retained_record_is_not_trusted(holder: str | None) -> None:
    """It may have lost against a claim that it has overwritten: whoever made that claim has the lease."""
    again = Lease("a", "a2", LENGTH_S)
    again.connected(0)
    again.observe(Record(holder, "a", 7, 3), 0.1, retained=True)
    assert again.due(LENGTH_S, willing=True) is None
    assert again.due(LENGTH_S + 0.1, willing=True) == Record("a", "a2", 1, 4, RecordId("a", 7))


def test_after_an_outage_of_the_broker_the_holder_continues_at_once() -> None:
    """The retained record is the one by which it held the lease: nobody has claimed it since."""
    a, b = held_by_a()
    for each, later_s in ((a, 0.0), (b, 0.0)):
        each.connected(5 * LENGTH_S + later_s)
        each.observe(Record("a", "a", 1, 1, NOTHING), 5 * LENGTH_S, retained=True)
    assert a.due(5 * LENGTH_S + SETTLE_S, willing=True) == Record("a", "a", 2, 2, RecordId("a", 1))
    assert b.due(5 * LENGTH_S + SETTLE_S, willing=True) is None


def test_a_claim_that_lost_is_not_taken_for_a_lease_after_a_reconnection() -> None:
    """The winner could not overwrite it: it was disconnected, and still holds the lease."""
    lease = Lease("a", "a", LENGTH_S)
    lease.connected(0)
    claim = lease.due(LENGTH_S, willing=True)
    assert claim is not None
    lease.observe(Record("b", "b", 1, 1, NOTHING), LENGTH_S)
    lease.observe(claim, LENGTH_S)
    lease.connected(LENGTH_S + 5)
    lease.observe(claim, LENGTH_S + 5, retained=True)
    assert lease.due(2 * LENGTH_S + 4.9, willing=True) is None


def test_a_claim_that_lost_stays_lost_if_it_comes_back_after_a_stop() -> None:
    """It arrives when the winner's record is older than a lease, but its renewals are next in the socket."""
    lease = Lease("a", "a", LENGTH_S)
    lease.connected(0)
    claim = lease.due(LENGTH_S, willing=True)
    assert claim is not None
    lease.observe(Record("b", "b", 1, 1, NOTHING), LENGTH_S)
    lease.observe(claim, 3 * LENGTH_S)
    lease.observe(Record("b", "b", 2, 1), 3 * LENGTH_S)
    assert lease.holder == "b"
    assert lease.due(3 * LENGTH_S, willing=True) is None


def test_a_claim_that_follows_a_lost_one_loses_against_one_that_came_first() -> None:
    """We were restarted, and only know the retained record: a claim that had lost."""
    lease = Lease("b", "b2", LENGTH_S)
    lease.connected(0)
    lease.observe(Record("a", "a", 1, 1, NOTHING), 0, retained=True)
    claim = lease.due(LENGTH_S, willing=True)
    assert claim is not None
    lease.observe(Record("a", "a", 2, 2, RecordId("b1", 1)), LENGTH_S)
    lease.observe(claim, LENGTH_S)
    assert lease.holder == "a"
    assert lease.remaining_s(LENGTH_S) == 0


def test_a_lease_of_a_later_version_is_not_claimed_until_it_is_silent() -> None:
    lease = Lease("a", "a", LENGTH_S)
    lease.connected(0)
    for count in range(20):
        lease.observe_unknown(count * LENGTH_S / RENEWALS)
        assert lease.due((count + 0.9) * LENGTH_S / RENEWALS, willing=True) is None
    assert lease.due(19 * LENGTH_S / RENEWALS + LENGTH_S, willing=True) is not None


def test_a_lease_that_has_ended_is_not_given_back() -> None:
    """Another daemon may have claimed it meanwhile."""
    a, _ = held_by_a()
    assert a.release(2 * LENGTH_S) is None


def test_a_lease_counts_from_when_its_record_was_sent() -> None:
    """The other daemon may have received it long before it came back here."""
    a, _ = held_by_a()
    renewal = a.due(LENGTH_S + 5, willing=True)
    assert renewal is not None
    a.observe(renewal, LENGTH_S + 9)
    assert a.remaining_s(LENGTH_S + 9) == LENGTH_S - 4


def test_a_lease_without_an_echo_is_not_held_and_the_connection_is_broken() -> None:
    lease = Lease("a", "a", LENGTH_S)
    lease.connected(0)
    assert lease.due(LENGTH_S, willing=True) is not None
    assert lease.remaining_s(LENGTH_S) == 0
    assert not lease.stalled(LENGTH_S + LENGTH_S / 2)
    assert lease.stalled(LENGTH_S + LENGTH_S / 2 + 0.1)


@pytest.mark.parametrize("willing", [True, False])
def test_only_a_willing_daemon_claims(willing: bool) -> None:
    lease = Lease("a", "a", LENGTH_S)
    lease.connected(0)
    assert (lease.due(2 * LENGTH_S, willing=willing) is not None) is willing


def held_by_a() -> tuple[Lease, Lease]:
    a, b = (Lease(name, name, LENGTH_S) for name in "ab")
    for each in (a, b):
        each.connected(0)
    claim = a.due(LENGTH_S, willing=True)
    assert claim is not None
    for each in (a, b):
        each.observe(claim, LENGTH_S)
    return a, b


def test_the_other_daemon_may_hold_the_lease_for_a_length_after_its_last_record() -> None:
    """Whoever loses the broker then must not take the other one for dead. A retained record proves nothing."""
    lease = Lease("a", "a1", LENGTH_S)
    lease.connected(0.0)
    theirs = Record("b", "b1", 1, 1, NOTHING)
    lease.observe(theirs, 1.0, retained=True)
    assert not lease.held_elsewhere(1.0)
    lease.observe(Record("b", "b1", 2, 1), 2.0)
    assert lease.held_elsewhere(1.9 + LENGTH_S)
    assert not lease.held_elsewhere(2.0 + LENGTH_S)
    lease.observe(Record("b", "b1", 3, 1), 3.0)
    lease.observe(Record(None, "b1", 4, 1), 4.0)
    assert not lease.held_elsewhere(4.0)
