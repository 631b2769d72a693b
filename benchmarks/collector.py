"""CPU of a POST to the collector of a daemon, beside servers that do less. `python -m benchmarks.collector`.

Every server is a process of its own and gets the same load from this process. CPU is that of the server's process,
all its threads, from /proc: of the daemon with everything that it does meanwhile, with its default settings, a
state directory included.

The load is that of many players: CONNECTIONS connections stay open, each has a session that posts, waits for the
answer, and posts again about once a second, at its own time; all together RATE requests a second. The bars apply to
this load. With the other load, each connection posts again as soon as it is answered. There a server that answers
at once finds few requests at each wake-up, and one that commits first finds thousands.

    python -m benchmarks.collector serve NAME    one of SERVERS, which prints its port
"""

from __future__ import annotations

import asyncio
import os
import random
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
from tests.support.parts import Daemon, Part, accepts, program, unused_port
from tests.support.patience import until

REQUESTS, RATE, CONNECTIONS = 40_000, 4000, 4000
OPENING = 2
"""Requests of each connection that warm up a server: a player starts, and plays."""
PATH = "/cmcd/v1/video/eu/a"
ROUNDS = 1 if os.environ.get("QUICK") else 3
PATIENCE_S = 60.0
SETTLED_S = 0.5
"""After which every request is answered and counted."""
STALLS_AFTER = 20
"""Every so many records of a session are a stall and its end."""

FIELDS = (
    "Host: collector.example:9878",
    "Connection: keep-alive",
    "Content-Type: application/cmcd",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    "Accept: */*",
    "Origin: https://video.example",
)


def record(session: int, number: int, ts_ms: int) -> bytes:
    """A record of 120 bytes, as hls.js sends it: the session starts, plays, and stalls now and then."""
    sid = f"{session:08}-2f1e-4d57-9a31-0c5a1b2d3e4f"
    event, state = "t", "p"
    if number < OPENING:
        event, state = "ps", "sp"[number]
    elif (phase := (session + number) % STALLS_AFTER) < len("rp"):
        event, state = "ps", "rp"[phase]
    return (
        f'bl=(10000),cid="clip-1",e={event},sf=h,sid="{sid}",sn={number},st=v,sta={state},ts={ts_ms},v=2'
    ).encode()


def post(session: int, number: int) -> bytes:
    """The request with a record."""
    body = record(session, number, time.time_ns() // 1_000_000) + b"\n"
    return "\r\n".join((f"POST {PATH} HTTP/1.1", *FIELDS, f"Content-Length: {len(body)}", "", "")).encode() + body


def push(session: int, number: int) -> bytes:
    """A push of three values, for prometheus-pushgateway."""
    body = f"stalls {number}\nstall_seconds {number}.5\nplay_seconds {number}.25\n".encode()
    path = f"/metrics/job/video/instance/{session}"
    return "\r\n".join((f"POST {path} HTTP/1.1", *FIELDS, f"Content-Length: {len(body)}", "", "")).encode() + body


Make = Callable[[int, int], bytes]


class Load:
    """Connections to a server, each with at most one request that is not answered, in turn.

    rate  requests a second, at random times; None for as fast as they are answered
    """

    def __init__(self, port: int, make: Make, rate: float | None, connections: int = CONNECTIONS) -> None:
        self._make, self._rate, self._number = make, rate, 0
        self._random = random.Random(1)
        self._wires = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for wire in self._wires:
            wire.settimeout(PATIENCE_S)

    def close(self) -> None:
        """Wait for the last answers, and close the connections."""
        for session, wire in enumerate(self._wires):
            if session < self._number:
                self._answered(session)
            wire.close()

    def send(self, requests: int) -> None:
        """Send so many requests."""
        due_s = time.monotonic()
        for _ in range(requests):
            if self._rate is not None:
                due_s += self._random.expovariate(self._rate)
                if (wait_s := due_s - time.monotonic()) > 0:
                    time.sleep(wait_s)
            number, session = divmod(self._number, len(self._wires))
            if number:
                self._answered(session)
            self._wires[session].sendall(self._make(session, number))
            self._number += 1

    def _answered(self, session: int) -> None:
        """Read an answer, which came long ago unless the server is too slow for the rate."""
        answer = self._wires[session].recv(4096)
        if not answer.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"answered with {answer[:60]!r}")


def cost(pid: int, port: int, make: Make, rate: float | None) -> float:
    """CPU seconds of a server for REQUESTS requests, after those that warm it up."""
    load = Load(port, make, rate)
    load.send(OPENING * CONNECTIONS)
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


SERVERS = {"floor": serve_floor, "aiohttp": serve_aiohttp}


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


class Collecting(Daemon):
    """The daemon with a collector and a state directory, without a broker, otherwise with its defaults."""

    def __init__(self, directory: Path) -> None:
        self.collector = unused_port()
        settings = {"collector": {"port": self.collector}, "state": {"dir": str(directory / "state")}}
        super().__init__(directory, {"mqtt": None, "log": {"level": "warning"}, **settings})

    def _answers(self) -> bool:
        return super()._answers() and accepts(self.collector)

    def cost(self, rate: float | None) -> float:
        """CPU seconds for the load; RuntimeError if not every record counted."""
        spent_s = cost(self.pid, self.collector, post, rate)
        sent = OPENING * CONNECTIONS + REQUESTS
        until(lambda: self.value("qoemon_reports_total") == sent, lambda: f"{self.samples()}, expected {sent}")
        return spent_s


class Pushgateway(Part):
    """Debian's pushgateway, in Go."""

    def __init__(self, directory: Path) -> None:
        super().__init__("prometheus-pushgateway", directory)

    def command(self) -> list[str]:
        found = program(self.name, "Debian package prometheus-pushgateway")
        return [found, f"--web.listen-address=127.0.0.1:{self.port}", "--push.disable-consistency-check"]


def measure(figures: Figures, rate: float | None, load: str, *, bars: bool) -> None:
    """One round of all servers with one load. load: its name."""
    spent_s: dict[str, float] = {}
    for name in SERVERS:
        with serving(name) as (pid, port):
            spent_s[name] = cost(pid, port, post, rate)
    with tempfile.TemporaryDirectory() as directory, Collecting(Path(directory)) as daemon:
        spent_s["qoemon"] = daemon.cost(rate)
    for name, spent in spent_s.items():
        figures.cost(f"{load}: {name}", "POST", spent, REQUESTS)

    def pushed() -> float:
        with tempfile.TemporaryDirectory() as directory, Pushgateway(Path(directory)) as gateway:
            return cost(gateway.pid, gateway.port, push, rate)

    name = f"{load}: prometheus-pushgateway, three values"
    theirs_s = rival_cost(figures, name, pushed)
    if theirs_s is not None:
        figures.cost(name, "POST", theirs_s, REQUESTS)
    if bars:
        ours_s = spent_s["qoemon"]
        figures.ratio(f"{load}: qoemon / aiohttp", ours_s, spent_s["aiohttp"], at_most=0.4)
        figures.ratio(f"{load}: qoemon / floor", ours_s, spent_s["floor"], at_most=2.5)
        figures.ratio(f"{load}: qoemon / prometheus-pushgateway", ours_s, theirs_s, at_most=0.5)


def rows() -> list[Row]:
    """The table."""
    figures = Figures()
    for _ in range(ROUNDS):
        measure(figures, RATE, f"{RATE:,} POST/s", bars=True)
        measure(figures, None, "POST after POST", bars=False)
    return figures.rows()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(SERVERS[sys.argv[2]]())
    else:
        sys.exit(run("Posts to the collector", rows))
