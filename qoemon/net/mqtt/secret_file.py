"""Reads secrets from files at each attempt to connect, so that a rotated password works without a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.config.sections.types import read_secret
from qoemon.net.mqtt.errors import MqttConnectionError

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 65_535
"""Length of the longest password that MQTT can carry."""


def current_secret(given: str | None, key: str, file: Path | None) -> str | None:
    """The secret: the given one, or the present content of the file, if there is one.

    key      of the file in the configuration, for errors
    raises   MqttConnectionError if the file cannot be used; the text shows nothing of its content
    """
    if file is None:
        return given
    try:
        secret = read_secret(file)
    except ValueError as error:
        raise MqttConnectionError(f"cannot read {key} {file}: {error}") from None
    if len(secret.encode()) > MOST_BYTES:
        raise MqttConnectionError(f"cannot use {key} {file}: more than {MOST_BYTES} bytes")
    return secret
