"""What is impossible is not counted: no client can have played and stalled for longer than the time that passed.

Each run has a credit of time. It grows as time passes, and shrinks by the seconds that are counted; it begins with
a slack for the jitter of delivery. Seconds beyond the credit are cut. So a backlog that arrives at once counts in
full, and a client that reports too much gains no more than the time that passed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Ints, grow_columns
from qoemon.core.counting.session_table import SessionTable

SLACK_MS = 4000
"""Jitter of delivery: so much more than the time between two reports is believed, once."""
AT_ONCE_MS = 500
"""Reports with shorter pauses arrive at once."""
MOST_MS = 3_600_000
"""Longest time that a run can leave unused and report later."""
SPEED = 2
"""Fastest playback: seconds of media in a second."""
MILLISECONDS = (200, 5000)
"""Between these multiples of the time that passed, the seconds are probably milliseconds."""


class Implausible(StrEnum):
    """Why a part of a report is impossible; each such report has one reason."""

    TOO_FAST = "too_fast"
    """stall_s and play_s grew by more than the time since the session was last heard"""
    MILLISECONDS = "milliseconds"
    """they grew hundreds to thousands of times too fast"""
    POSITION = "position"
    """play_s fell while stall_s did not: a position in the media, not the time played"""
    STALLED = "stalled"
    """stalled is true, but play_s grows and no stall began"""
    RESPONSE = "response"
    """a response time is longer than a session without reports lives"""


REASONS = tuple(Implausible)
CODE = {reason: code for code, reason in enumerate(REASONS, 1)}
"""The codes of the reasons in arrays; 0 is none."""


class TimeCredit:
    """A column parallel to a SessionTable: credit_ms (rows,) int32, the time that a run may still report."""

    def __init__(self, sessions: SessionTable) -> None:
        self._sessions = sessions
        self._used = 0
        self.credit_ms = np.zeros(0, np.int32)

    def cut(
        self, row: Ints, gap_ms: Ints, added: Ints, backward: Flags, interval_ms: int
    ) -> tuple[Ints, NDArray[np.int8]]:
        """The part of the stall and play time that is possible, as (3, R), and (R,) a CODE or 0.

        gap_ms    (R,) time since each run was last heard; -1 for its first report
        added     (3, R) stalls, stall_ms and play_ms since then
        backward  (R,) whether play_s fell, so that what was played since is not known
        """
        self._grow()
        first = gap_ms < 0
        credit = self.credit_ms[row]
        credit = np.where(self._begins_at_once(row) & (gap_ms >= AT_ONCE_MS), np.minimum(credit, SLACK_MS), credit)
        allowed = np.where(first, interval_ms, credit + gap_ms)
        stall_ms, play_ms = added[1], added[2]
        claimed = stall_ms + play_ms // SPEED
        code = np.zeros(len(row), np.int8)
        over = claimed > allowed
        over[first] = (stall_ms + play_ms)[first] > interval_ms
        if over.any():
            some = np.flatnonzero(over)
            added = added.copy()
            added[1:, some] = _within(stall_ms[some], play_ms[some], allowed[some], backward[some])
            code[some] = _codes((stall_ms + play_ms)[some], np.maximum(gap_ms[some], 0) + SLACK_MS)
        code[backward] = CODE[Implausible.POSITION]
        # Fast playback uses up no more than the time that it takes, and leaves no more than the slack.
        unused = allowed - added[1] - added[2]
        fast = np.minimum(np.maximum(credit, SLACK_MS), allowed - added[1] - added[2] // SPEED)
        left = np.clip(np.maximum(unused, fast), 0, MOST_MS)
        # More reports may arrive at once with the first one: together they may tell of an interval.
        total = added[1] + added[2]
        begins = SLACK_MS + np.where(total > 0, np.maximum(interval_ms - total, 0), 0)
        self.credit_ms[row] = np.where(first, begins, left)
        return added, code

    def _begins_at_once(self, row: Ints) -> Flags:
        """(R,) whether all reports of a run so far have arrived at once with the first one."""
        return np.asarray(self._sessions.pause_s[row] == 0)

    def renew(self, new: Ints) -> None:
        """New runs begin, of sessions that were heard before."""
        self._grow()
        self.credit_ms[new] = SLACK_MS

    def remove(self, rows: Ints) -> None:
        """Remove these runs."""
        self._grow()
        self.credit_ms[rows] = 0

    def dump(self) -> dict[str, NDArray[Any]]:
        """The column of all runs, in the order of SessionTable.occupied."""
        self._grow()
        return {"credit_ms": self.credit_ms[self._sessions.occupied]}

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        # States of version 2 and before have no credit.
        self.credit_ms[rows] = state.get("credit_ms", SLACK_MS)

    def _grow(self) -> None:
        if self._sessions.capacity > len(self.credit_ms):
            self.credit_ms = grow_columns(self.credit_ms, self._used, self._sessions.capacity)
        self._used = self._sessions.rows


def _within(stall_ms: Ints, play_ms: Ints, allowed: Ints, backward: Flags) -> Ints:
    """(2, R) stall and play time within the allowed time.

    A stall that fits is believed, and the rest of the time may have been played: play_s of players that report
    their position jumps. A stall that does not fit is cut in proportion, as of clients that report milliseconds.
    """
    fits = stall_ms <= allowed
    total = np.maximum(stall_ms + play_ms, 1)
    stalled = np.where(fits, stall_ms, allowed * stall_ms // total)
    rest = allowed - stalled
    # Where play_s fell, what was played is unknown: half of the time is as likely as any other part.
    return np.array([stalled, np.minimum(play_ms, np.where(backward, rest // 2, rest * SPEED))])


def _codes(reported_ms: Ints, possible_ms: Ints) -> NDArray[np.int8]:
    low, high = MILLISECONDS
    units = (reported_ms >= low * possible_ms) & (reported_ms <= high * possible_ms)
    return np.where(units, CODE[Implausible.MILLISECONDS], CODE[Implausible.TOO_FAST]).astype(np.int8)
