"""A table is read as it was saved, whole, or refused with the lines that cannot be used."""

from __future__ import annotations

import gzip
import io
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qoemon.common import csvcolumns
from qoemon.common.csvcolumns import Column, Names, RowFormat, RowsError, Source, Values, read_columns
from qoemon.common.csvfile import (
    ContentError,
    UnnamedContentError,
    UnreadableError,
    file_in_errors,
    list_of,
    names_in,
    opened,
    read_sheet,
)

if TYPE_CHECKING:
    from pathlib import Path

NUMBER = Column("a", -inf, inf, "a number")


def read(text: str, *names: str, missing: tuple[str, ...] = (), **limits: float) -> Values:
    """The columns of these names, as numbers."""
    sheet = read_sheet(io.StringIO(text, newline=""), "a table needs a header")
    columns = [
        (Column(name, limits.get("least", -inf), limits.get("most", inf), "a number"), Source(sheet.find(name)[0]))
        for name in names
    ]
    return read_columns(sheet, RowFormat(columns, missing=missing))


def numbers(text: str, name: str = "a") -> list[float]:
    return read(text, name).numbers[name].tolist()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("b,a\nx,1.5\ny,2\n", id="commas"),
        pytest.param("b;a\nx;1,5\ny;2\n", id="semicolons and decimal commas"),
        pytest.param("b;a\nx;1.5\ny;2\n", id="semicolons and decimal points"),
        pytest.param("b\ta\nx\t1,5\ny\t2\n", id="tabs"),
        pytest.param("b|a\nx|1.5\ny|2\n", id="bars"),
        pytest.param("b   a\nx   1.5\ny 2 \n", id="spaces"),
        pytest.param('"b";"a"\n"x;,";"1,5"\n"y";"2"\n', id="separators in quotes"),
        pytest.param("\ufeff# made by hand, in May; twice\n\nb,a\nx,1.5\ny,2\n", id="mark and comments"),
        pytest.param("# b,a\n1,1.5\n2,2\n", id="header of NumPy"),
        pytest.param("#,a\n1,1.5\n2,2\n", id="a column named #"),
        pytest.param("sep=;\nb;a\nx;1,5\ny;2\n", id="separator named by Excel"),
        pytest.param("b,A\nx,1.5\ny,2\n", id="upper case"),
        pytest.param("b,a\rx,1.5\ry,2\r", id="old line ends"),
        pytest.param("a\n1,5\n2,0\n", id="one column of decimal commas"),
        pytest.param("b; a ;c\nx; 1,5 ;\ny;2;;\n", id="spaces and empty cells around"),
        pytest.param("b,a,c\nx,1.5,a;b;c\ny,2,d\n", id="semicolons in one cell"),
    ],
)
def test_the_form_of_a_table_is_found_by_itself(text: str) -> None:
    assert numbers(text) == [1.5, 2]


def test_any_table_is_read_back_whatever_its_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvcolumns, "BLOCK", 7)
    rng = np.random.default_rng(15)
    for form in range(60):
        separator = ",;\t|"[form % 4]
        comma = separator != "," and form % 3 == 0
        values = rng.normal(0, 100, 40).round(3)
        labels = rng.choice(["x y", 'with "quotes"', "a;b,c\td|e", "two\nlines"], 40).tolist()
        gone = rng.random(40) < 0.2
        words = rng.choice(["", "NA", "nan", "N/A", "null", "None", "-"], 40)
        lines = [separator.join(["name", "value", "other"])]
        for label, value, absent, word in zip(labels, values.tolist(), gone, words, strict=True):
            cell = word if absent else f"{value}".replace(".", "," if comma else ".")
            lines.append(separator.join(['"' + label.replace('"', '""') + '"', cell, "z"]))
        content = ("\r\n" if form % 2 else "\n").join(lines).encode("utf-8-sig" if form % 5 == 0 else "utf-8")
        path = tmp_path / "table"
        path.write_bytes(gzip.compress(content) if form % 3 else content)
        with opened(str(path)) as file:
            sheet = read_sheet(file, "")
            found = read_columns(sheet, RowFormat([(NUMBER, Source(1))], [Names("name", (0,), "a name")]))
        assert found.numbers["a"].tolist() == values[~gone].tolist(), form
        label = found.labels["name"]
        kept = [each for each, absent in zip(labels, gone, strict=True) if not absent]
        assert [label.names[code] for code in label.code] == kept
        assert (found.rows, found.missing) == (40, {"a": gone.sum()} if gone.any() else {})


def test_a_row_without_a_value_is_left_out_and_counted_once() -> None:
    found = read("a,b\n1,2\nNA,-\nn/a,3\n4,\n5,-1\n", "a", "b", missing=("-1",))
    assert (found.numbers["a"].tolist(), found.numbers["b"].tolist()) == ([1], [2])
    assert found.missing == {"a": 2, "b": 2}
    assert found.notes("rows") == (
        "2 of 5 rows are left out: a is missing",
        "2 of 5 rows are left out: b is missing",
    )


def test_a_table_of_which_no_row_has_a_value_is_refused() -> None:
    with pytest.raises(UnnamedContentError, match=r"no row can be used: all 2 lack a value \(a in 2\)"):
        read("a,b\nNA,2\n,3\n", "a")


@pytest.mark.parametrize("cell", ["x", "1_0", "1.2.3", "1,5", '"1,000"', "inf", "--1", "5%", "0x10", "1e999"])
def test_what_is_no_number_is_no_missing_value_either(cell: str) -> None:
    with pytest.raises(RowsError, match=r"(?s)1 of 3 rows cannot be used.*line 3: "):
        read(f"a\n1\n{cell}\n2\n", "a", least=-1e6, most=1e6)


def test_decimals_with_a_comma_here_and_a_point_there_are_refused() -> None:
    with pytest.raises(UnnamedContentError, match="a: decimals have a comma in line 3 and a point in line 5"):
        read("b;a\nx;1\nx;1,5\nx;2\nx;2.5\n", "a")


def test_a_short_row_is_invalid_and_a_long_one_too() -> None:
    with pytest.raises(RowsError) as caught:
        read("b,a\nx,1\ny\nz,2,3\n", "a")
    assert "line 3: a: found nothing, expected a number\n  line 4: found 3 cells, expected 2" in caught.value.fault


def test_faults_are_those_of_the_first_lines_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvcolumns, "BLOCK", 3)
    with pytest.raises(RowsError) as caught:
        read("a\n" + "1\nx\n" * 30, "a")
    lines = caught.value.fault.splitlines()
    assert lines[0] == "30 of 60 rows cannot be used, so nothing was computed:"
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"  line {3 + 2 * at}" for at in range(20)]
    assert lines[-1] == "  and 10 more"
    assert caught.value.invalid == {"a": ["x"]}


def test_utf_16_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes("b\ta\r\nö\t1,5\r\n".encode("utf-16"))
    with opened(str(path)) as file:
        assert read_columns(read_sheet(file, ""), RowFormat([(NUMBER, Source(1))])).numbers["a"].tolist() == [1.5]


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 100_000)[:-20])
    with (
        pytest.raises(ContentError, match="is not a whole gzip file"),
        opened(str(path)) as file,
        file_in_errors(file),
    ):
        read_columns(read_sheet(file, ""), RowFormat([(NUMBER, Source(0))]))


def test_a_spreadsheet_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UnreadableError, match="save the table as CSV"), opened(str(path)):
        pass


def test_lists_of_names_may_have_commas_in_them() -> None:
    assert names_in('a, "b,c" ,d') == ("a", "b,c", "d")
    assert names_in(list_of(["a", "b,c", 'd "e"'])) == ("a", "b,c", 'd "e"')
    assert names_in("") == ()
