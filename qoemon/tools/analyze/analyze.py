"""Estimates the ratings of the experiences in a CSV file, with the core that serves live sessions.

A row is the QoS of one experience, not a rating. The confidence intervals count each row as a user, or as n users:
the file does not identify users. Weights count as Kish's effective number of users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qoemon.common.csvcolumns import cut
from qoemon.common.text import SHORT, printable
from qoemon.config.studies.conditions import Conditions, condition_format
from qoemon.core.qoe.bins import mos_level, response_bin
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import Qos, RatingModel
from qoemon.core.qoe.scale import ACR5

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.core.arrays import Counts, Floats, Ints
    from qoemon.core.plan.plan import Service
    from qoemon.core.qoe.distribution import Distribution


CHUNK = 20_000
"""Conditions per matrix product when each row is rated by itself: 80 numbers each, so 13 MB."""


Bounds = tuple[float, float]
"""Lower and upper end of a confidence interval."""

ACR_NAMES = {1: "bad", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}


class ThetaError(ValueError):
    """The service's rating model does not allow this theta; the message says which it allows."""


@dataclass(frozen=True)
class Shares:
    """Share of ratings good or better, poor or worse."""

    gob: float
    pow: float


@dataclass(frozen=True)
class Analysis:
    """Estimated ratings of all experiences of a file.

    service       with the mapping, rating model and theta of the estimate
    observations  experiences: rows of the file, or the sum of their n
    failed        those that failed, and count as the worst rating
    users         behind the confidence intervals; less than the observations if these have weights
    mos, sos      scale points: mean and standard deviation over all users and their ratings
    gob, pow      share of ratings good or better, poor or worse
    ratings       share of each rating
    quantiles     scale points, by quantile
    confidence    level of the confidence intervals
    mos_bounds, gob_bounds, pow_bounds  lower and upper end of the confidence interval of each
    theta_band    the shares by each theta of the service's band; empty without a band
    groups        the analysis of each group by its name; empty without groups
    notes         what was left out or assumed, in words
    """

    service: Service
    observations: int
    failed: int
    users: float
    mos: float
    sos: float
    gob: float
    pow: float
    ratings: Mapping[int, float]
    quantiles: Mapping[float, float]
    confidence: float
    mos_bounds: Bounds
    gob_bounds: Bounds
    pow_bounds: Bounds
    theta_band: Mapping[float, Shares]
    groups: Mapping[str, Analysis]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The analysis as plain types, for JSON."""
        return {
            "service": self.service.name,
            **self._figures(),
            "groups": {name: group._figures() for name, group in self.groups.items()},
            "notes": list(self.notes),
        }

    def _figures(self) -> dict[str, Any]:
        return {
            "observations": self.observations,
            "mos": self.mos,
            "sos": self.sos,
            "gob": self.gob,
            "pow": self.pow,
            "ratings": {str(rating): share for rating, share in self.ratings.items()},
            "opinion_quantiles": {str(q): opinion for q, opinion in self.quantiles.items()},
            "theta": self.service.theta,
            "theta_band": {
                str(theta): {"gob": shares.gob, "pow": shares.pow} for theta, shares in self.theta_band.items()
            },
            "confidence": self.confidence,
            "mos_bounds": list(self.mos_bounds),
            "gob_bounds": list(self.gob_bounds),
            "pow_bounds": list(self.pow_bounds),
            "failed": self.failed,
            "users": self.users,
        }


def analyze(
    conditions: Conditions,
    service: Service,
    quantiles: Sequence[float],
    *,
    exact: bool,
    confidence: float = 0.95,
) -> Analysis:
    """Estimated ratings of the conditions; ThetaError if the rating model does not allow the service's theta.

    conditions  at least one, from `read_conditions` for this service
    quantiles   of the ratings, each in (0, 1)
    exact       rate each condition by itself, instead of by the bins of the live sessions
    confidence  level of the confidence intervals, in (0, 1)
    """
    check_theta(service)
    rater = _Rater(service, tuple(quantiles), confidence, exact=exact)
    return replace(
        rater.analysis(conditions),
        groups={name: rater.analysis(group) for name, group in conditions.by_group()},
        notes=conditions.notes,
    )


def binned(conditions: Conditions, service: Service) -> Counts | Floats:
    """(B,) number of conditions in each bin in which the daemon would count them, without those that failed."""
    worked = conditions.worked
    condition = condition_format(service.mapping).axes(*worked.columns.values())
    bins, size = _bins(service, condition), len(service.rated_at)
    if worked.weight is None:
        counts: Counts = np.bincount(bins, worked.weights, size).astype(np.int64)
        return counts
    return np.bincount(bins, worked.weights, size)


def check_theta(service: Service) -> None:
    """Raise ThetaError if the service's rating model does not allow its theta."""
    scale = service.scale
    try:
        rating_cdf(np.array([float(scale.low)]), service.theta, scale.cuts, service.model, scale, service.study)
    except ValueError as error:
        fixed = service.model is RatingModel.BINOMIAL
        advice = "; omit theta, or set the service's ratings to beta in the configuration" if fixed else ""
        raise ThetaError(f"service {service.name}: {error}{advice}") from None


def table(analysis: Analysis) -> Group:
    """The analysis as text and tables for rich, at most 80 columns wide."""
    service, count = analysis.service, analysis.observations
    experiences = f"{count:,} rated experience{'' if count == 1 else 's'}"
    summary = (
        f"Of {experiences} of {service.name}, {_percent(analysis.gob)} of users would rate good or better, "
        f"{_percent(analysis.pow)} poor or worse."
    )
    if analysis.failed:
        summary += f" {analysis.failed:,} failed, and count as {service.scale.low}."
    if analysis.users < count:
        summary += f" By their weights they are worth {analysis.users:,.0f} users."
    model = f"Mapping {service.mapping.name}, {service.model} ratings, theta {service.theta:g}."
    groups = [_groups_table(analysis)] if analysis.groups else []
    notes = [Text(f"Note: {each}.") for each in cut(analysis.notes)]
    return Group(Text(summary), _ratings_table(analysis), _figures_table(analysis), *groups, Text(model), *notes)


def _bins(service: Service, condition: tuple[Floats, ...]) -> Ints:
    """The bin in which the daemon would count each condition, (N,)."""
    if service.mapping.qos is Qos.RESPONSES:
        return response_bin(*condition)
    return mos_level(service.mapping(*condition), service.scale)


class _Rater:
    """Rates conditions of a service, row by row or by the bins of live sessions."""

    def __init__(self, service: Service, quantiles: tuple[float, ...], confidence: float, *, exact: bool) -> None:
        self._service, self._quantiles, self._confidence, self._exact = service, quantiles, confidence, exact
        self._kernel = service.kernel(quantiles, confidence=confidence)
        self._worst = service.kernel(quantiles, np.array([float(service.scale.low)]), confidence)

    def analysis(self, conditions: Conditions) -> Analysis:
        """The analysis of these conditions, of which at least one has a weight."""
        total = self._total(conditions.worked)
        weights = conditions.weights
        failed = weights.sum() - conditions.worked.weights.sum()
        if failed:
            total = total + self._worst.total(np.array([[failed]]))
        users = conditions.users
        distribution = self._kernel.distribution_of(total, np.array([weights.sum()]), np.array([users]))
        observations = len(conditions) if conditions.weight is not None else round(weights.sum())
        return self._of(distribution, observations, conditions.failures, users)

    def _total(self, conditions: Conditions) -> Floats:
        service = self._service
        if not self._exact:
            return self._kernel.total(binned(conditions, service)[None])
        mos = service.mapping(*condition_format(service.mapping).axes(*conditions.columns.values()))
        # Equal MOS, such as of all rows without a stall, are computed once.
        distinct, place = np.unique(mos, return_inverse=True)
        rows = np.bincount(place, conditions.weights, len(distinct))
        total = np.zeros(1)
        for start in range(0, len(distinct), CHUNK):  # Chunks bound the memory.
            chunk = slice(start, start + CHUNK)
            kernel = service.kernel(self._quantiles, distinct[chunk], self._confidence)
            total = total + kernel.total(rows[None, chunk])
        return total

    def _of(self, distribution: Distribution, observations: int, failed: int, users: float) -> Analysis:
        """The Analysis of a distribution with one group."""
        shares = zip(distribution.band_gob[0].tolist(), distribution.band_pow[0].tolist(), strict=True)
        service = self._service
        return Analysis(
            service=service,
            observations=observations,
            failed=failed,
            users=users,
            mos=float(distribution.mos[0]),
            sos=float(distribution.sos[0]),
            gob=float(distribution.gob[0]),
            pow=float(distribution.pow[0]),
            ratings=dict(zip(service.scale.ratings.tolist(), distribution.ratings[0].tolist(), strict=True)),
            quantiles=dict(zip(self._quantiles, distribution.quantiles[0].tolist(), strict=True)),
            confidence=self._confidence,
            mos_bounds=_pair(distribution.mos_bounds),
            gob_bounds=_pair(distribution.gob_bounds),
            pow_bounds=_pair(distribution.pow_bounds),
            theta_band={theta: Shares(*pair) for theta, pair in zip(service.theta_band, shares, strict=True)},
            groups={},
            notes=(),
        )


def _pair(bounds: Floats) -> Bounds:
    lower, upper = bounds[0].tolist()
    return lower, upper


def _ratings_table(analysis: Analysis) -> Table:
    names = ACR_NAMES if analysis.service.scale.ratings.tolist() == ACR5.ratings.tolist() else {}
    out = Table("Rating", box=box.SIMPLE_HEAD)
    out.add_column("Users", justify="right")
    out.add_column()
    for rating, share in sorted(analysis.ratings.items(), reverse=True):
        bar = ProgressBar(total=1, completed=share, width=40)
        out.add_row(f"{rating} {names.get(rating, '')}".rstrip(), _percent(share), bar)
    return out


def _figures_table(analysis: Analysis) -> Table:
    scale = analysis.service.scale
    out = Table("Figure", box=box.SIMPLE_HEAD)
    out.add_column("Value", justify="right")
    out.add_column("Meaning")
    level = f"{100 * analysis.confidence:g} % confidence"
    lower, upper = analysis.mos_bounds
    mean = f"mean of all ratings, from {scale.low} to {scale.high}"
    out.add_row("MOS", f"{analysis.mos:.2f}", f"{mean}\n{lower:.2f} to {upper:.2f}, {level}")
    out.add_row("SOS", f"{analysis.sos:.2f}", "their standard deviation")
    for q, opinion in analysis.quantiles.items():
        out.add_row(f"opinion quantile {q:g}", f"{opinion:.2f}", f"{100 * q:g} % of opinions are at or below")
    good, poor = f"good or better: {scale.good} and above", f"poor or worse: {scale.poor} and below"
    out.add_row("GoB", _percent(analysis.gob), f"{good}\n{_percent_range(analysis.gob_bounds)}, {level}")
    out.add_row("PoW", _percent(analysis.pow), f"{poor}\n{_percent_range(analysis.pow_bounds)}, {level}")
    for theta, shares in analysis.theta_band.items():
        if theta != analysis.service.theta:
            differ = f"if users differ {'less' if theta < analysis.service.theta else 'more'}: theta {theta:g}"
            out.add_row("GoB", _percent(shares.gob), differ)
            out.add_row("PoW", _percent(shares.pow), differ)
    return out


def _groups_table(analysis: Analysis) -> Table:
    out = Table("Group", box=box.SIMPLE_HEAD)
    for name in ("Experiences", "MOS", "GoB", "PoW", f"{100 * analysis.confidence:g} % confidence"):
        out.add_column(name, justify="right")
    for name, group in analysis.groups.items():
        out.add_row(
            Text(printable(name, SHORT)),
            f"{group.observations:,}",
            f"{group.mos:.2f}",
            _percent(group.gob),
            _percent(group.pow),
            _percent_range(group.pow_bounds),
        )
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percent_range(bounds: Bounds) -> str:
    lower, upper = bounds
    return f"{100 * lower:.1f} to {100 * upper:.1f} %"
