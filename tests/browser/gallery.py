"""Every page in every important state, served to a browser on loopback with the product's own headers."""

import mimetypes
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from dashboard.render import CONTENT_SECURITY_POLICY, STATIC
from tests.dashboard.gallery import GALLERY, Renderer


class Gallery(ThreadingHTTPServer):
    """Serves each page by its name (?theme=dark if wished) and a stream of changes at /events.

    `aliases` lets an address of the product answer with a page; `posts` keeps what forms sent, `refreshes`
    what pages asked to renew.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self.pages: dict[str, Renderer] = dict(GALLERY)
        self.aliases: dict[str, str] = {}
        self.posts: list[tuple[str, dict[str, list[str]]]] = []
        self.refreshes: list[str] = []
        self.streams: list[queue.Queue[str | None]] = []
        self.streaming = True
        self.answers_after = 0.0

    def announce(self, event: str, data: str = "") -> None:
        """Sends an event to every open stream."""
        for stream in self.streams:
            stream.put(f"event: {event}\ndata: {data}\n\n")

    def cut_streams(self) -> None:
        """Ends every stream and refuses new ones until `streaming` is set again."""
        self.streaming = False
        while self.streams:
            self.streams.pop().put(None)


class _Handler(BaseHTTPRequestHandler):
    server: Gallery

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = self.server.aliases.get(parts.path, parts.path.removeprefix("/"))
        if name == "events":
            return self._stream()
        if name.startswith("static/") and (STATIC / name.removeprefix("static/")).is_file():
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            return self._send((STATIC / name.removeprefix("static/")).read_bytes(), kind)
        if name in self.server.pages:
            if "X-Live" in self.headers:
                self.server.refreshes.append(self.headers["X-Live"])
            theme = parse_qs(parts.query).get("theme", ["system"])[0]
            return self._send(self.server.pages[name](theme).encode(), "text/html; charset=utf-8")  # type: ignore[arg-type]
        return self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length).decode()
        self.server.posts.append((self.path, parse_qs(body)))
        time.sleep(self.server.answers_after)
        self.do_GET()

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.end_headers()
        with suppress(ConnectionError):  # the page was left while it was renewed
            self.wfile.write(body)

    def _stream(self) -> None:
        if not self.server.streaming:
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        events: queue.Queue[str | None] = queue.Queue()
        events.put("event: ping\ndata:\n\n")
        self.server.streams.append(events)
        while (event := events.get()) is not None:
            try:
                self.wfile.write(event.encode())
                self.wfile.flush()
            except OSError:
                return None
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@contextmanager
def serve_gallery() -> Iterator[Gallery]:
    """The gallery, serving."""
    server = Gallery()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.cut_streams()
        server.shutdown()
        server.server_close()
