"""The command that applies an event to a call.

Invariant: the call's row, its evidence, its money and its usage are written by the same fold, so they are committed
together or not at all.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from billing import ledger, limits
from billing.posting import RELEASE, SETTLE, Posting, Transfer
from billing.tables import transfers
from billing.usage import count_call, count_correction
from config.clock import earlier_id
from config.rows import Read, Row, Rows
from voice.advance import advance, fact_of
from voice.call import Call, Policy
from voice.calls import call_of, changes_of
from voice.connected_time import Fact
from voice.effects import Alert, Effect, Refund, Release, Settle
from voice.events import CarrierAsked, Event, PlatformFailed, StatusReported
from voice.live.store import was_opened
from voice.live.tables import relay_tickets
from voice.notices import tell
from voice.outcomes import Moved, Unknown
from voice.tables import calls, evidence, idempotency_keys
from voice.vocabulary import CallStatus, ReservationStatus

OPENS_WITHIN_MS = 5_000
"""Whoever hangs up sooner has not given us the time to speak; that is not our fault."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Where an event came from and what it said, to be kept as evidence."""

    id: str
    source: str
    kind: str
    said: Mapping[str, Any]
    carrier_at: int | None = None

    def key(self, call_id: str, fact: Fact | None) -> str:
        """The same fact told twice has the same key; order and arrival time do not count."""
        told = msgspec.json.encode([self.source, self.kind, self.said, msgspec.to_builtins(fact)], order="sorted")
        return f"{call_id}:{hashlib.sha256(told).hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class MoveCall:
    """Apply an event to a call found by our id or, for inbound ones, by the carrier's.

    `known`: the call as it was seen before; whose it is never changes, so it need not be located.
    """

    event: Event
    policy: Policy
    transfer_id: str
    call_id: str | None = None
    org_id: str | None = None
    twilio_call_sid: str | None = None
    observation: Observation | None = None
    freed_key: str | None = None  # "<org_id>:<idempotency key>" of a call turned away for lack of capacity
    known: Call | None = None

    def locate(self) -> Sequence[Read]:
        return () if self.known is not None else self._itself()

    def _itself(self) -> Sequence[Read]:
        if self.call_id is not None:
            return (Read(calls, "id", (self.call_id,)),)
        assert self.twilio_call_sid is not None
        return (Read(calls, "twilio_call_sid", (self.twilio_call_sid,)),)

    def _row(self, rows: Rows) -> Row | None:
        if self.call_id is not None:
            row = rows.get(calls, self.call_id)
        else:
            row = next(iter(rows.find(calls, "twilio_call_sid", self.twilio_call_sid or "")), None)
        return None if row is None or self.org_id not in (None, row["org_id"]) else row

    def _located(self, located: Rows) -> Mapping[str, Any] | None:
        """At least its id, organisation and key, which never change, and the carrier's id, which once given stays."""
        if self.known is None:
            return self._row(located)
        names = ("id", "org_id", "api_key_id", "twilio_call_sid")
        return {name: getattr(self.known, name) for name in names}

    def _claims(self, row: Mapping[str, Any]) -> str | None:
        """The carrier's id that this event gives the call, where the call has none yet, or another one."""
        sid: str | None = getattr(self.event, "twilio_call_sid", None)
        return None if sid == row["twilio_call_sid"] else sid

    def organisations(self, located: Rows) -> Iterable[str]:
        row = self._located(located)
        return () if row is None else (row["org_id"],)

    def reads(self, located: Rows) -> Sequence[Read]:
        row = self._located(located)
        if row is None:
            return ()
        call_id = row["id"]
        reads = [*self._itself(), Read(transfers, "call_id", (call_id,))]
        reads += limits.reads_for(row["org_id"], row["api_key_id"])
        if self.observation is not None:
            reads.append(Read(evidence, "call_id", (call_id,)))
        if (sid := self._claims(row)) is not None:
            reads.append(Read(calls, "twilio_call_sid", (sid,)))
        if self.freed_key is not None:
            reads.append(Read(idempotency_keys, "id", (self.freed_key,)))
        return [*reads, *reads_of_fault(self.event, self.policy, call_id)]

    def fold(self, rows: Rows, now: int) -> Moved | Unknown:
        row = self._row(rows)
        if row is None:
            return Unknown()
        if self.freed_key is not None and rows.get(idempotency_keys, self.freed_key) is not None:
            rows.update(idempotency_keys, self.freed_key, {"void": True})
        if (sid := self._claims(row)) is not None and rows.find(calls, "twilio_call_sid", sid):
            text = f"what the carrier says of call {row['id']} is about another call of ours; it is not believed"
            return Moved(call_of(row), (Alert("call_mistaken", text),), new=False)
        call = our_fault(rows, call_of(row), self.event, self.observation, self.transfer_id, now, self.policy)
        return move(rows, call, self.event, self.observation, self.transfer_id, now, self.policy)


def reads_of_fault(event: Event, policy: Policy, call_id: str) -> Sequence[Read]:
    """What `our_fault` looks at."""
    return (Read(relay_tickets, "call_id", (call_id,)),) if policy.talks and _is_completion(event) else ()


def our_fault(
    rows: Rows, call: Call, event: Event, told: Observation | None, transfer_id: str, now: int, policy: Policy
) -> Call:
    """A call that completes although no conversation was ever opened: nobody spoke, by our fault. That is kept as
    evidence before what told us of the end, here and for whoever reads it again, so that both decide together."""
    is_ours = call.twilio_call_sid in (None, getattr(event, "twilio_call_sid", None))
    if not policy.talks or not _is_completion(event) or not is_ours or call.final_status is not None:
        return call
    if now - _answered_at(call, event, now) < OPENS_WITHIN_MS or was_opened(rows, call.id):
        return call
    evidence_id = earlier_id(told.id if told is not None else transfer_id, f"{call.id}:unopened")
    observation = Observation(evidence_id, "platform", "failure", {"what": "no conversation was opened"})
    return move(rows, call, PlatformFailed(), observation, transfer_id, now, policy).call


def _is_completion(event: Event) -> bool:
    return isinstance(event, StatusReported | CarrierAsked) and event.status is CallStatus.COMPLETED


def _answered_at(call: Call, event: Event, now: int) -> int:
    """As we heard of it; where that was lost, so long ago as the carrier says that the call lasted."""
    if call.answered_at is not None:
        return call.answered_at
    return max(call.created_at, now - 1000 * (getattr(event, "duration_seconds", None) or 0))


def move(
    rows: Rows,
    before: Call,
    event: Event,
    observation: Observation | None,
    transfer_id: str,
    now: int,
    policy: Policy,
) -> Moved:
    """Evidence, decision, money and usage of one event."""
    fact = fact_of(before, event, now, policy)
    if observation is not None and not _store(rows, before, observation, fact, now):
        return Moved(before, new=False)
    after, effects = advance(before, event, now, policy)
    rows.update(calls, after.id, changes_of(before, after))
    for effect in effects:
        _move_money(rows, after, effect, transfer_id, now)
    _count(rows, before, after)
    _count_spending(rows, before, after, now)
    tell(rows, after, effects, now)
    return Moved(after, effects, new=after != before)


def _store(rows: Rows, call: Call, observation: Observation, fact: Fact | None, now: int) -> bool:
    """Keep the evidence; False if exactly this was told before."""
    key = observation.key(call.id, fact)
    if rows.find(evidence, "source_key", key):
        return False
    told = fact or Fact()
    rows.insert(
        evidence,
        {
            "id": observation.id,
            "org_id": call.org_id,
            "call_id": call.id,
            "source_key": key,
            "source": observation.source,
            "kind": observation.kind,
            "said": dict(observation.said),
            "carrier_at": observation.carrier_at,
            "arrived_at": now,
            "final_status": told.final_status,
            "duration_seconds": told.duration_seconds,
            "verdict": told.verdict,
            "detection_ms": told.detection_ms,
            "verdict_overdue": told.verdict_overdue,
            "platform_failed": told.platform_failed,
        },
    )
    return True


def _move_money(rows: Rows, call: Call, effect: Effect, transfer_id: str, now: int) -> None:
    match effect:
        case Settle(amount):
            end = Posting(transfer_id, f"{call.id}:end", call.org_id, SETTLE, amount, call.id, call.id)
        case Release():
            end = Posting(transfer_id, f"{call.id}:end", call.org_id, RELEASE, 0, call.id, call.id)
        case Refund(amount, reason):
            key = f"{call.id}:refund:{call.billing_amount_milli_cents}"
            end = Posting(transfer_id, key, call.org_id, "refund", amount, call_id=call.id, reason=reason)
        case _:
            return
    outcome = ledger.apply(rows, end, now)
    assert isinstance(outcome, Transfer), f"the ledger refused the end of call {call.id}: {outcome}"


def _count(rows: Rows, before: Call, after: Call) -> None:
    if after.billing_reason is None or after.ended_at is None:
        return
    seconds, charged = after.billed_duration_seconds or 0, after.billing_amount_milli_cents or 0
    if before.billing_reason is None:
        began = after.started_at or after.created_at
        unbilled = max(0, (after.ended_at - began) // 1000 - seconds, (after.duration_seconds or 0) - seconds)
        count_call(
            rows,
            after.org_id,
            after.ended_at,
            connected_seconds=seconds,
            unbilled_seconds=unbilled,
            charged_milli_cents=charged,
        )
    elif (refunded := (before.billing_amount_milli_cents or 0) - charged) > 0:
        count_correction(
            rows,
            after.org_id,
            after.ended_at,
            seconds=(before.billed_duration_seconds or 0) - seconds,
            refunded_milli_cents=refunded,
            all_of_it=charged == 0,
        )


def _count_spending(rows: Rows, before: Call, after: Call, now: int) -> None:
    """What caps and limits are measured by."""
    of, charged = (after.org_id, after.api_key_id), after.billing_amount_milli_cents or 0
    if before.reservation_status is ReservationStatus.RESERVED is not after.reservation_status:
        limits.count_closed(rows, *of, after.hold_milli_cents, charged, now)
    elif (refunded := (before.billing_amount_milli_cents or 0) - charged) > 0:
        [end] = rows.find(transfers, "source_key", f"{after.id}:end")
        limits.count_refunded(rows, *of, refunded, end["created_at"], now)
