"""Coverage-guided fuzzing of codec, topics and paths with libFuzzer, through atheris. `make fuzz`.

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
from benchmarks.wrong_inputs import PLAN, START_S, Wrong, message
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire import batch, cmcd, codec
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind

INPUTS, SEEDS = 100_000, 500
PLACES = (
    *((Kind.MQTT, f"qoe/v1/{service}/eu/a") for service in ("video", "shorts", "web", "voice")),
    (Kind.MQTT, "tv/eu"),
    (Kind.HTTP, "/cmcd/v1/video/eu/a"),
    (Kind.CMCD, "/cmcd/v1/video/eu/a"),
)
CODEC = Codec(PLAN)


def taken_apart(data: bytes) -> Wrong:
    """A message from libFuzzer's bytes: number of a place, or length of a topic and the topic; then the payload."""
    first, rest = (data[0], data[1:]) if data else (0, b"")
    if first < 0x80:
        kind, place = PLACES[first % len(PLACES)]
        return Wrong(place, rest, START_S, kind)
    length = first - 0x80
    return Wrong(rest[:length].decode(errors="replace"), rest[length:], START_S)


def put_together(sent: Wrong) -> bytes:
    """The inverse of taken_apart, for the initial corpus; all paths are the same one."""
    if sent.kind is not Kind.MQTT:
        return bytes([next(number for number, (kind, _) in enumerate(PLACES) if kind is sent.kind)]) + sent.payload
    name, place = sent.topic.encode()[:127], (sent.kind, sent.topic)
    return (bytes([PLACES.index(place)]) if place in PLACES else bytes([0x80 + len(name)]) + name) + sent.payload


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
        (directory / str(number)).write_bytes(put_together(message(rng, START_S)))


def instrument(atheris: Any) -> None:
    """Report the coverage of codec, columns, records and topics to libFuzzer."""
    for owner in (codec, Codec, codec._Gather, batch, cmcd, cmcd.PlayerCodec, TopicTemplate):
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
