"""Whether the reports of a group can be trusted, as the sentence that the page and `qoemon top` show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEAST_SHARE = 0.05
"""Doubtful reports are mentioned from this share of a group's reports: a few are in every feed, and fewer than
this, spread over its users, move PoW by at most 5 points."""

LEAST_REPORTS = 5
"""And from this number in a rating interval. One or two are a laptop that woke up, or a viewer who seeks; a single
client with wrong units sends more, so that a first test with one player shows them."""

CONFLICTING = "conflicting"

QUESTIONS = {
    CONFLICTING: "several players with one session id?",
    "too_fast": "did devices sleep, or does play_s jump with a seek?",
    "milliseconds": "milliseconds instead of seconds?",
    "position": "is play_s the position instead of the time played?",
    "stalled": "is stalled never reset?",
    "response": "response_s in milliseconds instead of seconds?",
}
"""The likely cause of each kind of doubtful reports, as in the snapshot's `feed`."""


@dataclass(frozen=True, order=True)
class Doubt:
    """That the reports of a group cannot be trusted; the greatest is the worst.

    share    of its reports, from 0 to 1
    reports  their number
    text     what is wrong, and the likely cause: the sentence after "31 % of the group's reports"
    """

    share: float
    reports: int
    text: str


def doubt(reports: int, doubtful: Mapping[str, int]) -> Doubt | None:
    """The doubt about a group with so many reports in the last rating interval; None if there is no reason.

    doubtful  number of doubtful reports by kind; kinds of a newer version are passed over
    """
    kinds = {kind: doubtful[kind] for kind in QUESTIONS if doubtful.get(kind)}
    number = sum(kinds.values())
    if number < LEAST_REPORTS or number < LEAST_SHARE * reports:
        return None
    if set(kinds) == {CONFLICTING}:
        wrong = "conflict"
    else:
        wrong = "are impossible or conflict" if CONFLICTING in kinds else "are impossible"
    cause = QUESTIONS[max(kinds, key=kinds.__getitem__)]
    return Doubt(min(number / max(reports, 1), 1.0), number, f"{wrong}: {cause}")
