"""A web server that gets the notifications of a daemon."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.patience import LOOK_S


class Hook:
    """A web server that accepts what is posted to it, unless it is out of order.

    posted        headers and body of what it has accepted, in order
    out_of_order  whether it answers with an error
    mute          set: it accepts what is posted, and answers once this is no longer so
    """

    def __init__(self) -> None:
        hook, posted = self, list[tuple[Mapping[str, str], bytes]]()
        self.posted, self.out_of_order, self.mute = posted, False, False

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not hook.out_of_order:
                    posted.append((dict(self.headers), body))
                while hook.mute:
                    time.sleep(LOOK_S)
                self.send_response(503 if hook.out_of_order else 204)
                with contextlib.suppress(OSError):  # Who posted it has ended.
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """pytest shows what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hook")

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.posted]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mute = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
