"""Fetches web players from the npm registry: pinned versions, whose hashes are checked before anything is read."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from qoemon.tools.cache import MissingError, kept

REGISTRY = "https://registry.npmjs.org"
"""npm's own default."""

FETCH_S = 120.0
"""Limit of one read."""

LARGEST = 64 * 2**20
"""Bytes of a package, and of a file in it."""


@dataclass(frozen=True)
class Package:
    """A version of a package, and its one file that a page loads.

    sha512  of the package, base64, as in `npm view NAME@VERSION dist.integrity`
    path    of the file, in the package
    """

    name: str
    version: str
    sha512: str
    path: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


PLAYERS = {
    "hls.js": Package(
        "hls.js",
        "1.7.4",
        "3GlxGdPvT2YHvQYOt+yOzT/DEior/qJVNIylHA77kgeoBTdQQqi70GwefNEUmHQeNGyjC8U62+bruqW/Tpm+tg==",
        "dist/hls.min.js",
    ),
    "dash.js": Package(
        "dashjs",
        "5.2.1",
        "axcJmLeJCTJMLUfQRErUJB1KOiU5iHF+DMLBc3FKeox1HPYtGUQlC6Xm5Mm6vhBUR3CHHLIPOqw0JDIqMtP+Dw==",
        "dist/modern/umd/dash.all.min.js",
    ),
    # The release builds of shaka never report a state.
    "shaka": Package(
        "shaka-player",
        "5.2.12",
        "vEsuVDI3+oLh+yqpjXexQZlg2XMUBI0VrqatDuKWacPaxAud6Uph5uCowUPLhUgNG5XKWCpoM4l1r8qYzWH+zg==",
        "dist/shaka-player.compiled.debug.js",
    ),
}


def script(package: Package) -> Path:
    """The package's file in the cache, fetched if it is not there; MissingError if it cannot be fetched."""
    name = Path(package.path).name
    return kept(f"{package.name}-{package.version}", lambda folder: _fetch(package, folder / name)) / name


def registry() -> str:
    """The registry that npm uses here, from its variable or its configuration; without npm its default."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name]
    npm = shutil.which("npm")
    if npm is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = subprocess.run(
                [npm, "config", "get", "registry"], capture_output=True, text=True, timeout=FETCH_S, check=True
            )
            if asked.stdout.startswith(("https://", "http://")):
                return asked.stdout.strip()
    return REGISTRY


def _fetch(package: Package, to: Path) -> None:
    packed = _read(package)
    found = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    if found != package.sha512:
        raise MissingError(
            f"{package} from the npm registry is not what was published: found the hash sha512-{found}, expected "
            f"sha512-{package.sha512}; nothing of it was used"
        )
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        member = archive.extractfile(f"package/{package.path}")
        to.write_bytes(member.read(LARGEST) if member else b"")


def _read(package: Package) -> bytes:
    """The package as the registry has it."""
    base = registry().rstrip("/")
    try:
        url = f"{base}/{package.name}/-/{package.name}-{package.version}.tgz"
        with urllib.request.urlopen(url, timeout=FETCH_S) as answer:  # noqa: S310 - the operator's own registry
            read: bytes = answer.read(LARGEST)
            return read
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL.
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise MissingError(
            f"{package} cannot be fetched from the npm registry at {urllib.parse.urlsplit(base).hostname or base}: "
            f"{error}. It is fetched once; where only a mirror can be reached, NPM_CONFIG_REGISTRY is its URL"
        ) from None
