"""The commands of inbound calls: the carrier asks what to do, and later reports the end, in either order.

Invariant: one call and at most one hold per CallSid; a call whose voice request never came is recorded and free, and
so is one that was turned away. What the call needs of its agent is copied into it here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from accounts.tables import organisations
from billing import ledger, limits, low_balance
from billing.posting import HOLD, Posting, Refusal
from billing.rating import Terms, hold_milli_cents
from billing.tables import spending, transfers
from billing.wallet import pause_message
from config.rows import Read, Row, Rows
from voice import answering
from voice.advance import create_inbound
from voice.call import Call, Policy
from voice.calls import active_number, call_of, row_of
from voice.effects import Effect, Notify
from voice.events import StatusReported
from voice.move_call import Observation, move, our_fault, reads_of_fault
from voice.notices import tell
from voice.outcomes import Moved, Paused, Rejected, Unknown
from voice.tables import calls, evidence, numbers
from voice.vocabulary import BillingReason, CallStatus, DialState, ReservationStatus

FORWARDED = "forwarded"
"""The hangup_cause of a caller who was sent to the number's fallback: the same request again gets the same answer."""


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
    allowed_countries: tuple[str, ...]
    answers_per_caller_and_hour: int

    def locate(self) -> Sequence[Read]:
        return (Read(calls, "twilio_call_sid", (self.twilio_call_sid,)), Read(numbers, "e164", (self.to_number,)))

    def organisations(self, located: Rows) -> Iterable[str]:
        return _organisations_of(located, self.twilio_call_sid, self.to_number)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            *self.locate(),
            *answering.reads_for(active_number(located, self.to_number), self.from_number),
            *(read for org_id in self.organisations(located) for read in limits.reads_for(org_id, None)),
            *low_balance.reads_for(*self.organisations(located)),
            Read(transfers, "source_key", (f"{self.call_id}:hold",)),
        )

    def fold(self, rows: Rows, now: int) -> Moved | Paused | Rejected | Unknown:
        if known := rows.find(calls, "twilio_call_sid", self.twilio_call_sid):
            return self._again(rows, call_of(known[0]))
        number = active_number(rows, self.to_number)
        if number is None:
            return Unknown()
        call, kept = self.prepare(rows, number, now)
        if (refusal := self._refusal(rows, number, now)) is not None:
            turned_away = _turned_away(call, *refusal, now)
            _begin(rows, turned_away, kept, (Notify("call.failed"),), now)
            return Rejected(*refusal, turned_away)
        wallet, key = ledger.wallet_in(rows, call.org_id), f"{self.call_id}:hold"
        posting = Posting(self.call_id, key, call.org_id, HOLD, call.hold_milli_cents, call_id=self.call_id)
        over = limits.over_limit(rows, call.org_id, None, call.hold_milli_cents, None, now)
        if over is not None:
            turned_away, forward_to = self._pause(rows, number, call, kept, over.code, over.message, now)
            return Rejected(over.code, over.message, turned_away, over.figures, forward_to)
        if ledger.apply(rows, posting, now) is Refusal.INSUFFICIENT:
            message = pause_message(wallet.available, call.hold_milli_cents)
            turned_away, forward_to = self._pause(rows, number, call, kept, "calls_paused", message, now)
            return Paused(wallet.available, call.hold_milli_cents, turned_away, forward_to)
        limits.count_opened(rows, call.org_id, None, call.hold_milli_cents, now)
        answering.count_answer(rows, call.org_id, self.from_number, now)
        call, effects = create_inbound(replace(call, reservation_status=ReservationStatus.RESERVED), self.policy)
        _begin(rows, call, kept, effects, now)
        organisation = rows.get(organisations, call.org_id)
        assert organisation is not None
        terms = Terms(self.rate_milli_cents_per_minute, self.default_max_duration_seconds)
        after = ledger.wallet_in(rows, call.org_id)
        low_balance.tell_of_wallet(rows, organisation, wallet, after, terms, key, now)
        return Moved(call, effects)

    def _refusal(self, rows: Rows, number: Row, now: int) -> tuple[str, str] | None:
        organisation = rows.get(organisations, number["org_id"])
        if organisation is not None and organisation["suspended_at"] is not None:
            return "organisation_suspended", "This organisation is suspended."
        return answering.refusal(rows, number, self.from_number, self.answers_per_caller_and_hour, now)

    def _pause(
        self, rows: Rows, number: Row, call: Call, kept: Row, code: str, message: str, now: int
    ) -> tuple[Call, str | None]:
        """The record of a caller there is no money for, and where the caller goes instead."""
        forward_to = answering.forward(rows, number, self._countries(rows, call.org_id), now)
        turned_away = _turned_away(call, code, message, now)
        turned_away = replace(turned_away, hangup_cause=FORWARDED if forward_to else None)
        _begin(rows, turned_away, kept, (Notify("call.failed"),), now)
        return turned_away, forward_to

    def _countries(self, rows: Rows, org_id: str) -> tuple[str, ...]:
        """Where the organisation may call."""
        row = rows.get(spending, org_id)
        own = None if row is None else limits.limits_of(row).allowed_countries
        return self.allowed_countries if own is None else tuple(set(own) & set(self.allowed_countries))

    def _again(self, rows: Rows, call: Call) -> Moved | Paused | Rejected:
        """The same request once more gets the same answer."""
        number = active_number(rows, call.to_number)
        forward_to = number["fallback_number"] if number is not None and call.hangup_cause == FORWARDED else None
        if call.error_code == "calls_paused":
            available = ledger.wallet_in(rows, call.org_id).available
            return Paused(available, call.hold_milli_cents, call, forward_to)
        if call.error_code is not None:
            return Rejected(call.error_code, call.error_message or "", call, forward_to=forward_to)
        return Moved(call, new=False)

    def prepare(self, rows: Rows, number: Row, now: int) -> tuple[Call, Row]:
        """The call as it would be answered, and its cold columns."""
        organisation, agent = rows.get(organisations, number["org_id"]), answering.answering_agent(rows, number)
        assert organisation is not None
        kept = {**answering.inbound_snapshot(number, agent), "disclose_ai": organisation["disclose_ai"]}
        maxima = (
            agent["max_duration_seconds"] if agent is not None else None,
            organisation["max_call_duration_seconds"],
            self.default_max_duration_seconds,
        )
        maximum = min(each for each in maxima if each is not None)
        call = Call(
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
            agent_id=number["inbound_agent_id"],
            notifies=bool(organisation["webhook_endpoints"] or kept["webhook_url"]),
            awaits_result=bool(kept["returns"]),
        )
        return call, kept


def _begin(rows: Rows, call: Call, kept: Row, effects: Iterable[Effect], now: int) -> None:
    rows.insert(calls, {**kept, **row_of(call)})
    tell(rows, call, effects, now)


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
        faults = [read for call_id in ids for read in reads_of_fault(self.event, self.policy, call_id)]
        reads = self.received.reads(located)
        return (*reads, Read(transfers, "call_id", ids), Read(evidence, "call_id", ids), *faults)

    def fold(self, rows: Rows, now: int) -> Moved | Unknown:
        if known := rows.find(calls, "twilio_call_sid", self.event.twilio_call_sid):
            call = our_fault(rows, call_of(known[0]), self.event, self.observation, self.transfer_id, now, self.policy)
        else:
            number = active_number(rows, self.received.to_number)
            if number is None or not self.event.status.is_final:
                return Unknown()
            call, kept = self.received.prepare(rows, number, now)
            call = replace(call, status=CallStatus.RINGING, answered_at=None, platform_failed=True)
            rows.insert(calls, {**kept, **row_of(call)})
        return move(rows, call, self.event, self.observation, self.transfer_id, now, self.policy)


def _organisations_of(located: Rows, twilio_call_sid: str, to_number: str) -> tuple[str, ...]:
    known = located.find(calls, "twilio_call_sid", twilio_call_sid)
    if known:
        return (known[0]["org_id"],)
    number = active_number(located, to_number)
    return () if number is None else (number["org_id"],)
