"""Mail: what it says, and sending what was committed.

Invariant: a mail is claimed in the database before it is sent, so several workers send it once; links are signed at
that moment and stored nowhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from sqlalchemy import bindparam, select

from accounts.links import Links
from accounts.tables import mails, users
from config.clock import Clock, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from config.rows import Read, Rows

log = structlog.get_logger(__name__)

SEND_TIMEOUT_SECONDS = 20
RETRY_MS = (60_000, 300_000, 1_800_000, 7_200_000, 43_200_000)
ALERT = "alert"
"""The kind of those rows that an operator's webhook is told, and nobody is mailed (`config.notifier`)."""
SENDER = "CallingBox <no-reply@{host}>"


class Undeliverable(Exception):
    """There is nobody to send it to any more."""


@dataclass(frozen=True, slots=True)
class Letter:
    subject: str
    text: str


Composer = Callable[[Mapping[str, Any], str, Links], Letter]
"""(the mail's row with its user's columns, public base URL, links) → what it says."""


def _verify(mail: Mapping[str, Any], base: str, links: Links) -> Letter:
    token = links.make("verify", mail["facts"]["user_id"], mail["recipient"])
    text = (
        f"Confirm that this address is yours:\n\n{base}/verify?token={token}\n\n"
        "The link works for seven days. If you did not sign up, ignore this mail.\n"
    )
    return Letter("Confirm your email for CallingBox", text)


def _reset(mail: Mapping[str, Any], base: str, links: Links) -> Letter:
    if mail["password_hash"] is None:
        raise Undeliverable("its user has left")
    token = links.make("reset", mail["facts"]["user_id"], mail["password_hash"][-16:])
    text = (
        f"Choose a new password:\n\n{base}/reset?token={token}\n\n"
        "The link works once, for an hour. If you did not ask for it, ignore this mail; your password stays.\n"
    )
    return Letter("Choose a new password for CallingBox", text)


def _invite(mail: Mapping[str, Any], base: str, links: Links) -> Letter:
    token = links.make("invite", mail["facts"]["invitation_id"])
    name = mail["facts"]["organisation"]
    text = f"You are invited to {name} on CallingBox:\n\n{base}/join?token={token}\n\nThe link works for seven days.\n"
    return Letter(f"Join {name} on CallingBox", text)


def _notice(mail: Mapping[str, Any], base: str, links: Links) -> Letter:
    """Words made by whoever queued it: low balance, a payment link, an alert."""
    path = mail["facts"].get("path")
    return Letter(mail["facts"]["subject"], mail["facts"]["text"] + (f"\n{base}{path}\n" if path else ""))


COMPOSERS: dict[str, Composer] = {"verify": _verify, "reset": _reset, "invite": _invite, "notice": _notice}


@dataclass(frozen=True, slots=True)
class _OnMail:
    mail_id: str
    org_id: str | None

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return () if self.org_id is None else (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(mails, "id", (self.mail_id,), locked=self.org_id is None),)


@dataclass(frozen=True, slots=True)
class ClaimMail(_OnMail):
    """Take a due mail; whoever comes second gets False. Its next attempt is set before this one is made."""

    def fold(self, rows: Rows, now: int) -> bool:
        mail = rows.get(mails, self.mail_id)
        if mail is None or mail["due_at"] is None or mail["due_at"] > now:
            return False
        attempt = mail["attempts"]
        due_at = now + RETRY_MS[attempt] if attempt < len(RETRY_MS) else None
        rows.update(mails, self.mail_id, {"attempts": attempt + 1, "due_at": due_at})
        return True


@dataclass(frozen=True, slots=True)
class MailSent(_OnMail):
    def fold(self, rows: Rows, now: int) -> None:
        rows.update(mails, self.mail_id, {"sent_at": now, "due_at": None})


DUE_MAILS = (
    select(mails, users.c.password_hash)
    .outerjoin(users, users.c.email == mails.c.recipient)
    .where(mails.c.due_at <= bindparam("now"), mails.c.kind != ALERT)
    .order_by(mails.c.due_at)
    .limit(50)
)


class Mailer:
    def __init__(
        self, database: Database, door: Door, smtp_url: str, base_url: str, links: Links, clock: Clock = now_ms
    ) -> None:
        self._database, self._door, self._smtp_url, self._base_url = database, door, smtp_url, base_url
        self._links, self._clock = links, clock

    async def run(self, interval_seconds: float = 1.0) -> None:
        while True:
            try:
                await self.send_due()
            except (Unavailable, Busy, Down) as error:
                log.warning("mail_postponed", error=str(error))
            await asyncio.sleep(interval_seconds)

    async def send_due(self) -> int:
        """Send every mail that is due; the number sent."""
        due = await self._database.look_up(DUE_MAILS, now=self._clock())
        sent = [await self._send(mail) for mail in due]
        return sum(sent)

    async def _send(self, mail: Mapping[str, Any]) -> bool:
        if not await self._door.submit(ClaimMail(mail["id"], mail["org_id"])):
            return False
        try:
            await self._deliver(mail["recipient"], COMPOSERS[mail["kind"]](mail, self._base_url, self._links))
        except Exception as error:  # whatever the mail server does, the mail stays due, and others are sent
            log.warning("mail_not_sent", mail_id=mail["id"], kind=mail["kind"], error=type(error).__name__)
            return False
        await self._door.submit(MailSent(mail["id"], mail["org_id"]))
        return True

    async def _deliver(self, recipient: str, letter: Letter) -> None:
        import aiosmtplib

        if not self._smtp_url:
            raise OSError("no mail server is configured")
        server = urlsplit(self._smtp_url)
        message = EmailMessage()
        message["From"] = SENDER.format(host=urlsplit(self._base_url).hostname)
        message["To"] = recipient
        message["Subject"] = letter.subject
        message.set_content(letter.text)
        await aiosmtplib.send(
            message,
            recipients=[recipient],
            hostname=server.hostname,
            port=server.port,
            username=unquote(server.username) if server.username else None,
            password=unquote(server.password) if server.password else None,
            use_tls=server.scheme == "smtps",
            timeout=SEND_TIMEOUT_SECONDS,
        )
