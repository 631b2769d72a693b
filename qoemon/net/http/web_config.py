"""The web configuration file as it is in force: read again when it or a file that it names has changed.

A running daemon never ends for what it finds then. It keeps what was last good, says so once and in a metric. Nor
does it ever open up by itself: a file that no longer asks for TLS, for users or for client certificates may be one
that is just being written, so that takes a restart.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qoemon.config.sections.web import WebFile
from qoemon.config.yaml import document as yamlfile
from qoemon.config.yaml.errors import ConfigError, ConfigProblem
from qoemon.config.yaml.validation import validated
from qoemon.net.http.stats import HttpStats

LOG = logging.getLogger("qoemon.net.http")

_Seen = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Web:
    """What is in force.

    tls        None is plain HTTP
    verified   whether every client shows a certificate that is verified
    users      bcrypt hashes of passwords by user name; empty lets everyone in
    headers    of every answer
    """

    tls: ssl.SSLContext | None = None
    verified: bool = False
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """Of the URLs."""
        return "http" if self.tls is None else "https"

    @property
    def open(self) -> bool:
        """Whether anyone who gets through to the port may read."""
        return not (self.users or self.verified)

    def lost(self, later: Web) -> list[str]:
        """Which protections of this one the later one lacks."""
        had = {
            "tls_server_config": (self.tls, later.tls),
            "client_auth_type": (self.verified, later.verified),
            "basic_auth_users": (self.users, later.users),
        }
        return [name for name, (before, after) in had.items() if before and not after]


class WebConfig:
    """The web configuration file, if there is one, and what is in force of it.

    state    is told whether the file as it is now is in force
    raises   ConfigError at once if the file cannot be used; later that is only told
    """

    def __init__(self, path: Path | None, state: HttpStats, env: Mapping[str, str] = os.environ) -> None:
        self._path, self._state, self._env = path, state, env
        self._now, self._files = (Web(), ()) if path is None else self._read(path)
        self._seen = _seen(self._files)

    def now(self) -> Web:
        """What is in force; reads the file again if it has changed."""
        if self._path is not None and (seen := _seen(self._files)) != self._seen:
            self._seen = seen
            self._renew(self._path)
        return self._now

    def _renew(self, path: Path) -> None:
        try:
            later, files = self._read(path)
            if lost := self._now.lost(later):
                found, expected = (
                    f"no {', '.join(lost)} any more",
                    "what protects the daemon; restart it to open it",
                )
                raise ConfigError([ConfigProblem(str(path), None, "", found, expected)])
        except ConfigError as error:
            self._state.web_config_good = False
            for mistake in error.problems:
                LOG.error("the web configuration stays as it was: %s", mistake)
            return
        self._now, self._state.web_config_good = later, True
        self._files, self._seen = files, _seen(files)
        LOG.info("the web configuration was read again: %s", path)

    def _read(self, path: Path) -> tuple[Web, tuple[Path, ...]]:
        """What the file says, and which files have a part in that."""
        file = read(path, self._env)
        server = file.tls_server_config
        named = () if server is None else (server.cert_file, server.key_file, server.client_ca_file)
        headers = file.http_server_config.headers.model_dump(by_alias=True)
        try:
            tls = None if server is None else server.context()
        except OSError as error:
            found = f"files that changed while they were read ({error.strerror or error})"
            raise ConfigError(
                [ConfigProblem(str(path), None, "tls_server_config", found, "files that fit")]
            ) from None
        web = Web(
            tls=tls,
            verified=server is not None and server.client_auth_type == "RequireAndVerifyClientCert",
            users={name: hashed.get_secret_value() for name, hashed in file.basic_auth_users.items()},
            headers={name: value for name, value in headers.items() if value},
        )
        return web, (path, *filter(None, named))


def read(path: Path, env: Mapping[str, str] = os.environ) -> WebFile:
    """The file's content; ConfigError with all the mistakes in it."""
    return validated(yamlfile.read(path, env), WebFile)


def _seen(files: tuple[Path, ...]) -> _Seen:
    """What shows that a file has changed; a link that points elsewhere does too."""
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
