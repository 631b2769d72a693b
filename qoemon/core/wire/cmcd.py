"""Reads the records that players send: CMCD version 2 (CTA-5004-B), event mode.

A body has a record a line; a record is a dictionary of RFC 8941, such as

    cid="clip-1",e=ps,sf=h,sid="26becd20",sn=10,st=v,sta=r,ts=1795873784659,v=2

Players differ in details that the standard forbids, so a key that is unknown or has a value of another type than
expected is ignored. A regular expression reads nearly every record that players send; http-sf, which is exact and
several times slower, reads the others and explains what is wrong with them. Where the expression matches, both
find the same, with one exception: it accepts characters outside ASCII in strings. The players' library
(@svta/cml-cmcd) sends them as they are, in a `cid` made of a title for example.

Most bodies are a single record with its keys in order, a heartbeat or a change of state. Another expression reads
these at once, in half of the time; it matches nothing in which the first one would find anything else.
"""

from __future__ import annotations

import re
import string
from collections import UserString
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import http_sf

from qoemon.core.plan.plan import Limits, Plan
from qoemon.core.wire.lenient import label_text
from qoemon.core.wire.player import PlayerGather, PlayerRecord, PlayerState
from qoemon.core.wire.report import ABSENT_INT, Reject, RejectedError, Route
from qoemon.core.wire.routes import Routes

Refuse = Callable[[Reject, str], object]
Field = str | int | float | bool

RECORDS, LINE_BYTES, KEYS, SESSION_CHARACTERS = 500, 8192, 64, 64
"""At most so many records in a body, bytes in a record, keys in a record, and characters in its sid."""
NEWEST_VERSION = 2
FASTEST = 100.0
"""Playback rates up to this one are believed; browsers play at 16 times the normal speed at most."""
SHOWN = 100
"""Bytes of a rejected record that are quoted in its sample."""

_STATES: dict[Field, PlayerState] = {
    "d": PlayerState.PRELOADING,
    "s": PlayerState.STARTING,
    "p": PlayerState.PLAYING,
    "k": PlayerState.SEEKING,
    "r": PlayerState.REBUFFERING,
    "a": PlayerState.PAUSED,
    "w": PlayerState.WAITING,
    "e": PlayerState.ENDED,
    "f": PlayerState.FAILED,
    "q": PlayerState.QUIT,
}
_STATES_OF_BYTES = {str(name).encode(): state for name, state in _STATES.items()}
_USED = ("bg", "e", "msd", "pr", "sid", "sn", "sta", "ts", "v")

# Repeated characters are possessive, and repeated groups begin with a character that cannot follow them, so
# matching takes linear time for any text. (Possessive groups would be wrong up to Python 3.11.4.)
_NUMBER = r"-?(?:[0-9]{1,12}+\.[0-9]{1,3}+|[0-9]{1,15}+)"
_STRING = r'"[^"\\\x00-\x1f\x7f]*+(?:\\["\\][^"\\\x00-\x1f\x7f]*+)*"'
_WORD = r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*+"
_BARE = rf"(?:{_NUMBER}|{_STRING}|{_WORD}|\?[01])"
_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_ITEM = rf"{_BARE}(?:; *+{_KEY}(?:={_BARE})?)*"
_LIST = rf"\( *+(?:{_ITEM}(?: ++{_ITEM})* *+)?\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_BARE}|{_LIST}))?[ \t]*+(?:,[ \t]*+(?=[a-z*])|\Z)|.++", re.DOTALL)
"""A member of a dictionary with its key and its value, or else the rest of the record, without a key."""
_OTHER = rf"(?:=(?:{_NUMBER}|\({_NUMBER}\)|\"[ !#-\[\]-~]*+\"|{_WORD}))?,"
_USUAL = re.compile(
    rf"(?:(?:b(?!g)|[acd])[a-z]*+{_OTHER}){{0,16}}"
    r"e=([a-z]++),"
    rf"(?:(?:e[a-z]|[f-l]|m(?!sd)|[noqr]|p(?!r)|s[a-h])[a-z]*+{_OTHER}){{0,16}}"
    rf'sid="([ !#-\[\]-~]{{1,{SESSION_CHARACTERS}}}+)",'
    r"sn=([0-9]{1,15}+),"
    rf"(?:st{_OTHER})?"  # Not ?+: before 3.11.5, Python does not go back to where a group that fails began.
    r"sta=([a-z]),"
    rf"(?:(?:s[u-z]|t[a-r])[a-z]*+{_OTHER}){{0,16}}"
    r"ts=([0-9]{1,15}+),"
    r"v=[12]\n?".encode()
)
"""A body of one record that has e, sid, sn, sta, ts and v, no other key of _USED, and its keys in order."""
_LETTERS = frozenset(f"{string.ascii_letters}*")
"""The first characters of tokens."""
_NUMBERS = frozenset((int, float))
_ESCAPED = re.compile(r"\\(.)")


class PlayerCodec:
    """Reads bodies according to a plan."""

    def __init__(self, plan: Plan, routes: Routes) -> None:
        self._limits, self._labels, self._routes = plan.limits, plan.players.labels, routes
        self._names = tuple(dict.fromkeys((*_USED, *self._labels)))
        self._usual_bytes = 0 if self._labels else min(plan.limits.message_bytes, LINE_BYTES)
        """Up to this size a body may be read by _USUAL."""

    def read(self, body: bytes, route: Route, arrival_s: float, gather: PlayerGather, refuse: Refuse) -> None:
        """Add the records of a body to `gather`; what is rejected goes to `refuse`, a record each.

        raises  RejectedError if the body is rejected as a whole
        """
        if len(body) <= self._usual_bytes and (usual := _USUAL.fullmatch(body)) is not None:
            gather.add(_usual_record(*usual.groups()), route, arrival_s)
            return
        check_size(body, self._limits)
        for line in lines_of(body):
            try:
                found = fields_of(line, self._names)
                record = _record(found)
                own = self._labelled(route, found) if self._labels else route
            except RejectedError as rejected:
                refuse(rejected.reason, f"{rejected}: {line[:SHOWN]!r}")
            else:
                gather.add(record, own, arrival_s)

    def _labelled(self, route: Route, found: dict[str, Field]) -> Route:
        more = {label: label_text(found[key]) for key, label in self._labels.items() if key in found}
        return self._routes.with_labels(route, more) if more else route


def lines_of(body: bytes) -> list[bytes]:
    """The records of a body, undecoded, in order: its lines without space around them, except empty ones."""
    return [line for each in body.splitlines() if (line := each.strip(b" \t"))]


def check_size(body: bytes, limits: Limits) -> None:
    """Raise RejectedError, with the number of records, if the body is too large to be read."""
    if len(body) > limits.message_bytes:
        detail = f"{len(body)} bytes, at most {limits.message_bytes} are accepted"
        raise RejectedError(Reject.TOO_LARGE, detail, len(lines_of(body)))
    # A body with fewer line ends has fewer records; most have a single one.
    if body.count(b"\n") + body.count(b"\r") >= RECORDS and (records := len(lines_of(body))) > RECORDS:
        detail = f"{records} records in a body, at most {RECORDS} are accepted"
        raise RejectedError(Reject.TOO_LARGE, detail, records)


def session_of(line: bytes) -> str | None:
    """The session of a record; None if the record has none that can be read, and is rejected."""
    try:
        return _session(fields_of(line, ("sid",)))
    except RejectedError:
        return None


def fields_of(line: bytes, names: Iterable[str]) -> dict[str, Field]:
    """The values of those keys of a record that are among `names` and have a single value.

    raises  RejectedError if the record is no dictionary, or too large
    """
    if len(line) > LINE_BYTES:
        raise RejectedError(Reject.TOO_LARGE, f"a record of {len(line)} bytes, at most {LINE_BYTES} are accepted")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RejectedError(Reject.UNPARSEABLE, f"expected UTF-8: {error.reason} at {error.start}") from error
    members = dict(_MEMBER.findall(text))
    if "" in members:
        return _fields_by_http_sf(line, names)
    if len(members) > KEYS:
        raise _too_many_keys(len(members))
    fields: dict[str, Field] = {}
    for name in names:
        value = members.get(name)
        if value is None:
            continue
        if value[:1] == "(":  # The value of a list is used if it is the only one.
            return _fields_by_http_sf(line, names)
        fields[name] = value if value[:1] in _LETTERS else _value(value)
    return fields


def _value(text: str) -> Field:
    """The value of an item, as it is written; a key without a value is true."""
    match text[:1]:
        case '"':
            return text[1:-1] if "\\" not in text else _ESCAPED.sub(r"\1", text[1:-1])
        case "" | "?":
            return text != "?0"
        case _:
            return float(text) if "." in text else int(text)


def _fields_by_http_sf(line: bytes, names: Iterable[str]) -> dict[str, Field]:
    try:
        members: Any = http_sf.parse(line, tltype="dictionary")
    except http_sf.StructuredFieldError as error:
        raise RejectedError(Reject.UNPARSEABLE, f"expected a dictionary of RFC 8941: {error}") from error
    if len(members) > KEYS:
        raise _too_many_keys(len(members))
    found = ((name, _plain(members[name][0])) for name in names if name in members)
    return {name: value for name, value in found if value is not None}


def _plain(value: Any) -> Field | None:
    """A value of http-sf as a plain one, also if it is alone in a list; None for dates, bytes and other lists."""
    if isinstance(value, list):
        value = value[0][0] if len(value) == 1 else None
    if isinstance(value, UserString):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, Field) else None


def _too_many_keys(keys: int) -> RejectedError:
    return RejectedError(Reject.TOO_LARGE, f"a record with {keys} keys, at most {KEYS} are accepted")


def _usual_record(event: bytes, session: bytes, seq: bytes, state: bytes, ts_ms: bytes) -> PlayerRecord:
    """The record that _USUAL has matched."""
    told = _STATES_OF_BYTES.get(state, PlayerState.UNTOLD)
    return PlayerRecord(
        session.decode(), int(seq), int(ts_ms), told, 1.0, ABSENT_INT, event == b"t", event == b"rr", False
    )


def _record(found: dict[str, Field]) -> PlayerRecord:
    version = _number(found, "v")
    # Without v a record is one of version 1, by the standard. What both versions have, they have alike.
    if version is not None and version > NEWEST_VERSION:
        raise RejectedError(Reject.VERSION, f"v is {version}, expected {NEWEST_VERSION} or less")
    startup_ms, rate, event = _number(found, "msd"), _number(found, "pr"), found.get("e")
    return PlayerRecord(
        session=_session(found),
        seq=_count(found, "sn"),
        ts_ms=_count(found, "ts"),
        state=_STATES.get(found.get("sta", ""), PlayerState.UNTOLD),
        rate=1.0 if rate is None or not 0 <= rate <= FASTEST else float(rate),
        startup_ms=ABSENT_INT if startup_ms is None or startup_ms < 0 else int(startup_ms),
        heartbeat=event == "t",
        of_request=event == "rr",
        hidden=found.get("bg") is True,
    )


def _session(found: dict[str, Field]) -> str:
    session = found.get("sid")
    if not isinstance(session, str) or not session:
        raise RejectedError(Reject.SCHEMA, f"no sid, expected a string of 1 to {SESSION_CHARACTERS} characters")
    if len(session) > SESSION_CHARACTERS:
        detail = f"a sid of {len(session)} characters, at most {SESSION_CHARACTERS} are accepted"
        raise RejectedError(Reject.TOO_LARGE, detail)
    return session


def _count(found: dict[str, Field], name: str) -> int:
    """A number that orders records; to ignore a negative one would put the record in the wrong place."""
    value = _number(found, name)
    if value is None:
        return ABSENT_INT
    if value < 0:
        raise RejectedError(Reject.OUT_OF_RANGE, f"{name} is {value}, expected 0 or more")
    return int(value)


def _number(found: dict[str, Field], name: str) -> int | float | None:
    """The number of this name, None if it is missing or something else."""
    value = found.get(name)
    return value if type(value) in _NUMBERS else None  # type: ignore[return-value]  # bool is a subclass of int
