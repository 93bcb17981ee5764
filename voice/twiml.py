"""What the carrier is told to do with a call.

Invariant: built with the carrier's own classes, so that text from customers is always escaped.
"""

from twilio.twiml.voice_response import VoiceResponse

GREETING = "Hello. This is an automated assistant."
PAUSE_SECONDS = 60


def greeting(max_duration_seconds: int) -> str:
    """Speak, then keep the line open; the carrier's time limit ends the call."""
    response = VoiceResponse()
    response.say(GREETING)
    for _ in range(-(-max_duration_seconds // PAUSE_SECONDS)):
        response.pause(length=PAUSE_SECONDS)
    return str(response)


def reject() -> str:
    """Not answered and not billed by the carrier."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)
