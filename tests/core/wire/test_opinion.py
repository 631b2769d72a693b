"""Opinions on the wire: columns of the few reports that have them, and nothing for the others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from qoemon.core.plan.plan import Feedback
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.opinion import Opinions
from qoemon.core.wire.report import ABSENT_FLOAT
from qoemon.core.wire.unused import first_empty
from tests.support.core import T0, VIDEO, WEB, plan

PLAN = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face", "voice")))
GOOD = {"session": "a", "seq": 1, "stall_count": 1, "stall_s": 2.5, "play_s": 20}
TOPIC = "qoe/v1/video/eu"
both = pytest.mark.parametrize("encoding", ["json", "msgpack"])


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float = T0 + 5.0
    kind: Kind = Kind.MQTT


def decode(*payloads: object, encoding: str = "json") -> Decoded:
    encode = msgspec.msgpack.encode if encoding == "msgpack" else msgspec.json.encode
    return Codec(PLAN).decode([Message(TOPIC, encode(payload)) for payload in payloads])


def opinions(decoded: Decoded) -> Opinions:
    assert not decoded.rejected
    assert decoded.batch.opinions is not None
    return decoded.batch.opinions


@both
def test_without_opinions_there_are_no_columns_of_them(encoding: str) -> None:
    assert decode([GOOD] * 3, GOOD, encoding=encoding).batch.opinions is None
    assert decode(encoding=encoding).batch.opinions is None


@both
def test_an_opinion_becomes_a_row_beside_that_of_its_report(encoding: str) -> None:
    said = {"rating": 4, "thumb": "up", "asked": True, "ratings": {"video": 3.5}, "scores": {"face": -0.5}}
    found = opinions(decode([GOOD, GOOD | said, GOOD], encoding=encoding))
    assert (found.of.tolist(), found.rating.tolist()) == ([1], [4])
    assert (found.thumb.tolist(), found.asked.tolist()) == ([1], [True])
    assert {name: column.tolist() for name, column in found.scores.items()} == {
        "face": [-0.5],
        "voice": [ABSENT_FLOAT],
    }


@both
@pytest.mark.parametrize(
    "said",
    [
        {"rating": 0},
        {"rating": 2.5},
        {"thumb": "down"},
        {"asked": True},
        {"ratings": {"a": 1}},
        {"scores": {"x": 1}},
    ],
)
def test_each_field_alone_is_an_opinion_and_a_report_with_it_is_not_empty(
    said: dict[str, Any], encoding: str
) -> None:
    found = opinions(decode({"session": "a"} | said, encoding=encoding))
    assert found.rating.tolist() == [said.get("rating", ABSENT_FLOAT)]
    assert found.thumb.tolist() == [-1 if "thumb" in said else 0]
    assert found.asked.tolist() == ["asked" in said]
    assert first_empty([Message(TOPIC, json.dumps({"session": "a"} | said).encode())], PLAN) is None


@both
def test_scores_that_the_configuration_does_not_name_are_dropped_whatever_they_are(encoding: str) -> None:
    found = opinions(
        decode({"session": "a", "scores": {"voice": 1, "mood": "sad", "text": ["no"]}}, encoding=encoding)
    )
    assert {name: column.tolist() for name, column in found.scores.items()} == {
        "face": [ABSENT_FLOAT],
        "voice": [1],
    }


@both
def test_null_is_absent(encoding: str) -> None:
    nothing = dict.fromkeys(("rating", "thumb", "asked", "ratings", "scores"))
    assert decode(GOOD | nothing, encoding=encoding).batch.opinions is None
    found = opinions(
        decode(GOOD | {"ratings": {"video": None}, "scores": {"face": None, "voice": 0}}, encoding=encoding)
    )
    assert [column.tolist() for column in found.scores.values()] == [[ABSENT_FLOAT], [0]]


@both
def test_opinions_stay_with_their_reports_when_others_are_rejected(encoding: str) -> None:
    """In a batch of several payloads, with and without opinions, of which some reports are bad."""
    bad = GOOD | {"rating": 1, "seq": -1}
    payloads = [[GOOD, bad, GOOD | {"rating": 2}], [GOOD], [bad, GOOD, GOOD | {"rating": 3}]]
    decoded = decode(*payloads, encoding=encoding)
    assert decoded.batch.opinions is not None
    assert decoded.batch.opinions.of.tolist() == [1, 4]
    assert decoded.batch.opinions.rating.tolist() == [2, 3]
    taken = decoded.batch.take(np.array([0, 4])).opinions
    assert taken is not None
    assert (taken.of.tolist(), taken.rating.tolist()) == ([1], [3])
    assert decoded.batch.take(np.array([0, 2])).opinions is None


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_opinions_are_the_same_however_many_reports_are_converted_at_a_time(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qoemon.core.wire.codec.AT_ONCE", at_once)
    found = opinions(decode([GOOD, GOOD | {"rating": 1}, GOOD], GOOD | {"rating": 2}, [GOOD], GOOD | {"rating": 3}))
    assert (found.of.tolist(), found.rating.tolist()) == ([1, 3, 5], [1, 2, 3])


@pytest.mark.parametrize("rating", [float("nan"), float("inf"), -1e300, 1e300])
def test_a_rating_of_no_scale_costs_its_report_nothing(rating: float) -> None:
    """Whether it is on the scale is decided where the service is known; the counters of its report count."""
    decoded = decode(GOOD | {"rating": rating}, encoding="msgpack")
    assert len(decoded.batch) == 1
    np.testing.assert_equal(opinions(decoded).rating, [rating])
