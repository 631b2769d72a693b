"""Writes the table of the paper's systems as CSV: each with each way to estimate its ratings."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from qoemon.tools.paper import curves

if TYPE_CHECKING:
    from pathlib import Path

HEADER = (
    "system",
    "ratings",
    "theta",
    "mos",
    "sos",
    *(f"quantile_{q:g}" for q in curves.QUANTILES),
    "gob",
    "pow",
)


def write(path: Path) -> None:
    """Write the table; MOS, SOS and quantiles in scale points, GoB and PoW as shares."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEADER)
        for row in curves.table():
            of = row.answers
            figures = (of.mos, row.sos, *row.quantiles.tolist(), of.gob, of.pow)
            out.writerow([row.system, row.model, f"{row.theta:g}", *(f"{value:.4f}" for value in figures)])
