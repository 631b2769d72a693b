"""A request of an access log, and the CMCD in it: version 1, or version 2 in request mode (CTA-5004)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

_KEY = re.compile(r'\s*([a-z*][a-z0-9_.*-]*)(?:=("(?:[^"\\]|\\.)*"|\([^)]*\)|[^,]*))?\s*(?:,|$)')
"""A key with its value, as players write it: not all of them follow RFC 8941, so each part is read by itself."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_QUERY = re.compile(r"(?:^|[?&])CMCD=([^&]*)", re.IGNORECASE)
_ESCAPED_AGAIN = 2
"""How many more times a CDN may have percent-encoded a query."""

LONGEST_SESSION = 128
"""Characters of a session id, as in reports."""
VIDEO, AUDIO = frozenset({"v", "av"}), "a"


class Skip(StrEnum):
    """Why a line of a log is not used."""

    RUBBISH = "not a line of this format"
    TIME = "no time that can be read"
    NO_CMCD = "requests without CMCD"
    FAILED = "requests that failed (status below 200, from 300 to 303, from 305, or none)"
    NO_SESSION = "CMCD without a session id (sid), or with one longer than 128 characters"
    NO_MEDIA = "requests for manifests, init segments, subtitles and keys"
    NO_BUFFER = "requests for media without buffer length (bl) or object duration (d)"
    LATE = "lines more than 10 minutes older than lines before them"


class SkippedError(Exception):
    """A line is not used."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason)
        self.reason = reason


class Request(NamedTuple):
    """A request as the log has it.

    time_s        when it was made, seconds since the epoch; when it was answered, if ended is true
    resolution_s  of the time: 1 for whole seconds
    ended         whether time_s may be that of the answer
    path          without the query
    status        of the answer; 0 if the log does not say
    cmcd          values by key, as text
    fields        other fields of the log, by name, for labels
    """

    time_s: float
    resolution_s: float
    ended: bool
    path: str
    status: int
    cmcd: Mapping[str, str]
    fields: Mapping[str, str]


class MediaRequest(NamedTuple):
    """A request for a segment of media.

    buffer_s    media in the buffer when the request was made, `bl`
    duration_s  of the segment, `d`
    starved     the buffer ran empty since the request before, `bs`
    urgent      needed because of a start, a seek or an empty buffer, `su`
    rate        seconds of media that are played in a second, `pr`
    number      last number in the file name, with which segments are numbered; None without one
    expected    the same of the next request that the player announced, `nor`
    """

    time_s: float
    resolution_s: float
    ended: bool
    session: str
    audio: bool
    buffer_s: float
    duration_s: float
    starved: bool
    urgent: bool
    rate: float
    number: int | None
    expected: int | None


def cmcd_of_query(query: str) -> Mapping[str, str]:
    """The CMCD in a query or in a URL with one; empty without any. A query is form-encoded: + is a space."""
    found = _QUERY.search(query)
    if found is None:
        return {}
    text = _unquoted(found[1])
    for _ in range(_ESCAPED_AGAIN):
        if "%" not in text or "sid=" in text:
            break
        text = _unquoted(text)
    return cmcd_of(text)


def _unquoted(text: str) -> str:
    """unquote_plus(text), in a third of the time for what nearly all escapes of CMCD are."""
    if text.count("%25") == text.count("%"):
        return text.replace("+", " ").replace("%25", "%")
    text = text.replace("+", " ").replace("%3D", "=").replace("%2C", ",").replace("%22", '"')
    return unquote(text) if "%" in text else text


def cmcd_of(text: str) -> Mapping[str, str]:
    """The values by key; of a key without one, which is true, it is "", and a key that is false is missing."""
    return {key: value for key, value in _KEY.findall(text) if value != "?0"}


def media_request(request: Request) -> MediaRequest:
    """What the request says about the buffer; SkippedError if it says nothing."""
    cmcd = request.cmcd
    if not cmcd:
        raise SkippedError(Skip.NO_CMCD)
    session = cmcd.get("sid", "").strip('"')
    if not 0 < len(session) <= LONGEST_SESSION:
        raise SkippedError(Skip.NO_SESSION)
    kind = cmcd.get("ot", "av")
    if kind not in VIDEO and kind != AUDIO:
        raise SkippedError(Skip.NO_MEDIA)
    if not (200 <= request.status < 300 or request.status == 304):
        raise SkippedError(Skip.FAILED)
    buffer_ms, duration_ms = _number(cmcd.get("bl")), _number(cmcd.get("d"))
    if buffer_ms is None or duration_ms is None:
        raise SkippedError(Skip.NO_BUFFER)
    return MediaRequest(
        time_s=request.time_s,
        resolution_s=request.resolution_s,
        ended=request.ended,
        session=session,
        audio=kind == AUDIO,
        buffer_s=buffer_ms / 1000,
        duration_s=duration_ms / 1000,
        starved="bs" in cmcd,
        urgent="su" in cmcd,
        rate=_number(cmcd.get("pr")) or 1.0,
        # One file holds all segments where ranges of it are requested.
        number=None if request.status == 206 else _last_number(request.path),
        expected=_last_number(unquote(nor)) if (nor := cmcd.get("nor")) else None,
    )


def _number(value: str | None) -> float | None:
    """The first number of a value, which version 2 writes as a list: (2000;v)."""
    found = None if value is None else _NUMBER.search(value)
    return None if found is None else float(found[0])


def _last_number(path: str) -> int | None:
    """The last number in a file name without its ending; None without one, and for one that numbers no segment."""
    name = path.partition("?")[0].rstrip('")').rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    found = _LAST_NUMBER.search(stem)
    return None if found is None or len(found[0]) > 18 else int(found[0])
