"""Splits a payload into its undecoded reports, also where an array is damaged.

A gateway sends hundreds of reports in an array. One number that JSON does not have, a trailing comma or an end that
was cut off must not take the others along: whatever can be told apart is split off, and decoded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder of msgspec raises on an invalid payload."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The decoders and the encoder of one encoding: msgspec.json or msgspec.msgpack."""

    module: Any
    array_bytes: bytes
    """The possible first bytes of an array."""
    object_bytes: bytes
    """The possible first bytes of an object."""

    def decoder(self, of: Any, dec_hook: Callable[[Any, Any], Any] | None = None) -> Any:
        """A decoder of one type; dec_hook as of msgspec."""
        return self.module.Decoder(of, dec_hook=dec_hook)

    def encode(self, items: Sequence[bytes | msgspec.Raw]) -> bytes:
        """The array of undecoded items."""
        encoded: bytes = self.module.encode([msgspec.Raw(item) for item in items])
        return encoded


JSON = Encoding(msgspec.json, b"[", b"{")
MSGPACK = Encoding(
    msgspec.msgpack, bytes([*range(0x90, 0xA0), 0xDC, 0xDD]), bytes([*range(0x80, 0x90), 0xDE, 0xDF])
)

_BOM = b"\xef\xbb\xbf"
MSGPACK_BYTES = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
"""The first bytes of a MessagePack map or array. Only these are MessagePack: JSON in another encoding is not."""
_ITEMS = {each: each.decoder(list[msgspec.Raw]) for each in (JSON, MSGPACK)}
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)
SPACE = b" \t\r\n"
"""What may surround a value of JSON."""
_SESSION_KEYS = (b'"session"', b"\xa7session")


def unmarked(payload: bytes) -> tuple[bytes, Encoding]:
    """The payload without a byte order mark, and its encoding."""
    if payload[:1] and payload[0] in MSGPACK_BYTES:
        return payload, MSGPACK
    return payload.removeprefix(_BOM), JSON


def items_of(payload: bytes, encoding: Encoding) -> list[bytes]:
    """The undecoded reports of a payload: the items of an array, of a damaged one too, or the payload itself."""
    if payload.lstrip(SPACE if encoding is JSON else b"")[:1] not in {bytes([b]) for b in encoding.array_bytes}:
        return [payload]
    try:
        return [bytes(item) for item in _ITEMS[encoding].decode(payload)]
    except MALFORMED:
        return (_json_items(payload) if encoding is JSON else _msgpack_items(payload)) or [payload]


def held(payload: bytes) -> int:
    """How many reports an undecoded payload seems to hold: the number of its keys `session`, at least 1."""
    return max(1, *map(payload.count, _SESSION_KEYS))


def _json_items(payload: bytes) -> list[bytes]:
    """Items between the commas of the outermost array, and of arrays that follow it."""
    items: list[bytes] = []
    depth, begin = 0, payload.index(b"[") + 1
    for token in _TOKEN.finditer(payload, begin):
        mark = token.group()
        if mark == b"[" and depth < 0 and not payload[begin : token.start()].strip(SPACE):
            depth, begin = 0, token.end()
        elif mark in {b"[", b"{"}:
            depth += 1
        elif mark in {b"]", b"}"}:
            depth -= 1
        cuts = depth < 0 if mark in {b"]", b"}"} else mark == b"," and not depth
        if cuts:
            items.append(payload[begin : token.start()])
            begin = token.end()
    return _without_blanks([*items, payload[begin:]])


def _without_blanks(items: list[bytes]) -> list[bytes]:
    return [item for item in items if item.strip(SPACE)]


def _msgpack_items(payload: bytes) -> list[bytes]:
    """The complete items of an array that was cut off, and what is left of the next."""
    ends = [1 if payload[0] < 0xA0 else 3 if payload[0] == 0xDC else 5]
    while (end := _msgpack_end(payload, ends[-1])) is not None:
        ends.append(end)
    items = [payload[begin:end] for begin, end in pairwise(ends)]
    return [*items, payload[ends[-1] :]] if payload[ends[-1] :] else items


_SIZES = dict.fromkeys((0xC0, 0xC2, 0xC3), 0)
_SIZES |= {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZES |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
"""Bytes after the first byte, of values of a fixed size."""
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
"""Bytes of the length, of binary data, strings and extensions."""
_COUNTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Bytes of the count, and values of an item, of arrays and maps."""


def _msgpack_end(payload: bytes, at: int) -> int | None:
    """Where the value that begins at a position ends; None if the payload ends before it, or is none."""
    pending = 1
    while pending:
        if at >= len(payload):
            return None
        first, at, pending = payload[at], at + 1, pending - 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0x90:
            pending += 2 * (first & 0x0F)
        elif first < 0xA0:
            pending += first & 0x0F
        elif first < 0xC0:
            at += first & 0x1F
        elif first in _SIZES:
            at += _SIZES[first]
        elif first in _LENGTHS:
            size = _LENGTHS[first]
            at += size + int.from_bytes(payload[at : at + size], "big") + (0xC7 <= first <= 0xC9)
        elif first in _COUNTS:
            size, values = _COUNTS[first]
            pending += values * int.from_bytes(payload[at : at + size], "big")
            at += size
        else:
            return None
    return at if at <= len(payload) else None
