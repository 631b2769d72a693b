"""The constants of a mapping from a subjective study, by non-linear least squares.

Least squares ends in the valley where it begins, and a published constant may be off by powers of ten where a study
has other units. So many starts are tried first, cheaply: most formulas are linear in some of their constants
(scale, floor, weights), which follow from the others by linear least squares; only these others are searched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, isfinite, log10, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy.optimize import least_squares

from qoemon.config.sections.names import label_fault
from qoemon.config.studies.study import StudyError
from qoemon.tools.calibrate import sos

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.config.studies.study import Study
    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.qoe.mapping import QosMapping

NEAR = 0.5
"""A fitted MOS is near the observed one within this many scale points."""

STARTS, DECADES, DESCENTS = 300, 4.0, 4
"""So many starts are looked at, within so many powers of ten of the mapping's constants; the best are followed."""

RANK = 1e-6
"""Constants are not told apart where a change of them in some direction moves the MOS this little, as a share of
what a change in the best direction does."""


@dataclass(frozen=True)
class Constant:
    """A constant of the mapping. Its standard error is NaN where the study does not tell it."""

    name: str
    value: float
    error: float
    before: float


@dataclass(frozen=True)
class Accuracy:
    """How far the MOS of the mapping is from the observed, over conditions that count the same.

    rmse  scale points
    near  share of conditions within NEAR
    """

    rmse: float
    near: float


@dataclass(frozen=True)
class Fit:
    """A mapping with the constants that fit a study best.

    mapping    with these constants
    constants  those that were fitted
    fitted     (C,) MOS of the study's conditions by the mapping, scale points
    accuracy   on the conditions that it was fitted to
    foreign    on conditions that were left out of the fit, fold by fold; None if they are too few for that
    folds      how many
    spread     the SOS parameter of the study's ratings; None where it tells none
    """

    mapping: QosMapping
    study: Study
    constants: tuple[Constant, ...]
    fitted: Floats
    accuracy: Accuracy
    foreign: Accuracy | None
    folds: int
    spread: sos.Sos | None
    warnings: tuple[str, ...]

    @property
    def theta(self) -> float:
        """The SOS parameter of the ratings, or else what comes with the mapping."""
        return self.mapping.theta if self.spread is None else self.spread.theta

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        rows = zip(self.study.names, self.study.weights, self.study.mos, self.fitted, strict=True)
        return {
            "mapping": self.mapping.name,
            "inputs": list(self.mapping.inputs),
            "parameters": {
                each.name: {"value": each.value, "standard_error": _or_none(each.error), "before": each.before}
                for each in self.constants
            },
            "rmse": self.accuracy.rmse,
            "within_half": self.accuracy.near,
            "cross_validated": None
            if self.foreign is None
            else {"folds": self.folds, "rmse": self.foreign.rmse, "within_half": self.foreign.near},
            "theta": self.theta,
            "theta_interval": None if self.spread is None else list(self.spread.interval),
            "conditions": [
                {"condition": name, "weight": float(weight), "mos": float(mos), "fitted": float(fitted)}
                for name, weight, mos, fitted in rows
            ],
            "warnings": list(self.warnings),
        }


def fit(study: Study, only: Sequence[str] = (), *, folds: int = 5, seed: int = 1) -> Fit:
    """The constants of the study's mapping that fit it best.

    Each condition counts by its weight; standard errors are those of least squares with the variance that the
    residuals show, so they hold what ratings scatter and what the formula misses.

    only    the constants to fit, the others stay as they are; all if not given
    folds   of the cross-validation, by conditions; with fewer conditions each is a fold
    raises  StudyError if the mapping has no such constants, or they cannot be fitted
    """
    problem = _problem(study, only)
    rng = np.random.default_rng(seed)
    solution = _solved(problem, rng)
    mapping = problem.mapping.with_parameters(dict(zip(problem.free, solution.values.tolist(), strict=True)))
    fitted = mapping(*study.axes)
    foreign, used_folds = _cross_validated(problem, folds, rng)
    spread = _spread(study)
    errors = _errors(solution)
    return Fit(
        mapping=mapping,
        study=study,
        constants=tuple(
            Constant(name, float(value), float(error), study.mapping.parameters[name])
            for name, value, error in zip(problem.free, solution.values, errors, strict=True)
        ),
        fitted=fitted,
        accuracy=_accuracy(fitted, study.mos),
        foreign=foreign,
        folds=used_folds,
        spread=spread,
        warnings=(*_warnings(problem, solution, foreign, spread), *_unnameable(study.inputs)),
    )


def table(fit: Fit) -> Group:
    """The fit in words and figures, for rich to print."""
    conditions = len(fit.study.mos)
    summary = (
        f"{fit.mapping.name} fitted to {conditions:,} condition{'s' * (conditions != 1)}: off by "
        f"{fit.accuracy.rmse:.3f} (RMSE), {100 * fit.accuracy.near:.0f} % within {NEAR:g} of the observed MOS."
    )
    if fit.foreign is not None:
        summary += (
            f" On conditions left out of the fit ({fit.folds} folds): off by {fit.foreign.rmse:.3f}, "
            f"{100 * fit.foreign.near:.0f} % within {NEAR:g}."
        )
    warnings = (Text(f"Warning: {each}") for each in fit.warnings)
    return Group(Text(summary), _constants_table(fit), Text(_theta_told(fit)), _conditions_table(fit), *warnings)


def yaml_fragment(fit: Fit, service: str) -> str:
    """The service's part of the configuration, with as many digits as the standard errors leave."""
    spread = {} if fit.spread is None else sos.settings_of(fit.spread.theta, fit.spread.interval)
    settings = {
        "mapping": fit.mapping.name,
        **({"inputs": list(fit.study.inputs)} if fit.study.inputs else {}),
        **(spread or {"theta": fit.mapping.theta}),
        "parameters": {each.name: _rounded(each.value, each.error) for each in fit.constants},
    }
    return sos.fragment(service, settings)


@dataclass(frozen=True)
class _Problem:
    """C conditions, and a mapping of which the P constants called `free` are sought.

    least   (P,) what they cannot be below
    linear  places of those in which the formula is linear, all together
    """

    mapping: QosMapping
    free: tuple[str, ...]
    axes: tuple[Floats, ...]
    mos: Floats
    weights: Floats
    least: Floats
    linear: tuple[int, ...] = ()

    @property
    def start(self) -> Floats:
        """(P,) the constants as they are."""
        return np.array([self.mapping.parameters[name] for name in self.free])

    def predicted(self, values: Floats) -> Floats:
        """(C,) MOS, not cut to the scale: cut, it would not say in which direction it is better."""
        constants = {**self.mapping.parameters, **dict(zip(self.free, values.tolist(), strict=True))}
        with np.errstate(all="ignore"):
            return np.asarray(self.mapping.formula(*self.axes, **constants), np.float64)

    def residuals(self, values: Floats) -> Floats:
        """(C,) what least squares squares."""
        return np.sqrt(self.weights) * (self.predicted(values) - self.mos)

    def of(self, rows: Counts) -> _Problem:
        """The same for some of the conditions."""
        axes = tuple(axis[rows] for axis in self.axes)
        return replace(self, axes=axes, mos=self.mos[rows], weights=self.weights[rows])


@dataclass(frozen=True)
class _Solution:
    """Where least squares ends.

    values    (P,)
    jacobian  (C, P) of the residuals
    squares   the sum of the squared residuals
    bound     (P,) whether a constant is as low as it can be
    """

    values: Floats
    jacobian: Floats
    squares: float
    bound: np.ndarray[Any, np.dtype[np.bool_]]


def _problem(study: Study, only: Sequence[str]) -> _Problem:
    mapping = study.mapping
    if not mapping.parameters:
        raise StudyError(f"{mapping.name} has no constants to fit")
    if unknown := [name for name in only if name not in mapping.parameters]:
        known = ", ".join(mapping.parameters)
        raise StudyError(f"{mapping.name} has no constant {', '.join(unknown)}; it has {known}")
    free = tuple(name for name in mapping.parameters if not only or name in only)
    # The constants of published formulas keep their sign; those of mere forms have the sign that the data want.
    kept = [not study.inputs and mapping.parameters[name] >= 0 for name in free]
    least = np.where(kept, 0, -np.inf)
    problem = _Problem(mapping, free, study.axes, study.mos, study.weights, least)
    with np.errstate(all="ignore"):
        return replace(problem, linear=_linear(problem, _tried(problem, np.random.default_rng(0), 30)))


def _solved(problem: _Problem, rng: np.random.Generator) -> _Solution:
    """The best of several descents; of mirror images that are as good, the one with the signs of the mapping."""
    with np.errstate(all="ignore"):  # starts are wild: where formulas overflow, they are left
        descents = [found for start in _starts(problem, rng) if (found := _descended(problem, start))]
        if not descents:
            name = problem.mapping.name
            raise StudyError(f"{name} gives no finite MOS for these conditions, whatever its constants")
        best = min(descents, key=lambda found: found.squares)
        mirrored = [found for start in _mirrored(problem, best.values) if (found := _descended(problem, start))]
    as_good = best.squares * (1 + 1e-6) + 1e-12
    equals = [best, *(found for found in mirrored if found.squares <= as_good)]
    return min(equals, key=lambda found: (np.sign(found.values) != np.sign(problem.start)).tolist())


def _mirrored(problem: _Problem, values: Floats) -> list[Floats]:
    """The constants with one sign changed: a logistic curve that falls is one that rises, upside down."""
    free = [at for at in range(len(values)) if at not in problem.linear and not np.isfinite(problem.least[at])]
    return [_completed(problem, np.where(np.arange(len(values)) == at, -values, values)) for at in free]


def _descended(problem: _Problem, start: Floats) -> _Solution | None:
    """Where least squares ends; None where the formula has no finite slope on the way."""
    try:
        found = least_squares(
            problem.residuals, start, "3-point", (problem.least, np.inf), "trf", 1e-12, 1e-12, 1e-12, "jac"
        )
    except (ValueError, np.linalg.LinAlgError):
        return None
    # The search stays inside the bounds by a little, so that being there is being within rounding of it.
    bound = found.x - problem.least <= 1e-9 * np.maximum(np.abs(problem.start), 1)
    values = np.where(bound, problem.least, found.x)
    return _Solution(values, np.asarray(found.jac), 2 * float(found.cost), bound)


def _starts(problem: _Problem, rng: np.random.Generator) -> list[Floats]:
    """The best of many starts, (P,) each; the constants as they are come first among equals."""
    count = STARTS if len(problem.linear) < len(problem.free) else 1  # the first is the best already
    starts = [problem.start, *(_completed(problem, each) for each in _tried(problem, rng, count))]
    squares = [np.sum(problem.residuals(each) ** 2) for each in starts]
    best = np.argsort(np.nan_to_num(squares, nan=np.inf), kind="stable")[:DESCENTS]
    return [starts[at] for at in best if np.isfinite(squares[at])]


def _tried(problem: _Problem, rng: np.random.Generator, count: int) -> Floats:
    """(count, P) constants as they are, then such that are of other sizes, and signs where any is allowed."""
    factors = 10 ** rng.uniform(-DECADES, DECADES, (count - 1, len(problem.free)))
    signs = np.where(np.isfinite(problem.least), 1, rng.choice([-1, 1], factors.shape))
    return np.vstack([problem.start, factors * signs * np.where(problem.start == 0, 1, problem.start)])


def _linear(problem: _Problem, samples: Floats) -> tuple[int, ...]:
    """Constants of which the formula is a linear function, of all of them together, at every sample."""
    linear: list[int] = []
    for each in range(len(problem.free)):
        if all(_additive(problem, at, each, other) for at in samples for other in (each, *linear)):
            linear.append(each)
    return tuple(linear)


def _additive(problem: _Problem, at: Floats, one: int, other: int) -> bool:
    """Whether stepping along both constants adds what each step adds; where it overflows, nothing is known."""
    steps = np.eye(len(at))
    here, first, second, both = (
        problem.predicted(at + step) for step in (0 * steps[0], steps[one], steps[other], steps[one] + steps[other])
    )
    size = np.abs(first) + np.abs(second) + np.abs(both) + np.abs(here)
    gap = np.abs(both - first - second + here)
    return bool(np.all((gap <= 1e-9 * size) | ~np.isfinite(size)))


def _completed(problem: _Problem, start: Floats) -> Floats:
    """The start with its linear constants replaced by the best for the others."""
    if not problem.linear:
        return start
    linear = list(problem.linear)
    without = start.copy()
    without[linear] = 0
    fixed = problem.predicted(without)
    columns = np.array([problem.predicted(without + step) - fixed for step in np.eye(len(start))[linear]]).T
    if not np.all(np.isfinite(columns)):
        return start
    root = np.sqrt(problem.weights)
    without[linear] = np.linalg.lstsq(root[:, None] * columns, root * (problem.mos - fixed), rcond=None)[0]
    return np.maximum(without, problem.least)


def _errors(solution: _Solution) -> Floats:
    """(P,) standard errors; NaN for constants at a bound, and for those that the study does not tell."""
    errors = np.full(len(solution.values), nan)
    inside = np.flatnonzero(~solution.bound)
    freedom = len(solution.jacobian) - len(inside)
    if freedom > 0:
        size, strength, directions = _directions(solution, inside)
        told = strength > 0
        unscaled = np.sqrt(np.sum((directions[told] / strength[told, None]) ** 2, axis=0)) / size
        errors[inside] = unscaled * np.sqrt(solution.squares / freedom)
        errors[_unidentified(solution)] = nan
    return errors


def _unidentified(solution: _Solution) -> list[int]:
    """Constants that can be changed, some of them together, without the MOS noticing."""
    inside = np.flatnonzero(~solution.bound)
    _, strength, directions = _directions(solution, inside)
    silent = np.abs(directions[strength == 0]) > 1e-3
    return [int(at) for at in inside[silent.any(axis=0)]]


def _directions(solution: _Solution, inside: Counts) -> tuple[Floats, Floats, Floats]:
    """What changes of the F constants that are at no bound do: the directions that act independently of each other.

    returns  (F,) sizes by which constants are scaled, (F,) how strongly each direction acts, 0 for not at all,
             and (F, F) the directions, one a row
    """
    jacobian = solution.jacobian[:, inside]
    size = np.linalg.norm(jacobian, axis=0)
    size[size == 0] = 1
    _, found, directions = np.linalg.svd(jacobian / size)
    strength = np.zeros(len(inside))
    strength[: len(found)] = found
    strength[strength <= RANK * strength.max(initial=0)] = 0
    return size, strength, directions


def _cross_validated(problem: _Problem, folds: int, rng: np.random.Generator) -> tuple[Accuracy | None, int]:
    """How well conditions are met that were left out; None where the others are fewer than the constants."""
    conditions = len(problem.mos)
    folds = min(folds, conditions)
    if folds < 2 or conditions - -(-conditions // folds) < len(problem.free):
        return None, folds
    fitted = np.zeros(conditions)
    for out in np.array_split(rng.permutation(conditions), folds):
        rest = np.setdiff1d(np.arange(conditions), out)
        values = _solved(problem.of(rest), rng).values
        fitted[out] = np.clip(
            problem.of(out).predicted(values), problem.mapping.scale.low, problem.mapping.scale.high
        )
    return _accuracy(fitted, problem.mos), folds


def _accuracy(fitted: Floats, mos: Floats) -> Accuracy:
    off = np.abs(fitted - mos)
    # Means of ratings such as 3.1 and 3.6 are .5 apart but for rounding.
    return Accuracy(float(np.sqrt(np.mean(off**2))), float(np.mean(off <= NEAR + 1e-9)))


def _spread(study: Study) -> sos.Sos | None:
    if study.ratings is None:
        return None
    try:
        spread = sos.estimate(study.ratings)
    except StudyError:
        return None
    return spread if sos.settings_of(spread.theta, spread.interval) else None


def _warnings(
    problem: _Problem, solution: _Solution, foreign: Accuracy | None, spread: sos.Sos | None
) -> Iterator[str]:
    conditions, constants = len(problem.mos), len(problem.free)
    if conditions <= constants:
        yield (
            f"{constants} constants cannot be told from {conditions} condition{'s' * (conditions != 1)}: "
            "measure more conditions, or fit fewer constants"
        )
    elif silent := [problem.free[at] for at in _unidentified(solution)]:
        yield (
            f"this study does not tell {', '.join(silent)}: other values fit as well; "
            "vary what they act on, or fit fewer constants"
        )
    if bound := [name for name, at in zip(problem.free, solution.bound, strict=True) if at]:
        yield f"at 0, the least it can be: {', '.join(bound)}; the study may contradict the formula there"
    if foreign is None and conditions > constants:
        yield "too few conditions for a cross-validation: each fold must leave as many as there are constants"
    if spread is None:
        yield f"the study does not tell theta: {problem.mapping.theta:g} is what comes with {problem.mapping.name}"
    else:
        yield from (f"theta: {each}" for each in spread.warnings)


def _unnameable(inputs: Sequence[str]) -> Iterator[str]:
    for name in inputs:
        if fault := label_fault(name):
            yield f"the configuration takes no input {name!r}: rename the column, it expects {fault}"


def _constants_table(fit: Fit) -> Table:
    out = Table("Constant", box=box.SIMPLE_HEAD)
    for heading in ("Fitted", "Standard error", "Before"):
        out.add_column(heading, justify="right")
    for each in fit.constants:
        error = f"{each.error:.2g}" if isfinite(each.error) else "-"
        out.add_row(Text(each.name), f"{_rounded(each.value, each.error):g}", error, f"{each.before:g}")
    return out


def _theta_told(fit: Fit) -> str:
    if fit.spread is None:
        return f"theta {fit.theta:g}, as it comes with the mapping."
    lower, upper = fit.spread.interval
    return f"theta {fit.theta:.3f} ({lower:.3f} to {upper:.3f}), from the same ratings."


def _conditions_table(fit: Fit) -> Table:
    out = Table("Condition", box=box.SIMPLE_HEAD)
    for heading in ("Weight", "Observed", "Fitted", "Off"):
        out.add_column(heading, justify="right")
    rows = zip(fit.study.names, fit.study.weights, fit.study.mos, fit.fitted, strict=True)
    for name, weight, mos, fitted in rows:
        out.add_row(Text(name), f"{weight:g}", f"{mos:.2f}", f"{fitted:.2f}", f"{fitted - mos:+.2f}")
    return out


def _rounded(value: float, error: float) -> float:
    """With two digits of its standard error, but three to six digits of its own."""
    own = -floor(log10(abs(value))) if value else 0
    of_error = 1 - floor(log10(error)) if isfinite(error) and error > 0 else own + 5
    return round(value, min(max(of_error, own + 2), own + 5))


def _or_none(number: float) -> float | None:
    return number if isfinite(number) else None
