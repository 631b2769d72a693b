"""Fits the constants of a mapping to a subjective study, by non-linear least squares.

Least squares finds the local minimum next to its start, and a published constant may be wrong by powers of ten if a
study has other units. So many random starts are evaluated first, cheaply: most formulas are linear in some of their
constants (scale, floor, weights), which follow from the others by linear least squares; only those are searched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import least_squares

from qoemon.config.sections.names import label_fault
from qoemon.config.studies.study import StudyError
from qoemon.core.qoe.mapping import MAPPINGS, MEDIA_STALL, QUALITY, VIDEO_STALL, MediaStall, Qos
from qoemon.tools.calibrate import sos
from qoemon.tools.calibrate.fragment import settings_of
from qoemon.tools.calibrate.goodness import Goodness, goodness, rating_counts
from qoemon.tools.calibrate.opinions import is_rounded, rating_shares, scale_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.config.studies.study import Study
    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.qoe.mapping import QosMapping
    from qoemon.core.qoe.scale import Scale

NEAR = 0.125
"""A fitted MOS is near the observed one within this share of the scale: .5 of 1 to 5."""

STARTS, DECADES, DESCENTS = 300, 4.0, 4
"""Random starts, the powers of ten around the mapping's constants that they span, and descents from the best."""

MOST_RATING = 100
"""The highest rating that the configuration allows."""

HUGE = 1e100
"""A constant with so large an effect on the MOS is not solved for: squares of it would overflow."""

PRIOR_SD = 0.3
"""Standard deviation of the logarithm of a constant around its value of before, where a fit has to stay near it."""

RANK = 1e-6
"""A direction of constants is unidentified if its effect on the MOS is at most this share of the largest effect."""


@dataclass(frozen=True)
class Constant:
    """A constant of the mapping.

    error  standard error; NaN if the study does not determine the constant
    told   whether the value is that of the study; else it is what it was before
    """

    name: str
    value: float
    error: float
    before: float
    told: bool = True


@dataclass(frozen=True)
class Accuracy:
    """Error of the mapping's MOS against the observed MOS, each condition counted once.

    rmse  scale points
    near  share of conditions within NEAR of the scale
    """

    rmse: float
    near: float


@dataclass(frozen=True)
class Fit:
    """A mapping with the constants that fit a study best.

    mapping    with the fitted constants
    constants  those that were fitted
    fitted     (C,) MOS of the study's conditions by the mapping, scale points
    accuracy   on the conditions that it was fitted to
    cross_validated  on conditions left out of the fit, fold by fold; None if there are too few conditions
    folds      of the cross-validation
    spread     SOS parameter of the study's ratings; None if the study does not determine it
    goodness   errors of GoB and PoW by the fitted MOS; None if the study has means only
    """

    mapping: QosMapping
    study: Study
    constants: tuple[Constant, ...]
    fitted: Floats
    accuracy: Accuracy
    cross_validated: Accuracy | None
    folds: int
    spread: sos.Sos | None
    goodness: Goodness | None
    warnings: tuple[str, ...]

    @property
    def theta(self) -> float:
        """SOS parameter of the ratings; the mapping's default if the study does not determine it."""
        return self.mapping.theta if self.spread is None else self.spread.theta

    @property
    def theta_of_opinions(self) -> float:
        """SOS parameter for the configuration, which rounds opinions to ratings."""
        return self.mapping.theta if self.spread is None else self.spread.of_opinions.value

    def as_dict(self) -> dict[str, Any]:
        """The fit as plain types, for JSON."""
        rows = zip(self.study.names, self.study.weights, self.study.mos, self.fitted, strict=True)
        return {
            "mapping": self.mapping.name,
            "inputs": list(self.mapping.inputs),
            "parameters": {
                each.name: {
                    "value": each.value,
                    "standard_error": _or_none(each.error),
                    "before": each.before,
                    "determined": each.told,
                }
                for each in self.constants
            },
            "rmse": self.accuracy.rmse,
            "within_half": self.accuracy.near,
            "cross_validated": None
            if self.cross_validated is None
            else {"folds": self.folds, "rmse": self.cross_validated.rmse, "within_half": self.cross_validated.near},
            "theta": self.theta,
            "theta_interval": None if self.spread is None else list(self.spread.interval),
            "theta_of_opinions": self.theta_of_opinions,
            "theta_of_opinions_interval": None if self.spread is None else list(self.spread.of_opinions.interval),
            "theta_interval_by": None if self.spread is None else str(self.spread.basis),
            "goodness": None if self.goodness is None else self.goodness.as_dict(),
            "rating_model": None
            if self.spread is None or self.spread.choice is None
            else self.spread.choice.as_dict(),
            "conditions": [
                {"condition": name, "weight": float(weight), "mos": float(mos), "fitted": float(fitted)}
                for name, weight, mos, fitted in rows
            ],
            "warnings": list(self.warnings),
        }


def fit(study: Study, only: Sequence[str] = (), *, folds: int = 5, seed: int = 1) -> Fit:
    """Fit the constants of the study's mapping.

    Each condition counts by its weight; standard errors are those of least squares with the variance of the
    residuals, so they cover the scatter of the ratings and the error of the formula.

    only    the constants to fit, the others keep their values; all if empty
    folds   of the cross-validation, by conditions; with fewer conditions each is a fold
    raises  StudyError if the mapping has no such constants, or they cannot be fitted
    """
    wanted = _problem(study, only)
    rng = np.random.default_rng(seed)
    problem, solution, kept = _determined(wanted, rng)
    mapping = problem.mapping.with_parameters(dict(zip(problem.free, solution.values.tolist(), strict=True)))
    fitted = mapping(*study.axes)
    cross_validated, used_folds = _cross_validate(problem, folds, rng)
    spread = _spread(study)
    return Fit(
        mapping=mapping,
        study=study,
        constants=_constants(wanted, problem, solution),
        fitted=fitted,
        accuracy=_accuracy(fitted, study.mos, mapping.scale),
        cross_validated=cross_validated,
        folds=used_folds,
        spread=spread,
        goodness=_goodness(study, mapping, fitted, spread),
        warnings=(
            *_warnings(wanted, solution, kept, problem, cross_validated, spread),
            *_unnameable(study.inputs),
        ),
    )


@dataclass(frozen=True)
class _Problem:
    """C conditions, and a mapping with P constants to fit, named `free`.

    lower   (P,) lower bounds of the constants
    linear  indexes of the constants in which the formula is jointly linear
    noise   standard deviation of a MOS of weight 1, scale points, if the constants have to stay near those of
            before; otherwise None
    """

    mapping: QosMapping
    free: tuple[str, ...]
    axes: tuple[Floats, ...]
    mos: Floats
    weights: Floats
    lower: Floats
    linear: tuple[int, ...] = ()
    noise: float | None = None

    @property
    def start(self) -> Floats:
        """Current values of the constants, (P,)."""
        return np.array([self.mapping.parameters[name] for name in self.free])

    def predicted(self, values: Floats) -> Floats:
        """MOS (C,), not clipped to the scale: clipping would remove the gradient."""
        constants = {**self.mapping.parameters, **dict(zip(self.free, values.tolist(), strict=True))}
        with np.errstate(all="ignore"):
            return np.asarray(self.mapping.formula(*self.axes, **constants), np.float64)

    def residuals(self, values: Floats) -> Floats:
        """Weighted residuals that least squares minimises: (C,), or (C + P,) if constants stay near their own."""
        of_mos = np.sqrt(self.weights) * (self.predicted(values) - self.mos)
        return of_mos if self.noise is None else np.concatenate([of_mos / self.noise, self._from_before(values)])

    def _from_before(self, values: Floats) -> Floats:
        """(P,) distance of the constants from those of before, in PRIOR_SD; 0 for a constant that was 0.

        It is that of the logarithms, or a relative one where a constant may change its sign.
        """
        size = np.abs(self.start)
        change = np.divide(values, self.start, out=np.ones(len(values)), where=size > 0)
        same_sign = np.isfinite(self.lower)
        distance = np.where(same_sign, np.log(np.maximum(change, 1e-9)), change - 1)
        return np.asarray(distance / PRIOR_SD)

    def without(self, at: int) -> _Problem:
        """The problem with one constant held at its value."""
        left = [each for each in range(len(self.free)) if each != at]
        linear = tuple(place for place, each in enumerate(left) if each in self.linear)
        return replace(self, free=tuple(self.free[each] for each in left), lower=self.lower[left], linear=linear)

    def of(self, rows: Counts) -> _Problem:
        """The problem for some of the conditions."""
        axes = tuple(axis[rows] for axis in self.axes)
        return replace(self, axes=axes, mos=self.mos[rows], weights=self.weights[rows])


@dataclass(frozen=True)
class _Solution:
    """Result of a least-squares descent.

    values    (P,)
    jacobian  (C, P) of the residuals
    squares   the sum of the squared residuals
    at_bound  (P,) whether a constant is at its lower bound
    """

    values: Floats
    jacobian: Floats
    squares: float
    at_bound: np.ndarray[Any, np.dtype[np.bool_]]


def fit_near(
    mapping: QosMapping,
    inputs: Sequence[str],
    axes: Sequence[Floats],
    ratings: Floats,
    counts: Floats,
    noise: float,
    only: Sequence[str] = (),
) -> QosMapping:
    """The mapping with constants near its own that fit these ratings better: few ratings move them a little.

    The prior of each constant is log-normal around its value, with PRIOR_SD; there is one descent, from that value.

    inputs   as in Study: those that are columns by choice
    axes     (N,) each: the arguments of the mapping
    ratings  (N,) scale points
    counts   (N,) how many users gave this rating
    noise    standard deviation of a rating, scale points
    only     the constants to fit, the others keep their values; all if empty
    raises   StudyError if the mapping has no such constants, or they cannot be fitted
    """
    problem = replace(_free(mapping, inputs, axes, ratings, counts, only), noise=noise)
    with np.errstate(all="ignore"):
        found = _descend(problem, problem.start)
    if found is None:
        raise StudyError(f"{mapping.name} gives no finite MOS for these conditions, whatever its constants")
    return mapping.with_parameters(dict(zip(problem.free, found.values.tolist(), strict=True)))


def _problem(study: Study, only: Sequence[str]) -> _Problem:
    problem = _free(study.mapping, study.inputs, study.axes, study.mos, study.weights, only)
    return replace(problem, linear=_linear_of(problem))


def _free(
    mapping: QosMapping,
    inputs: Sequence[str],
    axes: Sequence[Floats],
    mos: Floats,
    weights: Floats,
    only: Sequence[str],
) -> _Problem:
    """The problem with these constants, all if none is named."""
    if not mapping.parameters:
        raise StudyError(f"{mapping.name} has no constants to fit")
    if unknown := [name for name in only if name not in mapping.parameters]:
        known = ", ".join(mapping.parameters)
        raise StudyError(f"{mapping.name} has no constant {', '.join(unknown)}; it has {known}")
    free = tuple(name for name in mapping.parameters if not only or name in only)
    # The constants of published formulas keep their sign; those of generic forms take the sign that fits.
    positive = [mapping.parameters[name] >= 0 and _keeps_sign(mapping, inputs, name) for name in free]
    lower = np.where(positive, 0, -np.inf)
    return _Problem(mapping, free, tuple(axes), mos, weights, lower)


def _keeps_sign(mapping: QosMapping, inputs: Sequence[str], name: str) -> bool:
    """Whether the constant cannot change its sign: stalls never raise the MOS, whatever else the mapping has."""
    return not inputs or (mapping.qos is Qos.STALLS and name in VIDEO_STALL.parameters)


def _determined(problem: _Problem, rng: np.random.Generator) -> tuple[_Problem, _Solution, tuple[str, ...]]:
    """The problem without the constants that the study does not determine, its solution, and what was left out.

    Of constants that can be exchanged for each other, the last is held at its value of before, and so on. With no
    more conditions than constants nothing is held: any curve goes through so few points.
    """
    kept: list[str] = []
    while True:
        solution = _solve(problem, rng)
        unidentified = _unidentified(solution)
        if not unidentified or len(problem.free) == 1 or len(problem.mos) <= len(problem.free):
            return problem, solution, tuple(kept)
        kept.append(problem.free[unidentified[-1]])
        problem = problem.without(unidentified[-1])


def _constants(wanted: _Problem, problem: _Problem, solution: _Solution) -> tuple[Constant, ...]:
    """The wanted constants, with what the solution says of those that were fitted."""
    errors = _errors(solution)
    before = wanted.mapping.parameters
    found = {
        name: Constant(name, float(value), float(error), before[name], bool(at_bound or isfinite(error)))
        for name, value, error, at_bound in zip(
            problem.free, solution.values, errors, solution.at_bound, strict=True
        )
    }
    return tuple(
        found.get(name) or Constant(name, before[name], nan, before[name], told=False) for name in wanted.free
    )


def _goodness(study: Study, mapping: QosMapping, fitted: Floats, spread: sos.Sos | None) -> Goodness | None:
    if study.ratings is None or not is_rounded(study.ratings):
        return None
    theta = mapping.theta if spread is None else spread.of_opinions.value
    return goodness(
        rating_counts(study.ratings, mapping.scale), rating_shares(fitted, theta, mapping.scale), mapping.scale
    )


def _solve(problem: _Problem, rng: np.random.Generator) -> _Solution:
    """The best of several descents; among equally good mirror images, the one with the signs of the mapping."""
    with np.errstate(all="ignore"):  # random starts: those for which the formula overflows are skipped
        descents = [found for start in _starts(problem, rng) if (found := _descend(problem, start))]
        if not descents:
            name = problem.mapping.name
            raise StudyError(f"{name} gives no finite MOS for these conditions, whatever its constants")
        best = min(descents, key=lambda found: found.squares)
        mirrored = [
            found for start in _mirrored_starts(problem, best.values) if (found := _descend(problem, start))
        ]
    as_good = best.squares * (1 + 1e-6) + 1e-12
    equals = [best, *(found for found in mirrored if found.squares <= as_good)]
    return min(equals, key=lambda found: (np.sign(found.values) != np.sign(problem.start)).tolist())


def _mirrored_starts(problem: _Problem, values: Floats) -> list[Floats]:
    """Starts with the sign of one constant changed: a falling logistic curve equals a rising one upside down."""
    free = [at for at in range(len(values)) if at not in problem.linear and not np.isfinite(problem.lower[at])]
    return [_with_linear_solved(problem, np.where(np.arange(len(values)) == at, -values, values)) for at in free]


def _descend(problem: _Problem, start: Floats) -> _Solution | None:
    """Descend by least squares; None if the formula has no finite slope on the way."""
    try:
        found = least_squares(
            problem.residuals, start, "3-point", (problem.lower, np.inf), "trf", 1e-12, 1e-12, 1e-12, "jac"
        )
    except (ValueError, np.linalg.LinAlgError):
        return None
    # The search stays slightly inside the bounds, so a constant is at its bound if it is within rounding of it.
    at_bound = found.x - problem.lower <= 1e-9 * np.maximum(np.abs(problem.start), 1)
    values = np.where(at_bound, problem.lower, found.x)
    return _Solution(values, np.asarray(found.jac), 2 * float(found.cost), at_bound)


def _starts(problem: _Problem, rng: np.random.Generator) -> list[Floats]:
    """The best of many starts, (P,) each; the current constants come first among equals."""
    count = STARTS if len(problem.linear) < len(problem.free) else 1  # the first is the best already
    starts = [problem.start, *(_with_linear_solved(problem, each) for each in _random_starts(problem, rng, count))]
    starts += _starts_of_quality(problem, rng)
    squares = [np.sum(problem.residuals(each) ** 2) for each in starts]
    best = np.argsort(np.nan_to_num(squares, nan=np.inf), kind="stable")[:DESCENTS]
    return [starts[at] for at in best if np.isfinite(squares[at])]


def _starts_of_quality(problem: _Problem, rng: np.random.Generator) -> list[Floats]:
    """Of a mapping of quality and stalls: the constants of quality that fit best without stalls.

    As quality is limited to the scale, the MOS is linear in none of them, and random starts would not find them.
    """
    mapping = problem.mapping
    places = [at for at, name in enumerate(problem.free) if name.startswith(QUALITY)]
    if not isinstance(mapping, MediaStall) or not places:
        return []
    undisturbed = np.flatnonzero((problem.axes[0] == 0) & (problem.axes[1] == 0))
    if len(undisturbed) <= len(places):
        undisturbed = np.arange(len(problem.mos))
    names = tuple(problem.free[at].removeprefix(QUALITY) for at in places)
    of_quality = replace(
        problem, mapping=mapping.quality, free=names, axes=problem.axes[2:], lower=problem.lower[places]
    )
    solved = _solve(replace(of_quality, linear=_linear_of(of_quality)).of(undisturbed), rng)
    start = problem.start
    start[places] = solved.values
    return [start]


def _random_starts(problem: _Problem, rng: np.random.Generator, count: int) -> Floats:
    """The current constants, then random ones of other magnitudes, and signs where any is allowed; (count, P)."""
    factors = 10 ** rng.uniform(-DECADES, DECADES, (count - 1, len(problem.free)))
    signs = np.where(np.isfinite(problem.lower), 1, rng.choice([-1, 1], factors.shape))
    return np.vstack([problem.start, factors * signs * np.where(problem.start == 0, 1, problem.start)])


def _linear_of(problem: _Problem) -> tuple[int, ...]:
    """Indexes of the constants in which the formula is jointly linear, checked at random values."""
    linear: list[int] = []
    with np.errstate(all="ignore"):
        samples = _random_starts(problem, np.random.default_rng(0), 30)
        for each in range(len(problem.free)):
            if all(_additive(problem, at, each, other) for at in samples for other in (each, *linear)):
                linear.append(each)
    return tuple(linear)


def _additive(problem: _Problem, at: Floats, one: int, other: int) -> bool:
    """Whether a step along both constants adds up the effects of each step; True where the formula overflows."""
    steps = np.eye(len(at))
    here, first, second, both = (
        problem.predicted(at + step) for step in (0 * steps[0], steps[one], steps[other], steps[one] + steps[other])
    )
    size = np.abs(first) + np.abs(second) + np.abs(both) + np.abs(here)
    gap = np.abs(both - first - second + here)
    return bool(np.all((gap <= 1e-9 * size) | ~np.isfinite(size)))


def _with_linear_solved(problem: _Problem, start: Floats) -> Floats:
    """The start with its linear constants set to the least-squares optimum given the others."""
    if not problem.linear:
        return start
    linear = list(problem.linear)
    without = start.copy()
    without[linear] = 0
    fixed = problem.predicted(without)
    columns = np.array([problem.predicted(without + step) - fixed for step in np.eye(len(start))[linear]]).T
    if not np.all(np.abs(columns) < HUGE):  # False for NaN
        return start
    root = np.sqrt(problem.weights)
    without[linear] = np.linalg.lstsq(root[:, None] * columns, root * (problem.mos - fixed), rcond=None)[0]
    return np.maximum(without, problem.lower)


def _errors(solution: _Solution) -> Floats:
    """Standard errors (P,); NaN for constants at a bound and for those that the study does not determine."""
    errors = np.full(len(solution.values), nan)
    inside = np.flatnonzero(~solution.at_bound)
    freedom = len(solution.jacobian) - len(inside)
    if freedom > 0:
        size, strength, directions = _directions(solution, inside)
        identified = strength > 0
        unscaled = np.sqrt(np.sum((directions[identified] / strength[identified, None]) ** 2, axis=0)) / size
        errors[inside] = unscaled * np.sqrt(solution.squares / freedom)
        errors[_unidentified(solution)] = nan
    return errors


def _unidentified(solution: _Solution) -> list[int]:
    """Indexes of the constants that can change, alone or together, without an effect on the MOS."""
    inside = np.flatnonzero(~solution.at_bound)
    _, strength, directions = _directions(solution, inside)
    unidentified = np.abs(directions[strength == 0]) > 1e-3
    return [int(at) for at in inside[unidentified.any(axis=0)]]


def _directions(solution: _Solution, inside: Counts) -> tuple[Floats, Floats, Floats]:
    """Singular value decomposition of the Jacobian of the F constants that are not at a bound.

    returns  (F,) sizes by which the constants are scaled, (F,) strength of each direction, 0 if it has no effect,
             and (F, F) the directions, one in each row
    """
    jacobian = solution.jacobian[:, inside]
    size = np.linalg.norm(jacobian, axis=0)
    size[size == 0] = 1
    _, found, directions = np.linalg.svd(jacobian / size)
    strength = np.zeros(len(inside))
    strength[: len(found)] = found
    strength[strength <= RANK * strength.max(initial=0)] = 0
    return size, strength, directions


def _cross_validate(problem: _Problem, folds: int, rng: np.random.Generator) -> tuple[Accuracy | None, int]:
    """Accuracy on left-out conditions, and the folds; None if a fold leaves fewer conditions than constants."""
    conditions = len(problem.mos)
    folds = min(folds, conditions)
    if folds < 2 or conditions - -(-conditions // folds) < len(problem.free):
        return None, folds
    fitted = np.zeros(conditions)
    for out in np.array_split(rng.permutation(conditions), folds):
        rest = np.setdiff1d(np.arange(conditions), out)
        values = _solve(problem.of(rest), rng).values
        fitted[out] = np.clip(
            problem.of(out).predicted(values), problem.mapping.scale.low, problem.mapping.scale.high
        )
    return _accuracy(fitted, problem.mos, problem.mapping.scale), folds


def _accuracy(fitted: Floats, mos: Floats, scale: Scale) -> Accuracy:
    error = np.abs(fitted - mos)
    # Means such as 3.1 and 3.6 differ by .5 only up to rounding.
    return Accuracy(float(np.sqrt(np.mean(error**2))), float(np.mean(error <= near(scale) + 1e-9)))


def near(scale: Scale) -> float:
    """NEAR in scale points."""
    return NEAR * (scale.high - scale.low)


def _spread(study: Study) -> sos.Sos | None:
    if study.ratings is None:
        return None
    try:
        spread = sos.estimate(study.ratings)
    except StudyError:
        return None
    return spread if settings_of(spread.of_opinions.value, spread.of_opinions.interval) else None


def _warnings(
    wanted: _Problem,
    solution: _Solution,
    kept: Sequence[str],
    problem: _Problem,
    cross_validated: Accuracy | None,
    spread: sos.Sos | None,
) -> Iterator[str]:
    conditions, constants = len(problem.mos), len(problem.free)
    if kept:
        values = ", ".join(f"{name} {wanted.mapping.parameters[name]:g}" for name in kept)
        yield (
            f"this study does not determine all constants: others fit as well with {values}, as before; "
            "vary the inputs that they act on, or fit fewer constants"
        )
    if conditions <= constants:
        yield (
            f"{constants} constants cannot be determined from {conditions} condition{'s' * (conditions != 1)}: "
            "measure more conditions, or fit fewer constants; none is in the fragment"
        )
    if at_bound := [name for name, at in zip(problem.free, solution.at_bound, strict=True) if at]:
        yield f"at the lower bound 0: {', '.join(at_bound)}; the study may contradict the formula there"
    if cross_validated is None and conditions > constants:
        yield "too few conditions for a cross-validation: each fold must leave as many as there are constants"
    if spread is None:
        mapping = problem.mapping
        yield f"the study does not determine theta: {mapping.theta:g} is the default of {mapping.name}"
    else:
        yield from (f"theta: {each}" for each in spread.warnings)


def _unnameable(inputs: Sequence[str]) -> Iterator[str]:
    for name in inputs:
        if fault := label_fault(name):
            yield f"the configuration does not accept the input {name!r}: rename the column, expected {fault}"


def media_stall(quality: str, inputs: Sequence[str]) -> QosMapping:
    """media-stall on a mapping of what is shown, with the names of its inputs; StudyError if that is none."""
    forms = {name: each for name, each in MAPPINGS.items() if each.parameters and each.qos is Qos.MEASURES}
    if quality not in forms:
        found = f"found {quality}" if quality else "found no --quality"
        raise StudyError(f"{MEDIA_STALL.name}: {found}, expected a mapping of what is shown, {', '.join(forms)}")
    form = forms[quality]
    try:
        return MEDIA_STALL.with_quality(form.with_inputs(inputs) if inputs or not form.inputs else form)
    except ValueError as error:
        raise StudyError(f"{error}; name the columns of what was shown: --inputs NAME") from None


def on_scale(mapping: QosMapping, low: float, high: float) -> QosMapping:
    """The mapping for ratings from low to high; StudyError if it, or the daemon, is for another scale."""
    if (low, high) == (mapping.scale.low, mapping.scale.high):
        return mapping
    if mapping.inputs:
        own = f"{mapping.scale.low} to {mapping.scale.high}"
        form = "iqx --inputs response_s" if mapping.qos is Qos.RESPONSES else "linear, logistic, iqx or power"
        raise StudyError(
            f"{mapping.name} is for ratings from {own}; for others, fit a form that has no scale: {form}"
        )
    scale = scale_of(low, high) if low < high else None
    if scale is None or not 0 <= scale.low < scale.high <= MOST_RATING:
        raise StudyError(
            f"found a scale from {low:g} to {high:g}, expected two whole numbers from 0 to {MOST_RATING}, "
            "the lower first"
        )
    return replace(mapping, scale=scale)


def _or_none(number: float) -> float | None:
    return number if isfinite(number) else None
