"""What the package never does, and what it depends on: checked over all of its source."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "qoemon").rglob("*.py"))
UNSAFE_IMPORTS = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "xmlrpc"}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"),
    *(
        "yaml.load",
        "yaml.load_all",
        "yaml.full_load",
        "yaml.unsafe_load",
        "yaml.full_load_all",
        "yaml.unsafe_load_all",
    ),
}


def called(node: ast.Call) -> str:
    """`os.system` of os.system(...); the last two names of longer ones."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return f"{function.value.id}.{function.attr}" if isinstance(function.value, ast.Name) else function.attr
    return function.id if isinstance(function, ast.Name) else ""


def unsafe(source: str) -> Iterator[str]:
    """What a module does that this package never does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {alias.name.partition(".")[0] for alias in node.names} & UNSAFE_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            yield from {(node.module or "").partition(".")[0]} & UNSAFE_IMPORTS
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node)


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    name = called(node)
    if name in UNSAFE_CALLS:
        yield name
    given = {word.arg: word.value for word in node.keywords}
    for word, value in given.items():
        if word in {"shell", "allow_pickle"} and not (isinstance(value, ast.Constant) and value.value is False):
            yield f"{name}({word}=...)"
        if word == "Loader" and ast.unparse(value) not in {"yaml.SafeLoader", "yaml.CSafeLoader"}:
            yield f"{name}(Loader={ast.unparse(value)})"
    if name in {"np.load", "numpy.load"} and "allow_pickle" not in given:
        yield "np.load without allow_pickle=False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path: Path) -> None:
    """But between the parent and its own workers, over sockets that nobody else can open."""
    allowed = {"pickle"} if path == ROOT / "qoemon/engine/workers/channel.py" else set()
    assert set(unsafe(path.read_text(encoding="utf-8"))) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "yaml.parse(x, Loader=yaml.FullLoader)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "eval('1')",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_check_sees_what_it_is_for(source: str) -> None:
    assert list(unsafe(source))


def requirements() -> list[Requirement]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    told = project["build-system"]["requires"] + project["project"]["dependencies"]
    told += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    return [one for one in map(Requirement, told) if one.name != "qoemon"]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda one: one.name)
def test_every_dependency_has_a_lower_and_an_upper_bound(requirement: Requirement) -> None:
    operators = {clause.operator for clause in requirement.specifier}
    assert operators & {">=", "==", "~="}, f"{requirement}: from which version on?"
    assert operators & {"<", "<=", "==", "~="}, f"{requirement}: up to which version?"


LOCKS = {
    "config/requirements.txt": ("dashboards", "ui"),
    "config/cluster/requirements.txt": ("dashboards", "kafka", "spark", "ui"),
}
"""The files that `make lock` writes, and the extras that they pin."""


def pinned(file: str) -> list[tuple[str, str]]:
    """The pins of a file that have hashes: the version, and the marker of those that are not for all."""
    found = re.findall(
        r"^(\S+==\S+)(?: ; (.+?))?(?: \\\n    --hash=sha256:[0-9a-f]{64})+$",
        (ROOT / file).read_text(),
        re.MULTILINE,
    )
    return list(found)


@pytest.mark.parametrize("file", LOCKS)
def test_every_pinned_dependency_has_hashes(file: str) -> None:
    lines = (ROOT / file).read_text().splitlines()
    assert len(pinned(file)) == sum("==" in line for line in lines) > 30


@pytest.mark.parametrize("file", LOCKS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_pinned_versions_are_those_that_the_package_wants(python: str, file: str) -> None:
    """`make lock` after a change of dependencies; each is there once for each Python."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    pins = [Requirement(f"{pin} ; {marker}" if marker else pin) for pin, marker in pinned(file)]
    valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in valid}
    assert len(versions) == len(valid)
    extras = project["optional-dependencies"]
    for line in project["dependencies"] + [line for extra in LOCKS[file] for line in extras[extra]]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:  # another extra
            continue
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), f"{wanted}: make lock"


def test_the_images_have_the_same_versions() -> None:
    one, cluster = (set(pinned(file)) for file in LOCKS)
    assert one <= cluster
    dockerfile = (ROOT / "config/cluster/Dockerfile").read_text()
    [script] = re.findall(r"^FROM apache/spark:(\S+)", dockerfile, re.MULTILINE)
    assert f"pyspark=={script}" in {pin for pin, _ in cluster}


FOUND = {"id": "X-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([{"name": "a", "version": "1.0", "vulns": [FOUND]}], 1, "audit: a 1.0: X-1, mended in 2.0"),
        ([{"name": "a", "version": "1.0", "vulns": []}, {"name": "b", "skip_reason": "?"}], 0, "1 of 2 packages"),
        ([{"name": "a", "skip_reason": "not found"}], 0, "NOT DONE"),
    ],
)
def test_the_audit_fails_on_findings_and_says_when_it_could_not_look(
    packages: list[dict[str, Any]], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = runpy.run_path(str(ROOT / ".ci/audit.py"))["verdict"]
    assert verdict(packages) == code
    assert words in capsys.readouterr().out
