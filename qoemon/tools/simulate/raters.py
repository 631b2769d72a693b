"""Simulated users who rate their session when it ends, by the model of its service or by one that is off.

They rate the same condition as the daemon: that of the session's last rating interval. So without --off the model
is true, and with it the difference is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from qoemon.core.counting.stalls import stall_condition
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import MediaStall, Qos

if TYPE_CHECKING:
    from qoemon.core.plan.plan import Service
    from qoemon.tools.simulate.simulate import Reported


class _Heard(NamedTuple):
    """A report: its time, and what its session had counted by then, or the pages that arrived."""

    at_s: float
    stalls: int
    stall_s: float
    play_s: float
    pages_s: tuple[float, ...]
    measures: Mapping[str, float]


_BEGIN = _Heard(0.0, 0, 0.0, 0.0, (), {})


class Raters:
    """Adds ratings to the last reports of some sessions.

    services    by name
    share       of the sessions whose users rate, by a hash of the session id
    off         how much less than the model predicts their MOS is, scale points
    interval_s  length of the rating interval
    """

    def __init__(
        self, services: Iterable[Service], share: float, off: float, *, interval_s: float, seed: int
    ) -> None:
        self._services = {service.name: service for service in services}
        self._share, self._off, self._interval_s = share, off, interval_s
        self._rng = np.random.default_rng(seed)
        self._heard: dict[str, deque[_Heard]] = {}

    def rate(self, reports: Iterable[Reported]) -> None:
        """Add ratings to those of these reports, the newest of their sessions, that end a session."""
        for service, _, report in reports:
            session = report["session"]
            if service not in self._services or crc32(session.encode()) >= self._share * 2**32:
                continue
            heard = self._heard.setdefault(session, deque([_BEGIN]))
            heard.append(_of(report, heard[-1]))
            while len(heard) > 2 and heard[1].at_s <= report["ts"] - self._interval_s:
                heard.popleft()
            if report.get("end"):
                del self._heard[session]
                mos = _mos(self._services[service], heard)
                if mos is not None:
                    report |= {"asked": True, "rating": self._rating(self._services[service], mos)}

    def _rating(self, service: Service, mos: float) -> int:
        scale = service.scale
        true = np.clip([mos - self._off], scale.low, scale.high)
        cdf = rating_cdf(true, service.theta, scale.cuts, service.model, scale, service.study)[0, 1:]
        return scale.low + int(np.searchsorted(cdf, self._rng.random(), side="right").clip(max=len(cdf) - 1))


def _of(report: Mapping[str, Any], before: _Heard) -> _Heard:
    return _Heard(
        report["ts"],
        report.get("stall_count", before.stalls),
        report.get("stall_s", before.stall_s),
        report.get("play_s", before.play_s),
        tuple(report.get("response_s", ())),
        report.get("measures", {}),
    )


def _mos(service: Service, heard: deque[_Heard]) -> float | None:
    """MOS of the session's last rating interval; None without a condition."""
    if service.mapping.qos is Qos.RESPONSES:
        pages_s = [page_s for each in [*heard][1:] for page_s in each.pages_s]
        return float(service.mapping(np.array(pages_s)).mean()) if pages_s else None
    first, last = heard[0], heard[-1]
    stalls, stall_ms, play_ms = (
        np.array([round(1000 * (getattr(last, name) - getattr(first, name)))])
        for name in ("stalls", "stall_s", "play_s")
    )
    if not (stall_ms + play_ms)[0]:
        return None
    n, t = stall_condition(stalls, stall_ms, play_ms, 1000)
    if not isinstance(service.mapping, MediaStall):
        return float(service.mapping(n, t)[0])
    shown = [each.measures for each in heard if each.measures]
    quality = service.mapping.quality(
        *(np.array([each[name] for each in shown]) for name in service.mapping.measures)
    )
    return float(service.mapping.after_stalls(np.array([quality.mean()]), n, t)[0])
