"""A user's own mapping, found by the entry point that its package declares."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qoemon.config import plugins
from qoemon.config.config import load
from qoemon.config.yaml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = """
import numpy as np
from qoemon import Qos, QosMapping

MY_GAME = QosMapping(
    name="my-game",
    qos=Qos.MEASURES,
    inputs=("ping_ms",),
    formula=lambda ping_ms, *, half_ms: 1 + 4 / (1 + ping_ms / half_ms),
    parameters={"half_ms": 100.0},
    source="a study of ours",
    fitted_on="0 to 300 ms",
)
NO_MAPPING = 42
"""

CONFIG = "services: {{game: {{mapping: {name}, theta: 0.2, parameters: {{half_ms: 50}}}}}}\nalerts: []"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package: a module, and what pip writes of its entry points."""
    (tmp_path / "games_of_ours.py").write_text(MODULE)
    metadata = tmp_path / "games_of_ours-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: games-of-ours\nVersion: 1.0\n")
    points = ("my-game = games_of_ours:MY_GAME", "odd = games_of_ours:NO_MAPPING", "gone = games_of_ours:GONE")
    (metadata / "entry_points.txt").write_text("\n".join(["[qoemon.mappings]", *points]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("games_of_ours", None)


def test_a_package_adds_a_mapping_that_the_configuration_can_name(package: Path) -> None:
    file = package / "qoemon.yaml"
    file.write_text(CONFIG.format(name="my-game"))
    (game,) = load(file, {}).core_services()
    assert game.mapping.parameters == {"half_ms": 50}
    assert game.mapping.reach.tolist() == pytest.approx([1.0, 5.0], abs=1e-6)
    assert "my-game" in plugins.names()


@pytest.mark.parametrize(
    ("name", "words"), [("odd", "expected a QosMapping"), ("gone", "games_of_ours:GONE fails")]
)
def test_an_entry_point_without_a_mapping_is_an_error_with_its_line(package: Path, name: str, words: str) -> None:
    file = package / "qoemon.yaml"
    file.write_text(CONFIG.format(name=name))
    with pytest.raises(ConfigError, match=words) as caught:
        load(file, {})
    assert caught.value.problems[0].line == 1


def test_own_names_come_before_those_of_packages(package: Path) -> None:
    names = plugins.names()
    assert names.index("video-stall") < names.index("my-game")
