"""Spending limits in the database: what calls and numbers count here, and the command that sets limits.

Invariant: one row for an organisation and one for each of its keys, written only under the organisation's lock by the
fold that opens, ends or corrects a call or pays for a number, so that those that race are counted one after another.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import api_keys, organisations
from billing.operator_commands import OperatorAction
from billing.spending import Limits, Over, Scope, Spent, local_day, purchase_refusal, refusal
from billing.tables import operator_actions, spending
from config.rows import Read, Row, Rows

LIMIT_FIELDS = tuple(field.name for field in fields(Limits))
_SPENT_FIELDS = tuple(field.name for field in fields(Spent))


def reads_for(org_id: str, key_id: str | None) -> tuple[Read, ...]:
    """What the functions below look at."""
    ids = (org_id,) if key_id is None else (org_id, key_id)
    return Read(spending, "id", ids), Read(organisations, "id", (org_id,))


def over_limit(rows: Rows, org_id: str, key_id: str | None, hold: int, region: str | None, now: int) -> Over | None:
    """Why a call may not begin, by the key's limits and then the organisation's. Changes nothing."""
    day = _day(rows, org_id, now)
    found = (refusal(*kept, hold, region, day) for kept in _kept(rows, org_id, key_id))
    return next((over for over in found if over is not None), None)


def over_cap(rows: Rows, org_id: str, key_id: str | None, price: int, e164: str, now: int) -> Over | None:
    """Why a number may not be bought, in the same order. Changes nothing."""
    day = _day(rows, org_id, now)
    found = (purchase_refusal(*kept, price, e164, day) for kept in _kept(rows, org_id, key_id))
    return next((over for over in found if over is not None), None)


def count_opened(rows: Rows, org_id: str, key_id: str | None, hold: int, now: int, calls: int = 1) -> None:
    """A call, or (`calls` 0) a purchase, reserved its hold."""
    day = _day(rows, org_id, now)
    for scope, scope_id in _scopes(org_id, key_id):
        _write(rows, org_id, scope, scope_id, _spent(rows, scope_id).opened(hold, day, calls))


def count_closed(rows: Rows, org_id: str, key_id: str | None, hold: int, charge: int, now: int, calls: int = 1) -> None:
    """The hold of a call or (`calls` 0) of a purchase was settled for `charge`, or released (0). Renewals had none."""
    day = _day(rows, org_id, now)
    for scope, scope_id in _scopes(org_id, key_id):
        _write(rows, org_id, scope, scope_id, _spent(rows, scope_id).closed(hold, charge, day, calls))


def count_refunded(rows: Rows, org_id: str, key_id: str | None, amount: int, charged_at: int, now: int) -> None:
    """A charge made at `charged_at`, or part of it, went back."""
    day, charged_on = _day(rows, org_id, now), _day(rows, org_id, charged_at)
    for scope, scope_id in _scopes(org_id, key_id):
        _write(rows, org_id, scope, scope_id, _spent(rows, scope_id).refunded(amount, charged_on, day))


@dataclass(frozen=True, slots=True)
class SetLimits:
    """Change some limits of an organisation or (with `key_id`) of one of its keys; what is not named stays.

    `by_key_id`: the API key that asks. A key with limits of its own changes none, or they would bind nobody.
    """

    org_id: str
    changes: Mapping[str, Any]
    key_id: str | None = None
    by_key_id: str | None = None
    action: OperatorAction | None = None

    @property
    def _scope_id(self) -> str:
        return self.key_id or self.org_id

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        ids = [each for each in (self._scope_id, self.by_key_id) if each is not None]
        reads = [Read(organisations, "id", (self.org_id,)), Read(spending, "id", ids)]
        if self.key_id is not None:
            reads.append(Read(api_keys, "id", (self.key_id,)))
        if self.action is not None:
            reads.append(Read(operator_actions, "id", (self.action.id,)))
        return reads

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done; else the code of the refusal: not_found, key_is_limited."""
        assert set(self.changes) <= set(LIMIT_FIELDS)
        key = rows.get(api_keys, self.key_id) if self.key_id is not None else None
        if rows.get(organisations, self.org_id) is None or (self.key_id and (not key or key["org_id"] != self.org_id)):
            return "not_found"
        if is_limited(rows, self.by_key_id):
            return "key_is_limited"
        scope = Scope.ORGANISATION if self.key_id is None else Scope.KEY
        _write(rows, self.org_id, scope, self._scope_id, _spent(rows, self._scope_id))
        countries = self.changes.get("allowed_countries")
        listed = {"allowed_countries": sorted(countries)} if countries is not None else {}
        rows.update(spending, self._scope_id, {**self.changes, **listed})
        if self.action is not None:
            self.action.insert(rows, now)
        return None


def is_limited(rows: Rows, key_id: str | None) -> bool:
    """Whether this API key has limits of its own; its row of `spending` must have been read."""
    row = None if key_id is None else rows.get(spending, key_id)
    return row is not None and limits_of(row) != Limits()


def limits_of(row: Mapping[str, Any]) -> Limits:
    values = {name: row[name] for name in LIMIT_FIELDS}
    countries = values["allowed_countries"]
    return Limits(**{**values, "allowed_countries": None if countries is None else tuple(countries)})


def spent_of(row: Mapping[str, Any]) -> Spent:
    return Spent(**{name: row[name] for name in _SPENT_FIELDS})


async def read_limits(connection: AsyncConnection, org_id: str) -> dict[str, tuple[Limits, Spent]]:
    """By the id of the organisation and of each key that has limits or has placed calls."""
    found = await connection.execute(select(spending).where(spending.c.org_id == org_id))
    return {row["id"]: (limits_of(dict(row)), spent_of(dict(row))) for row in found.mappings()}


async def allowed_countries(
    connection: AsyncConnection, org_id: str, key_id: str | None, everywhere: Collection[str]
) -> tuple[str, ...]:
    """Where both an organisation and the key that placed a call may call, of all that the server does."""
    kept = await read_limits(connection, org_id)
    lists = [kept[each][0].allowed_countries for each in (org_id, key_id) if each in kept]
    return tuple(set(everywhere).intersection(*(each for each in lists if each is not None)))


def limits_object(limits: Limits, spent: Spent, day: str) -> dict[str, Any]:
    """As the public API shows them; `day`: today in the organisation's time zone."""
    now = spent.on(day)
    countries = limits.allowed_countries
    return {
        "daily_cap_milli_cents": limits.daily_cap_milli_cents,
        "monthly_cap_milli_cents": limits.monthly_cap_milli_cents,
        "max_concurrent_calls": limits.max_concurrent_calls,
        "allowed_countries": None if countries is None else list(countries),
        "spent": {
            "day": now.day,
            "day_milli_cents": now.day_milli_cents,
            "month_milli_cents": now.month_milli_cents,
            "held_milli_cents": now.held_milli_cents,
            "open_calls": now.open_calls,
        },
    }


def _scopes(org_id: str, key_id: str | None) -> tuple[tuple[Scope, str], ...]:
    whole = (Scope.ORGANISATION, org_id)
    return (whole,) if key_id is None else ((Scope.KEY, key_id), whole)


def _kept(rows: Rows, org_id: str, key_id: str | None) -> Iterator[tuple[Scope, Limits, Spent]]:
    for scope, scope_id in _scopes(org_id, key_id):
        row = rows.get(spending, scope_id)
        if row is not None:
            yield scope, limits_of(row), spent_of(row)


def _spent(rows: Rows, scope_id: str) -> Spent:
    row = rows.get(spending, scope_id)
    return Spent() if row is None else spent_of(row)


def _write(rows: Rows, org_id: str, scope: Scope, scope_id: str, spent: Spent) -> None:
    values: Row = {name: getattr(spent, name) for name in _SPENT_FIELDS}
    if rows.get(spending, scope_id) is None:
        rows.insert(spending, {"id": scope_id, "org_id": org_id, "scope": scope.value, **values})
    else:
        rows.update(spending, scope_id, values)


def _day(rows: Rows, org_id: str, at: int) -> str:
    organisation = rows.get(organisations, org_id)
    assert organisation is not None, "what costs belongs to an organisation"
    return local_day(at, organisation["timezone"])
