"""What the collector answers, and what goes into the inbox."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from qoemon.core.wire.message import Kind
from qoemon.inputs.http.collector import Collector
from qoemon.inputs.inbox import Inbox
from tests.support.collector import OPTIONS, PATH, client, collecting, exchange, request
from tests.support.patience import async_until as until


async def test_a_post_is_answered_when_it_is_committed_and_not_before() -> None:
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request(b'sid="a"\n'))
        [message] = await running.arrived(1)
        waiting = asyncio.create_task(wire.reply())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert running.collector.stats.in_flight == 1
        running.commit()
        reply = await waiting
        assert (reply.status, reply.text) == (204, "")
        assert "content-length" not in reply.headers
        assert (message.topic, message.payload, message.qos, message.kind) == (PATH, b'sid="a"\n', 1, Kind.CMCD)
        stats = running.collector.stats
        assert (stats.in_flight, stats.answers, stats.bytes_total) == (0, {204: 1}, 8)
        assert stats.last_request_s == message.arrival_s == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/cmcd", b"v=2", Kind.CMCD),
        ("text/cmcd", b"v=2", Kind.CMCD),
        ("application/cmcd+text", b"v=2", Kind.CMCD),
        ("Application/CMCD; charset=utf-8", b"v=2", Kind.CMCD),
        ("text/plain", b"v=2", Kind.CMCD),
        ("text/plain;charset=UTF-8", b"v=2", Kind.CMCD),
        ("text/plain;charset=UTF-8", b'{"session": "a"}', Kind.HTTP),
        ("text/plain", b' \r\n[{"session": "a"}]', Kind.HTTP),
        ("application/cmcd", b"{", Kind.CMCD),
        ("application/json", b"{}", Kind.HTTP),
        ("application/msgpack", b"\x80", Kind.HTTP),
        ("application/x-msgpack", b"\x80", Kind.HTTP),
        ("application/cmcd", b"", Kind.CMCD),
        ("application/cmcd", b"\xff\x00 no record at all", Kind.CMCD),
    ],
)
async def test_every_body_of_a_known_type_is_stored(content_type: str, body: bytes, kind: Kind) -> None:
    """Also one whose records will be rejected."""
    async with collecting() as running:
        assert (await exchange(running.port, request(body, content_type=content_type))).status == 204
        assert [(one.payload, one.kind) for one in running.messages] == [(body, kind)]


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (request(content_type="application/x-www-form-urlencoded"), 415, "application/cmcd"),
        (request(content_type=None), 415, "application/cmcd"),
        (request(content_type=""), 415, "application/cmcd"),
        (request(Content_Encoding="gzip"), 415, "Content-Encoding"),
        (request(path="/cmcd/v1/video/eu"), 404, "collector.paths"),
        (request(path="/"), 404, "collector.paths"),
        (request(path="/metrics"), 404, "collector.paths"),
        (request(path="/old/video"), 410, "switched off"),
        (request(method="GET"), 405, "POST"),
        (request(method="PUT"), 405, "POST"),
        (request(method="DELETE"), 405, "POST"),
        (request(Expect="a miracle"), 417, "100-continue"),
        (request(path="/" + "a" * 5000), 414, "4096"),
        (request(X_Long="a" * 30_000), 431, "16384"),
        (request(b"", length=False, Transfer_Encoding="gzip, chunked") + b"0\r\n\r\n", 501, "chunked"),
        (request(b"a" * 65_537), 413, "too large"),
        (request(path="/a#b"), 400, "URL"),
        (request(path="*"), 400, "URL"),
        (b"GARBAGE\r\n\r\n", 400, "malformed"),
        (b"POST / HTTP/9.9\r\n\r\n", 400, "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
        (request(Content_Length="7, 8", length=False), 400, "malformed"),
        (request(length=False, Content_Length="7", Transfer_Encoding="chunked"), 400, "malformed"),
        (request(length=False, Content_Length="99999999999999999999999"), 400, "malformed"),
        (request(length=False, Content_Length="-1"), 400, "malformed"),
    ],
)
async def test_what_is_not_a_post_of_a_player_is_refused_with_the_reason(
    sent: bytes, status: int, text: str
) -> None:
    async with collecting() as running:
        reply = await exchange(running.port, sent)
        assert (reply.status, text in reply.text) == (status, True), reply
        assert reply.headers["access-control-allow-origin"] == "*"
        assert running.messages == []
        assert running.collector.stats.answers == {status: 1}


async def test_the_answer_to_head_has_no_content() -> None:
    async with collecting() as running, client(running.port) as wire:
        wire.send(request(b"", method="HEAD") + request())
        assert (await wire.reply(bodyless=True)).status == 405
        assert (await wire.reply()).status == 204


async def test_405_says_what_is_allowed_and_429_when_to_come_back() -> None:
    async with collecting(Inbox(1, 2**20), hold=True) as running:
        assert (await exchange(running.port, request(method="GET"))).headers["allow"] == "POST, OPTIONS"
        async with client(running.port) as first:
            first.send(request())
            await running.arrived(1)
            full = await exchange(running.port, request())
            assert (full.status, full.headers["retry-after"]) == (429, "5")
            running.commit()
            assert (await first.reply()).status == 204
        assert running.inbox.withheld == 1
        running.hold = False
        assert (await exchange(running.port, request())).status == 204


async def test_a_body_of_exactly_the_size_is_stored_and_a_larger_one_is_refused_before_it_is_read() -> None:
    async with collecting() as running, client(running.port) as wire:
        wire.send(request(b"a" * 65_536))
        assert (await wire.reply()).status == 204
        wire.send(request(b"", length=False, Content_Length="1000000"))
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert await wire.ended() == b""
        assert len(running.messages) == 1


async def test_a_chunked_body_is_joined_and_refused_when_it_grows_too_large() -> None:
    async with collecting() as running, client(running.port) as wire:
        wire.send(request(b"", length=False, Transfer_Encoding="chunked"))
        for part in (b"sid=", b'"a"', b"\n"):
            wire.send(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
            await asyncio.sleep(0)
        wire.send(b"0\r\nAuthorization: Bearer late\r\n\r\n")
        assert (await wire.reply()).status == 204
        wire.send(request(b"", length=False, Transfer_Encoding="chunked"))
        wire.send(b"10000\r\n" + b"a" * 0x10000 + b"\r\n" + b"1\r\na\r\n")
        assert (await wire.reply()).status == 413
        assert [message.payload for message in running.messages] == [b'sid="a"\n']


async def test_expect_100_continue_is_answered_unless_the_body_is_refused() -> None:
    async with collecting() as running:
        async with client(running.port) as wire:
            wire.send(request(b"", length=False, Content_Length="7", Expect="100-continue"))
            assert (await wire.reply()).status == 100
            wire.send(b'sid="a"')
            assert (await wire.reply()).status == 204
        async with client(running.port) as wire:
            wire.send(request(b"", path="/none", length=False, Content_Length="7", Expect="100-continue"))
            reply = await wire.reply()
            assert (reply.status, reply.headers["connection"]) == (404, "close")
            assert await wire.ended() == b""


async def test_100_continue_comes_after_the_answers_before_it() -> None:
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request() + request(b"", length=False, Content_Length="7", Expect="100-continue"))
        await running.arrived(1)
        running.commit()
        assert [(await wire.reply()).status for _ in range(2)] == [204, 100]
        wire.send(b'sid="b"')
        await running.arrived(2)
        running.commit()
        assert (await wire.reply()).status == 204


async def test_http_1_0_and_connection_close_end_the_connection_after_the_answer() -> None:
    async with collecting() as running:
        for sent in (request(version="1.0"), request(Connection="close")):
            async with client(running.port) as wire:
                wire.send(sent)
                reply = await wire.reply()
                assert (reply.status, reply.headers["connection"]) == (204, "close")
                assert await wire.ended() == b""


async def test_an_offer_to_upgrade_is_ignored() -> None:
    async with collecting() as running:
        sent = request(
            Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAoAAAAAIAAAAA"
        )
        assert (await exchange(running.port, sent)).status == 204
        assert (await exchange(running.port, request(b"", method="CONNECT", path="a:1"))).status == 405


async def test_a_whole_url_is_accepted_and_the_query_belongs_to_no_path() -> None:
    async with collecting() as running:
        assert (await exchange(running.port, request(path=f"http://a.example{PATH}?b=c"))).status == 204
        assert (await exchange(running.port, request(path="/cmcd/v1/video/e%75/a%2Fb"))).status == 204
        assert (await exchange(running.port, request(path="/web/x/report"))).status == 204
        topics = [message.topic for message in running.messages]
        assert topics == [PATH, "/cmcd/v1/video/e%75/a%2Fb", "/web/x/report"]


async def test_while_stopping_new_posts_are_refused_and_those_that_wait_are_answered() -> None:
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request())
        await running.arrived(1)
        running.collector.leave()
        async with client(running.port) as late:
            late.send(request() + request())
            reply = await late.reply()
            assert (reply.status, reply.headers["connection"], reply.headers["retry-after"]) == (503, "close", "5")
            assert await late.ended() == b""
        running.commit()
        assert (await wire.reply()).status == 204
        assert len(running.messages) == 1


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_token_is_required_in_the_header_or_the_query(tmp_path: Path, in_file: bool) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret+ä\n", encoding="utf-8")
    given = {"token_file": file} if in_file else {"token": "s3cret+ä"}
    async with collecting(**given) as running:  # type: ignore[arg-type]
        in_header = request().replace(b"\r\n\r\n", "\r\nAuthorization: bearer s3cret+ä\r\n\r\n".encode(), 1)
        assert (await exchange(running.port, in_header)).status == 204
        good, wrong = f"{PATH}?a=b&token=s3cret%2B%C3%A4", f"{PATH}?token=s3cret"
        assert [(await exchange(running.port, request(path=path))).status for path in (good, wrong, good)] == [
            204,
            401,
            204,
        ]
        reply = await exchange(running.port, request(Authorization="Bearer other"))
        assert (reply.status, reply.headers["www-authenticate"].startswith("Bearer")) == (401, True)
        assert reply.headers["access-control-allow-origin"] == "*"
        assert (await exchange(running.port, request(Authorization="Basic czNjcmV0"))).status == 401
        assert (await exchange(running.port, request())).status == 401
        assert (await exchange(running.port, request(b"", method="OPTIONS"))).status == 204
        assert len(running.messages) == 3


async def test_a_token_file_that_has_gone_is_reported_with_its_name(tmp_path: Path) -> None:
    collector = Collector(OPTIONS.__class__("127.0.0.1", 0, (), token_file=tmp_path / "none"), Inbox(1, 1))
    with pytest.raises(OSError, match=r"collector\.token_file .*none: "):
        await collector.listen()


async def test_a_port_that_is_in_use_is_reported() -> None:
    async with collecting() as running:
        taken = Collector(OPTIONS.__class__("127.0.0.1", running.port, ()), Inbox(1, 1))
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1 port {running.port}.*in use"):
            await taken.listen()


async def test_requests_whose_client_has_gone_are_counted_when_they_are_committed() -> None:
    async with collecting(hold=True) as running:
        async with client(running.port) as wire:
            wire.send(request() + request())
            await running.arrived(2)
            wire.reset()
        stats = running.collector.stats
        await until(lambda: stats.connections == 0)
        assert stats.in_flight == 0
        running.commit()
        assert (stats.unanswered_total, stats.answers) == (2, {})


async def test_messages_of_the_broker_are_not_its_own() -> None:
    async with collecting(hold=True) as running, client(running.port) as wire:
        wire.send(request())
        [message] = await running.arrived(1)
        running.collector.ack([message._replace(kind=Kind.MQTT)])
        assert (running.collector.stats.unanswered_total, running.collector.stats.in_flight) == (0, 1)
        running.commit()
        assert (await wire.reply()).status == 204
