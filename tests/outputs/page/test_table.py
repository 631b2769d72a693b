"""The table of groups in a real Chromium: it reaches every group, and says so when there is nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live_page import WatchedPage, crowded, rows, wait, wait_for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Route

    from tests.support.parts import Daemon

pytestmark = pytest.mark.chromium

GROUPS = [(f"r{number:02}", "a", "") for number in range(33)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with more groups than a page of the table has rows."""
    with crowded(tmp_path_factory.mktemp("table"), GROUPS, viewers=3, readers=0) as (part, _):
        yield part


def test_every_group_can_be_reached_in_pages_of_a_few_rows(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon, "#sort=name&order=asc")
    wait_for_rows(page, lambda names: len(names) == len(GROUPS))
    page.locator("#rows").select_option("10")
    seen = []
    for begin in range(0, len(GROUPS), 10):
        end = min(begin + 10, len(GROUPS))
        wait(page, f"document.querySelector('#range').textContent === '{begin + 1}–{end} of {len(GROUPS)}'")
        assert page.locator("#table tbody tr").count() == end - begin
        seen += rows(page)
        assert page.locator("#next").is_disabled() is (end == len(GROUPS))
        if end < len(GROUPS):
            page.locator("#next").click()
    assert seen == [f"video {region} / a / –" for region, _, _ in GROUPS]
    page.locator("#previous").click()
    wait(page, f"document.querySelector('#range').textContent === '21–30 of {len(GROUPS)}'")
    page.reload()
    wait(page, f"document.querySelector('#range').textContent === '21–30 of {len(GROUPS)}'")


def test_from_rows_in_the_middle_of_a_page_the_way_back_leads_to_the_first(
    watched: WatchedPage, daemon: Daemon
) -> None:
    """As in a link from a phone, whose pages are shorter."""
    page = watched.open(daemon, "#sort=name&order=asc&rows=10&offset=5")
    wait(page, f"document.querySelector('#range').textContent === '6–15 of {len(GROUPS)}'")
    page.locator("#previous").click()
    wait(page, f"document.querySelector('#range').textContent === '1–10 of {len(GROUPS)}'")


def test_a_filter_that_matches_nothing_says_so_and_can_be_cleared(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon)
    page.locator("#filter").fill("nowhere")
    wait(page, "document.querySelector('#none-text').textContent === 'No group matches \"nowhere\".'")
    assert page.locator("#table-frame").is_hidden()
    page.locator("#clear").click()
    wait_for_rows(page, lambda names: len(names) == len(GROUPS))
    assert page.locator("#none").is_hidden()
    assert page.locator("#filter").input_value() == ""
    assert "filter" not in page.url


def test_groups_without_data_are_one_line_that_unfolds(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.page
    page.route("**/api/v1/groups?*", two_empty)
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    wait(page, "document.querySelector('#empty').textContent === 'Show 2 groups without data'")
    with page.expect_request(lambda request: "empty=true" in request.url):
        page.locator("#empty").click()
    wait(page, "document.querySelector('#empty').textContent === 'Hide 2 groups without data'")
    assert "empty=true" in page.url
    page.unroute_all(behavior="ignoreErrors")


def two_empty(route: Route) -> None:
    response = route.fetch()
    route.fulfill(response=response, json=response.json() | {"empty": 2})


def test_the_menu_sorts_like_a_click_on_a_head(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon)
    assert page.locator("#sort").input_value() == "excess"
    page.locator("#sort").select_option("name")
    # The rows may have been in this order before; the head says by what they are sorted, once the answer is there.
    page.locator("#table th[aria-sort=ascending]", has_text="group").wait_for()
    assert rows(page) == sorted(rows(page))
    assert "sort=name" in page.url
    page.locator("#table th button", has_text="group").click()
    wait_for_rows(page, lambda names: len(names) > 1 and names == sorted(names, reverse=True))


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1280, 800), (2560, 1440)])
def test_rows_are_neither_too_wide_to_follow_nor_too_tall_to_scan(
    browser: Browser, daemon: Daemon, width: int, height: int
) -> None:
    """In units of the text's size: a row is at most 84 wide, and a card of a phone at most two lines tall."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = WatchedPage(context.new_page()).open(daemon)
    sizes = page.evaluate(SIZES)
    assert sizes["width"] <= 84
    assert sizes["height"] <= (5 if width == 400 else 3.5)
    context.close()


SIZES = """() => {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const boxes = [...document.querySelectorAll('#table tbody tr')].map((row) => row.getBoundingClientRect());
  const most = (name) => Math.max(...boxes.map((box) => box[name])) / rem;
  return { width: most('width'), height: most('height') };
}"""
