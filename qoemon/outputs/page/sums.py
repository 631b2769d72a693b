"""Sums of groups in the table and the details of the page: the choice of roll-ups, and a tick with their sums."""

from __future__ import annotations

from dataclasses import replace

from qoemon.core.plan.roll_up import WHOLE, RollUpKey
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.page.query import QueryError
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import rolled_up


def roll_ups(snapshot: Snapshot) -> list[str]:
    """Names of the roll-ups to choose from: by each label, by those of the snapshot, of the whole service."""
    labels = snapshot.labels
    found = {(name,) for name in labels} | {key.by for key in snapshot.roll_ups if not key.where}
    ordered = sorted(found - {(), labels}, key=lambda by: (len(by), [labels.index(name) for name in by]))
    return [RollUpKey(by).name for by in (*ordered, *([()] if labels else []))]


def with_sums(newest: PublishedTick, by: str) -> PublishedTick:
    """The tick with the sums of a roll-up in place of the groups; the same tick if `by` is empty or has all labels.

    by       name of a roll-up, such as "region,cdn" or "service"
    returns  its past has no frames if the roll-up is neither configured nor in a rule
    raises   QueryError if a label does not exist
    """
    labels = newest.snapshot.labels
    names = _labels(by, labels) if by else labels
    if names == labels:
        return newest
    snapshot, detections = rolled_up(newest.snapshot, newest.detections, names)
    return replace(newest, snapshot=snapshot, detections=detections, past=newest.past.of_roll_up(RollUpKey(names)))


def _labels(by: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = set() if by == WHOLE else set(by.split(","))
    if not names <= set(known):
        expected = f"{WHOLE}, or labels out of {', '.join(known)}, separated by commas"
        raise QueryError(f"by is {by!r}, expected {expected}")
    return tuple(name for name in known if name in names)
