"""Mappings from a QoS condition to the MOS, the mean rating of users in that condition.

Each mapping names its source (paper or Recommendation, and equation), its constants and the range for which they
were fitted. Stall counts and times are per MEDIA_S seconds of played media, so the constants do not depend on the
length of the rating interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, partial
from types import MappingProxyType

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.qoe.scale import ACR5, Scale
from qoemon.core.qoe.special import expit

MEDIA_S = 60.0
"""The media time that a condition refers to: d in Hossfeld et al. 2020, (22)."""

RESPONSE = "response_s"
"""Name of the input that is a response time; every other configured input name is a measure."""


class Qos(StrEnum):
    """The kind of QoS that makes up a service's condition."""

    STALLS = "stalls"
    """n stalls, t stall seconds, both per MEDIA_S of media; one condition per session."""
    RESPONSES = "responses"
    """x seconds of waiting; one condition per response."""
    MEASURES = "measures"
    """named numbers in reports; one condition per report."""


class RatingModel(StrEnum):
    """How ratings spread around the MOS of a condition."""

    BETA = "beta"
    BINOMIAL = "binomial"
    EMPIRICAL = "empirical"


ENDLESS = 1e9
"""Used for infinity: unlike inf, it gives 0 when multiplied by a constant of 0."""

EXTREMES = (0.0, ENDLESS)


@dataclass(frozen=True)
class QosMapping:
    """A MOS formula with its constants.

    formula   takes one array per input, (B,) each, and the constants by name; returns (B,) scale points
    inputs    names of the inputs; empty if the configuration names them, see with_inputs()
    extremes  for each input, values at which the MOS may be highest or lowest; None if unknown
    """

    name: str
    qos: Qos
    inputs: tuple[str, ...]
    formula: Callable[..., Floats]
    parameters: Mapping[str, float]
    source: str
    fitted_on: str
    theta: float = 0.3
    models: tuple[RatingModel, ...] = (RatingModel.BETA, RatingModel.EMPIRICAL)
    scale: Scale = ACR5
    extremes: tuple[tuple[float, ...], ...] | None = (EXTREMES,)

    def __call__(self, *condition: Floats) -> Floats:
        """(B,) MOS of each condition, clipped to the scale; its low end where the formula gives NaN."""
        with np.errstate(all="ignore"):  # measures may have any value: an overflow is clipped
            mos = np.clip(self.formula(*condition, **self.parameters), self.scale.low, self.scale.high)
        return np.where(np.isnan(mos), self.scale.low, mos)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that a report needs all of, to be rated by them."""
        return self.inputs if self.qos is Qos.MEASURES else ()

    @property
    def reach(self) -> Floats:
        """(2,) lowest and highest MOS of any condition, scale points."""
        if self.extremes is None:
            return np.array([self.scale.low, self.scale.high], np.float64)
        mos = self(*np.array(self.extremes, np.float64))
        return np.array([mos.min(), mos.max()])

    def with_parameters(self, changed: Mapping[str, float]) -> QosMapping:
        """The same formula with other constants; ValueError lists unknown ones."""
        if unknown := sorted(changed.keys() - self.parameters.keys()):
            known = ", ".join(self.parameters) or "none"
            raise ValueError(f"{self.name} has no constant {', '.join(unknown)}; it has {known}")
        return replace(self, parameters=MappingProxyType({**self.parameters, **changed}))

    def with_inputs(self, names: Sequence[str]) -> QosMapping:
        """The same formula with inputs of these names; ValueError if its inputs are fixed, or of another number."""
        if self.inputs:
            raise ValueError(f"{self.name} has its own inputs, {', '.join(self.inputs)}: expected no others")
        if self.name == "linear":
            return _linear_of(names)
        if len(names) != 1:
            raise ValueError(f"{self.name} takes one input, got {len(names)}: {', '.join(names) or 'none'}")
        qos = Qos.RESPONSES if names[0] == RESPONSE else Qos.MEASURES
        return replace(self, inputs=tuple(names), qos=qos)

    def with_points(self, points: Sequence[tuple[float, float]]) -> QosMapping:
        """The table through these points (x, MOS); ValueError if this is no table, or the points are invalid."""
        if self.name != "table":
            raise ValueError(f"{self.name} has a formula: expected no points")
        x, mos = np.array(sorted(points), np.float64).reshape(-1, 2).T
        if len(x) < 2 or not np.all(np.diff(x) > 0):
            raise ValueError("a table takes two or more points, each at another x")
        from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - takes 4 times as long as numpy

        curve = PchipInterpolator(x, mos)
        # A monotone cubic does not overshoot: the range of the table is that of its points.
        formula = lambda at: np.asarray(curve(np.clip(at, x[0], x[-1])))  # noqa: E731 - one expression, used once
        return replace(self, formula=formula, extremes=(tuple(x.tolist()),))


def _constants(**constants: float) -> Mapping[str, float]:
    return MappingProxyType(constants)


def _video_stall(n: Floats, t: Floats, *, scale: float, time: float, count: float, floor: float) -> Floats:
    return scale * np.exp(-time * t / MEDIA_S - count * n / MEDIA_S) + floor


VIDEO_STALL = QosMapping(
    name="video-stall",
    qos=Qos.STALLS,
    inputs=("n", "t"),
    formula=_video_stall,
    parameters=_constants(scale=3.5, time=4.5, count=5.7, floor=1.5),
    theta=0.30,
    source="Hossfeld et al. 2020, arXiv:2003.12742, (22)",
    fitted_on="clips of 30 s with up to 6 stalls of 1 to 6 s each, rated by a crowd (Hossfeld et al. 2011)",
    extremes=(EXTREMES, EXTREMES),
)


QUALITY = "quality_"
"""Constants of `media-stall` that begin with it are those of its mapping of quality."""


@dataclass(frozen=True)
class MediaStall(QosMapping):
    """A mapping of what is shown and of stalls: the MOS of what is shown, Q, decays with stalls.

    formula   takes n, t and one array per measure
    inner     the mapping from measures to Q, with its own constants; None before with_quality()
    """

    inner: QosMapping | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that Q is a function of."""
        return self.inner.measures if self.inner else ()

    @cached_property
    def quality(self) -> QosMapping:
        """The mapping from measures to Q, with the constants of this mapping; ValueError before with_quality()."""
        if self.inner is None:
            raise ValueError(f"{self.name} takes a mapping of quality, from measures to the MOS without stalls")
        return self.inner.with_parameters(_split(self.parameters)[1])

    def after_stalls(self, quality: Floats, n: Floats, t: Floats) -> Floats:
        """(B,) MOS of a quality that is known, (B,) scale points, and of stalls."""
        mos = _decayed(quality, n, t, **_split(self.parameters)[0])
        return np.clip(mos, self.scale.low, self.scale.high)

    def with_quality(self, inner: QosMapping) -> MediaStall:
        """The same formula on the quality that `inner` gives; ValueError if that is no mapping of measures."""
        if not inner.measures or inner.scale != self.scale:
            takes = f"{self.name} takes a mapping of measures as that of quality"
            raise ValueError(f"{takes}, {inner.name} has {', '.join(inner.inputs) or 'no inputs'}")
        own = {f"{QUALITY}{name}": value for name, value in inner.parameters.items()}
        return replace(
            self,
            inner=inner,
            inputs=("n", "t", *inner.inputs),
            formula=partial(_media_stall, inner),
            parameters=_constants(**_split(self.parameters)[0], **own),
            extremes=_with_stalls(inner.extremes),
        )

    def with_inputs(self, names: Sequence[str]) -> QosMapping:
        """ValueError: its inputs are stalls, and those of its mapping of quality."""
        _ = self.quality
        return super().with_inputs(names)


def _with_stalls(extremes: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
    """The extremes of a quality, each without and with endless stalls."""
    if extremes is None:
        return None
    size = len(extremes[0])
    stalls = (0.0,) * size + (ENDLESS,) * size
    return stalls, stalls, *(values + values for values in extremes)


def _split(parameters: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The constants of stalls, and those of quality by the names that they have in its mapping."""
    of_quality = {name: value for name, value in parameters.items() if name.startswith(QUALITY)}
    of_stalls = {name: value for name, value in parameters.items() if name not in of_quality}
    return of_stalls, {name.removeprefix(QUALITY): value for name, value in of_quality.items()}


def _decayed(quality: Floats, n: Floats, t: Floats, *, time: float, count: float, floor: float) -> Floats:
    return (quality - floor) * np.exp(-time * t / MEDIA_S - count * n / MEDIA_S) + floor


def _media_stall(inner: QosMapping, n: Floats, t: Floats, *measures: Floats, **parameters: float) -> Floats:
    of_stalls, of_quality = _split(parameters)
    return _decayed(inner.with_parameters(of_quality)(*measures), n, t, **of_stalls)


MEDIA_STALL = MediaStall(
    name="media-stall",
    qos=Qos.STALLS,
    inputs=(),
    formula=_media_stall,  # replaced by with_quality()
    parameters=_constants(time=4.5, count=5.7, floor=1.5),
    source="video-stall (Hossfeld et al. 2020, (22)), with the MOS of what is shown in place of 5",
    fitted_on="stalls as video-stall; quality: your own study, or that of its mapping",
    extremes=None,
)


def _iqx(x: Floats, *, scale: float, beta: float, floor: float) -> Floats:
    mos: Floats = scale * np.exp(-beta * x) + floor
    return mos


WEB_IQX = QosMapping(
    name="web-iqx",
    qos=Qos.RESPONSES,
    inputs=(RESPONSE,),
    formula=_iqx,
    parameters=_constants(scale=4.0, beta=0.25, floor=1.0),
    theta=0.25,
    source="Hossfeld et al. 2020, arXiv:2003.12742, (15)",
    fitted_on="no range is stated; at 20 s the formula has come down to MOS 1.03",
    models=(RatingModel.BETA, RatingModel.BINOMIAL, RatingModel.EMPIRICAL),
)


def _web_g1030(x: Floats, *, best_s: float, worst_s: float) -> Floats:
    return np.asarray(5 - 4 * np.log(np.clip(x, best_s, worst_s) / best_s) / np.log(worst_s / best_s))


WEB_G1030 = QosMapping(
    name="web-g1030",
    qos=Qos.RESPONSES,
    inputs=(RESPONSE,),
    formula=_web_g1030,
    # best_s = .003 worst_s + .12, for users who expect up to 15 s; G.1030 also has 6 s and 60 s.
    parameters=_constants(best_s=0.165, worst_s=15.0),
    source="after ITU-T G.1030 (11/2005), Annex A: the MOS falls with the logarithm of the session time",
    fitted_on="search and result pages of up to 6, 15 and 60 s, by what users had been led to expect",
)


def _voice_g107(
    delay_ms: Floats,
    loss: Floats,
    *,
    r0: float,
    ie: float,
    bpl: float,
    burst: float,
    delay_from_ms: float,
    delay_sense: float,
) -> Floats:
    delayed = _delay_impairment(delay_ms, delay_from_ms, 6 * delay_sense)
    return mos_of_rating(r0 - delayed - _loss_impairment(loss, ie, bpl, burst))


def mos_of_rating(r: Floats) -> Floats:
    """MOS of a transmission rating R: ITU-T G.107 (06/2015), Annex B."""
    r = np.clip(r, 0, 100)
    mos: Floats = 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6
    return mos


def _delay_impairment(delay_ms: Floats, from_ms: float, power: float) -> Floats:
    """Idd, G.107 (7-27), (7-28). At from_ms, x and Idd are 0, so Idd is continuous there."""
    x = np.log2(np.maximum(delay_ms, from_ms) / from_ms)
    impairment: Floats = 25 * ((1 + x**power) ** (1 / power) - 3 * (1 + (x / 3) ** power) ** (1 / power) + 2)
    return impairment


def _loss_impairment(loss: Floats, ie: float, bpl: float, burst: float) -> Floats:
    """Ie,eff, G.107 (7-29); loss is the share of packets lost."""
    percent = 100 * np.clip(loss, 0, 1)
    return ie + (95 - ie) * percent / (percent / burst + bpl)


VOICE_G107 = QosMapping(
    name="voice-g107",
    qos=Qos.MEASURES,
    inputs=("delay_ms", "loss"),
    formula=_voice_g107,
    # G.711 with packet loss concealment; 4.3 is bpl without. delay_from_ms and delay_sense: mT and sT, Table 1.
    parameters=_constants(r0=93.2, ie=0.0, bpl=25.1, burst=1.0, delay_from_ms=100.0, delay_sense=1.0),
    source="ITU-T G.107 (06/2015), (7-27) to (7-29) and Annex B, echo perfectly cancelled; G.113 for ie, bpl",
    fitted_on="narrow-band telephony, one-way delays of up to 400 ms, losses of up to 20 %",
    extremes=((0.0, 1e4), (0.0, 1.0)),
)

IQX = QosMapping(
    name="iqx",
    qos=Qos.MEASURES,
    inputs=(),
    formula=_iqx,
    parameters=_constants(scale=4.0, beta=1.0, floor=1.0),
    source="Fiedler, Hossfeld, Tran-Gia 2010, A Generic Quantitative Relationship between QoE and QoS, (6)",
    fitted_on="your own study: qoemon fit",
)


def _logistic(x: Floats, *, scale: float, slope: float, middle: float, floor: float) -> Floats:
    return np.asarray(floor + scale * expit(slope * (x - middle)))


LOGISTIC = QosMapping(
    name="logistic",
    qos=Qos.MEASURES,
    inputs=(),
    formula=_logistic,
    # The constants of P.862.1, where x is a PESQ score: middle is 4.6607 / 1.4945.
    parameters=_constants(scale=4.0, slope=1.4945, middle=3.118568, floor=0.999),
    source="the form of ITU-T P.862.1 (11/2003), (1)",
    fitted_on="your own study: qoemon fit",
    extremes=((-ENDLESS, ENDLESS),),
)


def _power(x: Floats, *, scale: float, exponent: float, offset: float) -> Floats:
    return offset + scale * np.maximum(x, 0) ** exponent


POWER = QosMapping(
    name="power",
    qos=Qos.MEASURES,
    inputs=(),
    formula=_power,
    parameters=_constants(scale=-1.0, exponent=0.5, offset=5.0),
    source="Stevens 1957, On the psychophysical law; for QoE Reichl et al. 2013",
    fitted_on="your own study: qoemon fit",
    extremes=None,
)


def _linear(*scores: Floats, intercept: float, **weights: float) -> Floats:
    weighed = [weight * score for weight, score in zip(weights.values(), scores, strict=True)]
    return np.asarray(intercept + np.sum(weighed, axis=0))


LINEAR = QosMapping(
    name="linear",
    qos=Qos.MEASURES,
    inputs=(),
    formula=_linear,
    parameters=_constants(intercept=0.0),
    source="the form of ITU-T P.911's audiovisual integration without its product",
    fitted_on="your own study: qoemon fit",
    extremes=None,
)


def _audiovisual(a: Floats, v: Floats, *, intercept: float, audio: float, video: float, product: float) -> Floats:
    return intercept + audio * a + video * v + product * a * v


AUDIOVISUAL = QosMapping(
    name="audiovisual",
    qos=Qos.MEASURES,
    inputs=("audio", "video"),
    formula=_audiovisual,
    parameters=_constants(intercept=-0.00069084, audio=0.15374283, video=0.97153861, product=0.02461776),
    source="ITU-T P.1203.3, the integration of audio and video",
    fitted_on="scores of 1 to 5 for audio and video, such as those of ITU-T P.1203.2 and P.1203.1",
    extremes=None,
)


def _linear_of(names: Sequence[str]) -> QosMapping:
    if not names or len(set(names)) < len(names) or "intercept" in names:
        raise ValueError(f"linear takes one or more inputs of different names, got {', '.join(names) or 'none'}")
    weights = dict.fromkeys(names, 1 / len(names))
    return replace(LINEAR, inputs=tuple(names), parameters=_constants(intercept=0.0, **weights))


TABLE = QosMapping(
    name="table",
    qos=Qos.MEASURES,
    inputs=(),
    formula=_linear,  # replaced by with_points()
    parameters=_constants(),
    source="points of a study, with a monotone cubic between them (Fritsch and Carlson 1980)",
    fitted_on="its points; beyond them the MOS stays what it is at the outermost",
    extremes=((-ENDLESS, ENDLESS),),
)

MAPPINGS: Mapping[str, QosMapping] = MappingProxyType(
    {
        mapping.name: mapping
        for mapping in (
            VIDEO_STALL,
            MEDIA_STALL,
            WEB_IQX,
            WEB_G1030,
            VOICE_G107,
            AUDIOVISUAL,
            IQX,
            LOGISTIC,
            POWER,
            LINEAR,
            TABLE,
        )
    }
)
