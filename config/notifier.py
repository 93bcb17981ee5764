"""What an operator must hear of: to the log, by e-mail (ALERT_EMAIL) and to a webhook (ALERT_WEBHOOK_URL).

Invariant: an alert is claimed in the database before it leaves, so each goes out once per episode, however many
processes see it and however often they start again. An episode is named by what it is about and the day.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from accounts.tables import mails
from config.clock import Clock, iso, now_ms, stable_id
from config.database import Unavailable
from config.door import Busy, Door, Down
from config.egress import Egress, NoAnswer, Refused
from config.rows import Read, Rows
from config.settings import Settings

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
RETRY_SECONDS = (1.0, 10.0, 60.0)
TIMEOUT_SECONDS = 10
ANSWER_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class ClaimAlert:
    """Whoever comes first gets True. The row is the mail to send, or, without a recipient, only the claim."""

    mail_id: str
    recipient: str
    subject: str
    text: str

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
        mail_id = stable_id(day_at, 0, f"alert:{kind}:{about}")
        if mail_id in self._told:
            return False
        subject = f"CallingBox alert: {kind.replace('_', ' ')}"
        body = f"{text}\n\n{self._settings.public_base_url}, {iso(self._clock())}\n"
        try:
            is_news = await self._door.submit(ClaimAlert(mail_id, self._settings.alert_email, subject, body))
        except (Busy, Down, Unavailable) as error:
            log.error("alert_not_claimed", kind=kind, detail=text, error=str(error))  # told here, and tried again
            return False
        self._told.add(mail_id)
        if not is_news:
            return False
        if not is_logged:
            log.warning("alert", kind=kind, detail=text)
        if self._settings.alert_webhook_url:
            await self._post({"id": mail_id, "kind": kind, "text": text, "at": iso(self._clock())})
        return True

    async def _post(self, alert: dict[str, Any]) -> None:
        egress = Egress(allow_private=True)  # an operator's own address may be anywhere
        await egress.open()
        try:
            for delay in (0.0, *RETRY_SECONDS):
                await asyncio.sleep(delay)
                try:
                    answer = await egress.post(
                        self._settings.alert_webhook_url,
                        msgspec.json.encode(alert),
                        {"Content-Type": "application/json"},
                        timeout_seconds=TIMEOUT_SECONDS,
                        answer_bytes=ANSWER_BYTES,
                    )
                except (Refused, NoAnswer) as reason:
                    log.warning("alert_not_posted", kind=alert["kind"], error=str(reason))
                    continue
                if answer.status < 300:
                    return
                log.warning("alert_not_posted", kind=alert["kind"], status=answer.status)
        finally:
            await egress.close()

    async def idle(self) -> None:
        """Wait until everything begun has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
