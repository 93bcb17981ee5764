"""What goes wrong, and when: the dice of the network.

Invariant: every answer is a pure function of (plan, seed, key, event), so a run can be replayed. A key
names a call without its SID: "to|from|which attempt at this pair".
"""

from __future__ import annotations

import random
from typing import Annotated, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
CreateFault = Literal["", "throttled", "error_unmade", "error_made", "lost_dropped", "lost_timeout"]


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The probability of each fault, 0 to 1, each thrown by itself."""

    callback_lost: Probability = 0.0
    """A status callback is never sent."""
    callback_repeated: Probability = 0.0
    """It is sent a second time, up to a minute later."""
    callback_reordered: Probability = 0.0
    """It leaves its place in the order, 1 to 10 s late."""
    callback_delayed: Probability = 0.0
    """It comes 10 s to `callback_delay_seconds` late."""
    callback_delay_seconds: Annotated[float, msgspec.Meta(ge=10, le=86_400)] = 180.0
    verdict_lost: Probability = 0.0
    """The verdict is on the Call resource but its callback is never sent."""
    verdict_late: Probability = 0.0
    """It comes 5 s to `callback_delay_seconds` late, perhaps after `completed`."""
    verdict_contradicted: Probability = 0.0
    """A second verdict of the other kind follows 1 to 30 s later (the resource keeps the first)."""
    voice_repeated: Probability = 0.0
    """An inbound call's voice request is made twice at the same moment."""
    voice_late: Probability = 0.0
    """A caller who gives up: the final callback goes out before the voice request."""
    create_lost: Probability = 0.0
    """The call is made; the answer is cut off, or does not come for 30 s and is then cut off."""
    create_error_made: Probability = 0.0
    """HTTP 500, yet the call is made."""
    create_error_unmade: Probability = 0.0
    """HTTP 503, and nothing is made."""
    create_throttled: Probability = 0.0
    """HTTP 429 with code 20429, and nothing is made."""
    fetch_error: Probability = 0.0
    """Fetching or listing answers HTTP 500."""
    fetch_stale: Probability = 0.0
    """Fetching a call that has ended shows it still in progress."""
    update_error: Probability = 0.0
    """Updating answers HTTP 500 and does nothing."""
    slow_answer: Probability = 0.0
    """A REST answer takes 1 to 8 s."""

    @classmethod
    def all_with(cls, probability: float) -> FaultPlan:
        """Every fault with the same probability."""
        names = [name for name in cls.__struct_fields__ if name != "callback_delay_seconds"]
        return msgspec.convert(dict.fromkeys(names, probability), cls)


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one callback. Delays in virtual seconds; an empty list of delays: it is lost."""

    delays: tuple[float, ...] = (0.0,)
    in_order: bool = True
    faults: tuple[str, ...] = ()


def dice(seed: int, *parts: object) -> random.Random:
    """A generator that gives the same numbers for the same seed and parts, in every process."""
    return random.Random("|".join(map(str, (seed, *parts))))


def status_fate(plan: FaultPlan, seed: int, key: str, event: str) -> Fate:
    """What becomes of a status callback."""
    throw = dice(seed, key, "status", event)
    lost, repeated, reordered, delayed = (throw.random() for _ in range(4))
    if lost < plan.callback_lost:
        return Fate((), False, ("callback_lost",))
    delay, faults = 0.0, []
    if delayed < plan.callback_delayed:
        delay, faults = throw.uniform(10, plan.callback_delay_seconds), ["callback_delayed"]
    elif reordered < plan.callback_reordered:
        delay, faults = throw.uniform(1, 10), ["callback_reordered"]
    delays = [delay]
    if repeated < plan.callback_repeated:
        delays.append(delay + throw.choice((0.0, throw.uniform(0, 60))))
        faults.append("callback_repeated")
    return Fate(tuple(delays), delay == 0.0, tuple(faults))


def verdict_fate(plan: FaultPlan, seed: int, key: str) -> Fate:
    """What becomes of a verdict's callback."""
    throw = dice(seed, key, "verdict")
    lost, late = throw.random(), throw.random()
    if lost < plan.verdict_lost:
        return Fate((), False, ("verdict_lost",))
    if late < plan.verdict_late:
        return Fate((throw.uniform(5, plan.callback_delay_seconds),), False, ("verdict_late",))
    return Fate()


def contradiction(plan: FaultPlan, seed: int, key: str, verdict: str) -> tuple[str, float] | None:
    """A second verdict that contradicts the first, and how many seconds after it."""
    throw = dice(seed, key, "contradiction")
    if throw.random() >= plan.verdict_contradicted:
        return None
    return ("machine_start" if verdict in ("human", "unknown") else "human"), throw.uniform(1, 30)


def voice_fault(plan: FaultPlan, seed: int, key: str, *, caller_gives_up: bool) -> str:
    """What happens to an inbound call's voice request: empty, `voice_repeated` or `voice_late`."""
    throw = dice(seed, key, "voice")
    late, repeated = throw.random(), throw.random()
    if caller_gives_up and late < plan.voice_late:
        return "voice_late"
    return "voice_repeated" if repeated < plan.voice_repeated else ""


def create_fault(plan: FaultPlan, seed: int, key: str) -> CreateFault:
    """What becomes of a request that creates something."""
    throw = dice(seed, key, "create")
    table: tuple[tuple[float, CreateFault], ...] = (
        (plan.create_throttled, "throttled"),
        (plan.create_error_unmade, "error_unmade"),
        (plan.create_error_made, "error_made"),
        (plan.create_lost, throw.choice(("lost_dropped", "lost_timeout"))),
    )
    for probability, fault in table:
        if throw.random() < probability:
            return fault
    return ""


def happens(probability: float, seed: int, *parts: object) -> bool:
    """Whether a plain fault of this probability happens to the event that `parts` name."""
    return dice(seed, *parts).random() < probability


def slowness_seconds(plan: FaultPlan, seed: int, *parts: object) -> float:
    """How long a REST answer is held back."""
    throw = dice(seed, "slow", *parts)
    return throw.uniform(1, 8) if throw.random() < plan.slow_answer else 0.0
