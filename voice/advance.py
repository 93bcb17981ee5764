"""The one function that moves a call.

`advance(call, event, now, policy)` gives the call as it then stands and the effects that follow, money first.
Invariant: statuses only rise, a reservation ends once, a final status and its settlement appear together, and any
order, loss or repetition of what the carrier sends leads to the same end.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from voice.call import Call, Policy
from voice.connected_time import Fact, add
from voice.effects import Alert, Ask, Dial, Effect, Extract, HangUp, LimitTime, Notify
from voice.events import (
    CarrierAsked,
    CarrierForgot,
    DialAccepted,
    DialNotFound,
    DialRefused,
    DialUnanswered,
    EndedByHand,
    Event,
    HangUpDelayed,
    HangUpRequested,
    PlatformFailed,
    StatusReported,
    TimePassed,
    VerdictReported,
)
from voice.schedule import next_hang_up_at, outlived_at, schedule, verdict_is_overdue
from voice.settlement import decide
from voice.vocabulary import AnsweredBy, CallStatus, DialState

MACHINE_LIMIT_MS = 120_000
"""A machine verdict makes the call free, so it may last this long and no longer."""
OVERTIME_MS = 10_000
"""The carrier ends a call at its maximum; we do so this much later if it has not."""
ENDED_BY_HAND = "ended_by_hand"
FORGOTTEN_MESSAGE = "The carrier knows nothing of this call any more. Nothing was charged."
ENDED_BY_HAND_MESSAGE = "This call was ended by hand. Nothing was charged."

Decision = tuple[Call, tuple[Effect, ...]]


def advance(call: Call, event: Event, now: int, policy: Policy) -> Decision:
    """The call after the event, and what must be done. An event that says nothing new changes nothing."""
    if (stray := _stray_sid(call, event)) is not None:
        if isinstance(event, CarrierAsked):  # looked up by its numbers before the call's own id came: nobody's claim
            return call, ()
        alert = Alert("stray_call", f"a second carrier call claims to be call {call.id}; it is hung up, unpaid")
        return call, (HangUp(stray), alert)
    moved, effects = _HANDLERS[type(event)](call, event, now, policy)
    moved, bound = _after_binding(call, moved, now)
    moved, money = decide(moved, now)
    moved = replace(moved, connected_at=_connected_at(moved))
    notices = tuple(_notices(call, moved))
    moved = schedule(moved, policy)
    if moved != call:
        moved = replace(moved, updated_at=max(now, call.updated_at))
    return moved, (*money, *effects, *bound, *notices, *_extraction(call, moved))


def fact_of(call: Call, event: Event, now: int, policy: Policy) -> Fact | None:
    """What an event says about connected time, given the call before it; None where it is no evidence."""
    if _stray_sid(call, event) is not None:
        return None
    match event:
        case StatusReported(status=status) if status.is_final:
            completed = status is CallStatus.COMPLETED
            return Fact(final_status=status, duration_seconds=event.duration_seconds if completed else None)
        case VerdictReported():
            return Fact(verdict=event.answered_by, detection_ms=event.detection_ms)
        case CarrierAsked(status=status) if status.is_final:
            completed = status is CallStatus.COMPLETED
            overdue = verdict_is_overdue(call, now, policy)
            frees = event.answered_by is not None and event.answered_by.is_free
            verdict = event.answered_by if overdue or frees else None  # a charge needs the callback or its absence
            return Fact(
                final_status=status,
                duration_seconds=event.duration_seconds if completed else None,
                verdict=verdict,
                verdict_overdue=overdue,
            )
        case CarrierAsked(answered_by=AnsweredBy() as who) if who.is_free:
            return Fact(verdict=who)  # its callback was lost, and it is still up
        case CarrierAsked() if verdict_is_overdue(call, now - policy.silence_ms, policy):
            return Fact(verdict_overdue=True)  # it was told us as ended: who asks so long gets no better answer
        case CarrierForgot() if verdict_is_overdue(call, now, policy):
            return Fact(verdict_overdue=True)
        case CarrierForgot() if call.may_ring and now >= outlived_at(call, policy):
            return Fact(final_status=CallStatus.FAILED)  # it knows of no such call, and no call lasts so long
        case EndedByHand() if not call.is_over:
            return Fact(final_status=CallStatus.FAILED)
        case PlatformFailed():
            return Fact(platform_failed=True)
    return None


def create_outbound(call: Call, policy: Policy) -> Decision:
    """A call whose hold was just reserved: what follows its creation."""
    return schedule(call, policy), (Dial(), Notify("call.queued"))


def create_inbound(call: Call, policy: Policy) -> Decision:
    """An inbound call that is about to be answered; the carrier sends no `in-progress` for it."""
    assert call.twilio_call_sid is not None
    assert call.answered_at is not None
    deadline = call.answered_at + call.max_duration_seconds * 1000 + OVERTIME_MS
    answered = replace(call, connected_at=call.answered_at, hang_up_at=deadline)
    limit = LimitTime(call.twilio_call_sid, call.max_duration_seconds)
    return schedule(answered, policy), (limit, Notify("call.answered"))


# -- events ---------------------------------------------------------------------------------------------------------


def _dial_accepted(call: Call, event: DialAccepted, now: int, policy: Policy) -> Decision:
    return _rise(_heard(_bind(call, event.twilio_call_sid), now), CallStatus.INITIATED, now), ()


def _dial_refused(call: Call, event: DialRefused, now: int, policy: Policy) -> Decision:
    if call.dial_state is not DialState.INTENDED:
        return call, ()
    alert = Alert(event.code, f"no call can be placed; callingbox-server doctor says more: {event.message}")
    alerts = (alert,) if event.code == "carrier_refuses_us" else ()
    return _give_up(call, DialState.REFUSED, event.code, event.message, now), alerts


def _dial_unanswered(call: Call, event: DialUnanswered, now: int, policy: Policy) -> Decision:
    if call.dial_state is not DialState.INTENDED:
        return call, ()
    return replace(call, dial_state=DialState.UNKNOWN, unresolved_pair=call.pair), ()


def _dial_not_found(call: Call, event: DialNotFound, now: int, policy: Policy) -> Decision:
    if call.dial_state is not DialState.UNKNOWN:
        return call, ()
    assert call.dial_began_at is not None
    patience = policy.silence_ms + (call.max_duration_seconds * 1000 if event.candidates else 0)
    if now < call.dial_began_at + patience:
        return call, ()
    lost = _give_up(call, DialState.LOST, "dial_lost", "The carrier never confirmed this call.", now)
    return lost, (Alert("dial_lost", f"call {call.id} was never confirmed by the carrier; its hold is released"),)


def _status_reported(call: Call, event: StatusReported, now: int, policy: Policy) -> Decision:
    call = _heard(_bind(call, event.twilio_call_sid), now)
    at = _plausible(call, event.at, now)
    if not event.status.is_final:
        return _rise(call, event.status, at), ()
    return _ended(call, fact_of(call, event, now, policy), at, now, event.sip_response_code), ()


def _verdict_reported(call: Call, event: VerdictReported, now: int, policy: Policy) -> Decision:
    moved = _with_fact(_heard(_bind(call, event.twilio_call_sid), now), fact_of(call, event, now, policy))
    return _limit_free_call(call, moved, now, policy)


def _carrier_asked(call: Call, event: CarrierAsked, now: int, policy: Policy) -> Decision:
    moved, fact = _asked(_bind(call, event.twilio_call_sid), now), fact_of(call, event, now, policy)
    if event.status.is_final:
        return _limit_free_call(call, _ended(moved, fact, now, now, None), now, policy)
    answered = event.answered_at if event.status is CallStatus.IN_PROGRESS else None
    moved = _rise(_with_fact(moved, fact), event.status, _plausible(call, answered, now))
    return _limit_free_call(call, moved, now, policy)


def _carrier_forgot(call: Call, event: CarrierForgot, now: int, policy: Policy) -> Decision:
    alert = Alert("carrier_forgot", f"the carrier knows nothing of call {call.id} any more")
    fact = fact_of(call, event, now, policy)
    if fact is not None and fact.final_status is not None:
        return _failed(_ended(call, fact, now, now, None), "carrier_forgot", FORGOTTEN_MESSAGE), (alert,)
    return _with_fact(_asked(call, now), fact), (alert,)


def _ended_by_hand(call: Call, event: EndedByHand, now: int, policy: Policy) -> Decision:
    """Free, whatever the carrier says later. One whose dial is unresolved is hung up when it turns up."""
    if call.is_over or call.dial_state in (DialState.REFUSED, DialState.LOST):
        return call, ()
    if call.twilio_call_sid is None:
        return _give_up(call, DialState.LOST, ENDED_BY_HAND, ENDED_BY_HAND_MESSAGE, now), ()
    hang_up = (HangUp(call.twilio_call_sid),) if call.final_status is None else ()
    ended = _ended(call, fact_of(call, event, now, policy), now, now, None)
    return _failed(ended, ENDED_BY_HAND, ENDED_BY_HAND_MESSAGE), hang_up


def _hang_up_requested(call: Call, event: HangUpRequested, now: int, policy: Policy) -> Decision:
    if call.status.is_final or call.final_status is not None:
        return call, ()
    call = replace(
        call,
        hang_up_requested_at=call.hang_up_requested_at or now,
        hangup_cause=call.hangup_cause or event.reason,
    )
    return _try_hang_up(call, now)


def _hang_up_delayed(call: Call, event: HangUpDelayed, now: int, policy: Policy) -> Decision:
    return replace(call, hangs_up_on_machine=False), ()


def _platform_failed(call: Call, event: PlatformFailed, now: int, policy: Policy) -> Decision:
    return _with_fact(call, fact_of(call, event, now, policy)), ()


def _time_passed(call: Call, event: TimePassed, now: int, policy: Policy) -> Decision:
    """Do what is due. Claiming is the same write: `asked_at` and the attempt move before anybody is asked."""
    effects: tuple[Effect, ...] = ()
    if call.dial_state is DialState.INTENDED and call.due_at is not None and now >= call.due_at:
        call = replace(call, dial_state=DialState.UNKNOWN, unresolved_pair=call.pair)
        return call, ()
    if call.awaits_extraction and call.due_at is not None and now >= call.due_at:
        return replace(call, asked_at=now), (Extract(),)
    verdict_due = call.awaits_verdict and call.due_at is not None and now >= call.due_at
    if verdict_due or (call.ask_at is not None and now >= call.ask_at):
        call, effects = replace(call, asked_at=now), (Ask(),)
    call, more = _hang_up_if_due(call, now)
    return call, (*effects, *more)


_HANDLERS: dict[type, Callable[[Call, Any, int, Policy], Decision]] = {
    DialAccepted: _dial_accepted,
    DialRefused: _dial_refused,
    DialUnanswered: _dial_unanswered,
    DialNotFound: _dial_not_found,
    StatusReported: _status_reported,
    VerdictReported: _verdict_reported,
    CarrierAsked: _carrier_asked,
    CarrierForgot: _carrier_forgot,
    HangUpRequested: _hang_up_requested,
    HangUpDelayed: _hang_up_delayed,
    PlatformFailed: _platform_failed,
    EndedByHand: _ended_by_hand,
    TimePassed: _time_passed,
}


# -- steps they share -----------------------------------------------------------------------------------------------


def _stray_sid(call: Call, event: Event) -> str | None:
    sid = getattr(event, "twilio_call_sid", None)
    return sid if call.twilio_call_sid is not None and sid not in (None, call.twilio_call_sid) else None


def _bind(call: Call, sid: str) -> Call:
    if call.twilio_call_sid is not None:
        return call
    return replace(call, twilio_call_sid=sid, dial_state=DialState.BOUND, unresolved_pair=None)


def _after_binding(before: Call, call: Call, now: int) -> Decision:
    """A hang-up that waited for the carrier's id, or a call given up that turns out to exist: end it."""
    if before.twilio_call_sid is not None or call.twilio_call_sid is None or call.final_status is not None:
        return call, ()
    if call.hang_up_attempted_at is not None or (call.hang_up_requested_at is None and not call.status.is_final):
        return call, ()
    call = replace(call, hang_up_requested_at=call.hang_up_requested_at or now)
    return _try_hang_up(call, now)


def _heard(call: Call, now: int) -> Call:
    return call if call.is_over else replace(call, heard_at=now)


def _asked(call: Call, now: int) -> Call:
    return call if call.is_over else replace(call, asked_at=now)


def _limit_free_call(before: Call, call: Call, now: int, policy: Policy) -> Decision:
    """From its first machine verdict on, a call is free and soon ends."""
    if call.verdict is None or not call.verdict.is_free or (before.verdict is not None and before.verdict.is_free):
        return call, ()
    limit = now if call.hangs_up_on_machine and not policy.talks else now + MACHINE_LIMIT_MS
    call, effects = _hang_up_if_due(replace(call, hang_up_at=_earlier(call.hang_up_at, limit)), now)
    return call, (*effects, Notify("call.voicemail"))


def _plausible(call: Call, at: int | None, now: int) -> int:
    """The carrier's own time of an event, unless it lies outside the call's life. Its clock may run ahead of ours, as a
    simulated one does that runs fast."""
    latest = now + call.max_duration_seconds * 1000
    return at if at is not None and call.created_at - 5_000 <= at <= latest else now


def _rise(call: Call, status: CallStatus, at: int) -> Call:
    if call.status.is_final:
        return call
    if status is CallStatus.RINGING and call.started_at is None:
        call = replace(call, started_at=min(at, call.answered_at or at))
    if status is CallStatus.IN_PROGRESS and call.answered_at is None:
        deadline = at + call.max_duration_seconds * 1000 + OVERTIME_MS
        call = replace(call, answered_at=at, hang_up_at=_earlier(call.hang_up_at, deadline))
    return replace(call, status=status) if status.rank > call.status.rank else call


def _with_fact(call: Call, fact: Fact | None) -> Call:
    if fact is None:
        return call
    evidence = add(call.evidence, fact)
    return replace(
        call,
        final_status=evidence.final_status,
        carrier_duration_seconds=evidence.duration_seconds,
        verdict=evidence.verdict,
        detection_ms=evidence.detection_ms,
        verdict_overdue=evidence.verdict_overdue,
        platform_failed=evidence.platform_failed,
    )


def _ended(call: Call, fact: Fact | None, at: int, now: int, sip_code: str | None) -> Call:
    call = _with_fact(call, fact)
    call = replace(
        call,
        final_stored_at=call.final_stored_at or now,
        ended_at=call.ended_at or at,
        hangup_cause=call.hangup_cause or _said_by_sip(sip_code),
    )
    if call.final_status is CallStatus.COMPLETED and not call.status.is_final:
        answered = call.answered_at or max(
            call.created_at, (call.ended_at or at) - 1000 * (call.carrier_duration_seconds or 0)
        )
        return _rise(replace(call, answered_at=answered), CallStatus.IN_PROGRESS, at)
    return call


def _failed(call: Call, code: str, message: str) -> Call:
    """The first reason stays."""
    return call if call.error_code is not None else replace(call, error_code=code, error_message=message)


def _said_by_sip(code: str | None) -> str | None:
    """A code of success says nothing about why it ended."""
    return f"SIP {code}" if code is not None and not code.startswith("2") else None


def _give_up(call: Call, dial_state: DialState, code: str, message: str, now: int) -> Call:
    return replace(
        call,
        dial_state=dial_state,
        unresolved_pair=None,
        status=CallStatus.FAILED,
        ended_at=now,
        error_code=code,
        error_message=message,
    )


def _try_hang_up(call: Call, now: int) -> Decision:
    if call.twilio_call_sid is None:
        return call, ()  # remembered; done when the carrier's id is known
    attempted = replace(call, hang_up_attempted_at=now, hang_up_attempts=call.hang_up_attempts + 1)
    return attempted, (HangUp(call.twilio_call_sid),)


def _hang_up_if_due(call: Call, now: int) -> Decision:
    due = next_hang_up_at(call)
    if due is None or now < due:
        return call, ()
    if call.hang_up_requested_at is None:
        machine = call.verdict is not None and call.verdict.is_free
        cause = "voicemail" if machine else "maximum_duration"
        call = replace(call, hang_up_requested_at=now, hangup_cause=call.hangup_cause or cause)
    return _try_hang_up(call, now)


def _connected_at(call: Call) -> int | None:
    """When detection, if any, had ended and a person was on the line."""
    if call.answered_at is None or call.billed_duration_seconds == 0:
        return None
    if not call.amd_asked:
        return call.answered_at
    if call.verdict is None or call.verdict.is_free:
        return None
    return call.answered_at + -(-(call.detection_ms or 0) // 1000) * 1000


def _earlier(first: int | None, second: int) -> int:
    return second if first is None else min(first, second)


def _extraction(before: Call, after: Call) -> tuple[Effect, ...]:
    return (Extract(),) if after.awaits_extraction and not before.awaits_extraction else ()


def _notices(before: Call, after: Call) -> list[Notify]:
    if after.status is before.status or after.status in (CallStatus.QUEUED, CallStatus.INITIATED):
        return []
    if after.status is CallStatus.COMPLETED and after.awaits_result:
        return []  # told when its result is stored
    name = "answered" if after.status is CallStatus.IN_PROGRESS else after.status.value
    return [Notify(f"call.{name}")]
