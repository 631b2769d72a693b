"""The schema of the chart's values. `make docs` writes it, a test checks that it is up to date.

The schema of `config` is that of qoemon itself, so Helm refuses a misspelt key before anything is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from qoemon.config import config

HERE = Path(__file__).parent
CHART = HERE / "qoemon"

_LOOKAHEAD = "^(?=[0-9])"


def values_schema() -> str:
    """Text of values.schema.json."""
    schema = yaml.safe_load((HERE / "values.schema.yaml").read_text())
    configuration = _for_go(config.schema())
    del configuration["$schema"]
    # What the templates need; the chart's values have both.
    configuration["required"] = ["http", "state"]
    schema["$defs"] |= configuration.pop("$defs")
    schema["properties"]["config"] = configuration
    return json.dumps(schema, indent=1) + "\n"


def _for_go(schema: Any) -> Any:
    """A schema without the lookahead of durations, which regular expressions of Go do not have."""
    if isinstance(schema, list):
        return [_for_go(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _for_go(value) for key, value in schema.items()}
    pattern = converted.get("pattern", "")
    if isinstance(pattern, str) and pattern.startswith(_LOOKAHEAD):
        converted["pattern"] = "^" + pattern.removeprefix(_LOOKAHEAD)
        converted["minLength"] = 1
    return converted
