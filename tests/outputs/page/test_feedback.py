"""The cards of ratings beside predictions: their figures, and how they look in a real Chromium."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client

from qoemon.core.qoe.scale import ACR5, Scale
from qoemon.outputs.page.feedback import MOST_BARS, feedback_card, pools
from tests.support.core import VIDEO, WEB
from tests.support.feedback import feedback_of
from tests.support.live_page import SETTINGS, WatchedPage, texts, wait
from tests.support.parts import Daemon, Nats
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

    from qoemon.core.plan.plan import Service

HUNDRED = replace(WEB, scale=Scale(low=0, high=100, good=60, poor=40))


def card_of(ratings: list[int], service: Service = VIDEO, **users: Any) -> dict[str, Any]:
    return feedback_card(feedback_of(ratings, service=service, **users), service, 0.95)


@pytest.mark.parametrize(
    ("scale", "first", "last", "number"),
    [
        (ACR5, "1", "5", 5),
        (Scale(0, 10, 6, 4), "0", "10", 11),
        (Scale(0, 11, 6, 4), "0–1", "10–11", 6),
        (Scale(1, 20, 12, 8), "1–2", "19–20", 10),
        (Scale(0, 100, 60, 40), "0–9", "90–100", 10),
    ],
)
def test_many_ratings_are_pooled_into_few_bars(scale: Scale, first: str, last: str, number: int) -> None:
    bars = card_of([100] * 28, replace(VIDEO, scale=scale, mapping=WEB.mapping))["bars"]
    assert len(pools(scale)) == number <= MOST_BARS
    assert (bars["labels"][0], bars["labels"][-1]) == (first, last)
    assert sum(bars["ratings"]) == 2800
    assert sum(bars["expected"]) == pytest.approx(2800, abs=0.1)


def test_charts_of_a_model_that_is_off_are_of_the_days_since_then() -> None:
    """As the sentence is."""
    card = card_of([70] * 28, shift=[0.0] * 14 + [-0.35] * 14)
    assert (card["period"], card["days"], card["rated"]) == ("since 2024-10-18", 14, 980)
    assert sum(card["bars"]["ratings"]) == sum(each["rated"] for each in card["classes"]) == 980
    assert all(each["upper"] < 0 for each in card["classes"])


def cards(ratings: int) -> list[dict[str, Any]]:
    """Of video and web after so many ratings of each, those of web from 0 to 100; the model of video is off."""
    if ratings < 30:
        return [card_of([ratings]), card_of([ratings], HUNDRED)]
    days = [ratings // 28] * 28
    return [card_of(days, shift=[0.0] * 14 + [-0.35] * 14), card_of(days, HUNDRED)]


@pytest.mark.chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(400, 800), (1280, 800), (3840, 2160)], ids=["phone", "laptop", "wall"])
def test_cards_are_complete_and_readable_at_every_size_in_both_themes(
    browser: Browser, daemon: Daemon, size: tuple[int, int], theme: Any, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    context.set_default_timeout(1000 * WAIT_S)
    for ratings in (0, 20, 2000):
        watched = WatchedPage(context.new_page())
        page = with_cards(watched, daemon, cards(ratings))
        page.screenshot(path=str(tmp_path / f"{ratings}.png"), full_page=True)  # To look at after a failure.
        assert page.locator("#feedback article").count() == 2
        assert page.locator("#feedback figure:visible").count() == (4 if ratings == 2000 else 0)
        looks = page.evaluate(LOOKS)
        assert looks["wide"] == []
        assert looks["cut"] == []
        assert looks["overlaps"] == []
        assert looks["faint"] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert watched.console == []
        page.unroute_all(behavior="ignoreErrors")
    context.close()


def with_cards(watched: WatchedPage, daemon: Daemon, shown: list[dict[str, Any]]) -> Page:
    """The daemon's page with these cards, since four weeks of ratings do not fit into a test."""

    def replaced(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"feedback": shown})

    watched.page.route("**/api/v1/groups?*", replaced)
    page = watched.open(daemon)
    charts = 2 * sum(card["known"] == "compared" for card in shown)
    wait(page, f"document.querySelectorAll('#feedback figure:not([hidden]) .xtitle').length === {charts}")
    wait(page, f"document.querySelectorAll('#feedback .said').length === {len(shown)}")
    return page


LOOKS = """() => {
  const box = (element) => element.getBoundingClientRect();
  const all = [...document.querySelectorAll('#feedback *')].filter((element) => box(element).width);
  const wide = all.filter((element) => box(element).right > innerWidth + 1).map((element) => element.outerHTML);
  const cut = [], overlaps = [];
  const beside = (a, b) => a.right - 1 <= b.left || b.right - 1 <= a.left;
  const meet = (a, b) => !beside(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  for (const figure of document.querySelectorAll('#feedback figure:not([hidden])')) {
    const plot = box(figure.querySelector('.plot'));
    const texts = [...figure.querySelectorAll('.main-svg text')];
    const labels = texts.filter((text) => text.textContent && box(text).width);
    const aside = (b) => b.left < plot.left - 1 || b.right > plot.right + 1;
    const out = (b) => aside(b) || b.top < plot.top - 1 || b.bottom > plot.bottom + 1;
    cut.push(...labels.filter((text) => out(box(text))).map((text) => text.textContent));
    labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
      if (meet(box(a), box(b))) overlaps.push(`${a.textContent} | ${b.textContent}`);
    }));
  }
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((each) => channel(each / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const panel = light(getComputedStyle(document.querySelector('#feedback')).backgroundColor);
  const contrast = (one) => (Math.max(one, panel) + 0.05) / (Math.min(one, panel) + 0.05);
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const ink = (element) => getComputedStyle(element)[element.closest('svg') ? 'fill' : 'color'];
  const faint = all.filter((element) => own(element) && contrast(light(ink(element))) < 4.5);
  return { wide, cut, overlaps, faint: faint.map((element) => `${element.textContent} ${ink(element)}`) };
}"""
"""Elements beyond the window, labels of charts that are cut or overlap, texts with less contrast than WCAG AA."""


@pytest.mark.chromium
def test_cards_of_many_ratings_show_what_users_said_beside_the_prediction(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = with_cards(watched, daemon, cards(2000))
    assert texts(page, "#feedback h3 .badge") == ["▲ model is off", "● model holds"]
    said = texts(page, "#feedback .said")
    assert said[0].startswith("The model is off: since 2024-10-18 users rate 0.")
    assert "among those who answered (33 % of" in said[0]
    assert texts(page, "#feedback code") == ["qoemon feedback fit video"]
    assert said[1].startswith("The model holds: users rate ")
    drawn = page.evaluate(
        "[...document.querySelectorAll('#feedback-video .plot')].map((p) => p.data.map((t) => [t.name, t.y]))"
    )
    (rated, expected), ((_, apart),) = drawn
    assert (rated[0], expected[0]) == ("users rated", "predicted")
    assert (sum(rated[1]), sum(expected[1])) == pytest.approx((100, 100), abs=0.01)
    assert rated[1][0] > expected[1][0]
    assert rated[1][4] < expected[1][4]
    assert len(apart) == 4
    assert max(apart) < 0
    page.locator("#feedback-classes-video summary").click()
    wait(page, "document.querySelectorAll('#feedback-classes-video tbody tr').length === 4")
    heads = page.locator("#feedback-classes-video th").all_inner_texts()
    assert heads == ["predicted MOS", "ratings", "asked", "mean rating", "predicted mean", "difference", "interval"]
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.chromium
def test_without_plotly_cards_have_tables(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.page
    page.route("**/plotly.min.js", lambda route: route.fulfill(status=404, body="not here"))
    page.route(
        "**/api/v1/groups?*",
        lambda route: route.fulfill(json=route.fetch().json() | {"feedback": cards(2000)}),
    )
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    page.wait_for_selector("#feedback-ratings-video table")
    assert page.locator("#feedback-ratings-video tbody tr").count() == 5
    assert page.locator("#feedback-ratings-web tbody tr").count() == 10
    page.unroute_all(behavior="ignoreErrors")
    watched.console = [message for message in watched.console if "404" not in message]


@pytest.mark.chromium
def test_ratings_that_clients_send_become_counts_and_then_charts(watched: WatchedPage, tmp_path: Path) -> None:
    """All the way: nobody rates, then 20 users, then 2,000."""
    with Nats(tmp_path) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "version": "3.1.1", "qos": 0}
        with Daemon(tmp_path, {"mqtt": mqtt, **SETTINGS}) as daemon:
            page = watched.page
            page.goto(f"http://127.0.0.1:{daemon.port}/")
            nobody = (
                "Nobody rated video in the last 28 days, and nobody was asked to. How to ask: docs/feedback.md."
            )
            wait(page, f"document.querySelector('#feedback-video .said')?.textContent === {json.dumps(nobody)}")
            assert page.locator("#feedback .badge:visible, #feedback figure:visible").count() == 0
            crowd = Raters(broker.port)
            said = page.locator("#feedback-video .said")
            crowd.rate_until(20, lambda: said.inner_text().startswith("20 ratings "))
            assert "(50 % of 40 asked)" in said.inner_text()
            assert "10 more ratings are needed" in said.inner_text()
            assert page.locator("#feedback-video figure:visible").count() == 0
            counts = page.locator("#feedback-video p").nth(1).inner_text().replace("\xa0", " ")
            assert counts == "Ratings so far: 1 bad × 4, 2 poor × 4, 3 fair × 4, 4 good × 4, 5 excellent × 4."
            crowd.rate_until(2000, lambda: ", by 2,000 ratings on " in said.inner_text())
            crowd.close()
            assert said.inner_text().startswith("The model is not checked yet: 5 complete days")
            wait(page, "document.querySelectorAll('#feedback-video .xtitle').length === 2")


PAUSE_S = 0.5
"""Between reports of raters: more would only load the machine."""


class Raters:
    """Users who watch without a stall and rate 1 to 5 in turn; twice as many are asked."""

    def __init__(self, port: int) -> None:
        self._began_s = time.time()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def rate_until(self, number: int, seen: Callable[[], bool]) -> None:
        """So many users rate, again and again: before its first rating interval, no session can be rated."""
        last_s = 0.0

        def another() -> bool:
            nonlocal last_s
            if time.monotonic() > last_s + PAUSE_S:
                self._publish(number)
                last_s = time.monotonic()
            return seen()

        until(another)

    def _publish(self, number: int) -> None:
        watched_s = time.time() - self._began_s
        asked = [{"session": f"{each}", "asked": True, "play_s": watched_s} for each in range(2 * number)]
        rated = [{"session": f"{each}", "rating": 1 + each % 5} for each in range(number)]
        for reports in (asked, rated):
            for begin in range(0, len(reports), 500):
                self._client.publish("qoe/v1/video/eu/a", json.dumps(reports[begin : begin + 500]))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
