"""Startup times and failed starts travel with closed intervals: exact over shards and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.starts import FAILURES, STARTUP_BINS
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from tests.support.captures import Posted
from tests.support.core import T0
from tests.support.players import of_player
from tests.support.streams import FEW

VIEWINGS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 9000), st.sampled_from("pfq"), st.sampled_from(["eu", "us"])),
    max_size=12,
)
LONG_S = 900


def bodies(viewings: Sequence[tuple[int, int, str, str]]) -> list[Posted]:
    """Two records of each viewing: its start, and whether it played."""
    posted = []
    for number, (begin_s, startup_ms, last, region) in enumerate(viewings):
        for sn, state, ms in ((0, "s", 0), (1, last, startup_ms + 1)):
            ts_ms = (T0 + begin_s) * 1000 + ms
            body = f'e=ps,sid="s{number}",sn={sn},sta={state},ts={ts_ms},v=2'
            posted.append(Posted(body.encode(), ts_ms / 1000, f"/cmcd/v1/video/{region}"))
    return sorted(posted, key=lambda each: each.arrival_s)


def totals(told: Plan, shards: Sequence[Sequence[Posted]], restart_s: int | None = None) -> dict[str, list[int]]:
    """The starts by region after all; with a restart of everything from its state at a time."""
    pipelines = [ShardPipeline(told, retain=True) for _ in shards]
    evaluation = Evaluation(told, (), RegimeRules())
    for tick_s in range(T0 + 10, T0 + LONG_S, 10):
        if restart_s is not None and tick_s == T0 + restart_s:
            states, before = [each.dump() for each in pipelines], evaluation.dump()
            pipelines, evaluation = (
                [ShardPipeline(told, retain=True) for _ in shards],
                Evaluation(told, (), RegimeRules()),
            )
            evaluation.load(before)
            for pipeline, state in zip(pipelines, states, strict=True):
                pipeline.load(state)
        for pipeline, posted in zip(pipelines, shards, strict=True):
            some = [each for each in posted if tick_s - 10 <= each.arrival_s < tick_s]
            if some:
                pipeline.apply(some)
        counts = evaluation.tick([sparse_counts(pipeline.tick(tick_s)) for pipeline in pipelines]).snapshot
    service = counts.services[0].counts
    return {labels[0]: row for labels, row in zip(service.groups, service.starts.tolist(), strict=True)}


def expected(viewings: Sequence[tuple[int, int, str, str]]) -> dict[str, tuple[int, int]]:
    """Startups and failures by region."""
    return {
        region: (
            sum(last == "p" for _, _, last, where in viewings if where == region),
            sum(last != "p" for _, _, last, where in viewings if where == region),
        )
        for region in {where for *_, where in viewings}
    }


@given(viewings=VIEWINGS, restart_s=st.sampled_from([None, 30, 120, 250, 500]))
@FEW
def test_every_start_counts_once_over_shards_and_restarts(viewings, restart_s):
    told, posted = of_player(), bodies(viewings)
    whole = totals(told, [posted])
    assert {region: (sum(row[:STARTUP_BINS]), row[FAILURES]) for region, row in whole.items()} == expected(viewings)
    parts = [[each for each in posted if int(each.payload.split(b'"')[1][1:]) % 2 == odd] for odd in (0, 1)]
    assert totals(told, parts, restart_s) == whole


def test_a_silent_start_fails_when_its_session_times_out():
    posted = bodies([(5, 100, "r", "eu")])
    assert totals(of_player(), [posted])["eu"][FAILURES] == 1
    more = replace(posted[1], payload=posted[1].payload.replace(b"sn=1,sta=r", b"sn=2,sta=p"))
    assert totals(of_player(), [[*posted, more]])["eu"][FAILURES] == 0
