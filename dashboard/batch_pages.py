"""The pages of batches: the list, one that is going on, and the form of a new one.

Invariant: nobody is called before the quote of exactly these numbers and terms was shown, and a form that is sent twice
makes one batch.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from quart import Blueprint, redirect, request

from config.clock import new_id
from config.errors import ApiError, refused
from config.http import as_model
from dashboard import batches_view as view
from dashboard import format as fmt
from dashboard import urls
from dashboard.facts import agent_names, ms_of
from dashboard.format import Clock
from dashboard.views import Choice, Form, Paging
from dashboard.web import AnyResponse, clock_of, database, html, inside, page_of, settings, who
from voice.agents.service import agents_service
from voice.batches.queries import STATES, batch_object, list_batches, list_rows, progress_of, row_object
from voice.batches.rows import read_csv
from voice.batches.service import NOT_ONES_OWN, BatchTerms, batches_service

blueprint = inside(Blueprint("batch_pages", __name__))

PAGE_LENGTH = 10
ROWS_LENGTH = 50
REFUSED_SHOWN = 20
FIELDS = (
    "name",
    "agent_id",
    "numbers",
    "start",
    "end",
    "max_concurrent",
    "calls_per_second",
    "attempts",
    "wait_minutes",
)
DEFAULTS = {
    "start": "09:00",
    "end": "17:00",
    "max_concurrent": "5",
    "calls_per_second": "1",
    "attempts": "2",
    "wait_minutes": "15",
}
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")
SHOWN_AT = {
    "body": "numbers",
    "calls": "numbers",
    "retry.attempts": "attempts",
    "retry.wait_seconds": "wait_minutes",
    "window": "end",
    "window.days": "days",
    "window.end": "end",
    "window.start": "start",
}
"""Fields of the API whose faults are shown at another of the form."""


@blueprint.get(urls.BATCHES)
async def all_batches() -> AnyResponse:
    org_id, before = (await who()).org_id, request.args.get("before") or None
    async with database().read() as connection:
        found = await list_batches(connection, org_id, limit=PAGE_LENGTH + 1, starting_after=before)
        shown = found[:PAGE_LENGTH]
        progress = await progress_of(connection, shown)
    outbound = await agents_service().all(org_id, "outbound") if not shown else []
    listed = view.BatchList(
        batches=tuple(view.summary(batch_object(row, progress[row["id"]]), row["created_at"]) for row in shown),
        paging=Paging(
            fmt.count(len(shown), "batch", "batches"),
            newer_url=urls.BATCHES if before else "",
            older_url=urls.batches(before=shown[-1]["id"]) if len(found) > PAGE_LENGTH else "",
        ),
        example=view.example(settings().public_base_url, outbound[0]["id"] if outbound else ""),
    )
    return html("batches.html", page=await page_of("Batches", "batches", topics=("batches",)), view=listed)


# -- one batch --------------------------------------------------------------------------------------------------------


@blueprint.get(f"{urls.BATCHES}/<batch_id>")
async def one_batch(batch_id: str) -> AnyResponse:
    person = await who()
    state, after = request.args.get("state", ""), request.args.get("after") or None
    state = state if state in STATES else ""
    row = await batches_service().row(person.org_id, batch_id)
    async with database().read() as connection:
        batch = batch_object(row, (await progress_of(connection, [row]))[batch_id])
        rows = await list_rows(connection, row, limit=ROWS_LENGTH + 1, starting_after=after, state=state or None)
        names = dict(await agent_names(connection, person.org_id))
    shown = rows[:ROWS_LENGTH]
    choices = (
        (each, words) for each, words in view.STATES.items() if each in ("", state) or batch["progress"].get(each)
    )
    made = view.BatchPage(
        batch=view.summary(batch, row["created_at"]),
        notice=view.notice_of(batch),
        counts=view.counts_of(batch),
        terms=view.terms_of(batch, names.get(batch["agent_id"], "Archived") if batch["agent_id"] else ""),
        actions=view.actions_of(batch["state"]),
        states=tuple(Choice(urls.batch(batch_id, state=each), words, each == state) for each, words in choices),
        rows=tuple(_number_row(row_object(each), each, clock_of(person)) for each in shown),
        paging=Paging(
            fmt.count(len(shown), "number"),
            newer_url=urls.batch(batch_id, state=state) if after else "",
            older_url=urls.batch(batch_id, state=state, after=shown[-1]["id"]) if len(rows) > ROWS_LENGTH else "",
        ),
    )
    return html("batch.html", page=await page_of(made.batch.name, "batches", topics=("batches",)), view=made)


def _number_row(shown: Mapping[str, Any], row: Mapping[str, Any], clock: Clock) -> view.NumberRow:
    again = f"again from {clock.time(row['due_at']).text}" if shown["next_attempt_at"] else ""
    return view.NumberRow(
        line=shown["line"],
        to=shown["to"],
        status=view.row_status(shown),
        attempts=shown["attempts"],
        call_id=shown["call_id"],
        charge=shown["charged_milli_cents"],
        note=shown["message"] or again,
    )


@blueprint.post(f"{urls.BATCHES}/<batch_id>/<any(pause, resume, cancel):action>")
async def switch_batch(batch_id: str, action: Literal["pause", "resume", "cancel"]) -> AnyResponse:
    await batches_service().switch((await who()).org_id, batch_id, action)
    return redirect(urls.batch(batch_id), 303)


# -- a new one --------------------------------------------------------------------------------------------------------


@blueprint.get(urls.NEW_BATCH)
async def new_batch() -> AnyResponse:
    return await _form_page(Form({**DEFAULTS, "agent_id": request.args.get("agent", "")}), WEEKDAYS, ())


@blueprint.post(urls.NEW_BATCH)
async def send_batch() -> AnyResponse:
    """`step` is quote or call; who calls with anything else than what `quoted` names is shown the quote of that."""
    person, form = await who(), await request.form
    values = {name: form.get(name, "").strip() for name in FIELDS}
    days, outcomes = tuple(form.getlist("days")), tuple(form.getlist("outcomes"))
    once = form.get("once", "")[:36] or new_id()
    values["numbers"], raw = _with_heading(values["numbers"], await _file())
    try:
        terms = as_model(BatchTerms, _terms(values, days, outcomes))
        sheet = await batches_service().sheet(read_csv, raw, terms)
        digest = hashlib.sha256(terms.model_dump_json().encode() + raw).hexdigest()
        if form.get("step") == "call" and form.get("quoted") == digest:
            made, _ = await batches_service().create(person.org_id, None, terms, sheet, digest, f"page·{once}")
            return redirect(urls.batch(made["id"]), 303)
        quoted = await batches_service().quote(person.org_id, None, terms, sheet)
        if quoted["code"] in NOT_ONES_OWN:
            raise refused(quoted["code"], quoted["message"])
    except ApiError as error:
        field = str(error.fields.get("field", ""))
        at = SHOWN_AT.get(field, field if field in FIELDS else "")
        sentence = error.message.removeprefix(f"`{field}`: ")  # it stands beside the field
        wrong = Form(values, {at: sentence[:1].upper() + sentence[1:]} if at else {}, "" if at else error.message)
        return await _form_page(wrong, days, outcomes, status=error.status)
    quote = _quote(quoted, clock_of(person))
    return await _form_page(Form(values), days, outcomes, once=once, quote=quote, quoted=digest)


async def _file() -> bytes:
    uploaded = (await request.files).get("file")
    return uploaded.read() if uploaded is not None else b""


def _with_heading(pasted: str, uploaded: bytes) -> tuple[str, bytes]:
    """(what is shown in the form, what is read): numbers alone get the heading that they lack."""
    if uploaded:
        try:
            pasted = uploaded.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            return "", uploaded  # the reader says on which line
    pasted = pasted.replace("\r\n", "\n")  # as forms send what they were shown
    if pasted[:1] in "+0123456789":
        pasted = f"to\n{pasted}"
    return pasted, pasted.encode()


def _terms(values: Mapping[str, str], days: tuple[str, ...], outcomes: tuple[str, ...]) -> dict[str, Any]:
    """As the API's body has them."""
    retry = {
        "outcomes": list(outcomes),
        "attempts": _integer(values["attempts"]),
        "wait_seconds": _integer(values["wait_minutes"], 60),
    }
    return {
        "name": values["name"],
        "agent_id": values["agent_id"],
        "window": {"start": values["start"], "end": values["end"], "days": list(days)},
        "max_concurrent": _integer(values["max_concurrent"]),
        "calls_per_second": _integer(values["calls_per_second"]),
        **({"retry": retry} if outcomes else {}),
        "skip_refused": True,
    }


def _integer(text: str, times: int = 1) -> int | str:
    return int(text) * times if text.isascii() and text.isdigit() and len(text) < 7 else text


def _quote(quoted: Mapping[str, Any], clock: Clock) -> view.Quote:
    begins = ms_of(quoted["first_call_at"])
    return view.Quote(
        calls=quoted["calls"],
        hold=quoted["hold_milli_cents"],
        worst_case=quoted["worst_case_milli_cents"],
        available=quoted["available_milli_cents"],
        calls_at_once=quoted["calls_at_once"],
        max_duration_seconds=quoted["max_duration_seconds"],
        begins="" if begins is None else "at once" if begins <= clock.now_ms + 1000 else clock.full(begins).text,
        message=quoted["message"] or "",
        refused_rows=quoted["refused_rows"],
        refused=tuple(
            view.RefusedLine(row["line"], row["to"] or "", row["message"]) for row in quoted["refused"][:REFUSED_SHOWN]
        ),
    )


async def _form_page(
    form: Form,
    days: tuple[str, ...],
    outcomes: tuple[str, ...],
    *,
    once: str = "",
    quote: view.Quote | None = None,
    quoted: str = "",
    status: int = 200,
) -> AnyResponse:
    found = await agents_service().all((await who()).org_id, "outbound")
    chosen = form.values.get("agent_id")
    made = view.NewBatch(
        form=form,
        agents=tuple(Choice(agent["id"], agent["name"], agent["id"] == chosen) for agent in found),
        days=tuple(Choice(day, words, day in days) for day, words in view.DAYS.items()),
        outcomes=tuple(Choice(name, words, name in outcomes) for name, words in view.OUTCOMES.items()),
        once=once or new_id(),
        quote=quote,
        quoted=quoted,
    )
    return html("batch_new.html", status, page=await page_of("New batch", "batches"), view=made)
