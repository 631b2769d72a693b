"""Random streams of reports, such as clients send and such as they should not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st

from tests.support.core import T0
from tests.support.oracle import Said

Step = tuple[int, list[Said]]
"""When a batch is applied, ms since the epoch, and what is in it; empty where time just passes."""

FEW = settings(max_examples=40, deadline=None, derandomize=True)
FEWER = settings(FEW, max_examples=15)
"""Where an example takes several Monitors."""
GROUPS = (("eu",), ("us",), ("asia",))


@dataclass
class Client:
    """One session's client: what it has counted so far and what it sent last."""

    name: str
    numbered: bool
    cumulative: bool
    seq: int = 0
    counted: list[int] = field(default_factory=lambda: [0, 0, 0])
    group: tuple[str, ...] = GROUPS[0]
    sent: list[Said] = field(default_factory=list)

    def say(self, draw: Callable[..., int], at_ms: int) -> Said:
        """The next report: mostly sane, now and then a reset, a change of group, a repetition, an omission."""
        chance = draw(st.integers(0, 19))
        if chance == 0 and self.sent:
            return replace(self.sent[draw(st.integers(0, len(self.sent) - 1))], at_ms=at_ms)
        if chance == 1:
            self.counted = [0, 0, 0]
        if chance == 2:
            self.seq = 0
        if chance == 3:
            self.group = GROUPS[draw(st.integers(0, 2))]
        said = self._count(draw, at_ms)
        self.sent.append(said)
        return said

    def _count(self, draw: Callable[..., int], at_ms: int) -> Said:
        news = [draw(st.integers(0, 2)), draw(_TIMES_MS), draw(_TIMES_MS)]
        news[1] += news[0] > 0  # a stall takes time
        counters = [old + new for old, new in zip(self.counted, news, strict=True)]
        self.counted, self.seq = counters, self.seq + draw(st.integers(1, 3))
        stalls, stall_ms, play_ms = counters if self.cumulative else news
        kept = draw(st.sampled_from(["all", "all", "all", "all", "play", "stall", "none"]))
        return Said(
            session=self.name,
            at_ms=at_ms,
            group=self.group,
            seq=self.seq if self.numbered else None,
            stalls=stalls if kept in {"all", "stall"} else None,
            stall_ms=stall_ms if kept in {"all", "stall"} else None,
            play_ms=play_ms if kept in {"all", "play"} else None,
            stalled=draw(st.integers(0, 2)) == 0,
            end=draw(st.integers(0, 14)) == 0,
        )


_TIMES_MS = st.one_of(st.integers(0, 12_000), st.integers(0, 12).map(lambda s: s * 1000), st.integers(0, 90_000))
_PAUSES_MS = st.one_of(st.integers(0, 9_000), st.integers(0, 4).map(lambda s: s * 5_000), st.integers(0, 400_000))

_LAGS_MS = st.one_of(st.just(0), st.integers(0, 49_000))
"""How long ago a batch arrived when it is applied: a busy daemon may be some ticks behind."""


@st.composite
def streams(
    draw: Callable[..., int], *, cumulative: bool = True, clients: int = 4, longest: int = 14
) -> list[Step]:
    """Batches in the order of their time; the last client sends no seq."""
    there = [Client(f"s{i}", i < clients - 1, cumulative) for i in range(clients)]
    now_ms, heard_ms, steps = T0 * 1000 + draw(st.integers(0, 70_000)), 0, []
    for _ in range(draw(st.integers(1, longest))):
        now_ms += draw(_PAUSES_MS)
        heard_ms = max(heard_ms, now_ms - draw(_LAGS_MS))
        who = draw(st.lists(st.integers(0, clients - 1), max_size=6))
        steps.append((now_ms, [there[i].say(draw, heard_ms) for i in who]))
    return steps
