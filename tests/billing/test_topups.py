"""Top-ups from the click to the credit, against a bank on a real socket, through the official SDK."""

import asyncio
from typing import Any

import httpx
import pytest

from billing.hear_payment import HearPayment
from billing.topup_commands import SaveSession
from billing.topup_rules import Payment, PaymentState
from config.clock import new_id
from config.errors import ApiError
from simulator.stripe import Bank
from tests.doors import several_doors
from tests.servers import DOLLAR, create_organisation, running_network
from tests.shop import Shop, open_shop

# -- asking for one ---------------------------------------------------------------------------------------------------


async def test_paying_credits_what_was_asked_for_within_a_moment(any_shop: Shop) -> None:
    shop = any_shop
    topup = await shop.paid(2_500)
    assert await shop.balance() == 25 * DOLLAR
    assert await shop.keys() == [f"topup:{topup['payment_intent']}"]
    shown = await shop.shown(topup)
    assert (shown["amount_cents"], shown["credit_milli_cents"]) == (2_500, 25 * DOLLAR)
    assert shown["payment_intent_id"] == topup["payment_intent"]
    assert shown["paid_at"] is not None


async def test_the_session_at_stripe_is_what_we_asked_for(shop: Shop) -> None:
    topup = await shop.begin(1_234)
    session = shop.bank.get("checkout.session", topup["session"])
    row = await shop.row(topup)
    assert session["mode"] == "payment"
    assert session["client_reference_id"] == topup["id"]
    assert session["metadata"] == {"topup_id": topup["id"], "org_id": shop.org.id}
    assert shop.bank.intent_data[session["id"]]["metadata"] == session["metadata"]
    assert (session["amount_subtotal"], session["currency"]) == (1_234, "usd")
    assert session["adaptive_pricing"] == {"enabled": False}
    assert session["expires_at"] == row["expires_at"] // 1000
    assert 30 * 60 <= session["expires_at"] - session["created"] <= 24 * 3600
    assert session["success_url"] == f"{shop.server.url}/billing/return?session_id={{CHECKOUT_SESSION_ID}}"
    assert session["cancel_url"] == f"{shop.server.url}/billing?payment=left"
    assert session["customer"] == row["stripe_customer_id"]
    assert (row["status"], row["stripe_session_id"]) == ("pending", session["id"])


async def test_an_organisation_is_one_customer_at_stripe_even_when_it_clicks_twice_at_once(shop: Shop) -> None:
    topups = await asyncio.gather(*(shop.begin() for _ in range(4)))
    customers = {shop.bank.get("checkout.session", topup["session"])["customer"] for topup in topups}
    assert len(customers) == 1
    assert len(shop.bank.all("customer")) == 1


async def test_a_customer_whom_stripe_has_forgotten_is_made_again(shop: Shop) -> None:
    await shop.begin()
    shop.bank._objects["customer"].clear()
    topup = await shop.begin()
    assert len(shop.bank.all("customer")) == 1
    assert (await shop.row(topup))["stripe_customer_id"] == shop.bank.all("customer")[0]["id"]


async def test_the_bounds_can_be_paid(shop: Shop) -> None:
    await shop.paid(500)
    await shop.paid(50_000)
    assert await shop.balance() == 505 * DOLLAR


NOT_AMOUNTS = [499, 50_001, 0, -2_500, 2_500.0, 25.5, "2500", "", None, True, [2_500], {}, 10**30, "💰"]


async def test_any_other_amount_is_refused_with_a_sentence(shop: Shop) -> None:
    for amount in NOT_AMOUNTS:
        response = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": amount})
        assert response.status_code == 400, amount
        assert response.json()["field"] == "amount_cents"
        assert "whole number of cents from 500 ($5.00) to 50000 ($500.00)" in response.json()["error"], amount
    assert await shop.rows("pending") == []


async def test_a_body_that_is_no_request_is_refused(shop: Shop) -> None:
    for body in (b"", b"{}", b"[]", b"{", b'{"amount_cents": 2500, "credit": 9}', b"\xff"):
        response = await shop.org.api.post("/v1/billing/topups", content=body)
        assert response.status_code == 400, body
        assert response.json()["code"]
    assert await shop.rows("pending") == []


async def test_topups_need_a_key(shop: Shop) -> None:
    async with httpx.AsyncClient(base_url=shop.server.url) as stranger:
        assert (await stranger.post("/v1/billing/topups", json={"amount_cents": 2_500})).status_code == 401
        assert (await stranger.get("/v1/billing/topups")).status_code == 401


async def test_at_most_twenty_sessions_an_hour_and_refused_bodies_do_not_count(any_shop: Shop) -> None:
    shop, path = any_shop, "/v1/billing/topups"
    for _ in range(25):
        assert (await shop.org.api.post(path, json={"amount_cents": 1})).status_code == 400
    responses = await asyncio.gather(*(shop.org.api.post(path, json={"amount_cents": 2_500}) for _ in range(24)))
    assert sorted(response.status_code for response in responses) == [201] * 20 + [429] * 4
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.json()["code"] == "topup_rate_limited"
    assert 3_500 < int(refused.headers["Retry-After"]) <= 3_601
    assert len(shop.bank.all("checkout.session")) == 20
    other = await shop.server.organisation(credit=0, number=None)
    await shop.begin(org=other)
    shop.server.clock.advance(3_601)
    await shop.begin()


async def test_stripe_away_is_told_and_nothing_can_be_paid(shop: Shop, sqlite_url: str) -> None:
    shop.service.bank._base_url = "http://127.0.0.1:9/stripe"
    response = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
    assert (response.status_code, response.json()["code"]) == (503, "payments_unavailable")
    (row,) = await shop.rows("pending")  # committed before Stripe was called
    assert row["stripe_session_id"] is None


async def test_a_lost_answer_of_stripe_does_not_make_a_second_session(shop: Shop) -> None:
    await shop.begin()
    await shop.do("settings", answers_to_lose=1)
    topup = await shop.begin()
    assert len(shop.bank.all("checkout.session")) == 2
    await shop.pay(topup)
    await shop.until_balance(25)


async def test_a_refusal_by_stripe_is_told_and_leaves_no_open_topup(shop: Shop) -> None:
    await shop.begin()
    shop.bank.advance(2 * 3_600)  # our expires_at lies in its past
    response = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
    assert (response.status_code, response.json()["code"]) == (502, "payments_refused")
    assert len(await shop.rows("failed")) == 1


async def test_a_session_that_cannot_be_put_on_record_is_expired(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = shop.service.door.submit

    async def fail_to_save(command: Any, **more: Any) -> Any:
        if isinstance(command, SaveSession):
            raise RuntimeError("broken on purpose")
        return await submit(command, **more)

    monkeypatch.setattr(type(shop.service.door), "submit", lambda self, command, **more: fail_to_save(command, **more))
    response = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
    assert response.status_code == 500
    (session,) = shop.bank.all("checkout.session")
    assert session["status"] == "expired"


async def test_a_suspended_organisation_buys_nothing(shop: Shop) -> None:
    from billing.operator_commands import OperatorAction, SuspendOrganisation

    for is_suspended, status in ((True, 403), (False, 201)):
        action = OperatorAction(new_id(), "somebody", "org_suspend", shop.org.id, "test", shop.org.id)
        assert await shop.server.door.submit(SuspendOrganisation(shop.org.id, is_suspended, action))
        response = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
        assert response.status_code == status


# -- being paid -------------------------------------------------------------------------------------------------------


async def test_eighty_at_once_credit_once(any_shop: Shop) -> None:
    shop = any_shop
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    await shop.pay(topup)
    completed = (await shop.events("checkout.session.completed"))[-1]
    webhooks = [shop.send({**completed, "id": f"evt_{number:04}"}) for number in range(40)]
    answers = await asyncio.gather(*webhooks, *(shop.come_back(topup) for _ in range(40)))
    assert all(answer.status_code == 200 for answer in answers if isinstance(answer, httpx.Response))
    assert await shop.balance() == 25 * DOLLAR
    assert len(await shop.keys()) == 1
    assert await shop.events_stored() == 40


async def test_processes_that_race_on_postgres_credit_once(postgres_url: str) -> None:
    async with open_shop(postgres_url) as shop, several_doors(postgres_url, 4) as doors:
        await shop.do("settings", paused=True)
        topup = await shop.begin()
        session = await shop.pay(topup)
        payment = Payment(
            PaymentState.PAID,
            topup["session"],
            session["payment_intent"],
            topup["id"],
            shop.org.id,
            2_500,
            2_500,
            "usd",
            False,
        )
        heard = await asyncio.gather(
            *(doors[number % 4].submit(HearPayment(payment, new_id())) for number in range(80))
        )
        assert sorted({result.outcome for result in heard}) == ["credited", "nothing"]
        assert [result.outcome for result in heard].count("credited") == 1
        assert await shop.balance() == 25 * DOLLAR


async def test_the_redirect_before_the_webhook_credits_and_the_webhook_changes_nothing(shop: Shop) -> None:
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    await shop.pay(topup)
    assert await shop.balance() == 0
    assert (await shop.come_back(topup))["status"] == "paid"
    assert await shop.balance() == 25 * DOLLAR
    await shop.do("deliver")
    assert await shop.balance() == 25 * DOLLAR


async def test_coming_back_without_having_paid_credits_nothing(shop: Shop) -> None:
    topup = await shop.begin()
    assert (await shop.come_back(topup))["status"] == "pending"
    await shop.do(f"sessions/{topup['session']}/decline")
    assert (await shop.come_back(topup))["status"] == "pending"
    await shop.do(f"sessions/{topup['session']}/expire")
    assert (await shop.come_back(topup))["status"] == "expired"
    assert await shop.balance() == 0


async def test_a_declined_card_may_be_followed_by_one_that_works(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/decline")
    await shop.pay(topup)
    await shop.until_balance(25)
    assert await shop.kinds() == [("topup", 25 * DOLLAR)]


async def test_another_wallets_return_address_is_not_found_and_credits_nobody(shop: Shop) -> None:
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    await shop.pay(topup)
    other = await shop.server.organisation(credit=0, number=None)
    for session_id in (topup["session"], "cs_test_unknown", "", "../../v1/customers", "cs_" + "x" * 5_000, "cs_\x00"):
        with pytest.raises(ApiError) as refusal:
            await shop.service.return_from_checkout(other.id, session_id)
        assert refusal.value.status == 404
    assert await shop.balance() == await shop.balance(other) == 0


async def test_coming_back_while_stripe_is_away_shows_the_topup_as_it_stands(shop: Shop) -> None:
    topup = await shop.begin()
    shop.service.bank._base_url = "http://127.0.0.1:9/stripe"
    shop.service.bank._client = None
    assert (await shop.come_back(topup))["status"] == "pending"


async def test_a_delayed_payment_is_processing_until_the_money_is_there(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/pay_later")
    await shop.until_status(topup, "processing")
    assert (await shop.come_back(topup))["status"] == "processing"
    assert await shop.balance() == 0
    await shop.do(f"sessions/{topup['session']}/settle_later", succeeds=True)
    await shop.until_status(topup, "paid")
    assert await shop.balance() == 25 * DOLLAR


async def test_a_delayed_payment_that_bounces_gives_nothing(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/pay_later")
    await shop.until_status(topup, "processing")
    await shop.do(f"sessions/{topup['session']}/settle_later", succeeds=False)
    await shop.until_status(topup, "failed")
    assert await shop.balance() == 0


async def test_the_receipt_of_a_paid_topup_is_stripes(shop: Shop) -> None:
    topup = await shop.paid()
    await shop.service.idle()
    url = (await shop.shown(topup))["receipt_url"]
    page = await shop.sim.get(url)
    assert page.status_code == 200
    assert "$25.00" in page.text


# -- money that does not match ----------------------------------------------------------------------------------------


MISMATCHES: list[tuple[dict[str, Any], str]] = [
    ({"amount_subtotal": 50_000}, "wrong_amount"),
    ({"amount_subtotal": 500}, "wrong_amount"),
    ({"currency": "jpy"}, "wrong_currency"),
    ({"livemode": True}, "wrong_mode"),
    ({"client_reference_id": "0190a1b2-0000-7000-8000-000000000000"}, "other_topup"),
    ({"client_reference_id": "' OR 1=1; --\x00"}, "other_topup"),
    ({"client_reference_id": None}, "other_topup"),
    ({"payment_status": "no_payment_required", "payment_intent": None}, "no_payment"),
]


async def test_a_payment_that_does_not_match_goes_to_review_and_raises_an_alert(shop: Shop) -> None:
    await shop.do("settings", paused=True)
    for number, (tampering, reason) in enumerate(MISMATCHES):
        topup = await shop.begin()
        session = {**await shop.pay(topup), **tampering}
        completed = (await shop.events("checkout.session.completed"))[-1]
        for time in range(2):
            event = {**completed, "id": f"evt_{number}_{time}", "data": {"object": session}}
            assert (await shop.send(event)).status_code == 200
        assert (await shop.come_back(topup))["status"] == "review"
        row = await shop.row(topup)
        assert (row["status"], row["review_reason"], row["paid_cents"]) == ("review", reason, 2_500)
        assert [alert.kind for alert in shop.alerts] == ["topup_review"] * (number + 1)
    assert await shop.balance() == 0


async def test_tax_on_top_credits_our_amount_and_discounts_do_not_matter(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/tamper", amount_total=2_750)
    await shop.pay(topup)
    await shop.until_balance(25)


async def test_a_payment_nobody_asked_for_is_kept_in_review(any_shop: Shop) -> None:
    """Another system made a session on our account, or our database was restored from yesterday's copy."""
    shop = any_shop
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/pay")
    await shop.until_status(topup, "paid")
    completed = (await shop.events("checkout.session.completed"))[-1]
    stray = completed["data"]["object"] | {
        "id": "cs_test_stray",
        "payment_intent": "pi_stray",
        "client_reference_id": None,
        "metadata": {},
    }
    for number in range(2):
        answer = await shop.send({**completed, "id": f"evt_{number}", "data": {"object": stray}})
        assert answer.status_code == 200
    (row,) = await shop.rows("review")
    assert (row["org_id"], row["review_reason"], row["paid_cents"]) == (None, "unknown_topup", 2_500)
    assert row["stripe_payment_intent_id"] == "pi_stray"
    assert [alert.kind for alert in shop.alerts] == ["topup_review"]
    assert await shop.balance() == 25 * DOLLAR


async def test_a_swapped_session_credits_neither_and_leaves_the_asked_for_one_payable(shop: Shop) -> None:
    mine, theirs = await shop.begin(500), await shop.begin(50_000)
    await shop.do("settings", paused=True)
    await shop.pay(mine)
    completed = (await shop.events("checkout.session.completed"))[-1]
    swapped = completed["data"]["object"] | {"id": "cs_test_other", "client_reference_id": theirs["id"]}
    assert (await shop.send({**completed, "data": {"object": swapped}})).status_code == 200
    (row,) = await shop.rows("review")
    assert (row["review_reason"], row["org_id"]) == ("other_session", shop.org.id)
    assert (await shop.row(theirs))["status"] == "pending"
    await shop.pay(theirs)
    assert (await shop.come_back(theirs))["status"] == "paid"
    assert await shop.balance() == 500 * DOLLAR


async def test_a_second_payment_for_a_paid_topup_is_kept_in_review(shop: Shop) -> None:
    topup = await shop.paid()
    completed = (await shop.events("checkout.session.completed"))[-1]
    again = completed["data"]["object"] | {"payment_intent": "pi_again"}
    assert (await shop.send({**completed, "id": "evt_2", "data": {"object": again}})).status_code == 200
    (row,) = await shop.rows("review")
    assert row["review_reason"] == "paid_twice"
    assert (await shop.row(topup))["status"] == "paid"
    assert await shop.balance() == 25 * DOLLAR


# -- events that never come -------------------------------------------------------------------------------------------


async def test_a_lost_event_is_found_by_reconciling(any_shop: Shop) -> None:
    shop = any_shop
    await shop.do("settings", paused=True)
    paid, expired, open_one = await shop.begin(), await shop.begin(), await shop.begin()
    await shop.pay(paid)
    await shop.do(f"sessions/{expired['session']}/expire")
    assert not await shop.upkeep.reconcile()  # too fresh: whoever began them may be about to say
    shop.server.clock.advance(61)
    counts = await shop.upkeep.reconcile()
    assert (counts["asked"], counts["credited"], counts["expired"]) == (3, 1, 1)
    assert await shop.balance() == 25 * DOLLAR
    assert (await shop.shown(open_one))["status"] == "pending"
    await shop.service.idle()
    assert (await shop.upkeep.reconcile())["credited"] == 0
    assert await shop.balance() == 25 * DOLLAR


async def test_a_bounced_debit_whose_event_was_lost_is_found_by_reconciling(shop: Shop) -> None:
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/pay_later")
    shop.server.clock.advance(61)
    assert (await shop.upkeep.reconcile())["processing"] == 1
    await shop.do(f"sessions/{topup['session']}/settle_later", succeeds=False)
    assert (await shop.upkeep.reconcile())["failed"] == 1


async def test_a_topup_whose_session_was_never_shown_expires(shop: Shop) -> None:
    shop.service.bank._base_url = "http://127.0.0.1:9/stripe"
    await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
    shop.service.bank._base_url, shop.service.bank._client = f"{shop.server.network_url}/stripe", None
    shop.server.clock.advance(61)
    assert (await shop.upkeep.reconcile())["nothing"] == 1
    shop.server.clock.advance(3_700)
    assert (await shop.upkeep.reconcile())["expired"] == 1


async def test_sessions_that_a_new_bank_does_not_know_expire_and_new_ones_work(sqlite_url: str) -> None:
    """The simulator forgets everything when it ends; the database does not."""
    async with open_shop(sqlite_url) as shop:
        await shop.begin()
        async with running_network(bank=Bank()) as (url, _):
            shop.service.bank._base_url, shop.service.bank._client = f"{url}/stripe", None
            shop.server.clock.advance(3_800)
            assert (await shop.upkeep.reconcile())["expired"] == 1
            shop.server.clock.advance(-3_800)
            made = await shop.org.api.post("/v1/billing/topups", json={"amount_cents": 2_500})
            assert made.status_code == 201


# -- showing them -----------------------------------------------------------------------------------------------------


async def test_topups_are_listed_newest_first_and_page_both_ways(shop: Shop) -> None:
    ids = [(await shop.begin(500 + number))["id"] for number in range(4)]

    async def page(**query: Any) -> tuple[list[int], bool]:
        listed = await shop.org.get("/v1/billing/topups", **query)
        return [ids.index(item["id"]) for item in listed["data"]], listed["has_more"]

    assert await page() == ([3, 2, 1, 0], False)
    assert await page(limit=2) == ([3, 2], True)
    assert await page(limit=2, starting_after=ids[2]) == ([1, 0], False)
    assert await page(limit=2, ending_before=ids[0]) == ([2, 1], True)
    other = await create_organisation(shop.server.url, shop.server.door, credit=0, number=None)
    assert (await other.get("/v1/billing/topups")) == {"data": [], "has_more": False}
    assert (await other.api.get("/v1/billing/topups", params={"starting_after": ids[0]})).status_code == 404
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"colour": "red"}):
        assert (await shop.org.api.get("/v1/billing/topups", params=query)).status_code == 400
    await other.api.aclose()
