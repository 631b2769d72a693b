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
            "SRC,HRC,Subj1,Subj2,Subj3,Subj4\n1,1,5,4,5,4\n1,2,3,2,3,3\n2,1,4,5,4,4\n2,2,2,1,1,2\n",
            ["theta"],
            ["--wide", "conditions", "--condition", "SRC,HRC", "--rating", "Subj*"],
            id="a matrix whose rows two columns of numbers name",
        ),
        pytest.param(
            "PROLIFIC_PID,age,Duration,clip_a,clip_b,clip_c,clip_d\np1,3,300,5,4,3,1\np2,34,400,4,4,2,1\np3,5,99,5,3,3,2\n",
            ["theta"],
            ["--wide", "users", "--rating", "clip_*"],
            id="a survey with columns about the person",
        ),
        pytest.param(
            "Timestamp,Username,Quality of video 1?,Quality of video 2?,Quality of video 3?,Quality of video 4?\n"
            "2020/01/02,a,5,4,3,1\n2020/01/02,b,4,4,2,1\n2020/01/03,c,5,3,3,2\n",
            ["theta"],
            ["--wide", "users", "--user", "Username", "--rating", "Quality of video *"],
            id="a survey of questions",
        ),
        pytest.param(
            "subject,1,2,3,4\n1,5,4,3,1\n2,4,4,2,1\n3,5,3,3,2\n",
            ["theta"],
            ["--wide", "users"],
            id="a row a user, numbered conditions",
        ),
        pytest.param(
            "63,70,55,61\n40,30,35,29\n80,90,85,70\n",
            ["theta"],
            ["--wide", "conditions", "--low", "0", "--high", "100"],
            id="a matrix without a header on another scale",
        ),
        pytest.param(
            "clip,s1,s2,s3,s4\na,-3,-2,-2,-1\nb,0,1,0,-1\nc,2,3,3,1\n",
            ["theta"],
            ["--wide", "conditions", "--low", "-3", "--high", "3"],
            id="a matrix of comparisons",
        ),
        pytest.param(
            "pvs,,,,\na,5,4,5,3\nb,2,1,2,2\n", ["theta"], ["--wide", "conditions"], id="users without names"
        ),
        pytest.param(
            "pvs,s1,s2,s3,s4,s5,s6,s7,s8,MOS,SD\na,5,4,5,4,3,4,5,4,4.25,.7\nb,2,1,2,2,1,2,3,2,1.9,.6\n",
            ["theta"],
            ["--wide", "conditions"],
            id="a matrix with its figures",
        ),
        pytest.param(
            "sysA,utt1.wav,2,lis_1\nsysA,utt2.wav,3,lis_2\nsysB,utt3.wav,5,lis_1\nsysB,utt4.wav,4,lis_2\n",
            ["theta"],
            ["--header", "condition,column2,rating,column4"],
            id="no header, mostly names",
        ),
        pytest.param(
            "image,dst_lev,dmos_std,dmos\n1600,1,.1,.2\n1600,2,.1,.4\n1601,1,.2,.7\n1601,2,.1,.8\n",
            ["theta", "--low", "0", "--high", "1"],
            ["--condition", "image,dst_lev", "--columns", "mos=dmos,sd=dmos_std,n=24"],
            id="means named by two columns",
        ),
        pytest.param(
            "pvs,MOS,95%CI,n\na,4.1,.3,24\nb,2.2,.35,24\n",
            ["theta"],
            ["--condition", "pvs", "--columns", "ci=95%CI"],
            id="means with confidence intervals",
        ),
        pytest.param(
            "condition,mos,std_error,n\na,4.1,.15,24\nb,2.2,.2,24\n",
            ["theta"],
            ["--columns", "se=std_error"],
            id="means with standard errors",
        ),
        pytest.param(
            "dist_img,ref_img,dmos,var\na1,a,4.1,.6\na2,a,2.2,.7\n",
            ["theta"],
            ["--condition", "dist_img", "--columns", "mos=dmos,variance=var,n=24"],
            id="means with variances",
        ),
        pytest.param(
            "condition,user,rating\na,1,Good\na,2,Excellent\nb,1,Bad\nb,2,Poor\n",
            ["theta"],
            ["--words", "bad,poor,fair,good,excellent"],
            id="words",
        ),
        pytest.param(
            "condition,user,rating\na,1,4 - Good\na,2,5 - Excellent\nb,1,2 - Poor\nb,2,3 - Fair\nb,3,1 - Bad\n",
            ["theta"],
            ["--words", "1 - Bad,2 - Poor,3 - Fair,4 - Good,5 - Excellent"],
            id="words with their numbers",
        ),
        pytest.param(
            "participant,clip1,clip2,clip3,clip4\n1,good,fair,poor,bad\n2,excellent,good,poor,poor\n",
            ["theta"],
            ["--wide", "users", "--words", "bad,poor,fair,good,excellent"],
            id="a matrix of words",
        ),
        pytest.param(
            "condition,rating\na,4\na,x\na,5\nb,1\nb,x\nb,2\n", ["theta"], ["--missing", "x"], id="x is no rating"
        ),
        pytest.param(
            "clip,score\na,0.62\na,0.5\nb,0.1\nb,0.2\n",
            ["theta"],
            ["--condition", "clip", "--rating", "score", "--low", "0", "--high", "1"],
            id="shares",
        ),
        pytest.param(
            "clip,score\na,62 %\na,55 %\nb,10 %\nb,30 %\n",
            ["theta", "--low", "0", "--high", "100"],
            ["--condition", "clip", "--rating", "score"],
            id="percent of another name",
        ),
        pytest.param(
            "PVS,bitrate,Obs 1,Obs 2,Obs 3,Obs 4\n"
            + "".join(f"p{at},{at}00,{at},{at},{at},{6 - at}\n" for at in range(1, 6)),
            ["fit", "--mapping", "logistic", "--inputs", "bitrate"],
            ["--wide", "conditions", "--rating", "Obs *"],
            id="a matrix beside an input",
        ),
        pytest.param(
            "vmaf,dmos\n" + "".join(f"{at}0,{at}\n" for at in range(1, 6)),
            ["fit", "--mapping", "linear", "--inputs", "vmaf"],
            ["--columns", "mos=dmos"],
            id="means of another name",
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
    ("column", "value"), [("ci", 1.96 * 0.8 / 5), ("se", 0.8 / 5), ("variance", 0.64)], ids=["ci", "se", "variance"]
)
def test_what_sd_follows_from_gives_the_same_as_sd(tmp_path: Path, column: str, value: float) -> None:
    def theta(spread: str, given: float) -> float:
        path = tmp_path / "study.csv"
        path.write_text(f"condition,mos,of_mean,n\na,4.1,{given!r},25\nb,2.2,{given!r},25\n")
        found, _ = loaded("theta", str(path), "--columns", f"{spread}=of_mean")
        return float(found["theta"])

    assert theta(column, value) == pytest.approx(theta("sd", 0.8))


def test_columns_in_latin_1_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_bytes("séquence;qualité\né;4\né;5\nb;1\nb;2\n".encode("latin-1"))
    found, options = loaded("theta", str(path))
    assert options == ["--condition", "séquence", "--rating", "qualité"]
    assert [each["condition"] for each in found["conditions"]] == ["é", "b"]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        pytest.param(
            "subject,c1,c2\nu1,5,1\nu2,4,2\nMean,4.5,1.5\n",
            ["--wide", "users"],
            "line 4: the row 'Mean' has no ratings, but figures of them: remove it",
            id="a row of means",
        ),
        pytest.param(
            "Input.Q0,Input.Q1,Answer.Q0,Answer.Q1\na,b,4,2\nb,c,3,1\nc,a,2,5\na,b,4,3\n",
            [],
            "each row has ratings of what Input.Q0 to Input.Q1 name: make a row for each rating",
            id="several clips in a row",
        ),
        pytest.param(
            "system,mean\na,4.1\nb,2.2\n", [], "theta needs how far ratings differ", id="means without anything"
        ),
        pytest.param(
            "4.1 a.bmp\n2.2 b.bmp\n3.5 c.bmp\n",
            ["--header", "rating,condition"],
            "if they are means, theta needs their standard deviation and number",
            id="means as ratings",
        ),
        pytest.param(
            "condition,rating\n,1-5\na,4\na,5\nb,1\nb,2\n", [], "line 2: rating: found '1-5'", id="a second header"
        ),
    ],
)
def test_what_cannot_be_loaded_is_explained_without_a_proposal(
    tmp_path: Path, text: str, options: list[str], expected: str
) -> None:
    path = tmp_path / "study.csv"
    path.write_text(text)
    result = CliRunner().invoke(cli.app, ["theta", str(path), *options])
    assert result.exit_code == 1
    assert expected in result.stderr
    assert not PROPOSED.search(result.stderr)


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
