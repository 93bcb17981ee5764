"""The pages of calls: the list, and a call with its receipt.

Invariant: a charge is called confirmed only after it was worked out again from the evidence.
"""

from quart import Blueprint, redirect, request

from accounts.organisations import keys_of
from config.errors import not_found
from dashboard import urls
from dashboard.call_view import CheckResult, call_page
from dashboard.calls_view import STATES, CallFilters, call_list, first_call
from dashboard.facts import (
    agent_names,
    call_facts,
    evidence_facts,
    spoken,
    transfer_facts,
    transfers_of_calls,
    with_calls,
)
from dashboard.web import (
    AnyResponse,
    clock_of,
    database,
    html,
    inside,
    settings,
    shell,
    wallet_facts,
    who,
)
from voice.calls import evidence_of, find_call, list_calls, oldest_active_number
from voice.live.store import talk_of, turns_of
from voice.receipt import agrees, decisions
from voice.service import calls_service

blueprint = inside(Blueprint("call_pages", __name__))

PAGE_LENGTH = 25
_LIVE = ("queued", "initiated", "ringing", "in_progress")


@blueprint.get("/")
async def home() -> AnyResponse:
    return redirect(urls.CALLS)


@blueprint.get(urls.CALLS)
async def calls_page() -> AnyResponse:
    person = await who()
    filters = CallFilters(
        direction=_one_of(request.args.get("direction", ""), ("inbound", "outbound")),
        state=_one_of(request.args.get("state", ""), tuple(STATES)),
        agent_id=request.args.get("agent", "")[:36],
    )
    before = request.args.get("before") or None
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
        rows = await list_calls(
            connection,
            person.org_id,
            limit=PAGE_LENGTH + 1,
            starting_after=before,
            direction=filters.direction or None,
            statuses=_statuses(filters.state),
            voicemail={"voicemail": True, "no_answer": False}.get(filters.state),
            agent_id=filters.agent_id or None,
        )
        names = await agent_names(connection, person.org_id)
        page_rows = rows[:PAGE_LENGTH]
        moved = await transfers_of_calls(connection, [row["id"] for row in page_rows])
        is_new = not rows and before is None and not filters.narrows
        has_key = is_new and bool(await keys_of(connection, person.org_id))
        has_number = is_new and await oldest_active_number(connection, person.org_id) is not None
    known = dict(names)
    view = call_list(
        [call_facts(row, moved[row["id"]], known.get(row["agent_id"], "")) for row in page_rows],
        filters=filters,
        agents=names,
        live_calls=wallet.live_calls,
        held_milli_cents=wallet.held,
        total=None,
        older_before=page_rows[-1]["id"] if len(rows) > PAGE_LENGTH else None,
        is_first_page=before is None,
        clock=clock_of(person),
        first_call=first_call(wallet, has_key=has_key, has_number=has_number, api_url=settings().public_base_url)
        if is_new
        else None,
    )
    return html("calls.html", page=shell(person, wallet, "Calls", "calls", topics=("calls",)), calls=view)


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else ""


def _statuses(state: str) -> tuple[str, ...]:
    """The stored statuses behind a filter; a voicemail is stored as an unanswered call."""
    match state:
        case "":
            return ()
        case "live":
            return _LIVE
        case "voicemail":
            return ("no_answer",)
        case _:
            return (state,)


@blueprint.get(f"{urls.CALLS}/<call_id>")
async def one_call(call_id: str) -> AnyResponse:
    person = await who()
    async with database().read() as connection:
        row = await find_call(connection, person.org_id, call_id)
        if row is None:
            raise not_found("call", call_id)
        wallet = await wallet_facts(connection, person)
        told = await evidence_of(connection, call_id)
        moved = (await transfers_of_calls(connection, [call_id]))[call_id]
        named = dict(await agent_names(connection, person.org_id))
        ledger = await with_calls(connection, moved)
        said = spoken(await talk_of(connection, call_id), await turns_of(connection, call_id), row["answered_at"])
    facts = call_facts(row, moved, named.get(row["agent_id"], ""))
    check: CheckResult = "unchecked"
    if not facts.is_live:
        check = "agrees" if agrees(row, decisions(row, told)) else "differs"
    view = call_page(
        facts,
        [evidence_facts(item) for item in told],
        [transfer_facts(item) for item in ledger],
        clock=clock_of(person),
        check=check,
        segments=said,
        result_status=row["result_status"],
        result=row["result"],
        result_error=row["result_error"],
        metadata=row["metadata"],
    )
    page = shell(person, wallet, view.number, "calls", topics=("call", "transcript"), call_id=call_id)
    return html("call.html", page=page, call=view)


@blueprint.post(f"{urls.CALLS}/<call_id>/hangup")
async def hang_up(call_id: str) -> AnyResponse:
    await calls_service().hang_up((await who()).org_id, call_id)
    return redirect(urls.call(call_id), 303)
