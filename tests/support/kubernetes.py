"""A part of the API of Kubernetes, for Spark as its client.

It has one pod, the driver's, and notes what is created.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


class Api:
    """The server; created has what clients have created, in order."""

    def __init__(self, namespace: str, pod: str) -> None:
        self.created: list[dict[str, Any]] = []
        self.url = ""
        self.ended = threading.Event()
        self.pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace, "uid": f"uid-of-{pod}", "resourceVersion": "1"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def create(self, thing: dict[str, Any]) -> dict[str, Any]:
        """Note a thing; as it would be returned."""
        self.created.append(thing)
        number = str(len(self.created))
        return {**thing, "metadata": {**thing["metadata"], "uid": number, "resourceVersion": number}}

    def find(self, url: str) -> dict[str, Any] | None:
        """What is at a URL; None if nothing is."""
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if path == f"{self.path}/{self.pod['metadata']['name']}":
            return self.pod
        # Executors are asked for by labels, the driver by its name.
        items = [self.pod] if "fieldSelector" in query else []
        kind = {"pods": "PodList", "persistentvolumeclaims": "PersistentVolumeClaimList"}.get(
            path.rpartition("/")[2]
        )
        return kind and {"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}


@contextmanager
def api(namespace: str, pod: str) -> Iterator[Api]:
    """The API, while the block runs."""
    served = Api(namespace, pod)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "watch" in parse_qs(urlsplit(self.path).query):
                # Nothing ever changes.
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                served.ended.wait()
            elif (found := served.find(self.path)) is not None:
                self.answer(200, found)
            else:
                self.answer(404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404})

        def do_POST(self) -> None:
            self.answer(201, served.create(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def answer(self, status: int, thing: dict[str, Any]) -> None:
            body = json.dumps(thing).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
