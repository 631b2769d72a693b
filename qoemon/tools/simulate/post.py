"""Posts the reports of a simulated population to an HTTP collector, in real time.

A POST that is refused for now (429, 503) or lost is sent again with the same content, as players do: its records
have the same sn and ts, so they count once.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import aiohttp

from qoemon.config.sections.types import first_secret, read_secret
from qoemon.config.sections.web import WebFile
from qoemon.config.yaml import document as yamlfile
from qoemon.config.yaml.validation import validated
from qoemon.tools.simulate.load import LoadError, Message, Messages, Progress, Totals, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from qoemon.config.sections.collector import Collector
    from qoemon.tools.simulate.simulate import Population

IN_FLIGHT = 500
"""Concurrent POSTs, each on a connection that is kept. An answer comes when the records are stored, after 0.1 s."""

AGAIN_S = 1.0
"""Pause before a POST is sent again."""

GIVE_UP_S = 60.0
"""A collector that has not answered for longer is lost. A restart takes seconds."""

_ANSWER_S = 30.0
"""Limit of one POST."""

_LATER = {429, 503}


@dataclass(frozen=True)
class Target:
    """A collector.

    url      scheme, host and port
    token    None for none
    ca_file  CAs to trust instead of the system's; None for those
    """

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


def target_of(
    collector: Collector, host: str | None, port: int | None, token: str | None, ca_file: Path | None
) -> Target:
    """The collector of a configuration, at another address or with other credentials as far as they are given.

    raises   LoadError if its files cannot be read
    """
    address = host or _LOOPBACK.get(collector.host, collector.host)
    try:
        if token is None and collector.token_file is not None:
            token = read_secret(collector.token_file)
        if ca_file is not None:
            ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ValueError) as error:
        raise LoadError(f"{ca_file or collector.token_file}: cannot be read: {error}") from None
    scheme = "https" if ca_file is not None or _has_tls(collector.web_config_file) else "http"
    url = f"{scheme}://{f'[{address}]' if ':' in address else address}:{port or collector.port}"
    return Target(url, token or first_secret(collector.token), ca_file)


_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to connect to, not to listen on


def _has_tls(web_config_file: Path | None) -> bool:
    if web_config_file is None:
        return False
    return validated(yamlfile.read(web_config_file, os.environ), WebFile).tls_server_config is not None


async def post(
    target: Target,
    population: Population,
    messages: Messages,
    *,
    rate: float = math.inf,
    for_s: float | None = None,
    step_s: float = 0.5,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Totals:
    """Post the messages of a population for `for_s` seconds or until cancelled; see load.publish().

    raises  LoadError if the collector cannot be reached at the start or for GIVE_UP_S later, or refuses a POST
    """
    headers = {} if target.token is None else {"Authorization": f"Bearer {target.token}"}
    trusted = True if target.ca_file is None else ssl.create_default_context(cafile=str(target.ca_file))
    connections = aiohttp.TCPConnector(limit=IN_FLIGHT, keepalive_timeout=60.0, ssl=trusted)
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    async with aiohttp.ClientSession(connector=connections, headers=headers, timeout=timeout) as client:
        return await run(_ByHttp(client, target.url), population, messages, rate, for_s, step_s, on_progress)


class _ByHttp:
    """Posts until accepted."""

    in_flight = IN_FLIGHT

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client, self._url = client, url
        self._clock = asyncio.get_running_loop().time
        self._answered_s: float | None = None
        """Time of the last answer."""

    async def send(self, message: Message) -> None:
        while not await self._accepted(message):
            await asyncio.sleep(AGAIN_S)

    async def until_lost(self) -> NoReturn:
        """Every POST finds out for itself."""
        await asyncio.Future()
        raise AssertionError

    async def _accepted(self, message: Message) -> bool:
        """Whether it was; False if it is to be sent again."""
        headers, url = {"Content-Type": message.content_type}, f"{self._url}{message.address}"
        try:
            async with self._client.post(url, data=message.payload, headers=headers) as answer:
                self._answered_s = self._clock()
                if answer.status in _LATER:
                    return False
                if answer.status >= 300:
                    reason = (await answer.text()).strip() or answer.reason
                    raise LoadError(f"The collector at {url} answered {answer.status}: {reason}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail_if_lost(error)
            return False
        return True

    def _fail_if_lost(self, error: Exception) -> None:
        said = str(error) or "no answer"
        if self._answered_s is None:
            raise LoadError(
                f"Cannot connect to the collector at {self._url}: {said}: check that the daemon runs, that its "
                "configuration has a section collector, and --host and --port"
            ) from error
        if self._clock() - self._answered_s > GIVE_UP_S:
            raise LoadError(f"Lost the collector at {self._url}: {said}") from error
