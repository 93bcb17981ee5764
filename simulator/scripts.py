"""What the far end of a call does: answers or not, how long it talks, what the machine detection finds.

A script is chosen by the first that applies: one set for the number, the default one set, the table of
magic numbers below, dice.

Invariant: `choose` is a pure function of its arguments, so the same seed gives the same callee.

Magic numbers, in any North American area code (+1 ### 555 01xx):

    0120 the telephone in the browser, at /    0124 cuts the agent off
                                               0125 silent
                                               0126 a screening robot, then a person
                                               0127 a wrong number
                                               0128 wants no more calls
    0130 human, 67 s, detected after 3.2 s     0140 refused: 21211 not a valid number
    0131 voicemail                             0141 refused: 21215 country not permitted
    0132 fax                                   0142 refused: 21219 not verified (trial account)
    0133 busy                                  0143 refused: 21214 cannot be reached
    0134 no answer                             0144 refused: 21216 blocked
    0135 failed                                0145 refused: 10004 too many calls at once
    0136 canceled by the network               0146 refused: 20429 too many requests (HTTP 429)
    0137 verdict "unknown", 40 s               0147 refused: 13224 invalid number
    0138 no verdict: gone while detecting      0148 refused: 21217 does not appear to be valid
    0139 answered for 0 s                      0149 human who never hangs up
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Verdict = Literal[
    "human",
    "machine_start",
    "machine_end_beep",
    "machine_end_silence",
    "machine_end_other",
    "fax",
    "unknown",
]
CallerName = Literal["silent", "patient", "interrupting", "voicemail", "screener", "wrong_number", "annoyed"]
Unanswered = Literal["busy", "no-answer", "failed", "canceled"]


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One far end. Times are virtual."""

    outcome: str
    """The preset this script began as."""
    ends: Unanswered | None = None
    """The final status of a call that nobody answers; None: it is answered."""
    ring_seconds: Seconds = 4.0
    """From `ringing` to the answer or the refusal. A call that is not answered rings until `Timeout`."""
    talk_seconds: Seconds | None = 67.0
    """From the answer to this side's hang-up; None: it never hangs up itself."""
    verdict: Verdict | None = "human"
    """What detection finds; None: it finds nothing while the call lasts."""
    detection_ms: Annotated[int, msgspec.Meta(ge=0, le=120_000)] = 3_200
    """From the answer to the verdict."""
    beep_seconds: Seconds = 9.0
    """From the answer to a machine's beep, where `DetectMessageEnd` reports."""
    digits: Annotated[str, msgspec.Meta(pattern=r"^[0-9*#]{0,32}$")] = ""
    """Keys pressed at every `<Gather>`; none: nothing is pressed."""
    caller: CallerName = "silent"
    """Who talks with an agent on a relay; see simulator.callers."""
    says: tuple[str, ...] = ()
    """Their lines, in turn; none: their usual ones."""
    by_hand: bool = False
    """Ring until somebody answers or declines through the control interface (a telephone in a browser)."""


PRESETS: dict[str, Script] = {
    script.outcome: script
    for script in (
        Script(outcome="human", caller="patient"),
        Script(outcome="voicemail", verdict="machine_start", detection_ms=4_100, talk_seconds=45.0, caller="voicemail"),
        Script(outcome="fax", verdict="fax", detection_ms=2_600, talk_seconds=20.0),
        Script(outcome="busy", ends="busy"),
        Script(outcome="no-answer", ends="no-answer"),
        Script(outcome="failed", ends="failed"),
        Script(outcome="canceled", ends="canceled"),
        Script(outcome="unknown", verdict="unknown", detection_ms=5_000, talk_seconds=40.0, caller="patient"),
        Script(outcome="no-verdict", verdict=None, talk_seconds=2.0),
        Script(outcome="zero", verdict=None, talk_seconds=0.0),
        Script(outcome="endless", talk_seconds=None),
        Script(outcome="phone", by_hand=True, talk_seconds=None),
        Script(outcome="interrupting", caller="interrupting"),
        Script(outcome="silent"),
        Script(outcome="screener", verdict="machine_start", caller="screener"),
        Script(outcome="wrong-number", caller="wrong_number"),
        Script(outcome="annoyed", caller="annoyed"),
    )
}

MAGIC: dict[str, str] = {
    "0120": "phone",
    "0124": "interrupting",
    "0125": "silent",
    "0126": "screener",
    "0127": "wrong-number",
    "0128": "annoyed",
    "0130": "human",
    "0131": "voicemail",
    "0132": "fax",
    "0133": "busy",
    "0134": "no-answer",
    "0135": "failed",
    "0136": "canceled",
    "0137": "unknown",
    "0138": "no-verdict",
    "0139": "zero",
    "0149": "endless",
}
"""Last four digits → preset."""

REFUSED: dict[str, int] = {
    "0140": 21211,
    "0141": 21215,
    "0142": 21219,
    "0143": 21214,
    "0144": 21216,
    "0145": 10004,
    "0146": 20429,
    "0147": 13224,
    "0148": 21217,
}
"""Last four digits → the error code that creating such a call is refused with."""

WEIGHTS: dict[str, int] = {
    "human": 56,
    "voicemail": 16,
    "no-answer": 10,
    "busy": 5,
    "unknown": 4,
    "failed": 3,
    "fax": 2,
    "no-verdict": 2,
    "canceled": 1,
    "zero": 1,
}
"""How often dice choose each preset, of 100."""

_MAGIC_NUMBER = re.compile(r"^\+1\d{3}555(01\d\d)$")


def magic_digits(number: str) -> str:
    """The last four digits of a number that the table above may name, else an empty text."""
    match = _MAGIC_NUMBER.match(number)
    return match[1] if match else ""


def parse(body: Any) -> Script:
    """A script from the control interface: a preset's name with changes, `{"outcome": …, …}`.

    Raises ValueError naming the field that is wrong.
    """
    if not isinstance(body, dict):
        raise ValueError("a script is a JSON object")
    preset = PRESETS.get(str(body.get("outcome", "human")))
    if preset is None:
        raise ValueError(f"outcome must be one of {', '.join(PRESETS)}")
    return msgspec.convert({**msgspec.structs.asdict(preset), **body}, Script)


def choose(number: str, scripts: Mapping[str, Script], dice: random.Random) -> Script:
    """The script for a call to `number`; `scripts` holds those set, under a number or "default"."""
    script = scripts.get(number) or scripts.get("default")
    if script is not None:
        return script
    if preset := MAGIC.get(magic_digits(number)):
        return PRESETS[preset]
    return _thrown(dice)


def _thrown(dice: random.Random) -> Script:
    [name] = dice.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
    preset = PRESETS[name]
    ring_seconds = round(dice.uniform(2, 25), 1)
    if name in ("no-verdict", "zero"):
        return msgspec.structs.replace(preset, ring_seconds=ring_seconds)
    detection_ms = dice.randint(1_500, 7_700)
    least_seconds = detection_ms / 1000 + 1
    return msgspec.structs.replace(
        preset,
        ring_seconds=ring_seconds,
        detection_ms=detection_ms,
        talk_seconds=round(least_seconds + dice.expovariate(1 / 60), 1),
    )


def detection(script: Script, mode: str, timeout_seconds: int) -> tuple[Verdict, int] | None:
    """What detection will report of this far end, and how many milliseconds after the answer.

    `mode` is MachineDetection's value, empty when detection was not asked for. Nothing found within the
    time-out is reported as `unknown`.
    """
    if not mode or script.verdict is None:
        return None
    verdict, after_ms = script.verdict, script.detection_ms
    if mode == "DetectMessageEnd" and verdict == "machine_start":
        verdict, after_ms = "machine_end_beep", round(script.beep_seconds * 1000)
    if after_ms > timeout_seconds * 1000:
        return "unknown", timeout_seconds * 1000
    return verdict, after_ms
