"""Section `services`: QoS, mapping, theta and scale of each service."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, Strict

from qoemon.common.text import did_you_mean
from qoemon.config import plugins
from qoemon.config.sections.types import File, Label, Real, ServiceName, Share, number
from qoemon.config.studies.ratings import Ratings
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan.plan import Counters
from qoemon.core.plan.plan import Service as CoreService
from qoemon.core.qoe.distribution import binomial_theta
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import MAPPINGS, MEDIA_STALL, MediaStall, Qos, QosMapping, RatingModel
from qoemon.core.qoe.scale import Scale

ScalePoint = Annotated[int, Strict(), Field(ge=0, le=100), BeforeValidator(number)]


class RatingScale(Section):
    """The rating scale: whole numbers from low to high."""

    low: ScalePoint = key("The worst rating.", 1)
    high: ScalePoint = key("The best rating.", 5)
    good: ScalePoint = key("Ratings from this one up count as good.", 4)
    poor: ScalePoint = key("Ratings from this one down count as poor.", 2)

    def rules(self) -> Iterator[Violation]:
        """`poor` is below `good`, and both are on the scale."""
        if not self.low <= self.poor < self.good <= self.high:
            depends_on = (("low",), ("high",), ("good",))
            yield Violation(("poor",), "low <= poor < good <= high", depends_on)


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


def _quality(name: str) -> str:
    if name not in _QUALITIES:
        raise expecting(" or ".join(_QUALITIES), did_you_mean(name, _QUALITIES))
    return name


def _name_the_qualities(schema: dict[str, Any]) -> None:
    schema["enum"] = list(_QUALITIES)


_QUALITIES = tuple(name for name, mapping in MAPPINGS.items() if mapping.qos is Qos.MEASURES)
"""Mappings that can tell the quality of what is shown: those of measures."""


def _ascending(band: tuple[float, float]) -> tuple[float, float]:
    if not band[0] < band[1]:
        raise expecting("two different numbers, the lower first")
    return band


Band = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


class StudyFile(Section):
    """The file of a study, with the options of `qoemon theta`; a path alone is the file."""

    file: File = key("CSV file, such as one with the columns condition and rating.")
    condition: str = key("Columns that name what was rated, a,b; empty: condition.", "")
    rating: str = key("Column with the ratings, or of a matrix those with them, a*; empty: rating.", "")
    header: str = key("Names of the columns of a file without a header, a,b; empty: its first row.", "")
    wide: Literal["conditions", "users"] | None = key(
        "What a row is, of a matrix of ratings with a column for each user, or each condition.", None
    )
    counts: str = key("Columns with the number of times that each rating was given, a,b, the lowest first.", "")
    words: str = key("The ratings in words, a,b, the lowest first; empty: they are numbers.", "")
    missing: str = key(
        "Cells that say that there is no value, a,b, beside NA, NaN, null, none, - and empty ones.", ""
    )

    def ratings(self, low: float, high: float) -> Ratings:
        """The ratings on a scale with these ends; ContentError or UnreadableError with the reason."""
        from qoemon.common.csvfile import names_in, opened  # noqa: PLC0415 - studies are rare
        from qoemon.config.studies import reading, study  # noqa: PLC0415 - and import the counting of stalls

        how = reading.Reading(
            condition=names_in(self.condition),
            columns={reading.RATING: self.rating} if self.rating else {},
            header=names_in(self.header),
            wide=self.wide,
            counts=names_in(self.counts),
            words=names_in(self.words),
            missing=names_in(self.missing),
        )
        with opened(str(self.file)) as file:
            return study.empirical(study.read_ratings(file, low, high, how))


def _file_of_study(value: Any) -> Any:
    return value if isinstance(value, dict | StudyFile) else {"file": value}


RatingStudy = Annotated[StudyFile, BeforeValidator(_file_of_study)]


def _unreadable(study: StudyFile, scale: RatingScale) -> Iterator[Violation]:
    """Why the study cannot be read: read with the configuration, so that an error in it prevents the start."""
    from qoemon.common.csvfile import ContentError, UnreadableError  # noqa: PLC0415 - see above

    try:
        study.ratings(scale.low, scale.high)
    except ContentError as error:
        keys = {name: value for name, value in error.options.items() if name in StudyFile.model_fields}
        written = ", ".join(
            f"{name}: {json.dumps(value)}" for name, value in {"file": str(study.file), **keys}.items()
        )
        advice = f"; try study: {{{written}}}" if keys else ""
        yield Violation(("study",), "a study with ratings", (("scale",),), f"{error.fault}{advice}")
    except UnreadableError as error:
        yield Violation(("study",), "a study with ratings", (), str(error))


def _frequencies(study: StudyFile, scale: Scale) -> EmpiricalRatings:
    size = len(scale.ratings)
    ratings = study.ratings(scale.low, scale.high)
    given = [np.rint(each).astype(int) - scale.low for each in ratings.conditions.values()]
    return EmpiricalRatings.of(np.array([np.bincount(each, minlength=size) for each in given]), scale)


class Service(Section):
    """How the ratings of one service are estimated."""

    mapping: Annotated[str, AfterValidator(_mapping), Field(json_schema_extra=_name_the_mappings)] = key(
        "Formula from QoS to MOS."
    )
    theta: Share = key("SOS parameter, 0 to 1: how far the ratings of users differ.")
    theta_band: Band | None = key("Range of plausible theta, for the bounds.", None)
    ratings: RatingModel = key(
        "Distribution of ratings around the MOS: beta, binomial if the mapping has it, empirical with a study.",
        "beta",
    )
    study: RatingStudy | None = key(
        "Study for ratings: empirical: a CSV file with the columns condition and rating, or a mapping with file, "
        "and with condition, rating, header, wide, counts, words and missing, as in `qoemon theta`.",
        None,
    )
    counters: Counters = key(
        "Counters in reports: totals since the start of the session (cumulative), or differences (delta).",
        "cumulative",
    )
    scale: RatingScale = key("The rating scale.", {})
    inputs: tuple[Label, ...] = key(
        "Inputs of a mapping without inputs of its own: response_s, or names of measures.", []
    )
    parameters: Mapping[str, Real] = key("Constants of the mapping that replace its own, by name.", {})
    points: tuple[tuple[Real, Real], ...] = key("Points of the mapping table: pairs of input and MOS.", [])
    quality: Annotated[str, AfterValidator(_quality), Field(json_schema_extra=_name_the_qualities)] | None = key(
        "For media-stall: mapping from the measures of what is shown to its MOS without stalls.", None
    )

    slo: Share | None = key("Objective: share of good ratings, for the burn-rate rules of `qoemon rules`.", None)

    @cached_property
    def configured_mapping(self) -> QosMapping:
        """The mapping with its inputs, points and constants; ValueError if they do not fit it."""
        return self.shaped_mapping.with_parameters(self.parameters)

    @property
    def shaped_mapping(self) -> QosMapping:
        """The mapping with its inputs and points, but with its own constants; ValueError if they do not fit it."""
        mapping = plugins.find(self.mapping)
        if isinstance(mapping, MediaStall):
            return mapping.with_quality(self._shaped(MAPPINGS[self.quality])) if self.quality else mapping
        if not mapping.inputs:  # a form without units of its own takes any scale
            mapping = replace(mapping, scale=Scale(**self.scale.model_dump()))
        return self._shaped(mapping)

    def _shaped(self, mapping: QosMapping) -> QosMapping:
        if self.inputs or not mapping.inputs:
            mapping = mapping.with_inputs(self.inputs)
        return mapping.with_points(self.points) if self.points or mapping.name == "table" else mapping

    def core_service(self, name: str) -> CoreService:
        """The service as the core takes it."""
        scale = Scale(**self.scale.model_dump())
        return CoreService(
            name=name,
            mapping=self.configured_mapping,
            theta=self.theta,
            theta_band=self.theta_band or (),
            model=self.ratings,
            study=_frequencies(self.study, scale) if self.study else None,
            counters=self.counters,
            scale=scale,
        )

    def rules(self) -> Iterator[Violation]:
        """Inputs, constants, ratings and scale fit the mapping; `theta` is within `theta_band`."""
        yield from self._mapping_rules()
        mapping = plugins.find(self.mapping)
        if self.ratings not in mapping.models:
            expected = f"{' or '.join(mapping.models)}, as the mapping is {self.mapping}"
            yield Violation(("ratings",), expected, (("mapping",),))
        elif self.ratings is RatingModel.BINOMIAL and self.theta != (fixed := binomial_theta(mapping.scale)):
            yield Violation(("theta",), f"{fixed:g}, the theta of binomial ratings", (("ratings",),))
        ends = {"low": mapping.scale.low, "high": mapping.scale.high} if mapping.inputs else {}
        for name in (name for name, end in ends.items() if getattr(self.scale, name) != end):
            yield Violation(("scale", name), f"{ends[name]}, as in the scale of {self.mapping}", (("mapping",),))
        if self.theta_band and not self.theta_band[0] <= self.theta <= self.theta_band[1]:
            yield Violation(("theta_band",), "a band around theta", (("theta",),))
        if (self.ratings is RatingModel.EMPIRICAL) != (self.study is not None):
            yield Violation(("study",), "a study with ratings: empirical, and with nothing else", (("ratings",),))
        if self.study:
            yield from _unreadable(self.study, self.scale)

    def _mapping_rules(self) -> Iterator[Violation]:
        if (self.mapping == MEDIA_STALL.name) != (self.quality is not None):
            expected = f"a mapping of measures with the mapping {MEDIA_STALL.name}, and with no other"
            yield Violation(("quality",), expected, (("mapping",),))
            return
        try:
            known = list(self.shaped_mapping.parameters)
        except ValueError:
            known = list(plugins.find(self.mapping).parameters) + list(self.inputs)
        unknown = [name for name in self.parameters if name not in known]
        for name in unknown:
            expected = f"one of {', '.join(known) or 'none'}, the constants of {self.mapping}"
            yield Violation(("parameters", name), expected, (("mapping",),), did_you_mean(name, known))
        try:
            _ = self.shaped_mapping if unknown else self.configured_mapping
        except ValueError as error:
            depends_on = (("inputs",), ("points",), ("quality",))
            yield Violation(("mapping",), "inputs and points that fit the mapping", depends_on, str(error))


Services = Annotated[
    Mapping[ServiceName, Service], Field(min_length=1, json_schema_extra={"additionalProperties": False})
]
