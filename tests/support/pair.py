"""Two daemons of a pair, on free ports of this machine."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.support.parts import Daemon, unused_port
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAMES = ("a", "b")


class Pair:
    """Daemons a and b with the same settings, each with what it needs of its own; both are ready when it begins."""

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """own: further sections of each daemon, by name."""
        ports = dict(zip(NAMES, (unused_port(), unused_port()), strict=True))
        self.daemons = {
            name: Daemon(
                directory,
                {**_settings(directory, settings, name, ports), **(own or {}).get(name, {})},
                f"qoemon-{name}",
            )
            for name in NAMES
        }
        for name, daemon in self.daemons.items():
            daemon.use_port(ports[name])
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        for daemon in self.daemons.values():
            self._parts.enter_context(daemon)
        for daemon in self.daemons.values():
            daemon.ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    @property
    def leaders(self) -> list[str]:
        """Names of the daemons that say that they send notifications."""
        return [name for name, daemon in self.daemons.items() if daemon.value("qoemon_leader")]

    def leader(self) -> str:
        """Wait until one leads; its name."""
        until(lambda: len(self.leaders) == 1, self.logs)
        return self.leaders[0]

    def other(self, name: str) -> str:
        """The name of the other one."""
        return NAMES[1 - NAMES.index(name)]

    def logs(self) -> str:
        """The logs of both."""
        return "\n\n".join(f"{name}:\n{daemon.log.read_text()}" for name, daemon in self.daemons.items())


def _settings(directory: Path, settings: Mapping[str, Any], name: str, ports: Mapping[str, int]) -> dict[str, Any]:
    other = NAMES[1 - NAMES.index(name)]
    return {
        **settings,
        "mqtt": {**settings["mqtt"], "client_id": f"qoemon-{name}"},
        "state": {"dir": str(directory / f"state-{name}")},
        "http": {"url": f"http://qoemon-{name}.example.org"},
        "pair": {"name": name, "peer": {"url": f"http://127.0.0.1:{ports[other]}"}},
    }
