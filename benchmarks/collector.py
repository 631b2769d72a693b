"""CPU of a POST to the collector, beside servers that do less. `python -m benchmarks.collector [--json FILE]`.

Every server is a process of its own and gets the same load: RATE requests a second, evenly spaced, in turn on
CONNECTIONS connections that stay open. CPU is that of the server's process, from /proc. If the load were as fast as
the answers, a server that answers at once would find more requests at each wake-up than one that commits first.

    python -m benchmarks.collector serve NAME    one of SERVERS, which prints its port
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import run
from benchmarks.row import Row
from benchmarks.wire import cpu
from benchmarks.wire.figures import Figures, rival_cost
from tests.support.parts import Part, program

REQUESTS, RATE, CONNECTIONS = 40_000, 4000, 2000
PATH = "/cmcd/v1/video/eu/a"
ROUNDS = 1 if os.environ.get("QUICK") else 3
PATIENCE_S = 60.0
SETTLED_S = 0.5
"""After which every request is answered and counted."""

FIELDS = (
    "Host: collector.example:9878",
    "Connection: keep-alive",
    "Content-Type: application/cmcd",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    "Accept: */*",
    "Origin: https://video.example",
)


def record(session: int, number: int) -> bytes:
    """A record of 120 bytes, as hls.js sends it."""
    sid = f"{session:08}-2f1e-4d57-9a31-0c5a1b2d3e4f"
    ts = 1_795_000_000_000 + 1000 * number
    return f'bl=(10000),cid="clip-1",e=t,pr=1,sf=h,sid="{sid}",sn={number:05},st=v,sta=p,ts={ts},v=2'.encode()


def post(session: int, number: int) -> bytes:
    """The request with a record."""
    body = record(session, number) + b"\n"
    return "\r\n".join((f"POST {PATH} HTTP/1.1", *FIELDS, f"Content-Length: {len(body)}", "", "")).encode() + body


def push(session: int, number: int) -> bytes:
    """A push of three values, for prometheus-pushgateway."""
    body = f"stalls {number}\nstall_seconds {number}.5\nplay_seconds {number}.25\n".encode()
    path = f"/metrics/job/video/instance/{session}"
    return "\r\n".join((f"POST {path} HTTP/1.1", *FIELDS, f"Content-Length: {len(body)}", "", "")).encode() + body


Make = Callable[[int, int], bytes]


class Load:
    """Connections to a server, each with at most one request that is not answered."""

    def __init__(self, port: int, make: Make) -> None:
        self._make, self._number = make, 0
        self._wires = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        for wire in self._wires:
            wire.settimeout(PATIENCE_S)

    def close(self) -> None:
        """Wait for the last answers, and close the connections."""
        for session in range(min(CONNECTIONS, self._number)):
            self._answered(session)
            self._wires[session].close()

    def send(self, requests: int) -> None:
        """Send so many requests, evenly spaced."""
        began_s = time.monotonic()
        for sent in range(requests):
            wait_s = began_s + sent / RATE - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            session = self._number % CONNECTIONS
            if self._number >= CONNECTIONS:
                self._answered(session)
            self._wires[session].sendall(self._make(session, self._number))
            self._number += 1

    def _answered(self, session: int) -> None:
        """Read an answer, which came long ago unless the server is too slow for the rate."""
        answer = self._wires[session].recv(4096)
        if not answer.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"answered with {answer[:60]!r}")


def cost(pid: int, port: int, make: Make) -> float:
    """CPU seconds of a server for REQUESTS requests, after some that warm it up."""
    load = Load(port, make)
    load.send(CONNECTIONS)
    time.sleep(SETTLED_S)
    began_s = cpu.seconds(pid)
    load.send(REQUESTS)
    time.sleep(SETTLED_S)
    spent_s = cpu.seconds(pid) - began_s
    load.close()
    return spent_s


class Floor(asyncio.Protocol):
    """Finds the end of each request, and answers 204."""

    ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._data = self._data + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            at = data.find(b"Content-Length: ", 0, end) + 16
            whole = end + 4 + int(data[at : data.index(b"\r", at)])
            if len(data) < whole:
                return
            data = self._data = data[whole:]
            self._transport.write(self.ANSWER)


async def serve_floor() -> None:
    """Serve Floor."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", 0, backlog=CONNECTIONS)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def serve_aiohttp() -> None:
    """Serve a handler of aiohttp that reads the body and answers 204."""
    from aiohttp import web  # noqa: PLC0415 - not in the other servers

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post(PATH, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=CONNECTIONS)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def serve_collector() -> None:
    """Serve the collector with a journal, without counting."""
    from qoemon.config.sections.state import Durability  # noqa: PLC0415 - not in the other servers
    from qoemon.core.plan.topic import TopicTemplate  # noqa: PLC0415
    from qoemon.inputs.http.collector import Collector  # noqa: PLC0415
    from qoemon.inputs.http.options import CollectorOptions  # noqa: PLC0415
    from qoemon.inputs.inbox import Inbox, Message  # noqa: PLC0415
    from qoemon.state.store import Store  # noqa: PLC0415
    from qoemon.state.writer import JournalWriter  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        inbox = Inbox(200_000, 2**26)
        options = CollectorOptions("127.0.0.1", 0, (TopicTemplate("/cmcd/v1/{service}/{region}/{cdn}"),))
        collector = Collector(options, inbox)
        await collector.listen()
        print(collector.port, flush=True)

        def committed(messages: list[Message]) -> None:
            inbox.release(messages)
            collector.ack(messages)

        writer = JournalWriter(Store(Path(directory), Durability.PROCESS, 2**30), committed)

        async def drain() -> None:
            while True:
                await asyncio.sleep(0.1)
                if messages := inbox.drain():
                    writer.put(messages)

        await asyncio.gather(collector.run(), writer.run(), drain())


SERVERS = {"floor": serve_floor, "aiohttp": serve_aiohttp, "collector": serve_collector}


@contextmanager
def serving(name: str) -> Iterator[tuple[int, int]]:
    """Process id and port of a server."""
    command = [sys.executable, "-m", "benchmarks.collector", "serve", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


class Pushgateway(Part):
    """Debian's pushgateway, in Go."""

    def __init__(self, directory: Path) -> None:
        super().__init__("prometheus-pushgateway", directory)

    def command(self) -> list[str]:
        found = program(self.name, "Debian package prometheus-pushgateway")
        return [found, f"--web.listen-address=127.0.0.1:{self.port}", "--push.disable-consistency-check"]


def measure(figures: Figures) -> None:
    """One round of all servers."""
    spent_s: dict[str, float | None] = {}
    for name in SERVERS:
        with serving(name) as (pid, port):
            spent_s[name] = cost(pid, port, post)
            figures.cost(f"POST: {name}", "POST", spent_s[name] or 0.0, REQUESTS)

    def pushed() -> float:
        with tempfile.TemporaryDirectory() as directory, Pushgateway(Path(directory)) as gateway:
            return cost(gateway.pid, gateway.port, push)

    name = "push of three values: prometheus-pushgateway"
    spent_s["pushgateway"] = rival_cost(figures, name, pushed)
    if (theirs_s := spent_s["pushgateway"]) is not None:
        figures.cost(name, "POST", theirs_s, REQUESTS)
    ours_s = spent_s["collector"] or 0.0
    figures.ratio("POST: qoemon / bare aiohttp", ours_s, spent_s["aiohttp"], at_most=0.4)
    figures.ratio("POST: qoemon / floor", ours_s, spent_s["floor"], at_most=2.5)
    figures.ratio("POST: qoemon / prometheus-pushgateway", ours_s, theirs_s, at_most=0.5)


def rows() -> list[Row]:
    """The table."""
    figures = Figures()
    for _ in range(ROUNDS):
        measure(figures)
    return figures.rows()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(SERVERS[sys.argv[2]]())
    else:
        sys.exit(run("Posts to the collector", rows))
