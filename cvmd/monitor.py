"""Metrics and health by HTTP, on loopback alone: who may scrape from elsewhere is a proxy's business.

It runs in threads of its own, so that it still answers where the event loop does not turn.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

from cvmd.errors import ConfigError

HOST: Final = "127.0.0.1"
THREADS: Final = 4
"""Requests at once; further ones wait in the kernel's queue."""
_REQUEST_S: Final = 5.0
_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What a path is answered."""

    status: int
    body: bytes
    content_type: str = _PLAIN


Pages = Mapping[str, Callable[[], Page]]
"""By path. They are called in threads of the monitor."""


def verdict(why_not: Callable[[], str]) -> Callable[[], Page]:
    """A page of health: 200 and `ok`, or 503 and why not."""

    def page() -> Page:
        why = why_not()
        return Page(503 if why else 200, (why or "ok").encode() + b"\n")

    return page


class Monitor:
    """Answers from construction to `close`."""

    def __init__(self, port: int, pages: Pages) -> None:
        """`port` 0: any free one. Raises ConfigError where it is taken."""
        try:
            self._server = _Server(port, pages)
        except OSError as error:
            raise ConfigError(
                f"metrics: cannot bind {HOST}:{port}: {error.strerror}; is another cvmd running there? see metrics.port"
            ) from None
        self.port: Final = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End what is being answered, and answer nothing more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(HTTPServer):
    """A pool in place of a thread a request, of which nothing bounds the number (invariant 7)."""

    def __init__(self, port: int, pages: Pages) -> None:
        self.pages = pages
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="monitor")
        self._free = threading.BoundedSemaphore(THREADS)
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as socketserver has them
        self._free.acquire()
        self._pool.submit(self._answer, request, client_address)

    def _answer(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as above
        # The whole request has a deadline: with one for each read, a byte now and then would hold the thread for ever.
        late = threading.Timer(_REQUEST_S, _cut, (request,))
        late.daemon = True
        late.start()
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # who asked is gone
        finally:
            late.cancel()
            self.shutdown_request(request)
            self._free.release()

    def server_close(self) -> None:
        super().server_close()
        self._pool.shutdown()


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # it is over
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "cvmd", ""

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        assert isinstance(self.server, _Server), "no other has this handler"
        pages = self.server.pages
        make = pages.get(self.path.partition("?")[0])
        page = make() if make is not None else Page(404, f"there are {', '.join(sorted(pages))}\n".encode())
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """A scrape is no news."""
