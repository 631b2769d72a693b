"""Draws the figures of the worked example in calibration.md, of the study in examples/."""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib as mpl

from qoemon.common.csvfile import opened
from qoemon.config.config import load
from qoemon.config.plan import core_plan
from qoemon.config.studies.reading import Reading
from qoemon.config.studies.study import read_ratings, read_study
from qoemon.core.qoe.mapping import LOGISTIC
from qoemon.tools.calibrate import fit_text, plot, sos, validate, validate_plot
from qoemon.tools.calibrate.fit import fit

STUDY = Path(__file__).parent / "examples" / "nflx-ratings.csv"


def draw(folder: Path) -> None:
    """Write study-sos.svg and study-seen.svg."""
    with opened(str(STUDY)) as rows:
        ratings = read_ratings(rows, reading=Reading(condition=("content", "level")))
    with opened(str(STUDY)) as rows:
        study = read_study(rows, LOGISTIC, ("level",))
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "my.yaml"
        file.write_text(fit_text.yaml_fragment(fit(study), "video"))
        (service,) = core_plan(load(file)).services
    with mpl.rc_context({"svg.hashsalt": STUDY.name}):
        plot.draw(sos.estimate(ratings), folder / "study-sos.svg")
        validate_plot.draw(validate.validate(study, service), folder / "study-seen.svg")
