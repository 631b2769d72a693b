"""Files load as they were published, or with the options that the error message itself proposes."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qoemon import cli

STUDIES = Path(__file__).parents[1] / "data" / "studies"
PROPOSED = re.compile(r"(?:; |^  )try (--.+)$", re.MULTILINE)
ATTEMPTS = 4


def loaded(*command: str, stdin: bytes | None = None) -> tuple[dict[str, Any], list[str]]:
    """What the command prints in the end, and the options that its errors proposed on the way."""
    options: list[str] = []
    for _ in range(ATTEMPTS):
        result = CliRunner().invoke(cli.app, [*command, *options, "--json"], input=stdin)
        if result.exit_code == 0:
            return json.loads(result.stdout), options
        proposed = PROPOSED.search(result.stderr)
        assert proposed, result.stderr
        options += shlex.split(proposed[1])
    raise AssertionError(f"does not load with {options}")


@pytest.mark.parametrize(
    ("name", "ratings", "conditions", "options"),
    [
        ("nflx_public_ratings", 2054, 79, []),
        ("vqeghd3_ratings", 1728, 72, []),
        ("p913_wide_matrix", 2053, 79, ["--wide", "conditions"]),
        ("p913_wide_matrix_nan", 598, 30, ["--wide", "conditions"]),
        ("qoem_continuousRatings", 1500, 30, ["--wide", "conditions"]),
        ("qoem_discreteRatings", 1500, 30, ["--wide", "conditions"]),
        ("qoem_continuousRatingsWithGroups", 1231, 30, ["--header", "condition,rating"]),
        (
            "semicolon_decimal_comma",
            60,
            5,
            ["--condition", "id_video", "--user", "id_user", "--rating", "mos"],
        ),
    ],
)
def test_ratings_load(name: str, ratings: int, conditions: int, options: list[str]) -> None:
    found, proposed = loaded("theta", str(STUDIES / f"{name}.csv"))
    assert proposed == options
    assert (found["ratings"], len(found["conditions"])) == (ratings, conditions)


@pytest.mark.parametrize(
    ("name", "service", "rows", "options"),
    [
        ("httparchive_speedindex_percentiles", "web", 5, ["--columns", "response_s=p50"]),
        (
            "youtube_sieber_300",
            "video",
            300,
            ["--columns", "stall_count=pl_buffering_events,play_s=vid_length", "--stall-length", "4s"],
        ),
    ],
)
def test_recorded_qos_loads(name: str, service: str, rows: int, options: list[str]) -> None:
    found, proposed = loaded("analyze", str(STUDIES / f"{name}.csv"), "--service", service)
    assert (proposed, found["observations"]) == (options, rows)


def test_every_file_is_read_by_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in STUDIES.glob("*.csv") if path.stem not in source] == []


def test_a_compressed_study_on_standard_input_is_the_study() -> None:
    path = STUDIES / "p913_wide_matrix.csv"
    assert loaded("theta", "-", stdin=gzip.compress(path.read_bytes())) == loaded("theta", str(path))


@pytest.mark.parametrize(
    ("text", "command", "options"),
    [
        pytest.param(
            "PVS_ID;SUBJECT_ID;SCORE\nA;1;4\nA;2;3\nB;1;1\nB;2;2\n",
            ["theta"],
            ["--condition", "PVS_ID", "--user", "SUBJECT_ID", "--rating", "SCORE"],
            id="semicolons and upper case",
        ),
        pytest.param(
            "Video Name,Worker Id,Overall Quality\nA b,1,4\nA b,2,3\nB b,1,1\nB b,2,2\n",
            ["theta"],
            ["--condition", "Video Name", "--user", "Worker Id", "--rating", "Overall Quality"],
            id="names with spaces",
        ),
        pytest.param(
            '"a,b",user,score\nA,1,4\nA,2,3\nB,1,1\nB,2,2\n',
            ["theta"],
            ["--condition", '"a,b"', "--rating", "score"],
            id="a name with a comma",
        ),
        pytest.param(
            "# lab 1\n# of two\nuser_id\tvideo_name\trating\n1\ta\t4\n1\tb\t2\n2\ta\t5\n2\tb\t1\n",
            ["theta"],
            ["--condition", "video_name", "--user", "user_id"],
            id="comments and tabs",
        ),
        pytest.param(
            "system listener score\nB0 L1 3\nB0 L2 4\nB1 L1 1\nB1 L2 1\n",
            ["theta"],
            ["--condition", "system", "--user", "listener", "--rating", "score"],
            id="spaces",
        ),
        pytest.param(
            "src,hrc,subject,score\n1,1,1,5\n1,2,1,3\n2,1,1,4\n1,1,2,4\n1,2,2,3\n2,1,2,5\n",
            ["theta"],
            ["--condition", "src,hrc", "--user", "subject", "--rating", "score"],
            id="two columns name the condition",
        ),
        pytest.param(
            "observer,PVS1,PVS2,PVS3,PVS4\no1,5,4,3,1\no2,4,4,2,1\no3,5,3,3,2\n",
            ["theta"],
            ["--wide", "users"],
            id="a row a user",
        ),
        pytest.param(
            "filename,S1,S2,S3,S4,S5\na,62,-1,70,55,61\nb,40,30,-1,-1,29\n",
            ["theta", "--low", "0", "--high", "100"],
            ["--wide", "conditions", "--missing", "-1"],
            id="-1 means not rated",
        ),
        pytest.param(
            "clip,1,2,3,4,5\na,0,1,4,10,9\nb,8,9,4,2,0\n", ["theta"], ["--condition", "clip"], id="counts"
        ),
        pytest.param(
            "clip,bad,poor,fair,good,excellent\na,0,1,4,10,9\nb,8,9,4,2,0\n",
            ["theta"],
            ["--counts", "bad,poor,fair,good,excellent", "--condition", "clip"],
            id="counts by the words of the scale",
        ),
        pytest.param(
            "5.51 I01_1.bmp\n4.9 I01_2.bmp\n5.0 I01_1.bmp\n5.5 I01_2.bmp\n",
            ["theta", "--low", "0", "--high", "9"],
            ["--header", "rating,condition"],
            id="no header, the rating first",
        ),
        pytest.param(
            "condition,rating\n" + "".join(f"a,{rating}\nb,{100 - rating}\n" for rating in range(0, 100, 7)),
            ["theta"],
            ["--low", "0", "--high", "100"],
            id="a scale to 100",
        ),
        pytest.param(
            "condition,rating\na,62%\na,55%\nb,10%\nb,30%\n",
            ["theta", "--low", "0", "--high", "100"],
            ["--columns", "rating=rating"],
            id="percent",
        ),
        pytest.param(
            '"PVS" "Subject" "Score"\n"1" "a" "u1" 4\n"2" "a" "u2" 3\n"3" "b" "u1" 1\n"4" "b" "u2" 2\n',
            ["theta"],
            ["--condition", "PVS", "--user", "Subject", "--rating", "Score"],
            id="write.table of R",
        ),
        pytest.param(
            '"condition", "user", "rating"\n"a", "u1", 4\n"a", "u2", 3\n"b", "u1", 1\n"b", "u2", 2\n',
            ["theta"],
            [],
            id="quotes after spaces",
        ),
        pytest.param(
            "Response Time [ms]\n420\n1900\n", ["analyze", "--service", "web"],
            ["--columns", "response_s=Response Time [ms]/1000"], id="milliseconds",
        ),
        pytest.param(
            "num_stalls,play_s,rebuffering_ratio\n1,60,5%\n0,60,0%\n",
            ["analyze", "--service", "video"],
            ["--columns", "stall_count=num_stalls", "--columns", "rebuffering_ratio=rebuffering_ratio/100"],
            id="percent of the time",
        ),
    ],
)  # fmt: skip
def test_forms_of_published_files_load_with_what_is_proposed(
    tmp_path: Path, text: str, command: list[str], options: list[str]
) -> None:
    path = tmp_path / "study.csv"
    path.write_text(text)
    _, proposed = loaded(command[0], str(path), *command[1:])
    assert proposed == options


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"PAR1\x15\x04\x15\x10", "it is Parquet, save the table as CSV", id="Parquet"),
        pytest.param(b"MATLAB 5.0 MAT-file, Platform: GLNXA64\0", "it is a file of MATLAB", id="MATLAB"),
        pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "it is an old spreadsheet", id="xls"),
        pytest.param(b"BZh91AY&SY", "it is compressed with bzip2", id="bzip2"),
        pytest.param(b'{"condition": "a", "rating": 4}\n', "the file is JSON", id="JSON lines"),
        pytest.param(b'[\n {"condition": "a", "rating": 4}\n]\n', "the file is JSON", id="JSON"),
        pytest.param(b"<!DOCTYPE html>\n<html></html>\n", "the file is HTML or XML", id="a page of an error"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "git lfs pull", id="Git LFS"),
        pytest.param(b"dataset_name = 'NFLX'\ndis_videos = []\n", "the file is a program", id="Python"),
        pytest.param(b"a\0,\0b\0\n\0", "the file is UTF-16, or no text", id="UTF-16 without a mark"),
        pytest.param(
            b"Results, lab A\n2019\n\npvs,subject,score\na,1,4\na,2,3\nb,1,2\nb,2,1\n",
            "the table seems to begin in line 4: remove the lines above it",
            id="a title",
        ),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "study.csv"
    path.write_bytes(content)
    result = CliRunner().invoke(cli.app, ["theta", str(path)])
    assert result.exit_code in {1, 2}
    assert expected in result.stderr
