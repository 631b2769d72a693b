"""Pages of which origins may post, and what browsers are told."""

from __future__ import annotations

from tests.support.collector import PATH, collecting, exchange, request

OURS = "https://video.example"
LIMITED = {"origins": frozenset({OURS, "http://localhost:8000"})}


def preflight(origin: str, path: str = PATH, **headers: str) -> bytes:
    return request(
        b"",
        path,
        None,
        "OPTIONS",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type",
        **headers,
    )


async def test_a_preflight_permits_what_players_send() -> None:
    async with collecting() as running:
        reply = await exchange(running.port, preflight("https://anybody.example"))
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-allow-methods"] == "POST, OPTIONS"
        allowed = reply.headers["access-control-allow-headers"].lower().split(", ")
        cmcd = {"cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"}
        assert set(allowed) == {"content-type", "authorization"} | cmcd
        assert reply.headers["access-control-max-age"] == "7200"
        assert "access-control-allow-private-network" not in reply.headers
        stats = running.collector.stats
        assert (stats.preflights_total, stats.answers) == (1, {})


async def test_a_preflight_says_nothing_of_the_path_so_that_the_player_sees_the_real_answer() -> None:
    async with collecting() as running:
        for path, status in (("/none", 404), ("/old/video", 410)):
            assert (await exchange(running.port, preflight(OURS, path))).status == 204
            reply = await exchange(running.port, request(path=path, Origin=OURS))
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")


async def test_access_to_a_private_network_is_granted() -> None:
    async with collecting() as running:
        reply = await exchange(running.port, preflight(OURS, Access_Control_Request_Private_Network="true"))
        assert reply.headers["access-control-allow-private-network"] == "true"


async def test_a_permitted_origin_is_echoed_with_success_and_with_errors() -> None:
    async with collecting(**LIMITED) as running:  # type: ignore[arg-type]
        sent = [preflight(OURS), request(Origin=OURS), request(Origin=OURS, path="/none")]
        replies = [await exchange(running.port, one) for one in sent]
        assert [reply.status for reply in replies] == [204, 204, 404]
        assert {reply.headers["access-control-allow-origin"] for reply in replies} == {OURS}
        assert {reply.headers["vary"] for reply in replies} == {"Origin"}


async def test_another_origin_is_refused_and_told_nothing() -> None:
    async with collecting(**LIMITED) as running:  # type: ignore[arg-type]
        for origin in ("https://other.example", "null", f"{OURS}.evil.example", "http://video.example"):
            asked = await exchange(running.port, preflight(origin, Access_Control_Request_Private_Network="true"))
            assert (asked.status, [name for name in asked.headers if name.startswith("access")]) == (204, [])
            posted = await exchange(running.port, request(Origin=origin))
            assert (posted.status, [name for name in posted.headers if name.startswith("access")]) == (403, [])
            assert posted.headers["vary"] == "Origin"
        assert running.messages == []


async def test_clients_that_are_no_pages_have_no_origin_and_may_post() -> None:
    async with collecting(**LIMITED) as running:  # type: ignore[arg-type]
        assert (await exchange(running.port, request())).status == 204
