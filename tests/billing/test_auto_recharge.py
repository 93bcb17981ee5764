"""Automatic recharges against a bank on a real socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from accounts.closing import CloseOrganisation
from accounts.tables import mails, users
from billing import topup_queries
from billing.auto_recharge import Recharge, month_of
from billing.auto_recharge_commands import SetAutoRecharge
from billing.ledger import Post
from billing.operator_commands import OperatorAction, SuspendOrganisation
from billing.posting import Posting
from billing.stripe_facts import BadObject
from billing.tables import auto_recharges, topups
from billing.topup_refunds import Refunds
from billing.topup_rules import Payment, ReversalSeen
from billing.topup_service import Refused
from billing.topup_upkeep import TopupUpkeep
from billing.topups import Bank, BankRefused, BankUnavailable, Charge
from config.clock import new_id
from tests.databases import alter
from tests.servers import DOLLAR, until
from tests.shop import Shop


async def consent(shop: Shop, **changes: Any) -> Recharge:
    amounts = {
        "threshold_milli_cents": 10 * DOLLAR,
        "recharge_to_milli_cents": 50 * DOLLAR,
        "monthly_cap_milli_cents": 200 * DOLLAR,
        **changes,
    }
    return await shop.server.door.submit(
        SetAutoRecharge(shop.org.id, new_id(), consent_text="Charge my card when credit is low.", **amounts)
    )


async def known(shop: Shop) -> Recharge:
    found = await shop.service.recharge_of(shop.org.id)
    assert found is not None
    return found


async def with_card(shop: Shop) -> None:
    """Consent, a first payment of $12 whose card stays with us, and $4 of it spent."""
    await consent(shop)
    await shop.paid(1_200)
    await until_card(shop)
    await spend(shop, 4)


async def until_card(shop: Shop) -> None:
    async def saved() -> bool:
        return (await known(shop)).stripe_payment_method_id is not None

    await until(saved, "the card")


async def spend(shop: Shop, dollars: int) -> None:
    posting = Posting(new_id(), new_id(), shop.org.id, "adjustment", -dollars * DOLLAR, reason="spent")
    await shop.server.door.submit(Post(posting))


def upkeeps(shop: Shop, count: int) -> list[TopupUpkeep]:
    return [TopupUpkeep(shop.service) for _ in range(count)]


async def test_nothing_is_charged_or_saved_without_consent(shop: Shop) -> None:
    await shop.paid(1_200)
    await shop.service.idle()
    await spend(shop, 4)
    assert not await shop.upkeep.recharge()
    (intent,) = shop.bank.all("payment_intent")
    assert intent["setup_future_usage"] is None


async def test_with_consent_the_next_payment_saves_the_card_and_low_credit_charges_it_once(any_shop: Shop) -> None:
    shop = any_shop
    await with_card(shop)
    assert (await known(shop)).consent_text == "Charge my card when credit is low."
    outcomes = await asyncio.gather(*(upkeep.recharge() for upkeep in upkeeps(shop, 8)))
    assert sum(counts["credited"] for counts in outcomes) == 1
    assert await shop.balance() == 50 * DOLLAR
    await shop.delivered()  # the webhook tells the same under the same key
    assert await shop.balance() == 50 * DOLLAR
    rows = await shop.rows("paid")
    assert [(row["kind"], row["amount_cents"]) for row in rows] == [("checkout", 1_200), ("auto", 4_200)]
    intent = shop.bank.get("payment_intent", rows[1]["stripe_payment_intent_id"])
    assert intent["metadata"] == {"topup_id": rows[1]["id"], "org_id": shop.org.id, "kind": "auto"}
    assert (await known(shop)).month_milli_cents == 42 * DOLLAR


async def test_at_most_one_charge_an_hour(shop: Shop) -> None:
    await with_card(shop)
    await shop.upkeep.recharge()
    await spend(shop, 45)
    shop.wait(3_500)
    assert not await shop.upkeep.recharge()
    shop.wait(101)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert await shop.balance() == 50 * DOLLAR


async def test_a_decline_is_repeated_later_and_the_fourth_pauses_and_mails_a_link(shop: Shop) -> None:
    await with_card(shop)
    await confirm_people(shop)
    await shop.do("settings", off_session_outcomes=["decline", "insufficient_funds", "decline", "decline"])
    for hours in (1, 3, 7):
        assert (await shop.upkeep.recharge())["failed"] == 1
        shop.wait(hours * 3_600 - 60)
        assert not await shop.upkeep.recharge()
        shop.wait(61)
    counts = await shop.upkeep.recharge()
    assert (counts["failed"], counts["mailed"]) == (1, 1)
    assert (await known(shop)).paused_reason == "declined"
    shop.wait(100 * 3_600)
    assert not await shop.upkeep.recharge()
    assert await shop.balance() == 8 * DOLLAR
    assert len(await shop.rows("failed")) == 4


async def test_authentication_required_pauses_at_once_and_the_mailed_link_mends_it(shop: Shop) -> None:
    await with_card(shop)
    await confirm_people(shop)
    await has_left(shop, "u2")
    await shop.do("settings", off_session_outcomes=["authentication_required"])
    counts = await shop.upkeep.recharge()
    assert (counts["failed"], counts["mailed"]) == (1, 1)
    assert (await known(shop)).paused_reason == "authentication_required"
    assert not await shop.upkeep.recharge()  # one mail
    (mail,) = await letters(shop)
    assert "did not go through" in mail["facts"]["subject"]
    assert not mail["recipient"].startswith("removed:")
    link = next(word for word in mail["facts"]["text"].split() if word.startswith("http"))
    await shop.delivered()
    await shop.do(f"sessions/{link.rpartition('/')[2]}/pay")
    await shop.until_balance(8 + 42)
    await shop.service.idle()
    assert (await known(shop)).paused_reason is None
    await spend(shop, 45)
    shop.wait(3_601)
    assert (await shop.upkeep.recharge())["credited"] == 1


async def confirm_people(shop: Shop) -> None:
    await alter(shop.server.database.url, lambda connection: connection.execute(update(users).values(verified_at=1)))


async def has_left(shop: Shop, user_id: str) -> None:
    """Somebody who had confirmed the address and was removed: the row stays, and is written to no more."""
    gone = {"id": user_id, "org_id": shop.org.id, "email": f"removed:{user_id}", "password_hash": ""}
    adding = insert(users).values({**gone, "verified_at": 1, "created_at": 0})
    await alter(shop.server.database.url, lambda connection: connection.execute(adding))


async def letters(shop: Shop) -> list[dict[str, Any]]:
    async with shop.server.database.read() as connection:
        query = select(mails).where(mails.c.kind == "notice", mails.c.org_id == shop.org.id)
        return [dict(row) for row in (await connection.execute(query)).mappings()]


async def test_a_charge_whose_answer_is_lost_is_asked_again_under_its_key(shop: Shop) -> None:
    await with_card(shop)
    await shop.do("settings", answers_to_lose=3, paused=True)
    assert (await shop.upkeep.recharge())["unanswered"] == 1
    assert await shop.balance() == 8 * DOLLAR
    assert not await shop.upkeep.recharge()  # too fresh to be asked about, and nothing new is claimed
    shop.wait(61)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert await shop.balance() == 50 * DOLLAR
    assert len([intent for intent in shop.bank.all("payment_intent") if intent["amount"] == 4_200]) == 1


async def test_an_old_charge_is_looked_for_instead_of_made_again(shop: Shop) -> None:
    await with_card(shop)
    await shop.do("settings", answers_to_lose=3, paused=True)
    assert (await shop.upkeep.recharge())["unanswered"] == 1
    shop.wait(21 * 3_600)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert await shop.balance() == 50 * DOLLAR
    assert len([intent for intent in shop.bank.all("payment_intent") if intent["amount"] == 4_200]) == 1


async def test_an_old_charge_is_found_though_our_clock_is_ahead_of_the_banks(shop: Shop) -> None:
    """One that is not found is made again, and the card pays twice."""
    await with_card(shop)
    await shop.do("settings", answers_to_lose=3, paused=True)
    shop.server.clock.advance(90)
    assert (await shop.upkeep.recharge())["unanswered"] == 1
    shop.wait(21 * 3_600)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert len([intent for intent in shop.bank.all("payment_intent") if intent["amount"] == 4_200]) == 1


async def test_an_old_charge_that_was_never_made_is_no_decline_and_made_anew(shop: Shop) -> None:
    await with_card(shop)
    shop.service.bank._base_url, shop.service.bank._client = "http://127.0.0.1:9/stripe", None
    assert (await shop.upkeep.recharge())["unanswered"] == 1
    shop.service.bank._base_url, shop.service.bank._client = f"{shop.server.network_url}/stripe", None
    shop.wait(21 * 3_600)
    await shop.do("settings", paused=True)
    assert await shop.upkeep.recharge() == {"failed": 1, "credited": 1}  # no bank declined the card


async def test_the_webhook_alone_credits_a_charge(shop: Shop) -> None:
    await with_card(shop)
    await shop.do("settings", answers_to_lose=3)
    await shop.upkeep.recharge()
    await shop.until_balance(50)
    assert (await known(shop)).pending_topup_id is None


async def test_a_failed_charge_told_by_event_and_by_answer_counts_once(shop: Shop) -> None:
    await with_card(shop)
    await shop.do("settings", off_session_outcomes=["decline"])
    await shop.upkeep.recharge()
    await shop.delivered()
    assert (await known(shop)).declines == 1


async def test_a_dispute_pauses_it_and_only_new_consent_goes_on(shop: Shop) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    await shop.dispute(topup, inquiry=True)
    await shop.delivered()
    assert (await known(shop)).paused_reason == "disputed"
    await spend(shop, 4)
    assert not await shop.upkeep.recharge()
    await consent(shop)
    assert (await shop.upkeep.recharge())["credited"] == 1


async def test_an_answer_that_cannot_be_understood_keeps_no_other_customer_waiting(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_card(shop)
    sick, shop.org = shop.org, await shop.server.organisation(credit=0, number="+14155550102")
    await with_card(shop)
    charge = Bank.charge

    async def unreadable(bank: Bank, wanted: Charge) -> Payment:
        if wanted.org_id == sick.id:
            raise BadObject("Charged: object missing required field `amount`")
        return await charge(bank, wanted)

    monkeypatch.setattr(Bank, "charge", unreadable)
    counts = await shop.upkeep.recharge()
    assert (counts["credited"], counts["unreadable"]) == (1, 1)
    assert await shop.balance() == 50 * DOLLAR
    assert [alert.kind for alert in shop.alerts] == ["charge_unreadable"]
    monkeypatch.undo()
    shop.wait(61)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert await shop.balance(sick) == 50 * DOLLAR


async def test_turning_it_off_stops_it(shop: Shop) -> None:
    await with_card(shop)
    amounts = (10 * DOLLAR, 50 * DOLLAR, 200 * DOLLAR)
    await shop.server.door.submit(SetAutoRecharge(shop.org.id, new_id(), *amounts, consent_text=None))
    assert not await shop.upkeep.recharge()


async def test_the_months_cap_holds(shop: Shop) -> None:
    await consent(shop, monthly_cap_milli_cents=60 * DOLLAR)
    await shop.paid(1_200)
    await until_card(shop)
    for _ in range(4):
        await spend(shop, 45)
        await shop.upkeep.recharge()
        shop.wait(3_601)
    charged = [row["amount_cents"] for row in await shop.rows("paid") if row["kind"] == "auto"]
    assert sum(charged) == 6_000


async def test_a_charge_for_another_amount_goes_to_review_and_stops_it(shop: Shop) -> None:
    await with_card(shop)
    await shop.do("settings", answers_to_lose=3, paused=True)
    await shop.upkeep.recharge()
    (event,) = [
        event for event in await shop.events("payment_intent.succeeded") if event["data"]["object"]["amount"] == 4_200
    ]
    event["data"]["object"]["amount"] = 100
    assert (await shop.send(event)).json()["outcome"] == "review"
    assert (await known(shop)).paused_reason == "review"
    assert await shop.balance() == 8 * DOLLAR


class Died(BaseException):
    """The process ends here."""


async def claimed_and_died(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, asked: bool) -> None:
    """A charge is on record, and its process has died before the bank was asked for it or after."""
    charge = Bank.charge

    async def dying(bank: Bank, wanted: Charge) -> Payment:
        if asked:
            await charge(bank, wanted)
        raise Died

    await with_card(shop)
    await shop.do("settings", paused=True)
    monkeypatch.setattr(Bank, "charge", dying)
    with pytest.raises(Died):
        await shop.upkeep.recharge()
    monkeypatch.undo()


async def withdraw_consent(shop: Shop) -> None:
    amounts = (10 * DOLLAR, 50 * DOLLAR, 200 * DOLLAR)
    await shop.server.door.submit(SetAutoRecharge(shop.org.id, new_id(), *amounts, consent_text=None))


async def close_account(shop: Shop) -> None:
    action = OperatorAction(new_id(), "dana@example.com", "org_close", shop.org.id, "closed", shop.org.id)
    await shop.server.door.submit(CloseOrganisation(shop.org.id, action))


async def suspend(shop: Shop, suspended: bool = True) -> None:
    action = OperatorAction(new_id(), "Ada", "org_suspend", shop.org.id, "abuse", shop.org.id)
    await shop.server.door.submit(SuspendOrganisation(shop.org.id, suspended, action))


@pytest.mark.parametrize("end", [withdraw_consent, close_account, suspend])
async def test_a_charge_that_was_never_asked_for_is_not_made_once_it_is_not_wanted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, end: Callable[[Shop], Awaitable[None]]
) -> None:
    await claimed_and_died(shop, monkeypatch, asked=False)
    await end(shop)
    shop.wait(61)
    for _ in range(2):
        await shop.upkeep.recharge()
    assert await shop.kept_cents() == 1_200
    assert [row["kind"] for row in await shop.rows("failed")] == ["auto"]
    recharge = await known(shop)
    assert (recharge.pending_topup_id, recharge.retry_at, recharge.declines) == (None, None, 0)


async def test_a_charge_that_was_made_counts_though_it_is_not_wanted_any_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claimed_and_died(shop, monkeypatch, asked=True)
    await withdraw_consent(shop)
    shop.wait(61)
    assert (await shop.upkeep.recharge())["credited"] == 1
    assert await shop.balance() == 50 * DOLLAR


async def test_a_charge_that_was_made_for_an_account_closed_meanwhile_is_reviewed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claimed_and_died(shop, monkeypatch, asked=True)
    await close_account(shop)
    shop.wait(61)
    assert (await shop.upkeep.recharge())["review"] == 1
    assert [alert.kind for alert in shop.alerts] == ["paid_after_closing"]


@pytest.mark.parametrize("at_the_bank", [False, True])
async def test_a_refund_does_not_make_the_card_be_charged_again(shop: Shop, at_the_bank: bool) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    if at_the_bank:
        await shop.refund(topup, 500)
        await shop.until_balance(7)
    else:
        await Refunds(shop.service).refund(topup["id"], "Ada", "asked", 500)
    assert (await known(shop)).paused_reason == "refunded"
    assert not await shop.upkeep.recharge()
    await consent(shop)
    assert (await shop.upkeep.recharge())["credited"] == 1


async def test_a_refund_that_the_bank_refuses_does_not_stop_the_recharge(shop: Shop) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    await shop.do("settings", paused=True)
    await shop.dispute(topup)
    with pytest.raises(Refused, match="nothing was refunded"):
        await Refunds(shop.service).refund(topup["id"], "Ada", "asked", 500)
    assert (await known(shop)).paused_reason is None


async def test_a_refund_that_the_bank_refuses_leaves_a_recharge_stopped_that_another_refund_stopped(shop: Shop) -> None:
    await consent(shop)
    topup, other = await shop.paid(1_200), await shop.paid(2_000)
    await until_card(shop)
    await shop.refund(other)
    await shop.delivered()
    await spend(shop, 5)
    await shop.refund(topup, 100)
    await shop.until_balance(6)
    assert (await known(shop)).paused_reason == "refunded"
    await spend(shop, -10)
    await shop.do("settings", paused=True)
    await shop.dispute(topup)
    with pytest.raises(Refused, match="nothing was refunded"):
        await Refunds(shop.service).refund(topup["id"], "Ada", "asked", 800)
    assert (await known(shop)).paused_reason == "refunded"


async def test_a_dispute_of_a_payment_that_gave_no_credit_stops_the_recharge_too(shop: Shop) -> None:
    await consent(shop)
    await shop.paid(1_200)
    await until_card(shop)
    await shop.do("settings", paused=True)
    other = await shop.begin()
    session = await shop.pay(other)
    event = (await shop.events("checkout.session.completed"))[-1]
    event["data"]["object"]["currency"] = "eur"
    assert (await shop.send(event)).json()["outcome"] == "review"
    await shop.dispute(session)
    (opened,) = await shop.events("charge.dispute.created")
    await shop.send(opened)
    assert (await known(shop)).paused_reason == "disputed"


async def test_a_card_is_saved_once_though_its_receipt_has_no_address(shop: Shop) -> None:
    """The receipt is asked for again and again; the declines since are not forgotten each time."""
    await with_card(shop)
    (intent,) = shop.bank.all("payment_intent")
    shop.bank.get("charge", intent["latest_charge"])["receipt_url"] = None
    await forget_receipts(shop)
    await link_is_due(shop)
    await shop.upkeep.reconcile()
    assert (await known(shop)).paused_reason == "declined"


async def forget_receipts(shop: Shop) -> None:
    forgetting = update(topups).values(receipt_url=None)
    await alter(shop.server.database.url, lambda connection: connection.execute(forgetting))


async def test_a_refund_that_leaves_enough_changes_nothing(shop: Shop) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    await Refunds(shop.service).refund(topup["id"], "Ada", "asked", 200)
    assert (await known(shop)).paused_reason is None


async def test_nothing_is_charged_while_the_bank_is_asked_for_a_refund(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    ask = Bank.refund

    async def refund(bank: Bank, *wanted: Any) -> ReversalSeen:
        assert not await shop.upkeep.recharge()
        return await ask(bank, *wanted)

    monkeypatch.setattr(Bank, "refund", refund)
    await Refunds(shop.service).refund(topup["id"], "Ada", "asked", None)
    assert (await shop.balance(), await shop.kept_cents()) == (0, 0)


# -- what waits -------------------------------------------------------------------------------------------------------


async def link_is_due(shop: Shop) -> None:
    """The card was declined four times, and whoever saw it died before the mail was written."""
    declined = {"paused_reason": "declined", "link_due_at": shop.server.clock(), "link_amount_cents": 4_200}
    changing = update(auto_recharges).where(auto_recharges.c.id == shop.org.id).values(declined)
    await alter(shop.server.database.url, lambda connection: connection.execute(changing))


@pytest.mark.parametrize("has_link", [False, True])
async def test_what_is_due_of_a_suspended_organisation_waits_until_it_goes_on(shop: Shop, has_link: bool) -> None:
    await with_card(shop)
    await confirm_people(shop)
    if has_link:
        await link_is_due(shop)
    await suspend(shop)
    done: list[Any] = []
    shop.server.door.committed.append(lambda command, result: done.append(command))
    for _ in range(3):
        assert not await shop.upkeep.recharge()
        shop.wait(61)
    assert done == []
    await suspend(shop, False)
    assert await shop.upkeep.recharge() == ({"mailed": 1} if has_link else {"credited": 1})


@pytest.mark.parametrize("trouble", [BankUnavailable("away"), BankRefused("no")])
async def test_a_link_that_cannot_be_made_leaves_the_customer_room_to_pay_by_hand(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """Each attempt counts as a payment begun, and only so many may be in an hour."""
    await with_card(shop)
    await confirm_people(shop)
    await link_is_due(shop)

    async def fail(*_: Any) -> tuple[str, str]:
        raise trouble

    monkeypatch.setattr(Bank, "create_session", fail)
    for _ in range(30):
        await shop.upkeep.recharge()
        shop.wait(61)
    monkeypatch.undo()
    await shop.begin()
    shop.wait(900)
    assert await shop.upkeep.recharge() == {"mailed": 1}


@pytest.mark.parametrize("end", [withdraw_consent, "dispute"])
async def test_a_link_that_would_not_make_the_recharge_go_on_is_not_mailed(shop: Shop, end: Any) -> None:
    await consent(shop)
    topup = await shop.paid(1_200)
    await until_card(shop)
    await confirm_people(shop)
    await link_is_due(shop)
    if end == "dispute":
        await shop.dispute(topup)
        await shop.until_balance(0)
    else:
        await end(shop)
    assert not await shop.upkeep.recharge()
    assert not [mail for mail in await letters(shop) if "did not go through" in mail["facts"]["subject"]]


async def test_a_charge_that_is_due_does_not_wait_behind_others_that_are_not(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topup_queries, "BATCH", 2)
    used_up = {"stripe_payment_method_id": "pm_card", "month_milli_cents": 200 * DOLLAR}
    for _ in range(5):
        await consent(shop)
        shop.org = await shop.server.organisation(credit=0, number=None)
    changing = update(auto_recharges).values({**used_up, "month": month_of(shop.server.clock())})
    await alter(shop.server.database.url, lambda connection: connection.execute(changing))
    await with_card(shop)
    assert await shop.upkeep.recharge() == {"credited": 1}
