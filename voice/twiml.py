"""What the carrier is told to do with a call.

Invariant: built with the carrier's own classes, so that text from customers is always escaped.
"""

from twilio.twiml.voice_response import VoiceResponse

GREETING = "Hello. This is an automated assistant."
PAUSE_SECONDS = 60
FORWARD_SECONDS = 60
RING_SECONDS = 20


def greeting(max_duration_seconds: int) -> str:
    """Speak, then keep the line open; the carrier's time limit ends the call."""
    response = VoiceResponse()
    response.say(GREETING)
    for _ in range(-(-max_duration_seconds // PAUSE_SECONDS)):
        response.pause(length=PAUSE_SECONDS)
    return str(response)


def reject(reason: str = "busy") -> str:
    """Not answered and not billed by the carrier. `reason`: busy, or rejected (a number out of service)."""
    response = VoiceResponse()
    response.reject(reason=reason)
    return str(response)


def forward(e164: str) -> str:
    """Connect the caller with somebody else, for a minute at most; unanswered until that one answers."""
    response = VoiceResponse()
    dial = response.dial(answer_on_bridge=True, time_limit=FORWARD_SECONDS, timeout=RING_SECONDS)
    dial.number(e164)
    return str(response)


def tell_code(code: str) -> str:
    """Say a code digit by digit, three times."""
    response = VoiceResponse()
    for _ in range(3):
        response.say(f"Your CallingBox code is {', '.join(code)}.")
        response.pause(length=1)
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)
