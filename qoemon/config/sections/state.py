"""What the configuration says of the state that is kept on disk."""

from enum import StrEnum

from qoemon.config.sections.types import Bytes, Directory, Seconds
from qoemon.config.yaml.section import Section, key


class Durability(StrEnum):
    """What an acknowledged message survives."""

    NONE = "none"
    """nothing: it is in memory only"""
    PROCESS = "process"
    """the death of the process"""
    POWER = "power"
    """the death of the machine: every commit waits for the disk"""


class State(Section):
    """What survives a restart or a crash: a message is acknowledged once it is stored."""

    dir: Directory | None = key(
        "Where state is kept; without one, systemd's StateDirectory, or else nothing is kept.", None
    )
    durability: Durability = key(
        "What an acknowledged message survives: nothing (none), a crash of qoemon (process), or of the machine "
        "(power), for which each commit waits for the disk.",
        "process",
    )
    checkpoint_s: Seconds = key("How often all that is held is stored, which empties the journal.", "1m")
    journal_bytes: Bytes = key(
        "A longer journal makes a checkpoint early; at twice that, acknowledgements wait for it.", "256MiB"
    )
