"""Manual pages and scripts for completion, made from the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer.main

from docs import manual
from qoemon import cli
from tests.support.parts import program

if TYPE_CHECKING:
    from pathlib import Path

PAGES = manual.pages()
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder share/ with all pages and scripts."""
    folder = tmp_path_factory.mktemp("share")
    for name, text in manual.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def shown(page: Path) -> subprocess.CompletedProcess[str]:
    """A page as `man` shows it, with what it says of its form."""
    man = program("man", "Debian package man-db")
    env = os.environ | {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    return subprocess.run(
        [man, "--warnings", "-l", str(page)], env=env, capture_output=True, text=True, check=False
    )


def test_every_command_has_a_page_and_the_first_page_names_all() -> None:
    assert {"qoemon.1", *(f"qoemon-{name}.1" for name in COMMANDS)} <= set(PAGES)
    for name in COMMANDS:
        assert rf"\fBqoemon\-{name.replace('-', chr(92) + '-')}\fR(1)" in PAGES["qoemon.1"]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_man_shows_a_page_without_a_warning(name: str, written: Path) -> None:
    result = shown(written / "man/man1" / name)
    assert (result.returncode, result.stderr) == (0, "")
    text = re.sub(r".\x08", "", result.stdout)
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f"\n{heading}\n" in text
    command = COMMANDS.get(name.removeprefix("qoemon-").removesuffix(".1"))
    options = [param for param in command.params if param.param_type_name == "option"] if command else []
    described = set(re.findall(r"^       (?:-\w, )?(--[\w-]+)", text.partition("\nOPTIONS\n")[2], re.MULTILINE))
    assert {option.opts[0] for option in options} <= described | {"-h"}
    assert "`" not in PAGES[name]


def test_man_warns_of_a_page_that_is_broken(written: Path) -> None:
    broken = written / "broken.1"
    broken.write_text(PAGES["qoemon.1"].replace(".TP\n", ".TP\n.XX\n", 1))
    assert "XX" in shown(broken).stderr


def test_a_page_has_text_arguments_examples_and_exit_codes() -> None:
    page = PAGES["qoemon-check.1"].replace("\\-", "-").replace("\\(aq", "'")
    assert "Validate a configuration file; explain a payload." in page
    assert "Explain how the message in this file would be read." in page
    assert ".SH EXAMPLES\n.nf\n  qoemon check -c qoemon.yaml\n" in page
    assert ".SH EXIT STATUS\n.nf\n  0  valid\n  1  a report of --payload is rejected\n" in page
    assert ".SH ARGUMENTS" in PAGES["qoemon-record.1"]


def test_bash_completes_with_the_script(written: Path, tmp_path: Path) -> None:
    """Through bash itself, which runs the qoemon of this interpreter."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "qoemon").write_text(f"#!{sys.executable}\nfrom qoemon.cli import main\n\nmain()\n")
    (bin_folder / "qoemon").chmod(0o755)
    script = f"""
        source {written / manual.COMPLETIONS["bash"]}
        COMP_WORDS=(qoemon re) COMP_CWORD=1
        set -- $(complete -p qoemon)  # complete -o default -F FUNCTION qoemon
        ${{@: -2:1}} qoemon
        echo "${{COMPREPLY[@]}}"
    """
    env = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert {"record", "replay", "report"} <= set(done.stdout.split()), done.stderr
    assert "run" not in done.stdout.split()
