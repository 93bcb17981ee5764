"""What an operator must hear of: to the log, by e-mail (ALERT_EMAIL) and to a webhook (ALERT_WEBHOOK_URL).

Invariant: an alert is written down before it leaves, once per episode, however many processes see it and however often
they start again; what is to be mailed or posted then waits in the database until it has been, so it arrives at least
once. An episode is named by what it is about and the day.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from sqlalchemy import bindparam, select

from accounts.mailer import ALERT, RETRY_MS, ClaimMail, MailSent
from accounts.tables import mails
from config.clock import Clock, iso, now_ms, stable_id
from config.database import Unavailable
from config.door import Busy, Door, Down
from config.egress import Egress, NoAnswer, Refused
from config.rows import Read, Rows
from config.settings import Settings

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
TIMEOUT_SECONDS = 10
ANSWER_BYTES = 4_096
DUE_ALERTS = (
    select(mails).where(mails.c.due_at <= bindparam("now"), mails.c.kind == ALERT).order_by(mails.c.due_at).limit(50)
)


@dataclass(frozen=True, slots=True)
class ClaimAlert:
    """Whoever comes first gets True. The row is the mail to send, or, without a recipient, only the claim.

    `posted`: what the webhook is told, in a row of its own; its first attempt is made by whoever came first."""

    mail_id: str
    recipient: str
    subject: str
    text: str
    post_id: str
    posted: Mapping[str, Any] | None

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return ()

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(mails, "id", (self.mail_id,)),)

    def fold(self, rows: Rows, now: int) -> bool:
        if rows.get(mails, self.mail_id) is not None:
            return False
        facts = {"subject": self.subject, "text": self.text}
        row = {"id": self.mail_id, "org_id": None, "kind": "notice", "recipient": self.recipient, "facts": facts}
        rows.insert(mails, {**row, "created_at": now, "due_at": now if self.recipient else None, "attempts": 0})
        if self.posted is not None:
            row |= {"id": self.post_id, "kind": ALERT, "recipient": "", "facts": dict(self.posted)}
            rows.insert(mails, {**row, "created_at": now, "due_at": now + RETRY_MS[0], "attempts": 1})
        return True


class Notifier:
    """The alerts of one process."""

    def __init__(self, door: Door, settings: Settings, clock: Clock = now_ms) -> None:
        self._door, self._settings, self._clock = door, settings, clock
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[bool]] = set()

    def raised(self, alert: Any) -> None:
        """For those who decide: `alert` has `kind` and `text`, which says what it is about. They have logged it."""
        self._spawn(self.tell(alert.kind, alert.text, about=alert.text, is_logged=True))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def audit_failed(self, violations: Sequence[Mapping[str, Any]]) -> None:
        names = ", ".join(sorted({violation["invariant"] for violation in violations}))
        await self.tell("audit_failed", f"the audit found {len(violations)} violations: {names}", about=names)

    async def tell(self, kind: str, text: str, *, about: str, is_logged: bool = False) -> bool:
        """Whether it was news. `about`: what the episode is about, for example a call's id."""
        day_at = self._clock() // DAY_MS * DAY_MS
        episode, at = f"alert:{kind}:{about}", iso(self._clock())
        mail_id, post_id = stable_id(day_at, 0, episode), stable_id(day_at, 1, episode)
        if mail_id in self._told:
            return False
        subject = f"CallingBox alert: {kind.replace('_', ' ')}"
        body = f"{text}\n\n{self._settings.public_base_url}, {at}\n"
        alert = {"id": mail_id, "kind": kind, "text": text, "at": at} if self._settings.alert_webhook_url else None
        claim = ClaimAlert(mail_id, self._settings.alert_email, subject, body, post_id, alert)
        try:
            is_news = await self._door.submit(claim)
        except (Busy, Down, Unavailable) as error:
            log.error("alert_not_claimed", kind=kind, detail=text, error=str(error))  # told here, and tried again
            return False
        self._told.add(mail_id)
        if not is_news:
            return False
        if not is_logged:
            log.warning("alert", kind=kind, detail=text)
        if alert is not None:
            await self._post(post_id, alert)
        return True

    async def run(self, interval_seconds: float = 5.0) -> None:
        """Post what could not be posted at once, or whose process died before it was. Until cancelled."""
        while True:
            try:
                await self.post_due()
            except (Unavailable, Busy, Down) as error:
                log.warning("alerts_postponed", error=str(error))
            await asyncio.sleep(interval_seconds)

    async def post_due(self) -> int:
        """How many were tried."""
        tried = 0
        for row in await self._door.database.look_up(DUE_ALERTS, now=self._clock()):
            if await self._door.submit(ClaimMail(row["id"], None)):
                tried += 1
                await self._post(row["id"], row["facts"])
        return tried

    async def _post(self, post_id: str, alert: Mapping[str, Any]) -> None:
        """One attempt. What fails is due again, as its claim has set."""
        egress = Egress(allow_private=True)  # an operator's own address may be anywhere
        await egress.open()
        try:
            answer = await egress.post(
                self._settings.alert_webhook_url,
                msgspec.json.encode(alert),
                {"Content-Type": "application/json"},
                timeout_seconds=TIMEOUT_SECONDS,
                answer_bytes=ANSWER_BYTES,
            )
            if answer.status < 300:
                await self._door.submit(MailSent(post_id, None))
            else:
                log.warning("alert_not_posted", kind=alert["kind"], status=answer.status)
        except (Refused, NoAnswer, Busy, Down) as reason:
            log.warning("alert_not_posted", kind=alert["kind"], error=str(reason))
        finally:
            await egress.close()

    async def idle(self) -> None:
        """Wait until everything begun has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
