"""Structured logs on standard error, one line an event.

Invariant: no phone number, transcript, key or token reaches a log line. Fields whose names carry such things are cut;
what looks like one is cut wherever it stands; of an exception only its type and where it happened are written, because
drivers put values into their messages.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

CUT = "[cut]"
_PRIVATE = frozenset(
    {
        "to",
        "from",
        "to_number",
        "from_number",
        "number",
        "e164",
        "email",
        "token",
        "key",
        "api_key",
        "password",
        "text",
        "body",
    }
)
_LOOKS_PRIVATE = re.compile(
    r"\+[1-9]\d{6,14}"  # a phone number
    r"|\b(?:sk|rk|pk|whsec)_[\w-]{6,}"  # a key or signing secret
    r"|(?<=://)[^/\s@]+(?=@)"  # a password in an address
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an e-mail address
)
_SENSITIVE_TYPES = (str, dict, list, tuple)


def configure(level: str) -> None:
    """Send the logs of this process, and of its libraries from WARNING on, to standard error."""
    numeric = logging.getLevelName(level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Discreet("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=max(numeric, logging.WARNING), handlers=[handler])
    logging.getLogger("twilio").setLevel(logging.ERROR)  # it logs requests with their numbers at lower levels
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _place_exception,
            _cut_private,
            structlog.processors.JSONRenderer() if not sys.stderr.isatty() else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _place_exception(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`exc_info` becomes `exception`: types and places, without messages."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is not None:
        event["exception"] = _places(error)
    return event


def _places(error: BaseException) -> str:
    chain: list[str] = []
    following: BaseException | None = error
    while following is not None:
        frames = "".join(traceback.format_tb(following.__traceback__))
        chain.append(f"{frames}{type(following).__name__}")
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\n".join(reversed(chain))


def _cut_private(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name in _PRIVATE:
            event[name] = CUT
        elif isinstance(value, _SENSITIVE_TYPES):
            event[name] = _discreet(value)
    return event


def _discreet(value: Any) -> Any:
    if isinstance(value, str):
        return _LOOKS_PRIVATE.sub(CUT, value)
    if isinstance(value, dict):
        return {name: CUT if name in _PRIVATE else _discreet(inner) for name, inner in value.items()}
    return [_discreet(inner) for inner in value] if isinstance(value, list | tuple) else value


class _Discreet(logging.Formatter):
    """The same for what libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        return str(_discreet(super().format(record)))

    def formatException(
        self, exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _places(exc_info[1]) if exc_info[1] is not None else ""
