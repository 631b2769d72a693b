"""Digests of the sections that two daemons of a pair must have in common, to compare them without showing them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from qoemon.config.config import Config

SECTIONS = ("labels", "services", "sessions", "windows_s", "confidence", "alerts", "regimes", "roll_ups")
"""They decide which alerts a daemon finds; none has a secret."""


def digests(config: Config) -> Mapping[str, str]:
    """A short digest of each section, by its name."""
    texts = {name.removesuffix("_s"): config.model_dump_json(include={name}) for name in SECTIONS}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()}
