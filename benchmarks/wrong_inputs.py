"""Invalid messages, of topics and of paths: some near the schema, so that they get far into the codec, some not.

All are drawn from one `random.Random`, so a seed reproduces them.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from benchmarks.wrong_records import body
from qoemon.core.plan.plan import Counters, Limits, Plan, Players, Service
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL, VOICE_G107, WEB_IQX
from qoemon.core.wire.message import Kind

START_S = 1_700_000_040.0

PLAN = Plan(
    services=(
        Service("video", VIDEO_STALL, 0.3, theta_band=(0.1,)),
        Service("shorts", VIDEO_STALL, 0.3, counters=Counters.DELTA),
        Service("web", WEB_IQX, 0.25),
        Service("voice", VOICE_G107, 0.25),
    ),
    topics=(TopicTemplate("qoe/v1/{service}/{region}/{cdn}"), TopicTemplate("tv/{region}", service="video")),
    labels=("region", "cdn", "isp"),
    limits=Limits(sessions=5000, groups=50, message_bytes=4096, reports_per_message=20, label_length=32),
    paths=(TopicTemplate("/cmcd/v1/{service}/{region}/{cdn}"), TopicTemplate("/tv/{region}", service="video")),
    players=Players(labels={"com.example-isp": "isp"}, startup_service="web", failed_worst=True, records_per_s=2),
)
"""A service of every kind, with limits so low that messages exceed them all the time."""


class Wrong(NamedTuple):
    """A message as the codec expects it."""

    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT

    def __repr__(self) -> str:
        """What makes the message again."""
        rest = f"arrival_s={self.arrival_s!r}, kind=Kind.{self.kind.name}"
        return f"Wrong(topic={self.topic!r}, payload={self.payload!r}, {rest})"


NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**30, -(10**30)),
    *(10**9, 10**9 + 1, 0.0, -0.0, 0.1, -0.1, 1e9, 1.0000001e9, 1e308, -1e308, 5e-324, -2.2250738585072014e-308),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    "",
    "a",
    "x" * 32,
    "x" * 33,
    "x" * 128,
    "x" * 129,
    "ä" * 128,
    "\ud800",
    "\udc00a",
    "\x00",
    "\u202e",
    "😀",
    "\ufeff",
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"a": {}}, {"region": 1}, ["a", 1], [0.5, "1"])
FIELDS = (
    "session",
    "seq",
    "ts",
    "stall_count",
    "stall_s",
    "play_s",
    "stalled",
    "response_s",
    "measures",
    "end",
    "labels",
)
SERVICES = ("video", "shorts", "web", "voice")
ODD_TOPICS = (
    "",
    "/",
    "qoe/v1/video",
    "qoe/v1/video/eu/a/b",
    "qoe/v1/radio/eu/a",
    "tv/",
    "tv/eu/a",
    "+/#",
    "$SYS/x",
    "tv/\x00",
    "qoe/v1//eu/a",
)
ODD_PATHS = (
    "/tv/%",
    "/tv/%ff",
    "/tv/%00",
    "/tv/%2f",
    "/tv/%E2%80%AE",
    "/cmcd/v1/vid%65o/eu/a",
    "/tv/" + "%41" * 33,
)
BROKEN = (
    b"",
    b" ",
    b"[",
    b"{",
    b"]",
    b"nul",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x81",
    b"[[]]",
    b"[]",
    b"\x90",
    b"{}",
    b"\x80",
    b'"a"',
    b"1e999",
)
PREFIXES = (b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"\x00", b"\n\t\r ", b"[", b"\x91", b"\x82")


def message(rng: Random, now_s: float) -> Wrong:
    """One message that arrives at now_s."""
    chance = rng.random()
    if chance < 0.05:
        return Wrong(path(rng), payload(rng), now_s, Kind.HTTP)
    if chance < 0.3:
        return Wrong(path(rng), body(rng), now_s, Kind.CMCD)
    return Wrong(topic(rng), payload(rng), now_s)


def topic(rng: Random) -> str:
    """A topic, mostly one that matches a template."""
    chance = rng.random()
    if chance < 0.05:
        return rng.choice(ODD_TOPICS)
    if chance < 0.15:
        return f"tv/{label(rng)}"
    return f"qoe/v1/{rng.choice(SERVICES)}/{label(rng)}/{label(rng)}"


def path(rng: Random) -> str:
    """A path, mostly one that matches a template."""
    chance = rng.random()
    if chance < 0.05:
        return rng.choice((*ODD_TOPICS, *ODD_PATHS))
    if chance < 0.15:
        return f"/tv/{quote(label(rng))}"
    return f"/cmcd/v1/{rng.choice(SERVICES)}/{quote(label(rng))}/{quote(label(rng))}"


def label(rng: Random) -> str:
    """A level of a topic, out of few."""
    if rng.random() < 0.03:
        return rng.choice(TEXTS).encode("utf-8", "replace").decode()  # Topics are UTF-8 by now.
    return f"l{rng.randrange(8)}"


def payload(rng: Random) -> bytes:
    """A document in one of the encodings, sometimes damaged."""
    chance = rng.random()
    if chance < 0.02:
        return rng.choice(BROKEN)
    if chance < 0.04:
        return rng.randbytes(rng.randrange(100))
    if chance < 0.05:
        return deep(rng)
    whole = encoded(rng, document(rng))
    return damaged(rng, whole) if rng.random() < 0.2 else whole


def document(rng: Random) -> object:
    """A report, or an array of valid and invalid ones."""
    if rng.random() < 0.7:
        return report(rng)
    reports = [report(rng) if rng.random() < 0.95 else value(rng) for _ in range(rng.randrange(6))]
    return reports * rng.choice((1, 1, 1, 5))


def report(rng: Random) -> dict[str, Any]:
    """A valid report, then some of its fields made invalid."""
    good = good_report(rng)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        field = rng.choice(FIELDS) if rng.random() < 0.95 else rng.choice(TEXTS)
        if rng.random() < 0.2:
            good.pop(field, None)
        else:
            good[field] = value(rng)
    return good


def good_report(rng: Random) -> dict[str, Any]:
    """A valid report of one of many sessions."""
    stalls = rng.randrange(4)
    good: dict[str, Any] = {"session": f"s{rng.randrange(20_000)}", "seq": rng.randrange(100)}
    kind = rng.randrange(4)
    if kind < 2:
        good |= {"stall_count": stalls, "stall_s": stalls * rng.random() * 9, "play_s": rng.random() * 300}
        good |= {"stalled": rng.random() < 0.2, "end": rng.random() < 0.1}
    elif kind == 2:
        times = [rng.expovariate(1) for _ in range(rng.randrange(4))]
        good["response_s"] = times if rng.random() < 0.5 else rng.random()
    else:
        good["measures"] = {"delay_ms": rng.random() * 500, "loss": rng.random() / 5}
    if rng.random() < 0.2:
        good["labels"] = {"isp": label(rng), "region": label(rng)}
    return good


def value(rng: Random) -> Any:
    """Any value."""
    kind = rng.randrange(5)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.choice(TEXTS)
    if kind == 3:
        return rng.choice(OTHERS)
    return rng.choice(
        ({"loss": rng.choice(NUMBERS)}, [rng.choice(NUMBERS)] * 3, {rng.choice(TEXTS): rng.choice(TEXTS)})
    )


def encoded(rng: Random, content: object) -> bytes:
    """MessagePack if it can encode it, or JSON as Python writes it: with NaN, and with escaped lone surrogates."""
    if rng.random() < 0.4:
        try:
            return msgspec.msgpack.encode(content)
        except (OverflowError, UnicodeEncodeError):
            pass
    text = json.dumps(content, indent=rng.choice((None, None, None, 1)))
    if rng.random() < 0.05:
        text = text.replace("}", ', "seq": 1, "session": "twice"}', 1)
    if rng.random() < 0.02:
        text = text.replace("1", "1" * rng.choice((20, 400, 3000)), 1)
    return text.encode("utf-16" if rng.random() < 0.01 else "utf-8")


def deep(rng: Random) -> bytes:
    """Nesting deeper than a parser's stack, within the size limit of a message."""
    depth = rng.choice((10, 500, 1000, 2000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"x":', b"}"), (b"\x91", b""), (b"\x81\xa1x", b"")))
    nested = opening * depth + rng.choice((b"", b"1", b"\x01")) + closing * rng.choice((0, depth - 1, depth))
    return (
        rng.choice((b"", b'{"session": "a", "x": ', b"\x82\xa7session\xa1a\xa1x"))
        + nested
        + rng.choice((b"", b"}"))
    )


def damaged(rng: Random, whole: bytes) -> bytes:
    """Some bytes changed, inserted, cut off or repeated."""
    out = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        at, some = rng.randrange(len(out) + 1), rng.randrange(4)
        kind = rng.randrange(5)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            out[0:0] = rng.choice(PREFIXES)
        elif kind == 2:
            out[at:at] = out[at : at + 8 * some]
        else:
            out[at : at + some] = rng.randbytes(rng.randrange(3))
    return bytes(out)
