"""What reaches the log of a process."""

import json
import subprocess
import sys
from typing import Any

CONFIGURED = """
import logging, structlog
from config.logs import configure
configure({level!r})
log = structlog.get_logger("test")
"""


def logged(program: str, level: str = "INFO") -> str:
    """The standard error of a process that does this; nothing may be on its standard output."""
    source = CONFIGURED.format(level=level) + program
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def lines(program: str, level: str = "INFO") -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(program, level).splitlines()]


def test_each_event_is_a_line_of_json() -> None:
    [line] = lines("log.info('call_settled', call_id='01a2', seconds=63)")
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "call_settled", "level": "info", "call_id": "01a2", "seconds": 63}


def test_what_is_below_the_level_is_not_written() -> None:
    assert lines("log.info('quiet'); log.warning('loud')", "WARNING")[0]["event"] == "loud"
    assert logged("log.debug('quiet')") == ""


def test_fields_that_carry_people_or_keys_are_cut() -> None:
    [line] = lines("log.info('asked', to='+14155550123', api_key='sk_live_x', said={'email': 'a@example.com', 'n': 1})")
    assert (line["to"], line["api_key"], line["said"]) == ("[cut]", "[cut]", {"email": "[cut]", "n": 1})


def test_a_number_key_or_address_is_cut_wherever_it_stands() -> None:
    text = logged(
        "log.warning('dial of +14155550123 failed', detail=['sk_live_0123456789', {'a': 'whsec_abcdefgh'}],"
        " url='postgresql+asyncpg://someone:geheim@db.example.com/x', who='ann@example.com')"
    )
    for private in ("4155550123", "0123456789", "abcdefgh", "geheim", "ann@"):
        assert private not in text
    assert "db.example.com" in text


def test_an_exception_says_where_but_not_with_which_values() -> None:
    program = """
def settle(transcript):
    raise ValueError(f"cannot settle {transcript}")
try:
    try:
        settle("my card is 4242")
    except ValueError as error:
        raise RuntimeError("number +14155550123") from error
except RuntimeError:
    log.exception("failed")
"""
    [line] = lines(program)
    assert "in settle" in line["exception"]
    assert line["exception"].index("ValueError") < line["exception"].rindex("RuntimeError")
    assert "4242" not in str(line)
    assert "4155550123" not in str(line)


def test_libraries_are_heard_from_warning_on_and_as_discreetly() -> None:
    program = """
library = logging.getLogger("library")
library.info("chatter")
library.warning("no route to %s", "+14155550123")
try:
    raise KeyError("sk_live_0123456789")
except KeyError:
    library.exception("broken")
logging.getLogger("twilio.http_client").warning("POST To=+14155550123")
"""
    text = logged(program)
    assert "chatter" not in text
    assert "WARNING library no route to [cut]" in text
    assert "ERROR library broken" in text
    assert "KeyError" in text
    assert "0123456789" not in text
    assert "POST" not in text
