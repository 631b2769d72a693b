"""Reads the lines of access logs: combined of Apache and nginx, CloudFront, and JSON lines.

Each format is a callable that makes a Request of a line. It raises SkippedError for what is none, and returns None
for a line that is no request by design, such as a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from qoemon.tools.accesslogs.request import Request, Skip, SkippedError, cmcd_of, cmcd_of_query

LineReader = Callable[[bytes], Request | None]

_COMBINED = re.compile(
    r"(?:(?P<host>\S+) )?\S+ \S+ \S+ \[(?P<time>[^\]]{20,40})\] "
    r'"[A-Z]+ (?P<target>\S+)[^"]*" (?P<status>\d{3}|-)(?:\s|$)'
)
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_CLF_TIME = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(\.\d+)? ([+-])(\d\d)(\d\d)")
_EARLIEST_S, _LATEST_S = 946_684_800.0, 4_102_444_800.0
"""The years 2000 and 2100: what is outside is no time of a request."""

CLOUDFRONT_KEYS: Mapping[str, str] = {
    "cmcd-encoded-bitrate": "br",
    "cmcd-buffer-length": "bl",
    "cmcd-buffer-starvation": "bs",
    "cmcd-content-id": "cid",
    "cmcd-object-duration": "d",
    "cmcd-deadline": "dl",
    "cmcd-measured-throughput": "mtp",
    "cmcd-next-object-request": "nor",
    "cmcd-next-range-request": "nrr",
    "cmcd-object-type": "ot",
    "cmcd-playback-rate": "pr",
    "cmcd-requested-maximum-throughput": "rtp",
    "cmcd-streaming-format": "sf",
    "cmcd-session-id": "sid",
    "cmcd-stream-type": "st",
    "cmcd-startup": "su",
    "cmcd-top-bitrate": "tb",
    "cmcd-version": "v",
}
"""CMCD keys by the names of the fields of CloudFront's real-time logs."""

_NAMED = "cmcd-session-id"
_HEADERS = ("cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session")
_TRUE, _ABSENT = frozenset({"true", "1", "?1"}), frozenset({"-", "", "false", "0", "?0"})

ALIASES: Mapping[str, Sequence[str]] = {
    "time": (
        *("time", "timestamp", "@timestamp", "ts", "t", "msec", "time-iso8601", "time-local", "datetime"),
        *("reqtimesec", "starttime", "startutc"),
    ),
    "duration": ("duration", "request-time", "time-taken", "time-to-serve"),
    "query": ("query", "query-string", "querystring", "querystr", "args", "raw-query", "cs-uri-query"),
    "uri": (
        *("uri", "request-uri", "url", "request-url", "requesturl", "cs-uri-stem", "path", "reqpath", "request"),
        *("target",),
    ),
    "host": ("host", "http-host", "x-host-header", "cs-host", "cs(host)", "reqhost", "server-name", "vhost"),
    "status": ("status", "status-code", "statuscode", "sc-status", "response-code"),
    "cmcd": ("cmcd",),
}
"""Usual names of the fields that are needed, in small letters with - for _; the first that a line has is used."""


def combined(line: bytes) -> Request | None:
    """A line of the format combined or common; the virtual host of vhost_combined is the field host."""
    text = line.decode("utf-8", "replace")
    found = _COMBINED.match(text)
    if found is None:
        raise SkippedError(Skip.RUBBISH)
    target = found["target"]
    time_s = _clf_time_s(found["time"])
    path, _, query = target.partition("?")
    host = found["host"]
    return Request(
        time_s=time_s,
        resolution_s=_resolution_s(time_s),
        ended=True,
        path=path,
        status=0 if found["status"] == "-" else int(found["status"]),
        cmcd=cmcd_of_query(query) if query else {},
        fields={} if host is None else {"host": host},
    )


class Cloudfront:
    """Reads logs of CloudFront: standard logs, which name their fields in a line #Fields, and real-time logs.

    names  of the fields, in their order; those of #Fields if empty
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(name.strip().lower() for name in names)

    def __call__(self, line: bytes) -> Request | None:
        """The request of a line."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("#"):
            if text.lower().startswith("#fields:"):
                self._names = tuple(text[8:].lower().split())
            return None
        values = text.split("\t")
        if not self._names or len(values) != len(self._names):
            raise SkippedError(Skip.RUBBISH)
        fields = dict(zip(self._names, values, strict=True))
        return _request(fields, self._time_s(fields), _named_cmcd(fields) if _NAMED in fields else {})

    @staticmethod
    def _time_s(fields: Mapping[str, str]) -> tuple[float, float] | None:
        if "date" in fields and "time" in fields:
            return _iso_time_s(f"{fields['date']}T{fields['time']}Z"), 1.0
        return None


class JsonLines:
    """Reads an object a line, nested ones included; `names` says which field is time, query and so on (ALIASES)."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._named = {key: plain_name(name) for key, name in (names or {}).items()}
        self._decode = msgspec.json.Decoder().decode

    def __call__(self, line: bytes) -> Request | None:
        """The request of a line; None for an empty one."""
        if not line.strip():
            return None
        try:
            document = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise SkippedError(Skip.RUBBISH) from None
        if not isinstance(document, dict):
            raise SkippedError(Skip.RUBBISH)
        fields: dict[str, str] = {}
        for name, value in _leaves(document):
            fields.setdefault(name, value)
        for key, name in self._named.items():
            if name in fields:
                fields[ALIASES[key][0]] = fields[name]
        headers = ",".join(fields[name] for name in _HEADERS if name in fields)
        named = _named_cmcd(fields) if _NAMED in fields else {}
        return _request(fields, None, cmcd_of(headers) if headers else named)


_DEPTH = 4
"""How deep a JSON object may be nested: Cloud Logging has jsonPayload, Caddy request.headers."""


def _leaves(document: Mapping[str, Any], depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
    """The fields of an object and of those in it, with plain names."""
    for name, found in document.items():
        value = found[0] if isinstance(found, list) and found else found  # headers may be repeated
        if isinstance(value, dict):
            if depth > 1:
                yield from _leaves(value, depth - 1)
        elif value is not None:
            yield plain_name(name), ("true" if value is True else "false" if value is False else str(value))


def plain_name(name: str) -> str:
    """A name of a field, in small letters, with - for _, and without the http_ that nginx puts before headers."""
    plain = name.lower().replace("_", "-")
    return plain.removeprefix("http-") if plain.startswith("http-cmcd") else plain


def _named_cmcd(fields: Mapping[str, str]) -> Mapping[str, str]:
    """The CMCD in fields of its own, as CloudFront's real-time logs have it."""
    found = {}
    for name, key in CLOUDFRONT_KEYS.items():
        value = fields.get(name, "-")
        if value.lower() not in _ABSENT or (value == "0" and key not in {"bs", "su"}):
            found[key] = "" if key in {"bs", "su"} and value.lower() in _TRUE else value
    return found


def _request(
    fields: Mapping[str, str], time: tuple[float, float] | None, cmcd: Mapping[str, str]
) -> Request | None:
    """The request with these fields; time: in seconds, and its resolution, if it is not in a field."""
    uri = _field(fields, "uri") or ""
    if " " in uri:  # a request line
        uri = uri.split(" ")[1]
    if not cmcd:
        text = _field(fields, "cmcd")
        query = _field(fields, "query") or ""
        cmcd = cmcd_of(text) if text else cmcd_of_query(query) or cmcd_of_query(uri)
    time_s, resolution_s = time or _time(_field(fields, "time"))
    taken = _field(fields, "duration")
    taken_s = _seconds(taken)
    host = _field(fields, "host")
    return Request(
        time_s=time_s - (taken_s or 0.0),
        resolution_s=resolution_s,
        ended=taken_s is None,
        path=uri.partition("?")[0],
        status=_status(_field(fields, "status")),
        cmcd=cmcd,
        fields=fields if host is None else {**fields, "host": host},
    )


def _field(fields: Mapping[str, str], key: str) -> str | None:
    return next((fields[name] for name in ALIASES[key] if name in fields and fields[name] != "-"), None)


def _status(text: str | None) -> int:
    """The status; 200 if the log has none: then nothing says that the request failed."""
    if text is None:
        return 200
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text.removesuffix("s")) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value <= 86_400 else None


def _time(text: str | None) -> tuple[float, float]:
    """Seconds since the epoch, and the resolution; SkippedError if the text is no time."""
    if not text:
        raise SkippedError(Skip.TIME)
    try:
        value = float(text)
    except ValueError:
        value = _clf_time_s(text) if "/" in text else _iso_time_s(text)
        return value, _resolution_s(value)
    for unit in (1.0, 1e3, 1e6, 1e9):
        if _EARLIEST_S <= value / unit <= _LATEST_S:
            return value / unit, _resolution_s(value) if unit == 1 else 0.001
    raise SkippedError(Skip.TIME)


def _iso_time_s(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SkippedError(Skip.TIME) from None
    return _checked_s((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


@lru_cache(64)  # most lines of a log share the second with the line before
def _clf_time_s(text: str) -> float:
    found = _CLF_TIME.fullmatch(text.strip("[]"))
    month = _MONTHS.get(found[2]) if found else None
    if found is None or month is None:
        raise SkippedError(Skip.TIME)
    day, year, hour, minute, second = (int(found[n]) for n in (1, 3, 4, 5, 6))
    try:
        local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        raise SkippedError(Skip.TIME) from None
    offset_s = (int(found[9]) * 60 + int(found[10])) * 60 * (-1 if found[8] == "-" else 1)
    return _checked_s(local.timestamp() - offset_s + float(found[7] or 0))


def _checked_s(time_s: float) -> float:
    if not _EARLIEST_S <= time_s <= _LATEST_S:
        raise SkippedError(Skip.TIME)
    return time_s


def _resolution_s(time_s: float) -> float:
    return 1.0 if time_s == int(time_s) else 0.001
