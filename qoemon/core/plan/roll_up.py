"""Which groups a roll-up sums, and by which labels."""

from __future__ import annotations

from typing import NamedTuple

WHOLE = "service"
"""Name of the roll-up by no label: one sum for the whole service. No label can have this name."""


class RollUpKey(NamedTuple):
    """Identifies a roll-up: the sums of each service's groups over all labels but those in `by`.

    by     names of the labels that remain, in the order of the plan's labels
    where  accepted values of labels that are summed, sorted by label; others may have any value
    """

    by: tuple[str, ...]
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def name(self) -> str:
        """The labels that remain as text, such as "region,cdn"; WHOLE if there are none."""
        return ",".join(self.by) or WHOLE

    @property
    def selection(self) -> str:
        """The accepted values as text, such as "region=eu|us"; empty without a selection."""
        return ",".join(f"{label}={'|'.join(values)}" for label, values in self.where)
