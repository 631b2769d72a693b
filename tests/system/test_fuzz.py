"""`make fuzz` in short, and that it would find what it looks for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.wrong_inputs import PLAN, START_S, Wrong
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.cmcd import fields_of
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.report import Reject
from tests.support.streams import FEW

GOOD = b'{"session": "a", "seq": 1, "stall_count": 1, "stall_s": 2.5, "play_s": 20}'


def test_twenty_thousand_messages_break_nothing() -> None:
    outcome = fuzz.run_round("test", 20_000)
    assert not outcome.broken
    assert outcome.inputs == 20_000
    assert outcome.accepted > 5_000
    assert all(outcome.rejected[reason] > 100 for reason in Reject)


def test_a_seed_makes_the_same_messages_again() -> None:
    one, other = fuzz.run_round("same", 2_000), fuzz.run_round("same", 2_000)
    assert (one.accepted, one.rejected) == (other.accepted, other.rejected)
    assert fuzz.run_round("different", 2_000).rejected != one.rejected


topics = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.lists(
        st.sampled_from(["qoe", "v1", "tv", "video", "web", "", "eu", "+", "#", "x" * 33, "{service}"]), max_size=6
    ).map("/".join),
)
payloads = st.one_of(
    st.just(GOOD),
    st.binary(max_size=80),
    st.tuples(
        st.sampled_from([b"[" + GOOD + b",", GOOD[:-1] + b',"labels":', b"\x92"]), st.binary(max_size=40)
    ).map(b"".join),
)


@FEW
@given(st.lists(st.tuples(topics, payloads), min_size=1, max_size=6))
def test_any_topics_with_any_payloads_are_accounted_for_one_by_one_and_together(
    sent: list[tuple[str, bytes]],
) -> None:
    fuzz.decode([Wrong(topic, payload, START_S) for topic, payload in sent])


@FEW
@given(topics)
def test_any_topic_fits_at_most_one_template_and_gives_its_levels_back(topic: str) -> None:
    found = [(template, m) for template in PLAN.topics if (m := template.match(topic)) is not None]
    assert len(found) <= 1
    for template, levels in found:
        assert template.template.format(**levels) == topic


class Losing(Codec):
    """Loses the last report of a batch of more than one."""

    def decode(self, messages: Any) -> Decoded:
        whole = super().decode(messages)
        kept = len(whole.batch) - (len(whole.batch) > 1)
        return whole._replace(batch=whole.batch.take(np.arange(kept)))


class Raising(Codec):
    """Stumbles over an empty session."""

    def decode(self, messages: Any) -> Decoded:
        if any(b'"session": ""' in each.payload for each in messages):
            raise ZeroDivisionError
        return super().decode(messages)


class Infinite(Codec):
    """Takes a session's response time for endless."""

    def decode(self, messages: Any) -> Decoded:
        whole = super().decode(messages)
        return whole._replace(batch=endless(whole.batch))


def endless(batch: Batch) -> Batch:
    return replace(batch, response_s=np.full_like(batch.response_s, np.inf))


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (Losing, "reports accounted for, there are"),
        (Raising, "ZeroDivisionError"),
        (Infinite, "response_s out of range"),
    ],
)
def test_a_codec_that_breaks_a_promise_is_found_and_shown(
    codec: type[Codec], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "Codec", codec)
    outcome = fuzz.run_round("broken", 5_000)
    assert words in outcome.broken
    assert "seed broken" in outcome.broken
    assert "Wrong(topic=" in outcome.broken


def test_a_record_that_is_read_in_another_way_than_by_http_sf_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(line: bytes, names: Any) -> dict[str, Any]:
        return {name: value for name, value in fields_of(line, names).items() if not isinstance(value, float)}

    monkeypatch.setattr(fuzz, "fields_of", hasty)
    outcome = fuzz.run_round("broken", 5_000)
    assert "is read as" in outcome.broken
    assert "Kind.CMCD" in outcome.broken


def test_what_breaks_alone_is_shown_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "Codec", Raising)
    shown = fuzz.run_round("broken", 5_000).broken
    assert re.search(r"1 of \d+ messages break it", shown)
    (line,) = (line for line in shown.splitlines() if line.startswith("Wrong("))
    assert fuzz.breaks([eval(line, {"Wrong": Wrong, "Kind": Kind})], fuzz.follow)  # noqa: S307 - what was printed makes it again


def test_the_number_of_reports_is_known_without_the_codec() -> None:
    array = b"[" + b",".join([GOOD] * 3) + b"]"
    cases = [
        ("tv/eu", GOOD, (1, 1)),
        ("tv/eu", array, (3, 3)),
        ("tv/eu", b"\xef\xbb\xbf" + array, (3, 3)),
        ("tv/eu", b"", (0, 0)),
        ("tv/eu", b"[]", (0, 0)),
        ("tv/eu", msgspec.msgpack.encode([1, 2, 3]), (3, 3)),
        ("tv/eu", b"[1, 2", (1, 5)),
        ("tv/eu", GOOD + GOOD, (2, 2)),
        ("tv/eu", b"[" + b",".join([GOOD] * 21) + b"]", (21, 21)),
        ("radio/eu", array, (3, 3)),
        (f"tv/{'x' * 33}", array, (3, 3)),
        # What is not read may hold anything: after a value out of range, and in a field that is ignored.
        ("tv/eu", b'{"session": "a", "play_s": %s nil, "session": "b"}' % (b"1" * 1000), (1, 2)),
        ("tv/eu", b'{"session": "a", "session": "b", "other": "\xff"}', (1, 2)),
        ("tv/eu", b'{"session": "a", "session": "b", "other": nil}', (2, 2)),
    ]
    for topic, payload, reports in cases:
        assert fuzz.reports_in(Wrong(topic, payload, START_S)) == reports
        assert fuzz.reports_in(Wrong(f"/{topic}", payload, START_S, Kind.HTTP)) == reports
    for body, records in ((b"a\r\n \n\nb", (2, 2)), (b"\n", (0, 1)), (b"", (0, 0)), (array, (1, 1))):
        assert fuzz.reports_in(Wrong("/tv/eu", body, START_S, Kind.CMCD)) == records
