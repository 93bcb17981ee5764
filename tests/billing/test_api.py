"""The wallet and its movements as the public API shows them."""

import pytest

from billing.ledger import Post
from billing.posting import Posting
from config.clock import new_id
from tests.servers import DOLLAR, Organisation, Server


async def post(server: Server, org: Organisation, kind: str, amount: int) -> None:
    await server.door.submit(Post(Posting(new_id(), new_id(), org.id, kind, amount, reason="for this test")))


@pytest.mark.parametrize(
    ("credit", "calls_left", "status", "message"),
    [
        (1_000_000, 3, "ok", None),
        (600_000, 2, "ok", None),
        (500_000, 1, "low", None),
        (300_000, 1, "low", None),
        (
            188_900,
            0,
            "paused",
            "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no one "
            "answers). Add $1.12 or more in credits to keep calling.",
        ),
        (
            -1_900_000,
            0,
            "paused",
            "Calls paused. Your balance is −$19.00 but each call requires a $3.00 hold (we release it back if no one "
            "answers). Add $22.00 or more in credits to keep calling.",
        ),
    ],
)
async def test_the_wallet_says_how_many_calls_still_fit(
    sqlite_server: Server, credit: int, calls_left: int, status: str, message: str | None
) -> None:
    org = await sqlite_server.organisation(credit=0)
    await post(sqlite_server, org, "adjustment", credit)
    assert await org.wallet() == {
        "balance_milli_cents": credit,
        "held_milli_cents": 0,
        "available_milli_cents": credit,
        "hold_milli_cents": 300_000,
        "calls_left": calls_left,
        "status": status,
        "message": message,
    }


async def test_a_hold_is_shown_apart_from_what_is_spent(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    call = await org.call("+14155550130")
    wallet = await org.wallet()
    assert wallet["balance_milli_cents"] == 10 * DOLLAR
    assert (wallet["held_milli_cents"], wallet["available_milli_cents"]) == (300_000, 700_000)
    await org.over(call)
    wallet = await org.wallet()
    assert (wallet["held_milli_cents"], wallet["available_milli_cents"]) == (0, 10 * DOLLAR - 5_250)


async def test_every_movement_is_listed_with_what_it_left_behind(server: Server) -> None:
    org = await server.organisation(credit=0)
    await post(server, org, "topup", 10 * DOLLAR)
    call = await org.over(await org.call("+14155550130"))
    shown = await org.get("/v1/billing/transfers")
    assert shown["has_more"] is False
    settle, hold, topup = shown["data"]
    assert [row["kind"] for row in (topup, hold, settle)] == ["topup", "hold", "settle"]
    assert [row["sequence"] for row in (topup, hold, settle)] == [1, 2, 3]
    assert [row["call_id"] for row in (topup, hold, settle)] == [None, call["id"], call["id"]]
    assert [row["amount_milli_cents"] for row in (topup, hold, settle)] == [1_000_000, 300_000, 5_250]
    assert [row["balance_delta_milli_cents"] for row in (topup, hold, settle)] == [1_000_000, 0, -5_250]
    assert [row["held_delta_milli_cents"] for row in (topup, hold, settle)] == [0, 300_000, -300_000]
    assert [row["balance_after_milli_cents"] for row in (topup, hold, settle)] == [1_000_000, 1_000_000, 994_750]
    assert [row["held_after_milli_cents"] for row in (topup, hold, settle)] == [0, 300_000, 0]
    assert settle["pending_id"] == hold["id"]
    assert topup["reason"] == "for this test"
    assert topup["created_at"] < hold["created_at"] < settle["created_at"]


async def test_movements_are_paged_both_ways_newest_first(server: Server) -> None:
    org = await server.organisation(credit=0)
    for amount in range(1, 8):
        await post(server, org, "topup", amount)
    newest_first = [row["id"] for row in (await org.get("/v1/billing/transfers"))["data"]]
    assert len(newest_first) == 7

    async def page(**query: str | int) -> tuple[list[str], bool]:
        shown = await org.get("/v1/billing/transfers", **query)
        return [row["id"] for row in shown["data"]], shown["has_more"]

    assert await page(limit=3) == (newest_first[:3], True)
    assert await page(limit=3, starting_after=newest_first[2]) == (newest_first[3:6], True)
    assert await page(limit=3, starting_after=newest_first[5]) == (newest_first[6:], False)
    assert await page(limit=3, ending_before=newest_first[6]) == (newest_first[3:6], True)
    assert await page(limit=3, ending_before=newest_first[3]) == (newest_first[:3], False)
    assert await page(limit=7) == (newest_first, False)


async def test_nobody_sees_the_movements_of_another(server: Server) -> None:
    owner = await server.organisation(number="+14155550101")
    other = await server.organisation(credit=0, number="+14155550102")
    [transfer] = (await owner.get("/v1/billing/transfers"))["data"]
    assert (await other.get("/v1/billing/transfers"))["data"] == []
    for cursor in ("starting_after", "ending_before"):
        answer = await other.api.get("/v1/billing/transfers", params={cursor: transfer["id"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
