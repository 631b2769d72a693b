"""Where to look first, as the sentence in JSON, page, `qoemon top` and notifications."""

from __future__ import annotations

from qoemon.core.snapshot.where_first import WhereFirst

NO_VALUE = "(none)"
"""In place of the value of a label that reports do not have."""


def sentence(found: WhereFirst) -> str:
    """The labels to look at first, with their shares."""
    if not found.labels:
        return "Everywhere: no combination of labels stands out in the excess poor ratings."
    labels = ", ".join(f"{name}={value or NO_VALUE}" for name, value in found.labels.items())
    shares = (
        f"{_percent(found.excess_share)} of the excess poor ratings, {_percent(found.users_share)} of the users"
    )
    return f"Look first at {labels}: {shares}."


def _percent(share: float) -> str:
    """A share in whole percent, or with a digit where 0 % would be wrong."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"
