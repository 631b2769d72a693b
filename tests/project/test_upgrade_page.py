"""Each command of the page about upgrades does what the page says, with a daemon of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qoemon.state.versions import READABLE, STATE
from tests.state.test_formats import unpacked
from tests.support.parts import ROOT, program, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/upgrade.md").read_text()
COMMANDS = [
    re.sub(r"^ *\$ ", "", block, flags=re.MULTILINE)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
]
UNITS = dict(re.findall(r"```ini\n# /etc/systemd/system/([\w.-]+)\n(.*?)```", PAGE, re.DOTALL))

SYSTEMCTL = """
systemctl() {
  case "$*" in
    *start*|*enable*)
      setsid "$PYTHON" -m qoemon run -c "$ROOT/etc/qoemon/qoemon.yaml" >>"$ROOT/log" 2>&1 &
      echo $! >"$ROOT/pid"
      until curl -sf -o /dev/null http://127.0.0.1:9877/healthz; do
        kill -0 "$(cat "$ROOT/pid")" || return 1; sleep .05
      done ;;
    *stop*|*disable*) if [ -e "$ROOT/pid" ]; then
        kill "$(cat "$ROOT/pid")"
        while kill -0 "$(cat "$ROOT/pid")" 2>/dev/null; do sleep .05; done
        rm "$ROOT/pid"
      fi ;;
  esac
}
qoemon() { "$PYTHON" -m qoemon "$@"; }
"""
"""What the page needs of systemd: to start and stop the daemon, and to wait until it is up, though not ready."""


PATH = "/cmcd/v1/video/eu/a"
REPORT = '{"session": "s", "seq": 1, "play_s": 10}'


class Machine:
    """A folder with the paths of the page, where a daemon can run."""

    def __init__(self, root: Path, tick: str) -> None:
        self.root, self.port, self.collector = root, unused_port(), unused_port()
        for folder in ("etc/qoemon", "var/lib", "var/backups/qoemon"):
            (root / folder).mkdir(parents=True)
        settings = {
            "mqtt": None,
            "collector": {"port": self.collector, "paths": [{"template": "/cmcd/v1/{service}/{region}/{cdn}"}]},
            "http": {"port": self.port},
            "sessions": {"tick": tick},
            "windows": ["1m", "5m", "15m"],
            "state": {"dir": str(root / "var/lib/qoemon")},
        }
        (root / "etc/qoemon/qoemon.yaml").write_text(json.dumps(settings))

    def run(self, commands: str) -> str:
        """What the commands print; each must succeed."""
        script = SYSTEMCTL + re.sub(r"(?<![\w/}])/(etc|var)/", rf"{self.root}/\1/", commands)
        return self.bash(script.replace("9877", str(self.port)))

    def bash(self, script: str) -> str:
        """What a script prints."""
        env = {"PYTHON": sys.executable, "ROOT": str(self.root), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(
            ["bash", "-euc", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        log = self.root / "log"
        assert done.returncode == 0, f"{script}\n{done.stderr}\n{log.read_text() if log.exists() else ''}"
        return done.stdout

    @staticmethod
    def commands(*words: str) -> str:
        """The only block of the page with all these words."""
        (block,) = [each for each in COMMANDS if all(word in each for word in words)]
        return block

    def block(self, *words: str) -> str:
        """What the commands of that block print."""
        return self.run(self.commands(*words))

    def versions(self) -> dict[str, int]:
        """The versions of what is in the state directory."""
        shown = json.loads(self.run("qoemon state show --json -c /etc/qoemon/qoemon.yaml"))
        versions: dict[str, int] = shown["versions"]
        return versions


@contextmanager
def machine(root: Path, tick: str) -> Iterator[Machine]:
    """A machine whose daemon is stopped at the end."""
    program("curl", "Debian package curl")
    found = Machine(root, tick)
    try:
        yield found
    finally:
        found.run("systemctl stop qoemon")


def test_a_state_is_upgraded_and_rolled_back(tmp_path: Path) -> None:
    now, before = READABLE[STATE], 2
    with machine(tmp_path, tick="10s") as its:
        unpacked("v2-one-evaluation", tmp_path / "var/lib/qoemon")
        assert f"state {before} (this qoemon converts it to {now})" in its.block("state show")
        its.block("before-upgrade")
        assert "configuration is valid" in its.block("/readyz")
        its.run("systemctl stop qoemon")
        assert its.versions() == {"database": 1, "state": now, "history": 1}
        assert ", 162 messages of the journal replayed" in (tmp_path / "log").read_text()
        # The version of before does not exist any more: its state is all that can be looked at.
        rolling_back = its.commands("upgraded-from-version", "qoemon.newer").replace(
            "version-3", f"version-{before}"
        )
        its.run(rolling_back.replace("systemctl start qoemon", ""))
        assert its.versions() == {"database": 1, "state": before, "history": 1}


def test_a_state_is_backed_up_restored_and_moved(tmp_path: Path) -> None:
    with machine(tmp_path, tick="1s") as its:
        its.run("systemctl start qoemon")
        posting = "curl -sf --retry 60 --retry-delay 1 --retry-connrefused -H 'Content-Type: application/json'"
        its.run(f"{posting} -d '{REPORT}' http://127.0.0.1:{its.collector}{PATH}")
        assert "is running" in its.block("export", "/state.tar.gz")
        its.block("import", "/state.tar.gz")
        until(lambda: restored(its) == 1, (tmp_path / "log").read_text)
        its.block("export", "move.tar.gz")
        its.run("mv /var/lib/qoemon /var/lib/old-machine")
        its.block("import", "move.tar.gz")
        until(lambda: restored(its) == 2, (tmp_path / "log").read_text)


def restored(its: Machine) -> int:
    """How often the daemon has found the session in its state."""
    return (its.root / "log").read_text().count(": 1 sessions")


def test_the_units_of_the_page_back_up(tmp_path: Path) -> None:
    """Except that nobody waits for the night: systemd checks the units, and their commands are run."""
    analyze, folder = program("systemd-analyze", "Debian package systemd"), tmp_path / "units"
    folder.mkdir()
    for name, text in UNITS.items():
        (folder / name).write_text(text)
    checked = subprocess.run(
        [analyze, "verify", *map(str, sorted(folder.iterdir()))], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "qoemon-backup" in line]) == (
        0,
        [],
    )
    commands = "\n".join(re.findall(r"^ExecStart(?:Pre)?=(.*)$", UNITS["qoemon-backup.service"], re.MULTILINE))
    commands = (
        commands.replace("$$", "$").replace("%%", "%").replace("/opt/qoemon/bin/qoemon", '"$PYTHON" -m qoemon')
    )
    with machine(tmp_path, tick="1s") as its:
        unpacked("v3-players", tmp_path / "var/lib/qoemon")
        others = [tmp_path / "var/backups/qoemon" / f"{name}.tar.gz" for name in ("nightly-old", "before-upgrade")]
        for other in others:
            other.touch()
            os.utime(other, (0, 0))
        its.run(commands)
    new, upgrade = sorted((tmp_path / "var/backups/qoemon").iterdir(), key=lambda file: -file.stat().st_size)
    assert new.name.startswith("nightly-2")
    assert new.stat().st_size > 10_000
    assert upgrade.name == "before-upgrade.tar.gz"


def test_every_command_of_the_page_is_in_a_test() -> None:
    assert len(COMMANDS) == 8
    assert UNITS.keys() == {"qoemon-backup.service", "qoemon-backup.timer"}
