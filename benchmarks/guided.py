"""Coverage-guided fuzzing of codec and topics with libFuzzer, through atheris. `make fuzz`.

atheris is no dependency of qoemon, since it has wheels for some versions of Python only. Without it this prints a
note and ends with exit code 0.
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
    """A message from libFuzzer's bytes: the number of a topic, or the length of one and the topic; the payload."""
    kind, rest = (data[0], data[1:]) if data else (0, b"")
    if kind < 0x80:
        return Wrong(TOPICS[kind % len(TOPICS)], rest, START_S)
    length = kind - 0x80
    return Wrong(rest[:length].decode(errors="replace"), rest[length:], START_S)


def put_together(sent: Wrong) -> bytes:
    """The inverse of taken_apart, for the initial corpus."""
    name = sent.topic.encode()[:127]
    head = bytes([TOPICS.index(sent.topic)]) if sent.topic in TOPICS else bytes([0x80 + len(name)]) + name
    return head + sent.payload


def check(data: bytes) -> None:
    """Decode and check one input. libFuzzer calls this; an exception ends it."""
    sent = taken_apart(data)
    try:
        check_decoding(CODEC, [sent])
    except Exception:
        print(f"this message breaks a promise: {sent!r}", flush=True)
        raise


def corpus(directory: Path) -> None:
    """Write the initial corpus, one message a file."""
    rng = Random(1)
    for number in range(SEEDS):
        (directory / str(number)).write_bytes(put_together(Wrong(topic(rng), payload(rng), START_S)))


def instrument(atheris: Any) -> None:
    """Report the coverage of codec, columns and topics to libFuzzer."""
    for owner in (codec, Codec, codec._Gather, batch, TopicTemplate):
        for each in vars(owner).values():
            if inspect.isfunction(each) and each.__module__.startswith("qoemon."):
                atheris.instrument_func(each)


def main() -> int:
    """Read the command line and fuzz. libFuzzer ends the process itself, with exit code 0 if no input failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guided", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="messages (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("coverage-guided fuzzing skipped: atheris is not installed (pip install atheris)")
        return 0
    atheris = importlib.import_module("atheris")
    instrument(atheris)
    with tempfile.TemporaryDirectory() as directory:
        corpus(Path(directory))
        # A failure prints its input, so its file is not needed.
        limits = [f"-runs={options.inputs}", f"-seed={options.seed}", "-max_len=5000", "-timeout=10"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={directory}/", directory], check)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
