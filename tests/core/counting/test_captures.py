"""Real players in a real browser, replayed: what is counted is what the video element did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.counting.starts import STARTUP_MS
from tests.support.captures import (
    LOST,
    MUTE,
    PLAY_S,
    SEEKS,
    STALL_S,
    TRUTHFUL,
    UNTOLD_STALL,
    WHOLE,
    Capture,
    Run,
    capture,
    is_true,
    naive_is_wrong,
    played_out,
    replayed,
)
from tests.support.players import of_player

STARTS = {"again": 2, "reload": 2}
FAST = frozenset({"shakadebug-reload"})
"""The second start took 0.1 s, which is not told from what dash.js measures."""


def ids(each: Capture) -> str:
    return each.name


def total(records: list[SessionRecord]) -> tuple[int, float, float]:
    stalls, stall_ms, play_ms = (
        sum(getattr(each, name) for each in records) for name in ("stalls", "stall_ms", "play_ms")
    )
    return stalls, stall_ms / 1000, play_ms / 1000


@pytest.mark.parametrize("found", WHOLE, ids=ids)
def test_what_a_player_told_counts_as_what_it_did(found):
    records = replayed(found.posted, of_player())
    is_true(found, [Run(each.stalls, each.stall_ms / 1000, each.play_ms / 1000, each.ended) for each in records])
    assert not any(each.implausible_ms or each.duplicates for each in records)


@pytest.mark.parametrize("name", sorted(UNTOLD_STALL))
def test_a_stall_that_the_player_calls_play_is_not_counted_and_the_others_are(name):
    found = capture(name)
    stalls, stall_s, play_s = total(replayed(found.posted, of_player()))
    assert stalls == found.truth.stall_count - 1
    assert play_s + stall_s <= found.truth.play_s + found.truth.stall_s + PLAY_S


@pytest.mark.parametrize("found", WHOLE, ids=ids)
def test_counting_every_r_would_be_wrong_for_dash_and_shaka_and_after_every_seek(found):
    wrong = found.player in {"dashjs", "shakadebug"} or found.scenario in SEEKS
    assert naive_is_wrong(found) == wrong


@pytest.mark.parametrize("found", TRUTHFUL, ids=ids)
def test_the_startup_time_is_counted_once_a_run(found):
    records: list[SessionRecord] = []
    _, intervals = played_out(found.posted, of_player(), records)
    starts = sum(each.services[0].starts.sum(axis=0) for each in intervals)
    told = [each.startup_ms for each in records if each.startup_ms is not None]
    assert (len(told), sum(told)) == (starts[:STARTUP_MS].sum(), starts[STARTUP_MS])
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
