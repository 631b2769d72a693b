"""Proposes constants of a service by the ratings of its users, as text and as the keys of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qoemon.config import plugins
from qoemon.config.sections.service import Service as ServiceSection
from qoemon.config.studies.study import StudyError
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.fragment import fragment
from qoemon.tools.calibrate.refit import FOLDS, LEAST_BETTER, Model, Rated, Refit, refit
from qoemon.tools.fetch import AnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from qoemon.core.plan.plan import Service
    from qoemon.tools.feedback.documents import Answers

DIGITS = 4
"""Significant digits of constants in the fragment; ratings seldom tell more than two."""


@dataclass(frozen=True)
class Proposal:
    """Constants fitted to answers, beside those in force.

    service  in force
    inputs   of its mapping, those that the configuration names
    days     first and last day with ratings
    """

    service: Service
    inputs: tuple[str, ...]
    found: Refit
    days: tuple[date, date]
    theta_band: tuple[float, ...]

    @property
    def constants(self) -> Mapping[str, tuple[float, float]]:
        """Each constant of the mapping, and theta: before and after."""
        before, after = self.found.before, self.found.after
        old, new = ({**each.mapping.parameters, "theta": each.theta} for each in (before, after))
        return {name: (old[name], new[name]) for name in old}

    @property
    def ceiling(self) -> tuple[float, float]:
        """The highest MOS of the mapping, before and after, scale points."""
        before, after = (float(each.mapping.reach.max()) for each in (self.found.before, self.found.after))
        return before, after

    @property
    def verdict(self) -> str:
        """Whether the constants are proposed, and why."""
        found = self.found
        if found.folds < FOLDS:
            return (
                f"Keep what you have: {_count(found.days, 'day')} with ratings, and {FOLDS} are needed to compare "
                "both on days that were left out of the fit."
            )
        parts = f"on {found.better} of {found.folds} parts of the days, each left out of the fit in turn"
        way = "lower" if found.gain > 0 else "higher"
        gain = f"the ranked probability score is {way} by {abs(found.gain):.4f} (standard error {found.error:.4f})"
        if found.proposed:
            return f"The new constants predict better {parts}: {gain}."
        needed = f"{LEAST_BETTER * found.folds:.0f} of {found.folds}, and lower by more than the standard error"
        return f"Keep what you have: the new constants predict better only {parts}, and {gain}; expected {needed}."

    def as_dict(self) -> dict[str, Any]:
        """The proposal as plain types, for JSON."""
        found = self.found
        return {
            "service": self.service.name,
            "mapping": self.service.mapping.name,
            "since": self.days[0].isoformat(),
            "until": self.days[1].isoformat(),
            "days": found.days,
            "rated_sessions": found.ratings,
            "constants": {name: {"before": old, "after": new} for name, (old, new) in self.constants.items()},
            "highest_mos": dict(zip(("before", "after"), self.ceiling, strict=True)),
            "folds": found.folds,
            "folds_better": found.better,
            "gain": _or_none(found.gain),
            "gain_standard_error": _or_none(found.error),
            "proposed": found.proposed,
            "text": self.verdict,
        }


def propose(answers: Answers) -> Proposal:
    """Fit the constants to all of these answers, of which some have ratings.

    raises  StudyError if they cannot be fitted; AnswerError if the service is not one of this qoemon
    """
    if not answers.axes:
        raise StudyError(
            f"service {answers.service} cannot be fitted: {answers.mapping} rates measures, of which only the "
            "predicted MOS is kept; fit it to a study that has them instead, with qoemon fit"
        )
    if answers.ratings != RatingModel.BETA:
        raise StudyError(
            f"service {answers.service} cannot be fitted: it has ratings: {answers.ratings}, expected beta"
        )
    service, inputs = _service(answers)
    rated = _rated(answers)
    days = [each.day for each in answers.days if any(given.ratings for given in each.answers)]
    found = refit(rated, Model(service.mapping, service.theta), inputs)
    return Proposal(service, inputs, found, (days[0], days[-1]), tuple(answers.theta_band))


def summary(proposal: Proposal) -> Group:
    """The proposal as text and a table, for rich."""
    found, (first, last) = proposal.found, proposal.days
    table = Table("Constant", box=box.SIMPLE_HEAD)
    for heading in ("Before", "Fitted"):
        table.add_column(heading, justify="right")
    for name, (old, new) in proposal.constants.items():
        table.add_row(Text(name), f"{old:g}", f"{new:.{DIGITS}g}")
    old, new = proposal.ceiling
    table.add_row("highest MOS", f"{old:.2f}", f"{new:.2f}")
    text = (
        f"{proposal.service.mapping.name} fitted to {_count(found.ratings, 'rating')} of service "
        f"{proposal.service.name} on {_count(found.days, 'day')}, {first} to {last}, among those who answered."
    )
    return Group(Text(text), table, Text(proposal.verdict))


def yaml_fragment(proposal: Proposal) -> str:
    """The keys of the service that change, and those on which they depend."""
    after, scale = proposal.found.after, proposal.service.scale
    theta = round(after.theta, 3)
    ends = proposal.theta_band
    settings = {
        "mapping": proposal.service.mapping.name,
        **({"inputs": list(proposal.inputs)} if proposal.inputs else {}),
        "theta": theta,
        **({"theta_band": [min(ends[0], theta), max(ends[-1], theta)]} if ends else {}),
        **({} if scale == ACR5 else {"scale": scale_of(scale)}),
        "parameters": {name: float(f"{value:.{DIGITS}g}") for name, value in after.mapping.parameters.items()},
    }
    return fragment(proposal.service.name, settings)


def scale_of(scale: Any) -> dict[str, int]:
    """The scale in the words of the configuration."""
    return {name: getattr(scale, name) for name in ("low", "high", "good", "poor")}


def _service(answers: Answers) -> tuple[Service, tuple[str, ...]]:
    """The service in force, and the inputs of its mapping that the configuration names."""
    if answers.mapping not in plugins.names():
        raise StudyError(
            f"service {answers.service} has the mapping {answers.mapping}, which no package here provides: install "
            "it here too, or run this command where the daemon runs"
        )
    inputs = () if plugins.find(answers.mapping).inputs else tuple(answers.inputs)
    if not answers.parameters:
        raise StudyError(f"{answers.mapping} has no constants to fit")
    try:
        section = ServiceSection.model_validate(
            {
                "mapping": answers.mapping,
                "inputs": inputs,
                "theta": answers.theta,
                "parameters": answers.parameters,
                "scale": scale_of(answers.scale),
            }
        )
        return section.core_service(answers.service), inputs
    except ValueError as error:
        raise AnswerError(f"service {answers.service} is none that this qoemon knows: {error}") from None


def _rated(answers: Answers) -> Rated:
    rows = [
        (*given.condition.values(), rating, users, each.day.toordinal())
        for each in answers.days
        for given in each.answers
        for rating, users in given.ratings.items()
    ]
    *axes, rating, count, day = np.array(rows, np.float64).T
    whole = [np.rint(each).astype(np.int64) for each in (rating, count, day)]
    return Rated(tuple(axes), *whole)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _or_none(number: float) -> float | None:
    return number if isfinite(number) else None
