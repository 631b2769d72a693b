"""Frames are read as they were written, wherever the stream is cut; what a server must not send is refused."""

from __future__ import annotations

import random
import struct

import pytest

from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.websocket_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, FrameReader, frame, masked

FINAL = 0x80


def served(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame of a server, written independently of the code."""
    first, length = opcode | FINAL * final, len(payload)
    if length < 126:
        return bytes([first, length]) + payload
    if length < 65_536:
        return bytes([first, 126]) + struct.pack(">H", length) + payload
    return bytes([first, 127]) + struct.pack(">Q", length) + payload


def test_any_stream_cut_anywhere_gives_what_was_sent() -> None:
    rng = random.Random(1)
    for _ in range(200):
        sent, stream, pings = b"", b"", [b""]
        for _ in range(rng.randrange(1, 20)):
            piece = rng.randbytes(rng.choice((0, 1, 2, 125, 126, 127, 65_535, 65_536, 70_000)))
            kind = rng.choice((BINARY, CONTINUATION, PING, PONG))
            if kind in {PING, PONG}:
                piece = piece[:125]
                pings += [piece] if kind == PING else []
            else:
                sent += piece
            stream += served(kind, piece, final=kind not in {BINARY, CONTINUATION} or rng.random() < 0.5)
        reader, got, at = FrameReader(), b"", 0
        while at < len(stream):
            beyond = at + rng.choice((1, 2, 3, 9, 200, 100_000))
            got += reader.feed(stream[at:beyond])
            at = beyond
        assert got == sent
        assert (reader.pong or b"", reader.closed) == (pings[-1], None)


def test_data_is_passed_on_before_its_frame_is_complete() -> None:
    reader = FrameReader()
    whole = served(BINARY, b"abc" * 100)
    assert reader.feed(whole[:10]) == b"abcabc"


@pytest.mark.parametrize("length", [0, 1, 3, 125, 126, 65_535, 65_536])
def test_our_frames_are_masked_and_have_the_shortest_header(length: int) -> None:
    payload = random.Random(2).randbytes(length)
    made, plain = frame(BINARY, payload), served(BINARY, payload)
    begin = len(plain) - length
    assert made[0] == plain[0]
    assert made[1] == plain[1] | 0x80
    assert made[2:begin] == plain[2:begin]
    mask, body = made[begin : begin + 4], made[begin + 4 :]
    assert bytes(one ^ mask[place % 4] for place, one in enumerate(body)) == payload
    assert masked(body, mask) == payload


def test_masks_differ() -> None:
    assert len({frame(BINARY, b"") for _ in range(10)}) == 10


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", ""),
        (struct.pack(">H", 1000), ""),
        (struct.pack(">H", 1001) + b"going away", ""),
        (struct.pack(">H", 1002), "code 1002"),
        (struct.pack(">H", 1008) + "nö\n".encode() + b"\xff", "code 1008, nö\\n\ufffd"),
    ],
)
def test_a_close_tells_why_and_nothing_after_it_counts(payload: bytes, told: str) -> None:
    reader = FrameReader()
    assert reader.feed(served(BINARY, b"before") + served(CLOSE, payload) + served(BINARY, b"after")) == b"before"
    assert reader.feed(b"\xff\xff\xff") == b""
    assert reader.closed == told


@pytest.mark.parametrize(
    "wrong",
    [
        served(0x1, b"text"),
        served(0x3),
        served(0xB),
        bytes([BINARY | FINAL | 0x40, 0]),
        served(PING, final=False),
        served(PING, bytes(126)),
        frame(BINARY, b"masked"),
        b"HTTP/1.1 400 Bad Request",
    ],
)
def test_what_a_server_must_not_send_is_refused(wrong: bytes) -> None:
    with pytest.raises(MqttConnectionError, match="breaks the rules of WebSocket"):
        FrameReader().feed(served(BINARY, b"x") + wrong)
