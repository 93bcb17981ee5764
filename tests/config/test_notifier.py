"""What an operator is told, how, and that it is told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from accounts.mailer import DUE_MAILS, RETRY_MS, ClaimMail
from accounts.tables import mails
from billing.operator_commands import OperatorAction
from billing.refund_commands import ReserveRefund
from billing.tables import topups, wallets
from config.clock import new_id
from config.database import Database
from config.door import Door
from config.machinery import Machinery
from config.metrics import standing
from config.notifier import Notifier
from config.watch import Watch
from tests.databases import alter
from tests.doors import several_doors
from tests.receiver import Receiver, receiving
from tests.servers import DOLLAR, Server, VirtualClock, create_organisation, opened_door, settings_of, until
from tests.shop import open_shop
from voice.tables import calls, numbers

DAY_SECONDS = 86_400


@pytest.fixture(autouse=True)
def only_the_tests_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers' own watch would claim an alert before theirs."""

    async def rest(_: Watch) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Watch, "run", rest)


@asynccontextmanager
async def told(server: Server, path: str = "/ok") -> AsyncIterator[tuple[Notifier, Receiver]]:
    """A notifier of a server's door, with a webhook and a mailbox."""
    async with receiving() as receiver:
        environment = {"ALERT_EMAIL": "ops@example.com", "ALERT_WEBHOOK_URL": f"{receiver.url}{path}"}
        yield Notifier(server.door, settings_of(environment), server.clock), receiver


async def letters(database: Database) -> list[dict[str, Any]]:
    async with database.read() as connection:
        return [dict(row) for row in (await connection.execute(select(mails))).mappings()]


async def change(server: Server, table: Any, **values: Any) -> None:
    await alter(server.database.url, lambda connection: connection.execute(update(table).values(**values)))


async def test_an_alert_goes_to_the_webhook_and_by_mail(server: Server) -> None:
    async with told(server) as (notifier, receiver):
        assert await notifier.tell("topup_review", "top-up 1: wrong amount", about="top-up 1")
        [request] = receiver.received
        [letter] = [letter for letter in await letters(server.database) if letter["recipient"]]
        assert await notifier.post_due() == 0
    assert (request.json["kind"], request.json["text"]) == ("topup_review", "top-up 1: wrong amount")
    assert (letter["recipient"], letter["kind"], letter["due_at"] is not None) == ("ops@example.com", "notice", True)
    assert letter["facts"]["subject"] == "CallingBox alert: topup review"
    assert letter["facts"]["text"].startswith("top-up 1: wrong amount")


async def test_an_episode_is_told_once_however_many_processes_see_it(database_url: str) -> None:
    async with receiving() as receiver, several_doors(database_url, 3) as doors:
        settings = settings_of({"ALERT_WEBHOOK_URL": f"{receiver.url}/ok"})
        notifiers = [Notifier(door, settings) for door in doors] + [Notifier(doors[0], settings)]
        news = [
            await notifier.tell("hold_overdue", "again", about="call 1") for notifier in notifiers for _ in range(2)
        ]
        assert news.count(True) == 1
        assert await notifiers[0].tell("hold_overdue", "another", about="call 2")
        assert len(receiver.received) == 2
        assert all(letter["due_at"] is None for letter in await letters(doors[0].database)), "nobody to send it to"


async def test_an_alerts_mail_is_sent_once_however_many_processes_send(database_url: str) -> None:
    async with several_doors(database_url, 4) as doors:
        notifier = Notifier(doors[0], settings_of({"ALERT_EMAIL": "ops@example.com"}))
        for number in range(10):
            await notifier.tell("hold_overdue", "again", about=f"call {number}")
        for letter in await letters(doors[0].database):
            claim = ClaimMail(letter["id"], letter["org_id"])
            claims = await asyncio.gather(*(door.submit(claim) for door in doors))
            assert claims.count(True) == 1


async def test_what_lasts_is_told_again_the_next_day(sqlite_server: Server) -> None:
    async with told(sqlite_server) as (notifier, receiver):
        assert await notifier.tell("calls_paused", "still", about="org 1")
        assert not await notifier.tell("calls_paused", "still", about="org 1")
        sqlite_server.clock.advance(DAY_SECONDS)
        assert await notifier.tell("calls_paused", "still", about="org 1")
        assert len(receiver.received) == 2


async def test_a_webhook_that_fails_is_tried_again_as_mails_are(server: Server) -> None:
    async with told(server, "/broken") as (notifier, receiver):
        await notifier.tell("audit_failed", "found 1", about="x")
        assert await notifier.post_due() == 0, "not a moment too early"
        for wait_ms in RETRY_MS:
            server.clock.advance(wait_ms / 1000)
            assert await notifier.post_due() == 1
        server.clock.advance(7 * DAY_SECONDS)
        assert await notifier.post_due() == 0, "it is given up"
        assert len(receiver.received) == 1 + len(RETRY_MS)
        assert len({request.body for request in receiver.received}) == 1


async def test_an_alert_whose_process_died_before_it_was_posted_is_posted_by_another(database_url: str) -> None:
    clock = VirtualClock()
    async with receiving() as receiver, several_doors(database_url, 2) as doors:
        for door in doors:
            door.clock = clock
        settings = settings_of({"ALERT_EMAIL": "ops@example.com", "ALERT_WEBHOOK_URL": f"{receiver.url}/hanging"})
        dying = asyncio.create_task(Notifier(doors[0], settings, clock).tell("hold_overdue", "call 1", about="call 1"))
        await until(lambda: receiver.received, "the first attempt")
        dying.cancel()
        receiver.answers["/hanging"] = "ok"
        others = [Notifier(door, settings, clock) for door in doors]
        assert [await other.post_due() for other in others] == [0, 0]
        clock.advance(61)
        assert sorted(await asyncio.gather(*(other.post_due() for other in others))) == [0, 1]
        clock.advance(DAY_SECONDS)
        assert [await other.post_due() for other in others] == [0, 0]
        first, again = receiver.received
        assert first.json == again.json
        assert first.json["id"], "by which a repeat is told from news"


async def test_an_alert_is_no_mail(sqlite_server: Server) -> None:
    async with told(sqlite_server, "/broken") as (notifier, _):
        await notifier.tell("audit_failed", "found 1", about="x")
        sqlite_server.clock.advance(61)
        due = await sqlite_server.database.look_up(DUE_MAILS, now=sqlite_server.clock())
        assert [mail["recipient"] for mail in due] == ["ops@example.com"]


async def test_an_alert_for_an_address_that_is_set_no_more_is_given_up(sqlite_server: Server) -> None:
    async with told(sqlite_server, "/broken") as (notifier, receiver):
        await notifier.tell("audit_failed", "found 1", about="x")
        elsewhere = Notifier(sqlite_server.door, settings_of({}), sqlite_server.clock)
        for wait_ms in RETRY_MS:
            sqlite_server.clock.advance(wait_ms / 1000)
            await elsewhere.post_due()
        assert len(receiver.received) == 1
        sqlite_server.clock.advance(7 * DAY_SECONDS)
        assert await notifier.post_due() == 0


async def test_what_a_decision_raises_reaches_the_operator(sqlite_server: Server) -> None:
    async with told(sqlite_server) as (notifier, receiver):
        notifier.raised(SimpleNamespace(kind="dial_lost", text="call 1 was never confirmed"))
        await notifier.idle()
        assert [request.json["kind"] for request in receiver.received] == ["dial_lost"]


async def test_the_machinery_passes_on_the_alerts_of_calls_and_top_ups(sqlite_url: str) -> None:
    machinery = Machinery(settings_of({"DATABASE_URL": sqlite_url}))
    assert machinery.outbox.alerted == [machinery.notifier.raised]
    assert machinery.topups.alerted == [machinery.notifier.raised]
    await machinery.database.close()


async def test_holds_that_do_not_end_and_customers_without_credit_are_seen(server: Server) -> None:
    org = await server.organisation(credit=7 * DOLLAR)
    assert server.network is not None
    server.network.clock.speed = 0.001
    call = await org.call("+14155550150")
    settings = server.settings
    async with told(server) as (notifier, receiver):
        watch = Watch(server.database, notifier, settings, server.clock)
        await watch.look()
        assert receiver.received == []
        server.clock.advance(3_600 + 3_600 + 60)
        await watch.look()
        await watch.look()
        [request] = receiver.received
        assert (request.json["kind"], call["id"] in request.json["text"]) == ("hold_overdue", True)


async def test_a_purchase_that_stays_undecided_is_noticed(server: Server) -> None:
    await server.organisation()
    hour_ms, now = 3_600_000, server.clock()
    await change(server, numbers, status="pending", purchased_at=now - 2 * hour_ms, due_at=now + hour_ms)
    async with told(server) as (notifier, receiver):
        await Watch(server.database, notifier, server.settings, server.clock).look()
        assert [request.json["kind"] for request in receiver.received] == ["hold_overdue"]
    stands = await standing(server.database, now)
    assert (stands.open_holds, stands.oldest_hold_seconds) == (1, 7_200)


async def test_a_refund_whose_outcome_stays_unknown_and_a_payment_in_review_are_noticed(sqlite_url: str) -> None:
    async with open_shop(sqlite_url) as shop:
        topup, clock = await shop.paid(), shop.server.clock
        clock.advance(1.5 * DAY_SECONDS - clock() / 1000 % DAY_SECONDS)  # noon: what stays is told again each day
        detail = {"amount_cents": 2_500}
        action = OperatorAction(new_id(), "Ada", "topup_refund", topup["id"], "asked", shop.org.id, detail)
        terms = shop.server.settings.terms
        await shop.server.door.submit(ReserveRefund(topup["id"], shop.org.id, 2_500, action, terms))
        await change(shop.server, topups, status="review", review_reason="account_closed")
        async with told(shop.server) as (notifier, receiver):
            watch = Watch(shop.server.database, notifier, shop.server.settings, shop.server.clock)
            await watch.look()
            shop.server.clock.advance(3_660)
            await watch.look()
            assert [(request.json["kind"], request.json["text"]) for request in receiver.received] == [
                ("paid_after_closing", f"top-up {topup['id']}: account_closed"),
                (
                    "refund_overdue",
                    f"a refund of 2500 cents of top-up {topup['id']} was asked for an hour ago, and what became of it "
                    "is not known",
                ),
            ]


async def test_only_who_has_paid_and_holds_nothing_is_short_of_credit(server: Server) -> None:
    free = await server.organisation(credit=1 * DOLLAR, number=None)
    paying = await server.organisation(credit=1 * DOLLAR, number=None)
    row = {
        "id": "01900000-0000-7000-8000-000000000001",
        "org_id": paying.id,
        "kind": "checkout",
        "status": "paid",
        "amount_cents": 500,
        "credit_milli_cents": 500_000,
        "livemode": False,
        "paid_at": 1,
        "expires_at": 1,
        "created_at": 1,
        "updated_at": 1,
    }
    await alter(server.database.url, lambda connection: connection.execute(topups.insert().values(**row)))
    async with told(server) as (notifier, receiver):
        watch = Watch(server.database, notifier, server.settings, server.clock)
        await watch.look()
        [request] = receiver.received
        assert request.json["kind"] == "calls_paused"
        assert paying.id in request.json["text"]
        assert free.id not in request.json["text"]
        spent = update(wallets).where(wallets.c.id == paying.id).values(balance=4 * DOLLAR)
        await alter(server.database.url, lambda connection: connection.execute(spent))
        await watch.look()
        assert [request.json["kind"] for request in receiver.received] == ["calls_paused", "balance_low"]


async def test_many_calls_without_a_verdict_are_noticed(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=100 * DOLLAR)
    assert sqlite_server.network is not None
    sqlite_server.network.clock.speed = 0.001
    for number in range(20):
        await org.call(f"+1415555{number + 150:04d}", max_duration_seconds=600)
    now = sqlite_server.clock()
    async with told(sqlite_server) as (notifier, receiver):
        watch = Watch(sqlite_server.database, notifier, sqlite_server.settings, sqlite_server.clock)
        ended = {"final_status": "completed", "ended_at": now, "direction": "outbound"}
        await change(sqlite_server, calls, **ended, billing_reason="billed")
        await watch.look()
        assert receiver.received == []
        await change(sqlite_server, calls, **ended, billing_reason="free_no_verdict")
        await watch.look()
        assert [request.json["kind"] for request in receiver.received] == ["no_verdicts"]


async def test_a_database_that_is_away_loses_no_alert(sqlite_url: str) -> None:
    async with opened_door(sqlite_url) as door:
        closed = Door(Database(sqlite_url), wallets)
        await create_organisation("http://127.0.0.1:9", door, number=None)
        notifier = Notifier(closed, settings_of({}))
        assert not await notifier.tell("hold_overdue", "call 1", about="call 1")
        closed.open()
        assert await notifier.tell("hold_overdue", "call 1", about="call 1")
        await closed.close()
        await closed.database.close()
