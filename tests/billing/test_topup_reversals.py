"""Refunds and disputes of top-ups, told by signed events of a bank on a real socket, in every order."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import topup_queries, topups
from billing.hear_payment import HearPayment
from billing.hear_reversal import HearReversal
from billing.ledger import Post
from billing.posting import Posting
from billing.stripe_facts import payment_of_session, reversal_of_refund
from billing.topup_rules import Payment
from config.clock import new_id
from tests.doors import several_doors
from tests.servers import DOLLAR, until
from tests.shop import Shop, open_shop

T = TypeVar("T")


async def spend(shop: Shop, dollars: int) -> None:
    """As calls do it: held, then charged."""
    hold, amount = new_id(), dollars * DOLLAR
    await shop.server.door.submit(Post(Posting(hold, new_id(), shop.org.id, "hold", amount)))
    await shop.server.door.submit(Post(Posting(new_id(), new_id(), shop.org.id, "settle", amount, pending_id=hold)))


# -- refunds ----------------------------------------------------------------------------------------------------------


async def test_a_refund_takes_the_credit_back(any_shop: Shop) -> None:
    shop = any_shop
    topup = await shop.paid()
    refund = await shop.refund(topup)
    await shop.until_balance(0)
    assert await shop.kinds() == [("topup", 25 * DOLLAR), ("topup_refund", -25 * DOLLAR)]
    assert (await shop.keys())[1] == f"refund:{refund['id']}"
    shown = await shop.shown(topup)
    assert (shown["status"], shown["refunded_milli_cents"]) == ("refunded", 25 * DOLLAR)


async def test_two_partial_refunds_take_their_shares(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.refund(topup, 1_000)
    await shop.until_balance(15)
    await shop.refund(topup, 500)
    await shop.until_balance(10)
    assert (await shop.shown(topup))["status"] == "paid"
    assert (await shop.shown(topup))["refunded_milli_cents"] == 15 * DOLLAR
    await shop.refund(topup)
    await shop.until_balance(0)
    assert (await shop.shown(topup))["status"] == "refunded"


async def test_a_refund_of_a_payment_with_tax_takes_the_share_of_the_credit_rounded_up(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/tamper", amount_total=2_700)
    topup["payment_intent"] = (await shop.pay(topup))["payment_intent"]
    await shop.until_balance(25)
    await shop.refund(topup, 1_000)
    share = -(-25 * DOLLAR * 1_000 // 2_700)
    await until_balance_is(shop, 25 * DOLLAR - share)


async def until_balance_is(shop: Shop, milli_cents: int) -> None:
    async def reached() -> bool:
        return await shop.balance() == milli_cents

    await until(reached, f"a balance of {milli_cents}")


async def test_a_refund_of_spent_credit_takes_the_balance_below_zero_and_a_topup_repays_it(shop: Shop) -> None:
    topup = await shop.paid()
    await spend(shop, 19)
    await shop.refund(topup)
    await shop.until_balance(-19)
    wallet = await shop.org.wallet()
    assert (wallet["status"], wallet["calls_left"]) == ("paused", 0)
    assert "Your balance is −$19.00" in wallet["message"]
    assert "balance_below_zero" in [alert.kind for alert in shop.alerts]
    await shop.paid(5_000)
    assert await shop.balance() == 31 * DOLLAR
    assert (await shop.org.wallet())["status"] == "ok"


async def test_a_refund_that_fails_gives_back_exactly_what_it_took(shop: Shop) -> None:
    topup = await shop.paid()
    refund = await shop.refund(topup, 777)
    await shop.until_balance(17.23)
    await shop.do(f"refunds/{refund['id']}", status="failed")  # told twice: refund.updated and refund.failed
    await shop.until_balance(25)
    await shop.delivered()
    assert (await shop.keys())[1:] == [f"refund:{refund['id']}", f"refund_undo:{refund['id']}"]
    assert (await shop.shown(topup))["status"] == "paid"


async def test_a_pending_refund_that_is_canceled_gives_back_too(shop: Shop) -> None:
    topup = await shop.paid()
    refund = await shop.refund(topup, status="pending")
    await shop.until_balance(0)
    await shop.do(f"refunds/{refund['id']}", status="canceled")
    await shop.until_balance(25)


async def test_a_refund_that_arrives_before_its_topup_is_kept_and_applied_after_it(any_shop: Shop) -> None:
    shop = any_shop
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    topup["payment_intent"] = (await shop.pay(topup))["payment_intent"]
    await shop.refund(topup, 1_000)
    for event in await shop.events("refund.created"):
        assert (await shop.send(event)).json()["outcome"] == "kept"
    assert await shop.balance() == 0
    for event in await shop.events("checkout.session.completed"):
        assert (await shop.send(event)).json()["outcome"] == "credited"
    assert await shop.balance() == 15 * DOLLAR


async def test_a_refund_and_its_topup_told_to_two_processes_at_the_same_moment_both_count(postgres_url: str) -> None:
    async with open_shop(postgres_url) as shop, several_doors(postgres_url, 2) as doors:
        await shop.do("settings", paused=True)
        for _ in range(10):
            topup = await shop.begin()
            session = await shop.pay(topup)
            refund = await shop.refund({"payment_intent": session["payment_intent"]})
            seen = reversal_of_refund(refund)
            assert seen is not None
            await asyncio.gather(
                doors[0].submit(HearPayment(payment_of_session(session), new_id())),
                doors[1].submit(HearReversal(seen, new_id())),
            )
            await shop.service.match(session["payment_intent"])  # what each of them does after its commit
            assert await shop.balance() == 0


class ToldTooEarly(HearReversal):
    """Looks for its top-up just before another process credits it, and reads just after."""

    def locate(self) -> tuple[()]:
        return ()


async def test_a_refund_that_finds_its_topup_credited_meanwhile_is_applied_at_the_second_look(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    seen = reversal_of_refund(await shop.refund(topup))
    assert seen is not None
    heard = await shop.server.door.submit(ToldTooEarly(seen, new_id()))
    assert heard.outcome == "kept"
    await shop.service.match(topup["payment_intent"])
    assert await shop.balance() == 0


async def test_a_refund_of_something_we_never_sold_is_kept_and_takes_nothing(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    await shop.refund(topup)
    (event,) = await shop.events("refund.created")
    event["data"]["object"] |= {"id": "re_other", "payment_intent": "pi_other"}
    assert (await shop.send(event)).json()["outcome"] == "kept"
    event["data"]["object"] |= {"id": "re_old", "payment_intent": None}
    assert (await shop.send(event)).json()["outcome"] == "ignored"
    assert await shop.balance() == 25 * DOLLAR


# -- disputes ---------------------------------------------------------------------------------------------------------


async def test_a_dispute_takes_when_the_funds_are_withdrawn_and_gives_back_when_won(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    dispute = await shop.dispute(topup)
    created, withdrawn = await shop.events("charge.dispute.created", "charge.dispute.funds_withdrawn")
    await shop.send(created)
    assert await shop.balance() == 25 * DOLLAR
    assert [alert.kind for alert in shop.alerts] == ["dispute_opened"]
    await shop.send(withdrawn)
    assert await shop.balance() == 0
    assert (await shop.shown(topup))["status"] == "disputed"
    await shop.do(f"disputes/{dispute['id']}", status="won")
    for event in await shop.events("charge.dispute.closed", "charge.dispute.funds_reinstated"):
        await shop.send(event)
        assert await shop.balance() == 25 * DOLLAR
    assert (await shop.keys())[1:] == [f"dispute:{dispute['id']}", f"dispute_won:{dispute['id']}"]
    assert (await shop.shown(topup))["status"] == "paid"
    assert [alert.kind for alert in shop.alerts] == ["dispute_opened"]


async def test_a_dispute_takes_what_was_withdrawn_though_it_was_opened_about_more(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    await shop.dispute(topup)
    created, withdrawn = await shop.events("charge.dispute.created", "charge.dispute.funds_withdrawn")
    withdrawn["data"]["object"]["amount"] = 1_000
    for event in (created, withdrawn, {**created, "id": "evt_late"}):
        await shop.send(event)
    assert await shop.balance() == 15 * DOLLAR


async def test_a_lost_dispute_keeps_what_it_took(shop: Shop) -> None:
    topup = await shop.paid()
    dispute = await shop.dispute(topup)
    await shop.until_balance(0)
    await shop.do(f"disputes/{dispute['id']}", status="lost")
    await shop.delivered()
    assert await shop.balance() == 0


async def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(shop: Shop) -> None:
    topup = await shop.paid()
    inquiry = await shop.dispute(topup, inquiry=True)
    await shop.delivered()
    assert await shop.balance() == 25 * DOLLAR
    assert [alert.kind for alert in shop.alerts] == ["dispute_opened"]
    await shop.do(f"disputes/{inquiry['id']}", status="needs_response")
    await shop.until_balance(0)


async def test_an_inquiry_that_is_closed_took_nothing(shop: Shop) -> None:
    topup = await shop.paid()
    inquiry = await shop.dispute(topup, inquiry=True)
    await shop.do(f"disputes/{inquiry['id']}", status="warning_closed")
    await shop.delivered()
    assert await shop.kinds() == [("topup", 25 * DOLLAR)]


async def test_a_dispute_won_before_anybody_told_that_it_began_takes_nothing(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.do("settings", paused=True)
    dispute = await shop.dispute(topup)
    await shop.do(f"disputes/{dispute['id']}", status="won")
    for event in reversed(await shop.events()):
        assert (await shop.send(event)).status_code == 200
    assert await shop.kinds() == [("topup", 25 * DOLLAR)]


async def test_refund_then_a_dispute_won_then_the_rest_refunded_ends_at_nothing(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.refund(topup, 1_000)
    await shop.until_balance(15)
    dispute = await shop.dispute(topup, amount=2_500)  # of the whole charge: it takes what is left
    await shop.until_balance(0)
    await shop.do(f"disputes/{dispute['id']}", status="won")
    await shop.until_balance(15)
    await shop.refund(topup)
    await shop.until_balance(0)
    assert sum(delta for _, delta in await shop.kinds()) == 0


# -- events that never come -------------------------------------------------------------------------------------------


async def test_lost_events_about_refunds_and_disputes_are_found_by_reconciling(any_shop: Shop) -> None:
    shop = any_shop
    refunded, disputed, inquired = await shop.paid(1_000), await shop.paid(2_000), await shop.paid(3_000)
    await shop.do("settings", faults={"lose": 1})
    refund = await shop.refund(refunded)
    dispute = await shop.dispute(disputed)
    await shop.dispute(inquired, inquiry=True)
    assert (await shop.upkeep.reconcile())["applied"] == 3
    assert await shop.balance() == 30 * DOLLAR
    await shop.do(f"refunds/{refund['id']}", status="failed")
    await shop.do(f"disputes/{dispute['id']}", status="won")
    assert (await shop.upkeep.reconcile())["applied"] == 2
    assert await shop.balance() == 60 * DOLLAR
    assert not (await shop.upkeep.reconcile())["applied"]


async def test_a_dispute_decided_long_after_it_began_is_still_asked_about(shop: Shop) -> None:
    topup = await shop.paid()
    dispute = await shop.dispute(topup)
    await shop.until_balance(0)
    await shop.do("settings", faults={"lose": 1})
    shop.server.clock.advance(60 * 86_400)
    await shop.do(f"disputes/{dispute['id']}", status="won")
    await shop.upkeep.reconcile()
    assert await shop.balance() == 25 * DOLLAR


async def test_many_refunds_are_read_page_by_page(shop: Shop) -> None:
    topup = await shop.paid(50_000)
    await shop.do("settings", faults={"lose": 1})
    for _ in range(105):
        await shop.refund(topup, 100)
    assert (await shop.upkeep.reconcile())["applied"] == 105
    assert await shop.balance() == (500 - 105) * DOLLAR


async def test_a_list_is_read_to_its_end_however_many_pages_it_has(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topups, "PAGE", 1)
    topup = await shop.paid(50_000)
    await shop.do("settings", faults={"lose": 1})
    for _ in range(60):
        await shop.refund(topup, 100)
    assert (await shop.upkeep.reconcile())["applied"] == 60
    assert await shop.balance() == (500 - 60) * DOLLAR


async def test_what_cannot_be_read_keeps_nothing_else_from_being_reconciled(shop: Shop) -> None:
    topup, other = await shop.paid(1_000), await shop.paid(2_000)
    await shop.do("settings", faults={"lose": 1})
    odd = await shop.refund(topup, 300)
    await shop.refund(other, 500)
    shop.bank.get("refund", odd["id"])["amount"] = -300
    await shop.upkeep.reconcile()
    assert await shop.balance() == 25 * DOLLAR
    assert [(alert.kind, odd["id"] in alert.text) for alert in shop.alerts] == [("reversal_unreadable", True)]


async def test_a_session_about_which_the_bank_never_answers_keeps_nothing_else_from_being_reconciled(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    refunded = await shop.paid(1_000)
    await shop.do("settings", faults={"lose": 1})
    stuck, paid = await shop.begin(500), await shop.begin(2_000)
    await shop.pay(paid)
    await shop.refund(refunded, 300)
    ask = topups.Bank.session

    async def session(bank: topups.Bank, session_id: str) -> Payment:
        if session_id == stuck["session"]:
            raise topups.BankUnavailable("Stripe: APIError")
        return await ask(bank, session_id)

    monkeypatch.setattr(topups.Bank, "session", session)
    shop.wait(61)
    assert (await shop.upkeep.reconcile())["unanswered"] == 1
    assert await shop.balance() == (10 + 20 - 3) * DOLLAR


async def test_a_bank_that_is_away_is_not_asked_about_each_session(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take half a minute not to be answered."""
    for _ in range(6):
        await shop.begin(500)
    asked: list[str] = []

    async def session(_: topups.Bank, session_id: str) -> Payment:
        asked.append(session_id)
        raise topups.BankUnavailable("Stripe: APIConnectionError")

    monkeypatch.setattr(topups.Bank, "session", session)
    shop.wait(61)
    await shop.upkeep.reconcile()
    assert len(asked) == 3


async def test_all_that_is_open_is_asked_about_page_by_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topup_queries, "BATCH", 2)
    disputed = [await shop.paid(500) for _ in range(5)]
    opened = [await shop.dispute(topup) for topup in disputed]
    await shop.until_balance(0)
    await shop.do("settings", faults={"lose": 1})
    begun = [await shop.begin(500) for _ in range(5)]
    for topup in begun:
        await shop.pay(topup)
    shop.server.clock.advance(60 * 86_400)
    for dispute in opened:
        await shop.do(f"disputes/{dispute['id']}", status="won")
    await shop.upkeep.reconcile()
    assert await shop.balance() == 50 * DOLLAR


async def test_a_bad_post_ends_in_the_banks_own_books(shop: Shop) -> None:
    """Duplicates, twins, reordering, strays of the other mode, stale stamps and losses, then one reconciling."""
    faults = {
        "seed": 7,
        "duplicate": 0.4,
        "twin": 0.4,
        "reorder": 0.6,
        "reorder_seconds": 0.3,
        "lose": 0.25,
        "two_signatures": 0.3,
        "wrong_livemode": 0.2,
        "stale": 0.2,
    }
    await shop.do("settings", faults=faults)
    for number in range(6):
        topup = await shop.begin(2_000 + 500 * number)
        topup["payment_intent"] = (await shop.pay(topup))["payment_intent"]
        if number % 2:
            refund = await shop.refund(topup, 300)
            await shop.refund(topup, 400)
            await shop.do(f"refunds/{refund['id']}", status="failed")
        if number % 3 == 1:
            dispute = await shop.dispute(topup)
            await shop.do(f"disputes/{dispute['id']}", status="won")
        if number % 3 == 2:
            await shop.dispute(topup)
    await shop.delivered()
    shop.server.clock.advance(61)
    await shop.upkeep.reconcile()
    assert await shop.balance() == await shop.kept_cents() * 1_000
    assert await shop.rows("review") == []


# -- any order --------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["refund", "fail", "dispute", "inquiry", "win", "lose", "escalate"]), max_size=6)


async def live_through(shop: Shop, steps: list[str], delayed: bool) -> str:
    """A payment and what happens to it, untold; gives its PaymentIntent. Steps the bank forbids do not happen."""
    topup = await shop.begin()
    if delayed:
        await shop.do(f"sessions/{topup['session']}/pay_later")
        await shop.do(f"sessions/{topup['session']}/settle_later", succeeds=True)
        topup["payment_intent"] = shop.bank.get("checkout.session", topup["session"])["payment_intent"]
    else:
        topup["payment_intent"] = (await shop.pay(topup))["payment_intent"]
    intent: str = topup["payment_intent"]
    made = {"refund": "", "dispute": ""}
    paths: dict[str, tuple[str, dict[str, Any]]] = {
        "refund": ("refunds", {"payment_intent": intent, "amount": 1_000}),
        "dispute": ("disputes", {"payment_intent": intent}),
        "inquiry": ("disputes", {"payment_intent": intent, "inquiry": True}),
        "fail": ("refunds/{refund}", {"status": "failed"}),
        "win": ("disputes/{dispute}", {"status": "won"}),
        "lose": ("disputes/{dispute}", {"status": "lost"}),
        "escalate": ("disputes/{dispute}", {"status": "needs_response"}),
    }
    for step in steps:
        path, body = paths[step]
        response = await shop.sim.post(f"/_sim/stripe/{path.format(**made)}", json=body)
        if response.status_code == 200:
            made[response.json()["object"]] = response.json()["id"]
    return intent


async def test_any_order_and_repetition_of_a_topups_events_ends_in_the_right_balance(sqlite_url: str) -> None:
    async with open_shop(sqlite_url, RATE_LIMIT_PER_MINUTE="0") as shop:
        await shop.do("settings", paused=True)
        loop = asyncio.get_running_loop()

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(steps=STEPS, delayed=st.booleans(), data=st.data())
        def check(steps: list[str], delayed: bool, data: st.DataObject) -> None:
            def run(work: Coroutine[Any, Any, T]) -> T:
                return asyncio.run_coroutine_threadsafe(work, loop).result(60)

            told, kept_cents = run(one_life(shop, steps, delayed))
            twins = [{**event, "id": f"{event['id']}twin"} for event in told]
            repeated = data.draw(st.lists(st.sampled_from(told + twins), max_size=6))
            assert run(balance_after(shop, data.draw(st.permutations(told + repeated)))) == kept_cents * 1_000

        await asyncio.to_thread(check)


async def test_a_bank_that_takes_more_than_was_paid_takes_no_more_than_was_credited(sqlite_url: str) -> None:
    async with open_shop(sqlite_url, RATE_LIMIT_PER_MINUTE="0") as shop:
        await shop.do("settings", paused=True)
        told, _ = await one_life(shop, ["inquiry", "refund", "escalate"], delayed=False)
        assert await balance_after(shop, told) == 0


async def one_life(shop: Shop, steps: list[str], delayed: bool) -> tuple[list[dict[str, Any]], int]:
    """A new organisation's payment: the events about it, and what is left of it by the bank's books. Never less than
    nothing: a dispute that grew out of an inquiry may take again what was refunded, but not from the customer.
    """
    shop.org = await shop.server.organisation(credit=0, number=None)
    seen = len(await shop.events())
    intent = await live_through(shop, steps, delayed)
    record = (await shop.sim.get("/_sim/stripe/record")).json()
    kept = {payment["payment_intent"]: payment["kept"] for payment in record["payments"]}
    return (await shop.events())[seen:], max(0, kept[intent])


async def balance_after(shop: Shop, events: list[dict[str, Any]]) -> int:
    for event in events:
        assert (await shop.send(event)).status_code == 200
    return await shop.balance()
