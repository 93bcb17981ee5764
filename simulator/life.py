"""The life of one leg, from the queue to its final status: one task each, no thread.

Invariant: what is due earlier in virtual time happens first, and every live call reaches exactly one final
status, unless the whole network is reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from simulator import faults
from simulator.calls import Call, Command, Status
from simulator.scripts import detection
from simulator.twiml import Program, Source, TwimlError, parse

if TYPE_CHECKING:
    from simulator.network import Network

DIAL_SECONDS = 0.5  # from `initiated` to `ringing`, or to the other side's refusal
INBOUND_RING_SECONDS = 1.0
_APPLICATION_ERROR = "<Response><Say>We are sorry, an application error has occurred.</Say></Response>"


async def live(network: Network, call: Call) -> None:
    """Run a call to its end."""
    if call.direction == "inbound":
        await _inbound(network, call)
    else:
        await _outbound(network, call)


async def _until(
    network: Network, call: Call, moment: Callable[[], float], program: asyncio.Task[None] | None = None
) -> Command | None:
    """Wait for a command, for the program's end, or for a moment that may be moved while waiting."""
    watched = {program} if program else set()
    while not call.commands:
        seconds = network.clock.real_seconds_until(moment())
        if seconds <= 0 or (program and program.done()):
            return None
        timeout = None if seconds == inf else seconds
        await asyncio.wait({call.nudge(), *watched}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return call.commands.pop(0)


async def _outbound(network: Network, call: Call) -> None:
    at = call.created_at + call.queue_seconds
    if command := await _until(network, call, lambda: at):
        return network.finish(call, Status.CANCELED, command.at, "api")
    call.dialed_at = at
    network.progress(call, Status.INITIATED, at)
    rings_at = at + DIAL_SECONDS
    if command := await _until(network, call, lambda: rings_at):
        return network.finish(call, Status.CANCELED, command.at, "api")
    if call.script.ends in ("failed", "busy"):
        return network.finish(call, Status(call.script.ends), rings_at, "far_end")
    call.ringing_at = rings_at
    network.progress(call, Status.RINGING, rings_at)
    ending, due = _ring_outcome(call, rings_at)
    command = await _until(network, call, lambda: due)
    if command:
        due = min(max(command.at, rings_at), due)
        ending = {"answer": None, "decline": Status.BUSY}.get(command.name, Status.CANCELED)
    if ending is not None:
        by = "api" if command and command.name == "hang_up" else "far_end"
        return network.finish(call, ending, due, by)
    return await _connected(network, call, due, Source(call.order.voice, call.order.twiml))


def _ring_outcome(call: Call, rings_at: float) -> tuple[Status | None, float]:
    """The final status that ringing comes to, None for an answer, and when, if nobody interferes."""
    script = call.script
    gives_up_at = rings_at + call.order.ring_timeout_seconds
    decided_at = rings_at + script.ring_seconds
    if script.by_hand or script.ends == "no-answer" or decided_at > gives_up_at:
        return Status.NO_ANSWER, gives_up_at
    return (Status(script.ends) if script.ends else None), decided_at


async def _inbound(network: Network, call: Call) -> None:
    at = call.created_at
    call.dialed_at = call.ringing_at = at
    network.progress(call, Status.RINGING, at)
    gives_up = call.script.ends is not None
    fault = faults.voice_fault(network.faults, network.seed, call.key, caller_gives_up=gives_up)
    if fault:
        call.faults.append(fault)
    at += call.script.ring_seconds if gives_up else INBOUND_RING_SECONDS
    program = Program(network, call, at)
    if fault == "voice_late":
        network.finish(call, Status.CANCELED, at, "far_end")
        await network.clock.sleep(5.0)
        await program.fetch(Source(call.order.voice, params={"CallStatus": str(Status.RINGING)}))
        return
    source = await _voice(call, program, repeated=fault == "voice_repeated")
    command = await _until(network, call, lambda: at)
    if gives_up or command:
        network.finish(call, Status.CANCELED, at, "api" if command else "far_end")
        return
    first = next(iter(source.document), None) if source.document is not None else None
    if first is not None and first.tag == "Reject":
        status = Status.BUSY if first.get("reason") == "busy" else Status.NO_ANSWER
        network.finish(call, status, at, "twiml")
        return
    await _connected(network, call, at, source, program)


async def _voice(call: Call, program: Program, *, repeated: bool) -> Source:
    """The first document of an inbound call: from its voice address, its fallback, or an apology."""
    sources = [Source(hook) for hook in (call.order.voice, call.order.fallback) if hook is not None]
    for source in sources:
        try:
            if repeated:
                _, document = await asyncio.gather(program.fetch(source), program.fetch(source))
            else:
                document = await program.fetch(source)
        except TwimlError:
            continue
        return Source(document=document)
    return Source(document=parse(_APPLICATION_ERROR))


async def _connected(network: Network, call: Call, at: float, source: Source, program: Program | None = None) -> None:
    call.answered_at = at
    network.progress(call, Status.IN_PROGRESS, at)
    order = call.order
    found = detection(call.script, order.detection_mode, order.detection_timeout_seconds)
    verdict_at = at + found[1] / 1000 if found else inf
    hangs_up_at = inf if call.script.talk_seconds is None else at + call.script.talk_seconds
    program = program or Program(network, call, at)
    wait_for = None if order.detection_async else found
    speaking = asyncio.create_task(_speak(program, source, wait_for))
    await asyncio.sleep(0)  # TwiML is asked for however short the call is

    def ends_at() -> float:
        return min(hangs_up_at, at + call.time_limit_seconds)

    def next_at() -> float:
        return min(verdict_at, ends_at())

    try:
        while True:
            command = await _until(network, call, next_at, speaking)
            moment, by = ends_at(), "far_end" if hangs_up_at <= ends_at() else "time_limit"
            if speaking.done() and program.at < moment:
                speaking.result()
                moment, by = program.at, "twiml"
            if command and command.at < moment:
                moment, by = max(at, command.at), "far_end" if command.name == "decline" else "api"
            elif not speaking.done() and network.clock.now() < moment:
                moment, by = verdict_at, "nobody"
            if found and verdict_at <= moment and verdict_at < ends_at():
                network.report(call, *found, verdict_at)
                verdict_at = inf
            if command and command.name == "redirect" and by == "api":
                _leave(network, speaking)
                program = Program(network, call, moment)
                speaking = asyncio.create_task(_speak(program, Source(command.hook, command.twiml), None))
            elif by != "nobody" and not (command and command.name == "answer"):
                break
    finally:
        _leave(network, speaking)
    network.finish(call, Status.COMPLETED, moment, by)


async def _speak(program: Program, source: Source, detected: tuple[str, int] | None) -> None:
    """Run the TwiML of a leg; with synchronous detection, only after its verdict."""
    call = program.call
    if detected:
        await program.advance(detected[1] / 1000)
        params = {"AnsweredBy": detected[0], "MachineDetectionDuration": str(detected[1])}
        source = Source(source.hook, source.twiml, source.document, params)
    hung_up = await program.run(source)
    if call.direction == "outbound-dial" and not hung_up:
        await asyncio.Event().wait()  # bridged to its parent until somebody hangs up


def _leave(network: Network, speaking: asyncio.Task[None]) -> None:
    """End a program without waiting: closing a relay's socket may take a while."""
    if not speaking.done():
        speaking.cancel()
        network.courier.spawn(asyncio.gather(speaking, return_exceptions=True))
