"""The state of a group or service as plain data, with the words that page, terminal and health texts show."""

from __future__ import annotations

from typing import Any

from qoemon.common import duration
from qoemon.core.alerting.state import GroupState, State


def state_document(state: GroupState | None, time_s: int) -> dict[str, Any] | None:
    """The state at time_s, seconds since the epoch; None if it is unknown.

    state    a name of State
    words    for people, such as "no data for 2m30s"
    since_s  when the state began, seconds since the epoch; null if unknown
    age_s    how long ago that was; null if unknown
    """
    if state is None:
        return None
    age_s = None if state.since_s is None else max(time_s - state.since_s, 0)
    return {
        "state": str(state.state),
        "words": _words(state, "" if age_s is None else f" for {duration.text(round(age_s))}"),
        "since_s": state.since_s,
        "age_s": age_s,
    }


def _words(state: GroupState, age: str) -> str:
    names = ", ".join(state.alerts)
    if state.state is State.NO_DATA:
        cause = ", not connected to the broker" if state.cut_off else ""
        return f"no data{age or ' yet'}{cause}" + (f", alert {names}" if names else "")
    if state.state is State.ALERT:
        return f"alert {names}{age}"
    if state.state is State.TOO_FEW_USERS:
        return f"too few users ({state.have} of {state.need})"
    if state.state is State.LEARNING:
        return f"learning {state.have} of {state.need}"
    return f"{state.state}{age}"
