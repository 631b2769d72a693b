"""Time ranges in a real Chromium: figures of the history, the day before, what can be saved, and past alerts."""

from __future__ import annotations

import csv
import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support.live_page import SETTINGS, WatchedPage, crowded, wait
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

    from tests.support.parts import Daemon

pytestmark = pytest.mark.chromium

GROUP = "#service=video&label.region=eu&label.cdn=a&label.note="
QUESTION = "/api/v1/history?service=video&region=eu&cdn=a&note="
DAY_S = 86400


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a state directory, and some steps of history."""
    directory = tmp_path_factory.mktemp("range")
    with crowded(directory, settings={**SETTINGS, "state": {"dir": str(directory / "state")}}) as (part, _):
        until(lambda: len(steps(part)) >= 3, part.log.read_text)
        yield part


def steps(part: Daemon) -> list[int]:
    """Ends of the steps with data of the group in the last hour."""
    answer = part.get(QUESTION)
    if answer.status != 200:
        return []
    past = json.loads(answer.body)
    of_group = past["series"][0]["observations"] if past["series"] else []
    return [time_s for time_s, count in zip(past["times_s"], of_group, strict=False) if count]


def drawn(page: Page, chart: str) -> dict[str, list[float]]:
    """The values of each line of a chart, by its name."""
    lines = page.evaluate(f"document.querySelector('#{chart} .plot').data.map((line) => [line.name, line.y])")
    return {name: [value for value in values if value is not None] for name, values in lines}


def titled(text: str) -> str:
    return f"document.querySelector('#chart-shares h3').textContent.includes({json.dumps(text)})"


def test_a_range_shows_the_figures_of_the_history_and_what_is_kept(watched: WatchedPage, kept: Daemon) -> None:
    page = watched.open(kept, GROUP)
    page.locator("#span").select_option("6h")
    wait(page, titled("last 6 h"))
    wait(page, "document.querySelector('#chart-shares .source').textContent.includes('Whole range')")
    assert "range=6h" in page.url
    source = page.locator("#chart-shares .source").inner_text()
    totals = r"PoW \d+\s% \(95\s% CI \d+–\d+\s%\), 40 users\. Resolution \d+\ss; kept for 30 days, "
    assert re.search(totals, source)
    assert source.replace("\xa0", " ").endswith("5 min beyond 2 days.")
    past = json.loads(kept.get(QUESTION).body)["series"][0]
    newest = next(value for value in reversed(past["pow"]) if value is not None)
    assert any(value == pytest.approx(100 * newest, abs=15) for value in drawn(page, "chart-shares")["PoW"])
    assert page.locator("#kept").is_hidden()
    page.go_back()
    wait(page, "document.querySelector('#span').value === ''")
    wait(page, "document.querySelector('#chart-shares .source').textContent.includes('qoemon_pow_ratio')")


def test_dragging_zooms_and_the_address_restores_the_range(watched: WatchedPage, kept: Daemon) -> None:
    page = watched.open(kept, GROUP)
    place = page.locator("#chart-shares .nsewdrag")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=8)
    page.mouse.up()
    wait(page, "location.hash.includes('&from=') && location.hash.includes('&to=')")
    wait(page, "document.querySelector('#span').value === 'free'")
    wait(page, "document.querySelector('#chart-shares .source').textContent.includes('kept for')")
    url, title = page.url, page.locator("#chart-shares h3").inner_text()
    ends = [page.locator(f"#{name}").input_value() for name in ("from", "to")]
    page.goto("about:blank")
    page.goto(url)
    wait(page, titled(title))
    assert [page.locator(f"#{name}").input_value() for name in ("from", "to")] == ends


def test_the_day_before_is_a_dashed_line_at_the_times_of_the_day(watched: WatchedPage, kept: Daemon) -> None:
    page, now_s = watched.page, int(time.time())
    page.route("**/api/v1/history?*", lambda route: of_yesterday(route, now_s))
    from_s, to_s = now_s - 1800, now_s
    page.goto(f"http://127.0.0.1:{kept.port}/{GROUP}&from={from_s}&to={to_s}&compare=true")
    wait(page, "document.querySelector('#chart-shares .plot')?.data?.some(({name}) => name === 'PoW, day before')")
    lines = drawn(page, "chart-shares")
    assert lines["PoW, day before"] == pytest.approx([100 - value for value in lines["PoW"]])
    times = page.evaluate(
        "document.querySelector('#chart-shares .plot').data.filter(({name}) => /^PoW($|, d)/.test(name))"
        ".map(({x, line}) => [x, line.dash])"
    )
    assert times[0][0] == times[1][0]
    assert [dash for _, dash in times] == [None, "dash"]
    assert "MOS, day before" in drawn(page, "chart-opinion")
    page.locator("#compare").press("Space")  # a click may miss it, while charts above it are drawn
    wait(page, "document.querySelector('#chart-shares .plot').data.every(({name}) => name !== 'PoW, day before')")
    page.unroute_all(behavior="ignoreErrors")


def of_yesterday(route: Route, now_s: int) -> None:
    """The answer of the daemon; questions about yesterday get the figures of today, with PoW upside down."""
    parts = urlsplit(route.request.url)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if int(query["to"]) > now_s - DAY_S / 2:
        route.continue_()
        return
    today = query | {name: str(int(query[name]) + DAY_S) for name in ("from", "to")}
    answer = route.fetch(url=parts._replace(query=urlencode(today)).geturl()).json()
    answer["times_s"] = [time_s - DAY_S for time_s in answer["times_s"]]
    for series in answer["series"]:
        series["pow"] = [None if value is None else 1 - value for value in series["pow"]]
    route.fulfill(json=answer)


def test_the_figures_can_be_saved_as_csv_and_a_chart_as_png(
    watched: WatchedPage, kept: Daemon, tmp_path: Path
) -> None:
    page = watched.open(kept, f"{GROUP}&range=24h")
    wait(page, "document.querySelector('#chart-shares .source').textContent.includes('Whole range')")
    with page.expect_download() as saved:
        page.locator("#csv").click()
    saved.value.save_as(tmp_path / "figures.csv")
    lines = list(csv.DictReader((tmp_path / "figures.csv").read_text().splitlines()))
    assert len(lines) >= 3
    assert {(line["region"], line["cdn"], line["note"]) for line in lines} == {("eu", "a", "")}
    with page.expect_download() as saved:
        page.locator("#chart-shares button", has_text="PNG").click()
    saved.value.save_as(tmp_path / "chart.png")
    assert saved.value.suggested_filename == "qoemon-chart-shares.png"
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("hash_", "sentence"),
    [
        ("&from=5&to=4", "From is 5, expected a time before to=4."),
        ("&from=now", "From is 'now', expected seconds since the epoch, or a time such as 2026-11-28T21:00:00Z."),
        ("&range=6h", "8 questions about the past are being answered, which is the limit: try again."),
        ("&from=5&to=3605", "No data in this time range."),
    ],
)
def test_instead_of_a_chart_there_is_a_sentence_on_what_is_wrong(
    watched: WatchedPage, kept: Daemon, hash_: str, sentence: str
) -> None:
    page = watched.page
    if "limit" in sentence:
        busy = sentence[:-1] + "\n"
        page.route("**/api/v1/history?*", lambda route: route.fulfill(status=503, body=busy))
    page.goto(f"http://127.0.0.1:{kept.port}/{GROUP}{hash_}")
    for chart in ("chart-shares", "chart-opinion"):
        wait(page, f"document.querySelector('#{chart} .problem')?.textContent === {json.dumps(sentence)}")
        assert page.locator(f"#{chart} .plot").is_hidden()
    wait(page, "document.querySelectorAll('#chart-ratings .main-svg').length > 0")
    page.unroute_all(behavior="ignoreErrors")
    watched.console = [message for message in watched.console if "Failed to load resource" not in message]


def test_without_a_state_directory_the_page_says_why_it_has_one_hour_only(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = watched.open(daemon, GROUP)
    page.wait_for_selector("#kept:visible")
    assert (
        page.locator("#kept").inner_text().startswith("Only the last hour is kept, in memory: the daemon has no ")
    )
    assert page.locator("#span option:disabled").all_inner_texts() == [
        "last 6 h",
        "last 24 h",
        "last 7 days",
        "last 30 days",
    ]


def test_past_alerts_of_the_range_have_their_reasons_and_lead_to_their_group(
    watched: WatchedPage, kept: Daemon
) -> None:
    page = watched.open(kept, f"{GROUP.replace('eu', 'us')}&range=7d")
    assert page.locator("#past-title").inner_text() == "Alerts that fired, all groups, last 7 days"
    row = page.locator("#past-list tbody tr", has_text="video eu / a / –").last
    row.wait_for()
    shown = " ".join(row.inner_text().split())
    assert re.match(r"Poor \(warning\) video eu / a / – \d\d:\d\d:\d\d \d\d:\d\d:\d\d ", shown)
    assert "still firing PoW" in shown
    assert shown.endswith("beyond the threshold for long enough")
    row.locator("button").click()
    wait(page, "document.querySelector('#detail-title').textContent.includes('region=eu, cdn=a')")
    assert "range=7d" in page.url
    page.locator("#span").select_option("free")
    page.locator("#from").fill("2026-01-01T00:00")
    page.locator("#to").fill("2026-01-02T00:00")
    wait(page, "document.querySelector('#past-list').textContent === 'None.'")


@pytest.mark.parametrize(("theme", "size"), [("light", (400, 800)), ("dark", (1280, 800)), ("dark", (2560, 1440))])
def test_a_range_of_days_fits_every_size(
    browser: Browser, kept: Daemon, theme: str, size: tuple[int, int], tmp_path: Path
) -> None:
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    context.set_default_timeout(1000 * WAIT_S)
    page = WatchedPage(context.new_page()).open(kept, f"{GROUP}&range=7d")
    wait(page, "document.querySelector('#chart-shares .source').textContent.includes('Whole range')")
    page.screenshot(path=str(tmp_path / f"range-{width}.png"), full_page=True)  # To look at after a failure.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT) == []
    context.close()


CUT = """() => [...document.querySelectorAll('#charts figure:not([hidden])')].flatMap((figure) => {
  const plot = figure.querySelector('.plot').getBoundingClientRect();
  const labels = [...figure.querySelectorAll('.main-svg text')];
  return labels.filter((text) => {
    const box = text.getBoundingClientRect();
    if (!box.width) return false;
    return box.left < plot.left - 1 || box.right > plot.right + 1 || box.bottom > plot.bottom + 1;
  }).map((text) => text.textContent);
})"""
