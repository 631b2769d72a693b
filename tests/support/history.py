"""A history fed through the whole core, and what its answers should be, counted afresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.arrays import to_dense
from qoemon.core.counting.groups import Labels
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.snapshot.past import PastQuery
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.state.frames import StoredMessage
from qoemon.state.history_store import Written
from tests.support.core import WEB, WINDOWS_S, plan

T0 = 1_700_000_100
"""A multiple of 60 s and of 300 s."""

INTERVAL_S = 60
LABELS = ("region", "cdn")
GROUPS = [(region, cdn) for region in ("eu", "us", "asia") for cdn in ("a", "b")]
WEB_PLAN = Plan(
    services=(WEB,),
    topics=(TopicTemplate("qoe/v1/{service}/{region}/{cdn}"),),
    labels=LABELS,
    timing=plan(timing={"windows_s": WINDOWS_S}).timing,
)


class Page(NamedTuple):
    """A page load, reported at at_s and timed ts."""

    at_s: float
    ts: float
    session: str
    group: Labels
    response_s: float

    @property
    def message(self) -> StoredMessage:
        payload = b'{"session":"%s","seq":%d,"response_s":%f,"ts":%f}'
        filled = payload % (self.session.encode(), int(self.at_s * 1000), self.response_s, self.ts)
        return StoredMessage(f"qoe/v1/web/{'/'.join(self.group)}", filled, self.at_s)


def pages(minutes: int, a_minute: int, seed: int, *, late: bool = False) -> list[Page]:
    """Page loads of users who come back now and then; with `late`, each of another user, up to 200 s late."""
    rng, told = np.random.default_rng(seed), []
    users = max(a_minute // 2, 1)
    for at_s in np.sort(rng.uniform(T0, T0 + 60 * minutes, minutes * a_minute)).tolist():
        user = len(told) if late else int(rng.integers(users))
        ts = at_s - float(rng.choice([0, rng.uniform(0, 200)])) if late else at_s
        told.append(Page(at_s, ts, f"u{user}", GROUPS[user % len(GROUPS)], float(rng.exponential(2))))
    return told


@dataclass
class Core:
    """One shard and its evaluation, tick by tick."""

    shard: ShardPipeline = field(default_factory=lambda: ShardPipeline(WEB_PLAN))
    evaluation: Evaluation = field(default_factory=lambda: Evaluation(WEB_PLAN, (), RegimeRules()))

    def ticks(self, told: Sequence[Page], until_s: int) -> Iterator[tuple[ShardCounts, Snapshot]]:
        """The counts and the snapshot of each tick up to until_s."""
        messages = [page.message for page in told]
        for counts in self.shard.run(messages):
            yield counts, self.evaluation.tick([counts]).snapshot
        for counts in self.shard.until(until_s):
            yield counts, self.evaluation.tick([counts]).snapshot


def written(snapshot: Snapshot) -> Written:
    """What the history gets of a snapshot, without alerts."""
    return Written(snapshot.time_s, snapshot.labels, snapshot.closed, (), ())


class Twin:
    """What the history should answer: all counts of all intervals, added up afresh for each question."""

    def __init__(self, told: Sequence[Page]) -> None:
        self._told = told
        self._counts: dict[tuple[int, Labels], np.ndarray] = {}
        self._kernel = WEB.kernel()

    def observe(self, counts: ShardCounts) -> None:
        """Add the intervals that closed at a tick."""
        for closed in counts.closed:
            own = closed.services[0]
            for end_s, part in ((closed.end_s, own), *own.late.items()):
                for group, levels in zip(counts.services[0].groups, to_dense(part.levels), strict=False):
                    key = end_s, group
                    self._counts[key] = self._counts.get(key, 0) + levels

    def rated(self, from_s: int, to_s: int, selected: Callable[[Labels], bool]) -> Distribution:
        """The ratings of the selected groups in a range, with the distinct users as the page loads give them."""
        of = [
            levels for (end_s, group), levels in self._counts.items() if from_s < end_s <= to_s and selected(group)
        ]
        counts = np.sum([*of, np.zeros(len(WEB.rated_at), np.int64)], axis=0)
        users = self.users(from_s, to_s, selected)
        squares = np.array([sum(pages**2 for pages in users.values())])
        return self._kernel.distribution(counts[None], np.array([len(users)]), squares)

    def users(self, from_s: int, to_s: int, selected: Callable[[Labels], bool]) -> Counter[str]:
        """Pages in the range by user; a page is an interval's own if its time is before the end of it."""
        return Counter(page.session for page in self._told if from_s <= page.ts < to_s and selected(page.group))


def selects(query: PastQuery, series: Labels) -> Callable[[Labels], bool]:
    """Whether a group is in this series of an answer."""

    def selected(group: Labels) -> bool:
        labels = dict(zip(LABELS, group, strict=True))
        kept = all(labels[name] in values for name, values in query.only.items())
        return kept and all(labels[name] == value for name, value in zip(query.by, series, strict=True))

    return selected
