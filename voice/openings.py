"""What the carrier is told when a call is picked up, or when a conversation has to begin again.

Invariant: every answer that opens a relay carries a fresh single-use ticket.
"""

from typing import Any
from urllib.parse import quote

from quart import current_app

from config.database import Database
from config.settings import Settings
from voice import twiml
from voice.call import Call
from voice.calls import find_call
from voice.relay import PATH, Talks, spoken_language


async def first_words(call: Call, resumed: str | None = None) -> str:
    """TwiML that puts the agent on the line; where this server has no language model, a greeting."""
    talks: Talks | None = current_app.extensions["talks"]
    if talks is None:
        return twiml.greeting(call.max_duration_seconds)
    settings: Settings = current_app.extensions["settings"]
    token = await talks.open_ticket(call.id, call.org_id, resumed)
    row = await _row(call)
    return twiml.converse(
        settings.public_base_url.replace("http", "ws", 1) + PATH,
        f"{settings.public_base_url}/webhooks/twilio/calls/{quote(call.id)}/relay",
        token,
        language=spoken_language(row["language"]),
        voice=row["voice"],
    )


async def _row(call: Call) -> dict[str, Any]:
    database: Database = current_app.extensions["database"]
    async with database.read() as connection:
        row = await find_call(connection, call.org_id, call.id)
    assert row is not None
    return row
