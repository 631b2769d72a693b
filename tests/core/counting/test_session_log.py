"""The log has a record of every run, says what the events say, and changes no count."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from qoemon.core.counting.counts import Event
from qoemon.core.counting.monitor import Monitor
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.plan.plan import Plan
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import DELTAS, T0, VIDEO, batch, plan
from tests.support.oracle import Said
from tests.support.streams import FEW, Step, streams


def lived(told: Plan, steps: list[Step], records: list[SessionRecord] | None) -> Monitor:
    """A monitor that has heard a stream, and what it handed on."""
    monitor = Monitor(told, None if records is None else records.append)
    for now_ms, said in steps:
        if said:
            monitor.apply(batch(said), now_ms / 1000)
        monitor.counts(now_ms / 1000)
    return monitor


@pytest.mark.parametrize("service", [VIDEO, DELTAS], ids=["cumulative", "differences"])
@given(steps=streams(clients=5))
@FEW
def test_the_records_of_any_stream_add_up_to_its_events(service, steps):
    records: list[SessionRecord] = []
    monitor = lived(plan(service, timing={"session_timeout_s": 120}), steps, records)
    early = len(records)
    monitor.hand_on_sessions()
    events = monitor.events
    assert len({(each.session, each.run) for each in records}) == len(records)
    assert {each.session for each in records} == {said.session for _, some in steps for said in some}
    assert sum(each.duplicates for each in records) == events[Event.DUPLICATE]
    runs = Counter(each.session for each in records)
    assert all(
        {each.run for each in records if each.session == name} == set(map(str, range(1, n + 1)))
        for name, n in runs.items()
    )
    # Beside those of resets there are runs of sessions that came back after they had expired.
    assert len(records) - len(runs) >= events[Event.RESET]
    live = records[early:]
    assert [each.first_heard_s for each in live] == sorted(each.first_heard_s for each in live)
    assert all(min(each.stalls, each.stall_ms, each.play_ms, each.implausible_ms) >= 0 for each in records)
    assert all(T0 - 60 <= each.first_heard_s <= each.last_heard_s for each in records)  # Batches may lag.


@given(streams(clients=5))
@FEW
def test_a_log_changes_no_count(steps):
    told = plan(VIDEO)
    without, logged = lived(told, steps, None).dump(), lived(told, steps, []).dump()
    assert without.keys() == logged.keys()
    assert all(without[name].tobytes() == logged[name].tobytes() for name in without)


def test_a_record_is_handed_on_when_its_session_has_expired():
    records: list[SessionRecord] = []
    monitor = Monitor(plan(VIDEO), records.append)
    monitor.apply(batch([Said(session="s", at_ms=T0 * 1000, group=("eu",), play_ms=0, end=True)]), T0)
    monitor.counts(T0 + 50)
    assert not records
    monitor.counts(T0 + 130)
    assert [(each.session, each.labels, each.ended) for each in records] == [("s", ("eu",), True)]
    monitor.hand_on_sessions()
    assert len(records) == 1


def test_the_times_follow_what_is_learnt_about_the_clock_of_a_client():
    """A clock 200 s slow: the first report seems to come out of a backlog, until a second one shows the clock."""
    records: list[SessionRecord] = []
    monitor = Monitor(plan(VIDEO), records.append)
    for seq, at_s in enumerate((T0 + 5, T0 + 15, T0 + 25)):
        told = Report(session="s", seq=seq, ts=at_s - 200.0, play_s=10.0 * seq)
        monitor.apply(batch_of([told], [0], [float(at_s)], [Route("video", ("eu",))])[0], at_s)
    monitor.hand_on_sessions()
    assert [(each.first_heard_s, each.last_heard_s) for each in records] == [(T0 + 5, T0 + 25)]
