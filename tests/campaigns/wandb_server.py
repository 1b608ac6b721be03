"""A W&B server on this machine for the real client, kept in memory.

with WandbServer() as server:
    ...  # clients with server.variables in their environment
    server.stop()  # it dies: refused connections; server.start() brings it back with all it had
    server.broken = lambda request: request == "file_stream"  # or it answers these with status 500
    server.run("abc123").history
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.campaigns.wandb_answers import OPERATIONS, Run, Store


class WandbServer:
    """Serves on a free port of this machine between `start` and `stop`; what it was sent outlives both.

    Attributes:
        store: all that it was sent.
        requests: what came, also what was not answered: an operation's name, "file_stream", "upload" or "download".
        broken: which of them to answer with status 500.
        unknown: operations that have no answer here, which were refused with status 400.
    """

    def __init__(self) -> None:
        self.store = Store()
        self.requests: list[str] = []
        self.broken: Callable[[str], bool] = lambda request: False
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        self._listener: _Listener | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, the same after every start."""
        return self.store.url

    @property
    def variables(self) -> dict[str, str]:
        """What makes a client talk to it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false"}

    def run(self, name: str) -> Run:
        """The run of this id, whichever project it is in."""
        (found,) = (run for run in self.store.runs.values() if run.name == name)
        return found

    def start(self) -> None:
        """Begin to answer."""
        self._listener = _Listener(self, self._port)
        self._port = self._listener.server_port
        self.store.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End like a server that dies: open connections are cut, further ones refused."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.cut_connections()
            self._listener = None

    def __enter__(self) -> WandbServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def answer(self, request: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and content for a request; one at a time."""
        with self.lock:
            self.requests.append(request)
            if self.broken(request):
                return 500, b"{}"
            if request == "upload":
                files, name = self.store.files(path)
                files[name] = body
            elif request == "download":
                files, name = self.store.files(path)
                return 200, files[name]
            elif request == "file_stream":
                self.store.stream(*path.split("/")[3:5], json.loads(body))
            elif request in OPERATIONS:
                variables = json.loads(body).get("variables") or {}
                given = {**variables, **(variables.get("input") or {})}
                return 200, json.dumps({"data": OPERATIONS[request](self.store, given)}).encode()
            else:
                self.unknown.append(request)
                return 400, b'{"errors": [{"message": "unknown operation"}]}'
            return 200, b"{}"


class _Listener(ThreadingHTTPServer):
    """Listens for a server, and remembers its connections."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: WandbServer, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.wandb = server
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def cut_connections(self) -> None:
        for connection in self.connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # of a client that went away
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Requests of one connection."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_GET(self) -> None:
        self._answer("download", b"")

    def do_PUT(self) -> None:
        self._answer("upload", self._body())

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/file_stream"):
            return self._answer("file_stream", body)
        operation = re.search(r"\b(?:query|mutation)\s+(\w+)", json.loads(body)["query"])
        return self._answer(operation[1] if operation else "", body)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, request: str, body: bytes) -> None:
        status, content = self.server.wandb.answer(request, self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the terminal."""
