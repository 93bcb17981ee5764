"""Every state of a call × every event: what changes, or that nothing does.

A cell names what happens, money included; an event that a state's row does not name changes nothing but when the
carrier was last heard or asked.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from msgspec import structs

from tests.voice.stories import ANSWERED, HUMAN, MACHINE, OTHER_SID, RINGING, SID, Story, completed, reported
from voice.call import Call
from voice.effects import Alert, Ask, Dial, Effect, Extract, HangUp, LimitTime, Notify, Refund, Release, Settle
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
    TimePassed,
)
from voice.vocabulary import AnsweredBy, CallStatus

BUSY = reported(CallStatus.BUSY, 12)
REFUSED = DialRefused("invalid_number", "The number is not valid.", 21211)
HANG_UP = HangUpRequested("customer")


def intended() -> Story:
    return Story.outbound().after(1)


def unknown() -> Story:
    return Story.outbound().after(10, DialUnanswered())


def initiated() -> Story:
    return Story.outbound().after(1, DialAccepted(SID))


def answered() -> Story:
    return initiated().after(1, RINGING).after(5, ANSWERED)


def ended() -> Story:
    return answered().after(67, completed())


def billed() -> Story:
    return answered().after(3, HUMAN).after(64, completed())


def lost() -> Story:
    return unknown().after(291, DialNotFound())


STATES: dict[str, Callable[[], Story]] = {
    "intended": intended,
    "intended, to be hung up": lambda: intended().tell(HANG_UP),
    "unknown": unknown,
    "unknown, to be hung up": lambda: unknown().tell(HANG_UP),
    "refused": lambda: intended().tell(REFUSED),
    "lost": lost,
    "lost, then found": lambda: lost().after(5, RINGING),
    "initiated": initiated,
    "ringing": lambda: initiated().after(1, RINGING),
    "answered": answered,
    "human": lambda: answered().after(3, HUMAN),
    "machine": lambda: answered().after(3, MACHINE),
    "being hung up": lambda: answered().after(3, HANG_UP),
    "ended, no verdict yet": ended,
    "billed": billed,
    "voicemail": lambda: answered().after(3, MACHINE).after(2, completed(5)),
    "refunded": lambda: billed().after(1, MACHINE),
    "no verdict": lambda: ended().after(15, TimePassed(), CarrierAsked(SID, CallStatus.COMPLETED, 67)),
    "busy": lambda: initiated().after(5, BUSY),
    "inbound": Story.inbound,
    "inbound, billed": lambda: Story.inbound().after(67, completed()),
}

EVENTS: dict[str, Event] = {
    "dial accepted": DialAccepted(SID),
    "dial refused": REFUSED,
    "dial unanswered": DialUnanswered(),
    "dial not found": DialNotFound(),
    "initiated": reported(CallStatus.INITIATED),
    "ringing": RINGING,
    "in progress": ANSWERED,
    "completed": completed(),
    "busy": BUSY,
    "human": HUMAN,
    "machine": MACHINE,
    "asked: ringing": CarrierAsked(SID, CallStatus.RINGING),
    "asked: in progress": CarrierAsked(SID, CallStatus.IN_PROGRESS),
    "asked: completed": CarrierAsked(SID, CallStatus.COMPLETED, 67),
    "asked: completed, human": CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN),
    "asked: completed, machine": CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.MACHINE),
    "asked: busy": CarrierAsked(SID, CallStatus.BUSY, 12),
    "carrier forgot": CarrierForgot(),
    "hang up": HANG_UP,
    "hang up later": HangUpDelayed(),
    "platform failed": PlatformFailed(),
    "ended by hand": EndedByHand(),
    "time passed": TimePassed(),
    "another call's end": replace(completed(), twilio_call_sid=OTHER_SID),
}

ALWAYS = {
    "carrier forgot": "alert carrier_forgot",
    "hang up later": "will wait for a machine",
    "platform failed": "platform failed",
}
STRAY = {"another call's end": "hang up the other, alert stray_call"}
ENDS_FREE = {"busy": "ended, busy, release, free_busy", "asked: busy": "ended, busy, release, free_busy"}
CONTRADICTED = {"busy": "contradicted", "asked: busy": "contradicted"}
ENDS_UNPAID = {
    "completed": "ended",
    "asked: completed": "ended",
    "asked: completed, human": "ended",  # the REST API's verdict charges nothing before the grace is over
    "asked: completed, machine": "ended, no_answer, machine, release, free_voicemail",
}
LIVE = {
    **ALWAYS,
    **STRAY,
    **ENDS_UNPAID,
    **ENDS_FREE,
    "ended by hand": "ended, failed, release, free_failed, hang up",
    "time passed": "ask",
}
UNVERIFIED = {"human": "human", "machine": "machine, hang up", "hang up": "hang up"}

UNBOUND = {
    **ALWAYS,
    "dial accepted": "bound, initiated",
    "initiated": "bound, initiated",
    "ringing": "bound, ringing",
    "in progress": "bound, in_progress",
    "completed": "bound, ended, in_progress",
    "busy": "bound, ended, busy, release, free_busy",
    "human": "bound, human",
    "machine": "bound, machine, hang up",
    "asked: ringing": "bound, ringing",
    "asked: in progress": "bound, in_progress",
    "asked: completed": "bound, ended, in_progress",
    "asked: completed, human": "bound, ended, in_progress",
    "asked: completed, machine": "bound, ended, no_answer, machine, release, free_voicemail",
    "asked: busy": "bound, ended, busy, release, free_busy",
    "another call's end": "bound, ended, in_progress",  # by no means another: the first to name itself is the call
    "hang up": "to be hung up",
    "ended by hand": "lost, failed, release, free_failed",
}
UNBOUND_TO_BE_HUNG_UP = {
    **UNBOUND,
    "dial accepted": "bound, initiated, hang up",
    "initiated": "bound, initiated, hang up",
    "ringing": "bound, ringing, hang up",
    "in progress": "bound, in_progress, hang up",
    "human": "bound, human, hang up",
    "machine": "bound, machine, hang up",
    "asked: ringing": "bound, ringing, hang up",
    "asked: in progress": "bound, in_progress, hang up",
    "hang up": "=",
}
INTENDED = {"dial refused": "refused, failed, release, free_failed", "dial unanswered": "unknown"}
GIVEN_UP = {
    **ALWAYS,
    "dial accepted": "bound, hang up",
    "initiated": "bound, hang up",
    "ringing": "bound, hang up",
    "in progress": "bound, hang up",
    "completed": "bound, ended",
    "busy": "bound, ended",
    "human": "bound, human, hang up",
    "machine": "bound, machine, hang up",
    "asked: ringing": "bound, hang up",
    "asked: in progress": "bound, hang up",
    "asked: completed": "bound, ended",
    "asked: completed, human": "bound, ended",
    "asked: completed, machine": "bound, ended, machine",
    "asked: busy": "bound, ended",
    "another call's end": "bound, ended",
}
OVER = {**ALWAYS, **STRAY}

TABLE: dict[str, dict[str, str]] = {
    "intended": {**UNBOUND, **INTENDED, "time passed": "unknown"},
    "intended, to be hung up": {**UNBOUND_TO_BE_HUNG_UP, **INTENDED, "time passed": "unknown"},
    "unknown": {**UNBOUND, "time passed": "ask"},
    "unknown, to be hung up": {**UNBOUND_TO_BE_HUNG_UP, "time passed": "ask"},
    "refused": GIVEN_UP,
    "lost": GIVEN_UP,
    "lost, then found": {
        **OVER,
        "completed": "ended",
        "busy": "ended",
        "human": "human",
        "machine": "machine",
        "asked: completed": "ended",
        "asked: completed, human": "ended",
        "asked: completed, machine": "ended, machine",
        "asked: busy": "ended",
        "ended by hand": "ended, hang up",
        "time passed": "hang up",
    },
    "initiated": {
        **LIVE,
        **UNVERIFIED,
        "ringing": "ringing",
        "in progress": "in_progress",
        "completed": "ended, in_progress",
        "asked: ringing": "ringing",
        "asked: in progress": "in_progress",
        "asked: completed": "ended, in_progress",
        "asked: completed, human": "ended, in_progress",
    },
    "ringing": {
        **LIVE,
        **UNVERIFIED,
        "in progress": "in_progress",
        "completed": "ended, in_progress",
        "asked: in progress": "in_progress",
        "asked: completed": "ended, in_progress",
        "asked: completed, human": "ended, in_progress",
    },
    "answered": {**LIVE, **UNVERIFIED},
    "human": {
        **LIVE,
        **UNVERIFIED,
        "human": "=",
        "completed": "ended, completed, settle 5250, billed",
        "asked: completed": "ended, completed, settle 5250, billed",
        "asked: completed, human": "ended, completed, settle 5250, billed",
    },
    "machine": {
        **LIVE,
        "completed": "ended, no_answer, release, free_voicemail",
        "asked: completed": "ended, no_answer, release, free_voicemail",
        "asked: completed, human": "ended, no_answer, release, free_voicemail",
        "asked: completed, machine": "ended, no_answer, release, free_voicemail",
        "hang up": "hang up",
        "time passed": "hang up",
    },
    "being hung up": {**LIVE, **UNVERIFIED, "machine": "machine", "time passed": "hang up"},
    "ended, no verdict yet": {
        **OVER,
        "busy": "contradicted, busy, release, free_busy",
        "asked: busy": "contradicted, busy, release, free_busy",
        "human": "completed, human, settle 5250, billed",
        "machine": "no_answer, machine, release, free_voicemail",
        "asked: completed, machine": "no_answer, machine, release, free_voicemail",
        "ended by hand": "contradicted, failed, release, free_failed",
        "time passed": "ask",
    },
    "billed": {
        **OVER,
        "busy": "contradicted, refund 5250, refund_busy",
        "asked: busy": "contradicted, refund 5250, refund_busy",
        "machine": "machine, refund 5250, refund_voicemail",
        "asked: completed, machine": "machine, refund 5250, refund_voicemail",
        "platform failed": "platform failed, refund 5250, refund_platform_error",
    },
    "voicemail": {**OVER, **CONTRADICTED},
    "refunded": {**OVER, **CONTRADICTED},
    "no verdict": {
        **OVER,
        **CONTRADICTED,
        "human": "human",
        "machine": "machine",
        "asked: completed, human": "human",
        "asked: completed, machine": "machine",
    },
    "busy": {**OVER, "human": "human", "machine": "machine", "asked: completed, machine": "machine"},
    "inbound": {
        **LIVE,
        **UNVERIFIED,
        "completed": "ended, completed, settle 5583, billed",
        "asked: completed": "ended, completed, settle 5583, billed",
        "asked: completed, human": "ended, completed, settle 5583, billed",
        "machine": "machine",
        "hang up later": "=",
    },
    "inbound, billed": {
        **OVER,
        "busy": "contradicted, refund 5583, refund_busy",
        "asked: busy": "contradicted, refund 5583, refund_busy",
        "human": "human",
        "machine": "machine, refund 5583, refund_voicemail",
        "asked: completed, machine": "machine, refund 5583, refund_voicemail",
        "platform failed": "platform failed, refund 5583, refund_platform_error",
        "hang up later": "=",
    },
}


def effect_name(effect: Effect) -> str | None:
    match effect:
        case Settle(amount):
            return f"settle {amount}"
        case Release():
            return "release"
        case Refund(amount, _):
            return f"refund {amount}"
        case HangUp(sid):
            return "hang up" if sid == SID else "hang up the other"
        case Ask():
            return "ask"
        case Alert(kind, _):
            return f"alert {kind}"
        case Dial() | Extract() | LimitTime():
            return type(effect).__name__
        case Notify():
            return None


def what_happens(before: Call, after: Call, effects: tuple[Effect, ...]) -> str:
    def new(name: str) -> bool:
        return bool(getattr(after, name) != getattr(before, name))

    names = [effect_name(effect) for effect in effects]
    money = [name for name in names if name and name.startswith(("settle", "release", "refund"))]
    others = [name for name in names if name and name not in money]
    dial = "bound" if new("twilio_call_sid") else after.dial_state.value
    said = [
        dial if new("dial_state") else None,
        ("ended" if before.final_status is None else "contradicted") if new("final_status") else None,
        after.status.value if new("status") else None,
        after.verdict.value if new("verdict") and after.verdict else None,
        "will wait for a machine" if new("hangs_up_on_machine") else None,
        "platform failed" if new("platform_failed") else None,
        *money,
        after.billing_reason.value if new("billing_reason") and after.billing_reason else None,
        "to be hung up" if new("hang_up_requested_at") and "hang up" not in others else None,
        *others,
    ]
    return ", ".join(part for part in said if part) or "="


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state(state: str, event: str) -> None:
    story = STATES[state]()
    story.now += 1_000
    before = story.call
    if event == "time passed":
        story.now = min((at for at in (before.due_at, before.ask_at) if at is not None), default=story.now + 10**9)
    effects = story.answer_of(EVENTS[event])
    expected = TABLE[state].get(event, "=")
    assert what_happens(before, story.call, effects) == expected
    if expected == "=":
        assert effects == ()
        ignored = ["updated_at", "detection_ms", "carrier_duration_seconds"]  # the evidence may grow
        ignored += [] if before.is_over else ["heard_at", "asked_at", "due_at", "ask_at"]
        assert structs.replace(story.call, **{name: getattr(before, name) for name in ignored}) == before


def test_the_table_names_only_what_exists() -> None:
    assert set(TABLE) == set(STATES)
    assert {event for row in TABLE.values() for event in row} <= set(EVENTS)
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_an_event_told_again_changes_nothing(state: str, event: str) -> None:
    """Not the call, not the money; only a hang-up that a customer repeats is tried again."""
    story = STATES[state]().after(400, EVENTS[event])
    if event == "time passed":
        story.tell(TimePassed())  # one thing after the other
    before = story.call
    effects = story.answer_of(EVENTS[event])
    if event == "hang up" and any(isinstance(effect, HangUp) for effect in effects):
        return
    assert story.call == before
    assert {type(effect) for effect in effects} <= {HangUp, Alert}
    if event not in ("another call's end", "carrier forgot", "dial not found"):
        assert effects == ()
