"""Estimates the ratings of the experiences in a CSV file, with the core that serves live sessions.

A row is the QoS of one experience, not a rating. The confidence intervals count each row as a user: the file does
not identify users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qoemon.config.studies.conditions import Conditions, condition_format
from qoemon.core.counting.window import histogram
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
    observations  rows of the file
    mos, sos      scale points: mean and standard deviation over all users and their ratings
    gob, pow      share of ratings good or better, poor or worse
    ratings       share of each rating
    quantiles     scale points, by quantile
    confidence    level of the confidence intervals
    mos_bounds, gob_bounds, pow_bounds  lower and upper end of the confidence interval of each
    theta_band    the shares by each theta of the service's band; empty without a band
    """

    service: Service
    observations: int
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

    def as_dict(self) -> dict[str, Any]:
        """The analysis as plain types, for JSON."""
        return {
            "service": self.service.name,
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
    if exact:
        condition = condition_format(service.mapping).axes(*conditions.columns.values())
        distribution = _row_by_row(service.mapping(*condition), service, quantiles, confidence)
    else:
        counts = binned(conditions, service)[None]
        distribution = service.kernel(tuple(quantiles), confidence=confidence).distribution(counts)
    return _analysis(distribution, service, quantiles, confidence)


def binned(conditions: Conditions, service: Service) -> Counts:
    """(B,) number of conditions in each bin in which the daemon would count them."""
    condition = condition_format(service.mapping).axes(*conditions.columns.values())
    one_group = np.zeros(len(conditions), np.int64)
    counts: Counts = histogram(one_group, _bins(service, condition), 1, len(service.rated_at))[0]
    return counts


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
    model = f"Mapping {service.mapping.name}, {service.model} ratings, theta {service.theta:g}."
    return Group(Text(summary), _ratings_table(analysis), _figures_table(analysis), Text(model))


def _bins(service: Service, condition: tuple[Floats, ...]) -> Ints:
    """The bin in which the daemon would count each condition, (N,)."""
    if service.mapping.qos is Qos.RESPONSES:
        return response_bin(*condition)
    return mos_level(service.mapping(*condition), service.scale)


def _row_by_row(mos: Floats, service: Service, quantiles: Sequence[float], confidence: float) -> Distribution:
    """Rating distribution over all rows, given the MOS of each, (N,).

    Computed in chunks to bound the memory. Equal MOS, such as of all rows without a stall, are computed once.
    """
    distinct, rows = np.unique(mos, return_counts=True)
    total = np.zeros(1)
    for start in range(0, len(distinct), CHUNK):
        chunk = slice(start, start + CHUNK)
        kernel = service.kernel(tuple(quantiles), distinct[chunk], confidence)
        total = total + kernel.total(rows[None, chunk])
    number = np.array([len(mos)])
    return kernel.distribution_of(total, number, number)


def _analysis(
    distribution: Distribution, service: Service, quantiles: Sequence[float], confidence: float
) -> Analysis:
    """The Analysis of a distribution with one group."""
    shares = zip(distribution.band_gob[0].tolist(), distribution.band_pow[0].tolist(), strict=True)
    return Analysis(
        service=service,
        observations=int(distribution.observations[0]),
        mos=float(distribution.mos[0]),
        sos=float(distribution.sos[0]),
        gob=float(distribution.gob[0]),
        pow=float(distribution.pow[0]),
        ratings=dict(zip(service.scale.ratings.tolist(), distribution.ratings[0].tolist(), strict=True)),
        quantiles=dict(zip(quantiles, distribution.quantiles[0].tolist(), strict=True)),
        confidence=confidence,
        mos_bounds=_pair(distribution.mos_bounds),
        gob_bounds=_pair(distribution.gob_bounds),
        pow_bounds=_pair(distribution.pow_bounds),
        theta_band={theta: Shares(*pair) for theta, pair in zip(service.theta_band, shares, strict=True)},
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


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percent_range(bounds: Bounds) -> str:
    lower, upper = bounds
    return f"{100 * lower:.1f} to {100 * upper:.1f} %"
