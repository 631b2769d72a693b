"""The documentation is a book for operators: the order of its chapters, and pages that a reader can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MENU: list[dict[str, Any]] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
WORDS = 2_000
"""Of a page that is read from its beginning to its end, in its tables and examples, too."""
LOOKED_UP = ("Reference", "Measured", "Decisions", "Changelog")
"""Chapters that nobody reads as a whole."""


def pages(part: Any) -> Iterator[str]:
    """The files of a part of the menu."""
    if isinstance(part, str):
        yield part
    else:
        for each in part.values() if isinstance(part, dict) else part:
            yield from pages(each)


CHAPTERS = {title: list(pages(part)) for entry in MENU for title, part in entry.items()}


def test_the_chapters_follow_the_way_of_an_operator() -> None:
    """After the page on the code, which stands where those who change it look."""
    way = ("Install", "Connect", "Players", "Understand", "Alert", "Scale", "Run", "Upgrade", "Troubleshoot")
    assert tuple(CHAPTERS)[: 2 + len(way)] == ("Architecture", "qoemon", *way)


def test_a_page_is_in_the_menu_once() -> None:
    listed = sorted(page for chapter in CHAPTERS.values() for page in chapter)
    assert listed == sorted(set(listed))


@pytest.mark.parametrize(
    "page", [page for title, chapter in CHAPTERS.items() if title not in LOOKED_UP for page in chapter]
)
def test_a_page_to_be_read_is_no_longer_than_a_reader_holds(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert sum(any(map(str.isalnum, word)) for word in text.split()) <= WORDS


def test_the_readme_leads_to_the_page_about_the_code() -> None:
    assert "](docs/architecture.md)" in (ROOT / "README.md").read_text()
