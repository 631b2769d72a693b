"""Gaps in the charts over time, in a real Chromium: nothing is drawn where nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_page import WatchedPage, wait

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from tests.support.parts import Daemon

pytestmark = pytest.mark.chromium

TICK_S = 10
TIMES_S = [*range(0, 600, TICK_S), *range(1200, 1800, TICK_S)]
"""A tick every 10 s, but none for 10 minutes."""
UNRATED = {*range(20, 31), 50, 52}
"""Ticks without a rating: a long gap, and a single rated tick between two short ones."""
RATED = [number not in UNRATED for number in range(len(TIMES_S))]


def gapped(time_s: int) -> dict[str, list[Any]]:
    """An hour of a group that ends at time_s, with gaps: PoW at .4, its interval from .3 to .6."""
    values = {"mos": 3.0, "gob": 0.3, "pow": 0.4, "pow_lower": 0.3, "pow_upper": 0.6, "users": 40.0}
    past: dict[str, list[Any]] = {
        name: [value if rated else None for rated in RATED] for name, value in values.items()
    }
    return past | {"times_s": [time_s - TIMES_S[-1] + at for at in TIMES_S]}


def with_gaps(route: Route) -> None:
    """The answer of the daemon, with the gapped hour as that of every group."""
    response = route.fetch()
    answer = response.json()
    past = gapped(answer["time_s"])
    for part in (answer, answer["detail"]):
        part["tick_s"] = TICK_S
    answer["detail"]["past"], answer["times_s"] = past, past["times_s"]
    for row in answer["rows"]:
        row["pow_trend"] = past["pow"]
    route.fulfill(response=response, json=answer)


def test_the_band_of_the_bounds_covers_what_is_known_and_no_gap(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.page
    page.route("**/api/v1/groups?*", with_gaps)
    page.goto(f"http://127.0.0.1:{daemon.port}/#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, f"({COVERED})({MIDDLES}).some((covered) => covered)")
    covered = page.evaluate(COVERED, [at / TIMES_S[-1] for at in middles()])
    assert dict(zip(middles(), covered, strict=True)) == {at: known(at) for at in middles()}
    assert (
        page.evaluate("document.querySelector('#chart-shares .js-fill').getAttribute('d').split('M').length") == 6
    )
    legend = page.locator("#chart-shares .legendtext").all_text_contents()
    assert "PoW, 95 % interval" in [" ".join(text.split()) for text in legend]
    page.unroute_all(behavior="ignoreErrors")


def middles() -> list[float]:
    """The middles between ticks, and the lone tick itself instead of the edges of its own small shape."""
    between = [at + TICK_S / 2 for at in range(0, TIMES_S[-1], TICK_S)]
    return [*(at for at in between if abs(at - TIMES_S[51]) > TICK_S), float(TIMES_S[51]) + 1]


def known(at: float) -> bool:
    """Whether both ticks around a time are rated, or it is within half a tick of the lone one."""
    if abs(at - TIMES_S[51]) < TICK_S / 2:
        return True
    rated_s = {time_s for time_s, rated in zip(TIMES_S, RATED, strict=True) if rated}
    return {at - TICK_S / 2, at + TICK_S / 2} <= rated_s


MIDDLES = "[0.02, 0.5, 0.98]"

COVERED = """(shares) => {
  const fill = document.querySelector('#chart-shares .js-fill');
  if (!fill) return [];
  const box = fill.getBBox();
  return shares.map((share) =>
    fill.isPointInFill(new DOMPoint(box.x + share * box.width, box.y + box.height / 2)));
}"""


def test_the_small_lines_of_the_table_have_the_same_gaps(watched: WatchedPage, daemon: Daemon) -> None:
    page = watched.page
    page.route("**/api/v1/groups?*", with_gaps)
    page.goto(f"http://127.0.0.1:{daemon.port}/#service=video&label.region=eu&label.cdn=a&label.note=")
    wait(page, "document.querySelectorAll('#table .sparkline path').length > 0")
    path = page.locator("#table .sparkline path").first.get_attribute("d") or ""
    assert path.count("M") == 5
    page.unroute_all(behavior="ignoreErrors")
