"""What connections of the collector withstand: pipelining; slow, idle and hostile clients; floods; TLS."""

from __future__ import annotations

import asyncio
import random
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from qoemon.inputs.inbox import Inbox
from qoemon.net.http import connections, post_connection
from qoemon.net.http.listener_stats import Ended
from tests.support.collector import PATH, Client, client, collecting, exchange, request
from tests.support.patience import LOOK_S, NEVER_S
from tests.support.patience import async_until as until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts nobody for being slow; a test of a limit sets that one."""
    for name in ("REQUEST_S", "ANSWER_S", "KEEPALIVE_S", "CLOSE_S"):
        monkeypatch.setattr(connections, name, NEVER_S)
    monkeypatch.setattr(post_connection, "LINGER_S", NEVER_S)


def body(number: int) -> bytes:
    return f'sid="{number}"'.encode()


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with collecting() as running, client(running.port) as wire:
        for number in range(20):
            wire.send(request(body(number)))
            assert (await wire.reply()).status == 204
        assert [message.payload for message in running.messages] == [body(number) for number in range(20)]
        assert len({message.connection for message in running.messages}) == 1
        assert len({message.mid for message in running.messages}) == 20


async def test_heads_that_repeat_are_read_as_the_first_one_was() -> None:
    """Whole, cut within the head, and with a body of another length; the rest of a head is none of its own."""
    sent = [body(1), body(2), body(3), body(10), body(4)]
    cut = 20
    async with collecting() as running, client(running.port) as wire:
        for one in sent:
            whole = request(one)
            for part in (whole[:cut], whole[cut:]) if one == sent[-1] else (whole,):
                wire.send(part)
                await asyncio.sleep(LOOK_S)  # so that the parts are read one by one
            assert (await wire.reply()).status == 204
        assert [message.payload for message in running.messages] == sent
        assert {message.topic for message in running.messages} == {PATH}
        wire.send(request(body(5))[cut:])
        assert (await wire.reply()).status == 400


async def test_requests_in_one_segment_are_answered_in_their_order() -> None:
    """Those that are refused at once wait for those that are not committed yet."""
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request(body(1)) + request(path="/none") + request(body(2)) + request(b"", method="OPTIONS"))
        await running.arrived(2)
        assert running.collector.stats.answers == {}
        running.commit()
        assert [(await wire.reply()).status for _ in range(4)] == [204, 404, 204, 204]


async def test_messages_that_are_committed_out_of_order_are_answered_in_order() -> None:
    """As when workers count them."""
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request(body(1)) + request(path="/none") + request(body(2)))
        first, second = await running.arrived(2)
        running.collector.ack([second])
        assert running.collector.stats.answers == {}
        running.collector.ack([first])
        assert [(await wire.reply()).status for _ in range(3)] == [204, 404, 204]
        assert running.collector.stats.in_flight == 0


async def test_nothing_is_in_flight_after_a_client_has_gone() -> None:
    """Not even a request that is committed, whose answer waits for that of an earlier one."""
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request(body(1)) + request(body(2)))
        _, second = await running.arrived(2)
        running.collector.ack([second])
        stats = running.collector.stats
        assert stats.in_flight == 2
        wire.reset()
        await until(lambda: stats.connections == 0)
        assert stats.in_flight == 0


async def test_a_client_that_does_not_wait_for_answers_is_held_back() -> None:
    count, most = 3000, post_connection.MOST_PENDING + post_connection.STEP // len(request(body(1000)))
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(b"".join(request(body(1000 + number)) for number in range(count)))
        answered = 0
        while answered < count:
            await running.arrived(answered + 1)
            assert 0 < len(running.messages) - answered <= most
            waiting = len(running.drained)
            running.commit()
            for _ in range(waiting):
                assert (await wire.reply()).status == 204
            answered += waiting
        assert [message.payload for message in running.messages] == [body(1000 + n) for n in range(count)]
        assert running.collector.stats.held_back_total > 0


async def test_a_client_that_reads_no_answers_is_not_read_and_cut_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as running, client(running.port) as wire:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        stats, sent = running.collector.stats, request(b"", path="/none") * 1000

        async def flood() -> None:
            while True:
                wire.send(sent)
                await wire.writer.drain()

        flooding = asyncio.create_task(flood())
        await until(lambda: stats.held_back_total)
        monkeypatch.setattr(connections, "ANSWER_S", 0.0)
        await until(lambda: stats.ended[Ended.SLOW] == 1)
        await until(lambda: stats.connections == 0)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        assert (await exchange(running.port, request())).status == 204


async def test_a_client_that_sends_no_more_still_gets_its_answers() -> None:
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request(body(1)) + request(body(2)))
        wire.writer.write_eof()
        await running.arrived(2)
        await asyncio.sleep(0.1)
        running.commit()
        assert [(await wire.reply()).status for _ in range(2)] == [204, 204]
        assert await wire.ended() == b""
        await until(lambda: running.collector.stats.connections == 0)


@pytest.mark.parametrize("part", [1, 20, 60, -3])
async def test_a_request_that_is_cut_off_is_not_stored(part: int) -> None:
    async with collecting() as running:
        async with client(running.port) as wire:
            wire.send(request()[:part])
            wire.writer.write_eof()
            assert await wire.ended() == b""
        await until(lambda: running.collector.stats.connections == 0)
        assert running.messages == []


async def test_bytes_that_come_one_by_one_make_a_request() -> None:
    async with collecting() as running, client(running.port) as wire:
        for byte in request(body(1)) + request(body(2)):
            wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert [(await wire.reply()).status for _ in range(2)] == [204, 204]


@pytest.mark.parametrize("begun", ["", "POST / HTTP/1.1\r\nX-A: b\r\n", "body"])
async def test_a_request_that_takes_too_long_is_cut(monkeypatch: pytest.MonkeyPatch, begun: str) -> None:
    """Also if bytes keep coming: the time is that of the whole head, then of the whole body."""
    sent = request(b"a" * 1000)[:-990] if begun == "body" else begun.encode()
    async with collecting() as running, client(running.port) as wire:
        stats = running.collector.stats
        wire.send(sent)
        await until(lambda: stats.connections == 1)
        monkeypatch.setattr(connections, "REQUEST_S", 1.5)

        async def dribble() -> None:
            while begun:
                wire.send(b"a")
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble())
        await until(lambda: stats.ended[Ended.SLOW] == 1)
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)
        await until(lambda: stats.connections == 0)
        assert running.messages == []


async def test_a_connection_that_is_idle_for_too_long_is_ended_and_one_that_waits_for_an_answer_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as running, client(running.port) as idle, client(running.port) as waiting:
        idle.send(request())
        assert (await idle.reply()).status == 204
        running.hold = True
        waiting.send(request())
        await running.arrived(2)
        monkeypatch.setattr(connections, "KEEPALIVE_S", 0.0)
        monkeypatch.setattr(connections, "REQUEST_S", 0.0)
        stats = running.collector.stats
        await until(lambda: stats.ended[Ended.IDLE] == 1)
        assert await idle.ended() == b""
        assert (stats.connections, stats.ended[Ended.SLOW]) == (1, 0)
        monkeypatch.setattr(connections, "KEEPALIVE_S", NEVER_S)
        running.commit()
        assert (await waiting.reply()).status == 204


async def test_idle_connections_make_room_and_those_that_wait_for_an_answer_do_not() -> None:
    async with collecting(hold=True, connections=2) as running:
        stats = running.collector.stats
        async with client(running.port) as waiting, client(running.port) as idle:
            waiting.send(request())
            await running.arrived(1)
            await until(lambda: stats.connections == 2)
            async with client(running.port) as other:
                assert await idle.ended() == b""
                other.send(request())
                await running.arrived(2)
                async with client(running.port) as refused:
                    assert await refused.ended() == b""
                running.commit()
                assert [(await one.reply()).status for one in (waiting, other)] == [204, 204]
        assert stats.ended == {Ended.EVICTED: 1, Ended.FULL: 1}


async def test_many_idle_connections_delay_nobody() -> None:
    from tests.net.http.test_connections import many_files, wires  # noqa: PLC0415 - the same limits

    async with many_files(9000), collecting() as running:
        async with wires(running.port, 2000, b"POST /cmcd"):
            await until(lambda: running.collector.stats.connections == 2000)
            for number in range(50):
                assert (await exchange(running.port, request(body(number)))).status == 204
            assert running.collector.stats.connections >= 2000
        await until(lambda: running.collector.stats.connections == 0)


async def test_a_flood_from_one_client_disturbs_no_other() -> None:
    """The inbox bounds it: what it does not take is refused with 429."""
    async with collecting(Inbox(500, 2**20)) as running, client(running.port) as flooding:
        burst, replies = request(b"a" * 2000) * 400, 0

        async def flood() -> None:
            nonlocal replies
            for _ in range(10):
                flooding.send(burst)
                for _ in range(400):
                    assert (await flooding.reply()).status in {204, 429}
                    replies += 1

        task = asyncio.create_task(flood())
        for number in range(20):
            assert (await exchange(running.port, request(body(number)))).status == 204
        await task
        assert replies == 4000
        stored = sum(message.payload == b"a" * 2000 for message in running.messages)
        assert stored == running.collector.stats.answers[204] - 20


async def test_large_bodies_arrive_whole() -> None:
    content = random.Random(1).randbytes(65_536)
    async with collecting() as running:
        sent = request(content, content_type="application/msgpack")
        replies = await asyncio.gather(*(exchange(running.port, sent) for _ in range(50)))
        assert {reply.status for reply in replies} == {204}
        assert {message.payload for message in running.messages} == {content}


async def test_headers_and_chunks_without_end_are_refused() -> None:
    endless = {
        431: b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
        414: b"POST /" + b"a" * 100_000,
        413: request(b"", length=False, Transfer_Encoding="chunked") + b"1;" + b"a" * 2_000_000,
    }
    async with collecting() as running:
        for status, sent in endless.items():
            assert (await exchange(running.port, sent)).status == status
        many = request(b"", length=False, Transfer_Encoding="chunked") + b"1\r\na\r\n" * 65_537
        assert (await exchange(running.port, many)).status == 413


async def test_what_follows_a_refusal_is_thrown_away_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_connection, "LINGER_S", 0.2)
    async with collecting() as running:
        async with client(running.port) as wire:
            wire.send(request(b"", length=False, Content_Length="1000000"))
            assert (await wire.reply()).status == 413
            await until(lambda: running.collector.stats.connections == 0)
        monkeypatch.setattr(post_connection, "LINGER_S", NEVER_S)
        async with client(running.port) as wire:
            wire.send(request(b"", length=False, Content_Length="100000000"))
            assert (await wire.reply()).status == 413
            wire.send(b"a" * (2 * post_connection.LINGER_BYTES))
            await until(lambda: running.collector.stats.connections == 0)


WORDS = (
    b"POST |GET |OPTIONS | HTTP/1.1\r\n| HTTP/1.0\r\n|\r\n|\n|\r|:| |Content-Length: |Transfer-Encoding: |chunked",
    b"Connection: |close|upgrade|Upgrade: h2c|Content-Type: application/cmcd|Expect: 100-continue|Host: b|gzip",
    b"0|5|ffff|-1|;|\0|\xff\xfe|abcde|?token=|%|%zz|#|\t|,",
)
ALPHABET = [PATH.encode(), *b"|".join(WORDS).split(b"|")]


async def test_bytes_at_random_are_never_accepted_and_never_stop_it(caplog: pytest.LogCaptureFixture) -> None:
    """A body of random bytes in a right request is the core's matter; here the random bytes are the request."""
    rng = random.Random(13)
    async with collecting(token="none of these") as running:  # noqa: S106

        async def attack(sent: bytes) -> bytes:
            async with client(running.port) as wire:
                wire.send(sent)
                if wire.writer.can_write_eof():
                    wire.writer.write_eof()
                return await wire.ended()

        for _ in range(40):
            attacks = [rng.randbytes(rng.randrange(1, 300)) for _ in range(5)]
            attacks += [b"".join(rng.choices(ALPHABET, k=rng.randrange(1, 40))) for _ in range(20)]
            for sent, answer in zip(attacks, await asyncio.gather(*map(attack, attacks)), strict=True):
                accepted = b"HTTP/1.1 2" in answer and b"OPTIONS " not in sent
                assert not accepted, (sent, answer)
        right = request().replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer none of these\r\n\r\n", 1)
        assert (await exchange(running.port, right)).status == 204
        assert len(running.messages) == 1
        assert running.collector.stats.answers[500] == 0
        await until(lambda: running.collector.stats.connections == 0)
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]


async def test_requests_with_a_few_wrong_bytes_never_stop_it() -> None:
    rng = random.Random(14)
    chunked = request(b"", length=False, Transfer_Encoding="chunked")
    right = request(body(1)) + chunked + b"5\r\nabcde\r\n0\r\n\r\n"
    async with collecting() as running:

        async def attack(sent: bytes) -> None:
            async with client(running.port) as wire:
                wire.send(sent)
                wire.writer.write_eof()
                await wire.ended()

        for _ in range(40):
            attacks = []
            for _ in range(25):
                sent = bytearray(right)
                for _ in range(rng.randrange(1, 6)):
                    sent[rng.randrange(len(sent))] = rng.randrange(256)
                attacks.append(bytes(sent))
            await asyncio.gather(*map(attack, attacks))
        assert (await exchange(running.port, request())).status == 204
        assert running.collector.stats.answers[500] == 0
        await until(lambda: running.collector.stats.connections == 0)
        assert running.collector.stats.in_flight == 0


def certified(directory: Path, authority: trustme.CA) -> Path:
    """A web configuration file with a new certificate."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    file = directory / "web.yml"
    text = "{tls_server_config: {cert_file: cert.pem, key_file: key.pem}, http_server_config: {headers: {%s}}}"
    file.write_text(text % "Strict-Transport-Security: max-age=60", encoding="utf-8")
    return file


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def serial(wire: Client) -> Any:
    return wire.writer.get_extra_info("peercert")["serialNumber"]


async def test_tls_headers_and_a_new_certificate_while_it_runs(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = trusting(authority)
    async with collecting(web_config_file=certified(tmp_path, authority)) as running:
        async with client(running.port, tls) as wire:
            wire.send(request(b"a" * 60_000) + request(path="/none"))
            replies = [await wire.reply() for _ in range(2)]
            assert [reply.status for reply in replies] == [204, 404]
            assert replies[0].headers["strict-transport-security"] == "max-age=60"
            before = await serial(wire)
            certified(tmp_path, authority)
            async with client(running.port, tls) as later:
                assert await serial(later) != before
                later.send(request())
                assert (await later.reply()).status == 204
            wire.send(request())
            assert (await wire.reply()).status == 204
            wire.send(request(b"", length=False, Content_Length="1000000") + b"a" * 100_000)
            assert (await wire.reply()).status == 413
        (tmp_path / "cert.pem").write_text("no certificate", encoding="utf-8")
        async with client(running.port, tls) as wire:
            wire.send(request())
            assert (await wire.reply()).status == 204
        assert not running.collector.stats.web_config_good


async def test_plain_requests_to_a_tls_port_are_counted_and_disturb_nobody(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with collecting(web_config_file=certified(tmp_path, authority)) as running:
        async with client(running.port) as wire:
            wire.send(request())
            await wire.ended()
        await until(lambda: running.collector.stats.ended[Ended.TLS] == 1)
        assert (await exchange(running.port, request(), trusting(authority))).status == 204
