"""What the edges ask of the calls: place one, quote one, end one, receive one.

Invariant: an edge never touches a call but through here, and here nothing changes but through the door.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import msgspec
from quart import current_app
from sqlalchemy import Select

from billing.rating import hold_milli_cents
from billing.wallet import pause_message, shortfall_milli_cents
from config.clock import new_id, now_ms
from config.database import Database
from config.door import Door
from config.errors import ApiError, not_found, refused
from config.settings import Settings
from voice.agents.commands import PRIMARY_NUMBER
from voice.call import Call, Policy
from voice.calls import OF_ANYBODY, OF_ORGANISATION, OLDEST_ACTIVE_NUMBER, call_of, row_of
from voice.create_call import CreateCall, QuoteCall
from voice.dialling import NotDiallable, check_number
from voice.events import Event, HangUpRequested, StatusReported
from voice.move_call import MoveCall, Observation
from voice.outbox import Outbox
from voice.outcomes import Moved, Paused, Rejected, Replayed, Unknown
from voice.receive_call import EndInbound, ReceiveCall
from voice.vocabulary import CallStatus, DialState

DIAL_WAIT_SECONDS = 15
POLL_SECONDS = 0.05
RESULT_WAIT_SECONDS = 10
RESULT_POLL_SECONDS = 0.1
JUST_ENDED_MS = 60_000
ANSWERS_PER_CALLER_AND_HOUR = 60
"""One caller is answered this often; RATE_LIMIT_PER_MINUTE=0 lifts it like every other limit."""
KNOWN_NUMBERS = 10_000
"""Remembered at once; one that is forgotten is looked up again."""
T = TypeVar("T")
_NUMBER_LOST = ("invalid_from_number", "number_not_attached")
REPLAYED_HEADER = "Idempotent-Replayed"
_REFUSED_FIELD = {
    "agent_not_outbound": "agent_id",
    "caller_id_not_verified": "from_number",
    "country_not_allowed": "to",
    "invalid_from_number": "from_number",
    "invalid_number": "to",
    "no_number": "from_number",
    "number_not_allowed": "to",
    "number_not_attached": "from_number",
    "number_not_verified": "to",
    "number_unreachable": "to",
}
"""Which field of the request a refusal is about."""


def calls_service() -> "Calls":
    """The service of the running application."""
    service: Calls = current_app.extensions["calls"]
    return service


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked request for a call. `snapshot`: the call's cold columns, but for what its agent has."""

    to_number: str
    from_number: str | None
    max_duration_seconds: int | None
    snapshot: Mapping[str, Any]
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """The worst case of a call, and why it would not be placed (None: it would)."""

    hold_milli_cents: int
    rate_milli_cents_per_minute: int
    max_duration_seconds: int
    refusal: ApiError | None


class _From(NamedTuple):
    """The number that a call comes from; empty where there is none. `number_id`: its row, where it was looked for."""

    e164: str
    number_id: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The service of one process."""

    database: Database
    door: Door
    outbox: Outbox
    settings: Settings
    policy: Policy
    _oldest_numbers: dict[str, _From] = field(default_factory=dict)
    """By organisation."""

    async def place(
        self, org_id: str, wanted: Wanted, idempotency_key: str | None = None, body: Any = None
    ) -> tuple[dict[str, Any], bool]:
        """(the call's row, whether an earlier request with this key had made it), after the carrier has answered.

        Raises ApiError: 400 bad or refused number, 402 paused, 403 suspended, 409 unresolved or key reused, 502, 503.
        """

        async def decide(number: _From) -> Moved | Replayed | Paused | Rejected:
            command = self._command(org_id, wanted, number, idempotency_key, body)
            return await self.door.submit(command, droppable=True)

        result = await self._from_its_number(org_id, wanted, decide)
        match result:
            case Moved(call, created=created):
                return await self._after_dial(org_id, call.id, created=created), False
            case Replayed(call_id):
                try:
                    return await self._after_dial(org_id, call_id, DIAL_WAIT_SECONDS), True
                except ApiError as error:
                    error.headers[REPLAYED_HEADER] = "true"
                    raise
            case Paused(available, hold):
                raise self._paused(available, hold)
            case Rejected():
                raise _rejected(result)

    async def quote(self, org_id: str, wanted: Wanted) -> Quote:
        """What placing this call would hold and could cost at most, and whether it would be placed. Dials nothing."""

        async def decide(number: _From) -> Call | Paused | Rejected:
            return await self.door.submit(QuoteCall(self._command(org_id, wanted, number)))

        try:
            result = await self._from_its_number(org_id, wanted, decide)
        except ApiError as error:
            maximum = wanted.max_duration_seconds or self.settings.max_call_duration_seconds
            rate = self.settings.rate_milli_cents_per_minute
            return Quote(hold_milli_cents(maximum, rate), rate, maximum, error)
        call = result if isinstance(result, Call) else result.call
        assert call is not None, "a refused quote says which call it would have been"
        refusal: ApiError | None = None
        match result:
            case Paused(available, hold):
                refusal = self._paused(available, hold)
            case Rejected():
                refusal = _rejected(result)
        return Quote(call.hold_milli_cents, call.rate_milli_cents_per_minute, call.max_duration_seconds, refusal)

    async def hang_up(self, org_id: str, call_id: str) -> dict[str, Any]:
        """End a call, or cancel it while it rings; a call that is over stays as it is. Raises ApiError 404."""
        observation = Observation(new_id(), "customer", "hangup", {})
        event = HangUpRequested("customer")
        command = MoveCall(event, self.policy, new_id(), call_id=call_id, org_id=org_id, observation=observation)
        if isinstance(await self.door.submit(command), Unknown):
            raise not_found("call", call_id)
        return await self.row(org_id, call_id)

    async def row(self, org_id: str, call_id: str) -> dict[str, Any]:
        """Raises ApiError 404, also for another organisation's call."""
        for row in await self.database.look_up(OF_ORGANISATION, call_id=call_id, org_id=org_id):
            return dict(row)
        raise not_found("call", call_id)

    async def row_with_result(self, org_id: str, call_id: str) -> dict[str, Any]:
        """The row; of a call that has just completed, once its result is stored or RESULT_WAIT_SECONDS are over:
        programs stop asking when they see `completed`. Raises ApiError 404."""
        deadline = asyncio.get_running_loop().time() + RESULT_WAIT_SECONDS
        row = await self.row(org_id, call_id)
        while _is_being_read(row) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(RESULT_POLL_SECONDS)
            row = await self.row(org_id, call_id)
        return row

    async def find(self, call_id: str) -> Call | None:
        """Any organisation's call; for requests that the carrier has signed."""
        for row in await self.database.look_up(OF_ANYBODY, call_id=call_id):
            return call_of(dict(row))
        return None

    async def hear(self, call_id: str, event: Event, observation: Observation) -> Moved | Unknown:
        """The carrier says something about a call of ours."""
        return await self.door.submit(MoveCall(event, self.policy, new_id(), call_id=call_id, observation=observation))

    async def receive(self, sid: str, to_number: str, from_number: str) -> Moved | Paused | Rejected | Unknown:
        """The carrier asks what to do with an inbound call."""
        return await self.door.submit(self._inbound(sid, to_number, from_number))

    async def inbound_ended(
        self, event: StatusReported, to_number: str, from_number: str, observation: Observation
    ) -> Moved | Unknown:
        received = self._inbound(event.twilio_call_sid, to_number, from_number)
        return await self.door.submit(EndInbound(event, self.policy, new_id(), observation, received))

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _from_its_number(self, org_id: str, wanted: Wanted, decide: Callable[[_From], Awaitable[T]]) -> T:
        """Decide for the number that the call comes from: the one asked for, its agent's, or the organisation's oldest.

        A number that was looked for may be released or detached before the decision: then there is another look.
        """
        if wanted.from_number is not None:
            return await decide(_From(wanted.from_number))
        result = await decide(await self._number_of(org_id, wanted.agent_id))
        if isinstance(result, Rejected) and result.code in _NUMBER_LOST:
            self._oldest_numbers.pop(org_id, None)
            result = await decide(await self._number_of(org_id, wanted.agent_id))
        return result

    async def _number_of(self, org_id: str, agent_id: str | None) -> _From:
        """An active number, which is the oldest of its organisation until it is active no more, is remembered."""
        if agent_id is not None:
            return await self._one(PRIMARY_NUMBER, agent_id=agent_id, org_id=org_id)
        if (known := self._oldest_numbers.get(org_id)) is not None:
            return known
        found = await self._one(OLDEST_ACTIVE_NUMBER, org_id=org_id)
        if found.number_id is not None:
            if len(self._oldest_numbers) >= KNOWN_NUMBERS:
                del self._oldest_numbers[next(iter(self._oldest_numbers))]
            self._oldest_numbers[org_id] = found
        return found

    async def _one(self, query: Select[tuple[str, str]], **parameters: str) -> _From:
        found = await self.database.look_up(query, **parameters)
        return _From(found[0]["e164"], found[0]["id"]) if found else _From("")

    def _command(
        self, org_id: str, wanted: Wanted, number: _From, key: str | None = None, body: Any = None
    ) -> CreateCall:
        try:
            region = check_number(wanted.to_number, self.settings.allowed_countries)
        except NotDiallable as refusal:
            raise ApiError(400, refusal.code, refusal.message, field="to") from None
        return CreateCall(
            call_id=new_id(),
            org_id=org_id,
            to_number=wanted.to_number,
            from_number=number.e164,
            number_id=number.number_id,
            rate_milli_cents_per_minute=self.settings.rate_milli_cents_per_minute,
            default_max_duration_seconds=self.settings.max_call_duration_seconds,
            policy=self.policy,
            snapshot=wanted.snapshot,
            max_duration_seconds=wanted.max_duration_seconds,
            agent_id=wanted.agent_id,
            idempotency_key=key,
            region=region,
            body_digest=hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest() if key else "",
        )

    async def _after_dial(
        self, org_id: str, call_id: str, within_seconds: float | None = None, created: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The call's row once its dial has an outcome; the dial goes on even if we stop waiting.

        `created`: the row as it was made, so that it need not be read again."""
        deadline = asyncio.get_running_loop().time() + DIAL_WAIT_SECONDS
        call = await self.outbox.dialled(call_id, within_seconds)
        if created is None or call is None or call.notifies:  # what is told of a call stands in its row
            row = await self.row(org_id, call_id)
        else:
            row = {**created, **row_of(call)}
        while row["dial_state"] == DialState.INTENDED and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)  # another process dials it
            row = await self.row(org_id, call_id)
        if row["dial_state"] == DialState.REFUSED:
            code = row["error_code"]
            raise refused(code, row["error_message"], call_id=call_id, **_field(code))
        return row

    def _paused(self, available: int, hold: int) -> ApiError:
        return ApiError(
            402,
            "calls_paused",
            pause_message(available, hold),
            available_milli_cents=available,
            hold_milli_cents=hold,
            shortfall_milli_cents=shortfall_milli_cents(available, hold),
            add_credits_url=f"{self.settings.public_base_url}/billing/add-credits",
        )

    def _inbound(self, sid: str, to_number: str, from_number: str) -> ReceiveCall:
        return ReceiveCall(
            call_id=new_id(),
            twilio_call_sid=sid,
            to_number=to_number,
            from_number=from_number,
            rate_milli_cents_per_minute=self.settings.rate_milli_cents_per_minute,
            default_max_duration_seconds=self.settings.max_call_duration_seconds,
            policy=self.policy,
            allowed_countries=self.settings.allowed_countries,
            answers_per_caller_and_hour=ANSWERS_PER_CALLER_AND_HOUR if self.settings.rate_limit_per_minute else 0,
        )


def _is_being_read(row: Mapping[str, Any]) -> bool:
    """Whether a result is about to come; what takes longer is not waited for by every reader."""
    just_ended = row["final_stored_at"] is not None and now_ms() - row["final_stored_at"] < JUST_ENDED_MS
    return row["status"] == CallStatus.COMPLETED and row["awaits_result"] and just_ended


def _rejected(result: Rejected) -> ApiError:
    return refused(result.code, result.message, **_field(result.code), **result.figures)


def _field(code: str) -> dict[str, Any]:
    return {"field": _REFUSED_FIELD[code]} if code in _REFUSED_FIELD else {}
