"""The login of an HTTP receiver, or of the other daemon of a pair."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from qoemon.config.sections.notify import Account
from qoemon.config.sections.types import first_secret
from qoemon.outputs.notify.secret import Secret


@dataclass(frozen=True)
class Login:
    """User name and password of HTTP basic authentication."""

    username: str
    password: Secret

    async def headers(self) -> dict[str, str]:
        """The header, with the present password; DeliveryError if its file cannot be used."""
        both = f"{self.username}:{await self.password.read() or ''}"
        return {"Authorization": f"Basic {b64encode(both.encode()).decode()}"}


def login_of(section: Account) -> Login | None:
    """The login of a section; None if it names no user."""
    if section.username is None:
        return None
    password = Secret(text=first_secret(section.password), file=section.password_file, key="password_file")
    return Login(section.username, password)
