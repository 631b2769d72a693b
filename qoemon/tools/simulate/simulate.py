"""Simulated users: what a population of viewers and readers would report, through good times and bad.

Everybody here alternates between being served and waiting: a viewer plays and stalls, a reader reads and
waits for the next page. Waits begin by a Poisson process and last log-normal times, and people differ: some
have poor connections and carry more than their share of the trouble, as in real networks, so the whole
*distribution* of QoS moves, not just its mean. A scenario says how bad it is, when, and for which groups.

Sessions are the rows of one table, so 100 000 of them cost tens of milliseconds a step. There is no clock and
no socket here: time comes in, and the same seed and times give the same reports.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Rows = NDArray[np.intp]

GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]
"""Label values of the groups that `qoemon simulate` and `qoemon demo` publish."""

SERVICES = ("video", "web")
VIDEO, WEB = range(2)

SESSION_SHARE = np.array([0.75, 0.25])
SESSION_MEAN_S = np.array([480.0, 240.0])
SESSION_SIGMA = 1.0
"""Of the log of a session's length: most are short, some last an evening."""

PRONENESS_SIGMA = 0.6
"""Of the log of a user's own factor (mean 1) on a viewer's rate of stalls or a reader's page times."""

WAIT_SIGMA = 0.6
"""Of the log of one wait's length."""
WAIT_SHORTEST_S = 0.1

PAGES_PER_S = 1 / 15
"""Pages that a reader asks for, per second of reading."""

RESUME_MEAN_S = 3.0
"""How long after the end of an outage its victims are served again."""


class Health(NamedTuple):
    """What the network does to an average user."""

    stalls_per_min: float
    """Stalls begun per minute of playing."""
    stall_mean_s: float
    page_mean_s: float


CALM = Health(stalls_per_min=1 / 15, stall_mean_s=1.5, page_mean_s=1.0)
WORST = Health(stalls_per_min=3.0, stall_mean_s=7.0, page_mean_s=6.0)


class Phase(NamedTuple):
    """A part of a scenario, over which severity goes evenly from one level to another."""

    name: str
    share: float
    """Of the scenario's length, relative to the shares of its other phases."""
    severity_from: float = 0.0
    """0 is calm, 1 the scenario's worst health; between them rates and lengths change geometrically."""
    severity_to: float = 0.0
    outage: bool = False
    """All players stall, no page arrives, and nobody can report it."""


class Moment(NamedTuple):
    """What a scenario does to the groups it hits at one moment."""

    phase: str
    health: Health
    outage: bool


@dataclass(frozen=True)
class Scenario:
    """Phases in turn, over and over, for the groups that they hit; everybody else stays calm.

    length_s  one run through all phases, after which the first one comes again
    hits      a group with all of these label values is hit; None hits the population's first group
    worst     the health at severity 1
    """

    phases: tuple[Phase, ...]
    length_s: float = 1200.0
    hits: Mapping[str, str] | None = None
    worst: Health = WORST

    def __post_init__(self) -> None:
        if not self.phases or min(phase.share for phase in self.phases) <= 0 or self.length_s <= 0:
            raise ValueError(f"{self}: expected at least one phase, shares above 0 and a length above 0 s")

    def lasting(self, length_s: float) -> Scenario:
        """The same, squeezed or stretched to this length."""
        return replace(self, length_s=length_s)

    def at(self, elapsed_s: float) -> Moment:
        """What happens `elapsed_s` after the start."""
        bounds = [0.0, *accumulate(phase.share for phase in self.phases)]
        place = elapsed_s % self.length_s / self.length_s * bounds[-1]
        index = min(bisect_right(bounds, place) - 1, len(self.phases) - 1)
        phase = self.phases[index]
        passed = (place - bounds[index]) / phase.share
        severity = phase.severity_from + passed * (phase.severity_to - phase.severity_from)
        return Moment(phase.name, _between(CALM, self.worst, severity), phase.outage)

    def hit(self, groups: Sequence[Mapping[str, str]]) -> Bools:
        """(G,) which of the groups are hit. Raises ValueError if none is."""
        wanted = groups[0] if self.hits is None else self.hits
        hit = np.array([wanted.items() <= group.items() for group in groups])
        if not hit.any():
            raise ValueError(f"the scenario hits {dict(wanted)}, but no group has these labels")
        return hit


def _between(calm: Health, worst: Health, severity: float) -> Health:
    return Health(*(low * (high / low) ** severity for low, high in zip(calm, worst, strict=True)))


SCENARIOS = {
    "calm": Scenario((Phase("calm", 1),)),
    "degrade": Scenario(
        (
            Phase("calm", 25),
            Phase("degrade", 25, 0, 1),
            Phase("degraded", 25, 1, 1),
            Phase("recover", 15, 1, 0),
            Phase("calm", 10),
        )
    ),
    "outage": Scenario(
        (Phase("calm", 30), Phase("outage", 20, outage=True), Phase("recover", 15, 0.5, 0), Phase("calm", 35))
    ),
    "recover": Scenario((Phase("degraded", 30, 1, 1), Phase("recover", 40, 1, 0), Phase("calm", 30))),
    "demo": Scenario(
        (
            Phase("calm", 25),
            Phase("degrade", 30, 0, 1),
            Phase("outage", 15, 1, 1, outage=True),
            Phase("recover", 15, 1, 0),
            Phase("calm", 15),
        )
    ),
}
"""By name. The length is what an endless run repeats; `lasting` fits one into a run of known length."""


class Reported(NamedTuple):
    """One report of one session, its fields as on the wire, and where it belongs."""

    service: str
    labels: Mapping[str, str]
    report: dict[str, Any]


SESSION = np.dtype(
    [
        ("id", np.uint64),
        ("service", np.intp),
        ("group", np.intp),
        ("proneness", np.float64),
        ("seq", np.int64),
        ("report_s", np.float64),  # when it next reports
        ("end_s", np.float64),
        ("at_s", np.float64),  # the columns below hold up to this time
        ("served_s", np.float64),
        ("waited_s", np.float64),
        ("waits", np.int64),
        ("waiting", np.bool_),
        ("since_s", np.float64),  # when the newest wait began
        ("until_s", np.float64),  # when it ends; infinite in an outage
        ("patience", np.float64),  # exponential, of mean 1, less the waits expected since; at 0 one begins
    ]
)
"""One session's row. Times are seconds since the population's start, which keeps their decimals."""


class Population:
    """Users who come, watch or browse, report, and go: about `sessions` of them at any time.

    groups          label values, one mapping a group; sessions spread evenly over them
    sessions        mean number of concurrent sessions, three in four of them video
    scenario        what happens to whom, see SCENARIOS
    seed            the same seed and the same step times give the same reports
    start_s         time of the start, s since the epoch
    report_every_s  interval between two reports of one session
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, str]],
        *,
        sessions: int,
        scenario: Scenario,
        seed: int,
        start_s: float,
        report_every_s: float = 5.0,
    ) -> None:
        if not groups or sessions < 1 or report_every_s <= 0:
            raise ValueError(
                f"{len(groups)} groups, {sessions} sessions, a report every {report_every_s} s:"
                " expected at least one group, one session, and an interval above 0 s"
            )
        self.groups = tuple(groups)
        self._scenario = scenario
        self._hit = scenario.hit(groups)
        self._out = np.zeros(len(groups), bool)
        self._start_s = start_s
        self._elapsed_s = 0.0
        self._report_every_s = report_every_s
        self._rng = np.random.default_rng(seed)
        self._arrivals_per_s = sessions * SESSION_SHARE / SESSION_MEAN_S
        self._pages: defaultdict[int, list[float]] = defaultdict(list)  # by session, not yet reported
        self._table = self._founders(sessions)

    @property
    def now_s(self) -> float:
        """Time of the last step, s since the epoch."""
        return self._start_s + self._elapsed_s

    @property
    def active_sessions(self) -> int:
        """Sessions now going on, the silent ones too."""
        return len(self._table)

    @property
    def phase(self) -> str:
        """Name of the scenario's phase."""
        return self._scenario.at(self._elapsed_s).phase

    def step(self, now_s: float) -> list[Reported]:
        """Live on until `now_s` and return what was reported since the last step, as of `now_s`.

        A session reports at most once a step, so steps should not be longer than the reporting interval.
        Raises ValueError if time does not go forward.
        """
        if not now_s > self.now_s:
            raise ValueError(f"step to {now_s} s after {self.now_s} s: time goes forward only")
        before_s, self._elapsed_s = self._elapsed_s, now_s - self._start_s
        moment = self._scenario.at(self._elapsed_s)
        was_out, self._out = self._out, self._hit & moment.outage
        self._arrive(before_s)
        self._strike(before_s)
        self._live(moment.health)
        reports = list(self._report(self._due(was_out)))
        self._leave()
        return reports

    def _founders(self, sessions: int) -> NDArray[np.void]:
        """Who is there at the start: as many as later on average, with what is left of lives under way."""
        service = np.where(np.arange(sessions) < sessions * SESSION_SHARE[VIDEO], VIDEO, WEB)
        table = self._newcomers(service, np.arange(sessions) % len(self.groups), np.zeros(sessions))
        # A life found under way is a long one more often (length-biased), and found at any point of it.
        bias = np.exp(SESSION_SIGMA**2)
        table["end_s"] *= bias * self._rng.random(sessions)
        return table

    def _arrive(self, before_s: float) -> None:
        span_s = self._elapsed_s - before_s
        service = np.repeat([VIDEO, WEB], self._rng.poisson(self._arrivals_per_s * span_s))
        group = self._rng.integers(len(self.groups), size=service.size)
        begun_s = before_s + span_s * self._rng.random(service.size)
        self._table = np.concatenate([self._table, self._newcomers(service, group, begun_s)])

    def _newcomers(self, service: Rows, group: Rows, begun_s: Floats) -> NDArray[np.void]:
        rng, count = self._rng, service.size
        table = np.zeros(count, SESSION)
        table["id"] = rng.integers(2**64, size=count, dtype=np.uint64)
        table["service"], table["group"] = service, group
        table["proneness"] = _lognormal(rng, np.ones(count), PRONENESS_SIGMA)
        table["report_s"] = begun_s + self._report_every_s * rng.random(count)
        table["end_s"] = begun_s + _lognormal(rng, SESSION_MEAN_S[service], SESSION_SIGMA)
        table["at_s"] = begun_s
        table["patience"] = rng.exponential(size=count)
        return table

    def _strike(self, before_s: float) -> None:
        """Let an outage stop whom it has not stopped yet, and let those go whom it held."""
        table = self._table
        out = self._out[table["group"]]
        table["patience"][out & ~table["waiting"] & (table["service"] == VIDEO)] = 0.0
        table["until_s"][out & table["waiting"]] = np.inf
        freed = ~out & table["waiting"] & np.isinf(table["until_s"])
        table["until_s"][freed] = before_s + self._rng.exponential(RESUME_MEAN_S, np.count_nonzero(freed))

    def _live(self, health: Health) -> None:
        """Bring all sessions to the present; each round ends one state of those with time left."""
        rate_per_s, wait_mean_s = self._conditions(health)
        table, rows = self._table, np.arange(len(self._table))
        while rows.size:
            now, rate = table[rows], rate_per_s[rows]
            left_s = np.where(now["waiting"], now["until_s"] - now["at_s"], now["patience"] / rate)
            room_s = self._elapsed_s - now["at_s"]
            span_s = np.clip(left_s, 0, room_s)
            table["waited_s"][rows] += np.where(now["waiting"], span_s, 0)
            table["served_s"][rows] += np.where(now["waiting"], 0, span_s)
            table["patience"][rows] -= span_s * rate  # of those who wait too: they get a new one after it
            table["at_s"][rows] += span_s
            rows = rows[left_s < room_s]
            self._turn(rows, wait_mean_s[rows])

    def _conditions(self, health: Health) -> tuple[Floats, Floats]:
        """Each row's rate of waits, 1/s, and the mean length of a wait that begins now, s."""
        table = self._table
        video = table["service"] == VIDEO
        hit = self._hit[table["group"]]
        stalls_per_min = np.where(hit, health.stalls_per_min, CALM.stalls_per_min)
        rate_per_s = np.where(video, table["proneness"] * stalls_per_min / 60, PAGES_PER_S)
        stall_s = np.where(hit, health.stall_mean_s, CALM.stall_mean_s)
        page_s = table["proneness"] * np.where(hit, health.page_mean_s, CALM.page_mean_s)
        wait_s = np.where(video, stall_s, page_s)
        return rate_per_s, np.where(self._out[table["group"]], np.inf, wait_s)

    def _turn(self, rows: Rows, wait_mean_s: Floats) -> None:
        """From served to waiting and back."""
        table, rng = self._table, self._rng
        waited = table["waiting"][rows]
        freed, held = rows[waited], rows[~waited]
        self._keep_pages(freed[table["service"][freed] == WEB])
        table["waiting"][freed] = False
        table["patience"][freed] = rng.exponential(size=freed.size)
        table["waiting"][held] = True
        table["waits"][held] += 1
        table["since_s"][held] = table["at_s"][held]
        wait_s = np.maximum(_lognormal(rng, wait_mean_s[~waited], WAIT_SIGMA), WAIT_SHORTEST_S)
        table["until_s"][held] = table["at_s"][held] + wait_s

    def _keep_pages(self, rows: Rows) -> None:
        arrived = self._table[rows]
        response_s = np.round(arrived["at_s"] - arrived["since_s"], 3)
        for session, seconds in zip(arrived["id"].tolist(), response_s.tolist(), strict=True):
            self._pages[session].append(seconds)

    def _due(self, was_out: Bools) -> Rows:
        """The rows that report now: whose time it is, who ends, and who has a last word to say.

        As an outage begins, all its players get one report out, "stalled". After that the group is silent,
        but keeps its rhythm, so that its return is no burst. Readers report only when a page has arrived.
        """
        table, now_s, every_s = self._table, self._elapsed_s, self._report_every_s
        timely = table["report_s"] <= now_s
        table["report_s"][timely] += every_s * (1 + (now_s - table["report_s"][timely]) // every_s)
        video, ended = table["service"] == VIDEO, table["end_s"] <= now_s
        out, silent = self._out[table["group"]], (self._out & was_out)[table["group"]]
        loaded = np.isin(table["id"], np.fromiter(self._pages, np.uint64, len(self._pages)))
        return np.flatnonzero(~silent & (ended | timely & (video | loaded) | video & out))

    def _report(self, rows: Rows) -> Iterator[Reported]:
        table = self._table[rows]
        self._table["seq"][rows] += 1
        ts = round(self.now_s, 3)
        columns = (
            *(table[name] for name in ("service", "group", "id", "seq", "waits", "waiting")),
            *(np.round(table[name], 3) for name in ("waited_s", "served_s")),
            table["end_s"] <= self._elapsed_s,
        )
        for service, group, session, seq, waits, waiting, waited_s, served_s, ended in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            report = {"session": f"{session:016x}", "seq": seq, "ts": ts}
            if service == VIDEO:
                report |= {"stall_count": waits, "stall_s": waited_s, "play_s": served_s, "stalled": waiting}
            elif session in self._pages:
                report["response_s"] = self._pages.pop(session)
            if ended:
                report["end"] = True
            yield Reported(SERVICES[service], self.groups[group], report)

    def _leave(self) -> None:
        gone = self._table["end_s"] <= self._elapsed_s
        for session in self._table["id"][gone].tolist():
            self._pages.pop(session, None)
        self._table = self._table[~gone]


def _lognormal(rng: np.random.Generator, mean: Floats, sigma: float) -> Floats:
    return mean * np.exp(rng.normal(-(sigma**2) / 2, sigma, mean.size))
