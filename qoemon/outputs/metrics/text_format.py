"""Prometheus' text format, written by columns: for families with samples of every group.

prometheus-client makes an object, a dictionary and a sorted list of labels for each sample, which takes 4 µs or
more; 10,000 groups have a million samples. Here a family is a few blocks of numbers. Repeated text is made once:
the labels of a group for the life of the daemon, the head of a line per column. Numbers become text in bulk, as
JSON: Prometheus reads its numbers, except NaN and the infinities. See docs/decisions/0015.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from prometheus_client.samples import Sample

from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.groups import Labels

Numbers = Floats | Ints

ROWS_AT_ONCE = 2000
"""Rows per call: that many take some milliseconds, in which no other thread of the process runs."""

_SPECIAL = {"nan": b"NaN", "inf": b"+Inf", "-inf": b"-Inf"}


@dataclass(frozen=True)
class Column:
    """Distinguishes the samples of one group: a suffix of the name, and one more label."""

    suffix: str = ""
    label: tuple[tuple[str, str], ...] = ()


PLAIN = (Column(),)


def by_label(name: str, values: Iterable[object]) -> tuple[Column, ...]:
    """One column for each value of a label."""
    return tuple(Column(label=((name, str(value)),)) for value in values)


@dataclass(frozen=True)
class Rows:
    """The labels of N groups: names, values, and both as text."""

    names: tuple[str, ...]
    values: Sequence[Labels]
    texts: Sequence[bytes]

    def take(self, chosen: Ints) -> Rows:
        """The rows of these groups, given by number."""
        numbers = chosen.tolist()
        return Rows(self.names, [self.values[i] for i in numbers], [self.texts[i] for i in numbers])


@dataclass(frozen=True)
class Block:
    """Samples of N groups.

    values  (N, C), one column for each of `columns`
    fixed   more labels, the same for all samples
    """

    rows: Rows
    columns: tuple[Column, ...]
    values: Numbers
    fixed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Family:
    """A metric with all its samples. prometheus-client can render it too, which tests compare with this module.

    name    without _total, as in prometheus-client
    labels  their names, without `le`
    """

    name: str
    documentation: str
    type: Literal["gauge", "counter", "histogram", "summary"]
    labels: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)

    @property
    def _labelnames(self) -> tuple[str, ...]:
        """The labels, under the name that prometheus-client's families use."""
        return self.labels

    @property
    def samples(self) -> Iterator[Sample]:
        """The samples as objects of prometheus-client."""
        for block in self.blocks:
            for labels, row in zip(block.rows.values, block.values.tolist(), strict=True):
                group = dict(zip(block.rows.names, labels, strict=True)) | dict(block.fixed)
                for column, value in zip(block.columns, row, strict=True):
                    yield Sample(self._sample_name(column), group | dict(column.label), value)

    def _sample_name(self, column: Column) -> str:
        return f"{self.name}{'_total' if self.type == 'counter' else column.suffix}"

    def add(self, rows: Rows, values: Numbers, columns: tuple[Column, ...] = PLAIN, **fixed: str) -> None:
        """Add samples of N groups.

        values  (N,) or (N, C)
        fixed   more labels, the same for all samples
        """
        self.blocks.append(Block(rows, columns, values.reshape(len(values), len(columns)), tuple(fixed.items())))

    def write(self) -> Iterator[bytes]:
        """The lines of the family, in pieces."""
        name = f"{self.name}_total" if self.type == "counter" else self.name
        help_text = self.documentation.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {name} {help_text}\n# TYPE {name} {self.type}".encode()
        for block in self.blocks:
            yield from self._write_block(block)
        yield b"\n"

    def _write_block(self, block: Block) -> Iterator[bytes]:
        heads = [self._head(column, block.fixed) for column in block.columns]
        width = len(heads)
        for begin in range(0, len(block.values), ROWS_AT_ONCE):
            texts = block.rows.texts[begin : begin + ROWS_AT_ONCE]
            parts = [b""] * (3 * width * len(texts))
            parts[::3] = heads * len(texts)
            for column in range(width):
                parts[3 * column + 1 :: 3 * width] = texts
            parts[2::3] = number_texts(block.values[begin : begin + ROWS_AT_ONCE])
            yield b"".join(parts)

    def _head(self, column: Column, fixed: tuple[tuple[str, str], ...]) -> bytes:
        """The beginning of a line up to the group's labels, after the end of the line before."""
        labels = "".join(f"{pair}," for pair in map(_pair, (*column.label, *fixed)))
        return f"\n{self._sample_name(column)}{{{labels}".encode()


MOST_TEXTS = 100_000
"""Texts kept beyond those of the present groups."""


class LabelTexts:
    """Cache of the labels of groups as text. Bounded, as the groups are, which stay for the life of the daemon."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, ...], dict[Labels, bytes]] = {}

    def rows(self, names: tuple[str, ...], values: Sequence[Labels]) -> Rows:
        """The rows of these label values."""
        known = self._texts.setdefault(names, {})
        if len(known) > MOST_TEXTS + 2 * len(values):
            known.clear()  # Many are of groups that have ended.
        for labels in set(values).difference(known):
            known[labels] = f"{','.join(map(_pair, zip(names, labels, strict=True)))}}} ".encode()
        return Rows(names, values, [known[labels] for labels in values])


def text_format(families: Iterable[Family]) -> Iterator[bytes]:
    """The text of the families, in pieces."""
    for family in families:
        yield from family.write()


def number_texts(values: Numbers) -> list[bytes]:
    """Each number in Prometheus' syntax, row by row."""
    flat = values.ravel()
    if not len(flat):
        return []
    texts = msgspec.json.encode(flat.tolist())[1:-1].split(b",")
    for index in np.flatnonzero(~np.isfinite(flat)).tolist():
        texts[index] = _SPECIAL[str(float(flat[index]))]
    return texts


def _pair(label: tuple[str, str]) -> str:
    name, value = label
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'
