"""Who answers an inbound call and with what words, who is turned away, and where callers go while calls are paused.

Invariant: nothing here reserves or charges; a caller who is turned away costs nobody anything. The order is: the
number's inbound agent, else its own inbound set-up, else the default agent; a number whose inbound is disabled and
that has no inbound agent rejects.
"""

from collections.abc import Collection, Mapping
from typing import Any

from billing.spending import CODES, Scope
from config.rows import Read, Row, Rows, Stale
from voice.agents.commands import DEFAULTS, call_snapshot
from voice.agents.tables import agents, blocked_callers, callers
from voice.dialling import NotDiallable, check_number
from voice.tables import numbers
from voice.vocabulary import ANONYMOUS

DEFAULT_PROMPT = (
    "Answer the telephone. Greet the caller, find out what they want, and take a message: their name, their number "
    "and what it is about. Read the number back, and promise nothing but to pass the message on."
)
"""What the default agent is told: that of a number nobody has set up."""
MOST_FORWARDS_A_DAY = 10
ANONYMOUS_CALLERS = 10
"""So many callers those without a number are taken for: one of them must not lock the others out."""
TURNED_AWAY = (
    "calls_paused",
    "organisation_suspended",
    "caller_blocked",
    "inbound_disabled",
    "caller_rate_limited",
    *CODES[Scope.ORGANISATION],
)
"""The `error_code` of calls that were never answered; they are no usage."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def reads_for(number: Row | None, caller: str) -> list[Read]:
    """What the functions below look at."""
    if number is None:
        return []
    caller_id = f"{number['org_id']}:{caller}"
    agent_ids = [number["inbound_agent_id"]] if number["inbound_agent_id"] is not None else []
    return [
        Read(agents, "id", agent_ids),
        Read(blocked_callers, "id", (caller_id,)),
        Read(callers, "id", (caller_id,)),
    ]


def answering_agent(rows: Rows, number: Row) -> Row | None:
    agent_id = number["inbound_agent_id"]
    if agent_id is None:
        return None
    agent = rows.get(agents, agent_id)
    if agent is None:
        raise Stale("an agent was attached between our looking for the number and our locking it")
    return agent


def inbound_snapshot(number: Mapping[str, Any], agent: Mapping[str, Any] | None) -> dict[str, Any]:
    """The cold columns of the call."""
    if agent is not None:
        return call_snapshot(agent, {})
    given = {name: number[f"inbound_{name}"] for name in ("prompt", "webhook_url", *DEFAULTS)}
    defaults = {**DEFAULTS, "prompt": DEFAULT_PROMPT, "tools": None}
    kept = {name: defaults.get(name) if value is None else value for name, value in given.items()}
    return {**kept, "result_status": "pending" if kept["returns"] else "skipped"}


def refusal(rows: Rows, number: Row, caller: str, limit_per_hour: int, now: int) -> tuple[str, str] | None:
    """(code, sentence) for a caller who is turned away. `limit_per_hour` 0: no limit."""
    caller_id = f"{number['org_id']}:{caller}"
    blocked = rows.get(blocked_callers, caller_id)
    if blocked is not None and blocked["removed_at"] is None:
        return "caller_blocked", "The caller is on your list of blocked callers."
    if number["inbound_agent_id"] is None and not number["inbound_enabled"]:
        return "inbound_disabled", "No agent answers this number."
    known = rows.get(callers, caller_id)
    answered = known["calls"] if known is not None and known["hour"] == now // HOUR_MS else 0
    is_anonymous = caller == ANONYMOUS
    most = limit_per_hour * ANONYMOUS_CALLERS if is_anonymous else limit_per_hour
    if limit_per_hour and answered >= most:
        who = "Callers without a number were" if is_anonymous else "The caller was"
        return "caller_rate_limited", f"{who} answered {most} times within the hour."
    return None


def count_answer(rows: Rows, org_id: str, caller: str, now: int) -> None:
    """A caller is about to be answered."""
    caller_id, hour = f"{org_id}:{caller}", now // HOUR_MS
    known = rows.get(callers, caller_id)
    if known is None:
        rows.insert(callers, {"id": caller_id, "hour": hour, "calls": 1})
    else:
        rows.update(callers, caller_id, {"hour": hour, "calls": known["calls"] + 1 if known["hour"] == hour else 1})


def forward(rows: Rows, number: Row, allowed_countries: Collection[str], now: int) -> str | None:
    """The number's fallback, if it has one and this day still has room; counts it."""
    fallback, day = number["fallback_number"], now // DAY_MS
    count = number["fallback_count"] if number["fallback_day"] == day else 0
    if fallback is None or count >= MOST_FORWARDS_A_DAY:
        return None
    try:
        check_number(fallback, allowed_countries)
    except NotDiallable:  # the operator has changed where one may call
        return None
    rows.update(numbers, number["id"], {"fallback_day": day, "fallback_count": count + 1})
    return str(fallback)
