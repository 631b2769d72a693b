"""Several daemons on one machine, from the template of the unit; and what each says that gets in the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.tools.shipped.unit import PROGRAM, unit
from tests.support.parts import ROOT, Daemon, Mosquitto
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.mosquitto

TEMPLATE = unit((ROOT / "config/systemd/qoemon.service").read_text(), PROGRAM, template=True, user=None)
"""As `qoemon systemd-unit --template` prints it for an installation at this place."""


def of_instance(key: str, name: str) -> str:
    """The value of a key of the template, for one instance."""
    (value,) = re.findall(rf"^{key}=(.*)$", TEMPLATE, re.MULTILINE)
    return value.replace("%i", name)


class Instance(Daemon):
    """A daemon as systemd starts an instance of the template, with these folders instead of /etc and /var/lib."""

    def __init__(self, directory: Path, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__(directory, settings, name)
        self._states = directory / "var-lib"

    def command(self) -> Sequence[str]:
        super().command()  # Writes the configuration to NAME.yaml.
        program, *arguments = of_instance("ExecStart", self.name).split()
        assert program == PROGRAM
        folder = f"{self.directory}/"
        state = self._states / of_instance("StateDirectory", self.name)
        state.mkdir(parents=True, exist_ok=True)
        environment = f"STATE_DIRECTORY={state}"
        return [
            "/usr/bin/env",
            environment,
            *(sys.executable, "-m", "qoemon"),
            *(argument.replace("/etc/qoemon/", folder) for argument in arguments),
        ]


def settings(broker: Mosquitto, tenant: str) -> dict[str, Any]:
    topics = [f"{tenant}/qoe/v1/{{service}}/{{region}}/{{cdn}}"]
    at = {"host": "127.0.0.1", "port": broker.port, "client_id": f"qoemon-{tenant}", "topics": topics}
    return {"mqtt": at | {"reconnect": {"min": "100ms", "max": "200ms"}}, "sessions": {"tick": "1s"}}


def test_instances_of_the_template_run_beside_each_other(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with (
        Instance(tmp_path, "shop", settings(mosquitto, "shop")) as shop,
        Instance(tmp_path, "news", settings(mosquitto, "news")) as news,
    ):
        for daemon in (shop, news):
            daemon.ready()
            assert (tmp_path / "var-lib" / f"qoemon-{daemon.name}" / "lock").exists()


def ended(daemon: Daemon, **environment: str) -> tuple[int, str]:
    """The exit code and the last line of a daemon that does not start."""
    done = subprocess.run(
        daemon.command(),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()[-1]


def test_what_belongs_to_another_daemon_is_named_with_what_to_do(tmp_path: Path, mosquitto: Mosquitto) -> None:
    shop = {**settings(mosquitto, "shop"), "state": {"dir": str(tmp_path / "state")}}
    with Daemon(tmp_path, shop, "shop") as running:
        running.ready()
        same_port = Daemon(tmp_path, settings(mosquitto, "news"), "port")
        same_port.use_port(running.port)
        code, line = ended(same_port)
        assert code == 1
        assert line.endswith(
            f":{running.port}: Address already in use: another program has this port, such as a second qoemon; "
            "stop it, or set another http.port"
        )
        same_state = Daemon(tmp_path, settings(mosquitto, "news") | {"state": shop["state"]}, "state-dir")
        code, line = ended(same_state)
        assert code == 1
        holder = f"another qoemon (process {running.pid}) keeps its state in {tmp_path / 'state'}"
        assert f"{holder}: stop it, or set another state.dir" in line

        same_client = {**settings(mosquitto, "news")}
        same_client["mqtt"] |= {"client_id": "qoemon-shop"}
        with Daemon(tmp_path, same_client, "client"):
            words = "another client"
            until(lambda: words in running.log.read_text(), running.log.read_text)
            (line, *_) = [line for line in running.log.read_text().splitlines() if words in line]
            assert "client_id" in line


def test_the_template_is_the_one_that_is_documented() -> None:
    """Configuration, state and address at the broker are those of the table in the manual."""
    page = (ROOT / "docs/upgrade.md").read_text()
    configuration = of_instance("ExecStart", "shop").rpartition(" ")[2]
    for text in (configuration, f"/var/lib/{of_instance('StateDirectory', 'shop')}", "qoemon@shop.service"):
        assert f"`{text}`" in page
    assert "`qoemon-shop`" in page
