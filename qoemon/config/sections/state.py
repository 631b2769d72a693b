"""Section `state`: the state on disk."""

from enum import StrEnum

from qoemon.config.sections.types import Bytes, Directory, Pause, Seconds
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
    """State that survives a restart or a crash. A message is acknowledged once it is stored."""

    dir: Directory | None = key(
        "Directory of the state. null: the StateDirectory of systemd; without one, no state is stored.", None
    )
    durability: Durability = key(
        "What an acknowledged message survives: nothing (none), a crash of qoemon (process), or a crash of the "
        "machine (power); with power, each commit waits for the disk.",
        "process",
    )
    checkpoint_s: Seconds = key("Interval of checkpoints, which store the whole state and empty the journal.", "1m")
    journal_bytes: Bytes = key(
        "A larger journal causes an early checkpoint; at twice this size, acknowledgements wait for it.", "256MiB"
    )
    history_s: Pause = key(
        "How long ratings and past alerts are kept: the last 2 days by rating intervals, before that by blocks of "
        "5 minutes. 0s: one hour in memory, as without a state directory.",
        "30d",
    )
