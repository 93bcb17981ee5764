"""Owns the mailbox everybody in the simulation shares: an SMTP receiver on loopback and pages to read it.
Invariant: a message is shown as text; nothing in it is ever run, loaded or sent on.

    mailbox = Mailbox(port=8025)
    app.register_blueprint(create_blueprint(mailbox))

`SMTP_URL=smtp://127.0.0.1:8025` then reaches it, `/mail` shows it and `/_sim/mail` gives it as JSON.
"""

import asyncio
import ipaddress
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import count

from aiosmtpd.smtp import SMTP, Envelope, Session
from quart import Blueprint, Response, abort, jsonify, render_template, request

LARGEST_MESSAGE = 1_000_000
MESSAGES_KEPT = 200
_MOST_RECIPIENTS = 50
_LINK = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True)
class Letter:
    """One received message. `received_at` is ISO 8601 UTC; `links` are the http(s) URLs in `text`."""

    id: int
    received_at: str
    sender: str
    recipients: list[str]
    subject: str
    text: str
    links: list[str]


class Mailbox:
    """The last 200 messages, newest last. `port` 0 takes a free one; `port` tells which after `open()`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8025) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError("The mailbox listens on a loopback address alone.")
        self.host = host
        self.port = port
        self.letters: deque[Letter] = deque(maxlen=MESSAGES_KEPT)
        self._numbers = count(1)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(
                self,
                data_size_limit=LARGEST_MESSAGE,
                enable_SMTPUTF8=True,
                hostname="mailbox.simulated",
                ident="CallingBox mailbox",
                loop=loop,
                timeout=30,
            ),
            self.host,
            self.port,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.content
        raw = content.encode() if isinstance(content, str) else content or b""
        message = message_from_bytes(raw, _class=EmailMessage, policy=policy.default)
        text = _text(message)
        letter = Letter(
            id=next(self._numbers),
            received_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            sender=envelope.mail_from or "",
            recipients=[str(address) for address in envelope.rcpt_tos],
            subject=_header(message, "Subject"),
            text=text,
            links=list(_links(text)),
        )
        self.letters.append(letter)
        return "250 Kept"


def _header(message: EmailMessage, name: str) -> str:
    """A header as one line; a header nobody can parse shows as nothing rather than losing the message."""
    try:
        return " ".join(str(message.get(name, "")).split())[:500]
    except Exception:
        return ""


def _text(message: EmailMessage) -> str:
    """The plain part, else the source of the HTML part, else what the message says raw."""
    try:
        part = message.get_body(preferencelist=("plain", "html"))
        return str(part.get_content()) if part is not None else ""
    except Exception:
        return str(message.get_payload())


def _links(text: str) -> Iterator[str]:
    for found in _LINK.findall(text):
        yield found.rstrip(".,;:!?)]}")


def create_blueprint(mailbox: Mailbox) -> Blueprint:
    """`/mail`, `/mail/<id>` and `/_sim/mail` (with `?to=ADDRESS`), and the receiver while the app serves."""
    blueprint = Blueprint(
        "mailbox", __name__, template_folder="templates", static_folder="static", static_url_path="/mail/static"
    )

    @blueprint.while_app_serving
    async def receive() -> AsyncGenerator[None, None]:
        await mailbox.open()
        yield
        mailbox.close()

    @blueprint.get("/mail")
    async def show_list() -> Response:
        return _page(await render_template("mail/list.html", letters=list(reversed(mailbox.letters))))

    @blueprint.get("/mail/<int:letter_id>")
    async def show_letter(letter_id: int) -> Response:
        letter = next((letter for letter in mailbox.letters if letter.id == letter_id), None)
        if letter is None:
            abort(404)
        return _page(await render_template("mail/letter.html", letter=letter))

    @blueprint.get("/_sim/mail")
    async def give_letters() -> Response:
        """Newest first."""
        to = request.args.get("to")
        letters = [asdict(letter) for letter in reversed(mailbox.letters)]
        return jsonify(messages=[found for found in letters if to is None or to in found["recipients"]])

    return blueprint


def _page(body: str) -> Response:
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, 200, headers, content_type="text/html; charset=utf-8")
