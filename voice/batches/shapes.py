"""The shapes of the API's answers about batches, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from config.shapes import E164, Id, Moment, Page, Shape
from voice.batches.plan import BatchState, Outcome

RowId = Annotated[str, Field(examples=["0198f3c2-5a61-7d3c-8f0e-2b1a4c5d6e7f:0000002"])]
Time = Annotated[str, Field(examples=["09:00"])]
ShownState = Literal["waiting", "calling", "done", "skipped", "canceled"]


class Window(Shape):
    """Local hours. `timezone` null: each callee's own."""

    start: Time
    end: Time
    days: list[str]
    timezone: str | None


class Retry(Shape):
    """`attempts`: calls to one number at most."""

    outcomes: list[str]
    attempts: Annotated[int, Field(examples=[2])]
    wait_seconds: Annotated[int, Field(examples=[900])]


class BatchProgress(Shape):
    """How many of its numbers stand where."""

    total: Annotated[int, Field(examples=[3])]
    waiting: int
    calling: int
    done: int
    skipped: int
    canceled: int


class BatchOutcomes(Shape):
    """How the latest calls of those that are done ended."""

    completed: int
    voicemail: int
    fax: int
    no_answer: int
    busy: int
    failed: int
    canceled: int


class Batch(Shape):
    """Milli-cents. `code` and `message`: why it makes no calls just now, or was paused without being asked to."""

    id: Id
    name: Annotated[str, Field(examples=["Reminders"])]
    state: Annotated[BatchState, Field(examples=["running"])]
    code: str | None
    message: str | None
    agent_id: str | None
    from_number: str | None
    max_duration_seconds: int | None
    window: Window | None
    max_concurrent: Annotated[int, Field(examples=[5])]
    calls_per_second: Annotated[int, Field(examples=[1])]
    retry: Retry
    progress: BatchProgress
    outcomes: BatchOutcomes
    charged_milli_cents: int
    hold_milli_cents: Annotated[int, Field(examples=[50_000])]
    worst_case_milli_cents: Annotated[int, Field(examples=[150_000])]
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None


BatchPage = Page[Batch]


class RefusedBatchCall(Shape):
    """A row that cannot be called: its line in the file, or its place in `calls`."""

    line: Annotated[int, Field(examples=[7])]
    to: str | None
    code: Annotated[str, Field(examples=["invalid_number"])]
    message: str


class BatchQuote(Shape):
    """Milli-cents. `code` and `message`: why its first call would not be placed now. `calls_at_once`: what the wallet
    has room for, up to `max_concurrent`."""

    calls: Annotated[int, Field(examples=[3])]
    refused_rows: Annotated[int, Field(examples=[1])]
    refused: list[RefusedBatchCall]
    hold_milli_cents: Annotated[int, Field(examples=[50_000])]
    worst_case_milli_cents: Annotated[int, Field(examples=[150_000])]
    rate_milli_cents_per_minute: Annotated[int, Field(examples=[5_000])]
    max_duration_seconds: Annotated[int, Field(examples=[600])]
    available_milli_cents: Annotated[int, Field(examples=[500_000])]
    shortfall_milli_cents: int
    calls_at_once: Annotated[int, Field(examples=[3])]
    first_call_at: Moment | None
    code: str | None
    message: str | None


class QueuedCall(Shape):
    """A number of a batch. `call_id`: its latest call; `outcome`: how that ended."""

    id: RowId
    line: Annotated[int, Field(examples=[2])]
    to: E164
    context: dict[str, Any]
    state: Annotated[ShownState, Field(examples=["done"])]
    attempts: Annotated[int, Field(examples=[1])]
    call_id: str | None
    outcome: Annotated[Outcome, Field(examples=["completed"])] | None
    code: str | None
    message: str | None
    next_attempt_at: Moment | None
    charged_milli_cents: int | None
    updated_at: Moment


QueuedCallPage = Page[QueuedCall]
