"""Secrets of receivers, read from their files at each delivery: a rotated one works without restart or reload."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from qoemon.config.sections.types import read_secret
from qoemon.outputs.notify.notifier import DeliveryError


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret: its text, or the file that has it, or neither.

    key  of the file in the configuration, for errors
    """

    text: str | None = field(repr=False)
    file: Path | None
    key: str

    @property
    def rotates(self) -> bool:
        """Whether it can change."""
        return self.file is not None

    async def read(self) -> str | None:
        """The present secret; DeliveryError if the file cannot be used, whose text has nothing of its content."""
        if self.file is None:
            return self.text
        try:
            return await asyncio.to_thread(read_secret, self.file)
        except ValueError as error:
            raise DeliveryError(f"cannot read {self.key} {self.file}: {error}") from None
