"""The commands of the documentation: lines of shell in blocks of its pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


class Block(NamedTuple):
    """Commands that a reader copies together, each on a line of its own."""

    page: str
    commands: tuple[str, ...]


def blocks() -> Iterator[Block]:
    """All blocks of shell, in the order of the pages; of a console what is typed, without what is printed."""
    for page in PAGES:
        for kind, text in re.findall(
            r"^ *```(sh|console)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines()]
            if kind == "console":
                lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            yield Block(page.name, tuple(re.sub(r"\s+# .*", "", line) for line in lines if line))


def unmarked() -> Iterator[str]:
    """Fenced blocks that do not say what they are, with their pages, and lines of shell that are only indented."""
    words = {command.split()[0] for block in blocks() for command in block.commands} | {"qoemon", "make", "curl"}
    for page in PAGES:
        fenced = False
        for line in page.read_text().splitlines():
            if line.lstrip().startswith("```"):
                fenced = not fenced
                if fenced and line.strip() == "```":
                    yield f"{page.name}: ```"
            elif not fenced and line.startswith("    ") and line.split()[:1] and line.split()[0] in words:
                yield f"{page.name}: {line}"
