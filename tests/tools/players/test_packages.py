"""Players are fetched once, from the registry that npm uses here, and only what was published is used."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from qoemon.tools.cache import MissingError
from qoemon.tools.players.packages import Package, registry, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def packed(text: str) -> bytes:
    """A package as the registry has it, with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/dist/player.js")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


PUBLISHED = packed("play();")
PLAYER = Package("player", "1.2.3", base64.b64encode(hashlib.sha512(PUBLISHED).digest()).decode(), "dist/player.js")


class Registry(HTTPServer):
    """A registry with one package; what it was asked for."""

    def __init__(self, package: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.package, self.asked = package, list[str]()


class Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = self.path == "/npm/player/-/player-1.2.3.tgz"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(self.server.package if found else b"")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path, package: bytes = PUBLISHED) -> Iterator[Registry]:
    """A registry that npm's variable names, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with Registry(package) as server:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/npm/")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_player_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(monkeypatch, tmp_path) as server:
        assert script(PLAYER).read_text() == "play();"
        assert script(PLAYER) == tmp_path / "qoemon/player-1.2.3/player.js"
        assert server.asked == ["/npm/player/-/player-1.2.3.tgz"]


def test_nothing_of_a_package_with_another_hash_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(monkeypatch, tmp_path, packed("steal();")):
        with pytest.raises(MissingError, match=r"player 1\.2\.3 .* is not what was published: found the hash"):
            script(PLAYER)
        assert list((tmp_path / "qoemon").iterdir()) == []


def test_a_registry_without_the_package_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(monkeypatch, tmp_path):
        missing = Package("other", "1.0.0", PLAYER.sha512, PLAYER.path)
        with pytest.raises(MissingError) as refused:
            script(missing)
    assert "other 1.0.0 cannot be fetched from the npm registry at 127.0.0.1: HTTP Error 404" in str(refused.value)
    assert "NPM_CONFIG_REGISTRY is its URL" in str(refused.value)


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "qoemon").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingError, match=r"qoemon: cannot be written: .*XDG_CACHE_HOME names another folder"):
        script(PLAYER)


def test_without_npm_the_registry_is_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert registry() == "https://registry.npmjs.org"
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho https://mirror.example/npm/\n")
    npm.chmod(0o700)
    assert registry() == "https://mirror.example/npm/"
