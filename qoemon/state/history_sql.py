"""What all parts of the history use of its database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from qoemon.core.qoe.scale import Scale


def one(database: sqlite3.Connection, statement: str, *values: object) -> Any:
    """The only value of a row; None without a row."""
    found = database.execute(statement, values).fetchone()
    return None if found is None else found[0]


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as the key of a group: the same for any order."""
    return json.dumps(labels, sort_keys=True, ensure_ascii=False)


def scale_text(scale: Scale) -> str:
    """A scale as a part of the key of a service: ratings on different scales are never added up."""
    return f"{scale.low} to {scale.high}, good {scale.good}, poor {scale.poor}"
