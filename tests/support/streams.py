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

FEW = settings(max_examples=40)
FEWER = settings(FEW, max_examples=15)
"""Where an example takes several Monitors."""
GROUPS = (("eu",), ("us",), ("asia",))

Draw = Callable[..., int]


@dataclass
class Client:
    """One player: what it has counted so far, and what it has sent. It counts no more than the time that passes.

    Now and then it sends a report again, begins anew, lies, leaves a counter out, changes its group or ends.
    """

    name: str
    numbered: bool
    cumulative: bool
    measured: bool = False
    """Whether some of its reports tell a quality."""
    seq: int = 0
    counted: list[int] = field(default_factory=lambda: [0, 0, 0])
    counted_at_ms: int | None = None
    stalled: bool = False
    group: tuple[str, ...] = GROUPS[0]
    sent: list[Said] = field(default_factory=list)

    def say(self, draw: Draw, at_ms: int) -> Said:
        """The next report: what happened since the last one, or one of the surprises."""
        surprise = draw(st.sampled_from(_SURPRISES))
        if surprise == "again" and self.sent:
            newest = draw(st.integers(1, min(3, len(self.sent))))
            return replace(self.sent[-newest], at_ms=at_ms)
        if surprise == "old" and self.sent:
            return replace(self.sent[draw(st.integers(0, len(self.sent) - 1))], at_ms=at_ms)
        if surprise in {"reload", "opened"}:
            self.counted, self.seq, self.stalled = [0, 0, 0], 0, False
        if surprise == "recount":  # its numbers go on
            self.counted = [0, 0, 0]
        if surprise == "renumber":
            self.seq = 0
        if surprise == "group":
            self.group = GROUPS[draw(st.integers(0, 2))]
        said = self._count(draw, at_ms, surprise)
        self.sent.append(said)
        return said

    def _count(self, draw: Draw, at_ms: int, surprise: str) -> Said:
        if surprise == "opened":  # the first word of a page, the same each time
            news = [0, 0, 0]
        else:
            news = self._lie(draw) if surprise == "lie" else self._experience(draw, at_ms)
        self.counted_at_ms = at_ms
        self.counted = [max(old + new, 0) for old, new in zip(self.counted, news, strict=True)]
        self.seq += 1 if surprise == "opened" else draw(st.integers(1, 3))
        stalls, stall_ms, play_ms = self.counted if self.cumulative else [max(each, 0) for each in news]
        if stalls and not stall_ms:
            stalls = 0  # a stall takes time
        kept = draw(st.sampled_from(_LEFT_OUT[surprise == "omission"]))
        quality = draw(st.sampled_from(_QUALITIES)) if self.measured else None
        return Said(
            quality=quality,
            session=self.name,
            at_ms=at_ms,
            group=self.group,
            seq=self.seq if self.numbered else None,
            stalls=stalls if kept in {"all", "stall"} else None,
            stall_ms=stall_ms if kept in {"all", "stall"} else None,
            play_ms=play_ms if kept in {"all", "play"} else None,
            stalled=self.stalled if surprise != "stuck" else True,
            end=surprise == "end",
        )

    def _experience(self, draw: Draw, at_ms: int) -> list[int]:
        """Since the last report it played and stalled, was paused, or it has just begun."""
        age_ms = draw(st.sampled_from((0, 2_000, 30_000, 59_999, 200_000)))
        passed_ms = age_ms if self.counted_at_ms is None else max(at_ms - self.counted_at_ms, 0)
        if draw(st.integers(0, 7)) == 0:
            return [0, 0, 0]
        stall_ms = passed_ms * draw(st.sampled_from((0, 0, 1, 3, 10))) // 10
        started = draw(st.integers(1, 3)) if stall_ms and not self.stalled else 0
        self.stalled = stall_ms > 0 and draw(st.booleans())
        speed = draw(st.sampled_from((1, 1, 1, 1, 2)))
        return [started, stall_ms, (passed_ms - stall_ms) * speed]

    def _lie(self, draw: Draw) -> list[int]:
        """What no player can have seen in that time: milliseconds for seconds, a clock, a position that jumps."""
        kind = draw(st.sampled_from(("milliseconds", "slept", "position")))
        if kind == "milliseconds":
            return [1, 1000 * draw(_TIMES_MS) + 1, 1000 * draw(_TIMES_MS)]
        if kind == "slept":
            return [1, 28_800_000, 0]
        return [0, 0, draw(st.integers(-3_600_000, 3_600_000))]


_SURPRISES = (
    *["none"] * 24,
    *["again"] * 2,
    *["reload"] * 2,
    *["opened"] * 2,
    *["lie"] * 2,
    *["omission"] * 2,
    *["old", "recount", "renumber", "group", "end", "end", "stuck"],
)
_QUALITIES = (None, None, 0, 3_333, 7_500, 9_999, 10_000)
_LEFT_OUT = {False: ("all",), True: ("play", "stall", "none")}
_TIMES_MS = st.one_of(st.integers(0, 12_000), st.integers(0, 12).map(lambda s: s * 1000), st.integers(0, 90_000))
_PAUSES_MS = st.one_of(
    st.integers(0, 9_000),
    st.integers(0, 4).map(lambda s: s * 5_000),
    st.just(10_000),
    st.integers(54_000, 62_000),
    st.integers(90_000, 250_000),
    st.integers(0, 400_000),
)
"""Between two batches: several in a tick, one in a tick, reports that are rare, and silence."""

_LAGS_MS = st.one_of(st.just(0), st.integers(0, 49_000))
"""How long ago a batch arrived when it is applied: a busy daemon may be some ticks behind."""


@st.composite
def streams(
    draw: Draw, *, cumulative: bool = True, measured: bool = False, clients: int = 4, longest: int = 14
) -> list[Step]:
    """Batches in the order of their time; one client sends no seq, and the last two share a session."""
    there = [Client(f"s{i}", i != clients - 2, cumulative, measured) for i in range(clients)]
    if draw(st.booleans()):
        numbered = draw(st.booleans())
        there.append(Client(there[-1].name, numbered=numbered, cumulative=cumulative, measured=measured))
    now_ms, heard_ms, steps = T0 * 1000 + draw(st.integers(0, 70_000)), 0, []
    for _ in range(draw(st.integers(1, longest))):
        now_ms += draw(_PAUSES_MS)
        heard_ms = max(heard_ms, now_ms - draw(_LAGS_MS))
        who = draw(st.lists(st.integers(0, len(there) - 1), max_size=6))
        steps.append((now_ms, [there[i].say(draw, heard_ms) for i in who]))
    return steps
