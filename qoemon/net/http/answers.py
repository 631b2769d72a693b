"""Answers of a server without aiohttp, as bytes. They are few and repeated, so each is rendered once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

Fields = tuple[tuple[str, str], ...]
"""Names and values of headers."""

REMEMBERED = 1024

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, eq=False)
class Answer:
    """A status, a line of text for people, and headers. Compared by identity: make each once."""

    status: int
    text: str = ""
    fields: Fields = ()


class Answers:
    """Renders answers.

    headers  headers of every answer, by name; requested once a second
    """

    def __init__(self, headers: Callable[[], Mapping[str, str]]) -> None:
        self._headers = headers
        self._second = -1
        self._rendered: dict[tuple[Answer, Fields, bool, bool], bytes] = {}

    def bytes_of(self, answer: Answer, fields: Fields, *, close: bool, bodyless: bool) -> bytes:
        """The whole answer.

        fields    further headers
        close     whether the connection ends with it
        bodyless  whether it is the answer to HEAD
        """
        second = int(time.time())
        if second != self._second or len(self._rendered) >= REMEMBERED:
            self._second = second
            self._rendered.clear()
        key = (answer, fields, close, bodyless)
        rendered = self._rendered.get(key)
        if rendered is None:
            rendered = self._rendered[key] = self._render(answer, fields, close=close, bodyless=bodyless)
        return rendered

    def _render(self, answer: Answer, fields: Fields, *, close: bool, bodyless: bool) -> bytes:
        text = f"{answer.status}: {answer.text}\n".encode() if answer.text else b""
        headers = {"Date": formatdate(self._second, usegmt=True), **self._headers()}
        headers.update((*answer.fields, *fields))
        if text:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        if answer.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(text))
        if close:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode("latin-1")
        return head if bodyless else head + text
