"""What a user sees while a recording is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress as rich
from rich.console import Console

from qoemon.tools.command import info

if TYPE_CHECKING:
    from qoemon.tools.recordings.recording import Recording
    from qoemon.tools.recordings.replay import Progress


@contextmanager
def progress_bar(recording: Recording, what: str) -> Iterator[Progress]:
    """A progress bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=recording.size)
        yield lambda done_bytes: bar.update(task, completed=done_bytes)


def warn_if_cut(recording: Recording) -> None:
    """Warn if the end of the file is missing."""
    if recording.cut is not None:
        info(
            f"qoemon: {recording.path}:{recording.cut}: the file is truncated here (was its recorder killed?); "
            f"the {recording.read:,} messages before are used"
        )
