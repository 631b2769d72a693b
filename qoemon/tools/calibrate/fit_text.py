"""A fit as text and tables, and as the service that it gives to the configuration."""

from __future__ import annotations

from dataclasses import asdict
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qoemon.core.qoe.mapping import MediaStall
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate import sos
from qoemon.tools.calibrate.fit import near
from qoemon.tools.calibrate.fragment import fragment, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.tools.calibrate.fit import Fit


def table(fit: Fit) -> Group:
    """The fit as text and tables, for rich."""
    conditions = len(fit.study.mos)
    summary = (
        f"{fit.mapping.name} fitted to {conditions:,} condition{'s' * (conditions != 1)}: RMSE "
        f"{fit.accuracy.rmse:.3f}, {100 * fit.accuracy.near:.0f} % within {near(fit.mapping.scale):g} of the "
        "observed MOS."
    )
    if fit.cross_validated is not None:
        summary += (
            f" On conditions left out of the fit ({fit.folds} folds): RMSE {fit.cross_validated.rmse:.3f}, "
            f"{100 * fit.cross_validated.near:.0f} % within {near(fit.mapping.scale):g}."
        )
    warnings = (Text(f"Warning: {each}") for each in fit.warnings)
    return Group(
        Text(summary),
        _constants_table(fit),
        Text(_theta_text(fit)),
        *_about(fit),
        _conditions_table(fit),
        *warnings,
    )


def _about(fit: Fit) -> Iterator[Text]:
    """What the fit says of GoB and PoW, and of the scale."""
    if fit.goodness is not None:
        yield Text(fit.goodness.text)
    if fit.spread is not None and fit.spread.choice is not None:
        yield Text(fit.spread.choice.text)
    if (scale := fit.mapping.scale) != ACR5:
        yield Text(
            f"On the scale from {scale.low} to {scale.high}, {scale.good} and above is good, {scale.poor} and "
            "below poor: the same shares of the scale as on 1 to 5. Change them if yours are others."
        )


def yaml_fragment(fit: Fit, service: str) -> str:
    """The service's part of the configuration, with as many digits as the standard errors justify."""
    opinions = None if fit.spread is None else fit.spread.of_opinions
    spread = {} if opinions is None else settings_of(opinions.value, opinions.interval)
    settings = {
        "mapping": fit.mapping.name,
        **({"quality": fit.mapping.quality.name} if isinstance(fit.mapping, MediaStall) else {}),
        **({"inputs": list(fit.study.inputs)} if fit.study.inputs else {}),
        **(spread or {"theta": fit.mapping.theta}),
        **({} if fit.mapping.scale == ACR5 else {"scale": asdict(fit.mapping.scale)}),
        "parameters": {each.name: _rounded(each.value, each.error) for each in fit.constants if each.told},
    }
    if not settings["parameters"]:
        del settings["parameters"]
    return fragment(service, settings)


def _constants_table(fit: Fit) -> Table:
    out = Table("Constant", box=box.SIMPLE_HEAD)
    for heading in ("Fitted", "Standard error", "Before"):
        out.add_column(heading, justify="right")
    for each in fit.constants:
        error = f"{each.error:.2g}" if isfinite(each.error) else "-"
        value = f"{_rounded(each.value, each.error):g}" if each.told or each.value != each.before else "as before"
        out.add_row(Text(each.name), value, error, f"{each.before:g}")
    return out


def _theta_text(fit: Fit) -> str:
    if fit.spread is None:
        return f"theta {fit.theta:g}, the default of the mapping."
    return sos.summary(fit.spread)


def _conditions_table(fit: Fit) -> Table:
    out = Table("Condition", box=box.SIMPLE_HEAD)
    for heading in ("Weight", "Observed", "Fitted", "Error"):
        out.add_column(heading, justify="right")
    rows = zip(fit.study.names, fit.study.weights, fit.study.mos, fit.fitted, strict=True)
    for name, weight, mos, fitted in rows:
        out.add_row(Text(name), f"{weight:g}", f"{mos:.2f}", f"{fitted:.2f}", f"{fitted - mos:+.2f}")
    return out


def _rounded(value: float, error: float) -> float:
    """The value rounded to two digits of its standard error, but to three to six significant digits."""
    own = -floor(log10(abs(value))) if value else 0
    of_error = 1 - floor(log10(error)) if isfinite(error) and error > 0 else own + 5
    return round(value, min(max(of_error, own + 2), own + 5))
