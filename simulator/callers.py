"""Scripted people and robots at the far end of a conversation.

Invariant: a caller knows only what it has heard; whatever it does is what a telephone can do.

A call's script names its caller and may give it `says`, the lines of this call in order. After its last line a caller
is silent until the script's `talk_seconds` are over, or the agent ends the call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.relay import Caller, Line, RelayEnd, RelaySession, converse, silent

if TYPE_CHECKING:
    from simulator.network import Network

PICKUP_SECONDS = 0.8
THINKING_SECONDS = 0.6
CUTS_IN_AFTER_SECONDS = 1.2
PATIENCE_SECONDS = 5.0  # when the line was dead for a moment, and nobody says anything

PATIENT_LINES = (
    "Hello?",
    "Yes, this is a good moment. Please go ahead.",
    "Yes, that works for me.",
    "Thursday at ten would be best.",
    "Could you tell me how long it will take?",
    "That is fine with me. And what should I bring?",
    "Good. Will I get a written confirmation?",
)
PATIENT_CALLER_LINES = (
    "Hi, I would like to make an appointment for Thursday.",
    "In the morning, if you can.",
    "My name is Alex Example.",
    "Could you tell me how long it will take?",
    "That is fine with me. And what should I bring?",
)
CUT_IN = "Sorry, what is this about?"
WRONG_NUMBER = "I think you have the wrong number."
STOP_CALLING = "Please stop calling me."
GREETING = "Hi, you have reached Alex. I can't come to the phone right now. Please leave a message after the tone."
SCREENER_LINES = (
    "Hi, if you record your name and reason for calling, I'll see if this person is available.",
    "Thank you. Please stay on the line.",
)


async def patient(line: Line) -> None:
    """Answers when the agent has finished. Called, they speak first; calling, they let the agent greet them."""
    calls_us = line.call.direction == "inbound"
    lines = line.call.script.says or (PATIENT_CALLER_LINES if calls_us else PATIENT_LINES)
    begins_at = line.lines_said
    for number in range(begins_at, len(lines)):
        if number or calls_us:
            was_cut_off = line.call.sessions > 1 and number == begins_at
            await line.listen(PATIENCE_SECONDS if was_cut_off else math.inf)
        await line.wait(THINKING_SECONDS if number else PICKUP_SECONDS)
        await line.say(lines[number])


async def interrupting(line: Line) -> None:
    """Lets the agent introduce itself, then cuts into every second answer."""
    lines = line.call.script.says or (PATIENT_LINES[0], CUT_IN, *PATIENT_LINES[1:])
    await line.wait(PICKUP_SECONDS)
    for number in range(line.lines_said, len(lines)):
        if number % 2:
            await _cut_in(line)
        elif number:
            await line.listen()
        await line.say(lines[number])


async def _cut_in(line: Line) -> None:
    """Wait until words that may be interrupted have sounded for a while."""
    while True:
        while not line.mouth.may_be_cut:
            await line.wait(0.05)
        await line.wait(CUTS_IN_AFTER_SECONDS)
        if line.mouth.may_be_cut:
            return


async def voicemail(line: Line) -> None:
    """A greeting that ends with the beep, then only recording."""
    if line.call.sessions > 1:
        return
    greeting = line.call.script.says[0] if line.call.script.says else GREETING
    await line.wait(0.5)
    answered = line.call.answered_at or 0
    await line.say(greeting, max(0.5, answered + line.call.script.beep_seconds - line.clock.now()))


async def screener(line: Line) -> None:
    """A robot asks who calls and why, passes it on, and the person comes on."""
    robot, wait = SCREENER_LINES
    if line.lines_said == 0:
        await line.wait(0.5)
        await line.say(robot)
    if line.lines_said == 1:
        await line.listen()
        await line.say(wait)
        await line.wait(3)
    lines = ("Hello, this is Sam speaking.", *(line.call.script.says or PATIENT_LINES[1:]))
    for number in range(line.lines_said - len(SCREENER_LINES), len(lines)):
        if number:
            await line.listen()
            await line.wait(THINKING_SECONDS)
        await line.say(lines[number])


async def _says_once(line: Line, text: str) -> None:
    """Picks up, hears who it is, says one thing, and waits for what the agent does."""
    if line.lines_said == 0:
        await line.wait(PICKUP_SECONDS)
        await line.say("Hello?")
    if line.lines_said == 1:
        await line.listen()
        await line.wait(THINKING_SECONDS)
        await line.say(text)


async def wrong_number(line: Line) -> None:
    await _says_once(line, WRONG_NUMBER)


async def annoyed(line: Line) -> None:
    """Wants no more calls."""
    await _says_once(line, STOP_CALLING)


CALLERS: dict[str, Caller] = {
    "silent": silent,
    "patient": patient,
    "interrupting": interrupting,
    "voicemail": voicemail,
    "screener": screener,
    "wrong_number": wrong_number,
    "annoyed": annoyed,
}


async def by_script(network: Network, session: RelaySession) -> RelayEnd:
    """The far end that the call's script names."""
    return await converse(network, session, CALLERS[session.call.script.caller])
