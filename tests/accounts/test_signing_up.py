"""From a stranger to a member with $5.00: sign-up, the mail, and free credit once for each person."""

import asyncio
import time

import pytest

from accounts.identity import BadIdentity, check_email, person_hash
from tests.town import PASSWORD, Town


async def test_free_credit_comes_with_the_confirmed_address_and_not_before(town: Town) -> None:
    dana = town.visitor()
    response = await dana.sign_up("dana@example.com")
    assert response.status_code == 200
    assert "Check your mail" in dana.text
    assert await dana.balance() == "$0.00"
    assert "Confirm your email to receive $5.00 of free credit. We sent a link to dana@example.com." in dana.text
    await dana.verify("dana@example.com")
    assert "$5.00 of free credit is in your wallet." in dana.text
    assert await dana.balance() == "$5.00"
    assert "Confirm your email" not in dana.text


async def test_the_link_gives_credit_once_however_often_it_is_opened(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.verify("dana@example.com")
    assert "free credit" not in dana.text
    assert await dana.balance() == "$5.00"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dana.smith@gmail.com", "danasmith@gmail.com"),
        ("dana@gmail.com", "d.a.n.a+more@googlemail.com"),
        ("dana@example.com", "dana+2@example.com"),
        ("dana@example.com", "  DANA+x@Example.com "),
    ],
)
async def test_one_person_with_two_spellings_gets_credit_once(town: Town, first: str, second: str) -> None:
    await town.member(first)
    again = town.visitor()
    await again.sign_up(second)
    await again.verify(check_email(second))
    assert "Your email is confirmed" in again.text
    assert await again.balance() == "$0.00"


async def test_leaving_and_coming_back_gives_no_second_credit(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/settings")
    await dana.post("/settings/invitations", email="kim@example.com")
    kim = town.visitor()
    await kim.get(await kim.letter("kim@example.com", "Join"))
    await kim.post("/signup", invitation=link_token(kim.page), password=PASSWORD)
    await kim.get("/settings")
    removal = next(part for part in kim.page.split('"') if part.startswith("/settings/members/"))
    await kim.post(removal)
    town.forgive()
    back = await town.member("dana@example.com")
    assert await back.balance() == "$0.00"


def link_token(page: str) -> str:
    return page.split('name="invitation" value="')[1].split('"')[0]


async def test_two_people_are_two_people() -> None:
    assert person_hash("dana.smith@example.com") != person_hash("danasmith@example.com")
    assert person_hash("dana@example.com") != person_hash("dana@example.org")


@pytest.mark.parametrize(
    "email",
    [
        "",
        "dana",
        "dana@localhost",
        "a,dana@example.com",
        '"a b"@example.com',
        "dana@example.com>",
        "dana@exa mple.com",
        "dana\n@example.com",
        "da\x00na@example.com",
        "<dana>@example.com",
        "dana@-example.com",
        "x" * 65 + "@example.com",
        "d@" + "e" * 250 + ".com",
        "dana@example.com\r\nBcc: kim@example.com",
    ],
)
def test_an_address_that_is_none_or_two_is_refused(email: str) -> None:
    with pytest.raises(BadIdentity):
        check_email(email)


async def test_bad_entries_come_back_with_what_to_change(town: Town) -> None:
    dana = town.visitor()
    await dana.get("/signup")
    response = await dana.post("/signup", organisation=" ", email="dana", password="short")
    assert response.status_code == 400
    for sentence in (
        "A name has 1 to 100 printable characters.",
        "Enter an email address like name@example.com.",
        "A password has 8 to 256 characters.",
    ):
        assert sentence in dana.text
    assert "short" not in dana.page
    assert dana.session is None


async def test_an_address_has_one_account(town: Town) -> None:
    await town.member("dana@example.com")
    other = town.visitor()
    response = await other.sign_up("Dana@example.com")
    assert response.status_code == 400
    assert "This address has an account already." in other.text
    assert other.session is None


async def test_sign_ups_are_limited_by_where_they_come_from(town: Town) -> None:
    visitors, began = [town.visitor() for _ in range(12)], time.monotonic()
    answers = await asyncio.gather(*(v.sign_up(f"dana{n}@example.com") for n, v in enumerate(visitors)))
    made = sum(answer.status_code == 200 for answer in answers)
    assert 5 <= made <= 6 + (time.monotonic() - began) / 12
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert "Too many tries." in refused.text


async def test_the_mail_can_be_asked_for_again(town: Town) -> None:
    dana = town.visitor()
    await dana.sign_up("dana@example.com")
    await dana.letter("dana@example.com", "Confirm")
    town.mailbox.letters.clear()
    await dana.get("/calls")
    await dana.post("/verify/resend")
    assert "We sent a link to dana@example.com." in dana.text
    await dana.verify("dana@example.com")
    assert await dana.balance() == "$5.00"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "WyJhIl0.aaaa.bbbb"])
async def test_a_forged_link_confirms_nothing(town: Town, token: str) -> None:
    dana = town.visitor()
    await dana.sign_up("dana@example.com")
    response = await dana.get("/verify", params={"token": token})
    assert response.status_code == 400
    assert "This link no longer works" in dana.text
    assert await dana.balance() == "$0.00"


async def test_a_link_for_one_purpose_does_not_serve_another(town: Town) -> None:
    dana = town.visitor()
    await dana.sign_up("dana@example.com")
    token = (await dana.letter("dana@example.com", "Confirm")).partition("token=")[2]
    for path in ("/reset", "/join"):
        assert (await dana.get(path, params={"token": token})).status_code == 400
