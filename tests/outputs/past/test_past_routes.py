"""The past over HTTP: ratings as JSON and CSV, past alerts, and what is wrong with a request, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest

from qoemon.outputs.latest import Latest
from qoemon.outputs.past.document import ratings_csv
from qoemon.outputs.past.parameters import ratings_query
from qoemon.outputs.past.routes import MOST_QUESTIONS
from qoemon.outputs.routes import application
from qoemon.state.history_store import MEMORY_S, HistoryStore
from qoemon.state.kept_history import KeptHistory
from tests.support.core import T0
from tests.support.http import serve_app
from tests.support.page import RULE, Scene
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qoemon.outputs.published import PublishedTick


class Answer(NamedTuple):
    status: int
    text: str
    headers: Any

    @property
    def document(self) -> Any:
        assert self.status == 200, self.text
        return json.loads(self.text)


class Place:
    """A server with a history in memory, and a client."""

    def __init__(self, history: KeptHistory, client: aiohttp.ClientSession, newest: PublishedTick) -> None:
        self.history, self._client, self.newest = history, client, newest

    async def get(self, path: str) -> Answer:
        async with self._client.get(path) as answer:
            return Answer(answer.status, await answer.text(), answer.headers)


@contextlib.asynccontextmanager
async def place(published: list[PublishedTick]) -> AsyncIterator[Place]:
    history, latest = KeptHistory(HistoryStore(None, 60, 0)), Latest()
    for each in published:
        history.put(each.snapshot, each.detections)
    await latest.put(published[-1])
    serving, port = await serve_app(application(latest, list, list, past=history), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield Place(history, client, published[-1])
    finally:
        await serving.cleanup()
        history.close()


def story() -> list[PublishedTick]:
    """Ten minutes of two regions; in the fifth and sixth most of eu stall, and an alert fires and resolves."""
    scene, published = Scene(), []
    for minute in range(10):
        eu = (4, 26) if minute in {4, 5} else (30, 0)
        published += scene.ticks(6, eu=eu, us=(10, 0))
    return published


def of(path: str, **parameters: object) -> str:
    pairs = (f"{name.rstrip('_')}={value}" for name, value in parameters.items())
    return f"{path}?{'&'.join(pairs)}"


async def test_each_step_is_what_the_snapshot_at_its_end_showed() -> None:
    """At the end of a rating interval, the base window of the snapshot is the same interval."""
    published = story()
    async with place(published) as at:
        answer = await at.get(of("/api/v1/history", service="video", by="region", from_=T0, to=T0 + 600, step="1m"))
        told = answer.document
        snapshots = {each.snapshot.time_s: each.snapshot.services[0] for each in published}
        assert told["times_s"] == list(range(T0 + 60, T0 + 601, 60))
        assert [series["labels"] for series in told["series"]] == [{"region": "eu"}, {"region": "us"}]
        for series in told["series"]:
            for number, time_s in enumerate(told["times_s"]):
                service = snapshots[time_s]
                group = service.counts.groups.index((series["labels"]["region"],))
                rated = service.distributions[60]
                for name in ("mos", "gob", "pow", "sos"):
                    assert series[name][number] == pytest.approx(getattr(rated, name)[group], abs=1e-3)
                    if name != "sos":
                        ends = [series[f"{name}_{end}"][number] for end in ("lower", "upper")]
                        assert ends == pytest.approx(getattr(rated, f"{name}_bounds")[group], abs=1e-3)
                assert series["observations"][number] == rated.observations[group]
                assert series["users"][number] == service.counts.users[60][group]
                shares = [series[f"rating_{rating}"][number] for rating in range(1, 6)]
                assert shares == pytest.approx(rated.ratings[group], abs=1e-4)
        eu = told["series"][0]
        assert max(eu["pow"]) > 0.5 > eu["total"]["pow"] > min(eu["pow"])
        assert eu["total"]["users"] == 30  # who watched for ten minutes
        assert eu["total"]["observations"] == sum(eu["observations"])
        assert (told["kept_s"], told["fine_s"], told["interval_s"]) == (MEMORY_S, MEMORY_S, 60)
        assert (told["oldest_s"], told["newest_s"], told["confidence"]) == (T0 - 60, T0 + 600, 0.95)


async def test_times_are_seconds_or_rfc_3339_in_any_zone() -> None:
    async with place(story()) as at:
        whole = (await at.get(of("/api/v1/history", service="video", from_=T0 + 60, to=T0 + 300))).document
        begin, end = (datetime.fromtimestamp(time_s, UTC) for time_s in (T0 + 60, T0 + 300))
        for zone, hours in (("Z", 0), ("%2B01:00", 1), ("+01:00", 1), ("-02:00", -2)):
            texts = [
                datetime.fromtimestamp(time.timestamp() + 3600 * hours, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone
                for time in (begin, end)
            ]
            told = await at.get(of("/api/v1/history", service="video", from_=texts[0], to=texts[1]))
            assert told.document == whole
        assert (whole["from_s"], whole["to_s"]) == (T0 + 60, T0 + 300)


async def test_without_times_it_is_the_last_hour_in_one_series() -> None:
    async with place(story()) as at:
        told = (await at.get("/api/v1/history?service=video")).document
        assert (told["by"], [series["labels"] for series in told["series"]]) == ([], [{}])
        # The first reports are of the 10 s before T0.
        assert (told["from_s"], told["to_s"], told["step_s"]) == (T0 - 60, T0 + 600, 60)
        assert told["series"][0]["total"]["users"] == 40
        everything = (await at.get("/api/v1/history?service=video&by=*&step=10m")).document
        assert [series["labels"]["region"] for series in everything["series"]] == ["eu", "us"]
        some = (await at.get("/api/v1/history?service=video&region=us&region=asia")).document
        assert some["only"] == {"region": ["asia", "us"]}
        assert some["series"][0]["total"]["users"] == 10
        assert (await at.get("/api/v1/history?service=video&region=nowhere")).document["series"] == []
        assert (await at.get("/api/v1/history?service=web")).document["series"] == []


async def test_csv_has_the_same_figures_and_no_formula() -> None:
    scene = Scene()
    published = scene.ticks(12, **{"=eu": (5, 5), "us": (3, 0)})
    async with place(published) as at:
        path = of("/api/v1/history", service="video", by="region", step="1m", from_=T0)
        told, answer = (await at.get(path)).document, await at.get(f"{path}&format=csv")
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="qoemon-video-{T0}-{T0 + 120}.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["region"] for row in rows] == ["'=eu", "'=eu", "us", "us"]
        assert [row["time_s"] for row in rows] == [str(T0 + 60), str(T0 + 120)] * 2
        assert datetime.fromisoformat(rows[0]["time"]).timestamp() == T0 + 60
        for row, (series, number) in zip(rows, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
            figures = told["series"][series]
            for name in ("observations", "users", "mos", "pow", "pow_lower", "rating_1"):
                assert float(row[name]) == figures[name][number]


async def test_steps_without_data_are_null_in_json_and_missing_in_csv() -> None:
    scene = Scene()
    published = [*scene.ticks(12, eu=(5, 0)), *scene.ticks(48), *scene.ticks(12, eu=(5, 0))]
    async with place(published) as at:
        path = of("/api/v1/history", service="video", step="1m")
        series = (await at.get(path)).document["series"][0]
        assert series["mos"][4] is None
        assert series["pow_upper"][4] is None
        assert series["observations"][4] == 0
        rows = (await at.get(f"{path}&format=csv")).text.splitlines()
        assert len(rows) == 1 + sum(observations > 0 for observations in series["observations"])


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "service is missing, expected one of video, web"),
        ("service=tv", "service is 'tv', expected one of video, web"),
        ("service=web&service=video", "service is given 2 times, expected once"),
        (
            "service=web&from=yesterday",
            "from is 'yesterday', expected seconds since the epoch, or a time such as 2026-",
        ),
        ("service=web&from=2026-11-28T21:00:00", "from is '2026-11-28T21:00:00', expected seconds"),
        ("service=web&from=2026-13-28T21:00:00Z", "from is '2026-13-28T21:00:00Z', expected seconds"),
        ("service=web&to=1e300", "to is '1e300', expected seconds"),
        ("service=web&to=99999999999", "to is '99999999999', expected seconds"),
        ("service=web&from=200&to=100", "from is 200, expected a time before to=100"),
        ("service=web&step=quick", "step is 'quick', expected auto, or a duration of whole seconds"),
        ("service=web&step=0s", "step is '0s', expected auto"),
        ("service=web&step=1500ms", "step is '1500ms', expected auto"),
        (
            "service=video&step=90s",
            "step is 90s, expected a multiple of 60s, the resolution of this range: use step=",
        ),
        ("service=web&by=cdn", "by is 'cdn', expected some of region, or * for all of them"),
        (
            "service=web&cdn=a",
            "there is no parameter 'cdn', expected some of service, from, to, step, by, format, region",
        ),
        ("service=web&format=xml", "format is 'xml', expected one of json, csv"),
    ],
)
async def test_an_invalid_request_gets_400_and_a_sentence_that_says_what_was_expected(
    query: str, says: str
) -> None:
    async with place(story()) as at:
        answer = await at.get(f"/api/v1/history?{query}")
        assert answer.status == 400
        assert answer.text.startswith(says), answer.text


async def test_past_alerts_are_listed_with_their_reasons() -> None:
    async with place(story()) as at:
        told = (await at.get("/api/v1/alerts/history")).document
        assert (told["from_s"], told["to_s"], told["kept_s"], told["more"]) == (0, T0 + 600, MEMORY_S, False)
        (alert,) = told["alerts"]
        fired, ended = alert["fired_s"], alert["ended_s"]
        assert T0 + 240 < fired < ended < T0 + 480
        assert (alert["alert"], alert["service"], alert["labels"]) == (RULE.name, "video", {"region": "eu"})
        assert (alert["reason"], alert["ended_reason"]) == ("past_threshold", "recovered")
        assert alert["began_s"] <= fired
        assert alert["peak"] >= alert["value"] >= alert["threshold"] == RULE.threshold
        assert alert["users"] == 30
        during = of("/api/v1/alerts/history", service="video", from_=fired + 1, to=fired + 2)
        assert (await at.get(during)).document["alerts"] == [alert]
        for elsewhere in (of("", from_=ended + 1), of("", to=fired - 1), of("", service="web")):
            assert (await at.get(f"/api/v1/alerts/history{elsewhere}")).document["alerts"] == []
        wrong = await at.get("/api/v1/alerts/history?service=tv")
        assert (wrong.status, wrong.text) == (400, "service is 'tv', expected one of video, web\n")


async def test_too_many_questions_at_a_time_get_503() -> None:
    """The history answers one after the other; while it is busy, only some may wait."""
    async with place(story()) as at:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        busy = vars(at.history)["_thread"].submit(
            lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        )
        asked = [asyncio.create_task(at.get("/api/v1/history?service=video")) for _ in range(MOST_QUESTIONS + 1)]
        await until(lambda: any(task.done() for task in asked))
        refused = next(task for task in asked if task.done()).result()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
        release.set()
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status for answer in answers) == [200] * MOST_QUESTIONS + [503]
        assert busy.result()


async def test_a_history_that_cannot_be_read_gets_503_with_the_reason(tmp_path) -> None:
    (tmp_path / "file").write_text("no directory")
    published = story()
    history, latest = KeptHistory(HistoryStore(tmp_path / "file" / "history.sqlite3", 60, 86_400)), Latest()
    await latest.put(published[-1])
    serving, port = await serve_app(application(latest, list, list, past=history), "127.0.0.1", 0)
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
            client.get("/api/v1/history?service=video") as answer,
        ):
            assert answer.status == 503
            assert "unable to open database file" in await answer.text()
    finally:
        await serving.cleanup()
        history.close()


async def test_the_figures_of_a_file_do_not_depend_on_how_it_is_asked_for() -> None:
    """A filter by all groups one by one adds up to no filter."""
    published = story()
    async with place(published) as at:
        one = await at.history.ratings(ratings_query({"service": ["video"], "step": ["1m"]}, at.newest.snapshot))
        both = ratings_query({"service": ["video"], "step": ["1m"], "region": ["eu", "us"]}, at.newest.snapshot)
        assert ratings_csv(await at.history.ratings(both), 0.95) == ratings_csv(one, 0.95)
