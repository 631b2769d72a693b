"""The fuzzing of codec and topics led by coverage: libFuzzer, through atheris, goes on from what reached new code.

atheris is no dependency of qoemon: there are wheels of it for some versions of Python only. Without it this says so
and does nothing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz import check_decoding
from benchmarks.wrong_inputs import PLAN, START_S, Wrong, payload, topic
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire import batch, codec
from qoemon.core.wire.codec import Codec

INPUTS, SEEDS = 100_000, 500
TOPICS = ("qoe/v1/video/eu/a", "qoe/v1/shorts/eu/a", "qoe/v1/web/eu/a", "qoe/v1/voice/eu/a", "tv/eu")
CODEC = Codec(PLAN)


def taken_apart(data: bytes) -> Wrong:
    """A message of what libFuzzer makes: the first byte is a topic's number, or the length of one that follows."""
    kind, rest = (data[0], data[1:]) if data else (0, b"")
    if kind < 0x80:
        return Wrong(TOPICS[kind % len(TOPICS)], rest, START_S)
    length = kind - 0x80
    return Wrong(rest[:length].decode(errors="replace"), rest[length:], START_S)


def put_together(sent: Wrong) -> bytes:
    """The other way round, for messages to begin with."""
    name = sent.topic.encode()[:127]
    head = bytes([TOPICS.index(sent.topic)]) if sent.topic in TOPICS else bytes([0x80 + len(name)]) + name
    return head + sent.payload


def check(data: bytes) -> None:
    """What libFuzzer calls. An exception ends it."""
    sent = taken_apart(data)
    try:
        check_decoding(CODEC, [sent])
    except Exception:
        print(f"this message breaks a promise: {sent!r}", flush=True)
        raise


def corpus(directory: Path) -> None:
    """Messages to begin with, one a file."""
    rng = Random(1)
    for number in range(SEEDS):
        (directory / str(number)).write_bytes(put_together(Wrong(topic(rng), payload(rng), START_S)))


def instrument(atheris: Any) -> None:
    """Have each branch of codec, columns and topics tell that it was taken."""
    for owner in (codec, Codec, codec._Gather, batch, TopicTemplate):
        for each in vars(owner).values():
            if inspect.isfunction(each) and each.__module__.startswith("qoemon."):
                atheris.instrument_func(each)


def main() -> int:
    """Read the command line and fuzz; libFuzzer ends the process itself, with 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guided", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="messages (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    told = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("not led by coverage: atheris is not installed; where there is a wheel, pip install atheris")
        return 0
    atheris = importlib.import_module("atheris")
    instrument(atheris)
    with tempfile.TemporaryDirectory() as directory:
        corpus(Path(directory))
        # A crash prints its input; its file would only lie about.
        limits = [f"-runs={told.inputs}", f"-seed={told.seed}", "-max_len=5000", "-timeout=10"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={directory}/", directory], check)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
