"""The part of the configuration that a study gives: a service, as YAML."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

import yaml

from qoemon.config.config import Config
from qoemon.config.yaml.document import Document
from qoemon.config.yaml.errors import ConfigError
from qoemon.config.yaml.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping


def fragment(service: str, settings: Mapping[str, Any]) -> str:
    """A service of the configuration as YAML, one line for each key as in the sample.

    It is read as the daemon would read it: if the daemon refuses it, it is a comment, with the reason.
    """
    lines = [f"    {name}: {_flow(value)}\n" for name, value in settings.items()]
    text = "".join(["services:\n", f"  {_flow(service)}:\n", *lines])
    try:
        validated(Document("this fragment", yaml.safe_load(text)), Config)
    except ConfigError as error:
        reasons = [f"# {replace(problem, line=None)}\n" for problem in error.problems]
        return "".join(
            ["# The daemon refuses this as it is:\n", *reasons, *(f"# {line}\n" for line in text.splitlines())]
        )
    return text


def settings_of(theta: float, interval: tuple[float, float]) -> Mapping[str, Any]:
    """The keys of a service that hold its theta; empty if the configuration does not allow this theta."""
    rounded, lower, upper = (round(value, 3) for value in (theta, *interval))
    if not 0 < rounded < 1:
        return {}
    band = {"theta_band": [lower, upper]} if 0 < lower <= rounded <= upper < 1 and lower < upper else {}
    return {"theta": rounded, **band}


def unusable(theta: float) -> str:
    """Why the configuration does not allow this theta, and what to do."""
    if theta < 0.5:
        return f"theta is {theta:.3f}: all users agree, but the configuration requires a theta above 0"
    return f"theta is {theta:.3f}, which many users cannot reach: have each condition rated by more users"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=inf)
    return text.removesuffix("\n").removesuffix("\n...")
