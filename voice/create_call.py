"""The command that creates an outbound call.

Invariant: the call, its hold, its idempotency key and the intention to dial are one commit. The hold's transfer has
the id of its call.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accounts.keys import is_valid
from accounts.tables import api_keys, organisations
from billing import ledger, limits, low_balance
from billing.posting import HOLD, Posting, Transfer
from billing.rating import Terms, hold_milli_cents
from billing.tables import transfers
from config.rows import Read, Row, Rows
from voice.advance import create_outbound
from voice.agents.commands import OUTBOUND, call_snapshot, own_agent
from voice.agents.tables import agent_numbers, agents, do_not_call
from voice.call import Call, Policy
from voice.calls import active_number, call_of, row_of
from voice.effects import Dial
from voice.notices import tell
from voice.outcomes import Moved, Paused, Rejected, Replayed
from voice.tables import calls, idempotency_keys, numbers
from voice.vocabulary import CallStatus, DialState, ReservationStatus

IDEMPOTENCY_KEPT_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class CreateCall:
    """Reserve the hold and write the intention to dial.

    `snapshot`: the cold columns of the call as they were asked for; what its agent has, if any, joins them here.
    `from_number` is empty where none was given and none could be found.
    """

    call_id: str
    org_id: str
    to_number: str
    from_number: str
    rate_milli_cents_per_minute: int
    default_max_duration_seconds: int
    policy: Policy
    snapshot: Mapping[str, Any]
    max_duration_seconds: int | None = None
    agent_id: str | None = None
    idempotency_key: str | None = None
    body_digest: str = ""
    region: str | None = None
    """Of `to_number`, as `US`."""
    number_id: str | None = None
    """Of the row in which `from_number` was found, where it was looked for: one that came back is another number."""

    @property
    def _key(self) -> str | None:
        return self.snapshot.get("api_key_id")

    @property
    def _pair(self) -> str:
        return f"{self.org_id}:{self.from_number}:{self.to_number}"

    @property
    def _listed_id(self) -> str:
        return f"{self.org_id}:{self.to_number}"

    @property
    def key_id(self) -> str:
        return f"{self.org_id}:{self.idempotency_key}"

    @property
    def _terms(self) -> Terms:
        return Terms(self.rate_milli_cents_per_minute, self.default_max_duration_seconds)

    @property
    def _hold_key(self) -> str:
        return f"{self.call_id}:hold"

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = [
            *limits.reads_for(self.org_id, self._key),
            *low_balance.reads_for(self.org_id),
            Read(calls, "id", (self.call_id,)),
            Read(calls, "unresolved_pair", (self._pair,)),
            Read(numbers, "e164", (self.from_number,)),
            Read(do_not_call, "id", (self._listed_id,)),
            Read(transfers, "source_key", (self._hold_key,)),
        ]
        if self._key is not None:
            reads.append(Read(api_keys, "id", (self._key,)))
        if self.agent_id is not None:
            reads += [Read(agents, "id", (self.agent_id,)), Read(agent_numbers, "agent_id", (self.agent_id,))]
        if self.idempotency_key is not None:
            reads.append(Read(idempotency_keys, "id", (self.key_id,)))
        return reads

    def fold(self, rows: Rows, now: int) -> Moved | Replayed | Paused | Rejected:
        if (row := rows.get(calls, self.call_id)) is not None:  # our own earlier commit, whose answer was lost
            return Moved(call_of(row), (Dial(),))
        key = None if self._key is None else rows.get(api_keys, self._key)
        if key is not None and not is_valid(key, now):  # since the request was let in
            return Rejected("unauthorized", "This API key is not valid: expired or revoked.")
        if (earlier := self._earlier_answer(rows, now)) is not None:
            return earlier
        call = self.judge(rows, now)
        if not isinstance(call, Call):
            return call
        wallet = ledger.wallet_in(rows, self.org_id)
        posting = Posting(self.call_id, self._hold_key, self.org_id, HOLD, call.hold_milli_cents, call_id=self.call_id)
        outcome = ledger.apply(rows, posting, now)
        assert isinstance(outcome, Transfer), outcome
        limits.count_opened(rows, self.org_id, self._key, call.hold_milli_cents, now)
        call, effects = create_outbound(call, self.policy)
        organisation, terms = rows.get(organisations, self.org_id), self._terms
        assert organisation is not None
        rows.insert(calls, {**self._kept(organisation, self._agent(rows)), **row_of(call)})
        tell(rows, call, effects, now)
        after = ledger.wallet_in(rows, self.org_id)
        low_balance.tell_of_wallet(rows, organisation, wallet, after, terms, self._hold_key, now)
        self._remember_key(rows, now)
        return Moved(call, effects, created=rows.get(calls, call.id))

    def judge(self, rows: Rows, now: int) -> Call | Paused | Rejected:
        """The call as it would be created, or why not. Changes nothing."""
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None, "the API key belongs to an organisation"
        agent = self._agent(rows)
        call = self._call(organisation, agent, now)
        if (refusal := self._refusal(rows, organisation, agent)) is not None:
            return replace(refusal, call=call)
        over = limits.over_limit(rows, self.org_id, self._key, call.hold_milli_cents, self.region, now)
        if over is not None:
            return Rejected(over.code, over.message, call, over.figures)
        available = ledger.wallet_in(rows, self.org_id).available
        return Paused(available, call.hold_milli_cents, call) if call.hold_milli_cents > available else call

    def _agent(self, rows: Rows) -> Row | None:
        return None if self.agent_id is None else own_agent(rows, self.agent_id, self.org_id)

    def _kept(self, organisation: Row, agent: Row | None) -> Row:
        """The cold columns as they are written."""
        kept = dict(self.snapshot) if agent is None else call_snapshot(agent, self.snapshot)
        return {**kept, "disclose_ai": organisation["disclose_ai"]}

    def _call(self, organisation: Row, agent: Row | None, now: int) -> Call:
        kept = self._kept(organisation, agent)
        maxima = (
            self.max_duration_seconds,
            agent["max_duration_seconds"] if agent is not None else None,
            organisation["max_call_duration_seconds"],
            self.default_max_duration_seconds,
        )
        maximum = min(each for each in maxima if each is not None)
        return Call(
            id=self.call_id,
            org_id=self.org_id,
            direction="outbound",
            to_number=self.to_number,
            from_number=self.from_number,
            status=CallStatus.QUEUED,
            dial_state=DialState.INTENDED,
            rate_milli_cents_per_minute=self.rate_milli_cents_per_minute,
            max_duration_seconds=maximum,
            hold_milli_cents=hold_milli_cents(maximum, self.rate_milli_cents_per_minute),
            created_at=now,
            updated_at=now,
            amd_asked=True,
            hangs_up_on_machine=kept.get("voicemail_action") != "leave_message",
            agent_id=self.agent_id,
            api_key_id=self._key,
            reservation_status=ReservationStatus.RESERVED,
            dial_began_at=now,
            notifies=bool(organisation["webhook_endpoints"] or kept.get("webhook_url")),
            awaits_result=bool(kept.get("returns")),
        )

    def _refusal(self, rows: Rows, organisation: Row, agent: Row | None) -> Rejected | None:
        if organisation["suspended_at"] is not None:
            return Rejected("organisation_suspended", "This organisation is suspended. Write to support to lift it.")
        if self.agent_id is not None and (agent is None or agent["archived_at"] is not None):
            return Rejected("not_found", f"agent {self.agent_id} not found")
        if agent is not None and agent["type"] != OUTBOUND:
            return Rejected(
                "agent_not_outbound", "`agent_id` names an inbound agent; only outbound agents place calls."
            )
        if not self.from_number:
            whose = (
                "Your organisation has no active phone number" if agent is None else "This agent has no phone number"
            )
            return Rejected("no_number", f"{whose} to call from. Buy, import or attach one first.")
        number = active_number(rows, self.from_number)
        if number is None or number["org_id"] != self.org_id or self.number_id not in (None, number["id"]):
            return Rejected("invalid_from_number", "`from_number` is not an active number of your organisation.")
        link = rows.get(agent_numbers, f"{self.agent_id}:{number['id']}")
        if agent is not None and (link is None or link["removed_at"] is not None):
            return Rejected("number_not_attached", "`from_number` is not attached to this agent.")
        listed = rows.get(do_not_call, self._listed_id)
        if listed is not None and listed["removed_at"] is None:
            return Rejected("number_not_allowed", "`to` is on your do-not-call list.")
        if rows.find(calls, "unresolved_pair", self._pair):
            message = (
                "The outcome of an earlier call between these two numbers is not known yet. "
                "Try again when it is resolved, within a few minutes."
            )
            return Rejected("call_unresolved", message)
        return None

    def _earlier_answer(self, rows: Rows, now: int) -> Replayed | Rejected | None:
        if self.idempotency_key is None:
            return None
        known = rows.get(idempotency_keys, self.key_id)
        if known is None or known["void"] or now - known["created_at"] > IDEMPOTENCY_KEPT_MS:
            return None
        if known["body_digest"] != self.body_digest:
            return Rejected("idempotency_key_reused", "This Idempotency-Key was used with another request body.")
        return Replayed(known["call_id"])

    def _remember_key(self, rows: Rows, now: int) -> None:
        if self.idempotency_key is None:
            return
        values = {"call_id": self.call_id, "body_digest": self.body_digest, "void": False, "created_at": now}
        if rows.get(idempotency_keys, self.key_id) is None:
            rows.insert(idempotency_keys, {"id": self.key_id, **values})
        else:
            rows.update(idempotency_keys, self.key_id, values)


@dataclass(frozen=True, slots=True)
class QuoteCall:
    """What creating this call would lead to, under the same lock and by the same rules, without doing it."""

    create: CreateCall

    def locate(self) -> Sequence[Read]:
        return self.create.locate()

    def organisations(self, located: Rows) -> Iterable[str]:
        return self.create.organisations(located)

    def reads(self, located: Rows) -> Sequence[Read]:
        return self.create.reads(located)

    def fold(self, rows: Rows, now: int) -> Call | Paused | Rejected:
        return self.create.judge(rows, now)
