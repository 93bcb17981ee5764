"""What the carrier is told to do with a call.

Invariant: built with the carrier's own classes, so that text from customers is always escaped.
"""

from collections.abc import Mapping

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


def converse(
    socket_url: str,
    action_url: str,
    parameters: Mapping[str, str],
    *,
    language: str,
    voice: str | None,
    languages: tuple[str, ...] = (),
    after_seconds: int = 0,
) -> str:
    """Put the agent on the line. Every attribute with a default that bites is set."""
    response = VoiceResponse()
    if after_seconds:
        response.pause(length=after_seconds)
    relay = response.connect(action=action_url, method="POST").conversation_relay(
        url=socket_url,
        language=language,
        voice=voice,
        interruptible="any",
        interrupt_sensitivity="high",
        report_input_during_agent_speech="speech",
        ignore_backchannel=True,
        preemptible=False,
        dtmf_detection=True,
        speech_timeout=700,
        events="speaker-events tokens-played",
    )
    for other in languages:
        relay.language(code=other)
    for name, value in parameters.items():
        relay.parameter(name=name, value=value)
    return str(response)


def transfer(e164: str, caller_id: str, whisper_url: str, action_url: str, time_limit_seconds: int) -> str:
    """Connect with a person, who hears who is calling and accepts with a key; what is left of the maximum limits it."""
    response = VoiceResponse()
    dial = response.dial(
        action=action_url, method="POST", caller_id=caller_id, time_limit=time_limit_seconds, timeout=RING_SECONDS
    )
    dial.number(e164, url=whisper_url, method="POST")
    return str(response)


def whisper(organisation: str, answer_url: str) -> str:
    """What the person hears before the caller does."""
    response = VoiceResponse()
    gather = response.gather(num_digits=1, timeout=8, action=answer_url, method="POST")
    gather.say(f"A call for {organisation}. Press 1 to take it.")
    response.hangup()
    return str(response)


def nothing() -> str:
    """Go on: for a whisper that was accepted."""
    return str(VoiceResponse())


def reject(reason: str = "busy") -> str:
    """Not answered and not billed by the carrier. `reason`: busy, or rejected (a number out of service)."""
    response = VoiceResponse()
    response.reject(reason=reason)
    return str(response)


def forward(e164: str, caller_id: str | None) -> str:
    """Connect the caller with somebody else, for a minute at most; unanswered until that one answers, who sees the
    caller's own number where `caller_id` is None."""
    response = VoiceResponse()
    dial = response.dial(answer_on_bridge=True, caller_id=caller_id, time_limit=FORWARD_SECONDS, timeout=RING_SECONDS)
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
