"""The web configuration, which is reloaded when its file or a file that it names has changed.

If the new file is not valid, the daemon keeps the running configuration, logs the errors once and reports it in a
metric. Nor does a reload remove protection: a file without TLS, users or client certificates may be one that is
just being written, so that requires a restart.
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
from qoemon.net.http.listener_stats import ListenerStats

LOG = logging.getLogger("qoemon.net.http")

_Seen = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Web:
    """A web configuration.

    tls        None for plain HTTP
    verified   whether every client must show a certificate that is verified
    users      bcrypt hashes of passwords by user name; empty for access without a password
    headers    added to every answer
    """

    tls: ssl.SSLContext | None = None
    verified: bool = False
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """Scheme of the daemon's URLs."""
        return "http" if self.tls is None else "https"

    @property
    def open(self) -> bool:
        """Whether every client that reaches the port has access."""
        return not (self.users or self.verified)

    def lost(self, later: Web) -> list[str]:
        """Keys of the protections that this configuration has and the later one lacks."""
        protections = {
            "tls_server_config": (self.tls, later.tls),
            "client_auth_type": (self.verified, later.verified),
            "basic_auth_users": (self.users, later.users),
        }
        return [name for name, (before, after) in protections.items() if before and not after]


class WebConfig:
    """The running web configuration.

    path     its file; None for the defaults
    state    where the success of the last reload is recorded
    kind     what it may contain
    raises   ConfigError if the file is not valid; later that is logged
    """

    def __init__(
        self,
        path: Path | None,
        state: ListenerStats,
        env: Mapping[str, str] = os.environ,
        kind: type[WebFile] = WebFile,
    ) -> None:
        self._path, self._state, self._env, self._kind = path, state, env, kind
        self._now, self._files = (Web(), ()) if path is None else self._read(path)
        self._seen = _seen(self._files)

    def now(self) -> Web:
        """The running configuration; reloads the file if it has changed."""
        if self._path is not None and (seen := _seen(self._files)) != self._seen:
            self._seen = seen
            self._reload(self._path)
        return self._now

    def _reload(self, path: Path) -> None:
        try:
            later, files = self._read(path)
            if lost := self._now.lost(later):
                found, expected = (
                    f"no {', '.join(lost)} any more",
                    "the same protection; restart the daemon to remove it",
                )
                raise ConfigError([ConfigProblem(str(path), None, "", found, expected)])
        except ConfigError as error:
            self._state.web_config_good = False
            for problem in error.problems:
                LOG.error("reload of the web configuration failed, keeping the running one: %s", problem)
            return
        self._now, self._state.web_config_good = later, True
        self._files, self._seen = files, _seen(files)
        LOG.info("reloaded the web configuration: %s", path)

    def _read(self, path: Path) -> tuple[Web, tuple[Path, ...]]:
        """The configuration in the file, and the files that are part of it."""
        file = read(path, self._env, self._kind)
        server = file.tls_server_config
        named = () if server is None else (server.cert_file, server.key_file, server.client_ca_file)
        headers = file.http_server_config.headers.model_dump(by_alias=True)
        try:
            tls = None if server is None else server.context()
        except OSError as error:
            found = f"files that changed while they were read ({error.strerror or error})"
            raise ConfigError(
                [ConfigProblem(str(path), None, "tls_server_config", found, "files that match")]
            ) from None
        web = Web(
            tls=tls,
            verified=server is not None and server.client_auth_type == "RequireAndVerifyClientCert",
            users={name: hashed.get_secret_value() for name, hashed in file.basic_auth_users.items()},
            headers={name: value for name, value in headers.items() if value},
        )
        return web, (path, *filter(None, named))


def read(path: Path, env: Mapping[str, str] = os.environ, kind: type[WebFile] = WebFile) -> WebFile:
    """The file's content; ConfigError with all errors in it."""
    return validated(yamlfile.read(path, env), kind)


def _seen(files: tuple[Path, ...]) -> _Seen:
    """A value that differs when a file has changed, or a link that leads to it."""
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    # ctime changes with the rights, too: a file that could not be read can be then.
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
