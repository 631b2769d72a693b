"""What a player played and where it stalled, from the buffer lengths in its requests for media.

Between two requests for media, the buffer gains the segment of the first one and loses what is played:

    played = bl1 + d1 - bl2        media seconds
    idle   = elapsed - played / pr seconds in which nothing was played

Idle time before a request with `bs` is a stall, without it a pause. A stall is found only with the request that
ends it. What is still in the buffer at the last request is never seen to be played.

Three things disturb the account, and the numbers of the segments show them:

- a seek: the buffer is thrown away. The next request is not for the segment that was announced (`nor`), or more
  media left the buffer than time passed. dash.js sends `bs` after every seek, so `bs` counts only after a request
  without `su`; so does the `bs` of a start.
- a segment that is requested twice, as its request was aborted, or in another quality: it is in the buffer once.
- times of answers, as nginx logs them: a segment that was long under way seems to be requested late, so its idle
  time belongs to the next request, whose own idle time is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.tools.accesslogs.request import MediaRequest

TOLERANCE_S = 0.5
"""Error of an idle time: players round buffer lengths to 0.1 s and measure them some time before the request. Twice
the resolution of the log's times comes on top."""
SHORTEST_STALL_S = 0.2
"""Shorter ones cannot be told from the rounding of two buffer lengths."""


@dataclass
class Account:
    """The account of one session and object type. Times are seconds.

    stalls, stall_s, play_s  what was found so far
    unsure, unsure_s         times without playback, with an empty buffer and `su`, but without `bs`
    jumps                    seeks, second loads, or lines that are missing
    starves                  whether the player ever sent `bs`
    settled                  whether the time up to the last request is accounted for
    """

    last: MediaRequest
    stalls: int = 0
    stall_s: float = 0.0
    unsure: int = 0
    unsure_s: float = 0.0
    jumps: int = 0
    starves: bool = False
    settled: bool = True
    _ready: bool = False
    _played_s: float = 0.0
    _open_s: float = 0.0
    """Idle time before the last request, which may belong to the next one."""
    _in_buffer: bool = True
    """Whether the segment of the last request comes on top of the buffer."""

    @property
    def play_s(self) -> float:
        """Media seconds that were played."""
        return max(self._played_s, 0.0)

    @property
    def buffered_s(self) -> float:
        """Media seconds that the buffer held after the last request: they may have been played afterwards."""
        return self.last.buffer_s + (self.last.duration_s if self._in_buffer else 0.0)

    def add(self, request: MediaRequest) -> None:
        """Account for the time between the last request and this one."""
        last, elapsed_s = self.last, request.time_s - self.last.time_s
        self.starves |= request.starved
        again = request.number is not None and request.number == last.number
        gained_s = last.duration_s if self._in_buffer else 0.0
        replaces = False
        if again and gained_s:
            played_s = last.buffer_s + gained_s - request.buffer_s
            # Had the first one arrived, it would be in the buffer, and no more would be missing than time passed.
            replaces = request.buffer_s >= gained_s / 2 and elapsed_s * last.rate - played_s > -gained_s / 2
            gained_s = gained_s if replaces else 0.0
        played_s = last.buffer_s + gained_s - request.buffer_s
        idle_s = elapsed_s - played_s / request.rate
        tolerance_s = TOLERANCE_S + 2 * (max(last.resolution_s, request.resolution_s) - 0.001)
        announced = last.expected is None or request.number is None or request.number == last.expected
        belated = request.ended and announced and idle_s < -tolerance_s and self._open_s > tolerance_s
        if belated:
            idle_s += self._open_s
        if not (announced or again) or idle_s < -tolerance_s:
            self.jumps += 1
            self._ready = False
            played_s = min(max(played_s, 0.0), elapsed_s * request.rate)
        elif self._ready:
            self._wait(request, idle_s, tolerance_s)
        self._played_s += played_s
        self._ready |= not request.urgent
        self._open_s = idle_s if request.ended and not request.starved else 0.0
        self.settled = self._open_s <= tolerance_s
        self._in_buffer = not replaces
        self.last = request

    def _wait(self, request: MediaRequest, idle_s: float, tolerance_s: float) -> None:
        """Count idle time before the request, as a stall if the player says so."""
        if request.starved and idle_s >= SHORTEST_STALL_S:
            self.stalls += 1
            self.stall_s += idle_s
        elif request.urgent and idle_s > tolerance_s and not request.starved:
            self.unsure += 1
            self.unsure_s += idle_s
