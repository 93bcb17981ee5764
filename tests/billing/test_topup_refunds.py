"""Refunds that an operator asks for: what happens between the bank, calls and processes that die."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from billing.ledger import Post
from billing.operator_commands import OperatorAction
from billing.posting import Posting, Refusal, Transfer
from billing.rating import Terms
from billing.refund_commands import ReserveRefund
from billing.topup_refunds import Refunds
from billing.topup_rules import ReversalSeen
from billing.topup_service import Refused
from billing.topups import Bank, BankRefused, BankUnavailable
from config.clock import new_id
from tests.doors import several_doors
from tests.servers import DOLLAR
from tests.shop import Shop, open_shop

HOUR_SECONDS = 3_600


class Died(BaseException):
    """The process ends here."""


async def refund(shop: Shop, topup: dict[str, Any], cents: int | None = None) -> dict[str, Any]:
    return await Refunds(shop.service).refund(topup["id"], "Ada", "asked", cents)


async def hold(shop: Shop, dollars: int) -> Transfer | Refusal:
    """As a call does when it is placed."""
    return await shop.server.door.submit(Post(Posting(new_id(), new_id(), shop.org.id, "hold", dollars * DOLLAR)))


async def money(shop: Shop) -> tuple[int, int]:
    """(balance, available)"""
    wallet = await shop.org.wallet()
    return wallet["balance_milli_cents"], wallet["available_milli_cents"]


def on_asking(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[], Coroutine[Any, Any, None]] | None = None, dies: str = ""
) -> None:
    """What happens while the bank is being asked for a refund; the process may die `before` it is, or `after` it."""
    ask = Bank.refund

    async def refund(bank: Bank, *wanted: Any) -> ReversalSeen:
        if before is not None:
            await before()
        if dies == "before":
            raise Died
        seen = await ask(bank, *wanted)
        if dies == "after":
            raise Died
        return seen

    monkeypatch.setattr(Bank, "refund", refund)


async def test_a_call_placed_while_the_bank_is_asked_finds_the_refund_reserved(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = any_shop
    topup = await shop.paid()
    placed: list[Any] = []

    async def call() -> None:
        placed.append(await hold(shop, 10))
        placed.append(await money(shop))

    on_asking(monkeypatch, call)
    row = await refund(shop, topup, 2_000)
    assert placed == [Refusal.INSUFFICIENT, (25 * DOLLAR, 5 * DOLLAR)]
    assert row["refunded_milli_cents"] == 20 * DOLLAR
    await shop.delivered()
    assert await money(shop) == (5 * DOLLAR, 5 * DOLLAR)


async def test_a_call_placed_before_it_is_reserved_is_not_refunded(any_shop: Shop) -> None:
    """Between the look at the wallet and the lock: the command looks again."""
    shop = any_shop
    topup = await shop.paid()
    action = OperatorAction(new_id(), "Ada", "topup_refund", topup["id"], "asked", shop.org.id, {"amount_cents": 2_500})
    await hold(shop, 10)
    terms = shop.server.settings.terms
    refusal = await shop.server.door.submit(ReserveRefund(topup["id"], shop.org.id, 2_500, action, terms))
    assert refusal == f"$15.00 of top-up {topup['id']} is unspent; no more can be refunded"
    assert await money(shop) == (25 * DOLLAR, 15 * DOLLAR)


async def test_calls_and_refunds_of_two_processes_never_take_the_same_credit(postgres_url: str) -> None:
    async with open_shop(postgres_url) as shop, several_doors(postgres_url, 2) as doors:
        topup = await shop.paid()
        terms: Terms = shop.server.settings.terms

        def reserve() -> ReserveRefund:
            detail = {"amount_cents": 500}
            action = OperatorAction(new_id(), "Ada", "topup_refund", topup["id"], "asked", shop.org.id, detail)
            return ReserveRefund(topup["id"], shop.org.id, 500, action, terms)

        def call() -> Post:
            return Post(Posting(new_id(), new_id(), shop.org.id, "hold", 5 * DOLLAR))

        asked = [(doors[0].submit(reserve()), doors[1].submit(call())) for _ in range(5)]
        outcomes = await asyncio.gather(*[each for pair in asked for each in pair])
        assert sum(outcome is None or isinstance(outcome, Transfer) for outcome in outcomes) == 5
        assert await money(shop) == (25 * DOLLAR, 0)


async def test_a_refund_that_the_bank_refuses_leaves_everything_as_it_was(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    await shop.dispute(topup)
    with pytest.raises(Refused, match="charge_disputed: nothing was refunded"):
        await refund(shop, topup)
    assert await money(shop) == (25 * DOLLAR, 25 * DOLLAR)
    assert [kind for kind, _ in await shop.kinds()] == ["topup", "hold", "release"]


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_refund_whose_process_died_is_made_once_all_the_same(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    shop = any_shop
    topup = await shop.paid()
    await shop.do("settings", faults={"lose": 1})
    on_asking(monkeypatch, dies=dies)
    with pytest.raises(Died):
        await refund(shop, topup, 1_000)
    monkeypatch.undo()
    assert await money(shop) == (25 * DOLLAR, 15 * DOLLAR)
    assert not (await shop.upkeep.reconcile())["unanswered"]  # too fresh: whoever began it may be at it
    shop.wait(61)
    for _ in range(2):
        await shop.upkeep.reconcile()
        assert await money(shop) == (15 * DOLLAR, 15 * DOLLAR)
    assert await shop.kept_cents() == 1_500
    assert [kind for kind, _ in await shop.kinds()] == ["topup", "hold", "release", "topup_refund"]


@pytest.mark.parametrize(("dies", "left"), [("before", 25), ("after", 15)])
async def test_once_the_bank_has_forgotten_the_key_it_is_looked_for_and_never_asked_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, dies: str, left: int
) -> None:
    topup = await shop.paid()
    await shop.do("settings", faults={"lose": 1})
    on_asking(monkeypatch, dies=dies)
    with pytest.raises(Died):
        await refund(shop, topup, 1_000)
    shop.wait(21 * HOUR_SECONDS)
    await shop.upkeep.reconcile()  # the process that asks still dies at it: it must not ask
    assert await money(shop) == (left * DOLLAR, left * DOLLAR)
    assert await shop.kept_cents() == left * 100
    assert [alert.kind for alert in shop.alerts] == (["refund_refused"] if left == 25 else [])


async def test_a_refund_that_the_bank_shows_in_no_form_we_know_is_not_taken_for_one_never_made(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    topup = await shop.paid()
    await shop.do("settings", faults={"lose": 1})
    on_asking(monkeypatch, dies="after")
    with pytest.raises(Died):
        await refund(shop, topup, 1_000)
    (made,) = shop.bank.all("refund")
    made["amount"] = -1_000
    shop.wait(21 * HOUR_SECONDS)
    await shop.upkeep.reconcile()
    assert await money(shop) == (25 * DOLLAR, 15 * DOLLAR)
    assert "refund_unreadable" in [alert.kind for alert in shop.alerts]
    made["amount"] = 1_000
    await shop.upkeep.reconcile()
    assert await money(shop) == (15 * DOLLAR, 15 * DOLLAR)


async def test_the_event_that_comes_before_the_answer_ends_the_hold(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    topup = await shop.paid()
    on_asking(monkeypatch, dies="after")
    with pytest.raises(Died):
        await refund(shop, topup)
    await shop.until_balance(0)
    assert await money(shop) == (0, 0)


@pytest.mark.parametrize("order", [1, -1])
async def test_a_refund_that_fails_later_gives_back_once_in_any_order_of_events(shop: Shop, order: int) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    await refund(shop, topup)
    (made,) = (await shop.sim.get("/_sim/stripe/record")).json()["refunds"]
    await shop.do(f"refunds/{made['id']}", status="failed")
    told = await shop.events("refund.created", "refund.updated", "refund.failed")
    for event in [*told, *told][::order]:
        await shop.send(event)
    assert await money(shop) == (25 * DOLLAR, 25 * DOLLAR)


async def test_a_refund_known_failed_before_the_answer_takes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    on_asking(monkeypatch, dies="after")
    with pytest.raises(Died):
        await refund(shop, topup)
    (made,) = (await shop.sim.get("/_sim/stripe/record")).json()["refunds"]
    await shop.do(f"refunds/{made['id']}", status="failed")
    for event in reversed(await shop.events("refund.created", "refund.updated", "refund.failed")):
        await shop.send(event)
    assert await money(shop) == (25 * DOLLAR, 25 * DOLLAR)
    assert [kind for kind, _ in await shop.kinds()] == ["topup", "hold", "release"]


async def refund_without_an_answer_and_again(shop: Shop, topup: dict[str, Any], told: bool) -> None:
    """Five dollars, made once. `told`: Stripe's event comes between."""
    await shop.do("settings", answers_to_lose=3)
    with pytest.raises(BankUnavailable):
        await refund(shop, topup, 500)
    for event in await shop.events("refund.created") if told else ():
        await shop.send(event)
    with pytest.raises(Refused, match=r"500 cents of top-up .*, asked for before, have just been refunded"):
        await refund(shop, topup, 500)


@pytest.mark.parametrize("told", [False, True])
async def test_whoever_asks_again_after_no_answer_learns_what_became_of_the_first(any_shop: Shop, told: bool) -> None:
    shop = any_shop
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    await refund_without_an_answer_and_again(shop, topup, told)
    assert await money(shop) == (20 * DOLLAR, 20 * DOLLAR)
    await refund(shop, topup, 500)
    assert await shop.kept_cents() == 1_500


async def test_a_refund_at_the_bank_that_names_another_organisations_hold_does_not_end_it(shop: Shop) -> None:
    topup = await shop.paid()
    own, other = shop.org, await shop.server.organisation(credit=0, number="+14155550102")
    theirs = await shop.paid(org=other)
    shop.org = other
    held = await hold(shop, 5)
    assert isinstance(held, Transfer)
    action = OperatorAction(new_id(), "Ada", "topup_refund", theirs["id"], "asked", other.id, {"amount_cents": 500})
    await shop.server.door.submit(ReserveRefund(theirs["id"], other.id, 500, action, shop.server.settings.terms))
    for named in (held.id, action.id):
        await shop.do("refunds", payment_intent=topup["payment_intent"], amount=100, metadata={"action_id": named})
    shop.org = own
    await shop.until_balance(23)
    shop.org = other
    assert await money(shop) == (25 * DOLLAR, 15 * DOLLAR)


# -- of payments that gave no credit ----------------------------------------------------------------------------------


async def reviewed(shop: Shop, **tampering: Any) -> dict[str, Any]:
    """A payment of 2,500 in review. The post is paused."""
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    session = await shop.pay(topup)
    (event,) = await shop.events("checkout.session.completed")
    event["data"]["object"] |= {"currency": "jpy", **tampering}
    await shop.send(event)
    (row,) = await shop.rows("review")
    return {"id": row["id"], "payment_intent": session["payment_intent"]}


async def rejected(shop: Shop, **tampering: Any) -> dict[str, Any]:
    """The same, and an operator gave no credit for it."""
    topup = await reviewed(shop, **tampering)
    await reject(shop, topup)
    return topup


async def reject(shop: Shop, topup: dict[str, Any]) -> None:
    await shop.service.resolve(topup["id"], "Ada", "yen", credit=False, org_id=None, amount_cents=None)


NOBODYS: dict[str, Any] = {"id": "cs_test_stray", "client_reference_id": None, "metadata": {}}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("tampering", [{}, NOBODYS], ids=["somebodys", "nobodys"])
async def test_a_refund_of_a_rejected_payment_asked_again_after_no_answer_is_made_once(
    any_shop: Shop, tampering: dict[str, Any], told: bool
) -> None:
    shop = any_shop
    topup = await rejected(shop, **tampering)
    await refund_without_an_answer_and_again(shop, topup, told)
    assert await shop.kept_cents() == 2_000
    await refund(shop, topup, 500)
    assert await shop.kept_cents() == 1_500
    await refund(shop, topup)
    assert await shop.kept_cents() == 0


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize("cents", [500, None])
async def test_a_refund_of_a_rejected_payment_whose_process_died_is_made_once_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, dies: str, cents: int | None
) -> None:
    topup = await rejected(shop)
    on_asking(monkeypatch, dies=dies)
    with pytest.raises(Died):
        await refund(shop, topup, cents)
    monkeypatch.undo()
    shop.wait(61)
    for _ in range(2):
        await shop.upkeep.reconcile()
        assert await shop.kept_cents() == (2_000 if cents else 0)
    assert (await shop.row(topup))["refunded_milli_cents"] == (5 if cents else 25) * DOLLAR
    assert shop.alerts[1:] == []


@pytest.mark.parametrize(("dies", "left"), [("before", 2_500), ("after", 2_000)])
async def test_a_refund_of_a_rejected_payment_is_not_asked_for_again_once_the_bank_has_forgotten_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, dies: str, left: int
) -> None:
    topup = await rejected(shop)
    on_asking(monkeypatch, dies=dies)
    with pytest.raises(Died):
        await refund(shop, topup, 500)
    shop.wait(21 * HOUR_SECONDS)
    for _ in range(2):
        await shop.upkeep.reconcile()  # the process that asks still dies at it: it must not ask
    assert await shop.kept_cents() == left
    assert [alert.kind for alert in shop.alerts[1:]] == (["refund_refused"] if left == 2_500 else [])


async def test_a_refund_of_a_rejected_payment_that_the_bank_refused_is_not_made_later(shop: Shop) -> None:
    topup = await rejected(shop)
    dispute = await shop.dispute(topup)
    with pytest.raises(Refused, match="charge_disputed: nothing was refunded"):
        await refund(shop, topup, 500)
    await shop.do(f"disputes/{dispute['id']}", status="won")
    shop.wait(61)
    await shop.upkeep.reconcile()
    assert await shop.kept_cents() == 2_500
    await refund(shop, topup, 700)
    assert await shop.kept_cents() == 1_800


@pytest.mark.parametrize(("tampering", "returned"), [({}, 5 * DOLLAR), (NOBODYS, 0)], ids=["somebodys", "nobodys"])
async def test_what_went_back_of_a_payment_that_gave_no_credit_is_heard_once(
    any_shop: Shop, tampering: dict[str, Any], returned: int
) -> None:
    shop = any_shop
    topup = await reviewed(shop, **tampering)
    await shop.refund(topup, 500)
    dispute = await shop.dispute(topup, amount=100)
    assert (await shop.upkeep.reconcile())["kept"] == 2
    assert not (await shop.upkeep.reconcile())["kept"]
    await reject(shop, topup)
    assert (await shop.row(topup))["refunded_milli_cents"] == returned
    assert not await shop.upkeep.reconcile()
    await shop.do(f"disputes/{dispute['id']}", status="lost")
    assert sum((await shop.upkeep.reconcile()).values()) == 1
    assert not await shop.upkeep.reconcile()


async def test_what_went_back_during_a_review_is_shown_from_its_rejection_on(shop: Shop) -> None:
    topup = await reviewed(shop)
    await shop.refund(topup)
    for event in await shop.events("refund.created"):
        await shop.send(event)
    await reject(shop, topup)
    assert (await shop.shown(topup))["status"] == "refunded"


async def test_a_payment_that_the_bank_does_not_know_cannot_be_refunded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of the other mode: Stripe gives no list for it."""

    async def unknown(*_: Any, **__: Any) -> list[ReversalSeen]:
        raise BankRefused("Stripe: InvalidRequestError resource_missing", "resource_missing")

    topup = await rejected(shop, payment_intent="pi_of_the_other_mode")
    monkeypatch.setattr(Bank, "refunds", unknown)
    with pytest.raises(Refused, match="resource_missing: nothing was refunded"):
        await refund(shop, topup)
