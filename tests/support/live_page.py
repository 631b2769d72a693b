"""A live page in a real Chromium: the daemon that serves it, the crowd that it is about, and its console."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import CallbackAPIVersion, Client

from tests.support.parts import Daemon, Nats
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from playwright.sync_api import Page

ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

SETTINGS = {
    "labels": ["note"],
    "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "60s", "min_active": "1s"},
    "windows": ["5s", "10s"],
    "alerts": [
        {
            "name": "Poor",
            "threshold": 0.25,
            "recovery": 0.18,
            "min_sessions": 5,
            "annotations": {"runbook": "https://runbooks.example.org/{region}", "hint": "ask {cdn}, {note}"},
        }
    ],
    "http": {
        "links": {
            "Grafana": "https://grafana.example.org/d/qoemon-group-detail?var-region={region}&var-note={note}",
            "Silence": "https://alerts.example.org/#/silences/new?filter=%7B{matchers}%7D",
            "Runbook": "https://runbooks.example.org/{alert}",
        }
    },
}


class Crowd:
    """Viewers and readers of several groups that report every 0.5 s until closed.

    viewers, readers  how many there are in each group
    affected          groups with bad QoS
    milliseconds      groups whose readers report milliseconds instead of seconds
    silent            whether nobody reports
    """

    GROUPS = (("eu", "a", ""), ("eu", "b", ""), ("us", "a", ""), ("asia", "a", ATTACK))

    def __init__(
        self, port: int, groups: Sequence[tuple[str, str, str]] = GROUPS, *, viewers: int = 40, readers: int = 24
    ) -> None:
        self._groups, self._number_of_viewers, self._number_of_readers = groups, viewers, readers
        self.affected = {("eu", "a", "")}
        self.milliseconds: set[tuple[str, str, str]] = set()
        self.silent = False
        self._since_s = time.time()
        self._bad_s = dict.fromkeys(groups, 0.0)
        self._seq = 0
        self._ended = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            if self.silent:
                continue
            self._seq += 1
            for group in self._groups:
                self._bad_s[group] += 0.5 * (group in self.affected)
                region, cdn, note = group
                for service, reports in (("video", self._viewers(group)), ("web", self._readers(group))):
                    labelled = [{**report, "labels": {"note": note}} for report in reports]
                    self._client.publish(f"qoe/v1/{service}/{region}/{cdn}", json.dumps(labelled))

    def _viewers(self, group: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
        watched_s, bad_s = time.time() - self._since_s, self._bad_s[group]
        for number in range(self._number_of_viewers):
            stalled_s = bad_s * (0.3 + number / 60)
            yield {
                "session": f"{group} {number}",
                "seq": self._seq,
                "stall_count": int(stalled_s / 2),
                "stall_s": stalled_s,
                "play_s": max(watched_s - stalled_s, 0),
            }

    def _readers(self, group: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
        for number in range(self._number_of_readers):
            response_s = (0.2 + number / 30) * (40 if group in self.affected else 1)
            response_s *= 1000 if group in self.milliseconds else 1
            yield {"session": f"{group} r{number}", "seq": self._seq, "response_s": response_s}


@contextlib.contextmanager
def crowded(
    directory: Path,
    groups: Sequence[tuple[str, str, str]] = Crowd.GROUPS,
    settings: Mapping[str, Any] = SETTINGS,
    **sizes: int,
) -> Iterator[tuple[Daemon, Crowd]]:
    """A daemon with these settings that gets the reports of a crowd; eu/a is affected."""
    with Nats(directory) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "version": "3.1.1", "qos": 0}
        with (
            Daemon(directory, {"mqtt": mqtt, **settings}) as part,
            contextlib.closing(Crowd(broker.port, groups, **sizes)) as crowd,
        ):
            services = 1 if sizes.get("readers") == 0 else 2
            until(lambda: rated_groups(part) >= services * len(groups), part.log.read_text)
            yield part, crowd


def rated_groups(part: Daemon) -> int:
    """The number of groups with ratings."""
    services = part.snapshot().get("services", [])
    return sum("5s" in group["windows"] for service in services for group in service["groups"])


class WatchedPage:
    """A page and the messages of its console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    def open(self, daemon: Daemon, hash_: str = "") -> Page:
        self.page.goto(f"http://127.0.0.1:{daemon.port}/{hash_}")
        wait(self.page, "document.querySelectorAll('#charts .main-svg').length >= 10")
        return self.page


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def rows(page: Page) -> list[str]:
    """The names of the groups in the table, from the top."""
    return texts(page, "#table tbody button.name")


def wait(page: Page, condition: str) -> None:
    """Wait until an expression of the page is true; polled from outside, since the page's policy forbids eval."""
    until(lambda: page.evaluate(condition), lambda: f"{condition}; {page.inner_text('body')}")


def wait_for_rows(page: Page, wanted: Callable[[list[str]], bool]) -> None:
    until(lambda: wanted(rows(page)), lambda: f"the rows are {rows(page)}")
