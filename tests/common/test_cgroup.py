"""The memory limit of a control group is the least of it and its parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qoemon.common.cgroup import memory_limit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("limits", "group", "limit"),
    [
        ({"a": "1000", "a/b": "2000"}, "/a/b", 1000),
        ({"a": "max", "a/b": "2000"}, "/a/b", 2000),
        ({"a": "max", "a/b": "max"}, "/a/b", None),
        ({"": "3000"}, "/", 3000),
        ({"": "3000"}, "/of/the/host/and/not/seen/here", 3000),
        ({}, "/a", None),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, limits: dict[str, str], group: str, limit: int | None) -> None:
    for folder, text in limits.items():
        (tmp_path / "fs" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / folder / "memory.max").write_text(f"{text}\n")
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/x\n0::{group}\n")
    assert memory_limit(tmp_path / "fs", tmp_path / "cgroup") == limit


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path, tmp_path / "missing") is None
