"""A CSV file of rated experiences, judged through the same core as the live sessions.

A row is one experience: what its user lived through, not what the user said. For the bounds each
row is a user of its own: the file does not say which rows are of the same.
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

    from qoemon.core.arrays import Floats, Ints
    from qoemon.core.plan.plan import Service
    from qoemon.core.qoe.distribution import Distribution


CHUNK = 20_000
"""Conditions that are judged at once row by row: each takes some 80 numbers, so this is 13 MB."""


Bounds = tuple[float, float]
"""Lower and upper end of a confidence interval."""

ACR_NAMES = {1: "bad", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}


class ThetaError(ValueError):
    """The service's ratings cannot have this theta; says which they can have."""


@dataclass(frozen=True)
class Shares:
    """Share of ratings good or better, poor or worse."""

    gob: float
    pow: float


@dataclass(frozen=True)
class Analysis:
    """What the users of these experiences would answer.

    service       how it was judged
    observations  rows of the file
    mos, sos      scale points: mean and standard deviation over all users and their ratings
    gob, pow      share of ratings good or better, poor or worse
    ratings       share of each rating
    quantiles     scale points, by quantile
    confidence    how often such bounds contain the truth, if other users had come
    mos_bounds, gob_bounds, pow_bounds  lower and upper end of the confidence interval of each
    theta_band    the shares if theta were another, by theta; empty for a service without a band
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
        """The same for JSON."""
        return {
            "service": self.service.name,
            "observations": self.observations,
            "mos": self.mos,
            "sos": self.sos,
            "gob": self.gob,
            "pow": self.pow,
            "ratings": {str(rating): share for rating, share in self.ratings.items()},
            "quantiles": {str(q): opinion for q, opinion in self.quantiles.items()},
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
    """What the users would answer; ThetaError if the service's theta cannot be.

    conditions  at least one, from `read_conditions` for this service
    quantiles   which quantiles of the ratings to tell, each in (0, 1)
    exact       judge each condition by itself, instead of counting them in the bins of the live sessions
    confidence  of the bounds, in (0, 1)
    """
    check_theta(service)
    condition = condition_format(service.mapping).axes(*conditions.columns.values())
    if exact:
        said = _one_by_one(service.mapping(*condition), service, quantiles, confidence)
    else:
        one_group = np.zeros(len(conditions), np.int64)
        counts = histogram(one_group, _bins(service, condition), 1, len(service.rated_at))
        said = service.kernel(tuple(quantiles), confidence=confidence).judge(counts)
    return _analysis(said, service, quantiles, confidence)


def check_theta(service: Service) -> None:
    """ThetaError if the service's ratings cannot have its theta, as after replacing it."""
    scale = service.scale
    try:
        rating_cdf(np.array([float(scale.low)]), service.theta, scale.cuts, service.model, scale, service.study)
    except ValueError as error:
        fixed = service.model is RatingModel.BINOMIAL
        advice = "; give no theta, or set its ratings to beta in the configuration" if fixed else ""
        raise ThetaError(f"service {service.name}: {error}{advice}") from None


def table(analysis: Analysis) -> Group:
    """The analysis in words and figures, for rich to print; 80 columns are enough."""
    service, count = analysis.service, analysis.observations
    experiences = f"{count:,} rated experience{'' if count == 1 else 's'}"
    summary = (
        f"Of {experiences} of {service.name}, {_percent(analysis.gob)} of users would say good or better, "
        f"{_percent(analysis.pow)} poor or worse."
    )
    judged = f"Judged by {service.mapping.name}, {service.model} ratings, theta {service.theta:g}."
    return Group(Text(summary), _ratings_table(analysis), _figures_table(analysis), Text(judged))


def _bins(service: Service, condition: tuple[Floats, ...]) -> Ints:
    """The bin in which the daemon would count each condition, (N,)."""
    if service.mapping.qos is Qos.RESPONSES:
        return response_bin(*condition)
    return mos_level(service.mapping(*condition), service.scale)


def _one_by_one(mos: Floats, service: Service, quantiles: Sequence[float], confidence: float) -> Distribution:
    """What the users of all rows answer, given the MOS of each, (N,).

    In chunks, for the memory. Rows of the same MOS, such as all without a stall, are judged once.
    """
    distinct, rows = np.unique(mos, return_counts=True)
    total = np.zeros(1)
    for start in range(0, len(distinct), CHUNK):
        chunk = slice(start, start + CHUNK)
        kernel = service.kernel(tuple(quantiles), distinct[chunk], confidence)
        total = total + kernel.total(rows[None, chunk])
    number = np.array([len(mos)])
    return kernel.tell(total, number, number)


def _analysis(said: Distribution, service: Service, quantiles: Sequence[float], confidence: float) -> Analysis:
    """The only group of a distribution, as plain numbers."""
    shares = zip(said.band_gob[0].tolist(), said.band_pow[0].tolist(), strict=True)
    return Analysis(
        service=service,
        observations=int(said.observations[0]),
        mos=float(said.mos[0]),
        sos=float(said.sos[0]),
        gob=float(said.gob[0]),
        pow=float(said.pow[0]),
        ratings=dict(zip(service.scale.ratings.tolist(), said.ratings[0].tolist(), strict=True)),
        quantiles=dict(zip(quantiles, said.quantiles[0].tolist(), strict=True)),
        confidence=confidence,
        mos_bounds=_pair(said.mos_bounds),
        gob_bounds=_pair(said.gob_bounds),
        pow_bounds=_pair(said.pow_bounds),
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
    sure = f"{100 * analysis.confidence:g} % confidence"
    lower, upper = analysis.mos_bounds
    mean = f"mean of all ratings, from {scale.low} to {scale.high}"
    out.add_row("MOS", f"{analysis.mos:.2f}", f"{mean}\n{lower:.2f} to {upper:.2f}, {sure}")
    out.add_row("SOS", f"{analysis.sos:.2f}", "their standard deviation")
    for q, opinion in analysis.quantiles.items():
        out.add_row(f"quantile {q:g}", f"{opinion:.2f}", f"{100 * q:g} % of users rate this or lower")
    good, poor = f"good or better: {scale.good} and above", f"poor or worse: {scale.poor} and below"
    out.add_row("GoB", _percent(analysis.gob), f"{good}\n{_percents(analysis.gob_bounds)}, {sure}")
    out.add_row("PoW", _percent(analysis.pow), f"{poor}\n{_percents(analysis.pow_bounds)}, {sure}")
    for theta, shares in analysis.theta_band.items():
        if theta != analysis.service.theta:
            differ = f"if users differ {'less' if theta < analysis.service.theta else 'more'}: theta {theta:g}"
            out.add_row("GoB", _percent(shares.gob), differ)
            out.add_row("PoW", _percent(shares.pow), differ)
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percents(bounds: Bounds) -> str:
    lower, upper = bounds
    return f"{100 * lower:.1f} to {100 * upper:.1f} %"
