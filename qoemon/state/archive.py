"""The file of a backup: a compressed tar archive, whose first member has the SHA-256 of all others."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Self

import msgspec

from qoemon.state.directory import LOCK, StateError

VERSION = 1
MANIFEST, MANIFEST_BYTES = "manifest.json", 2**20
CHUNK_BYTES = 2**20
LEVEL = 1
"""Level 6 takes several times as long, for a tenth less."""


class Member(msgspec.Struct, frozen=True):
    """One file of an archive."""

    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive has.

    archive    version of archives
    versions   of what is stored, by part
    layout     how sessions are divided among processes
    created_s  seconds since the epoch
    qoemon     version of the program that has made it
    """

    archive: int = VERSION
    versions: Mapping[str, int]
    layout: str
    created_s: int
    qoemon: str
    files: tuple[Member, ...]


def member(folder: Path, name: Path) -> Member:
    """The description of a file in a folder."""
    file = folder / name
    with file.open("rb") as content:
        return Member(name.as_posix(), file.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())


def write(archive: Path, folder: Path, manifest: Manifest) -> None:
    """Write a new archive of the files in a folder, and wait until the disk has it; OSError if that fails."""
    head = msgspec.json.encode(manifest)
    with open(archive, "xb", opener=_private) as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=LEVEL) as tar:
            tar.addfile(_entry(MANIFEST, len(head), manifest.created_s), io.BytesIO(head))
            for each in manifest.files:
                with (folder / each.name).open("rb") as file:
                    tar.addfile(_entry(each.name, each.bytes, manifest.created_s), file)
        raw.flush()
        os.fsync(raw.fileno())


class Reader:
    """Reads an archive; a context manager. StateError if it is damaged, or no archive of qoemon."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._raw = file.open("rb")
        except OSError as error:
            raise StateError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
        try:
            self._tar = tarfile.open(fileobj=self._raw, mode="r|gz")  # noqa: SIM115 - closed in __exit__
            self.manifest = self._manifest()
        except (tarfile.TarError, EOFError, zlib.error, msgspec.MsgspecError, ValueError) as error:
            self._raw.close()
            raise StateError(f"{file} is no export of qoemon, or is damaged: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._raw.close()

    def unpack(self, folder: Path) -> None:
        """Write all files into an empty folder, once; OSError if that fails."""
        missing = {each.name: each for each in self.manifest.files}
        try:
            while (entry := self._tar.next()) is not None:
                described, content = missing.pop(entry.name, None), self._tar.extractfile(entry)
                if described is None or content is None or not _stays_inside(entry.name):
                    raise StateError(
                        f"{self._file} has {entry.name!r}, which is no part of its manifest: not imported"
                    )
                if entry.size != described.bytes:  # Before anything is written: it may be larger than the disk.
                    raise StateError(
                        f"{self._file} is damaged: {entry.name} has {entry.size:,} bytes, expected "
                        f"{described.bytes:,}; copy it again"
                    )
                self._unpack(content, folder / entry.name, described)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise StateError(f"{self._file} is damaged: {error}; copy it again") from None
        if missing:
            raise StateError(f"{self._file} is incomplete, {', '.join(missing)} is missing: copy it again")

    def _manifest(self) -> Manifest:
        entry = self._tar.next()
        content = None if entry is None or entry.name != MANIFEST else self._tar.extractfile(entry)
        if content is None:
            raise ValueError(f"expected a file made by `qoemon state export`, which begins with {MANIFEST}")
        return msgspec.json.decode(content.read(MANIFEST_BYTES), type=Manifest)

    def _unpack(self, content: IO[bytes], to: Path, described: Member) -> None:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with open(to, "xb", opener=_private) as out:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != described.sha256:
            raise StateError(f"{self._file} is damaged: {described.name} has another checksum; copy it again")


def _entry(name: str, size: int, at_s: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, at_s, 0o600
    return entry


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _stays_inside(name: str) -> bool:
    """Whether a name stays in its folder, and is not that of the lock, which whoever imports holds."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] != (LOCK,)
