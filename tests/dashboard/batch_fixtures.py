"""Batches of the fixtures' organisation, in every state."""

from typing import Any

from dashboard import batches_view as view
from dashboard.calls_view import Status
from dashboard.views import Choice, Form, Paging
from tests.dashboard import fixtures as fx

WEEK = {"start": "09:00", "end": "17:00", "days": ["mon", "tue", "wed", "thu", "fri"], "timezone": None}


def batch(state: str, *, waiting: int = 0, calling: int = 0, done: int = 0, **more: Any) -> dict[str, Any]:
    """As the API shows one."""
    rest = {"skipped": more.pop("skipped", 0), "canceled": more.pop("canceled", 0)}
    progress = {"waiting": waiting, "calling": calling, "done": done, **rest}
    outcomes = {"completed": done - done // 4, "voicemail": done // 4, "fax": 0, "no_answer": 0, "busy": 0}
    return {
        "id": "0198f3c2-5a61-7d3c-8f0e-2b1a4c5d6e7f",
        "name": "Reminders for Tuesday",
        "state": state,
        "message": None,
        "window": WEEK,
        "max_concurrent": 5,
        "calls_per_second": 1,
        "retry": {"outcomes": ["busy", "no_answer"], "attempts": 3, "wait_seconds": 900},
        "progress": {"total": sum(progress.values()), **progress},
        "outcomes": {**outcomes, "failed": 0, "canceled": 0},
        "charged_milli_cents": 123_456,
        "worst_case_milli_cents": 6_000_000,
        **more,
    }


PAUSE_SENTENCE = (
    "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no one answers). "
    "Add $1.12 or more in credits to keep calling."
)
RUNNING = batch("running", waiting=81, calling=5, done=32, skipped=2)
OTHERS = (
    batch("waiting_for_window", waiting=1_200, name=""),
    batch("waiting_for_room", waiting=40, calling=1, done=9, message=PAUSE_SENTENCE),
    batch("paused", waiting=3, name="Paused by hand"),
    batch("paused", waiting=3, name="Paused by us", message="The API key that made this batch was revoked."),
    batch("completed", done=120),
    batch("canceled", done=12, canceled=108, calling=0),
)


def shown(one: dict[str, Any], *rows: view.NumberRow) -> view.BatchPage:
    return view.BatchPage(
        batch=view.summary(one, fx.CLOCK.now_ms),
        notice=view.notice_of(one),
        counts=view.counts_of(one),
        terms=view.terms_of(one, "Reminders"),
        actions=view.actions_of(one["state"]),
        states=(Choice("/batches/b1", "All", True), Choice("/batches/b1?state=waiting", "Waiting")),
        rows=rows,
        paging=Paging("3 numbers", "", "/batches/b1?after=r50"),
    )


ROWS = (
    view.NumberRow(2, "+14155550123", Status("completed", "Completed", False), 1, "c1", 5_250, ""),
    view.NumberRow(3, "+14155550124", Status("in_progress", "Calling", True), 2, "c2", None, ""),
    view.NumberRow(4, "+14155550125", Status("wait", "Waiting", False), 1, "c3", 0, "again from 19:45:00"),
    view.NumberRow(5, "+14155550126", Status("failed", "Skipped", False), 0, None, None, "On your do-not-call list."),
)
LIST = view.BatchList(
    tuple(view.summary({**one, "id": f"b{place}"}, fx.CLOCK.now_ms) for place, one in enumerate((RUNNING, *OTHERS))),
    Paging("7 batches", "", "/batches?before=b"),
    "",
)
EMPTY = view.BatchList((), Paging("0 batches"), view.example("https://calls.example.com", ""))
FORM = view.NewBatch(
    form=Form({"start": "09:00", "end": "17:00", "max_concurrent": "5", "calls_per_second": "1"}),
    agents=(Choice("a1", "Reminders", True),),
    days=tuple(Choice(day, words, day not in ("sat", "sun")) for day, words in view.DAYS.items()),
    outcomes=tuple(Choice(name, words) for name, words in view.OUTCOMES.items()),
    once="once",
)
QUOTE = view.Quote(
    calls=118,
    hold=50_000,
    worst_case=5_900_000,
    available=188_000,
    calls_at_once=3,
    max_duration_seconds=600,
    begins="24 Nov 2026, 14:00:00",
    message=PAUSE_SENTENCE,
    refused_rows=22,
    refused=(view.RefusedLine(7, "4155550101", "`to` must be a phone number like +14155550123 (E.164)."),),
)
