"""The operator's side of top-ups, by the command line beside a running server, and the trail that it leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from billing.ledger import Post
from billing.operator_commands import OperatorAction, ResolveTopup
from billing.posting import Posting
from billing.topup_rows import Heard
from config.clock import new_id
from tests.servers import DOLLAR, installation
from tests.shop import Shop

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
async def run(shop: Shop, tmp_path: Path) -> AsyncIterator[Run]:
    """A command's JSON, or (with `fails`) the line it ends with."""
    bank = f"{shop.server.network_url}/stripe"
    environment = {"database_url": shop.server.database.url, "STRIPE_API_BASE_URL": bank}
    with installation(tmp_path, shop.server.network_url, **environment) as made:

        async def run(*arguments: str, fails: bool = False) -> Any:
            done = await asyncio.to_thread(made.run, *arguments, check=False)
            if fails:
                assert (done.returncode, done.stdout) == (1, ""), done
                assert len(done.stderr.strip().splitlines()) == 1
                return done.stderr
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        yield run


async def mismatched(shop: Shop, **tampering: Any) -> dict[str, Any]:
    """A paid top-up in review."""
    await shop.do("settings", paused=True)
    topup = await shop.begin()
    session = await shop.pay(topup)
    (event,) = await shop.events("checkout.session.completed")
    event["data"]["object"] |= tampering
    assert (await shop.send(event)).json()["outcome"] == "review"
    (row,) = await shop.rows("review")
    return {"id": row["id"], "payment_intent": session["payment_intent"]}


async def test_a_review_is_listed_and_ended_with_credit_once(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, client_reference_id=None)
    (listed,) = (await run("topup", "list", "--status", "review"))["data"]
    assert (listed["id"], listed["review_reason"], listed["org_id"]) == (topup["id"], "other_topup", shop.org.id)
    assert (listed["paid_cents"], listed["payment_intent_id"]) == (2_500, topup["payment_intent"])
    await run("topup", "resolve", topup["id"], "--credit", fails=True)  # no reason
    await run("topup", "resolve", topup["id"], "--reason", "test", fails=True)  # neither
    await run("topup", "resolve", topup["id"], "--credit", "--reason", " ", fails=True)
    assert await shop.balance() == 0
    resolved = await run("topup", "resolve", topup["id"], "--credit", "--reason", "paid", "--operator", "Ada")
    assert resolved["status"] == "paid"
    assert await shop.balance() == 25 * DOLLAR
    assert await shop.keys() == [f"topup:{topup['payment_intent']}"]
    again = await run("topup", "resolve", topup["id"], "--credit", "--reason", "paid", fails=True)
    assert "there is no top-up" in again
    assert (await run("topup", "list", "--status", "review"))["data"] == []
    (action,) = (await run("trail"))["data"]
    told = {name: action[name] for name in ("operator", "action", "subject_id", "org_id", "reason")}
    assert told == {
        "operator": "Ada",
        "action": "topup_credit",
        "subject_id": topup["id"],
        "org_id": shop.org.id,
        "reason": "paid",
    }
    assert action["created_at"].endswith("Z")


async def test_a_rejected_payment_gives_no_credit_and_its_refund_takes_none(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, currency="jpy")
    resolved = await run("topup", "resolve", topup["id"], "--reject", "--reason", "yen")
    assert resolved["status"] == "rejected"
    await shop.refund(topup)
    for event in await shop.events("refund.created", "checkout.session.completed"):
        await shop.send(event)
    assert await shop.balance() == 0
    assert (await shop.row(topup))["status"] == "rejected"


async def test_a_review_is_ended_once_though_the_answer_to_its_commit_was_lost(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, client_reference_id=None)
    action = OperatorAction(new_id(), "Ada", "topup_credit", topup["id"], "paid", shop.org.id)
    resolve = ResolveTopup(topup["id"], None, 2_500, action, new_id())
    for _ in range(2):  # as the door does it then
        assert isinstance(await shop.server.door.submit(resolve), Heard)
    assert await shop.balance() == 25 * DOLLAR


async def test_a_refund_during_the_review_counts_when_credit_is_given(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, client_reference_id=None)
    await shop.refund(topup, 1_000)
    (event,) = await shop.events("refund.created")
    assert (await shop.send(event)).json()["outcome"] == "kept"
    await run("topup", "resolve", topup["id"], "--credit", "--reason", "paid")
    assert await shop.balance() == 15 * DOLLAR


async def test_another_amount_than_asked_for_must_be_named(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, amount_subtotal=2_000, amount_total=2_000)
    said = await run("topup", "resolve", topup["id"], "--credit", "--reason", "paid", fails=True)
    assert "2000 cents were paid for 2500: say --amount-cents" in said
    await run("topup", "resolve", topup["id"], "--credit", "--amount-cents", "2000", "--reason", "paid less")
    assert await shop.balance() == 20 * DOLLAR


async def test_a_payment_of_nobody_needs_an_organisation(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, id="cs_test_stray", client_reference_id=None, metadata={})
    said = await run("topup", "resolve", topup["id"], "--credit", "--reason", "asked", fails=True)
    assert "name the organisation with --org" in said
    await run("topup", "resolve", topup["id"], "--credit", "--org", new_id(), "--reason", "asked", fails=True)
    await run("topup", "resolve", topup["id"], "--credit", "--org", shop.org.id, "--reason", "asked")
    assert await shop.balance() == 25 * DOLLAR


async def test_unspent_credit_is_refunded_to_the_card_and_no_more(shop: Shop, run: Run) -> None:
    topup = await shop.paid()
    hold = new_id()
    await shop.server.door.submit(Post(Posting(hold, new_id(), shop.org.id, "hold", 10 * DOLLAR)))
    too_much = await run("topup", "refund", topup["id"], "--amount-cents", "1501", "--reason", "asked", fails=True)
    assert "$15.00 of top-up" in too_much
    part = await run("topup", "refund", topup["id"], "--amount-cents", "500", "--reason", "asked")
    assert (part["status"], part["refunded_milli_cents"]) == ("paid", 5 * DOLLAR)
    await run("topup", "refund", topup["id"], "--reason", "asked")
    await shop.delivered()
    wallet = await shop.org.wallet()
    assert (wallet["balance_milli_cents"], wallet["available_milli_cents"]) == (10 * DOLLAR, 0)
    assert await shop.kept_cents() == 1_000
    assert "is unspent" in await run("topup", "refund", topup["id"], "--reason", "asked", fails=True)
    actions = [action["action"] for action in (await run("trail", "--org", shop.org.id))["data"]]
    assert actions == ["topup_refund", "topup_refund"]


async def test_a_refund_that_we_were_never_told_of_is_not_made_twice(shop: Shop, run: Run) -> None:
    topup = await shop.paid()
    await shop.do("settings", faults={"lose": 1})
    await shop.refund(topup, 2_000)  # at Stripe, by hand
    await run("topup", "refund", topup["id"], "--amount-cents", "2000", "--reason", "asked", fails=True)
    await run("topup", "refund", topup["id"], "--reason", "asked")
    assert (await shop.balance(), await shop.kept_cents()) == (0, 0)


async def test_a_rejected_payment_goes_back_to_the_card_it_came_from(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, currency="jpy")
    said = await run("topup", "refund", topup["id"], "--reason", "yen", fails=True)
    assert "is in review; end that first" in said
    await run("topup", "resolve", topup["id"], "--reject", "--reason", "yen")
    part = await run("topup", "refund", topup["id"], "--amount-cents", "500", "--reason", "yen")
    assert (part["status"], part["paid_cents"], part["refunded_cents"]) == ("rejected", 2_500, 500)
    assert (await shop.shown(topup))["status"] == "rejected"
    whole = await run("topup", "refund", topup["id"], "--reason", "yen")
    assert (whole["status"], whole["refunded_cents"]) == ("rejected", 2_500)
    assert "nothing was refunded" in await run("topup", "refund", topup["id"], "--reason", "yen", fails=True)
    for event in await shop.events("refund.created", "checkout.session.completed"):
        await shop.send(event)
    assert (await shop.balance(), await shop.kept_cents(), await shop.kinds()) == (0, 0, [])
    assert (await shop.shown(topup))["status"] == "refunded"
    assert "kept" not in await run("topup", "reconcile")
    (listed,) = (await run("topup", "list", "--status", "rejected"))["data"]
    assert (listed["id"], listed["refunded_cents"]) == (topup["id"], 2_500)
    actions = [action["action"] for action in (await run("trail", "--org", shop.org.id))["data"]]
    assert actions == ["topup_refund", "topup_refund", "topup_refund", "topup_reject"]


async def test_a_second_payment_of_one_topup_goes_back_and_the_first_stays(shop: Shop, run: Run) -> None:
    topup, other = await shop.paid(), await shop.begin()
    await shop.do("settings", paused=True)
    await shop.do(f"sessions/{other['session']}/tamper", client_reference_id=topup["id"])
    await shop.pay(other)
    event = (await shop.events("checkout.session.completed"))[-1]
    assert (await shop.send(event)).json()["outcome"] == "review"
    (row,) = await shop.rows("review")
    await run("topup", "resolve", row["id"], "--reject", "--reason", "paid twice")
    await run("topup", "refund", row["id"], "--reason", "paid twice")
    assert (await shop.balance(), await shop.kept_cents()) == (25 * DOLLAR, 2_500)


async def test_a_review_of_money_that_is_no_dollars_is_not_credited_as_dollars(shop: Shop, run: Run) -> None:
    topup = await mismatched(shop, currency="jpy")
    said = await run("topup", "resolve", topup["id"], "--credit", "--reason", "paid", fails=True)
    assert "it was not paid in dollars: say --amount-cents" in said
    await run("topup", "resolve", topup["id"], "--credit", "--amount-cents", "1600", "--reason", "paid")
    assert await shop.balance() == 16 * DOLLAR


async def test_what_is_not_paid_cannot_be_refunded(shop: Shop, run: Run) -> None:
    topup = await shop.begin()
    assert "is pending" in await run("topup", "refund", topup["id"], "--reason", "asked", fails=True)
    assert "there is no top-up" in await run("topup", "refund", new_id(), "--reason", "asked", fails=True)


async def test_reconciling_by_hand_finds_what_was_lost(shop: Shop, run: Run) -> None:
    topup = await shop.paid()
    await shop.do("settings", faults={"lose": 1})
    await shop.refund(topup, 500)
    assert (await run("topup", "reconcile"))["applied"] == 1
    assert await shop.balance() == 20 * DOLLAR


async def test_a_suspension_needs_a_reason_and_is_on_the_trail(shop: Shop, run: Run) -> None:
    await run("org", "suspend", shop.org.id, fails=True)
    assert (await run("org", "suspend", shop.org.id, "--reason", "abuse")) == {"org_id": shop.org.id, "suspended": True}
    refused = await shop.org.api.post("/v1/calls", json={"to": "+14155550123"})
    assert (refused.status_code, refused.json()["code"]) == (403, "organisation_suspended")
    await run("org", "resume", shop.org.id, "--reason", "sorted out")
    await run("org", "suspend", new_id(), "--reason", "abuse", fails=True)
    actions = [(action["action"], action["reason"]) for action in (await run("trail"))["data"]]
    assert actions == [("org_resume", "sorted out"), ("org_suspend", "abuse")]


async def test_credit_given_and_taken_by_hand_is_on_the_trail_with_who_did_it_and_why(shop: Shop, run: Run) -> None:
    given = await run("credit", "adjust", shop.org.id, "500000", "--reason", "apology", "--operator", "Ada")
    taken = await run("credit", "adjust", shop.org.id, "-200000", "--reason", "typed twice", "--operator", "Grace")
    assert await shop.balance() == 3 * DOLLAR
    actions = (await run("trail", "--org", shop.org.id))["data"]
    assert [
        (each["operator"], each["action"], each["reason"], each["detail"], each["subject_id"]) for each in actions
    ] == [
        ("Grace", "credit_adjust", "typed twice", {"milli_cents": -200_000}, taken["id"]),
        ("Ada", "credit_adjust", "apology", {"milli_cents": 500_000}, given["id"]),
    ]
    await run("credit", "adjust", shop.org.id, "1", "--reason", " ", fails=True)
    await run("credit", "adjust", "nobody", "1", "--reason", "x", fails=True)
    assert len((await run("trail"))["data"]) == 2
