"""`qoemon top`: what it shows of a daemon that answers, one that does not, and one that means harm."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
from aiohttp import web
from rich.cells import cell_len
from rich.console import Console

from qoemon.config.config import Config
from qoemon.daemon.daemon import running
from qoemon.tools.fetch import AnswerError, QueryError
from qoemon.tools.simulate.load import publish
from qoemon.tools.simulate.simulate import SCENARIOS, Population
from qoemon.tools.table import sparkline
from qoemon.tools.top.query import Query, labels_of, wanted
from qoemon.tools.top.top import top
from tests.support.http import serve_app
from tests.support.parts import ROOT, broker_at
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.parts import Nats


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoemon.tools.top.top.ANSWER_S", NEVER_S)


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\r\n\u202egnp\u2066"


def group(pow_: float | None, *, sessions: int = 40, regime: str | None = "good", **labels: str) -> dict[str, Any]:
    estimate = None if pow_ is None else figures(pow_)
    return {
        "labels": labels,
        "active_sessions": sessions,
        "open_stalls": 3,
        "windows": {"1m": estimate, "5m": figures(0.5)} if estimate else {},
        "state": regime and {"state": regime, "words": f"{regime} for 5m", "since_s": 0.0},
    }


def figures(pow_: float) -> dict[str, Any]:
    return {
        "mos": 5 - 4 * pow_,
        "gob": 1 - pow_,
        "pow": pow_,
        "pow_bounds": [max(pow_ - 0.03, 0), min(pow_ + 0.04, 1)],
        "ratings": {"1": pow_ / 2, "2": pow_ / 2, "3": 0, "4": 0, "5": 1 - pow_},
    }


def snapshot(
    *groups: dict[str, Any], time_s: float | None = None, alerts: list[Any] | None = None
) -> dict[str, Any]:
    return {
        "time_s": time.time() if time_s is None else time_s,
        "labels": list(groups[0]["labels"]) if groups else [],
        "services": [{"service": "video", "groups": list(groups)}],
        "alerts": alerts or [],
    }


def alert(state: str, reason: str, **labels: str) -> dict[str, Any]:
    return {
        "alert": "video-poor",
        "service": "video",
        "labels": labels,
        "state": state,
        "reason": reason,
        "since_s": time.time() - 60,
        "threshold": 0.2,
        "value": 0.231,
    }


class Server:
    """Serves its current answer over a real socket; restarts on the same port."""

    def __init__(self, answer: object) -> None:
        self.answer, self.status, self.port = answer, 200, 0
        self.asked = ""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.add_routes([web.get("/api/v1/snapshot", self._answer)])
        self._runner, self.port = await serve_app(app, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked = request.query_string
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=text, status=self.status)


@contextlib.asynccontextmanager
async def serving(answer: object) -> AsyncIterator[Server]:
    server = Server(answer)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def console(width: int = 80, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=24,
        force_terminal=terminal,
        color_system="truecolor" if terminal else None,
        _environ={"TERM": "xterm"},
    )


def written(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


async def once(answer: object, query: Query | None = None, *, width: int = 80) -> list[str]:
    """The lines of a table of a snapshot."""
    screen = console(width)
    async with serving(answer) as server:
        await top(screen, server.url, query or Query(), once=True)
    return written(screen).splitlines()


def names(lines: list[str]) -> list[str]:
    """The region of each row."""
    return [line.split()[1] for line in lines if line.startswith("video")]


@contextlib.asynccontextmanager
async def live(url: str, query: Query | None = None) -> AsyncIterator[Console]:
    """The live table on a terminal of 80 by 24."""
    screen = console(terminal=True)
    task = asyncio.create_task(top(screen, url, query or Query()))
    try:
        yield screen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def frame(screen: Console) -> list[str]:
    """What stands on the terminal: what was drawn since the cursor went home last."""
    newest = written(screen).rsplit("\x1b[H", 1)[-1]
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", newest).splitlines()]


async def test_a_row_tells_the_group_its_figures_and_how_sure_they_are() -> None:
    lines = await once(snapshot(group(0.123, sessions=1234, regime="degraded", region="eu", cdn="a")))
    heading, row = lines[-2:]
    assert heading.split()[:9] == ["service", "region", "cdn", "sess", "stall", "MOS", "GoB", "PoW", "state"]
    assert row.split()[:10] == ["video", "eu", "a", "1,234", "3", "4.51", "88%", "12.3%", "9-16", "DEGRADED"]
    assert "last 1m" in lines[0]


async def test_eighty_columns_hold_three_labels_and_long_values() -> None:
    long = [
        group(0.1 * n, region=f"europe-west-{n}" * 4, cdn="漢字" * 30, device="television" * 20) for n in range(9)
    ]
    lines = await once(snapshot(*long, alerts=[alert("firing", "past_threshold", region="x" * 500)]))
    assert max(cell_len(line) for line in lines) <= 80
    assert [line[:5] for line in lines].count("video") == 9
    assert all(re.search(r"\d\.\d\d .*\d% .*\d+-\d+ .*good", line) for line in lines if line.startswith("video"))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
async def test_no_line_is_wider_than_the_terminal_and_poor_is_the_last_to_go(width: int) -> None:
    lines = await once(snapshot(group(0.12, region="eu", cdn="a", device="tv")), width=width)
    assert max(cell_len(line) for line in lines) <= width
    assert "12.0%" in lines[-1]
    assert ("ratings" in lines[-2]) == (width >= 100)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("pow", ["b", "c", "a", "d"]),
        ("mos", ["b", "c", "a", "d"]),
        ("gob", ["b", "c", "a", "d"]),
        ("sessions", ["d", "a", "c", "b"]),
        ("name", ["a", "b", "c", "d"]),
    ],
)
async def test_worst_comes_first_and_groups_without_data_last(sort: Any, order: list[str]) -> None:
    groups = [
        group(None, region="d", sessions=90),
        group(0.1, region="a", sessions=80),
        group(0.3, region="b", sessions=10),
        group(0.2, region="c", sessions=20),
    ]
    assert names(await once(snapshot(*groups), Query(sort=sort))) == order


async def test_filters_select_groups_and_alerts() -> None:
    data = snapshot(
        *(group(0.1, region=region, cdn=cdn) for region in ("eu", "us", "ap") for cdn in "ab"),
        alerts=[alert("pending", "not_long_enough", region=region, cdn="b") for region in ("eu", "ap")],
    )
    lines = await once(data, Query(labels=wanted(["region=eu", "region=us", "cdn=b"])))
    assert names(lines) == ["eu", "us"]
    assert [line for line in lines if "not long enough" in line] == [lines[-1]]
    assert "video/eu/b" in lines[-1]
    assert re.search(r"0\.231 \(fires at 0\.2\), for (59s|1m)", lines[-1])


async def test_where_to_look_first_is_said_above_the_table() -> None:
    data = snapshot(group(0.1, region="eu"))
    data["services"][0]["where_first"] = {"text": f"Look first at region={HOSTILE}: 96 % of the poor."}
    data["services"].append({"service": "web", "groups": [], "where_first": None})
    lines = await once(data, width=200)
    assert lines[1].startswith("video: Look first at region=")
    assert lines[1].endswith(": 96 % of the poor.")
    assert not any("web" in line for line in lines)
    assert not any("Look first" in line for line in await once(data, Query(service="web"), width=200))


def said(state: str, text: str) -> dict[str, Any]:
    return {"model": {"state": state, "way": "lower"}, "ratings": {"1": 3}, "text": text}


async def test_a_model_that_is_off_is_said_above_the_table_and_no_other() -> None:
    data = snapshot(group(0.1, region="eu"))
    data["services"][0]["feedback"] = said("off", f"The model is off: users rate 0.31 lower {HOSTILE}.")
    data["services"].append({"service": "web", "groups": [], "feedback": said("holds", "The model holds.")})
    data["services"].append({"service": "radio", "groups": [], "feedback": None})
    lines = await once(data, width=200)
    assert lines[1].startswith("video: The model is off: users rate 0.31 lower \\x1b[2J")
    assert not [line for line in lines if "holds" in line or "radio" in line]
    assert "is off" not in "".join(await once(data, Query(service="web"), width=200))


async def test_sums_are_asked_of_the_daemon() -> None:
    async with serving(snapshot(group(0.1, cdn="a"))) as server:
        for by, asked in (((), "by="), (("cdn", "isp"), "by=cdn,isp"), (None, "")):
            await top(console(), server.url, Query(by=by), once=True)
            assert server.asked == asked


async def test_an_unknown_label_is_refused_in_the_daemons_words() -> None:
    async with serving("unknown label planet: expected region") as server:
        server.status = 400
        for how in ({"once": True}, {"attended": False}):
            with pytest.raises(QueryError, match=r"^unknown label planet: expected region$"):
                await top(console(), server.url, Query(by=("planet",)), **how)


@pytest.mark.parametrize(
    ("text", "labels"), [(None, None), ("", ()), ("cdn", ("cdn",)), (" region, cdn,", ("region", "cdn"))]
)
def test_labels_of_sums_are_a_list(text: str | None, labels: tuple[str, ...] | None) -> None:
    assert labels_of(text) == labels


def silent(answer: dict[str, Any], words: str, since_s: float | None) -> dict[str, Any]:
    """The answer, whose service has no data."""
    answer["services"][0]["state"] = {"state": "no_data", "words": words, "since_s": since_s}
    return answer


async def test_a_service_that_fell_silent_is_named_above_the_table() -> None:
    groups = group(None, region="eu") | {
        "state": {"state": "no_data", "words": "no data for 2m30s", "since_s": time.time() - 150}
    }
    lines = await once(silent(snapshot(groups), "no data for 2m30s", time.time() - 150), width=120)
    assert lines[1] == "video: no data for 2m30s"
    assert "no data for 2m30s" in lines[-1]


async def test_a_service_that_never_sent_a_report_is_not_mentioned() -> None:
    lines = await once(silent(snapshot(group(0.1, region="eu")), "no data yet", None))
    assert lines[1].startswith("service")


async def test_a_group_on_which_an_alert_fires_is_not_shown_as_good() -> None:
    fires = group(0.85, region="eu") | {"state": {"state": "alert", "words": "alert video-poor for 3m"}}
    lines = await once(snapshot(fires))
    assert "ALERT" in lines[-1]
    assert "good" not in lines[-1]


async def test_an_alert_without_data_says_since_when_and_one_of_a_service_names_no_group() -> None:
    since_s = time.time() - 600
    gone = alert("firing", "no_data", region="eu") | {"value": None, "silent_since_s": since_s}
    whole = alert("firing", "past_threshold") | {"value": 140.0, "threshold": 120.0}
    lines = await once(snapshot(group(0.1, region="us"), alerts=[gone, whole]), width=120)
    assert any(time.strftime("video/eu: no data since %H:%M,", time.localtime(since_s)) in line for line in lines)
    assert any("video-poor video: past threshold, 140 (fires at 120)" in line for line in lines)


def fed(reports: int, **doubtful: int) -> dict[str, Any]:
    return {"feed": {"reports": reports, "doubtful": doubtful}}


async def test_doubtful_reports_are_mentioned_above_the_table_with_their_group_and_likely_cause() -> None:
    sound = group(0.3, region="us") | fed(1000, too_fast=4)
    wrong = group(0.1, region="eu") | fed(100, milliseconds=31)
    line = "31 % of video/eu's reports are impossible: milliseconds instead of seconds?"
    lines = await once(snapshot(sound, wrong))
    assert lines[1] == line
    assert names(lines) == ["us", "eu"]
    lines = await once(snapshot(sound, wrong, group(0.2, region="ap") | fed(100, conflicting=5)), width=200)
    assert lines[1] == f"{line} 1 more group has doubtful reports."


async def test_doubtful_reports_of_groups_that_are_filtered_out_and_sound_ones_are_not_mentioned() -> None:
    groups = [group(0.1, region="eu") | fed(100, position=99), group(0.1, region="us") | fed(100, position=4)]
    lines = await once(snapshot(*groups), Query(labels=wanted(["region=us"])))
    assert not any("%" in line for line in lines[:1])
    assert lines[1].startswith("service")


async def test_doubtful_reports_of_a_group_with_a_hostile_name_stay_text() -> None:
    lines = await once(snapshot(group(0.1, region=HOSTILE) | fed(9, stalled=9)), width=200)
    assert lines[1].startswith("100 % of video/\\x1b[2J\\x1b]0;owned\\x07[red]x[/red]")
    assert lines[1].endswith("'s reports are impossible: is stalled never reset?")


async def test_another_window_is_shown_on_request() -> None:
    lines = await once(snapshot(group(0.1, region="eu")), Query(window_s=300))
    assert "50.0%" in lines[-1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(service="radio"), "no service 'radio' in the snapshot; it has video"),
        (Query(labels={"planet": frozenset({"x"})}), "no label 'planet' in the snapshot; it has region"),
        (Query(window_s=7), "no window '7s' in the snapshot; it has 1m, 5m"),
    ],
)
async def test_a_query_for_what_is_absent_names_what_there_is(query: Query, words: str) -> None:
    with pytest.raises(QueryError, match=re.escape(words)):
        await once(snapshot(group(0.1, region="eu")), query)


@pytest.mark.parametrize("text", ["region", "=eu", ""])
def test_a_filter_without_label_or_value_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="such as region=eu"):
        wanted([text])


@pytest.mark.parametrize("url", ["nowhere", "ftp://host", "http://", "http://host:port"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(QueryError, match="expected one such as http://127"):
        await top(console(), url, Query(), once=True)


async def test_labels_from_clients_stay_text() -> None:
    data = snapshot(group(0.1, region=HOSTILE), alerts=[alert("firing", HOSTILE, region=HOSTILE)])
    data["services"][0]["service"] = "video" + HOSTILE
    lines = await once(data, width=200)
    text = "\n".join(lines)
    assert "[red]x[/red]" in text
    assert not re.search(r"[^\n\x20-\x7e\xa0-\u200a\u2030-\u205f\u2070-\uffff]", text)
    assert len(lines) == 4


async def test_labels_from_clients_stay_text_on_a_terminal() -> None:
    async with serving(snapshot(group(0.1, region=HOSTILE))) as server, live(server.url) as screen:
        await until(lambda: "video" in written(screen))
    assert "\x1b[2J" not in written(screen)
    assert "owned\x07" not in written(screen)
    assert "\u202e" not in written(screen)


def test_sparkline_spans_zero_to_top_and_leaves_gaps() -> None:
    assert sparkline([0.0, None, 0.1, 0.2, 5.0], 0.2) == "▁ ▅██"


async def test_json_has_the_groups_whole_filtered_and_sorted() -> None:
    data = snapshot(group(0.1, region="eu"), group(0.3, region=HOSTILE), group(0.2, region="us"))
    screen = console()
    async with serving(data) as server:
        await top(screen, server.url, Query(), as_json=True)
    printed = json.loads(written(screen))
    groups = data["services"][0]["groups"]
    assert (printed["time_s"], printed["window"]) == (data["time_s"], "1m")
    assert printed["groups"] == [{"service": "video", **groups[n]} for n in (1, 2, 0)]
    assert written(screen).isascii()
    assert "\x1b" not in written(screen)


@pytest.mark.parametrize("how", ["once", "as_json"])
async def test_an_unreachable_daemon_is_an_error_with_its_reason(how: Any, unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    words = f"no snapshot from {url}/api/v1/snapshot: connection refused; expected a running qoemon there"
    with pytest.raises(AnswerError, match=f"^{re.escape(words)}$"):
        await top(console(), url, Query(), **{how: True})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<html>", "is no snapshot of qoemon: JSON is malformed"),
        ({"time_s": 1}, "is no snapshot of qoemon: Object missing required field `labels`"),
        (snapshot(group(0.1), time_s=1e300), "is no snapshot of qoemon: Expected `float` <= "),
        (snapshot(group(0.1) | {"windows": {"often": figures(0.1)}}), "'often' is no duration"),
    ],
)
async def test_an_answer_that_is_no_snapshot_is_an_error(answer: object, words: str) -> None:
    with pytest.raises(AnswerError, match=re.escape(words)):
        await once(answer)


async def test_a_daemon_that_has_not_ticked_is_quoted() -> None:
    async with serving("no tick has passed yet\n") as server:
        server.status = 503
        with pytest.raises(AnswerError, match=": status 503, no tick has passed yet; "):
            await top(console(), server.url, Query(), once=True)


async def test_rows_that_do_not_fit_are_counted_and_alerts_stay_in_sight() -> None:
    groups = [group(0.01 * n, region=f"r{n:02}") for n in range(40)]
    alerts = [alert(state, "x", region=f"r{n:02}") for n in range(4) for state in ("pending", "firing")]
    async with serving(snapshot(*groups, alerts=alerts)) as server, live(server.url) as screen:
        await until(lambda: "more alerts" in written(screen))
        shown = frame(screen)
    assert len(shown) <= 24
    rows = names(shown)
    assert rows[:2] == ["r39", "r38"]
    assert f"… and {40 - len(rows)} more groups" in shown
    assert [line.startswith("firing") for line in shown].count(True) == 3
    assert "… and 5 more alerts" in shown


async def test_each_tick_adds_to_the_sparkline_and_each_poll_only_once() -> None:
    server = Server(snapshot(group(0.0, region="eu"), time_s=time.time() - 2))
    await server.start()
    async with live(server.url) as screen:
        await until(lambda: written(screen).count("0.0%") >= 2)
        server.answer = snapshot(group(0.2, region="eu"))
        await until(lambda: "20.0%" in written(screen))
        row = next(line for line in frame(screen) if line.startswith("video"))
    await server.stop()
    assert " ▁█ " in row


async def test_a_daemon_that_stops_is_noticed_and_polled_until_it_is_back() -> None:
    server = Server(snapshot(group(0.1, region="eu")))
    await server.start()
    async with live(server.url) as screen:
        await until(lambda: "10.0%" in written(screen))
        await server.stop()
        await until(lambda: any(line.endswith("s: connection refused; retrying") for line in frame(screen)))
        stale = frame(screen)
        server.answer = snapshot(group(0.3, region="eu"))
        await server.start()
        await until(lambda: "30.0%" in written(screen))
        assert not any("no answer" in line for line in frame(screen))
    await server.stop()
    assert any(line.startswith("no answer for ") for line in stale)
    assert "the data below are old" in stale
    assert names(stale) == ["eu"]
    assert written(screen).endswith("\x1b[?25h\x1b[?1049l")


async def test_data_that_grow_old_in_a_daemon_that_answers_are_called_old() -> None:
    data = snapshot(group(0.1, region="eu"), time_s=time.time() - 300)
    async with serving(data) as server, live(server.url) as screen:
        await until(lambda: "the daemon answers, but with old data" in written(screen))
        assert re.search(r"  (299|3\d\d) s old  ", frame(screen)[0])


async def test_where_there_is_no_terminal_each_tick_is_printed_once() -> None:
    screen = console()
    async with serving(snapshot(group(0.1, region="eu"))) as server:
        task = asyncio.create_task(top(screen, server.url, Query()))
        await until(lambda: "10.0%" in written(screen))
        server.answer = snapshot(group(0.2, region="eu"))
        await until(lambda: "20.0%" in written(screen))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert written(screen).count("video") == 2
    assert "\x1b" not in written(screen)


class Command:
    """`qoemon top` as a process; a terminal for standard input or output, or none, as asked."""

    def __init__(self, url: str, *options: str, keyboard: bool = False, screen: bool = False, **env: str) -> None:
        self._master, self._terminal = os.openpty()
        os.set_blocking(self._master, False)
        self._seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qoemon", "top", url, *options],
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"} | env,
            stdin=self._terminal if keyboard else subprocess.DEVNULL,
            stdout=self._terminal if screen else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._master)
        os.close(self._terminal)

    def on_screen(self) -> str:
        """All that was written to the terminal so far."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._master, 65536):
                self._seen += part
        return self._seen.decode()

    async def ended(self) -> tuple[int, str, str]:
        """Exit code, standard output (if it is no terminal) and standard error."""
        out, err = await asyncio.to_thread(self.process.communicate, timeout=WAIT_S)
        return self.process.returncode, (out or b"").decode(), err.decode()


def refused(url: str) -> str:
    return f"qoemon: no snapshot from {url}/api/v1/snapshot: connection refused; expected a running qoemon there\n"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"keyboard": True},
        {"screen": True},
        {"FORCE_COLOR": "1"},
    ],
    ids=str,
)
async def test_without_a_terminal_it_ends_where_no_daemon_is(how: dict[str, Any], unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    async with Command(url, **how) as command:
        code, _, told = await command.ended()
    assert (code, told) == (1, refused(url))


async def test_without_a_terminal_once_ends_where_no_daemon_is(unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    async with Command(url, "--once") as command:
        assert await command.ended() == (1, "", refused(url))


async def test_without_a_terminal_it_ends_when_the_daemon_goes_away() -> None:
    polls = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        return web.json_response(data)

    data = snapshot(group(0.1, region="eu"))
    app = web.Application()
    app.add_routes([web.get("/api/v1/snapshot", answer)])
    runner, port = await serve_app(app)
    async with Command(f"http://127.0.0.1:{port}") as command:
        await until(lambda: polls >= 2, command.process.poll)
        assert command.process.poll() is None
        await runner.cleanup()
        code, printed, told = await command.ended()
    assert (code, told) == (1, refused(f"http://127.0.0.1:{port}"))
    assert printed.count("video") == 1


async def test_on_a_terminal_it_waits_for_a_daemon() -> None:
    server = Server(snapshot(group(0.1, region="eu")))
    await server.start()
    await server.stop()
    async with Command(server.url, keyboard=True, screen=True) as command:
        await until(lambda: "connection refused; retrying" in command.on_screen())
        await server.start()
        await until(lambda: "10.0%" in command.on_screen())
        command.process.terminate()
        await until(lambda: command.on_screen().endswith("\x1b[?1049l"))
        assert (await command.ended())[0] == 0
    await server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_order_and_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    screen = console(terminal=True)
    async with serving(snapshot(group(0.1, region="eu"))) as server:
        task = asyncio.create_task(top(screen, server.url, Query()))
        await until(lambda: "10.0%" in written(screen))
        os.kill(os.getpid(), number)
        await asyncio.wait_for(task, WAIT_S)
    assert written(screen).endswith("\x1b[?25h\x1b[?1049l")


async def test_a_password_in_the_address_is_not_shown() -> None:
    screen = console(200)
    async with serving(snapshot(group(0.1, region="eu"))) as server:
        await top(screen, server.url.replace("//", "//me:secret@"), Query(), once=True)
    assert "127.0.0.1" in written(screen)
    assert "secret" not in written(screen)


async def test_a_real_daemon_is_shown_live(nats: Nats) -> None:
    settings = {
        "mqtt": {"host": "127.0.0.1", "port": nats.port, "version": "3.1.1"},
        "sessions": {"tick": "1s", "rating_interval": "4s", "timeout": "30s", "min_active": "1s"},
        "windows": ["4s", "12s"],
        "http": {"port": 0},
    }
    groups = [{"region": region, "cdn": "a"} for region in ("eu", "us")]
    calm = Population(
        groups, sessions=60, scenario=SCENARIOS["calm"], seed=1, start_s=time.time(), report_every_s=1.0
    )
    async with running(Config.model_validate(settings)) as daemon:
        await until(lambda: daemon.engine.stats.mqtt.subscribed)
        target = broker_at(nats.port, version="3.1.1")
        load = asyncio.create_task(publish(target, calm, qos=1, batch=20))
        async with live(daemon.url, Query(service="video")) as screen:
            await until(lambda: any(re.search(r" [▁-█]{2,}( |$)", line) for line in frame(screen)))
            shown = frame(screen)
        load.cancel()
        await asyncio.wait({load})
    assert "last 4s" in shown[0]
    assert sorted(names(shown)) == ["eu", "us"]
    assert all(re.search(r" \d\.\d\d +\d+% +\d+\.\d% \d+-\d+ ", row) for row in shown if row.startswith("video"))
