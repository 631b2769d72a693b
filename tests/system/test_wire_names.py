"""Names from the wire at every door out: exposition, JSON, log, terminal, notices. None of them breaks one."""

from __future__ import annotations

import io
import json
import logging
import subprocess
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from qoemon.common.logs import LINE_LENGTH, PrintableFormatter
from qoemon.common.text import printable
from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.alerting.decision import Reason
from qoemon.core.alerting.detector import Detections
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.escape import escape_label
from qoemon.core.wire.report import Reject
from qoemon.daemon.metrics import initial_metrics
from qoemon.inputs.inbox import Message
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.notify.mqtt import topic_of
from qoemon.outputs.notify.notice import Notice, document
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.table import groups_table
from tests.support.core import OneShard
from tests.support.parts import Mosquitto, Prometheus, parsed, program
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.parts import Daemon

HOSTILE = {
    "ansi": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "line ends": "a\r\nb\nc\u2028d\x85",
    "quote": 'a"b',
    "backslash": "a\\",
    "like an escape": "a\\nb\\x1b",
    "braces": '"} 1\nqoemon_mos{x="',
    "bidi": "\u202eabc\u2066",
    "no width": "a\u200bb\ufeff",
    "nul": "a\0b",
    "html": "<script>alert(1)</script>&amp;",
    "markup": "[red]a[/red][link=http://x]",
    "spaces": "  ",
    "astral": "\U0001f600 größer 東京",
    "format": "{value} %s %(name)s",
}
LONG = "x" * 10_000
T0 = 1_000_000_000
NAMES = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())


def published(*names: str) -> PublishedTick:
    """A tick with a group for each of the names, by a label of the payload and by a level of the topic."""
    plan = core_plan(Config.model_validate({"labels": ["isp"]}))
    codec, monitor = Codec(plan), OneShard(plan)
    for number, name in enumerate(names):
        report = {
            "session": name[:128] or "s",
            "play_s": 50.0,
            "stall_count": 3,
            "stall_s": 2.5,
            "labels": {"isp": name},
        }
        payload = json.dumps([report, report | {"session": f"other {number}"}]).encode()
        topic = f"qoe/v1/video/{name.replace('/', '|')}/a"
        decoded = codec.decode([Message(topic, payload, T0 + 1.0, 0, 0, 0)])
        assert not decoded.rejected, decoded.sample
        monitor.apply(decoded.batch, T0 + 1.0)
    return Exporter().render(monitor.snapshot(T0 + 60), Detections((), {}, {}), initial_metrics())


@NAMES
def test_exposition_and_json_hold_one_visible_name(name: str) -> None:
    tick = published(name)
    expected = {"isp": escape_label(name), "region": escape_label(name.replace("/", "|"))}
    told = [
        dict(labels) for metric, labels in parsed(tick.metrics.whole.decode()) if metric == "qoemon_active_sessions"
    ]
    assert [{label: group[label] for label in expected} for group in told] == [expected]
    [group] = json.loads(tick.json.whole)["services"][0]["groups"]
    assert {label: group["labels"][label] for label in expected} == expected
    assert all(map(str.isprintable, tick.metrics.whole.decode().splitlines()))


@pytest.mark.prometheus
def test_promtool_finds_the_exposition_good() -> None:
    command = [program("promtool", "Debian package prometheus"), "check", "metrics"]
    told = subprocess.run(
        command, input=published(*HOSTILE.values()).metrics.whole, capture_output=True, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_a_long_name_is_rejected_and_half_a_character_is_no_json() -> None:
    codec = Codec(core_plan(Config.model_validate({"labels": ["isp"]})))
    rejected = {
        "too_large": json.dumps({"session": "s", "play_s": 1, "labels": {"isp": LONG}}).encode(),
        "unparseable": rb'{"session": "s", "play_s": 1, "labels": {"isp": "\ud800"}}',
        "schema": json.dumps({"session": LONG, "play_s": 1}).encode(),
    }
    for reason, payload in rejected.items():
        decoded = codec.decode([Message("qoe/v1/video/eu/a", payload, T0, 0, 0, 0)])
        assert decoded.rejected == {Reject(reason): 1}


@given(st.text(), st.text())
@example("a\n", "a\\n")
@example("\x1b", "\\x1b")
@example("\\", "\\\\")
def test_names_become_visible_and_no_two_become_one(one: str, other: str) -> None:
    assert escape_label(one).isprintable()
    assert (escape_label(one) == escape_label(other)) == (one == other)


@given(st.text(st.characters()), st.integers(1, 50))
@example("\ud800", 5)
def test_printable_is_one_short_line(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    shown.encode()
    assert len(shown) <= most * len(r"\U0010ffff")


@NAMES
def test_the_log_has_a_line_a_record(name: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 1, "%s", (name + LONG,), None))
    [line] = stream.getvalue().split("\n")[:-1]
    assert line.isprintable()
    assert len(line) <= LINE_LENGTH + 10 * len(name)


def test_a_trace_in_the_log_keeps_its_lines_and_nothing_else() -> None:
    try:
        raise ValueError(HOSTILE["ansi"])
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "broke", (), (ValueError, error, error.__traceback__))
    lines = PrintableFormatter("%(message)s").format(record).split("\n")
    assert lines[0] == "broke"
    assert lines[-1].startswith(r"ValueError: \x1b[31mred")
    assert all(map(str.isprintable, lines))


@NAMES
def test_the_table_shows_the_name_as_text(name: str) -> None:
    tick = published(name)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=300, color_system=None, legacy_windows=False)
    console.print(groups_table(snapshot_document(tick.snapshot, tick.detections), "1m", "title"))
    printed = stream.getvalue()
    assert all(line.isprintable() for line in printed.replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n"))
    assert escape_label(name).strip() in printed


@NAMES
def test_notices_are_json_and_topics_that_a_broker_takes(name: str) -> None:
    notice = Notice(
        alert="A", service="video", severity="page", groups={"isp": escape_label(name)}, labels={}, annotations={},
        starts_s=T0, ends_s=None, reason=next(iter(Reason)), figures={},
    )  # fmt: skip
    assert json.loads(json.dumps(document(notice, "http://x", T0)))["groups"]["isp"] == escape_label(name)
    topic = topic_of("alerts/{alert}/{service}/{groups}", notice)
    assert topic.count("/") == 3
    assert not set(topic) & set("+# \0\n\r\x1b")


@pytest.mark.mosquitto
@pytest.mark.prometheus
async def test_hostile_names_reach_prometheus_through_a_real_daemon(
    tmp_path: Path, mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    """All at once by a real broker; each is a series of its own there, and the log stays text."""
    settings: dict[str, Any] = {
        "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
        "labels": ["isp"],
        # Sessions are active for a rating interval: longer than Prometheus needs to start.
        "sessions": {"tick": "1s", "rating_interval": "300s", "timeout": "300s", "min_active": "1s"},
        "windows": ["300s"],
        "alerts": [],
    }
    daemon = start_daemon(settings).ready()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        for number, name in enumerate(HOSTILE.values()):
            for seq in (1, 2):
                told = {"session": f"{name}{number}", "seq": seq, "play_s": 4.0 * seq, "labels": {"isp": name}}
                await client.publish("qoe/v1/video/eu/a", json.dumps(told), 1)
        for bad in (b"\x1b[31m{\n\r", json.dumps({"session": HOSTILE["bidi"], "stall_s": -1}, ensure_ascii=False)):
            await client.publish("qoe/v1/video/\u202e/a", bad, 1)
    expected = {escape_label(name) for name in HOSTILE.values()}
    with Prometheus(tmp_path, {"qoemon": daemon.port}) as prometheus:

        def stored() -> set[str]:
            return {series["metric"].get("isp", "") for series in prometheus.query("qoemon_active_sessions")}

        until(lambda: stored() == expected, lambda: str(stored() ^ expected))
    until(lambda: daemon.log.read_text().count("rejected reports") == 2, daemon.log.read_text)
    log = daemon.log.read_text()
    assert all(map(str.isprintable, log.split("\n")))
