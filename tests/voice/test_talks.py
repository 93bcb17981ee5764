"""Who may write a call's transcript: of the sessions that have had the conversation, each its own rows alone."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, update

from config.database import Database
from config.door import Door
from tests.databases import alter
from voice.conversation.actions import MarkLatency, StoreSegment
from voice.live.store import IssueTicket, StoreTalk, talk_of, turns_of
from voice.live.tables import relay_tickets

CALL, ORG = "call-1", "org-1"
OLDER, NEWER = "older", "newer"


@pytest.fixture
async def two_sessions(database: Database, door: Door) -> Door:
    """A door behind which a second socket has taken the call's conversation over."""
    for used_at, ticket_id in enumerate((OLDER, NEWER), start=1):
        await door.submit(IssueTicket(CALL, ORG, ticket_id))
        statement = update(relay_tickets).where(relay_tickets.c.id == ticket_id).values(used_at=used_at)
        await alter(database.url, partial(Connection.execute, statement=statement))
    return door


def said(sequence_no: int, text: str, **changes: Any) -> StoreSegment:
    return replace(StoreSegment(sequence_no, "person", text, None, 5, None, "speech"), **changes)


async def store(door: Door, ticket_id: str, *pieces: StoreSegment, **more: Any) -> bool:
    return await door.submit(StoreTalk(CALL, ORG, ticket_id, pieces, **more))


async def transcript(database: Database) -> list[tuple[int, str]]:
    async with database.read() as connection:
        return [(row["sequence_no"], row["text"]) for row in await talk_of(connection, CALL)]


async def test_a_session_that_was_replaced_adds_nothing(database: Database, two_sessions: Door) -> None:
    assert await store(two_sessions, OLDER, said(0, "To nobody."), latencies=(MarkLatency(0, 9, 9),)) is False
    assert await transcript(database) == []
    async with database.read() as connection:
        assert await turns_of(connection, CALL) == []


async def test_it_does_not_overwrite_what_the_newer_one_has_said_under_the_same_number(
    database: Database, two_sessions: Door
) -> None:
    assert await store(two_sessions, NEWER, said(0, "To the newer.")) is True
    assert await store(two_sessions, OLDER, said(0, "To nobody.")) is False
    assert await transcript(database) == [(0, "To the newer.")]


async def test_when_a_piece_began_is_told_again_with_its_end(database: Database, two_sessions: Door) -> None:
    """What waited to be spoken may have begun sooner than was expected when it was sent."""
    await store(two_sessions, NEWER, said(0, "", started_at=4_000))
    await store(two_sessions, NEWER, said(0, "Said.", started_at=1_000, ended_at=3_000))
    async with database.read() as connection:
        [row] = await talk_of(connection, CALL)
    assert (row["started_at"], row["ended_at"]) == (1_000, 3_000)


async def test_it_may_finish_what_it_has_begun_and_nobody_else_may(database: Database, two_sessions: Door) -> None:
    assert await store(two_sessions, OLDER, said(0, "Begun"), is_handing_over=True) is False
    assert await store(two_sessions, NEWER, said(0, "Not mine"), said(1, "Mine")) is True
    assert await store(two_sessions, OLDER, said(0, "Begun and ended", ended_at=9), said(1, "Not mine")) is False
    assert await transcript(database) == [(0, "Begun and ended"), (1, "Mine")]
