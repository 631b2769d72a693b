"""qoemon: from the QoS that sessions report to the ratings that their users would give, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qoemon.core.qoe.mapping import Qos, QosMapping

__all__ = ["Qos", "QosMapping", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What packages with mappings of their own import, loaded when it is asked for: numpy takes its time."""
    if name in {"Qos", "QosMapping"}:
        from qoemon.core.qoe import mapping  # noqa: PLC0415 - see above

        return getattr(mapping, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
