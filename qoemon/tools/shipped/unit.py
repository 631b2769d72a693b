"""The systemd unit, for the place where qoemon is installed."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = "/opt/qoemon/bin/qoemon"
"""In the unit of the repository."""

HIDDEN = ("/home/", "/root/", "/run/user/")
"""What ProtectHome=yes hides from the daemon."""

_TENANT = (
    ("Description=Live QoE monitoring:", "Description=Live QoE monitoring, %i:"),
    ("-c /etc/qoemon/qoemon.yaml", "-c /etc/qoemon/%i.yaml"),
    ("StateDirectory=qoemon\n", "StateDirectory=qoemon-%i\n"),
    ("WorkingDirectory=%S/qoemon\n", "WorkingDirectory=%S/qoemon-%i\n"),
    (":/etc/qoemon/mqtt-password", ":/etc/qoemon/%i-mqtt-password"),
    ("/var/lib/qoemon is what", "/var/lib/qoemon-%i is what"),
)
_OWN_USER = "# A user of its own, who is nobody while it does not run.\nDynamicUser=yes\n"


class HiddenError(Exception):
    """The unit's sandbox hides the place where qoemon is installed."""


def installed_program() -> str:
    """The command `qoemon` beside this interpreter. HiddenError if the unit could not start it there."""
    # Not resolved: the interpreter of a virtual environment is a link to one without qoemon.
    program = Path(sys.executable).absolute().with_name("qoemon")
    if not program.is_file():
        raise HiddenError(f"{program} does not exist: install qoemon with this interpreter, {sys.executable}")
    if str(program).startswith(HIDDEN):
        raise HiddenError(
            f"{program} is in a home directory, which the unit hides from the daemon (ProtectHome=yes): "
            "install qoemon into /opt/qoemon, and run this command there"
        )
    return str(program)


def unit(text: str, program: str, *, template: bool, user: str | None) -> str:
    """The unit with this program.

    text      that of the repository
    template  a unit qoemon@.service, each of whose instances has a configuration and a state directory of its own
    user      an existing user to run as, instead of a dynamic one
    """
    text = _replaced(text, f"ExecStart={PROGRAM} ", f"ExecStart={_word(program)} ")
    for old, new in _TENANT if template else ():
        text = _replaced(text, old, new)
    if user is not None:
        text = _replaced(text, _OWN_USER, f"User={user}\nGroup={user}\n")
    return text


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"the unit has no {old!r}")
    return text.replace(old, new)


def _word(program: str) -> str:
    """A path as systemd reads it: % begins a specifier, and a space ends a word."""
    escaped = program.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != program or " " in program else program
