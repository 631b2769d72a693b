"""qoemon: live estimates of user ratings from the QoS that sessions report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qoemon.core.qoe.mapping import Qos, QosMapping

__all__ = ["Qos", "QosMapping", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the names that packages with mappings need on first use, as they import numpy."""
    if name in {"Qos", "QosMapping"}:
        from qoemon.core.qoe import mapping  # noqa: PLC0415 - see above

        return getattr(mapping, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
