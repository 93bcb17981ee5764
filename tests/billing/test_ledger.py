"""The ledger through the door, on SQLite and Postgres: what two-phase transfers promise."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from accounts.tables import events, organisations
from billing.ledger import Post, house_totals, list_transfers, read_wallet, sequence_of
from billing.posting import KINDS, Posting, Refusal, Transfer
from billing.rating import Terms
from billing.tables import transfers, wallets
from billing.wallet import Wallet
from config.clock import new_id
from config.database import Database
from config.door import Door
from tests.billing.books import Books, all_transfers, snapshot
from tests.billing.conftest import OpenBooks
from tests.databases import alter
from tests.doors import failing_at, several_doors


async def assert_unchanged(database: Database, refused: Awaitable[Any], refusal: Refusal) -> None:
    before = await snapshot(database)
    assert await refused == refusal
    assert await snapshot(database) == before


# -- holds and their second phase -----------------------------------------------------------------------------------


async def test_holds_add_up_and_leave_the_rest_available(open_books: OpenBooks) -> None:
    books = await open_books(credit=100)
    for amount in (15, 15, 15, 7, 1, 1):
        await books.hold(amount)
    wallet = await books.wallet()
    assert (wallet.balance, wallet.held, wallet.available) == (100, 54, 46)


async def test_settling_less_than_the_hold_returns_the_rest_at_once(open_books: OpenBooks) -> None:
    books = await open_books(credit=100)
    settled = await books.settle(await books.hold(15), 13)
    assert isinstance(settled, Transfer)
    assert (settled.balance_delta, settled.held_delta) == (-13, -15)
    assert await books.wallet() == Wallet(balance=87, held=0, sequence=3)


async def test_releasing_returns_the_whole_hold(open_books: OpenBooks) -> None:
    books = await open_books(credit=100)
    released = await books.release(await books.hold(15))
    assert isinstance(released, Transfer)
    assert (released.balance_delta, released.held_delta) == (0, -15)
    assert await books.wallet() == Wallet(balance=100, held=0, sequence=3)


async def test_the_same_settle_again_is_the_one_that_is_there(open_books: OpenBooks, database: Database) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(15)
    first = await books.settle(hold, 13, source_key="settle")
    before = await snapshot(database)
    assert await books.settle(hold, 13, source_key="settle") == first
    assert await snapshot(database) == before


async def test_the_same_hold_again_reserves_once(open_books: OpenBooks) -> None:
    books = await open_books(credit=100)
    assert await books.hold(60, source_key="call") == await books.hold(60, source_key="call")
    assert (await books.wallet()).held == 60


@pytest.mark.parametrize("difference", ["amount", "hold", "kind", "organisation"])
async def test_a_used_key_for_something_else_is_a_conflict(
    open_books: OpenBooks, database: Database, difference: str
) -> None:
    books, other = await open_books(credit=100), await open_books(credit=100)
    hold, another = await books.hold(15), await books.hold(15)
    await books.settle(hold, 0, source_key="settle")
    refused = {
        "amount": lambda: books.settle(hold, 12, source_key="settle"),
        "hold": lambda: books.settle(another, 0, source_key="settle"),
        "kind": lambda: books.release(hold, source_key="settle"),
        "organisation": lambda: other.settle(hold, 0, source_key="settle"),
    }[difference]()
    await assert_unchanged(database, refused, Refusal.CONFLICT)


async def test_the_opposite_adjustment_under_one_key_is_a_conflict(open_books: OpenBooks, database: Database) -> None:
    books = await open_books(credit=100)
    taken = await books.post("adjustment", -40, source_key="goodwill")
    assert await books.post("adjustment", -40, source_key="goodwill") == taken
    await assert_unchanged(database, books.post("adjustment", 40, source_key="goodwill"), Refusal.CONFLICT)
    assert (await books.wallet()).balance == 60


async def test_a_charge_is_at_most_its_hold(open_books: OpenBooks, database: Database) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(7)
    await assert_unchanged(database, books.settle(hold, 8), Refusal.EXCEEDS_HOLD)
    assert isinstance(await books.settle(hold, 7), Transfer)
    assert (await books.wallet()).balance == 93


@pytest.mark.parametrize(
    ("first", "second", "refusal"),
    [
        ("settle", "settle", Refusal.ALREADY_SETTLED),
        ("settle", "release", Refusal.ALREADY_SETTLED),
        ("release", "settle", Refusal.ALREADY_RELEASED),
        ("release", "release", Refusal.ALREADY_RELEASED),
    ],
)
async def test_a_hold_has_one_second_phase_ever(
    open_books: OpenBooks, database: Database, first: str, second: str, refusal: Refusal
) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(7)
    assert isinstance(await books.post(first, pending_id=hold.id), Transfer)
    await assert_unchanged(database, books.post(second, pending_id=hold.id), refusal)


async def test_only_a_hold_can_be_settled(open_books: OpenBooks, database: Database) -> None:
    books = await open_books()
    credit = await books.post("topup", 100)
    assert isinstance(credit, Transfer)
    await assert_unchanged(database, books.settle(credit, 1), Refusal.NOT_PENDING)
    await assert_unchanged(database, books.post("settle", 1, pending_id=new_id()), Refusal.NOT_FOUND)


async def test_a_hold_of_another_organisation_is_not_found(open_books: OpenBooks, database: Database) -> None:
    books, other = await open_books(credit=100), await open_books(credit=100)
    hold = await other.hold(7)
    await assert_unchanged(database, books.release(hold), Refusal.NOT_FOUND)


async def test_settling_zero_returns_everything(open_books: OpenBooks) -> None:
    books = await open_books(credit=1)
    assert isinstance(await books.settle(await books.hold(1), 0), Transfer)
    assert await books.wallet() == Wallet(balance=1, held=0, sequence=3)


async def test_a_hold_that_does_not_fit_is_refused_and_changes_nothing(
    open_books: OpenBooks, database: Database
) -> None:
    books = await open_books(credit=100)
    await books.settle(await books.hold(70), 70)
    await assert_unchanged(database, books.post("hold", 50), Refusal.INSUFFICIENT)
    await assert_unchanged(database, books.post("hold", 31), Refusal.INSUFFICIENT)
    await books.hold(30)
    await assert_unchanged(database, books.post("hold", 1), Refusal.INSUFFICIENT)


async def test_a_clawback_may_take_the_balance_below_zero_and_then_nothing_can_be_held(
    open_books: OpenBooks, database: Database
) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(30)
    await books.post("dispute", 250)
    assert (await books.wallet()).available == -180
    await assert_unchanged(database, books.post("hold", 0), Refusal.INSUFFICIENT)
    await books.settle(hold, 30)
    assert (await books.wallet()).balance == -180


# -- many at once ---------------------------------------------------------------------------------------------------


async def test_of_a_hundred_settlements_of_one_hold_one_wins(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(50)
    async with several_doors(database_url, 4) as doors:
        rivals = [Books(door, database, books.org_id) for door in doors]
        outcomes = await asyncio.gather(*[rivals[i % 4].settle(hold, i % 50 + 1) for i in range(100)])
    won = [outcome for outcome in outcomes if isinstance(outcome, Transfer)]
    assert len(won) == 1
    assert outcomes.count(Refusal.ALREADY_SETTLED) == 99
    assert (await books.wallet()).balance == 100 - won[0].amount


async def test_a_wallet_that_affords_k_holds_gives_exactly_k_of_ten_times_as_many(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    k = 20
    books = await open_books(credit=7 * k + 6)
    async with several_doors(database_url, 4) as doors:
        rivals = [Books(door, database, books.org_id) for door in doors]
        outcomes = await asyncio.gather(*[rivals[i % 4].post("hold", 7) for i in range(10 * k)])
    assert sum(isinstance(outcome, Transfer) for outcome in outcomes) == k
    assert outcomes.count(Refusal.INSUFFICIENT) == 9 * k
    assert await books.wallet() == Wallet(balance=7 * k + 6, held=7 * k, sequence=k + 1)


async def test_the_same_key_from_many_doors_is_posted_once(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    books = await open_books()
    async with several_doors(database_url, 4) as doors:
        rivals = [Books(door, database, books.org_id) for door in doors]
        outcomes = await asyncio.gather(*[rivals[i % 4].post("topup", 500, source_key="paid") for i in range(40)])
    assert len({outcome.id for outcome in outcomes if isinstance(outcome, Transfer)}) == 1
    assert (await books.wallet()).balance == 500


async def test_the_same_key_for_two_organisations_at_once_goes_to_one_of_them(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    """Their wallets are locked apart, so only the unique key stands between them."""
    first, second = await open_books(), await open_books()
    async with several_doors(database_url, 2) as doors:
        for number in range(10):
            outcomes = await asyncio.gather(
                Books(doors[0], database, first.org_id).post("topup", 5, source_key=f"paid-{number}"),
                Books(doors[1], database, second.org_id).post("topup", 5, source_key=f"paid-{number}"),
            )
            assert outcomes.count(Refusal.CONFLICT) == 1
    assert (await first.wallet()).balance + (await second.wallet()).balance == 50


async def test_parallel_charges_all_count(open_books: OpenBooks) -> None:
    books = await open_books(credit=10_000)

    async def charge() -> None:
        assert isinstance(await books.settle(await books.hold(60), 60), Transfer)

    await asyncio.gather(*[charge() for _ in range(50)])
    assert (await books.wallet()).balance == 7_000


class Move:
    """A door command that moves credit between two wallets, in one decision."""

    def __init__(self, giver: str, taker: str) -> None:
        key = new_id()
        self.posts = [
            Post(Posting(new_id(), f"{key}-give", giver, "adjustment", -1)),
            Post(Posting(new_id(), f"{key}-take", taker, "adjustment", 1)),
        ]

    def locate(self) -> Sequence[Any]:
        return ()

    def organisations(self, located: Any) -> list[str]:
        return [post.posting.org_id for post in self.posts]

    def reads(self, located: Any) -> list[Any]:
        return [read for post in self.posts for read in post.reads(located)]

    def fold(self, rows: Any, now: int) -> list[Any]:
        return [post.fold(rows, now) for post in self.posts]


async def test_two_wallets_moved_in_opposite_directions_do_not_deadlock(
    open_books: OpenBooks, database_url: str
) -> None:
    first, second = await open_books(), await open_books()
    async with several_doors(database_url, 2) as doors:
        moves = [
            door.submit(Move(giver.org_id, taker.org_id))
            for _ in range(50)
            for door, giver, taker in ((doors[0], first, second), (doors[1], second, first))
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*moves)
    assert await first.wallet() == await second.wallet() == Wallet(balance=0, held=0, sequence=100)


# -- faults ---------------------------------------------------------------------------------------------------------


async def test_an_error_at_any_statement_changes_nothing(open_books: OpenBooks, door: Door, database: Database) -> None:
    books = await open_books(credit=100)
    hold = await books.hold(50)
    before = await snapshot(database)
    failed: list[str] = []
    while True:
        with failing_at(database, len(failed)) as broken:
            outcome = (await asyncio.gather(books.settle(hold, 20), return_exceptions=True))[0]
        if not broken:
            break
        assert isinstance(outcome, RuntimeError)
        assert await snapshot(database) == before
        failed += broken
    writing = ["INSERT", "UPDATE"] if database.is_sqlite else ["WITH"]
    assert [statement.split()[0] for statement in failed][-1 - len(writing) :] == [*writing, "COMMIT"]
    assert isinstance(outcome, Transfer)
    assert (await books.wallet()).balance == 80


@pytest.mark.parametrize("change", [update(transfers).values(amount=1), delete(transfers)], ids=["update", "delete"])
async def test_the_database_refuses_to_change_a_transfer(
    open_books: OpenBooks, database: Database, change: Any
) -> None:
    books = await open_books(credit=100)
    before = await all_transfers(database)
    with pytest.raises(IntegrityError, match="never changed or deleted"):
        await alter(
            database.url, lambda connection: connection.execute(change.where(transfers.c.org_id == books.org_id))
        )
    assert await all_transfers(database) == before


async def test_postgres_refuses_to_empty_the_ledger(open_books: OpenBooks, database: Database) -> None:
    books = await open_books(credit=100)
    statement = "delete from transfers" if database.is_sqlite else "truncate transfers"
    with pytest.raises(IntegrityError, match="never changed or deleted"):
        await alter(database.url, lambda connection: connection.execute(text(statement)))
    assert len(await books.transfers()) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("kind", "hold"), ("amount", -1), ("sequence", 1), ("source_key", "topup"), ("pending_id", "hold")],
    ids=["uncovered hold", "negative amount", "sequence twice", "key twice", "second second phase"],
)
async def test_the_database_itself_refuses_an_impossible_transfer(
    open_books: OpenBooks, database: Database, column: str, value: object
) -> None:
    books = await open_books()
    await books.post("topup", 10, source_key="topup")
    hold = await books.hold(10)
    await books.release(hold)
    sound = (await books.transfers())[0]
    row = {name: getattr(sound, name) for name in transfers.c.keys()}  # noqa: SIM118  columns, not a dict
    row |= {"id": new_id(), "source_key": new_id(), "sequence": 99, "balance_after": 9, "held_after": 10}
    row[column] = hold.id if value == "hold" and column == "pending_id" else value
    with pytest.raises(IntegrityError):
        await alter(database.url, lambda connection: connection.execute(insert(transfers), [row]))


async def test_the_database_itself_refuses_a_negative_hold(open_books: OpenBooks, database: Database) -> None:
    books = await open_books(credit=10)
    with pytest.raises(IntegrityError):
        await alter(
            database.url,
            lambda connection: connection.execute(update(wallets).where(wallets.c.id == books.org_id).values(held=-1)),
        )


# -- reading --------------------------------------------------------------------------------------------------------


async def test_every_kind_has_its_house_account_and_they_sum_to_the_wallets(
    open_books: OpenBooks, database: Database
) -> None:
    books, other = await open_books(credit=10_000), await open_books(credit=500)
    await books.settle(await books.hold(60), 45)
    await books.release(await books.hold(60))
    await other.settle(await other.hold(60), 60)
    await books.post("refund", 5)
    await books.post("free_credit", 700)
    await books.post("topup_refund", 90)
    await books.post("topup_refund_undo", 10)
    await books.post("dispute", 33)
    await books.post("dispute_won", 3)
    await books.post("adjustment", -11)
    await other.post("adjustment", 4)
    async with database.read() as connection:
        totals = await house_totals(connection)
    assert totals == {
        "payments": -10_500,
        "revenue": 45 + 60 - 5,
        "free_credit": -700,
        "refunds": 90 - 10,
        "disputes": 33 - 3,
        "adjustments": 11 - 4,
    }
    assert set(totals) == {kind.house_account for kind in KINDS.values()}
    assert sum(totals.values()) == -(await books.wallet()).balance - (await other.wallet()).balance


async def test_transfers_are_listed_newest_first_and_page_both_ways(open_books: OpenBooks, database: Database) -> None:
    books, other = await open_books(credit=1_000), await open_books(credit=1)
    hold = await books.hold(100, call_id="call")
    await books.settle(hold, 40, call_id="call")
    await books.release(await books.hold(100))

    async def sequences(**arguments: Any) -> list[int]:
        async with database.read() as connection:
            rows = await list_transfers(connection, books.org_id, **{"limit": 10, **arguments})
        return [row["sequence"] for row in rows]

    assert await sequences() == [5, 4, 3, 2, 1]
    assert await sequences(limit=2) == [5, 4]
    assert await sequences(limit=2, before=4) == [3, 2]
    assert await sequences(limit=2, after=1) == [3, 2]
    assert await sequences(after=1, before=4) == [3, 2]
    assert await sequences(without_holds=True) == [3, 1]
    assert await sequences(call_id="call") == [3, 2]
    async with database.read() as connection:
        assert await sequence_of(connection, books.org_id, hold.id) == 2
        assert await sequence_of(connection, other.org_id, hold.id) is None
        assert await read_wallet(connection, books.org_id) == await books.wallet()
        assert await read_wallet(connection, "nobody") is None


async def test_a_posting_to_an_unknown_organisation_fails_and_leaves_nothing(door: Door, database: Database) -> None:
    with pytest.raises(AssertionError):
        await Books(door, database, "nobody").post("topup", 5)
    async with database.read() as connection:
        assert (await connection.execute(select(transfers))).all() == []


@pytest.mark.parametrize("listens", [True, False])
async def test_a_posting_on_known_terms_tells_who_listens_that_the_wallet_runs_low(
    open_books: OpenBooks, database: Database, listens: bool
) -> None:
    books = await open_books(credit=900_000)
    listening = update(organisations).where(organisations.c.id == books.org_id).values(webhook_endpoints=int(listens))
    await alter(database.url, lambda connection: connection.execute(listening))

    def taking(amount: int) -> Posting:
        return Posting(new_id(), new_id(), books.org_id, "adjustment", -amount)

    await books.door.submit(Post(taking(100)))
    for amount in (300_000, 1):
        posted = await books.door.submit(Post(taking(amount), Terms(5_000, 3_600)))
        assert isinstance(posted, Transfer)
        assert posted.balance_delta == -amount
    async with database.read() as connection:
        told = (await connection.execute(select(events.c.type, events.c.org_id))).all()
    assert told == ([("balance.low", books.org_id)] if listens else [])
