"""Logging in and out: what a session opens, when it ends, and what nobody learns by trying."""

import asyncio
import runpy
import time
from typing import Literal

import argon2
import httpx
import pytest
from sqlalchemy import func, insert, select

from accounts import passwords
from accounts.members import RemoveMember
from accounts.organisations import find_user
from accounts.passwords import matches_in_thread
from accounts.people import AskToReset, SetPassword
from accounts.tables import mails, users
from config.clock import new_id
from tests.databases import alter
from tests.servers import until
from tests.town import PASSWORD, Town, Visitor, open_town

WRONG = "Email or password is wrong."


async def test_a_member_logs_in_and_out(town: Town) -> None:
    await town.member("dana@example.com")
    dana = town.visitor()
    assert (await dana.get("/calls")).headers["location"] == "/login?next=/calls"
    response = await dana.log_in(" Dana@Example.com ")
    assert (response.status_code, response.headers["location"]) == (303, "/calls")
    assert (await dana.get("/calls")).status_code == 200
    cookie = dana.session
    assert (await dana.post("/logout")).headers["location"] == "/login"
    assert dana.session is None
    dana.http.cookies.set("cb_session", cookie or "", domain="127.0.0.1")
    assert (await dana.get("/calls")).status_code == 303, "the old cookie opens nothing"
    assert "Your session has ended." in (await follow(dana)).text


async def follow(visitor: Visitor) -> Visitor:
    await visitor.get("/login?next=/calls")
    return visitor


async def test_a_wrong_password_and_an_unknown_address_cannot_be_told_apart(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the page, nor by the time it takes: the same work is done for both."""
    work: list[argon2.Parameters] = []

    class Watched(argon2.PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            work.append(argon2.extract_parameters(str(hash)))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Watched(2, 16, 1))
    passwords._nobody.cache_clear()
    await town.member("dana@example.com")
    pages = []
    for email in ("dana@example.com", "nobody@example.com"):
        visitor = town.visitor()
        await visitor.get("/login")
        response = await visitor.post("/login", email=email, password="not the password")
        assert (response.status_code, WRONG in visitor.text, visitor.session) == (401, True, None)
        pages.append(visitor.page.replace(email, "").replace(visitor.token, ""))
    assert pages[0] == pages[1]
    known, unknown = work
    assert known == unknown


def test_a_password_is_kept_at_the_librarys_recommended_cost() -> None:
    """The module as it is, without what tests change in it."""
    kept = runpy.run_path(passwords.__file__)["hash_password"](PASSWORD)
    assert argon2.extract_parameters(kept) == argon2.profiles.get_default_parameters()


async def test_every_log_in_is_a_new_session_and_the_browsers_earlier_one_ends(town: Town) -> None:
    dana = await town.member("dana@example.com")
    first = dana.session
    dana.page = (await dana.http.get("/calls")).text
    await dana.post("/login", email="dana@example.com", password=PASSWORD)
    assert dana.session != first
    thief = town.visitor()
    thief.http.cookies.set("cb_session", first or "", domain="127.0.0.1")
    assert (await thief.get("/calls")).status_code == 303


@pytest.mark.parametrize("what", ["the password was changed", "the member was removed"])
async def test_a_log_in_while_it_is_closed_to_them_opens_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await town.member("dana@example.com")
    async with town.server.database.read() as connection:
        dana = await find_user(connection, "dana@example.com")
    assert dana is not None
    checked, go_on = asyncio.Event(), asyncio.Event()

    async def held(password_hash: str | None, password: str) -> bool:
        matches = await matches_in_thread(password_hash, password)
        checked.set()
        await go_on.wait()
        return matches

    monkeypatch.setattr("dashboard.entrance.matches_in_thread", held)
    thief = town.visitor()
    trying = asyncio.create_task(thief.log_in("dana@example.com"))
    await checked.wait()
    if what == "the password was changed":
        await town.server.door.submit(SetPassword(dana["id"], dana["password_hash"], "another hash"))
    else:
        other = {"id": new_id(), "org_id": dana["org_id"], "email": "kim@example.com", "password_hash": ""}
        adding = insert(users).values({**other, "verified_at": 1, "created_at": 0})
        await alter(town.server.database.url, lambda connection: connection.execute(adding))
        assert await town.server.door.submit(RemoveMember(dana["org_id"], dana["id"])) is None
    go_on.set()
    answer = await trying
    assert (answer.status_code, WRONG in thief.text, thief.session) == (401, True, None)


async def test_a_session_that_was_planted_before_log_in_is_not_taken_over(town: Town) -> None:
    await town.member("dana@example.com")
    dana = town.visitor()
    dana.http.cookies.set("cb_session", "planted.by.somebody", domain="127.0.0.1")
    await dana.log_in("dana@example.com")
    assert "planted" not in (dana.session or "")


async def test_log_ins_are_limited_by_address_of_origin_and_by_account(town: Town) -> None:
    await town.member("dana@example.com")
    guesser, began = town.visitor(), time.monotonic()
    await guesser.get("/login")
    fields = {"csrf_token": guesser.token, "email": "dana@example.com", "password": "guess"}
    answers = await asyncio.gather(*(guesser.http.post("/login", data=fields) for _ in range(25)))
    tried = sum(answer.status_code == 401 for answer in answers)
    assert 10 <= tried <= 11 + (time.monotonic() - began) / 6
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert "Too many tries." in refused.text


async def test_behind_a_proxy_each_visitor_has_a_limit_of_their_own(sqlite_url: str) -> None:
    async with open_town(sqlite_url, PROXIES="1") as town:
        guesser = town.visitor()
        await guesser.get("/login")

        async def guess(number: int, seen_by_proxy: str) -> int:
            fields = {"csrf_token": guesser.token, "email": f"{number}@example.com", "password": "guess"}
            headers = {"X-Forwarded-For": f"192.0.2.{number}, {seen_by_proxy}"}
            return (await guesser.http.post("/login", data=fields, headers=headers)).status_code

        answers = await asyncio.gather(*(guess(number, "198.51.100.7") for number in range(20)))
        assert 429 in answers, "what a visitor claims about themselves counts for nothing"
        assert await guess(30, "198.51.100.8") == 401, "somebody else is not kept out"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example.com/",
        "//evil.example.com",
        "/\\evil.example.com",
        "\\\\evil.example.com",
        "javascript:alert(1)",
        "/\t/evil.example.com",
        "/\n/evil.example.com",
        "calls",
        "",
    ],
)
async def test_log_in_leads_only_to_our_own_pages(town: Town, wanted: str) -> None:
    await town.member("dana@example.com")
    dana = town.visitor()
    response = await dana.log_in("dana@example.com", next=wanted)
    assert response.headers["location"] == "/calls"
    assert (await dana.get("/login", params={"next": wanted})).headers["location"] == "/calls"


async def test_log_in_leads_back_to_where_one_was(town: Town) -> None:
    await town.member("dana@example.com")
    dana = town.visitor()
    response = await dana.get("/billing?period=7d&entries=credit")
    page = await dana.get(response.headers["location"])
    assert page.status_code == 200
    wanted = page.text.split('name="next" value="')[1].split('"')[0].replace("&amp;", "&")
    response = await dana.post("/login", email="dana@example.com", password=PASSWORD, next=wanted)
    assert response.headers["location"] == "/billing?period=7d&entries=credit"


async def test_a_form_that_comes_too_late_leads_to_log_in_and_changes_nothing(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/api-keys")
    dana.http.cookies.clear()
    fields = {"csrf_token": dana.token, "name": "Late"}
    response = await dana.send("/api-keys", fields, Referer=f"{town.server.url}/api-keys")
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=/api-keys")
    back = town.visitor()
    await back.log_in("dana@example.com")
    await back.get("/api-keys")
    assert "No API keys yet" in back.text


async def test_a_new_password_ends_every_other_session(town: Town) -> None:
    here = await town.member("dana@example.com")
    there = town.visitor()
    await there.log_in("dana@example.com")
    await here.get("/settings")
    response = await here.post("/settings/password", current_password=PASSWORD, new_password="another long one")
    assert response.status_code == 200
    assert "Your password is changed. You are logged out everywhere else." in here.text
    assert (await here.get("/calls")).status_code == 200
    assert (await there.get("/calls")).status_code == 303
    assert (await town.visitor().log_in("dana@example.com")).status_code == 401
    assert (await town.visitor().log_in("dana@example.com", "another long one")).status_code == 303


async def test_a_password_is_not_changed_without_the_old_one(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/settings")
    response = await dana.post("/settings/password", current_password="guess", new_password="another long one")
    assert response.status_code == 400
    assert "This is not your current password." in dana.text
    assert (await dana.get("/settings/password")).status_code == 200, "the page can be fetched again"
    assert (await town.visitor().log_in("dana@example.com")).status_code == 303


async def test_a_reset_link_works_once_and_ends_all_sessions(town: Town) -> None:
    dana = await town.member("dana@example.com")
    lost = town.visitor()
    await lost.get("/forgot")
    await lost.post("/forgot", email="dana@example.com")
    link = await lost.letter("dana@example.com", "new password")
    await lost.get(link)
    token = link.partition("token=")[2]
    response = await lost.post("/reset", token=token, password="another long one")
    assert response.headers["location"] == "/login?changed=1"
    assert (await dana.get("/calls")).status_code == 303
    assert (await lost.get(link)).status_code == 400
    assert "This link no longer works" in lost.text
    await lost.get("/login")
    assert (await lost.post("/reset", token=token, password="a third long one")).status_code == 400
    assert (await town.visitor().log_in("dana@example.com", "another long one")).status_code == 303


async def test_a_reset_link_works_for_an_hour(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await town.member("dana@example.com")
    lost = town.visitor()
    await lost.get("/forgot")
    await lost.post("/forgot", email="dana@example.com")
    link = await lost.letter("dana@example.com", "new password")
    assert (await lost.get(link)).status_code == 200
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: time.monotonic_ns() * 0 + 2**32)
    assert (await lost.get(link)).status_code == 400


async def test_asking_for_a_reset_tells_nothing_about_who_has_an_account(town: Town) -> None:
    await town.member("dana@example.com")
    pages = []
    for email in ("dana@example.com", "nobody@example.com"):
        town.forgive()
        visitor = town.visitor()
        await visitor.get("/forgot")
        response = await visitor.post("/forgot", email=email)
        assert response.status_code == 200
        pages.append(visitor.page.replace(email, ""))
    assert pages[0] == pages[1]
    await town.visitor().letter("dana@example.com", "new password")
    assert not [letter for letter in town.mailbox.letters if "nobody@example.com" in letter.recipients]


async def test_a_forgotten_password_is_as_much_work_for_the_database_whether_or_not_anybody_has_the_address(
    town: Town,
) -> None:
    await town.member("dana@example.com")
    for email in ("dana@example.com", "nobody@example.com"):
        before = await mails_written(town)
        await town.server.door.submit(AskToReset(email, new_id()))
        assert await mails_written(town) == before + 1


async def mails_written(town: Town) -> int:
    async with town.server.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(mails))).scalar_one())


@pytest.mark.parametrize(("base", "secure"), [("https://calls.example.com", True), (None, False)])
async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    sqlite_url: str, base: str | None, secure: bool
) -> None:
    environment = {"PUBLIC_BASE_URL": base} if base else {}
    async with open_town(sqlite_url, **environment) as town:
        dana = town.visitor()
        page = await dana.get("/signup")
        cookies = [*page.headers.get_list("set-cookie")]
        jar = httpx.Cookies({"cb_visitor": cookies[0].partition("=")[2].partition(";")[0]})
        fields = {"csrf_token": dana.token, "organisation": "A", "email": "dana@example.com", "password": PASSWORD}
        headers = {"Cookie": f"cb_visitor={jar['cb_visitor']}"}  # a client keeps no secure cookie of an http address
        cookies += (await dana.send("/signup", fields, **headers)).headers.get_list("set-cookie")
        assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["cb_session", "cb_visitor"]
        for cookie in cookies:
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= attributes
            assert ("secure" in attributes) is secure
        assert ("strict-transport-security" in page.headers) is secure


async def test_a_session_that_ended_elsewhere_ends_its_stream(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.live.PING_SECONDS", 0.1)
    monkeypatch.setattr("dashboard.live.LOOK_SECONDS", 0.1)
    dana = await town.member("dana@example.com")
    there = town.visitor()
    await there.log_in("dana@example.com")
    await there.get("/settings")
    lines: list[str] = []
    async with dana.http.stream("GET", "/events?topics=wallet", timeout=20) as stream:
        async for line in stream.aiter_lines():
            lines.append(line)
            if lines == ["event: ping"]:
                await there.post("/settings/password", current_password=PASSWORD, new_password="another long one")
    assert "event: ping" in lines


async def test_mail_to_somebody_who_left_holds_up_no_other_mail(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/settings")
    await dana.post("/settings/invitations", email="kim@example.com")
    kim = town.visitor()
    await kim.get(await kim.letter("kim@example.com", "Join"))
    invitation = kim.page.split('name="invitation" value="')[1].split('"')[0]
    await kim.post("/signup", invitation=invitation, password=PASSWORD)
    await kim.get("/settings")
    removal = next(part for part in kim.page.split('"') if part.startswith("/settings/members/"))
    lost = town.visitor()
    await lost.get("/forgot")
    await lost.post("/forgot", email="dana@example.com")
    await kim.post(removal)
    await kim.get("/settings")
    await kim.post("/settings/invitations", email="lee@example.com")
    await until(lambda: any("lee@example.com" in letter.recipients for letter in town.mailbox.letters), "a mail")
