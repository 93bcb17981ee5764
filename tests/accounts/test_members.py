"""Several people in one account, and the keys that they give to programs."""

import re

import httpx

from tests.town import PASSWORD, Town, Visitor


def paths(member: Visitor, beginning: str) -> list[str]:
    return [part for part in member.page.split('"') if part.startswith(beginning)]


async def invite(member: Visitor, email: str) -> httpx.Response:
    await member.get("/settings")
    return await member.post("/settings/invitations", email=email)


async def join(town: Town, email: str) -> Visitor:
    joining = town.visitor()
    await joining.get(await joining.letter(email, "Join Larkspur Dental"))
    token = joining.page.split('name="invitation" value="')[1].split('"')[0]
    response = await joining.post("/signup", invitation=token, password=PASSWORD)
    assert response.headers["location"] == "/calls"
    return joining


async def test_whoever_is_invited_joins_and_sees_the_same_credit(town: Town) -> None:
    dana = await town.member("dana@example.com")
    assert (await invite(dana, "kim@example.com")).status_code == 303
    await dana.get("/settings")
    assert "kim@example.com invited" in dana.text
    kim = await join(town, "kim@example.com")
    assert await kim.balance() == "$5.00", "the account's own, and no second free credit"
    assert "Confirm your email" not in kim.text
    await kim.get("/settings")
    assert "dana@example.com" in kim.text
    assert "kim@example.com you" in kim.text
    assert (await town.visitor().log_in("kim@example.com")).status_code == 303


async def test_an_invitation_works_once(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    link = await dana.letter("kim@example.com", "Join")
    await join(town, "kim@example.com")
    late = town.visitor()
    assert (await late.get(link)).status_code == 400
    assert "This link no longer works" in late.text


async def test_an_invitation_that_was_taken_back_opens_nothing(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    link = await dana.letter("kim@example.com", "Join")
    await dana.get("/settings")
    [revoke] = paths(dana, "/settings/invitations/")
    await dana.post(revoke)
    assert (await town.visitor().get(link)).status_code == 400


async def test_an_invitation_is_not_sent_twice_nor_to_a_member(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    assert (await invite(dana, "KIM@example.com")).status_code == 400
    assert "kim@example.com has an open invitation already." in dana.text
    assert (await invite(dana, "dana@example.com")).status_code == 400
    assert "dana@example.com already has an account." in dana.text
    assert (await invite(dana, "kim")).status_code == 400


async def test_whoever_is_removed_is_logged_out_at_once(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    kim = await join(town, "kim@example.com")
    await dana.get("/settings")
    [removal] = paths(dana, "/settings/members/")
    await dana.post(removal)
    assert (await kim.get("/calls")).status_code == 303
    assert (await town.visitor().log_in("kim@example.com")).status_code == 401
    await dana.get("/settings")
    assert "kim@example.com" not in dana.text


async def test_the_last_member_cannot_be_removed(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    kim = await join(town, "kim@example.com")
    await kim.get("/settings")
    [dana_removal] = paths(kim, "/settings/members/")
    await dana.get("/settings")
    [kim_removal] = paths(dana, "/settings/members/")
    await dana.post(kim_removal)
    await dana.get("/settings")
    assert (await dana.post(dana_removal)).status_code == 409
    assert "The last member cannot be removed." in dana.text
    assert (await dana.get("/calls")).status_code == 200


# -- API keys ---------------------------------------------------------------------------------------------------------


async def create_key(member: Visitor, **fields: str) -> str:
    await member.get("/api-keys")
    await member.post("/api-keys", **{"name": "Booking server", "expires": "", **fields})
    found = re.search(r'id="secret"[^>]*>(sk_[^<]+)<', member.page)
    assert found is not None, member.text
    return found[1]


async def wallet(town: Town, key: str) -> int:
    async with httpx.AsyncClient(base_url=town.server.url, headers={"Authorization": f"Bearer {key}"}) as api:
        return (await api.get("/v1/billing/wallet")).status_code


async def test_a_key_is_shown_once_and_works_at_once(town: Town) -> None:
    dana = await town.member("dana@example.com")
    key = await create_key(dana)
    assert await wallet(town, key) == 200
    await dana.get("/api-keys")
    assert key not in dana.page
    assert f"{key[:12]}…" in dana.text
    assert "by dana@example.com" in dana.text


async def test_a_revoked_key_opens_nothing_from_that_moment(town: Town) -> None:
    dana = await town.member("dana@example.com")
    key = await create_key(dana)
    await dana.get("/api-keys")
    [revoke] = [path for path in paths(dana, "/api-keys/") if path.endswith("/revoke")]
    await dana.post(revoke)
    assert await wallet(town, key) == 401
    await dana.get("/api-keys")
    assert "Revoked" in dana.text


async def test_a_key_expires_when_it_was_told_to(town: Town) -> None:
    dana = await town.member("dana@example.com")
    key = await create_key(dana, expires="7")
    assert await wallet(town, key) == 200
    for wrong in ({"expires": "8"}, {"name": " "}, {"name": "x" * 65}):
        await dana.get("/api-keys")
        response = await dana.post("/api-keys", **{"name": "Late", "expires": "", **wrong})
        assert response.status_code == 400


async def test_settings_are_kept(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/settings")
    response = await dana.post("/settings", name="  New   name ", time_zone="America/New_York")
    assert response.headers["location"] == "/settings?saved=1"
    await dana.get("/settings?saved=1")
    assert "Saved." in dana.text
    assert 'value="New name"' in dana.page
    await dana.get("/settings")
    assert "Since (New York)" in dana.text
    for wrong in ({"name": ""}, {"time_zone": "Mars/Olympus"}):
        await dana.get("/settings")
        response = await dana.post("/settings", **{"name": "A", "time_zone": "UTC", **wrong})
        assert response.status_code == 400
