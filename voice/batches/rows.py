"""The numbers of a batch, read from JSON or from a CSV file.

Invariant: every row is either good (a number that may be called, once, with what is to be known about it, and where its
telephone may be) or refused with its line, a code and a sentence; none is dropped, none is changed without a word.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import phonenumbers
from phonenumbers import PhoneNumberType
from phonenumbers import timezone as phone_zones
from pydantic import BaseModel, Field, StrictStr

from config.errors import ApiError, invalid
from config.http import as_model, storable
from voice.batches.plan import Window
from voice.call_request import LONGEST_OBJECT
from voice.dialling import NotDiallable, check_number

MOST_CALLS = 5_000
LONGEST_CELL = 2_000
_PUNCTUATION = re.compile(r"[\s().\-\u2010-\u2015\u00a0]")
_BOUND_TO_A_PLACE = {
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.MOBILE,
}


class BatchCall(BaseModel, extra="forbid"):
    """One number in E.164, and what the agent is to know about it."""

    to: Annotated[StrictStr, Field(examples=["+14155550123"], max_length=32)]
    context: Annotated[dict[str, Any], Field(default_factory=dict, max_length=LONGEST_OBJECT)]


class GoodRow(NamedTuple):
    """`zones`: time zones with blanks between; empty where the number is bound to no place."""

    line: int
    to: str
    context: Mapping[str, Any]
    zones: str


class RefusedRow(NamedTuple):
    line: int
    to: str | None
    code: str
    message: str


@dataclass(slots=True)
class Sheet:
    """`line`: of the file (its heading is line 1), or the place in `calls`, from 1."""

    good: list[GoodRow] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)


class _Row(NamedTuple):
    line: int
    to: str
    context: Mapping[str, Any]


def read_calls(calls: Any, allowed_countries: Collection[str], window: Window | None) -> Sheet:
    """Of the JSON list `calls`. Raises ApiError where it is none, or too long."""
    if not isinstance(calls, list):
        raise invalid("calls", "`calls`: must be a list of objects with `to` and `context`.")
    _check_length(len(calls), "calls")
    return _checked(_of_json(calls), allowed_countries, window)


def read_csv(raw: bytes, allowed_countries: Collection[str], window: Window | None) -> Sheet:
    """Of a file in UTF-8 with a heading: the column `to`, and others that become the context. Commas, semicolons or
    tabs. Raises ApiError for what is no such file."""
    return _checked(_of_csv(raw), allowed_countries, window)


def _check_length(count: int, name: str) -> None:
    if not 1 <= count <= MOST_CALLS:
        raise invalid(name, f"A batch has 1 to {MOST_CALLS:,} calls; this one has {count:,}.")


def _of_json(calls: Sequence[Any]) -> Iterator[_Row | RefusedRow]:
    for line, each in enumerate(calls, 1):
        try:
            row = as_model(BatchCall, each)
        except ApiError as error:
            given = each.get("to") if isinstance(each, dict) else None
            yield RefusedRow(line, given[:32] if isinstance(given, str) else None, "invalid_request", error.message)
        else:
            yield _Row(line, row.to, row.context)


def _of_csv(raw: bytes) -> Iterator[_Row | RefusedRow]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise invalid("body", f"The file is not UTF-8: line {line}. Save it as CSV in UTF-8.", "invalid_csv") from None
    if not storable(text):
        raise invalid("body", "The file contains NUL characters.", "invalid_text")
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _lines(reader)
    _, names = next(rows, (1, []))
    names = [name.strip() for name in names]
    at = _number_column(names)
    found = list(rows)
    _check_length(len(found), "body")
    for line, cells in found:
        given = cells[at].strip() if at < len(cells) else ""
        if len(cells) != len(names):
            message = f"It has {len(cells)} columns, and the heading has {len(names)}."
            yield RefusedRow(line, given[:32] or None, "invalid_csv", message)
        elif any(len(cell) > LONGEST_CELL for cell in cells):
            message = f"A cell has more than {LONGEST_CELL:,} characters."
            yield RefusedRow(line, given[:32] or None, "invalid_csv", message)
        else:
            told = {name: cell for name, cell in zip(names, cells, strict=True) if cell and name != names[at]}
            yield _Row(line, _PUNCTUATION.sub("", given), told)


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it begins, the cells) of each row that is not blank."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise invalid("body", f"The file is no CSV: line {line}: {error}.", "invalid_csv") from None
        if any(cell.strip() for cell in cells):
            yield line, cells


def _number_column(names: Sequence[str]) -> int:
    """Which column holds the numbers. Raises ApiError."""
    lower = [name.lower() for name in names]
    if "to" not in lower:
        raise invalid(
            "body", "The file's first line must name its columns, and one of them must be `to`.", "invalid_csv"
        )
    blank = any(not name or len(name) > 64 for name in names)
    if blank or len(set(lower)) < len(names) or len(names) > LONGEST_OBJECT + 1:
        message = f"The columns need names, each its own: at most {LONGEST_OBJECT} beside `to`."
        raise invalid("body", message, "invalid_csv")
    return lower.index("to")


def _checked(rows: Iterator[_Row | RefusedRow], allowed_countries: Collection[str], window: Window | None) -> Sheet:
    sheet, seen = Sheet(), dict[str, int]()
    for row in rows:
        if isinstance(row, RefusedRow):
            sheet.refused.append(row)
            continue
        try:
            check_number(row.to, allowed_countries)
        except NotDiallable as refusal:
            sheet.refused.append(RefusedRow(row.line, row.to[:32] or None, refusal.code, refusal.message))
            continue
        if (earlier := seen.setdefault(row.to, row.line)) != row.line:
            message = f"This number is on line {earlier} already; a batch calls each number once."
            sheet.refused.append(RefusedRow(row.line, row.to, "duplicate_number", message))
            continue
        zones = zones_of_number(row.to)
        if zones and window is not None and window.opens_at(zones, _SOME_TIME) is None:
            message = f"The window is never open in all of {', '.join(zones)}, where this number may be."
            sheet.refused.append(RefusedRow(row.line, row.to, "window_never_opens", message))
            continue
        sheet.good.append(GoodRow(row.line, row.to, row.context, " ".join(zones)))
    return sheet


_SOME_TIME = 1_767_225_600_000
"""A window is the same every week, so any time serves to ask whether it ever opens."""


def zones_of_number(number: str) -> tuple[str, ...]:
    """Where the telephone of a valid E.164 number may be, by its area code; empty for one that is bound to no place."""
    parsed = phonenumbers.parse(number)
    if phonenumbers.number_type(parsed) not in _BOUND_TO_A_PLACE:
        return ()
    found = phone_zones.time_zones_for_geographical_number(parsed)
    return () if found == (phone_zones.UNKNOWN_TIMEZONE,) else tuple(sorted(found))
