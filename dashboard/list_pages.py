"""The pages of numbers to leave alone: whom nobody here calls, and whose calls are not taken.

Invariant: an entry is named by its number, and only its own organisation's lists are ever read or changed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quart import Blueprint, redirect, request
from sqlalchemy import Table

from accounts.organisations import members_of
from config.errors import not_found
from dashboard import format as fmt
from dashboard import urls
from dashboard.number_pages import plain_number
from dashboard.views import Choice, Form, Paging
from dashboard.web import AnyResponse, database, door, html, inside, page_of, who
from dashboard.workspace_view import BLOCKED_CALLERS, DO_NOT_CALL, ListedRow, ListPage, ListWords
from voice.agents.tables import blocked_callers, do_not_call
from voice.lists import AddToDoNotCall, BlockCaller, RemoveFromDoNotCall, UnblockCaller, find_entry, list_entries
from voice.vocabulary import ANONYMOUS, caller_number

blueprint = inside(Blueprint("list_pages", __name__))

PAGE_LENGTH = 50
LONGEST_NOTE = 200
E164 = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True, slots=True)
class _List:
    table: Table
    words: ListWords
    add: Callable[[str, str, str | None, str], Any]
    """(organisation, number, note, user) → command."""
    remove: Callable[[str, str], Any]


LISTS = {
    urls.DO_NOT_CALL: _List(
        do_not_call,
        DO_NOT_CALL,
        lambda org_id, e164, note, user_id: AddToDoNotCall(org_id, e164, reason=note, user_id=user_id),
        RemoveFromDoNotCall,
    ),
    urls.BLOCKED_CALLERS: _List(
        blocked_callers,
        BLOCKED_CALLERS,
        lambda org_id, e164, note, user_id: BlockCaller(org_id, caller_number(e164), note),
        UnblockCaller,
    ),
}


def _base() -> str:
    """Which list the address is about."""
    return next(base for base in LISTS if request.path.startswith(base))


@blueprint.get(urls.DO_NOT_CALL)
@blueprint.get(urls.BLOCKED_CALLERS)
async def show() -> AnyResponse:
    return await _page(Form())


async def _page(form: Form, status: int = 200) -> AnyResponse:
    base, org_id, before = _base(), (await who()).org_id, request.args.get("before", "")[:20]
    shown = LISTS[base]
    async with database().read() as connection:
        cursor = await find_entry(connection, shown.table, f"{org_id}:{before}") if before else None
        rows = await list_entries(connection, shown.table, org_id, limit=PAGE_LENGTH + 1, before=cursor)
        emails = {member["id"]: member["email"] for member in await members_of(connection, org_id)}
    page_rows = rows[:PAGE_LENGTH]
    view = ListPage(
        url=base,
        tabs=tuple(Choice(each, LISTS[each].words.title, each == base) for each in LISTS),
        words=shown.words,
        rows=tuple(_row(row, emails) for row in page_rows),
        form=form,
        paging=Paging(
            fmt.count(len(page_rows), "number"),
            newer_url=urls.listed(base) if cursor is not None else "",
            older_url=urls.listed(base, before=page_rows[-1]["e164"]) if len(rows) > PAGE_LENGTH else "",
        ),
    )
    return html("listed.html", status, page=await page_of(shown.words.title, "do_not_call"), view=view)


def _row(row: Mapping[str, Any], emails: Mapping[str, str]) -> ListedRow:
    return ListedRow(
        e164=row["e164"],
        added_at=row["created_at"],
        call_id=row.get("call_id"),
        note=row["reason"] or "",
        added_by=emails.get(row.get("user_id") or "", ""),
    )


@blueprint.post(urls.DO_NOT_CALL)
@blueprint.post(urls.BLOCKED_CALLERS)
async def add() -> AnyResponse:
    person, form = await who(), await request.form
    e164, note = plain_number(form.get("number", "")), form.get("note", "").strip()[:LONGEST_NOTE]
    withheld = _base() == urls.BLOCKED_CALLERS and e164.lower() == ANONYMOUS
    if not (withheld or E164.fullmatch(e164)):
        error = "This is not a phone number. Write it as +14155550123."
        return await _page(Form({"number": form.get("number", "")[:40], "note": note}, {"number": error}), status=400)
    await door().submit(LISTS[_base()].add(person.org_id, e164, note or None, person.user_id))
    return redirect(_base(), 303)


@blueprint.post(f"{urls.DO_NOT_CALL}/<e164>/remove")
@blueprint.post(f"{urls.BLOCKED_CALLERS}/<e164>/remove")
async def remove(e164: str) -> AnyResponse:
    if not await door().submit(LISTS[_base()].remove((await who()).org_id, e164)):
        raise not_found("entry", e164)
    return redirect(_base(), 303)
