"""A real Chromium, and the gallery served to it on loopback with the product's own headers."""

import mimetypes
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from dashboard.render import CONTENT_SECURITY_POLICY, STATIC
from tests.dashboard.gallery import GALLERY

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Where the system's Chromium is; None leaves the choice to Playwright's own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class _Gallery(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = parts.path.removeprefix("/")
        if name == "events":
            return self._stream()
        if name.startswith("static/") and (STATIC / name.removeprefix("static/")).is_file():
            body, kind = (STATIC / name.removeprefix("static/")).read_bytes(), mimetypes.guess_type(name)[0]
        elif name in GALLERY:
            theme = parse_qs(parts.query).get("theme", ["system"])[0]
            body, kind = GALLERY[name](theme).encode(), "text/html; charset=utf-8"  # type: ignore[arg-type]
        else:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.end_headers()
        self.wfile.write(body)
        return None

    def _stream(self) -> None:
        """A stream on which nothing ever changes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"event: ping\ndata:\n\n")
        self.wfile.flush()
        self.server.closing.wait()  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@contextmanager
def serve_gallery() -> Iterator[str]:
    """The address under which each page of the gallery is found by its name, with ?theme=dark if wished."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gallery)
    server.closing = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.closing.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
