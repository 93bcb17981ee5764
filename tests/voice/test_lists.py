"""The do-not-call list and blocked callers over HTTP, and the command that a conversation uses."""

from typing import Any

import pytest

from tests.servers import Server
from tests.voice.test_agents import ask
from voice.lists import AddToDoNotCall

LISTS = ("/v1/do_not_call", "/v1/blocked_callers")
TO, OTHER = "+14155550130", "+14155550137"


@pytest.mark.parametrize("path", LISTS)
async def test_a_number_is_on_a_list_once_until_it_is_taken_off(server: Server, path: str) -> None:
    org = await server.organisation()
    first = await ask(org, "POST", path, {"e164": TO, "reason": " Asked by mail "}, expect=201)
    assert (first["e164"], first["reason"]) == (TO, "Asked by mail")
    assert await ask(org, "POST", path, {"e164": TO, "reason": "Again"}) == first
    assert (await org.get(path)) == {"data": [first], "has_more": False}
    assert await ask(org, "DELETE", f"{path}/{TO}") == {}
    assert (await ask(org, "DELETE", f"{path}/{TO}", expect=404))["code"] == "not_found"
    assert (await org.get(path))["data"] == []
    again = await ask(org, "POST", path, {"e164": TO}, expect=201)
    assert (again["reason"], again["id"]) == (None, first["id"])
    assert await ask(org, "DELETE", f"{path}/{again['id']}") == {}


@pytest.mark.parametrize("path", LISTS)
async def test_lists_of_others_are_not_seen_or_touched(server: Server, path: str) -> None:
    mine, theirs = await server.organisation(), await server.organisation(number="+14155550101")
    entry = await ask(theirs, "POST", path, {"e164": TO}, expect=201)
    assert (await mine.get(path))["data"] == []
    for name in (TO, entry["id"]):
        await ask(mine, "DELETE", f"{path}/{name}", expect=404)
    assert len((await theirs.get(path))["data"]) == 1


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_is_paged_newest_first_in_both_directions(server: Server, path: str) -> None:
    org = await server.organisation()
    added = [
        (await ask(org, "POST", path, {"e164": f"+1415555{last:04d}"}, expect=201))["e164"] for last in range(100, 105)
    ]
    newest_first = added[::-1]
    first = await org.get(path, limit=2)
    assert ([row["e164"] for row in first["data"]], first["has_more"]) == (newest_first[:2], True)
    second = await org.get(path, limit=2, starting_after=first["data"][-1]["id"])
    assert [row["e164"] for row in second["data"]] == newest_first[2:4]
    last = await org.get(path, limit=2, starting_after=second["data"][-1]["e164"])
    assert ([row["e164"] for row in last["data"]], last["has_more"]) == (newest_first[4:], False)
    back = await org.get(path, limit=2, ending_before=last["data"][0]["id"])
    assert ([row["e164"] for row in back["data"]], back["has_more"]) == (newest_first[2:4], True)
    assert (await org.api.get(path, params={"starting_after": "unknown"})).status_code == 404


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("body", [{}, {"e164": "4155550130"}, {"e164": TO, "reason": "x" * 501}, {"e164": TO, "x": 1}])
async def test_a_wrong_entry_is_refused(sqlite_server: Server, path: str, body: Any) -> None:
    org = await sqlite_server.organisation()
    assert (await ask(org, "POST", path, body, expect=400))["field"] in ("e164", "reason", "x")
    assert (await org.get(path))["data"] == []


async def test_callers_who_show_no_number_are_nobody_to_call(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    assert (await ask(org, "POST", "/v1/do_not_call", {"e164": "anonymous"}, expect=400))["field"] == "e164"


async def test_nobody_on_the_list_is_called(server: Server) -> None:
    org = await server.organisation(credit=5_000_000)
    await ask(org, "POST", "/v1/do_not_call", {"e164": TO}, expect=201)
    assert (await org.call(TO, expect=400))["code"] == "number_not_allowed"
    await org.call(OTHER)
    await ask(org, "DELETE", f"/v1/do_not_call/{TO}")
    await org.call(TO)


async def test_what_a_callee_said_on_a_call_is_on_the_list_with_that_call(server: Server) -> None:
    org = await server.organisation()
    call = await org.call(TO)
    command = AddToDoNotCall(org.id, TO, source="callee", reason="Stop calling me", call_id=call["id"])
    for expected in (True, False):  # a repeat after an unclear commit
        row, new = await server.door.submit(command)
        assert (row["source"], new) == ("callee", expected)
    [shown] = (await org.get("/v1/do_not_call"))["data"]
    assert (shown["source"], shown["call_id"], shown["reason"]) == ("callee", call["id"], "Stop calling me")
