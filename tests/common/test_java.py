"""A Java that is missing or too old is found before Spark or Kafka fails on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qoemon.common.java import JavaError, java_version, require_java

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = "install Java 17 or later: apt-get install default-jre-headless"


def program(folder: Path, prints: str) -> Path:
    """A program `java` in a folder bin, as its versions answer to -version."""
    file = folder / "bin" / "java"
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\n{prints}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g", None),
    ],
)
def test_the_version_is_the_major_one(
    tmp_path: Path, no_java: None, monkeypatch: pytest.MonkeyPatch, says: str, version: int | None
):
    monkeypatch.setenv("JAVA_HOME", str(program(tmp_path / "home", f"echo '{says}' >&2").parents[1]))
    assert java_version() == version


def test_the_java_of_java_home_is_used_before_that_of_the_path(
    tmp_path: Path, no_java: None, monkeypatch: pytest.MonkeyPatch
):
    first = program(tmp_path, "echo 'openjdk version \"17.0.1\"' >&2")
    assert require_java() == str(first)
    other = program(tmp_path / "home", "echo 'openjdk version \"21.0.1\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert (require_java(), java_version()) == (str(other), 21)


def test_without_java_it_says_what_to_install(no_java: None):
    assert java_version() is None
    with pytest.raises(JavaError, match=f"^Java is not installed: {INSTALL}$"):
        require_java()


def test_a_java_home_without_java_is_named(tmp_path: Path, no_java: None, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path, "echo 'openjdk version \"17.0.1\"' >&2")
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(
        JavaError, match=r"^JAVA_HOME is /nowhere, where there is no bin/java: correct it, or install"
    ):
        require_java()


@pytest.mark.parametrize("prints", ["exit 1", "echo hello >&2"])
def test_a_java_that_does_not_answer_is_named(tmp_path: Path, no_java: None, prints: str):
    java = program(tmp_path, prints)
    with pytest.raises(JavaError, match=f"^{java} -version does not answer as expected: {INSTALL}$"):
        require_java()


def test_an_old_java_is_named_with_its_version(tmp_path: Path, no_java: None):
    java = program(tmp_path, "echo 'openjdk version \"11.0.2\"' >&2")
    with pytest.raises(
        JavaError, match=f"^{java} is Java 11, which is too old: {INSTALL}, and set JAVA_HOME to it$"
    ):
        require_java()
