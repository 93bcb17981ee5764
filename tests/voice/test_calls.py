"""Listing calls: whatever a list is narrowed to, it shows what a look at every call would find, page after page."""

import random
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from config.clock import new_id
from config.database import Database
from tests.databases import alter
from voice.calls import list_calls
from voice.tables import calls
from voice.vocabulary import CallStatus

AGENTS = (None, "0198f3c2-0000-7000-8000-00000000000a", "0198f3c2-0000-7000-8000-00000000000b")
DIRECTIONS = ("inbound", "outbound")
LIVE = ("queued", "initiated", "ringing", "in_progress")


async def some_calls(database: Database, org_id: str, count: int) -> list[dict[str, Any]]:
    """Oldest first."""
    dice = random.Random(7)
    made = [
        {
            **dict.fromkeys((column.name for column in calls.c), None),
            **dict.fromkeys((column.name for column in calls.c if column.type.python_type is int), 0),
            **dict.fromkeys((column.name for column in calls.c if column.type.python_type is bool), False),
            "id": new_id(),
            "org_id": org_id,
            "direction": dice.choice(DIRECTIONS),
            "to_number": "+14155550123",
            "from_number": "+14155550100",
            "status": dice.choice([*CallStatus]).value,
            "dial_state": "accepted",
            "verdict": dice.choice((None, "human", "machine", "fax", "unknown")),
            "agent_id": dice.choice(AGENTS),
        }
        for _ in range(count)
    ]

    def write(connection: Connection) -> None:
        connection.execute(insert(calls), made)

    await alter(database.url, write)
    return made


def is_voicemail(call: dict[str, Any]) -> bool:
    return (call["status"], call["verdict"]) == ("no_answer", "machine")


@pytest.mark.parametrize(
    ("statuses", "voicemail"),
    [
        ((), None),
        (LIVE, None),
        (("completed",), None),
        (("no_answer",), None),
        (("no_answer",), True),
        (("no_answer",), False),
        (("canceled", "ringing"), None),
    ],
)
async def test_a_filter_shows_what_a_look_at_every_call_would(
    database: Database, statuses: tuple[str, ...], voicemail: bool | None
) -> None:
    org_id = new_id()
    made = await some_calls(database, org_id, 400)
    await some_calls(database, new_id(), 50)
    for direction, agent_id in product((None, *DIRECTIONS), AGENTS):
        wanted = [
            call["id"]
            for call in reversed(made)
            if direction in (None, call["direction"])
            and agent_id in (None, call["agent_id"])
            and (not statuses or call["status"] in statuses)
            and voicemail in (None, is_voicemail(call))
        ]
        only: dict[str, Any] = {
            "direction": direction,
            "statuses": statuses,
            "agent_id": agent_id,
            "voicemail": voicemail,
        }
        async with database.read() as connection:
            found: list[str] = []
            while page := await list_calls(
                connection, org_id, limit=17, starting_after=found[-1] if found else None, **only
            ):
                found += [call["id"] for call in page]
            assert found == wanted, only
            if len(wanted) > 5:
                back = await list_calls(connection, org_id, limit=3, ending_before=wanted[5], **only)
                assert [call["id"] for call in back] == wanted[2:5]
