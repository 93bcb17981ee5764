"""The low-credit alert of a running server: on the API, the command line and the pages, as events and as mails."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from accounts.people import SignUp, VerifyEmail
from accounts.tables import events, mails, organisations
from billing.alert_commands import SetAlert
from billing.ledger import Post
from billing.posting import Posting
from config.clock import new_id
from tests.billing.test_limits import HOUR_HOLD, second_key
from tests.servers import DOLLAR, Organisation, Server, free_port, installation, running_network, running_server, until
from tests.town import open_town

PATH = "/v1/billing/alert"


async def set_alert(org: Organisation, alert_below: Any, expect: int = 200) -> Any:
    answer = await org.api.patch(PATH, json={"alert_below_milli_cents": alert_below})
    assert answer.status_code == expect, answer.text
    return answer.json()


async def give(server: Server, org_id: str, milli_cents: int) -> None:
    posting = Posting(new_id(), new_id(), org_id, "adjustment", milli_cents)
    await server.door.submit(Post(posting, server.settings.terms))


async def told(server: Server, org_id: str) -> list[tuple[str, list[str]]]:
    """The events of the organisation's credit, each with the lines that were crossed."""
    query = select(events.c.type, events.c.state).where(events.c.org_id == org_id, events.c.call_id.is_(None))
    async with server.database.read() as connection:
        return [(row.type, row.state["crossed"]) for row in await connection.execute(query.order_by(events.c.id))]


async def mailed(server: Server, org_id: str) -> list[str]:
    query = select(mails.c.facts).where(mails.c.org_id == org_id, mails.c.kind == "notice").order_by(mails.c.id)
    async with server.database.read() as connection:
        return [facts["subject"] for facts in (await connection.execute(query)).scalars()]


async def test_the_line_is_chosen_and_given_up(server: Server) -> None:
    org = await server.organisation(number=None)
    usual = {"alert_below_milli_cents": None, "in_force_milli_cents": 2 * HOUR_HOLD}
    assert await org.get(PATH) == usual
    chosen = {"alert_below_milli_cents": 50 * DOLLAR, "in_force_milli_cents": 50 * DOLLAR}
    assert await set_alert(org, 50 * DOLLAR) == chosen
    assert await org.get(PATH) == chosen
    assert await set_alert(org, None) == usual


async def test_a_line_that_makes_no_sense_is_refused(server: Server) -> None:
    org = await server.organisation(number=None)
    await set_alert(org, DOLLAR)
    for wrong in (-1, 0, 1.5, "50", True, 10**12 + 1):
        refused = await set_alert(org, wrong, 400)
        assert (refused["code"], refused["field"]) == ("invalid_request", "alert_below_milli_cents"), wrong
    for body in ({}, {"alert_below": 1}):
        assert (await org.api.patch(PATH, json=body)).status_code == 400
    assert (await org.get(PATH))["alert_below_milli_cents"] == DOLLAR


async def test_a_key_with_limits_of_its_own_does_not_silence_the_alert(server: Server) -> None:
    org = await server.organisation()
    key = await second_key(server, org, daily_cap_milli_cents=HOUR_HOLD)
    assert (await set_alert(key, 1, 403))["code"] == "key_is_limited"
    assert (await key.get(PATH))["alert_below_milli_cents"] is None


async def test_a_call_that_takes_credit_below_the_line_is_told(database_url: str) -> None:
    async with (
        running_network() as network,
        running_server(database_url, network=network, ALLOW_PRIVATE_URLS="true") as server,
    ):
        org = await server.organisation(credit=20 * DOLLAR)
        await org.api.post("/v1/webhook_endpoints", json={"url": f"http://127.0.0.1:{free_port()}/hook"})
        await set_alert(org, 18 * DOLLAR)
        await org.api.post("/v1/calls", json={"to": "+14155550149"})  # holds $3.00, whatever becomes of it
        await until(lambda: told(server, org.id), "the event")
        assert (await told(server, org.id))[0] == ("balance.low", ["alert_below"])


async def signed_up(server: Server) -> str:
    """An organisation with one member who confirmed the address, $10.00, and its line at $8.50; gives its id."""
    org_id, user_id, email = new_id(), new_id(), f"{new_id()}@example.com"
    await server.door.submit(SignUp(org_id, user_id, new_id(), "Example", email, ""))
    await server.door.submit(VerifyEmail(user_id, email, new_id(), 0))
    await give(server, org_id, 10 * DOLLAR)
    assert await server.door.submit(SetAlert(org_id, 850_000)) is None
    return org_id


async def test_people_are_mailed_once_for_each_time_credit_falls_below_the_line(server: Server) -> None:
    org_id = await signed_up(server)
    for amount in (-DOLLAR, -DOLLAR, -DOLLAR, 5 * DOLLAR, -4 * DOLLAR, -DOLLAR, 10 * DOLLAR):
        await give(server, org_id, amount)
    assert await mailed(server, org_id) == ["Your CallingBox credit is below $8.50"] * 2


async def test_a_line_that_was_moved_is_mailed_anew_and_one_set_again_is_not(server: Server) -> None:
    org_id = await signed_up(server)
    await give(server, org_id, -2 * DOLLAR)
    await server.door.submit(SetAlert(org_id, 700_000))
    await server.door.submit(SetAlert(org_id, 700_000))
    await give(server, org_id, -2 * DOLLAR)
    assert await mailed(server, org_id) == [f"Your CallingBox credit is below {line}" for line in ("$8.50", "$7.00")]


async def test_an_organisation_that_is_not_there_has_no_line(server: Server) -> None:
    assert await server.door.submit(SetAlert(new_id(), 1)) == "not_found"


async def test_the_mail_leads_to_where_credit_is_added(sqlite_url: str) -> None:
    async with open_town(sqlite_url) as town:
        visitor = await town.member("dana@example.com")  # $5.00, and told below $6.00 as long as nothing is chosen
        await visitor.get("/billing")
        await visitor.post("/billing/alert", alert_below="4")
        async with town.server.database.read() as connection:
            [org_id] = (await connection.execute(select(organisations.c.id))).scalars()
        await give(town.server, org_id, -2 * DOLLAR)
        assert await visitor.letter("dana@example.com", "credit is below $4.00") == "/billing/add-credits"


def test_the_operator_moves_the_line_and_leaves_a_trail(tmp_path: Path) -> None:
    with installation(tmp_path, f"http://127.0.0.1:{free_port()}") as place:
        made = place.run("org", "create", "Example", "--email", "a@example.com", "--password", "long enough").stdout
        org_id, why = json.loads(made)["org_id"], ("--reason", "asked for by mail")
        shown = place.run("limits", "alert", org_id, "5000000", *why).stdout
        assert json.loads(shown)["alert_below_milli_cents"] == 5_000_000
        place.run("limits", "alert", org_id, "none", *why)
        assert json.loads(place.run("limits", "show", org_id).stdout)[org_id]["alert_below_milli_cents"] is None
        trail = json.loads(place.run("trail").stdout)["data"]
        assert [each["action"] for each in trail] == ["alert_set", "alert_set"]
        for wrong in (("0", *why), ("-5", *why), ("5",)):
            assert place.run("limits", "alert", org_id, *wrong, check=False).returncode == 1
        assert place.run("limits", "alert", "nobody", "5", *why, check=False).returncode == 1
