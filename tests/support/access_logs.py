"""Captures of real players as access logs of a CDN or web server, in each format that import-cmcd reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

CAPTURES = Path(__file__).parents[1] / "captures"


def truth(name: str) -> Mapping[str, Any]:
    """What the viewer of a capture saw."""
    found: dict[str, Any] = json.loads((CAPTURES / f"{name}.truth.json").read_text())
    return found


def requests(name: str) -> list[dict[str, Any]]:
    """The requests of a capture for what a CDN serves, with `end`: when the answer ended.

    The server held segments back between the marks `hold` and `release`; other answers took no time.
    """
    lines = (json.loads(line) for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines())
    marks = {mark["m"]: mark["w"] / 1000 for mark in truth(name)["marks"]}
    held = (marks.get("hold", 0.0), marks.get("release", 0.0))
    gets = [line for line in lines if line["method"] == "GET"]
    return [{**line, "end": held[1] if held[0] <= line["t"] < held[1] else line["t"]} for line in gets]


def combined(name: str, *, ended: bool = False) -> Iterator[str]:
    """As Apache logs it, by the begin of a request; as nginx does, by the end of the answer, if ended."""
    key = "end" if ended else "t"
    for each in sorted(requests(name), key=lambda each: float(each[key])):
        time = datetime.fromtimestamp(int(each[key]), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        query = f"?{each['raw_query']}" * bool(each["raw_query"])
        yield f'10.0.0.7 - - [{time}] "GET {each["path"]}{query} HTTP/1.1" 200 5120 "-" "Mozilla/5.0 (X11)"'


def cloudfront(name: str) -> Iterator[str]:
    """As CloudFront's standard logs: whole seconds of the end, time-taken, and a query with % escaped again."""
    yield "#Version: 1.0"
    yield "#Fields: date time x-edge-location cs-method cs(Host) cs-uri-stem sc-status cs-uri-query time-taken"
    for each in requests(name):
        end = datetime.fromtimestamp(int(each["end"]), UTC)
        query = each["raw_query"].replace("%", "%25") or "-"
        taken = f"{each['end'] - each['t']:.3f}"
        cells = (f"{end:%Y-%m-%d}", f"{end:%H:%M:%S}", "FRA2-C1", "GET", "d1.example", each["path"], "200", query)
        yield "\t".join((*cells, taken))


def json_lines(name: str) -> Iterator[str]:
    """As Caddy does: nested, headers as lists, the end of the answer and its duration."""
    for each in requests(name):
        headers = {key.title(): [value] for key, value in each["headers"].items()}
        uri = each["path"] + f"?{each['raw_query']}" * bool(each["raw_query"])
        request = {"method": "GET", "host": "a.example", "uri": uri, "headers": headers}
        taken = each["end"] - each["t"]
        yield json.dumps({"ts": each["end"], "request": request, "duration": taken, "status": 200})


def realtime_fields() -> str:
    """The names of the fields of `realtime`, for --fields."""
    return ",".join(_REALTIME)


_REALTIME = {
    "cmcd-session-id": "sid",
    "cmcd-buffer-length": "bl",
    "cmcd-object-duration": "d",
    "cmcd-object-type": "ot",
    "cmcd-buffer-starvation": "bs",
    "cmcd-startup": "su",
    "cmcd-next-object-request": "nor",
    "cs-uri-stem": "",
    "timestamp": "",
    "sc-status": "",
}


def realtime(name: str) -> Iterator[str]:
    """As CloudFront's real-time logs: a field for each key, in an order that the operator chose."""
    for each in requests(name):
        text = each["query"].removeprefix("CMCD=")
        cmcd = {
            key: value.strip('"') or "true" for key, _, value in (part.partition("=") for part in text.split(","))
        }
        known = {"cs-uri-stem": each["path"], "timestamp": f"{each['t']:.3f}", "sc-status": "200"}
        yield "\t".join(known.get(field) or quote(cmcd.get(key, "-")) for field, key in _REALTIME.items())
