"""Adding credits as a customer does: the form, Stripe's page, the way back, and what Billing then says."""

import re
from typing import Any

import httpx
import pytest

from billing.auto_recharge import Recharge
from dashboard.recharge_view import auto_recharge, rule_of
from dashboard.views import Form
from dashboard.wallet_view import BadAmount, amount_cents
from tests.dashboard import fixtures as fx
from tests.servers import until
from tests.town import Town, Visitor

LEAST, MOST = 500, 50_000


@pytest.mark.parametrize(
    ("chosen", "custom", "cents"),
    [
        ("10", "", 1_000),
        ("100", "not looked at", 10_000),
        ("other", "5", 500),
        ("other", " $37.5 ", 3_750),
        ("other", "500.00", 50_000),
        ("other", "12.", 1_200),
        ("other", "5.01", 501),
    ],
)
def test_the_amount_that_was_chosen_or_typed_is_asked_for(chosen: str, custom: str, cents: int) -> None:
    assert amount_cents(chosen, custom, LEAST, MOST) == cents


@pytest.mark.parametrize(
    ("chosen", "custom", "sentence"),
    [
        ("other", "3", "The smallest top-up is $5.00. Enter 5 to 500."),
        ("other", "4.99", "The smallest top-up is $5.00. Enter 5 to 500."),
        ("other", "0", "The smallest top-up is $5.00. Enter 5 to 500."),
        ("other", "500.01", "The largest top-up is $500.00. Enter 5 to 500."),
        ("other", "9999999", "The largest top-up is $500.00. Enter 5 to 500."),
        *(
            ("other", typed, "Write an amount in dollars, such as 25 or 25.50. Enter 5 to 500.")
            for typed in ("", "-25", "25.001", "ten", "1e2", "٢٥", "25 25", "99999999", "NaN", "0x20")
        ),
        ("26", "", "Choose an amount. Enter 5 to 500."),
        ("", "", "Choose an amount. Enter 5 to 500."),
    ],
)
def test_any_other_amount_comes_back_with_a_sentence(chosen: str, custom: str, sentence: str) -> None:
    with pytest.raises(BadAmount) as refused:
        amount_cents(chosen, custom, LEAST, MOST)
    assert str(refused.value) == sentence


async def begin(member: Visitor, **fields: str) -> httpx.Response:
    await member.get("/billing/add-credits")
    return await member.post("/billing/add-credits", **(fields or {"amount": "25"}))


async def bank(town: Town, path: str, **body: Any) -> Any:
    async with httpx.AsyncClient(base_url=town.server.network_url, timeout=20) as client:
        response = await client.post(f"/_sim/stripe/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()


def session_of(response: httpx.Response) -> str:
    return response.headers["location"].rpartition("/")[2]


async def come_back(member: Visitor, session_id: str) -> str:
    """What Billing says after the way back from Stripe."""
    response = await member.get("/billing/return", params={"session_id": session_id})
    assert response.status_code == 303
    await member.get(response.headers["location"])
    return member.text


async def test_paying_brings_the_credit_and_says_so(town: Town) -> None:
    dana = await town.member("dana@example.com")
    response = await begin(dana)
    assert response.status_code == 303
    assert response.headers["location"].startswith(f"{town.server.network_url}/stripe/")
    assert town.server.network_url in response.headers["Content-Security-Policy"].partition("form-action")[2]
    await bank(town, f"sessions/{session_of(response)}/pay")
    text = await come_back(dana, session_of(response))
    assert "Payment received. $25.00 is in your wallet." in text
    assert await dana.balance() == "$30.00"
    await dana.get("/billing")
    assert re.search(r"Top-up\s+Stripe payment\s", dana.text), "the ledger speaks in words, not ids"
    await until(lambda: receipt_link(dana), "Stripe's receipt")


async def receipt_link(member: Visitor) -> str | None:
    await member.get("/billing")
    found = re.search(r'href="([^"]+/receipts/[^"]+)"', member.page)
    return found[1] if found else None


async def test_an_amount_out_of_range_reopens_the_dialog_with_its_sentence(town: Town) -> None:
    dana = await town.member("dana@example.com")
    response = await begin(dana, amount="other", custom="3")
    assert response.status_code == 400
    assert "The smallest top-up is $5.00. Enter 5 to 500." in dana.text
    assert "<dialog open" in dana.page
    assert 'value="3" aria-invalid="true"' in dana.page
    assert "No top-ups yet" in dana.text


async def test_leaving_stripe_without_paying_charges_nothing(town: Town) -> None:
    dana = await town.member("dana@example.com")
    response = await begin(dana)
    await dana.get("/billing?payment=left")
    assert "Top-up not completed. Nothing was charged." in dana.text
    assert "Waiting for payment" in dana.text
    text = await come_back(dana, session_of(response))
    assert "Stripe is confirming your $25.00." in text
    assert await dana.balance() == "$5.00"


async def test_a_payment_that_takes_days_is_credited_when_it_arrives(town: Town) -> None:
    dana = await town.member("dana@example.com")
    session_id = session_of(await begin(dana))
    await bank(town, f"sessions/{session_id}/pay_later")
    assert "Your bank is moving $25.00." in await come_back(dana, session_id)
    assert await dana.balance() == "$5.00"


async def test_nobody_comes_back_from_somebody_elses_payment(town: Town) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    session_id = session_of(await begin(dana))
    await bank(town, f"sessions/{session_id}/pay")
    assert (await kim.get("/billing/return", params={"session_id": session_id})).status_code == 404
    assert await kim.balance() == "$5.00"
    for made_up in ("", "cs_test_nothing", "../../etc", "cs_" + "x" * 400):
        assert (await dana.get("/billing/return", params={"session_id": made_up})).status_code == 404
    [topup] = re.findall(r"payment=([0-9a-f-]{36})", (await back(dana, session_id)).headers["location"])
    await kim.get("/billing", params={"payment": topup})
    assert "Payment received" not in kim.text


async def back(member: Visitor, session_id: str) -> httpx.Response:
    return await member.get("/billing/return", params={"session_id": session_id})


async def test_too_many_payments_begun_reopen_the_dialog_with_the_reason(town: Town) -> None:
    dana = await town.member("dana@example.com")
    answers = [await begin(dana) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [303] * 20 + [429]
    assert "Too many payments were begun in the last hour." in dana.text
    assert "<dialog open" in dana.page


# -- automatic recharge -----------------------------------------------------------------------------------------------

RULE = {"threshold": "10", "recharge_to": "50", "monthly_cap": "200", "agreed": "1"}


async def test_automatic_recharge_is_agreed_to_in_words_and_turned_off_again(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/billing")
    assert "Turn off" not in dana.text
    await dana.post("/billing/auto-recharge", **RULE)
    await dana.get("/billing")
    assert "On, but there is no card yet" in dana.text
    service = town.server.app.extensions["topups"]
    org_id = re.search(r'id="account-id">([^<]+)<', (await dana.http.get("/settings")).text)
    assert org_id is not None
    kept = await service.recharge_of(org_id[1])
    assert kept.consent_text == (
        "I agree that CallingBox charges my saved card by itself whenever less than $10.00 is available, up to $50.00, "
        "and at most $200.00 in a calendar month, until I turn this off."
    )
    await dana.post("/billing/auto-recharge", turn_off="1")
    await dana.get("/billing")
    assert "Turn off" not in dana.text
    assert (await service.recharge_of(org_id[1])).is_enabled is False


async def test_automatic_recharge_is_never_on_without_consent(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/billing")
    response = await dana.post("/billing/auto-recharge", **{**RULE, "agreed": ""})
    assert response.status_code == 400
    assert "Tick this to agree; without it nothing is charged by itself." in dana.text
    await dana.get("/billing")
    assert "Turn off" not in dana.text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"threshold": "x"}, "Write an amount in dollars, such as 50."),
        ({"recharge_to": "11"}, "The amount to recharge to must be $5.00 to $500.00 above the threshold."),
        ({"monthly_cap": "20"}, "The monthly cap must allow at least one recharge of $40.00"),
    ],
)
def test_a_rule_that_cannot_be_comes_back_with_a_sentence(changed: dict[str, str], sentence: str) -> None:
    form = rule_of({**RULE, **changed})
    assert isinstance(form, Form)
    assert any(said.startswith(sentence) for said in (form.error, *form.errors.values()))


@pytest.mark.parametrize("reason", ["authentication_required", "declined", "disputed", "refunded", "review"])
def test_a_pause_says_why_and_what_to_do(reason: str) -> None:
    paused = Recharge("o1", True, 1_000_000, 5_000_000, 20_000_000, paused_reason=reason)
    standing = auto_recharge(paused, None, fx.CLOCK).standing
    assert standing is not None
    assert standing.text.startswith("Paused: ")
    assert (standing.action is not None) is (reason in ("authentication_required", "declined"))
