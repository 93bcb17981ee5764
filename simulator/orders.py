"""Reads the form of a REST request about a call, as strictly as Twilio does.

Invariant: pure; what it lets through is complete and in range. Raises RestError otherwise. Parameters that
change nothing here (recording, SIP, branding) are let through unread, as are unknown ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

import phonenumbers
from werkzeug.datastructures import MultiDict

from simulator.calls import DEFAULT_TIME_LIMIT_SECONDS, EVENTS, Hook, Order
from simulator.rest_errors import RestError
from simulator.scripts import REFUSED, magic_digits

PERMITTED_REGIONS = frozenset({"US", "CA"})
MOST_URL_CHARACTERS = 4_000
MOST_TWIML_CHARACTERS = 4_000
_MADE_UP_NUMBER = re.compile(r"^\+1[2-9]\d{2}55501\d\d$")


Form = MultiDict[str, str]


def order(form: Form, own_numbers: Collection[str]) -> Order:
    """The order that a create request makes."""
    to, from_ = form.get("To", "").strip(), form.get("From", "").strip()
    _check_to(to)
    _check_from(from_, own_numbers)
    mode, asynchronous = _detection(form)
    if form.get("ApplicationSid", ""):
        raise RestError(21218, "applications are not simulated")
    voice = hook(form, "Url", "Method", 21205)
    if voice is None and not form.get("Twiml", ""):
        raise RestError(21205)
    if len(form.get("Twiml", "")) > MOST_TWIML_CHARACTERS:
        raise RestError(20001, f"Twiml is longer than {MOST_TWIML_CHARACTERS} characters")
    if form.get("SendDigits", "") and not re.fullmatch(r"[0-9A-D#*wW]{1,32}", form.get("SendDigits", "")):
        raise RestError(21206)
    return Order(
        to=to,
        from_=from_,
        voice=voice,
        twiml="" if voice else form.get("Twiml", ""),
        fallback=hook(form, "FallbackUrl", "FallbackMethod", 21205),
        status_callback=hook(form, "StatusCallback", "StatusCallbackMethod", 21609),
        status_events=_events(form),
        ring_timeout_seconds=integer(form, "Timeout", 1, 600, 60, code=21208),
        time_limit_seconds=time_limit_seconds(form) or DEFAULT_TIME_LIMIT_SECONDS,
        detection_mode="" if form.get("SendDigits", "") else mode,
        detection_timeout_seconds=integer(form, "MachineDetectionTimeout", 3, 59, 30),
        detection_async=asynchronous,
        verdict_callback=hook(form, "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod", 21609),
    )


def time_limit_seconds(form: Form) -> int | None:
    """`TimeLimit`, a minute to a day, or None."""
    return integer(form, "TimeLimit", 60, 86_400, 0) or None


def hook(form: Form, name: str, method_name: str, code: int) -> Hook | None:
    """An address parameter with its method; None when it was not given."""
    url, method = form.get(name, ""), form.get(method_name, "POST").upper()
    if method not in ("GET", "POST"):
        raise RestError(20001, f"{method_name} must be GET or POST")
    if not url:
        return None
    try:
        host, scheme = urlsplit(url).hostname, urlsplit(url).scheme
        _ = urlsplit(url).port
    except ValueError:
        raise RestError(code, name) from None
    bad = scheme not in ("http", "https") or not host or "_" in host or " " in url
    if bad or len(url) > MOST_URL_CHARACTERS:
        raise RestError(code, name)
    return Hook(url, method)


def integer(form: Form, name: str, least: int, most: int, default: int, *, code: int = 20001) -> int:
    """A whole number in a range, or the default when it was not given."""
    text = form.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
        raise RestError(code, f"{name} must be a whole number from {least} to {most}")
    return int(text)


def is_valid_number(text: str) -> bool:
    """Whether a text is a telephone number in E.164; the fictitious +1 ### 555 01xx are."""
    if not re.fullmatch(r"\+[1-9]\d{6,14}", text):
        return False
    if is_fictitious(text):
        return True
    return phonenumbers.is_possible_number(phonenumbers.parse(text))


def is_fictitious(text: str) -> bool:
    """Whether a number is one of those kept for fiction, +1 ### 555 01xx."""
    return _MADE_UP_NUMBER.match(text) is not None


def _check_to(to: str) -> None:
    if not to:
        raise RestError(21201)
    if code := REFUSED.get(magic_digits(to)):
        raise RestError(code, to)
    if not is_valid_number(to):
        raise RestError(21211, to)
    region = phonenumbers.region_code_for_number(phonenumbers.parse(to))
    # A fictitious number of the two countries has no region; one of a Caribbean area code has.
    if region not in PERMITTED_REGIONS and not (region is None and is_fictitious(to)):
        raise RestError(21215, to)


def _check_from(from_: str, own_numbers: Collection[str]) -> None:
    if not from_:
        raise RestError(21213)
    if not is_valid_number(from_):
        raise RestError(21212, from_)
    if from_ not in own_numbers:
        raise RestError(21210, from_)


def _detection(form: Form) -> tuple[str, bool]:
    mode, asynchronous = form.get("MachineDetection", ""), form.get("AsyncAmd", "false")
    if mode not in ("", "Enable", "DetectMessageEnd"):
        raise RestError(20001, "MachineDetection must be Enable or DetectMessageEnd")
    if asynchronous not in ("true", "false"):
        raise RestError(20001, "AsyncAmd must be the text true or false")
    for name, least, most in (
        ("MachineDetectionSpeechThreshold", 1_000, 6_000),
        ("MachineDetectionSpeechEndThreshold", 500, 5_000),
        ("MachineDetectionSilenceTimeout", 2_000, 10_000),
    ):
        integer(form, name, least, most, least)
    return mode, asynchronous == "true"


def _events(form: Form) -> frozenset[str]:
    """Each event is a parameter of its own: several joined in one are refused."""
    given = form.getlist("StatusCallbackEvent") or ["completed"]
    if unknown := [event for event in given if event not in EVENTS]:
        raise RestError(21626, repr(unknown[0]))
    return frozenset(given)
