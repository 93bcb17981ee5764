"""What stands around every page: who may open it, which forms are believed, what goes out with it."""

import re
import time
from types import SimpleNamespace

import pytest
from quart import Quart

from config.app import DASHBOARD
from config.database import Database, Unavailable
from dashboard import entrance
from dashboard.render import static
from tests.servers import DOLLAR
from tests.town import Town, Visitor

PUBLIC = {"docs_page"}
"""Rooms that show nothing of anybody."""
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def routes(app: Quart, method: str, *, of_entrance: bool | None = None) -> list[str]:
    """Addresses of the dashboard that take a method, with made-up names where they have any."""
    entry = entrance.blueprint.name
    rooms = {room.blueprint.name for room in DASHBOARD} - PUBLIC
    found = []
    for rule in app.url_map.iter_rules():
        room = rule.endpoint.partition(".")[0]
        wanted = of_entrance is None or (room == entry) is of_entrance
        if room in rooms and wanted and not rule.websocket and rule.methods and method in rule.methods:
            found.append(re.sub(r"<any\(([^,)]+)[^>]*>", r"\1", rule.rule))
    return sorted({re.sub("<[^>]+>", "0198f3c2", path) for path in found})


async def test_no_form_is_believed_without_its_own_sessions_token(town: Town) -> None:
    dana, other = await town.member("dana@example.com"), await town.member("kim@example.com")
    await dana.get("/settings")
    await other.get("/settings")
    posts = routes(town.server.app, "POST")
    assert len(posts) > 35
    forged = {"nothing": {}, "made up": {"csrf_token": "0" * 64}, "another's": {"csrf_token": other.token}}
    for path in posts:
        for what, fields in forged.items():
            town.forgive()
            response = await dana.http.post(path, data=fields)
            assert (response.status_code, path, what) == (403, path, what)
            assert "This form is too old" in response.text
    assert (await dana.get("/calls")).status_code == 200, "not even the log-out was believed"


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://127.0.0.1.evil.example.com"])
async def test_no_form_is_believed_from_another_origin(town: Town, origin: str) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/settings")
    for path in routes(town.server.app, "POST"):
        response = await dana.send(path, {"csrf_token": dana.token}, Origin=origin)
        assert (response.status_code, path) == (403, path)
        await dana.get("/settings")


PROVEN = {"/logout", "/reset", "/verify/resend"}
"""Forms of the entrance that need a session or a signed link."""


async def test_every_form_that_a_stranger_may_send_is_limited(town: Town) -> None:
    forms = set(routes(town.server.app, "POST", of_entrance=True)) - PROVEN
    assert {"/login", "/signup", "/forgot"} <= forms
    for path in forms:
        town.forgive()
        stranger = town.visitor()
        await stranger.get("/login")
        token, said = stranger.token, set()
        for attempt in range(15):
            fields = {"email": f"a{attempt}@example.com", "password": "long enough", "organisation": "A"}
            answer = await stranger.send(path, {"csrf_token": token, **fields})
            said.add(answer.status_code)
            stranger.http.cookies.delete("cb_session")
        assert 429 in said, f"{path}: {said}"


async def test_a_member_who_asks_too_often_waits_before_every_page_and_form_and_nobody_else_does(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    town.server.app.extensions["rate_limit"].per_minute = 1
    stopped = time.monotonic()  # however long all these requests take here, it is the same minute
    monkeypatch.setattr("dashboard.web.time", SimpleNamespace(monotonic=lambda: stopped))
    await dana.get("/calls")
    for method in ("GET", "POST"):
        for path in routes(town.server.app, method, of_entrance=False):
            answer = await dana.http.request(method, path)
            assert (answer.status_code, method, path) == (429, method, path)
            assert int(answer.headers["Retry-After"]) >= 1
    assert (await kim.get("/calls")).status_code == 200


async def test_a_stranger_sees_no_page_of_a_member(town: Town) -> None:
    stranger = town.visitor()
    for path in routes(town.server.app, "GET", of_entrance=False):
        response = await stranger.get(path)
        assert (response.status_code, path) == (303, path)
        assert response.headers["location"].startswith("/login?next=/")
    for path in routes(town.server.app, "POST", of_entrance=False):
        response = await stranger.send(path, {})
        assert (response.status_code, path) == (303, path)


async def test_every_answer_carries_the_strict_policy_whatever_it_says(town: Town) -> None:
    dana = await town.member("dana@example.com")
    for path in [*routes(town.server.app, "GET"), "/nothing/here", "/calls/%ED%B3%BF"]:
        if path in ("/events", "/logout"):
            continue
        response = await dana.http.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"), path
        assert "unsafe" not in policy
        assert {name: response.headers.get(name) for name in SECURITY} == SECURITY, path


async def test_what_belongs_to_another_account_is_not_there(town: Town) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    org_id = await account_of(dana)
    number, agent, call, endpoint, delivery = await furnish(town, dana, org_id)
    for path in (f"/numbers/{number}", f"/agents/{agent}", f"/calls/{call}", endpoint, delivery):
        assert (await dana.get(path)).status_code == 200, path
        assert (await kim.get(path)).status_code == 404, path
        assert "Nothing is here" in kim.text
    await kim.get("/settings")
    changes = (f"/calls/{call}/hangup", f"/agents/{agent}", f"/agents/{agent}/archive", f"/numbers/{number}/release")
    secrets = (f"{endpoint}/rotate", f"{endpoint}/delete", f"{endpoint}/test", f"{delivery}/redeliver")
    for path in (*changes, *secrets):
        assert (await kim.post(path, name="Mine", type="outbound")).status_code == 404, path
        await kim.get("/settings")
    assert (await dana.get(f"/agents/{agent}")).status_code == 200


async def account_of(member: Visitor) -> str:
    await member.get("/settings")
    found = re.search(r'id="account-id">([^<]+)<', member.page)
    assert found is not None
    return found[1]


async def furnish(town: Town, member: Visitor, org_id: str) -> tuple[str, str, str, str, str]:
    """A number, an agent and a call (ids), an endpoint and a delivery (addresses), all made on the pages."""
    from tests.servers import Organisation  # for the key alone

    await member.get("/api-keys")
    await member.post("/api-keys", name="Test", expires="")
    found = re.search(r'id="secret"[^>]*>([^<]+)<', member.page)
    assert found is not None
    org = Organisation(org_id, found[1], "", member.http)
    await town.server.credit(org, 10 * DOLLAR)
    await town.server.number(org, "+14155550107")
    await member.get("/agents/new")
    response = await member.post("/agents", type="outbound", name="Caller", instructions="Ask how it is.")
    agent = response.headers["location"].removeprefix("/agents/").partition("?")[0]
    headers = {"Authorization": f"Bearer {org.api_key}"}
    call = (await member.http.post("/v1/calls", json={"to": "+14155550149"}, headers=headers)).json()["id"]
    [number] = (await member.http.get("/v1/numbers", headers=headers)).json()["data"]
    await member.get("/webhooks")
    await member.post("/webhooks/endpoints", url="https://example.com/hook", enabled_events="call.completed")
    found = re.search(r'href="(/webhooks/endpoints/[^"]+)"', member.page)
    assert found is not None
    response = await member.post(f"{found[1]}/test")
    return number["id"], agent, call, found[1], response.headers["location"]


@pytest.mark.parametrize("path", ["/calls?agent=%00", "/calls?before=%00", "/billing?before=%00", "/calls/%00"])
async def test_what_no_database_can_hold_is_refused(town: Town, path: str) -> None:
    dana = await town.member("dana@example.com")
    assert (await dana.get(path)).status_code in (400, 404)
    await dana.get("/login")
    town.forgive()
    stranger = town.visitor()
    await stranger.get("/login")
    assert (await stranger.post("/login", email="a\x00@example.com", password="x")).status_code == 400


async def test_an_error_is_a_page_with_its_own_words_and_a_way_on(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/billing")
    response = await dana.post("/billing/longest-call", seconds="5")
    assert response.status_code == 400
    assert "A call lasts from 60 to 3600 seconds." in dana.text
    assert "Go to your calls" in dana.text
    assert (await dana.get("/nothing")).status_code == 404
    assert "Nothing is here" in dana.text
    form = {"csrf_token": "0" * 64, "seconds": "600"}
    for referer, way_on in (("/settings?saved=1", True), ("https://evil.example.com/settings", False)):
        address = f"{town.server.url}{referer}" if referer.startswith("/") else referer
        assert (await dana.send("/billing/longest-call", form, Referer=address)).status_code == 403
        assert ('href="/settings?saved=1">Back to the form<' in dana.page) is way_on
        assert "evil.example.com" not in dana.page


FRAME = ('<nav class="nav"', "Larkspur Dental", "dana@example.com", "Log out")


async def test_an_error_of_a_member_keeps_the_frame_and_the_theme(town: Town) -> None:
    dana = await town.member("dana@example.com")
    dana.http.cookies.set("theme", "dark")
    await dana.get("/settings")
    for response in (await dana.get("/calls/none"), await dana.get("/nothing"), await dana.send("/settings", {})):
        assert response.status_code in (403, 404)
        assert [part for part in FRAME if part not in response.text] == []
        assert 'id="pill"' in response.text
        assert 'data-theme="dark"' in response.text
        assert ">Log in<" not in response.text
        assert "data-events" not in response.text, "an error is not fetched again whenever something changes"
    await dana.get("/nothing")
    await dana.post("/logout")
    assert dana.session is None, "the frame's own form is believed"


async def test_an_error_of_a_stranger_has_a_link_to_log_in_and_no_frame(town: Town) -> None:
    stranger = town.visitor()
    referer = f"{town.server.url}/login?next=/billing"
    response = await stranger.send("/login", {}, Referer=referer)
    assert 'href="/login?next=/billing">Back to the form<' in response.text
    assert ">Log in<" not in response.text, "that is where the form is"
    for response in (await stranger.get("/nothing"), await stranger.send("/login", {})):
        assert response.status_code in (403, 404)
        assert [part for part in FRAME if part in response.text] == []
        assert '<a class="button primary wide" href="/login">Log in</a>' in response.text


async def test_a_broken_page_keeps_what_it_knew_already_and_asks_the_database_for_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    dana = await town.member("dana@example.com")

    def gone(*_: object) -> None:
        raise RuntimeError("no database")

    async def breaks(*_: object) -> None:
        monkeypatch.setattr(Database, "read", gone)
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("dashboard.web.wallet_facts", breaks)
        response = await dana.get("/agents/new")
    assert response.status_code == 500
    assert [part for part in FRAME if part not in response.text] == []
    assert 'id="pill"' not in response.text, "no figures rather than old or wrong ones"
    assert 'href="/agents/new">Try again<' in response.text

    response = await dana.get("/agents/new")
    assert response.status_code == 500, "whose session it is cannot be known"
    assert [part for part in FRAME if part in response.text] == []
    assert 'href="/agents/new">Try again<' in response.text
    assert ">Log in<" not in response.text


async def test_whoever_asks_for_what_is_not_there_too_often_sees_it_without_figures(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    dana = await town.member("dana@example.com")
    town.server.app.extensions["rate_limit"].per_minute = 1
    stopped = time.monotonic()
    monkeypatch.setattr("dashboard.web.time", SimpleNamespace(monotonic=lambda: stopped))
    shown = [await dana.get("/nothing") for _ in range(3)]
    assert [(answer.status_code, 'id="pill"' in answer.text) for answer in shown] == [
        (404, True),
        (404, False),
        (404, False),
    ]
    assert [part for part in FRAME if part not in dana.page] == []


async def test_a_page_that_is_not_there_needs_no_database_to_say_so(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    dana = await town.member("dana@example.com")

    def away(*_: object) -> None:
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(Database, "read", away)
    assert (await dana.get("/nothing")).status_code == 404
    assert "Nothing is here" in dana.text


async def test_only_what_is_the_same_for_everybody_is_packed(town: Town) -> None:
    dana = await town.member("dana@example.com")
    for path in ("/docs", "/docs/errors", "/openapi.json", static("style.css"), static("app.js")):
        packed = await dana.http.get(path, headers={"Accept-Encoding": "gzip"})
        plain = await dana.http.get(path, headers={"Accept-Encoding": "gzip;q=0"})
        assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding"), path
        assert int(packed.headers["Content-Length"]) < len(plain.content) / 2, path
        assert "Content-Encoding" not in plain.headers
        assert packed.text == plain.text
    for path in ("/billing", "/settings", "/login"):
        assert "Content-Encoding" not in (await dana.get(path)).headers


async def test_callers_who_show_no_number_are_blocked_by_their_word_and_are_nobody_to_call(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/blocked-callers")
    assert (await dana.post("/blocked-callers", number="Anonymous", note="")).status_code == 303
    assert "anonymous" in (await dana.get("/blocked-callers")).text.partition("<tbody>")[2]
    assert (await dana.post("/blocked-callers/anonymous/remove")).status_code == 303
    await dana.get("/do-not-call")
    assert (await dana.post("/do-not-call", number="anonymous", note="")).status_code == 400
