"""Refunds and disputes: what they take, what they give back and what they tell."""

from typing import Any

import pytest
import stripe

from tests.simulator.stripe.conftest import World


async def _payment(world: World) -> str:
    return str((await world.paid())["payment_intent"])


def _told(world: World, about: str) -> list[str]:
    """Types of the delivered events about refunds or disputes, whatever order the post chose."""
    return sorted(kind for kind in world.merchant.types() if kind.startswith(about))


async def test_partial_refunds_add_up_and_the_rest_can_follow(world: World) -> None:
    payment = await _payment(world)
    refunds = world.stripe.v1.refunds
    first = await refunds.create_async({"payment_intent": payment, "amount": 700, "metadata": {"why": "x"}})
    await refunds.create_async({"payment_intent": payment, "amount": 300})
    assert (first.status, first.amount) == ("succeeded", 700)
    assert await world.kept() == 1500
    rest = await refunds.create_async({"payment_intent": payment})
    assert rest.amount == 1500
    assert await world.kept() == 0
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refunds.create_async({"payment_intent": payment})
    assert refused.value.code == "charge_already_refunded"
    await world.delivered()
    assert _told(world, "refund.") == ["refund.created"] * 3
    cumulative = [
        event.data.object.amount_refunded for event in world.merchant.events if event.type == "charge.refunded"
    ]
    assert sorted(cumulative) == [700, 1000, 2500]


@pytest.mark.parametrize("amount", [0, -1, 2501])
async def test_a_refund_is_at_most_what_was_paid(world: World, amount: int) -> None:
    payment = await _payment(world)
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.refunds.create_async({"payment_intent": payment, "amount": amount})
    assert await world.kept() == 2500


async def test_an_unpaid_session_has_nothing_to_refund(world: World) -> None:
    session = await world.session()
    declined = await world.do(f"sessions/{session.id}/decline")
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.refunds.create_async({"payment_intent": declined["payment_intent"]})


@pytest.mark.parametrize(
    ("start", "end", "told", "kept"),
    [
        ("succeeded", "failed", ["refund.created", "refund.failed", "refund.updated"], 2500),
        ("pending", "failed", ["refund.created", "refund.failed", "refund.updated"], 2500),
        ("pending", "canceled", ["refund.created", "refund.updated"], 2500),
        ("pending", "succeeded", ["refund.created", "refund.updated"], 1500),
    ],
)
async def test_a_refund_may_end_otherwise_than_it_began(
    world: World, start: str, end: str, told: list[str], kept: int
) -> None:
    payment = await _payment(world)
    refund = await world.do("refunds", payment_intent=payment, amount=1000, status=start)
    assert await world.kept() == 1500
    await world.do(f"refunds/{refund['id']}", status=end)
    found = await world.stripe.v1.refunds.retrieve_async(refund["id"])
    assert found.status == end
    assert await world.kept() == kept
    await world.delivered()
    assert _told(world, "refund.") == told


@pytest.mark.parametrize("status", ["canceled", "pending", "lost"])
async def test_a_refund_takes_no_impossible_step(world: World, status: str) -> None:
    refund = await world.do("refunds", payment_intent=await _payment(world))
    answer = await world.sim.post(f"/_sim/stripe/refunds/{refund['id']}", json={"status": status})
    assert (answer.status_code, answer.json()["code"]) == (400, "refund_step")


Lifetime = tuple[bool, list[str], list[str], int]


@pytest.mark.parametrize(
    ("inquiry", "steps", "told", "kept"),
    [
        (False, [], ["created", "funds_withdrawn"], 0),
        (False, ["under_review", "lost"], ["closed", "created", "funds_withdrawn", "updated"], 0),
        (False, ["won"], ["closed", "created", "funds_reinstated", "funds_withdrawn"], 2500),
        (True, [], ["created"], 2500),
        (True, ["warning_under_review", "warning_closed"], ["closed", "created", "updated"], 2500),
        (True, ["needs_response", "lost"], ["closed", "created", "funds_withdrawn", "updated"], 0),
        (
            True,
            ["needs_response", "under_review", "won"],
            ["closed", "created", "funds_reinstated", "funds_withdrawn", "updated", "updated"],
            2500,
        ),
    ],
)
async def test_a_dispute_takes_and_returns_money_as_it_goes(
    world: World, inquiry: bool, steps: list[str], told: list[str], kept: int
) -> None:
    payment = await _payment(world)
    dispute = await world.do("disputes", payment_intent=payment, inquiry=inquiry)
    for step in steps:
        await world.do(f"disputes/{dispute['id']}", status=step)
    assert await world.kept() == kept
    listed = await world.stripe.v1.disputes.list_async({"payment_intent": payment})
    assert [found.id for found in listed.data] == [dispute["id"]]
    await world.delivered()
    assert _told(world, "charge.dispute.") == [f"charge.dispute.{kind}" for kind in told]


@pytest.mark.parametrize("status", ["warning_closed", "needs_response", "gone"])
async def test_a_dispute_takes_no_impossible_step(world: World, status: str) -> None:
    dispute = await world.do("disputes", payment_intent=await _payment(world))
    answer = await world.sim.post(f"/_sim/stripe/disputes/{dispute['id']}", json={"status": status})
    assert (answer.status_code, answer.json()["code"]) == (400, "dispute_step")


async def test_a_disputed_payment_is_refunded_again_only_once_the_dispute_is_won(world: World) -> None:
    payment = await _payment(world)
    refunds = world.stripe.v1.refunds
    await refunds.create_async({"payment_intent": payment, "amount": 500})
    dispute = await world.do("disputes", payment_intent=payment)
    assert dispute["amount"] == 2000
    assert await world.kept() == 0
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refunds.create_async({"payment_intent": payment})
    assert refused.value.code == "charge_disputed"
    await world.do(f"disputes/{dispute['id']}", status="won")
    await refunds.create_async({"payment_intent": payment, "amount": 1000})
    assert await world.kept() == 1000


async def test_a_partial_dispute_takes_its_share(world: World) -> None:
    payment = await _payment(world)
    await world.do("disputes", payment_intent=payment, amount=900)
    assert await world.kept() == 1600
    again = await world.sim.post("/_sim/stripe/disputes", json={"payment_intent": payment})
    assert again.json()["code"] == "charge_disputed"


async def test_the_record_names_what_each_payment_was_for(world: World) -> None:
    payment = await _payment(world)
    await world.stripe.v1.refunds.create_async({"payment_intent": payment, "amount": 400})
    await world.session()
    record: Any = (await world.sim.get("/_sim/stripe/record")).json()
    (paid,) = record["payments"]
    assert paid["metadata"] == {"topup_id": "topup_1"}
    assert (paid["received"], paid["refunded"], paid["disputed"], paid["kept"]) == (2500, 400, 0, 2100)
    assert len(record["sessions"]) == 2
