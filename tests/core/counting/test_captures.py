"""Real players in a real browser, replayed: what is counted is what the video element did."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.counting.starts import STARTUP_MS
from tests.support.captures import Capture, capture, captures, played_out, replayed
from tests.support.players import of_player

CAPTURED = tuple(captures())
MUTE = frozenset(each.name for each in CAPTURED if each.player == "shaka" or each.scenario == "defaultkeys")
"""Without any state: shaka's release builds, and dash.js without enabledKeys."""
LOST = frozenset({"shakadebug-netloss", "shakadebug-offline32", "shakadebug-col503"})
"""The player dropped records while it could not send them."""
OPEN = frozenset(
    {"dashjs-closestall", "hlsjs-closestall", "shakadebug-closestall", "dashjs-netloss", "dashjs-offline32"}
)
"""The last word is a stall."""
UNTOLD_RATE = frozenset({"dashjs-rate", "shakadebug-rate"})
"""The player tells the playback rate late, or never."""
UNTOLD_STALL = frozenset({"shakadebug-pausestall"})
"""The player says `p` when it goes on after a pause, although it still waits for media."""
EARLY_S = {"shakadebug": 0.65}
"""A player says `p` while it still holds the media; so long at most, for each time that it begins to play."""
SEEKS = frozenset({"seek", "seekback", "stallseek", "scrub"})
RUNS = {"again": 2, "reload": 2, "replay": 2}
STARTS = {"again": 2, "reload": 2}
FAST = frozenset({"shakadebug-reload"})
"""The second start took 0.1 s, which is not told from what dash.js measures."""
HEARTBEAT_S, STALL_S, PLAY_S = 5.0, 0.05, 0.6
TRUTHFUL = [each for each in CAPTURED if each.name not in MUTE | LOST]
WHOLE = [each for each in TRUTHFUL if each.name not in UNTOLD_STALL]


def ids(each: Capture) -> str:
    return each.name


def told_states(found: Capture) -> list[str]:
    """The states that the player told, in the order of its clock."""
    records = [line for body in found.posted for line in body.payload.decode().split("\n") if "sta=" in line]
    told = {}
    for line in records:
        seq, ts, state = (re.search(rf"\b{key}=(\w+)", line) for key in ("sn", "ts", "sta"))
        if "e=rr" not in line:
            told[int(ts[1]), int(seq[1])] = state[1]
    return [told[key] for key in sorted(told)]


def naive(found: Capture) -> int:
    """The number of stalls, if each `r` is one."""
    states = ["", *told_states(found)]
    return sum(after == "r" != before for before, after in pairwise(states))


def total(records: list[SessionRecord]) -> tuple[int, float, float]:
    stalls, stall_ms, play_ms = (
        sum(getattr(each, name) for each in records) for name in ("stalls", "stall_ms", "play_ms")
    )
    return stalls, stall_ms / 1000, play_ms / 1000


def begun(found: Capture) -> int:
    """How often the player said that it plays, after something else."""
    states = ["", *told_states(found)]
    return sum(after == "p" != before for before, after in pairwise(states))


@pytest.mark.parametrize("found", WHOLE, ids=ids)
def test_what_a_player_told_counts_as_what_it_did(found):
    records = replayed(found.posted, of_player())
    stalls, stall_s, play_s = total(records)
    truth = found.truth
    assert stalls == truth.stall_count
    if found.name in OPEN:
        assert stall_s <= truth.stall_s + STALL_S
        assert not records[-1].ended
    else:
        assert stall_s == pytest.approx(truth.stall_s, abs=STALL_S)
    wordless = sum(not each.ended for each in records)
    if found.name not in UNTOLD_RATE:
        early_s = max(PLAY_S, EARLY_S.get(found.player, 0) * begun(found))
        assert truth.play_s - PLAY_S - wordless * HEARTBEAT_S <= play_s <= truth.play_s + early_s
    assert not any(each.implausible_ms or each.duplicates for each in records)
    assert len(records) == RUNS.get(found.scenario, 1)


@pytest.mark.parametrize("name", sorted(UNTOLD_STALL))
def test_a_stall_that_the_player_calls_play_is_not_counted_and_the_others_are(name):
    found = capture(name)
    stalls, stall_s, play_s = total(replayed(found.posted, of_player()))
    assert stalls == found.truth.stall_count - 1
    assert play_s + stall_s <= found.truth.play_s + found.truth.stall_s + PLAY_S


@pytest.mark.parametrize("found", WHOLE, ids=ids)
def test_counting_every_r_would_be_wrong_for_dash_and_shaka_and_after_every_seek(found):
    wrong = found.player in {"dashjs", "shakadebug"} or found.scenario in SEEKS
    assert (naive(found) != found.truth.stall_count) == wrong


@pytest.mark.parametrize("found", TRUTHFUL, ids=ids)
def test_the_startup_time_is_counted_once_a_run(found):
    _, intervals = played_out(found.posted, of_player())
    starts = sum(each.services[0].starts.sum(axis=0) for each in intervals)
    expected = STARTS.get(found.scenario, 1) - (found.name in FAST)
    assert starts[:STARTUP_MS].sum() == expected
    # The page measures from its own start, which includes loading the player's code.
    assert 0.1 < starts[STARTUP_MS] / 1000 <= found.truth.startup_s + (1 if expected == 2 else 0.05)


@pytest.mark.parametrize("name", sorted(LOST))
def test_where_reports_were_lost_nothing_is_made_up(name):
    found = capture(name)
    records: list[SessionRecord] = []
    pipeline, _ = played_out(found.posted, of_player(), records)
    stalls, stall_s, play_s = total(records)
    assert stalls <= found.truth.stall_count
    assert stall_s <= found.truth.stall_s + STALL_S
    unknown_s = pipeline.events[Event.UNKNOWN_MS] / 1000
    assert play_s <= found.truth.play_s + PLAY_S
    assert play_s + stall_s + unknown_s <= found.truth.play_s + found.truth.stall_s + PLAY_S
    assert (unknown_s > 10) == (name != "shakadebug-col503")


@pytest.mark.parametrize("name", sorted(MUTE - {"dashjs-defaultkeys"}))
def test_a_player_without_states_is_counted_as_one_and_rated_nowhere(name):
    found = capture(name)
    pipeline, intervals = played_out(found.posted, of_player())
    assert pipeline.events[Event.STATELESS] == 1
    assert total(replayed(found.posted, of_player())) == (0, 0, 0)
    assert not any(each.services[0].users.any() for each in intervals)
    starts = sum(each.services[0].starts.sum(axis=0) for each in intervals)
    assert starts[STARTUP_MS] / 1000 == pytest.approx(found.truth.startup_s, abs=0.4)  # `msd`


def test_all_captures_at_once_each_in_its_own_group_count_as_each_alone():
    posted = [
        replace(
            body, topic=f"/cmcd/v1/video/{each.name}", arrival_s=body.arrival_s - each.posted[0].arrival_s + 1.8e9
        )
        for each in TRUTHFUL
        for body in each.posted
    ]
    records = replayed(sorted(posted, key=lambda each: each.arrival_s), of_player())
    alone = {each.name: total(replayed(each.posted, of_player())) for each in TRUTHFUL}
    together = {name: total([each for each in records if each.labels == (name,)]) for name in alone}
    assert together == alone


def test_without_a_session_nothing_is_counted():
    """dash.js tells neither session nor state unless both are in enabledKeys."""
    assert total(replayed(capture("dashjs-defaultkeys").posted, of_player())) == (0, 0, 0)
