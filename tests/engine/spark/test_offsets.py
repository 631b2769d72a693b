"""Where batches end, as Spark stores it, and the groups that are full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qoemon.engine.spark.offsets import Cut, full_groups, write_full

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("partitions", [0, 1, 12])
def test_a_cut_is_restored_from_what_spark_stores(partitions: int) -> None:
    """Which writes the keys of a mapping in any order: of twelve, "10" may stand before "2"."""
    cut = Cut(1_700_000_100, tuple(range(7, 7 + partitions)), 64, 10, '{"video":[["eu","a"]]}')
    assert Cut.restored(json.loads(json.dumps(cut.stored(), sort_keys=True))) == cut


def test_full_groups_are_found_where_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "full.json"
    full = {"video": [("île de France", 'a"b'), ("other", "other")], "web": []}
    write_full(file, full)
    assert full_groups(file.read_text("utf-8")) == full
    assert full_groups(Cut(0, (), 1, 10).full) == {}


def test_full_groups_are_written_when_they_change_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "full.json"
    write_full(file, {"video": [("eu",)], "web": [("us",)]})
    before = file.stat().st_ino
    write_full(file, {"web": [("us",)], "video": [("eu",)]})
    assert file.stat().st_ino == before
    write_full(file, {})
    assert full_groups(file.read_bytes()) == {}
    assert [each.name for each in tmp_path.iterdir()] == ["full.json"]
