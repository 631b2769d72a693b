"""Writes the state directory of one process in today's format: `python -m tests.support.states NAME`.

The name goes into COMMITS of tests/state/test_formats.py, with the commit that is checked out. Feed, checkpoint and
journal are those that the tests there continue.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.engine.storage import open_store
from qoemon.state.kept_history import KeptHistory
from qoemon.state.layout import HISTORY
from qoemon.state.read_only import DATABASE
from tests.state import test_formats as states

CHECKPOINT_S = 1_700_001_540
"""A tick; later messages are in the journal."""


def write(name: str, directory: Path) -> None:
    """Fill a state directory, as a daemon that was killed leaves it."""
    settings = states.config(name)
    plan = core_plan(settings)
    store = open_store(settings, directory)
    kept = KeptHistory(states.history_in(directory / HISTORY))
    pipeline, evaluation = ShardPipeline(plan), new_evaluation(settings)
    begun_s, ended_s = CHECKPOINT_S + states.moved_s(name), states.journal_ends_s(name)
    feed, _ = states.messages(name)
    first = [message for message in feed if message.arrival_s < begun_s]
    for counts in [*pipeline.run(first), *pipeline.until(begun_s)]:
        kept.put(*evaluation.tick([counts]))
    store.checkpoint({**pipeline.dump(), **evaluation.dump()})
    rest = [message for message in feed if begun_s <= message.arrival_s < ended_s]
    store.append(rest)
    for counts in [*pipeline.run(rest), *pipeline.until(ended_s)]:
        kept.put(*evaluation.tick([counts]))
    kept.close()
    store.close()


def main() -> None:
    """Write the archive beside the others."""
    (name,) = sys.argv[1:]
    with TemporaryDirectory() as folder:
        directory = Path(folder) / "state"
        directory.mkdir()
        write(name, directory)
        with tarfile.open(states.FORMATS / f"{name}.tar.xz", "w:xz") as archive:
            for file in (directory / DATABASE, directory / HISTORY):
                archive.add(file, file.name, filter=_of_nobody)
                print(f"{file.stat().st_size:>10,}  {file.name}")


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    return member.replace(mtime=0, mode=0o644, uid=0, gid=0, uname="", gname="", deep=False)


if __name__ == "__main__":
    main()
