"""`qoemon paper` writes every figure, and a table with the paper's numbers."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.tools.paper.figures import FIGURES
from tests.core.qoe.test_distribution import FIGURE_3

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command has written."""
    folder = tmp_path_factory.mktemp("paper") / "new"
    result = CliRunner().invoke(cli.app, ["paper", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_the_help_names_every_file_that_is_written(folder: Path) -> None:
    text = CliRunner().invoke(cli.app, ["paper", "-h"]).stdout
    written = {file.name for file in folder.iterdir()}
    assert written == {f"{name}.svg" for name in FIGURES} | {"table.csv"}
    assert {word for word in text.split() if word.endswith((".svg", ".csv"))} == written


@pytest.mark.parametrize(("std_s", "model", "mos", "gob", "pow_"), FIGURE_3)
def test_the_table_has_the_numbers_of_the_paper(
    folder: Path, std_s: float, model: str, mos: float, gob: float, pow_: float
) -> None:
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [row for row in rows if f"σ {std_s:g} s" in row["system"] and row["ratings"] == str(model)]
    assert float(row["mos"]) == pytest.approx(mos, abs=0.001)
    assert float(row["gob"]) == pytest.approx(gob, abs=0.001)
    assert float(row["pow"]) == pytest.approx(pow_, abs=0.001)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.app, ["paper", str(tmp_path / "file" / "inside")])
    assert result.exit_code == 1
    assert "cannot be written" in result.output
