"""What a demo prints: where its parts are, then a table at each tick."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from qoemon.tools.demo.story import WINDOW, clock, phases
from qoemon.tools.simulate.simulate import GROUPS, Population, Scenario
from qoemon.tools.table import groups_table, legend


def opening(
    url: str, scenario: Scenario, population: Population, port: int, more: Mapping[str, str] | None = None
) -> Group:
    """Addresses of the parts and the phases of the scenario; the page first.

    port  of the broker
    more  addresses of further parts
    """
    story = ", ".join(phases(scenario, population.now_s))
    lines = {
        "metrics": f"{url}/metrics",
        "snapshot": f"{url}/api/v1/snapshot",
        "broker": f"mqtt://127.0.0.1:{port}  topics qoe/v1/{{service}}/{{region}}/{{cdn}}",
        **(more or {}),
        "story": f"{'/'.join(GROUPS[0].values())}: {story}",
    }
    return Group(
        Text(f"page      {url}/  (open it in a browser)", style="bold"),
        *(Text(f"{name:<10}{line}") for name, line in lines.items()),
        Text("Press Ctrl-C to stop.\n"),
    )


async def show(console: Console, snapshots: AsyncIterator[dict[str, Any]], population: Population) -> None:
    """Show a table at each snapshot until cancelled: updated in place on a terminal, appended in a file."""
    worst = _WorstMoment()
    try:
        with Live(console=console, auto_refresh=False) if console.is_terminal else _Plain(console) as screen:
            async for snapshot in snapshots:
                worst.observe(snapshot)
                screen.update(_screen(snapshot, population.phase), refresh=True)
    finally:
        console.print(worst.text(), style="bold", soft_wrap=True, markup=False)


def _screen(snapshot: dict[str, Any], phase: str) -> Group:
    title = f"{clock(snapshot['time_s'])}  estimated ratings, last {WINDOW}  (scenario: {phase})"
    return Group(groups_table(snapshot, WINDOW, title), legend(["1", "2", "3", "4", "5"]))


class _WorstMoment:
    """The group and tick with the highest PoW so far."""

    def __init__(self) -> None:
        self._poor, self._text = 0.0, ""

    def observe(self, snapshot: dict[str, Any]) -> None:
        """Compare the groups of one tick."""
        for service in snapshot["services"]:
            for group in service["groups"]:
                estimate = group["windows"].get(WINDOW)
                if estimate and estimate["pow"] > self._poor:
                    self._poor = estimate["pow"]
                    where = f"{service['service']} {'/'.join(group['labels'].values())}"
                    self._text = (
                        f"{where} at {clock(snapshot['time_s'])}: {estimate['pow']:.0%} of users would rate poor "
                        f"or worse, {estimate['gob']:.0%} good or better"
                    )

    def text(self) -> str:
        """The worst moment as a sentence."""
        return f"Worst moment: {self._text}." if self._text else "Stopped before there were any estimates."


class _Plain:
    """Prints each update; stands in for Live without a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: Group, *, refresh: bool) -> None:
        self._console.print(screen, "")
