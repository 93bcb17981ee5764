"""Structured logs on standard error, one line an event.

Invariant: no phone number, transcript, key or token reaches a log line; fields whose names carry such things are cut.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

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


def _cut_private(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in _PRIVATE & event.keys():
        event[name] = "[cut]"
    return event


def configure(level: str) -> None:
    numeric = logging.getLevelName(level)
    logging.basicConfig(
        stream=sys.stderr, level=max(numeric, logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("twilio").setLevel(logging.ERROR)  # it logs requests with their numbers at lower levels
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _cut_private,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if not sys.stderr.isatty() else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
