"""The queues of a daemon that stands by: what it sends when it takes over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qoemon.outputs.notify.delivered import RESOLVED_S, Delivered
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.outbox import RepeatingQueue, TransitionQueue
from tests.outputs.notify.test_notifier import ended, notice

SLACK_S = 30.0


def drained(box: TransitionQueue) -> list[Notice]:
    taken = []
    while batch := box.take():
        taken += batch
    return taken


def known(*notices: Notice) -> Delivered:
    delivered = Delivered()
    delivered.add(notices)
    return delivered


def test_what_was_delivered_is_not_sent_again_though_it_began_a_tick_later_here() -> None:
    box, firing = TransitionQueue(), notice(starts_s=1010)
    box.enqueue([firing], [firing], 1010)
    told = known(notice(starts_s=1000))
    box.follow(told.newest, 0, SLACK_S)
    box.take_over(told.newest, [firing])
    assert drained(box) == []


def test_what_was_not_delivered_is_sent_also_if_it_has_ended() -> None:
    box, firing = TransitionQueue(), notice(starts_s=1000)
    resolved = ended(firing, 1100)
    box.enqueue([firing], [firing], 1000)
    box.enqueue([], [resolved], 1100)
    box.follow({}, settled_s=0, slack_s=SLACK_S)  # Something waits there: nothing is settled.
    box.take_over({}, [])
    assert drained(box) == [firing, resolved]


def test_an_end_is_sent_under_the_id_of_the_begin_that_the_receiver_knows() -> None:
    box, firing = TransitionQueue(), notice(starts_s=1010)
    box.enqueue([], [ended(firing, 1100)], 1100)
    told = known(notice(starts_s=1000))
    box.follow(told.newest, 900, SLACK_S)
    box.take_over(told.newest, [])
    assert drained(box) == [ended(notice(starts_s=1000), 1100)]


def test_an_end_that_a_restart_brings_back_is_not_sent_once_the_alert_has_begun_again() -> None:
    """It waited when the state was saved, and was delivered then; the alert that fires is found anew, and later."""
    box, firing = TransitionQueue(), notice(starts_s=1300)
    box.enqueue([firing], [ended(notice(starts_s=1000), 1100), firing], 1300)
    told = known(notice(starts_s=1200))
    box.follow(told.newest, 0, SLACK_S)
    box.take_over(told.newest, [firing])
    assert drained(box) == []


def test_an_end_of_what_the_receiver_never_knew_is_not_sent() -> None:
    box = TransitionQueue()
    box.enqueue([], [ended(notice(starts_s=1000), 1100)], 1100)
    box.take_over({}, [])
    assert drained(box) == []


def test_what_only_this_daemon_found_is_forgotten_once_the_other_has_decided() -> None:
    """A value close to its threshold: the one that sends did not see it past it."""
    box, firing = TransitionQueue(), notice(starts_s=1000)
    box.enqueue([firing], [firing, ended(firing, 1010)], 1010)
    box.follow({}, settled_s=1030, slack_s=SLACK_S)
    assert len(box) == 2
    box.follow({}, settled_s=1041, slack_s=SLACK_S)
    assert len(box) == 0


def test_what_fires_and_no_receiver_knows_is_sent_at_a_takeover() -> None:
    """It was forgotten, as the other daemon did not find it, or it began while nobody had the lease."""
    box, firing = TransitionQueue(), notice(starts_s=1000)
    box.take_over(known(ended(notice(starts_s=1), 2)).newest, [firing])
    assert drained(box) == [firing]


CHANGES = st.lists(st.sampled_from("abc"), max_size=12)
"""Names of alerts that change their state, in this order."""


@given(CHANGES, st.integers(0, 12))
def test_whenever_the_other_daemon_ends_each_change_is_sent_once(changes: list[str], count: int) -> None:
    """Both find the same; the first `count` changes were delivered before, and are known here."""
    box, delivered, states, sent = TransitionQueue(), Delivered(), dict[str, Notice](), list[Notice]()
    for number, name in enumerate(changes):
        at_s, before = 1000.0 + 60 * number, states.get(name)
        begins = before is None or not before.firing
        states[name] = change = notice(name, at_s) if before is None or begins else ended(before, at_s)
        firing = [each for each in states.values() if each.firing]
        box.enqueue(firing, [change], at_s)
        if number < count:
            sent.append(change)
            delivered.add([change])
        settled_s = at_s if number < count else 1000.0 + 60 * (count - 1)
        box.follow(delivered.newest, settled_s, SLACK_S)
    box.take_over(delivered.newest, [each for each in states.values() if each.firing])
    ids = [each.id for each in [*sent, *drained(box)]]
    assert len(ids) == len(set(ids)) == len(changes)


def test_states_are_sent_again_with_those_that_have_resolved_lately() -> None:
    """To Alertmanager and MQTT: nothing while this daemon stands by, and everything at the next tick."""
    box = RepeatingQueue(resend_s=60, resolved_s=600)
    eu, us = notice("eu"), notice("us")
    box.enqueue([eu, us], [eu, us], 1001)
    box.enqueue([eu], [ended(us, 1002)], 1002)
    box.follow({}, 0, SLACK_S)
    assert box.take() == []
    box.take_over({}, [eu])
    box.enqueue([eu], [], 1003)
    assert box.take() == [ended(us, 1002), eu]


def test_resolved_alerts_are_forgotten_after_a_while() -> None:
    delivered = known(notice("eu"), ended(notice("us"), 2000))
    delivered.forget_resolved(2000 + RESOLVED_S)
    assert len(delivered.newest) == 2
    delivered.forget_resolved(2001 + RESOLVED_S)
    assert [each.notice.groups["region"] for each in delivered.newest.values()] == ["eu"]


def test_a_repetition_is_no_news_for_the_other_daemon() -> None:
    delivered, firing = Delivered(), notice()
    assert delivered.add([firing])
    assert not delivered.add([firing])
    assert delivered.add([ended(firing, 2000)])
