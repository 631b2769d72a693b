"""Simulates the reports of a population of viewers and readers under a scenario of network conditions.

Each user alternates between being served and waiting: a viewer plays and stalls, a reader reads and waits for a
page. Waits begin by a Poisson process and last log-normal times. Users differ: some have poor connections and
wait more often, as in real networks, so the whole *distribution* of QoS moves, not just its mean. A scenario
defines the severity over time and the affected groups.

Sessions are the rows of one table, so 100,000 of them cost tens of milliseconds a step. There is no clock and no
socket here: time is an argument, and the same seed and times give the same reports.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qoemon.tools.simulate.shown import step_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qoemon.tools.simulate.raters import Raters
    from qoemon.tools.simulate.shown import Measures

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Rows = NDArray[np.intp]

SERVICES = ("video", "web")
VIDEO, WEB = range(2)
"""Kinds of users: viewers, whose media stall, and readers, who wait for pages."""

SESSION_SHARE = np.array([0.75, 0.25])
SESSION_MEAN_S = np.array([480.0, 240.0])
SESSION_SIGMA = 1.0
"""Standard deviation of the log of a session's length: most are short, some last an evening."""

PRONENESS_SIGMA = 0.6
"""Standard deviation of the log of a user's factor (mean 1) on the rate of stalls or the page times."""

WAIT_SIGMA = 0.6
"""Standard deviation of the log of a wait's length."""
WAIT_SHORTEST_S = 0.1

PAGES_PER_S = 1 / 15
"""Pages that a reader requests per second of reading."""

RESUME_MEAN_S = 3.0
"""Mean time from the end of an outage until a session is served again."""


class Health(NamedTuple):
    """Network conditions of an average user."""

    stalls_per_min: float
    """Stalls that begin per minute of playing."""
    stall_mean_s: float
    page_mean_s: float


CALM = Health(stalls_per_min=1 / 15, stall_mean_s=1.5, page_mean_s=0.7)
"""Meets the default objectives: 99 % of the ratings of video are good, 85 % of those of web."""
WORST = Health(stalls_per_min=3.0, stall_mean_s=7.0, page_mean_s=6.0)


def groups(regions: int | None = None, cdns: int | None = None) -> list[dict[str, str]]:
    """Label values of all pairs of a region and a CDN: region-01 to region-25 for 25 regions.

    None: eu and us, and the CDNs a and b.
    """
    return [
        {"region": region, "cdn": cdn}
        for region in _numbered("region", regions, ("eu", "us"))
        for cdn in _numbered("cdn", cdns, ("a", "b"))
    ]


def _numbered(name: str, count: int | None, default: Sequence[str]) -> Sequence[str]:
    """Names with numbers of one width, at least two digits."""
    if count is None:
        return default
    width = max(2, len(str(count)))
    return [f"{name}-{number:0{width}}" for number in range(1, count + 1)]


GROUPS = groups()
"""Label values of the groups that `qoemon demo` publishes, and `qoemon simulate` by default."""


def labels_of(where: str, groups: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The labels that a text such as cdn-07 or region-03/cdn-07 names; ValueError if it names no group."""
    labels: dict[str, str] = {}
    for value in where.split("/"):
        labels |= {name: value for name in ("region", "cdn") if any(group[name] == value for group in groups)}
    if len(labels) == where.count("/") + 1 and any(labels.items() <= group.items() for group in groups):
        return labels
    region, cdn = (f"{groups[0][name]} to {groups[-1][name]}" for name in ("region", "cdn"))
    raise ValueError(f"found {where!r}, expected a region ({region}), a CDN ({cdn}), or both as REGION/CDN")


class Phase(NamedTuple):
    """A part of a scenario, in which severity changes linearly from one level to another."""

    name: str
    share: float
    """Share of the scenario's length, relative to the shares of the other phases."""
    severity_from: float = 0.0
    """0 is CALM, 1 the scenario's worst health; in between, rates and lengths are interpolated geometrically."""
    severity_to: float = 0.0
    outage: bool = False
    """All players stall, no page arrives, and no report can be sent."""


class Moment(NamedTuple):
    """Conditions of the affected groups at one moment."""

    phase: str
    health: Health
    outage: bool


@dataclass(frozen=True)
class Scenario:
    """A repeated sequence of phases for the affected groups; all others stay calm.

    length_s  of one run through all phases
    affects   label values that an affected group has; None: the population's first group
    worst     health at severity 1
    """

    phases: tuple[Phase, ...]
    length_s: float = 1200.0
    affects: Mapping[str, str] | None = None
    worst: Health = WORST

    def __post_init__(self) -> None:
        if not self.phases or min(phase.share for phase in self.phases) <= 0 or self.length_s <= 0:
            raise ValueError(f"{self}: expected at least one phase, shares above 0 and a length above 0 s")

    def lasting(self, length_s: float) -> Scenario:
        """The same scenario, scaled to this length."""
        return replace(self, length_s=length_s)

    def at(self, elapsed_s: float) -> Moment:
        """The moment `elapsed_s` after the start."""
        bounds = [0.0, *accumulate(phase.share for phase in self.phases)]
        place = elapsed_s % self.length_s / self.length_s * bounds[-1]
        index = min(bisect_right(bounds, place) - 1, len(self.phases) - 1)
        phase = self.phases[index]
        passed = (place - bounds[index]) / phase.share
        severity = phase.severity_from + passed * (phase.severity_to - phase.severity_from)
        return Moment(phase.name, _between(CALM, self.worst, severity), phase.outage)

    def affected(self, groups: Sequence[Mapping[str, str]]) -> Bools:
        """Which of the groups are affected, (G,); ValueError if none is."""
        labels = groups[0] if self.affects is None else self.affects
        affected = np.array([labels.items() <= group.items() for group in groups])
        if not affected.any():
            raise ValueError(f"the scenario affects {dict(labels)}, but no group has these labels")
        return affected


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
"""Scenarios by name, as an endless run repeats them; `lasting` scales one to a run of known length."""


class Reported(NamedTuple):
    """A report of a session with its fields as on the wire, its service and its labels."""

    service: str
    labels: Mapping[str, str]
    report: dict[str, Any]


class Change(NamedTuple):
    """A player begins or ends to wait."""

    time_s: float
    """Seconds since the epoch."""
    waiting: bool


SESSION = np.dtype(
    [
        ("id", np.uint64),
        ("service", np.intp),
        ("group", np.intp),
        ("proneness", np.float64),
        ("seq", np.int64),
        ("report_s", np.float64),  # time of the next report
        ("end_s", np.float64),
        ("at_s", np.float64),  # the columns below are valid up to this time
        ("served_s", np.float64),
        ("waited_s", np.float64),
        ("waits", np.int64),
        ("waiting", np.bool_),
        ("since_s", np.float64),  # begin of the newest wait
        ("until_s", np.float64),  # end of that wait; infinite in an outage
        ("hazard_left", np.float64),  # exponential of mean 1, reduced by the expected waits; a wait begins at 0
    ]
)
"""Row of a session. Times are seconds since the population's start, which keeps their precision."""


class Population:
    """Sessions that begin, report and end: about `sessions` of them at any time.

    groups          label values, one mapping per group; sessions spread evenly over them
    sessions        mean number of concurrent sessions, three in four of them viewers
    scenario        such as one of SCENARIOS
    seed            the same seed and the same step times give the same reports
    start_s         time of the start, s since the epoch
    report_every_s  interval between two reports of one session
    services        names of the services of viewers, and of those of readers; sessions spread evenly over them
    shown           by service, the measures that its viewers report, as ladder() gives them
    at_changes      whether players also report at once when they begin to play, and begin or end to wait
    raters          adds ratings to the last reports of sessions; None: nobody rates
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
        services: tuple[Sequence[str], Sequence[str]] = (SERVICES[:1], SERVICES[1:]),
        shown: Mapping[str, Sequence[Measures]] = MappingProxyType({}),
        at_changes: bool = False,
        raters: Raters | None = None,
    ) -> None:
        if not groups or sessions < 1 or report_every_s <= 0 or not any(services):
            raise ValueError(
                f"{len(groups)} groups, {sessions} sessions, a report every {report_every_s} s, "
                f"services {services}: expected at least one group, one session, one service, and an interval "
                "above 0 s"
            )
        self._services, self._shown, self._raters = services, shown, raters
        self._share = np.where([bool(names) for names in services], SESSION_SHARE, 0.0)
        self._share /= self._share.sum()
        self.groups = tuple(groups)
        self._scenario = scenario
        self._affected = scenario.affected(groups)
        self._in_outage = np.zeros(len(groups), bool)
        self._start_s = start_s
        self._elapsed_s = 0.0
        self._report_every_s = report_every_s
        self._rng = np.random.default_rng(seed)
        self._arrivals_per_s = sessions * self._share / SESSION_MEAN_S
        self._pages: defaultdict[int, list[float]] = defaultdict(list)  # by session, not yet reported
        self._at_changes = at_changes
        self._changes: defaultdict[int, list[Change]] = defaultdict(list)  # by session, not yet reported
        self.gone: list[str] = []
        """Sessions that ended in the last step, also those that could not report it."""
        self._table = self._initial_sessions(sessions)

    @property
    def now_s(self) -> float:
        """Time of the last step, s since the epoch."""
        return self._start_s + self._elapsed_s

    @property
    def active_sessions(self) -> int:
        """Sessions at present, including silent ones."""
        return len(self._table)

    @property
    def phase(self) -> str:
        """Name of the scenario's present phase."""
        return self._scenario.at(self._elapsed_s).phase

    def step(self, now_s: float) -> list[Reported]:
        """Advance to `now_s` and return the reports since the last step, as of `now_s`.

        A session reports at most once a step, so steps should not be longer than the reporting interval.
        Raises ValueError if time does not increase.
        """
        if not now_s > self.now_s:
            raise ValueError(f"step to {now_s} s after {self.now_s} s: time must increase")
        before_s, self._elapsed_s = self._elapsed_s, now_s - self._start_s
        moment = self._scenario.at(self._elapsed_s)
        was_in_outage, self._in_outage = self._in_outage, self._affected & moment.outage
        self._add_arrivals(before_s)
        self._apply_outage(before_s)
        self._advance(moment.health)
        reports = list(self._report(self._due(was_in_outage)))
        if self._raters is not None:
            self._raters.rate(reports)
        self._remove_ended()
        return reports

    def take_changes(self, session: str) -> list[Change]:
        """The changes of a player that have not been taken before, with at_changes."""
        return self._changes.pop(int(session, 16), [])

    def _initial_sessions(self, sessions: int) -> NDArray[np.void]:
        """Sessions at the start: the mean number, each with a random rest of its length."""
        service = np.where(np.arange(sessions) < sessions * self._share[VIDEO], VIDEO, WEB)
        table = self._new_sessions(service, np.arange(sessions) % len(self.groups), np.zeros(sessions))
        # A session observed in progress is length-biased, and observed at a uniformly random point.
        bias = np.exp(SESSION_SIGMA**2)
        table["end_s"] *= bias * self._rng.random(sessions)
        return table

    def _add_arrivals(self, before_s: float) -> None:
        span_s = self._elapsed_s - before_s
        service = np.repeat([VIDEO, WEB], self._rng.poisson(self._arrivals_per_s * span_s))
        group = self._rng.integers(len(self.groups), size=service.size)
        begun_s = before_s + span_s * self._rng.random(service.size)
        arrived = self._new_sessions(service, group, begun_s)
        if self._at_changes:
            arrived["report_s"] = begun_s
        self._table = np.concatenate([self._table, arrived])

    def _new_sessions(self, service: Rows, group: Rows, begun_s: Floats) -> NDArray[np.void]:
        rng, count = self._rng, service.size
        table = np.zeros(count, SESSION)
        table["id"] = rng.integers(2**64, size=count, dtype=np.uint64)
        table["service"], table["group"] = service, group
        table["proneness"] = _lognormal(rng, np.ones(count), PRONENESS_SIGMA)
        table["report_s"] = begun_s + self._report_every_s * rng.random(count)
        table["end_s"] = begun_s + _lognormal(rng, SESSION_MEAN_S[service], SESSION_SIGMA)
        table["at_s"] = begun_s
        table["hazard_left"] = rng.exponential(size=count)
        return table

    def _apply_outage(self, before_s: float) -> None:
        """Begin a wait for players in an outage, and end the waits of those whose outage is over."""
        table = self._table
        in_outage = self._in_outage[table["group"]]
        table["hazard_left"][in_outage & ~table["waiting"] & (table["service"] == VIDEO)] = 0.0
        table["until_s"][in_outage & table["waiting"]] = np.inf
        ended = ~in_outage & table["waiting"] & np.isinf(table["until_s"])
        table["until_s"][ended] = before_s + self._rng.exponential(RESUME_MEAN_S, np.count_nonzero(ended))

    def _advance(self, health: Health) -> None:
        """Advance all sessions to the present; each round ends one state of the sessions with time left."""
        rate_per_s, wait_mean_s = self._conditions(health)
        table, rows = self._table, np.arange(len(self._table))
        while rows.size:
            now, rate = table[rows], rate_per_s[rows]
            left_s = np.where(now["waiting"], now["until_s"] - now["at_s"], now["hazard_left"] / rate)
            room_s = self._elapsed_s - now["at_s"]
            span_s = np.clip(left_s, 0, room_s)
            table["waited_s"][rows] += np.where(now["waiting"], span_s, 0)
            table["served_s"][rows] += np.where(now["waiting"], 0, span_s)
            table["hazard_left"][rows] -= span_s * rate  # also while waiting: it is drawn again after the wait
            table["at_s"][rows] += span_s
            rows = rows[left_s < room_s]
            self._switch_state(rows, wait_mean_s[rows])

    def _conditions(self, health: Health) -> tuple[Floats, Floats]:
        """Rate of waits of each row, 1/s, and mean length of a wait that begins now, s."""
        table = self._table
        video = table["service"] == VIDEO
        affected = self._affected[table["group"]]
        stalls_per_min = np.where(affected, health.stalls_per_min, CALM.stalls_per_min)
        rate_per_s = np.where(video, table["proneness"] * stalls_per_min / 60, PAGES_PER_S)
        stall_s = np.where(affected, health.stall_mean_s, CALM.stall_mean_s)
        page_s = table["proneness"] * np.where(affected, health.page_mean_s, CALM.page_mean_s)
        wait_s = np.where(video, stall_s, page_s)
        return rate_per_s, np.where(self._in_outage[table["group"]], np.inf, wait_s)

    def _switch_state(self, rows: Rows, wait_mean_s: Floats) -> None:
        """Switch rows from served to waiting and back."""
        table, rng = self._table, self._rng
        waited = table["waiting"][rows]
        ended, begun = rows[waited], rows[~waited]
        self._record_pages(ended[table["service"][ended] == WEB])
        if self._at_changes:
            self._record_changes(rows[table["service"][rows] == VIDEO])
        table["waiting"][ended] = False
        table["hazard_left"][ended] = rng.exponential(size=ended.size)
        table["waiting"][begun] = True
        table["waits"][begun] += 1
        table["since_s"][begun] = table["at_s"][begun]
        wait_s = np.maximum(_lognormal(rng, wait_mean_s[~waited], WAIT_SIGMA), WAIT_SHORTEST_S)
        table["until_s"][begun] = table["at_s"][begun] + wait_s

    def _record_pages(self, rows: Rows) -> None:
        arrived = self._table[rows]
        response_s = np.round(arrived["at_s"] - arrived["since_s"], 3)
        for session, seconds in zip(arrived["id"].tolist(), response_s.tolist(), strict=True):
            self._pages[session].append(seconds)

    def _record_changes(self, rows: Rows) -> None:
        """Before they change."""
        changing = self._table[rows]
        times_s = self._start_s + changing["at_s"]
        for session, time_s, waited in zip(
            changing["id"].tolist(), times_s.tolist(), changing["waiting"].tolist(), strict=True
        ):
            self._changes[session].append(Change(time_s, not waited))

    def _due(self, was_in_outage: Bools) -> Rows:
        """Rows that report now: those that are due, that end, or whose outage begins.

        When an outage begins, all its players send one report, "stalled". Then the group is silent but keeps its
        schedule, so that its return is no burst. Readers report only when a page has arrived.
        """
        table, now_s, every_s = self._table, self._elapsed_s, self._report_every_s
        timely = table["report_s"] <= now_s
        table["report_s"][timely] += every_s * (1 + (now_s - table["report_s"][timely]) // every_s)
        video, ended = table["service"] == VIDEO, table["end_s"] <= now_s
        in_outage, silent = self._in_outage[table["group"]], (self._in_outage & was_in_outage)[table["group"]]
        loaded = np.isin(table["id"], np.fromiter(self._pages, np.uint64, len(self._pages)))
        changed = np.isin(table["id"], np.fromiter(self._changes, np.uint64, len(self._changes)))
        return np.flatnonzero(~silent & (ended | changed | timely & (video | loaded) | video & in_outage))

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
            report = {"session": _name(session), "seq": seq, "ts": ts}
            if service == VIDEO:
                report |= {"stall_count": waits, "stall_s": waited_s, "play_s": served_s, "stalled": waiting}
            elif session in self._pages:
                report["response_s"] = self._pages.pop(session)
            if ended:
                report["end"] = True
            names = self._services[service]
            name = names[session % len(names)]
            if name in self._shown:
                report["measures"] = self._shown[name][step_of(session, waits)]
            yield Reported(name, self.groups[group], report)

    def _remove_ended(self) -> None:
        gone = self._table["end_s"] <= self._elapsed_s
        sessions = self._table["id"][gone].tolist()
        self.gone = [_name(session) for session in sessions]
        for session in sessions:
            self._pages.pop(session, None)
        self._table = self._table[~gone]


def _name(session: int) -> str:
    return f"{session:016x}"


def _lognormal(rng: np.random.Generator, mean: Floats, sigma: float) -> Floats:
    return mean * np.exp(rng.normal(-(sigma**2) / 2, sigma, mean.size))
