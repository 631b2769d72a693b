"""Renders the report as one HTML file: no script, no external resources, every text from the wire escaped.

The page follows the reader's light or dark preference, prints light, and suits small and large screens: charts have
a minimum width and scroll in their frames, as do tables, and the columns of charts fill the width.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from rich.cells import cell_len

import qoemon
from qoemon.common.text import printable
from qoemon.tools.report.figure import RenderedChart
from qoemon.tools.report.tables import Table

LONGEST_TEXT = 400
"""Characters of one text; clients may send longer ones."""


@dataclass(frozen=True)
class Tile:
    """A number in large type, with its meaning."""

    value: str
    about: str


@dataclass
class Section:
    """A section of the page. notes: paragraphs of text."""

    title: str
    notes: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    charts: list[RenderedChart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The HTML file; facts: names and values for its head."""
    numbered = list(enumerate(sections))
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta http-equiv="Content-Security-Policy" ',
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n",
            f"<title>{escaped(title)}</title>\n",
            f'<link rel="icon" href="data:image/svg+xml;base64,{_ICON}">\n',
            f"<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{escaped(title)}</h1>\n",
            *_facts(facts),
            "<nav>",
            *(f'<a href="#part{number}">{escaped(part.title)}</a> ' for number, part in numbered),
            "</nav>\n</header>\n<main>\n",
            *(text for number, part in numbered for text in _section(number, part)),
            f"</main>\n<footer>Made by qoemon {escape(qoemon.__version__)}. ",
            "Times are UTC. Ranges in parentheses are confidence intervals.</footer>\n</body>\n</html>\n",
        ]
    )


def escaped(text: str) -> str:
    """Text for the page: escaped, truncated, without invisible or direction-changing characters."""
    return escape(printable(text, LONGEST_TEXT))


def _facts(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield '<dl class="facts">\n'
    for name, value in facts:
        yield f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>\n"
    yield "</dl>\n"


def _section(number: int, part: Section) -> Iterator[str]:
    yield f'<section id="part{number}">\n<h2>{escaped(part.title)}</h2>\n'
    if part.tiles:
        yield '<div class="tiles">\n'
        for tile in part.tiles:
            yield f'<div class="tile"><b>{escaped(tile.value)}</b> {escaped(tile.about)}</div>\n'
        yield "</div>\n"
    for note in part.notes:
        yield f"<p>{escaped(note)}</p>\n"
    if part.charts:
        yield '<div class="charts">\n'
        for each in part.charts:
            yield f'<figure><div class="scroll">{each.svg}</div>\n'
            yield f'<figcaption id="{escape(each.chart.name)}">{escaped(each.chart.about)}</figcaption></figure>\n'
        yield "</div>\n"
    for table in part.tables:
        yield from _table(table)
    yield "</section>\n"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{escaped(table.title)}</h3>\n<p>{escaped(table.about)}</p>\n"
    if not table.rows:
        yield '<p class="none">None.</p>\n'
        return
    words = [column in table.words for column in table.columns]
    yield '<div class="scroll"><table>\n<thead><tr>'
    for name, word in zip(table.columns, words, strict=True):
        yield f"<th{_aligned(word)}>{escaped(name)}</th>"
    yield "</tr></thead>\n<tbody>\n"
    for row in table.rows:
        yield "<tr>" + "".join(_cell(cell, word) for cell, word in zip(row, words, strict=True)) + "</tr>\n"
    yield "</tbody></table></div>\n"
    if table.left_out:
        yield f'<p class="none">{table.left_out:,} more rows were omitted.</p>\n'


def _cell(text: str, word: bool) -> str:
    wide = ' class="long"' if word and cell_len(text) > 28 else _aligned(word)
    return f"<td{wide}>{escaped(text)}</td>"


def _aligned(word: bool) -> str:
    return "" if word else ' class="n"'


_ICON = base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" rx="2" fill="#0072b2"/>'
    b'<path d="M1 6 3 4 5 5 7 2" stroke="#fff" fill="none"/></svg>'
).decode()

STYLE = """
:root { color-scheme: light dark; --ink: #1b2027; --dim: #59636e; --paper: #fff; --card: #f6f8fa;
  --line: #d5dbe1; --link: #0060a0; font-size: clamp(15px, 0.55vw + 10px, 24px); }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --dim: #9aa5b1; --paper: #12161b; --card: #1a2027;
  --line: #39424d; --link: #6cb8f0; } }
@media print { :root { color-scheme: light; --ink: #000; --dim: #444; --paper: #fff; --card: #fff; --line: #bbb; }
  nav { display: none; } figure, tr, .tile { break-inside: avoid; } h2, h3 { break-after: avoid; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(0.8rem, 3vw, 4rem) 3rem; max-width: 160rem; background: var(--paper);
  color: var(--ink); font-family: system-ui, sans-serif; line-height: 1.5; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid var(--line); padding-bottom: 0.2rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.2rem; }
p { max-width: 75ch; margin: 0.3rem 0 0.7rem; }
.none, figcaption, footer, dt { color: var(--dim); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 0.3rem 1.5rem;
  margin: 0.5rem 0 1rem; }
dt { font-size: 0.85rem; } dd { margin: 0; }
nav a { color: var(--link); display: inline-block; margin-right: 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: 0.8rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.6rem 0.9rem;
  color: var(--dim); }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; color: var(--ink); }
.charts { display: grid; gap: 1rem; margin: 1rem 0; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
figure { margin: 0; min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: 0.4rem;
  padding: 0.5rem; }
figure svg { display: block; width: 100%; min-width: 30rem; height: auto; color: var(--ink); }
figcaption { font-size: 0.85rem; padding: 0.3rem 0.4rem 0; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.8rem 0.25rem 0; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; }
.n { text-align: right; }
.long { white-space: normal; min-width: 16rem; max-width: 32rem; overflow-wrap: anywhere; }
footer { margin-top: 3rem; font-size: 0.85rem; }
"""
