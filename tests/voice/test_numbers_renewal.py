"""What a bought number costs month after month, and what happens when it is not paid."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from accounts.tables import mails
from billing.ledger import Post
from billing.posting import Posting
from config.audit import audit
from config.clock import new_id
from tests.billing.test_limits import limited, second_key, spent
from tests.databases import alter
from tests.servers import DOLLAR, Organisation, Server, running_network, running_server
from tests.voice.test_agents import create
from tests.voice.test_numbers import PRICE, WANTED, buy, kinds, look, network_of
from voice.numbers.purchase import month_later
from voice.tables import numbers

DAY_SECONDS = 86_400


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("anchor", "months"),
    [
        ("2026-01-15T10:30:00", ["2026-02-15T10:30:00", "2026-03-15T10:30:00"]),
        ("2026-01-31T23:59:59", ["2026-02-28T23:59:59", "2026-03-31T23:59:59", "2026-04-30T23:59:59"]),
        ("2027-12-31T00:00:00", ["2028-01-31T00:00:00", "2028-02-29T00:00:00", "2028-03-31T00:00:00"]),
    ],
)
def test_a_month_ends_on_the_same_day_or_the_last_one(anchor: str, months: list[str]) -> None:
    at = ms(anchor)
    for month in months:
        at = month_later(at, ms(anchor))
        assert at == ms(month)


async def violations(server: Server) -> list[str]:
    return [each["invariant"] for each in (await audit(server.settings, server.clock))["violations"]]


async def shown(org: Organisation) -> Any:
    return next((number for number in (await org.get("/v1/numbers"))["data"] if number["e164"] == WANTED), None)


async def notices(server: Server) -> list[str]:
    async with server.database.read() as connection:
        found = await connection.execute(
            select(mails.c.facts).where(mails.c.kind == "notice").order_by(mails.c.created_at)
        )
        return [facts["subject"] for facts in found.scalars()]


async def spend(server: Server, org: Organisation, milli_cents: int) -> None:
    posting = Posting(new_id(), f"{org.id}:test:{new_id()}", org.id, "adjustment", milli_cents, reason="test")
    await server.door.submit(Post(posting))


async def test_a_number_is_charged_once_a_month(server: Server) -> None:
    org = await server.organisation(credit=5 * DOLLAR)
    first = await buy(org)
    await look(server)
    assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR - PRICE
    server.clock.advance(32 * DAY_SECONDS)
    for _ in range(3):
        await look(server)
    wallet = await org.wallet()
    assert (wallet["balance_milli_cents"], wallet["held_milli_cents"]) == (5 * DOLLAR - 2 * PRICE, 0)
    renewed = await shown(org)
    assert renewed["paid_until"] > first["paid_until"]
    assert renewed["status"] == "active"


async def test_a_renewal_is_spent_and_never_refused_by_a_cap(server: Server) -> None:
    org = await server.organisation(credit=5 * DOLLAR)
    key = await second_key(server, org)
    await buy(key)
    await limited(org, daily_cap_milli_cents=0, monthly_cap_milli_cents=0)
    server.clock.advance(32 * DAY_SECONDS)
    await look(server)
    assert (await shown(org))["status"] == "active"
    assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR - 2 * PRICE
    assert await violations(server) == []
    await limited(org, daily_cap_milli_cents=2 * PRICE - 1, monthly_cap_milli_cents=None)
    refused = await buy(org, "+14155550161", expect=402)  # what is new finds the room taken
    assert (refused["code"], refused["charged_milli_cents"]) == ("daily_cap_reached", PRICE)
    assert (await spent(key, "api_key"))["day"] < (await spent(org))["day"]  # it is the organisation's contract


async def test_a_worker_that_was_away_catches_up_month_by_month(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    await buy(org)
    server.clock.advance(5 * 31 * DAY_SECONDS - DAY_SECONDS)
    for _ in range(8):
        await look(server)
    assert (await org.wallet())["balance_milli_cents"] == 10 * DOLLAR - 6 * PRICE
    assert await kinds(org) == ["adjustment"] + ["hold", "settle"] * 6
    assert await violations(server) == []


async def test_the_audit_finds_numbers_that_were_not_paid_as_their_rows_say(server: Server) -> None:
    org = await server.organisation()
    number = await buy(org)
    network_of(server).add_number("+14155550161", "somebody else's")
    await buy(org, "+14155550161", expect=409)
    assert await violations(server) == []
    for changes, expected in (
        ({"paid_until": 1}, ["number_is_paid"]),
        ({"status": "failed"}, ["purchase_ends"]),
        ({"status": "pending", "due_at": None}, ["spending_adds_up", "spending_adds_up", "purchase_ends", "hold_ends"]),
    ):
        await forge(server, number["id"], changes)
        assert await violations(server) == expected


async def forge(server: Server, number_id: str, changes: dict[str, Any]) -> None:
    """Change a row behind the door's back."""
    statement = update(numbers).where(numbers.c.id == number_id).values(changes)
    await alter(server.database.url, lambda connection: connection.execute(statement))


async def test_an_imported_number_is_never_charged(server: Server) -> None:
    org = await server.organisation()
    server.clock.advance(400 * DAY_SECONDS)
    await look(server)
    assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR


async def test_an_unpaid_number_is_kept_for_seven_days_with_a_notice_and_then_released(server: Server) -> None:
    org = await server.organisation(credit=PRICE)
    number = await buy(org)
    agent = await create(org, type="inbound", number_ids=[number["id"]])
    server.clock.advance(32 * DAY_SECONDS)
    await look(server)
    assert (await shown(org))["status"] == "past_due"
    assert await notices(server) == [f"Your number {WANTED} is unpaid"]
    for _ in range(6):
        server.clock.advance(DAY_SECONDS)
        await look(server)
        assert (await shown(org))["status"] == "past_due"
    assert len(await notices(server)) == 1
    server.clock.advance(DAY_SECONDS)
    await look(server)
    assert await shown(org) is None
    assert WANTED not in network_of(server).numbers
    assert (await notices(server))[-1] == f"Your number {WANTED} is released"
    assert (await org.get(f"/v1/agents/{agent['id']}"))["numbers"] == []
    assert (await org.wallet())["balance_milli_cents"] == 0


async def test_credit_within_the_seven_days_keeps_the_number(server: Server) -> None:
    org = await server.organisation(credit=PRICE)
    first = await buy(org)
    server.clock.advance(32 * DAY_SECONDS)
    await look(server)
    await spend(server, org, PRICE)
    server.clock.advance(3_600)
    await look(server)
    kept = await shown(org)
    assert (kept["status"], kept["id"]) == ("active", first["id"])
    assert (await org.wallet())["balance_milli_cents"] == 0
    server.clock.advance(8 * DAY_SECONDS)
    await look(server)
    assert (await shown(org))["status"] == "active"


async def test_a_carrier_that_is_away_gets_its_number_back_later(server: Server) -> None:
    org = await server.organisation()
    number = await buy(org)
    carrier = server.app.extensions["numbers"].carrier
    client, carrier._client = carrier._client, _Broken()
    assert (await org.api.delete(f"/v1/numbers/{number['id']}")).status_code == 200
    assert WANTED in network_of(server).numbers
    assert await shown(org) is None
    carrier._client = client
    server.clock.advance(61)
    await look(server)
    assert WANTED not in network_of(server).numbers


class _Broken:
    """A client that cannot reach the carrier."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("no route to the carrier")


async def test_a_renewal_folded_by_two_workers_at_once_is_charged_once(postgres_url: str) -> None:
    async with (
        running_network() as network,
        running_server(postgres_url, network=network) as one,
        running_server(postgres_url, network=network) as other,
    ):
        org = await one.organisation()
        await buy(org)
        for server in (one, other):
            server.clock.advance(32 * DAY_SECONDS)
        await asyncio.gather(*(look(server) for server in (one, other) * 4))
        assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR - 2 * PRICE
