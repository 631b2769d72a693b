"""What the configuration says of a service: which QoS, mapping, theta, scale."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, Strict

from qoemon.common.text import did_you_mean
from qoemon.config import plugins
from qoemon.config.sections.types import File, Label, Real, ServiceName, Share, number
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan.plan import Counters
from qoemon.core.plan.plan import Service as BaseWindow
from qoemon.core.qoe.distribution import binomial_theta
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import MAPPINGS, QosMapping, RatingModel
from qoemon.core.qoe.scale import Scale

ScalePoint = Annotated[int, Strict(), Field(ge=0, le=100), BeforeValidator(number)]


class RatingScale(Section):
    """The rating scale: whole numbers from low to high."""

    low: ScalePoint = key("The worst rating.", 1)
    high: ScalePoint = key("The best rating.", 5)
    good: ScalePoint = key("This rating and better ones count as good.", 4)
    poor: ScalePoint = key("This rating and worse ones count as poor.", 2)

    def rules(self) -> Iterator[Violation]:
        """Poor lies below good, both on the scale."""
        if not self.low <= self.poor < self.good <= self.high:
            others = (("low",), ("high",), ("good",))
            yield Violation(("poor",), "low <= poor < good <= high", others)


def _mapping(name: str) -> str:
    if name not in MAPPINGS and name not in plugins.names():  # names() reads the metadata of all packages
        raise expecting(" or ".join(plugins.names()), did_you_mean(name, plugins.names()))
    try:
        plugins.find(name)
    except plugins.PluginError as error:
        raise expecting("a mapping that its package provides", str(error)) from None
    return name


def _name_the_mappings(schema: dict[str, Any]) -> None:
    schema["enum"] = list(plugins.names())


def _ascending(band: tuple[float, float]) -> tuple[float, float]:
    if not band[0] < band[1]:
        raise expecting("two different numbers, the lower first")
    return band


Band = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


def _rated(path: Path) -> Path:
    """A study must be readable when the configuration is: afterwards nobody is there to mend it."""
    from qoemon.common.csvfile import AnalyzeError, UnreadableError, opened  # noqa: PLC0415 - studies are rare
    from qoemon.config.studies import study  # noqa: PLC0415 - and take the counting of stalls with them

    try:
        with opened(str(path)) as file:
            study.read_ratings(file)
    except (AnalyzeError, UnreadableError) as error:
        raise expecting("a study with the columns condition and rating", str(error)) from None
    return path


Rated = Annotated[File, AfterValidator(_rated)]


def _frequencies(path: Path, scale: Scale) -> EmpiricalRatings:
    from qoemon.common.csvfile import opened  # noqa: PLC0415 - see above
    from qoemon.config.studies import study  # noqa: PLC0415 - see above

    with opened(str(path)) as file:
        ratings = study.read_ratings(file, scale.low, scale.high)
    size = len(scale.ratings)
    given = [np.rint(each).astype(int) - scale.low for each in ratings.conditions.values()]
    return EmpiricalRatings.of(np.array([np.bincount(each, minlength=size) for each in given]), scale)


class Service(Section):
    """How one service is judged."""

    mapping: Annotated[str, AfterValidator(_mapping), Field(json_schema_extra=_name_the_mappings)] = key(
        "The formula from QoS to MOS."
    )
    theta: Share = key("How far users differ in their ratings: the SOS parameter, 0 to 1.")
    theta_band: Band | None = key("The theta between which the truth is thought to lie, for bounds.", None)
    ratings: RatingModel = key(
        "How ratings spread around the MOS: beta, binomial where the mapping has it, empirical with a study.",
        "beta",
    )
    study: Rated | None = key("CSV file with the columns condition and rating, for empirical ratings.", None)
    counters: Counters = key(
        "What clients send: totals since the session began, or differences (delta).", "cumulative"
    )
    scale: RatingScale = key("The rating scale.", {})
    inputs: tuple[Label, ...] = key(
        "What a mapping that has no inputs of its own is to look at: response_s, or names of measures.", []
    )
    parameters: Mapping[str, Real] = key("Other constants for the mapping, by name.", {})
    points: tuple[tuple[Real, Real], ...] = key("The points of the mapping table: pairs of input and MOS.", [])

    slo: Share | None = key(
        "The share of good ratings that the service is to have, for the burn-rate rules of `qoemon rules`.", None
    )

    @cached_property
    def judged_by(self) -> QosMapping:
        """The mapping with its inputs, points and constants; ValueError if it can't have them."""
        mapping = plugins.find(self.mapping)
        if self.inputs or not mapping.inputs:
            mapping = mapping.with_inputs(self.inputs)
        if self.points or self.mapping == "table":
            mapping = mapping.with_points(self.points)
        return mapping.with_parameters(self.parameters)

    def judged(self, name: str) -> BaseWindow:
        """How the core is to judge it."""
        scale = Scale(**self.scale.model_dump())
        return BaseWindow(
            name=name,
            mapping=self.judged_by,
            theta=self.theta,
            theta_band=self.theta_band or (),
            model=self.ratings,
            study=_frequencies(self.study, scale) if self.study else None,
            counters=self.counters,
            scale=scale,
        )

    def rules(self) -> Iterator[Violation]:
        """The mapping can have these inputs, constants, ratings and scale; the band encloses theta."""
        yield from self._mapping_rules()
        mapping = plugins.find(self.mapping)
        if self.ratings not in mapping.models:
            expected = f"{' or '.join(mapping.models)}, as the mapping is {self.mapping}"
            yield Violation(("ratings",), expected, (("mapping",),))
        elif self.ratings is RatingModel.BINOMIAL and self.theta != (fixed := binomial_theta(mapping.scale)):
            yield Violation(("theta",), f"{fixed:g}, which binomial ratings have by nature", (("ratings",),))
        ends = {"low": mapping.scale.low, "high": mapping.scale.high}
        for name in (name for name, end in ends.items() if getattr(self.scale, name) != end):
            yield Violation(("scale", name), f"{ends[name]}, as in the scale of {self.mapping}", (("mapping",),))
        if self.theta_band and not self.theta_band[0] <= self.theta <= self.theta_band[1]:
            yield Violation(("theta_band",), "a band around theta", (("theta",),))
        if (self.ratings is RatingModel.EMPIRICAL) != (self.study is not None):
            yield Violation(("study",), "a study with ratings: empirical, and with nothing else", (("ratings",),))

    def _mapping_rules(self) -> Iterator[Violation]:
        known = list(plugins.find(self.mapping).parameters) + list(self.inputs)
        unknown = [name for name in self.parameters if name not in known]
        for name in unknown:
            expected = f"one of {', '.join(known) or 'none'}, the constants of {self.mapping}"
            yield Violation(("parameters", name), expected, (("mapping",),), did_you_mean(name, known))
        if not unknown:
            try:
                _ = self.judged_by
            except ValueError as error:
                others = (("inputs",), ("points",))
                yield Violation(("mapping",), "inputs and points that fit the mapping", others, str(error))


Services = Annotated[
    Mapping[ServiceName, Service], Field(min_length=1, json_schema_extra={"additionalProperties": False})
]
