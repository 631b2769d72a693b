"""What real players report is counted as what really happened, by the events of their <video> elements."""

from __future__ import annotations

import asyncio
import csv
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.config.config import Config
from qoemon.core.plan.plan import Players
from tests.support.recorder import recorder
from tests.support.viewing import HEARTBEAT_S, Truth, Viewer, Viewing, chromium, lived, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONG_S = 1.0
SLACK_S = 0.2
"""A busy page hears of a state some events after its player."""

pytestmark = [pytest.mark.chromium, pytest.mark.players]

PATH = "/cmcd/v1/video"
SETTINGS = {
    "mqtt": None,
    "collector": {"port": 0, "paths": [{"template": f"{PATH}/{{view}}", "service": "video"}]},
    "services": {"video": {"mapping": "video-stall", "theta": 0.3}},
    "alerts": [],
}
CONFIG = Config.model_validate(SETTINGS)
SHORTEST_S = Players().shortest_stall_s


async def undisturbed(viewing: Viewing) -> None:
    await viewing.played(16)


async def stall(viewing: Viewing) -> None:
    await viewing.played(6)
    await viewing.stalled(5)
    await viewing.resumed()
    await viewing.played(18)


async def seek(viewing: Viewing) -> None:
    await viewing.played(6)
    await viewing.sought(100, held_s=2.5)
    await viewing.played(14)


async def closed(viewing: Viewing) -> None:
    """While it stalls."""
    await viewing.played(6)
    await viewing.stalled(4)


KINDS = ("hls.js", "dash.js", "shaka")
STORIES = {story.__name__: story for story in (undisturbed, stall, seek, closed)}
BY_CMCD = {f"{kind}-{name}": Viewer(kind, "cmcd", story) for kind in KINDS for name, story in STORIES.items()}
VIEWERS = BY_CMCD | {f"player.js-{name}": Viewer("shaka", "player.js", STORIES[name]) for name in ("stall", "seek")}


class Counted(NamedTuple):
    """A session as it was counted."""

    stall_count: int
    stall_s: float
    play_s: float


class Session(NamedTuple):
    """A session as it was, and as it was counted."""

    truth: Truth
    counted: Counted


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    """All viewers."""
    prepare()
    folder = tmp_path_factory.mktemp("players")

    async def watched() -> dict[str, Truth]:
        assert CONFIG.collector is not None
        async with (
            chromium(folder) as browser,
            recorder(CONFIG.collector, folder / "recording.jsonl.gz") as collector,
        ):
            return await lived(browser, f"{collector}{PATH}", VIEWERS)

    truths, counted = asyncio.run(watched()), replayed(folder)
    return {name: Session(truth, counted[name]) for name, truth in truths.items()}


def replayed(folder: Path) -> Mapping[str, Counted]:
    """What each session of the recording is counted with, by name."""
    configuration, out = folder / "qoemon.yaml", folder / "sessions.csv"
    configuration.write_text(json.dumps(SETTINGS))
    command = ["replay", str(folder / "recording.jsonl.gz"), "-c", str(configuration), "--sessions", str(out)]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    with out.open() as rows:
        return {
            row["session"]: Counted(int(row["stall_count"]), float(row["stall_s"]), float(row["play_s"]))
            for row in csv.DictReader(rows)
        }


@pytest.mark.parametrize("name", [name for name in VIEWERS if not name.endswith("closed")])
def test_a_viewing_is_counted_as_it_was(sessions: Mapping[str, Session], name: str) -> None:
    truth, counted = sessions[name]
    # A machine with much else to do may add stalls of its own, some too short to be counted.
    assert sum(stall_s > LONG_S for stall_s in truth.stalls) >= name.endswith("stall"), truth
    certain = sum(stall_s > SHORTEST_S + SLACK_S for stall_s in truth.stalls)
    possible = sum(stall_s > SHORTEST_S - SLACK_S for stall_s in truth.stalls)
    assert certain <= counted.stall_count <= possible, truth
    assert counted.stall_s == pytest.approx(
        sum(truth.stalls), abs=SLACK_S + SHORTEST_S * (len(truth.stalls) - certain)
    )
    assert played_as_told(truth, counted), truth


@pytest.mark.parametrize("kind", KINDS)
def test_a_stall_in_which_the_tab_is_closed_goes_on(sessions: Mapping[str, Session], kind: str) -> None:
    """As the viewer never saw its end."""
    truth, counted = sessions[f"{kind}-closed"]
    assert truth.stalled
    assert counted.stall_count == len(truth.stalls)
    assert counted.stall_s >= sum(truth.stalls) - HEARTBEAT_S
    assert played_as_told(truth, counted), truth


def played_as_told(truth: Truth, counted: Counted) -> bool:
    """Whether the time that was counted as played fits to what the viewer lived through.

    The page ends without a word: what was played since the last heartbeat is not known. A player tells that it
    plays as soon as the element does, also while media does not move yet, or not as fast as it should.
    """
    slack_s = 0.6 + HEARTBEAT_S
    return truth.play_s - slack_s <= counted.play_s <= max(truth.play_s, truth.playing_s) + slack_s
