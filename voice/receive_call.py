"""The commands of inbound calls: the carrier asks what to do, and later reports the end, in either order.

Invariant: one call and at most one hold per CallSid; a call whose voice request never came is recorded and free.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accounts.tables import organisations
from billing import ledger
from billing.low_balance import tell_of_wallet
from billing.posting import HOLD, Posting, Refusal
from billing.rating import Terms, hold_milli_cents
from billing.tables import transfers
from billing.wallet import pause_message
from config.rows import Read, Row, Rows
from voice.advance import create_inbound
from voice.call import Call, Policy
from voice.calls import active_number, call_of, row_of
from voice.effects import Effect, Notify
from voice.events import StatusReported
from voice.move_call import Observation, move
from voice.notices import tell
from voice.outcomes import Moved, Paused, Rejected, Unknown
from voice.tables import calls, evidence, numbers
from voice.vocabulary import BillingReason, CallStatus, DialState, ReservationStatus


@dataclass(frozen=True, slots=True)
class ReceiveCall:
    """The carrier asks what to do with an inbound call: make it and its hold, once per CallSid."""

    call_id: str
    twilio_call_sid: str
    to_number: str
    from_number: str
    rate_milli_cents_per_minute: int
    default_max_duration_seconds: int
    policy: Policy
    snapshot: Mapping[str, Any]

    def locate(self) -> Sequence[Read]:
        return (Read(calls, "twilio_call_sid", (self.twilio_call_sid,)), Read(numbers, "e164", (self.to_number,)))

    def organisations(self, located: Rows) -> Iterable[str]:
        return _organisations_of(located, self.twilio_call_sid, self.to_number)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            *self.locate(),
            Read(organisations, "id", tuple(self.organisations(located))),
            Read(transfers, "source_key", (f"{self.call_id}:hold",)),
        )

    def fold(self, rows: Rows, now: int) -> Moved | Paused | Rejected | Unknown:
        if known := rows.find(calls, "twilio_call_sid", self.twilio_call_sid):
            return self._again(rows, call_of(known[0]))
        number = active_number(rows, self.to_number)
        if number is None:
            return Unknown()
        organisation = rows.get(organisations, number["org_id"])
        assert organisation is not None
        call = self.call(organisation, now)
        if organisation["suspended_at"] is not None:
            turned_away = _turned_away(call, "organisation_suspended", "This organisation is suspended.", now)
            self._begin(rows, turned_away, (Notify("call.failed"),), now)
            return Rejected("organisation_suspended", "This organisation is suspended.", turned_away)
        wallet, key = ledger.wallet_in(rows, call.org_id), f"{self.call_id}:hold"
        posting = Posting(self.call_id, key, call.org_id, HOLD, call.hold_milli_cents, call_id=self.call_id)
        if ledger.apply(rows, posting, now) is Refusal.INSUFFICIENT:
            message = pause_message(wallet.available, call.hold_milli_cents)
            turned_away = _turned_away(call, "calls_paused", message, now)
            self._begin(rows, turned_away, (Notify("call.failed"),), now)
            return Paused(wallet.available, call.hold_milli_cents, turned_away)
        call, effects = create_inbound(replace(call, reservation_status=ReservationStatus.RESERVED), self.policy)
        self._begin(rows, call, effects, now)
        terms = Terms(self.rate_milli_cents_per_minute, self.default_max_duration_seconds)
        tell_of_wallet(rows, organisation, wallet, ledger.wallet_in(rows, call.org_id), terms, key, now)
        return Moved(call, effects)

    def _begin(self, rows: Rows, call: Call, effects: Iterable[Effect], now: int) -> None:
        rows.insert(calls, {**self.snapshot, **row_of(call)})
        tell(rows, call, effects, now)

    def _again(self, rows: Rows, call: Call) -> Moved | Paused | Rejected:
        """The same request once more gets the same answer."""
        if call.error_code == "calls_paused":
            return Paused(ledger.wallet_in(rows, call.org_id).available, call.hold_milli_cents, call)
        if call.error_code is not None:
            return Rejected(call.error_code, call.error_message or "", call)
        return Moved(call, new=False)

    def call(self, organisation: Row, now: int) -> Call:
        maximum = min(
            organisation["max_call_duration_seconds"] or self.default_max_duration_seconds,
            self.default_max_duration_seconds,
        )
        return Call(
            id=self.call_id,
            org_id=organisation["id"],
            direction="inbound",
            to_number=self.to_number,
            from_number=self.from_number,
            status=CallStatus.IN_PROGRESS,
            dial_state=DialState.NONE,
            rate_milli_cents_per_minute=self.rate_milli_cents_per_minute,
            max_duration_seconds=maximum,
            hold_milli_cents=hold_milli_cents(maximum, self.rate_milli_cents_per_minute),
            created_at=now,
            updated_at=now,
            amd_asked=False,
            hangs_up_on_machine=False,
            twilio_call_sid=self.twilio_call_sid,
            started_at=now,
            answered_at=now,
            heard_at=now,
            notifies=bool(organisation["webhook_endpoints"] or self.snapshot.get("webhook_url")),
            awaits_result=bool(self.snapshot.get("returns")),
        )


def _turned_away(call: Call, code: str, message: str, now: int) -> Call:
    return replace(
        call,
        status=CallStatus.FAILED,
        answered_at=None,
        ended_at=now,
        duration_seconds=0,
        billed_duration_seconds=0,
        billing_amount_milli_cents=0,
        billing_reason=BillingReason.FREE_FAILED,
        error_code=code,
        error_message=message,
    )


@dataclass(frozen=True, slots=True)
class EndInbound:
    """The number-level callback of an inbound call. Without an earlier voice request the call is recorded, free."""

    event: StatusReported
    policy: Policy
    transfer_id: str
    observation: Observation
    received: ReceiveCall

    def locate(self) -> Sequence[Read]:
        return self.received.locate()

    def organisations(self, located: Rows) -> Iterable[str]:
        return self.received.organisations(located)

    def reads(self, located: Rows) -> Sequence[Read]:
        known = located.find(calls, "twilio_call_sid", self.event.twilio_call_sid)
        ids = tuple(row["id"] for row in known)
        return (*self.received.reads(located), Read(transfers, "call_id", ids), Read(evidence, "call_id", ids))

    def fold(self, rows: Rows, now: int) -> Moved | Unknown:
        if known := rows.find(calls, "twilio_call_sid", self.event.twilio_call_sid):
            call = call_of(known[0])
        else:
            number = active_number(rows, self.received.to_number)
            if number is None or not self.event.status.is_final:
                return Unknown()
            organisation = rows.get(organisations, number["org_id"])
            assert organisation is not None
            call = replace(
                self.received.call(organisation, now),
                status=CallStatus.RINGING,
                answered_at=None,
                platform_failed=True,
            )
            rows.insert(calls, {**self.received.snapshot, **row_of(call)})
        return move(rows, call, self.event, self.observation, self.transfer_id, now, self.policy)


def _organisations_of(located: Rows, twilio_call_sid: str, to_number: str) -> tuple[str, ...]:
    known = located.find(calls, "twilio_call_sid", twilio_call_sid)
    if known:
        return (known[0]["org_id"],)
    number = active_number(located, to_number)
    return () if number is None else (number["org_id"],)
