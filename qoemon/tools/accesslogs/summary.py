"""What was found in a log, and how accurate it is, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from qoemon.common.text import printable
from qoemon.tools.accesslogs.importer import Found, skips

VERSIONS = 4
"""Versions of CMCD that are named; a damaged log may have any number of them."""


def summary(found: Found, log: str, out: str) -> Iterator[str]:
    """The lines of the summary."""
    totals = found.totals
    versions = ", ".join(
        f"{n:,} of version {printable(version)}" for version, n in found.versions.most_common(VERSIONS)
    )
    yield f"{log}: {found.lines:,} lines, {found.cmcd:,} requests with CMCD ({versions})"
    yield (
        f"sessions: {totals.sessions:,}, requests for media: {totals.media:,}, "
        f"{_time(totals.first_s)} to {_time(totals.last_s)}"
    )
    yield (
        f"stalls: {totals.stalls:,}, {totals.stall_s:,.1f} s in all; played: {totals.play_s:,.1f} s; "
        f"reports: {found.reports:,}, written to {out}"
    )
    yield from skips(found)
    if found.cut:
        yield f"the file is truncated after line {found.lines:,}; the lines before are used"
    if totals.evicted:
        yield f"{totals.evicted:,} sessions were forgotten early: more than limits.sessions at a time"
    yield from accuracy(found)


def accuracy(found: Found) -> Iterator[str]:
    """How far the figures are from what viewers saw."""
    totals = found.totals
    buffered_s = totals.buffered_s / max(totals.sessions, 1)
    yield (
        f"accuracy: playback lacks what was in the buffer at the last request, {buffered_s:.1f} s a session; "
        "a stall is found with the request after it, so those that ended a session are missing"
    )
    if totals.resolution_s >= 1:
        yield "accuracy: the log has whole seconds, so each stall is up to 1 s longer or shorter"
    if totals.ended:
        yield (
            "accuracy: the log does not say how long answers took, so its times are taken for those of answers "
            "where the buffers require it"
        )
    if totals.jumps:
        yield (
            f"accuracy: requests that do not continue the ones before, after a seek or as lines are missing: "
            f"{totals.jumps:,}; no stall is counted there"
        )
    if totals.without_starvation:
        yield (
            f"accuracy: sessions that never sent bs: {totals.without_starvation:,}. shaka never sends it, so its "
            f"stalls cannot be seen; waits with an empty buffer in {totals.unsure_sessions:,} of these sessions, "
            f"not counted: {totals.unsure:,}, {totals.unsure_s:,.1f} s in all"
        )


def _time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
