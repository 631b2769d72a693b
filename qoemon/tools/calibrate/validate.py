"""Compares what a configuration says of the conditions of a study with what people said: MOS, GoB and PoW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qoemon.config.studies.study import StudyError
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.tools.calibrate import sos
from qoemon.tools.calibrate.goodness import Goodness, ShareError, good, goodness, poor, rating_counts

if TYPE_CHECKING:
    from qoemon.config.studies.study import Study
    from qoemon.core.arrays import Floats
    from qoemon.core.plan.plan import Service

NEAR_FLOOR = 1.5
"""An error of at most this times the noise floor is that of few ratings, rather than of the configuration."""

ONE_WAY = 0.5
"""With a bias of at least this share of the mean absolute error, most conditions are off in one direction."""


@dataclass(frozen=True)
class Shares:
    """Shares of good and of poor ratings of C conditions, (C,) each."""

    gob: Floats
    pow: Floats


@dataclass(frozen=True)
class Validation:
    """The conditions of a study, as predicted by a service of the configuration and as people rated them.

    predicted_mos  (C,) scale points
    predicted      shares of ratings
    observed       the same of the people; None if the study has means only
    mos_error      of the MOS, scale points; its floor is NaN if the study does not say how many rated
    goodness       of GoB and PoW; None if the study has means only
    spread         SOS parameter of the ratings; None if the study does not determine it
    """

    study: Study
    service: Service
    predicted_mos: Floats
    predicted: Shares
    observed: Shares | None
    mos_error: ShareError
    goodness: Goodness | None
    spread: sos.Sos | None

    @property
    def errors(self) -> dict[str, float]:
        """Mean absolute error of each figure that the study has: mos (scale points), gob and pow (shares)."""
        found = {"mos": self.mos_error.mean}
        return (
            found
            if self.goodness is None
            else {**found, "gob": self.goodness.gob.mean, "pow": self.goodness.pow.mean}
        )

    @property
    def advice(self) -> str:
        """What the errors mean, and what to do."""
        mos, name = self.mos_error, self.service.mapping.name
        if mos.mean > NEAR_FLOOR * mos.floor:
            if abs(mos.bias) >= ONE_WAY * mos.mean:
                way = "higher" if mos.bias > 0 else "lower"
                return (
                    f"The predicted MOS is mostly {way} than what people said, by {abs(mos.bias):.2f}: fit the "
                    f"constants to this study (qoemon fit --mapping {name}), or look for a difference in what "
                    "was rated."
                )
            return (
                "The predicted MOS is too high in some conditions and too low in others: fit the constants to this "
                f"study (qoemon fit --mapping {name}); if that does not help, try another mapping or other inputs."
            )
        if self.goodness is None:
            return "The predicted MOS agrees with the study. Its GoB and PoW are unknown, as it has means only."
        if any(each.mean > NEAR_FLOOR * each.floor for each in (self.goodness.gob, self.goodness.pow)):
            return f"The MOS agrees, but GoB and PoW do not: {self._about_theta}"
        return "The configuration agrees with this study as well as so few ratings can tell. Keep it."

    @property
    def _about_theta(self) -> str:
        if self.service.model is not RatingModel.BETA or self.spread is None:
            return "compare the rating models (qoemon theta)."
        of_study = self.spread.of_opinions
        lower, upper = of_study.interval
        if lower <= self.service.theta <= upper:
            return f"theta {self.service.theta:g} is not the cause; compare the rating models (qoemon theta)."
        return f"set theta to {of_study.value:.3f}, that of this study, instead of {self.service.theta:g}."

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain types, for JSON."""
        return {
            "service": self.service.name,
            "mapping": self.service.mapping.name,
            "theta": self.service.theta,
            "mos": self.mos_error.as_dict() | {"noise_floor": _or_none(self.mos_error.floor)},
            "gob": None if self.goodness is None else self.goodness.gob.as_dict(),
            "pow": None if self.goodness is None else self.goodness.pow.as_dict(),
            "study_theta_of_opinions": None if self.spread is None else self.spread.of_opinions.value,
            "advice": self.advice,
            "conditions": [
                {
                    "condition": name,
                    "weight": float(self.study.weights[at]),
                    "mos": float(self.study.mos[at]),
                    "predicted_mos": float(self.predicted_mos[at]),
                    "gob": None if self.observed is None else float(self.observed.gob[at]),
                    "predicted_gob": float(self.predicted.gob[at]),
                    "pow": None if self.observed is None else float(self.observed.pow[at]),
                    "predicted_pow": float(self.predicted.pow[at]),
                }
                for at, name in enumerate(self.study.names)
            ],
        }


def validate(study: Study, service: Service) -> Validation:
    """What the service predicts for the conditions of the study, beside what it says of them.

    study  read for the mapping of the service
    """
    mos, scale = service.mapping(*study.axes), service.scale
    cdf = rating_cdf(mos, service.theta, scale.cuts, service.model, scale, service.study)
    shares = np.diff(cdf[:, 1:], axis=1, prepend=0)
    counts = None if study.ratings is None else rating_counts(study.ratings, scale)
    observed = None if counts is None else counts / counts.sum(axis=1, keepdims=True)
    return Validation(
        study=study,
        service=service,
        predicted_mos=mos,
        predicted=Shares(good(shares, scale), poor(shares, scale)),
        observed=None if observed is None else Shares(good(observed, scale), poor(observed, scale)),
        mos_error=_mos_error(study, mos, shares, scale.ratings.astype(np.float64)),
        goodness=None if counts is None else goodness(counts, shares, scale),
        spread=_spread(study),
    )


def table(validation: Validation) -> Group:
    """The comparison as text and a table, for rich, at most 80 columns wide."""
    service, count = validation.service, len(validation.study.names)
    head = (
        f"{count:,} condition{'s' * (count != 1)} of the study beside service {service.name}: "
        f"{service.mapping.name}, {service.model} ratings, theta {service.theta:g}."
    )
    return Group(Text(head), _errors_table(validation), Text(validation.advice), _conditions_table(validation))


def _errors_table(validation: Validation) -> Table:
    out = Table("Error", box=box.SIMPLE_HEAD)
    for heading in ("Mean absolute", "Bias", "Noise floor"):
        out.add_column(heading, justify="right")
    good_and_poor = validation.goodness
    rows = {"MOS": validation.mos_error}
    if good_and_poor is not None:
        rows |= {"GoB": good_and_poor.gob, "PoW": good_and_poor.pow}
    for name, error in rows.items():
        floor = "-" if np.isnan(error.floor) else f"{error.floor:.3f}"
        out.add_row(name, f"{error.mean:.3f}", f"{error.bias:+.3f}", floor)
    return out


def _conditions_table(validation: Validation) -> Table:
    """What people said / what is predicted, for each condition."""
    out = Table("Condition: observed / predicted", box=box.SIMPLE_HEAD)
    for heading in ("Weight", "MOS", "GoB", "PoW"):
        out.add_column(heading, justify="right", no_wrap=True)
    study, observed, predicted = validation.study, validation.observed, validation.predicted
    for at, name in enumerate(study.names):
        gob, pow_ = "-", "-"
        if observed is not None:
            gob, pow_ = f"{100 * observed.gob[at]:.0f}", f"{100 * observed.pow[at]:.0f}"
        out.add_row(
            Text(name),
            f"{study.weights[at]:g}",
            f"{study.mos[at]:.2f} / {validation.predicted_mos[at]:.2f}",
            f"{gob} / {100 * predicted.gob[at]:.0f} %",
            f"{pow_} / {100 * predicted.pow[at]:.0f} %",
        )
    return out


def _mos_error(study: Study, mos: Floats, shares: Floats, steps: Floats) -> ShareError:
    """Error of the MOS; a mean of n ratings is off by sd sqrt(2 / (pi n)) on average."""
    gap = mos - study.mos
    sd = np.sqrt(np.maximum(shares @ steps**2 - (shares @ steps) ** 2, 0))
    whole = np.all(study.weights == np.rint(study.weights)) and study.weights.max() > 1
    floor = float(np.mean(sd * np.sqrt(2 / (np.pi * study.weights)))) if whole else np.nan
    return ShareError(float(np.abs(gap).mean()), float(gap.mean()), floor)


def _spread(study: Study) -> sos.Sos | None:
    if study.ratings is None:
        return None
    try:
        return sos.estimate(study.ratings)
    except StudyError:
        return None


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number
