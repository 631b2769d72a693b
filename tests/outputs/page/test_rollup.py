"""Sums of groups in a real Chromium: they are chosen like rows of any other table, and alerts lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live_page import SETTINGS, WatchedPage, crowded, rows, wait, wait_for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.parts import Daemon

pytestmark = pytest.mark.chromium

OF_CDN = {"name": "PoorCdn", "threshold": 0.2, "recovery": 0.1, "min_sessions": 5, "by": ["cdn"]}
SUMS = ["video a", "video b", "web a", "web b"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a rule for each CDN."""
    settings = {**SETTINGS, "alerts": [*SETTINGS["alerts"], OF_CDN]}  # type: ignore[misc]
    with crowded(tmp_path_factory.mktemp("rollup"), settings=settings) as (part, _):
        yield part


def test_the_table_shows_a_roll_up_which_is_in_the_address(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.open(daemon, "#sort=name&order=asc")
    assert page.locator("#by option").all_inner_texts() == [
        "each group",
        "sums by region",
        "sums by cdn",
        "sums by note",
        "sum of each service",
    ]
    page.locator("#by").select_option("cdn")
    wait_for_rows(page, lambda names: names == SUMS)
    assert page.locator("#count").inner_text() == "4 sums"
    wait(page, "document.querySelector('#detail-title').textContent.startsWith('service=video, cdn=a')")
    wait(page, "document.querySelector('#chart-shares .plot').data.length >= 3")
    page.locator("#table tbody tr", has_text="web b").click()
    wait(page, "document.querySelector('#detail-title').textContent.startsWith('service=web, cdn=b')")
    page.reload()
    wait(page, "document.querySelector('#table tr[aria-current]')?.innerText.startsWith('web b')")
    assert rows(page) == SUMS
    page.locator("#by").select_option("service")
    wait_for_rows(page, lambda names: names == ["video", "web"])
    page.locator("#filter").fill("web")
    wait_for_rows(page, lambda names: names == ["web"])


def test_an_alert_of_a_sum_leads_to_the_row_of_the_sum_and_the_headline_back_to_a_group(
    watched: WatchedPage, daemon: Daemon
) -> None:
    page = watched.open(daemon)
    wait(page, "document.querySelector('#alert-list').textContent.includes('PoorCdn')")
    page.locator("#alert-list tbody tr", has_text="PoorCdn").locator("button", has_text="video a").click()
    wait_for_rows(page, lambda names: sorted(names) == SUMS)
    wait(page, "document.querySelector('#table tr[aria-current]')?.innerText.startsWith('video a')")
    assert page.locator("#by").input_value() == "cdn"
    wait(page, "document.querySelector('#detail-title').textContent.startsWith('service=video, cdn=a')")
    assert "PoorCdn" in page.locator("#change-list").inner_text()
    page.locator("#hit button.name", has_text="video eu / a").click()
    wait(page, "document.querySelector('#table tr[aria-current]')?.innerText.startsWith('video eu / a')")
    assert page.locator("#by").input_value() == ""
