"""What the carrier is told when a call is picked up, or when a conversation has to begin again.

Invariant: every answer that opens a relay carries a fresh single-use ticket.
"""

from urllib.parse import quote

from quart import current_app

from config.database import Database
from config.settings import Settings
from voice import twiml
from voice.call import Call
from voice.calls import find_call
from voice.conversation.events import ResumeReason
from voice.live.briefing import spoken_language
from voice.live.switchboard import RELAY_PATH, TICKET_PARAMETER, Switchboard

RESUME_AFTER_SECONDS = (0, 2, 5)
"""How long the carrier waits before it comes again, by how often a socket was lost: a process that restarts needs some
seconds."""
WHILE_DRAINING_SECONDS = 5


async def first_words(call: Call, resumed: ResumeReason | None = None, losses: int = 0) -> str:
    """TwiML that puts the agent on the line; where this server has no language model, a greeting.

    `losses`: how often the conversation has lost its socket before.
    """
    switchboard: Switchboard | None = current_app.extensions["switchboard"]
    if switchboard is None:
        return twiml.greeting(call.max_duration_seconds)
    settings: Settings = current_app.extensions["settings"]
    database: Database = current_app.extensions["database"]
    token = await switchboard.open_ticket(call.id, call.org_id, resumed)
    async with database.read() as connection:
        row = await find_call(connection, call.org_id, call.id)
    assert row is not None
    after = RESUME_AFTER_SECONDS[min(losses, len(RESUME_AFTER_SECONDS) - 1)] if resumed else 0
    return twiml.converse(
        settings.public_base_url.replace("http", "ws", 1) + RELAY_PATH,
        f"{settings.public_base_url}/webhooks/twilio/calls/{quote(call.id)}/relay",
        {TICKET_PARAMETER: token},
        language=spoken_language(row["language"]),
        voice=row["voice"],
        after_seconds=max(after, WHILE_DRAINING_SECONDS) if switchboard.is_draining else after,
    )
