"""A member closes the account: what ends, what goes on, and what nobody gets twice."""

import re
from typing import Any

import httpx
from sqlalchemy import Table, func, select

from accounts.closing import CloseOrganisation
from accounts.commands import CreateOrganisation
from accounts.keys import new_key
from accounts.organisations import list_organisations
from accounts.people import BeginSession
from accounts.tables import api_keys, free_credit_identities, mails, organisations, sessions, users
from billing.auto_recharge_commands import SetAutoRecharge
from billing.operator_commands import OperatorAction, SuspendOrganisation
from billing.tables import auto_recharges, wallets
from billing.topup_queries import list_actions
from billing.topup_rows import Alert
from config.clock import new_id
from config.database import Database
from config.door import Door
from tests.accounts.test_members import create_key, invite, join
from tests.servers import until
from tests.town import PASSWORD, Town, Visitor
from voice.batches.tables import batches
from voice.numbers.commands import ImportNumber, active_number_objects
from voice.numbers.purchase import BuyNumber
from voice.tables import calls

NUMBER, PERSON = "+14155550101", "+14155550130"


def listening(town: Town) -> list[Alert]:
    """What operators are told from now on."""
    heard: list[Alert] = []
    town.server.app.extensions["topups"].alerted.append(heard.append)
    return heard


async def org_id(member: Visitor) -> str:
    await member.get("/settings")
    found = re.search(r'id="account-id">([^<]+)<', member.page)
    assert found is not None
    return found[1]


async def close(member: Visitor, password: str = PASSWORD) -> httpx.Response:
    await member.get("/settings")
    return await member.post("/settings/close", closing_password=password)


def program(town: Town, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=town.server.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


async def with_number(town: Town, member: Visitor) -> str:
    """An API key of an organisation that has a number to call from."""
    assert town.server.network is not None
    town.server.network.add_number(NUMBER, NUMBER)
    await town.server.door.submit(ImportNumber(new_id(), await org_id(member), NUMBER, "US"))
    return await create_key(member)


async def begin_call(town: Town, api_key: str) -> str:
    """The id of a call that a person has answered."""
    async with httpx.AsyncClient(base_url=town.server.network_url) as network:
        script = {"outcome": "human", "ring_seconds": 1, "talk_seconds": 3_000}
        await network.put(f"/_sim/scripts/{PERSON}", json=script)
    async with program(town, api_key) as api:
        placed = (await api.post("/v1/calls", json={"to": PERSON, "prompt": "Talk."})).json()

        async def answered() -> bool:
            return bool((await api.get(f"/v1/calls/{placed['id']}")).json()["status"] == "in_progress")

        await until(answered, "somebody answers")
    return str(placed["id"])


async def paused_batch(town: Town, api_key: str) -> str:
    async with program(town, api_key) as api:
        [number] = (await api.get("/v1/numbers")).json()["data"]
        agent = {"name": "Reminder", "type": "outbound", "instructions": "Talk.", "number_ids": [number["id"]]}
        made = (await api.post("/v1/agents", json=agent)).json()
        batch = {"agent_id": made["id"], "calls": [{"to": "+12125550130"}]}
        window = {"start": "00:00", "end": "00:01"}
        batch = (await api.post("/v1/batches", json={**batch, "name": "Tuesday", "window": window})).json()
        await api.post(f"/v1/batches/{batch['id']}/pause", json={})
    return str(batch["id"])


async def row_of(town: Town, table: Table, row_id: str) -> Any:
    async with town.server.database.read() as connection:
        return (await connection.execute(select(table).where(table.c.id == row_id))).mappings().one()


async def test_the_page_says_what_closing_ends(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await with_number(town, dana)
    await dana.get("/settings")
    for said in (
        "1 member logged out at once, everywhere.",
        "None is under way. New ones are refused.",
        "1 number given back.",
        "$5.00 is left. What remains of your top-ups goes back to the card it came from; free credit ends.",
        "You can sign up again with the same address, without new free credit.",
    ):
        assert said in dana.text, said


async def test_without_the_password_nothing_is_closed(town: Town) -> None:
    alerts = listening(town)
    dana = await town.member("dana@example.com")
    assert (await close(dana, "wrong horse battery")).status_code == 400
    assert "This is not your current password." in dana.text
    assert await dana.balance() == "$5.00"
    assert alerts == []


async def test_a_closed_account_opens_to_nobody(town: Town) -> None:
    alerts = listening(town)
    dana = await town.member("dana@example.com")
    await invite(dana, "kim@example.com")
    kim = await join(town, "kim@example.com")
    await invite(dana, "lee@example.com")
    invitation = await dana.letter("lee@example.com", "Join")
    key, org = await create_key(dana), await org_id(dana)

    assert (await close(dana)).status_code == 200

    assert "Your account is closed" in dana.text
    for visitor, email in ((dana, "dana@example.com"), (kim, "kim@example.com")):
        assert (await visitor.get("/calls")).status_code == 303
        assert (await town.visitor().log_in(email)).status_code == 401
    assert (await town.visitor().get(invitation)).status_code == 400
    async with program(town, key) as api:
        assert (await api.get("/v1/billing/wallet")).status_code == 401
    assert [alert.kind for alert in alerts] == ["account_closed"]
    assert org in alerts[0].text

    def told() -> list[list[str]]:
        return sorted(mail.recipients for mail in town.mailbox.letters if "account is closed" in mail.subject)

    await until(lambda: told() == [["dana@example.com"], ["kim@example.com"]], "the mails")


async def test_whoever_closed_an_account_gets_no_second_free_credit(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await close(dana)
    town.forgive()
    back = await town.member("dana@example.com")
    assert await back.balance() == "$0.00"


async def test_what_is_under_way_goes_on_and_what_waits_does_not(town: Town) -> None:
    dana = await town.member("dana@example.com")
    key, org = await with_number(town, dana), await org_id(dana)
    batch_id = await paused_batch(town, key)
    call_id = await begin_call(town, key)
    await dana.get("/settings")
    assert "1 call under way goes on to its end and is charged as usual." in dana.text
    assert "1 batch canceled." in dana.text

    assert (await close(dana)).status_code == 200

    assert (await row_of(town, batches, batch_id))["state"] == "canceled"
    assert (await row_of(town, organisations, org))["suspended_at"] is not None
    async with town.server.database.read() as connection:
        assert await active_number_objects(connection, org) == []

    assert (await row_of(town, calls, call_id))["billing_reason"] is None
    await town.server.app.extensions["calls"].hang_up(org, call_id)

    async def settled() -> bool:
        return bool((await row_of(town, calls, call_id))["billing_reason"] == "billed")

    await until(settled, "the call ends")
    wallet = await row_of(town, wallets, org)
    assert wallet["held"] == 0
    assert 0 < 500_000 - wallet["balance"] < 300_000


async def test_a_payment_page_that_is_open_is_closed_too(town: Town) -> None:
    dana = await town.member("dana@example.com")
    key = await create_key(dana)
    async with program(town, key) as api:
        begun = (await api.post("/v1/billing/topups", json={"amount_cents": 2_500})).json()
    assert (await close(dana)).status_code == 200
    async with httpx.AsyncClient() as anybody:
        page = await anybody.get(begun["url"])
    assert "Pay $25" not in page.text
    assert "expired" in page.text


async def test_what_the_operator_sees_of_a_closed_account(town: Town) -> None:
    dana = await town.member("dana@example.com")
    org = await org_id(dana)
    await close(dana)
    async with town.server.database.read() as connection:
        [listed] = await list_organisations(connection, email=None, limit=10)
        [action] = await list_actions(connection, org_id=org, limit=10)
    assert (listed["emails"], listed["balance_milli_cents"]) == ([], 500_000)
    assert (action["operator"], action["action"]) == ("dana@example.com", "org_close")


async def test_an_account_that_buys_a_number_just_now_is_not_closed(town: Town) -> None:
    dana = await town.member("dana@example.com")
    org = await org_id(dana)
    await town.server.door.submit(BuyNumber(new_id(), org, NUMBER, "US", town.server.settings.terms))
    assert (await close(dana)).status_code == 409
    assert "The carrier has yet to confirm a number you are buying." in dana.text
    assert (await dana.get("/calls")).status_code == 200


async def test_who_is_suspended_is_told_on_every_page(town: Town) -> None:
    dana = await town.member("dana@example.com")
    org = await org_id(dana)
    for is_suspended in (True, False):
        action = OperatorAction(new_id(), "ops", "org_suspend", org, "Looks like fraud", org)
        await town.server.door.submit(SuspendOrganisation(org, is_suspended, action))
        for page in ("/calls", "/billing", "/settings"):
            await dana.get(page)
            assert ("Your account is suspended: new calls and top-ups are refused" in dana.text) is is_suspended


async def test_closing_is_one_commit_on_both_databases_and_done_once(door: Door, database: Database) -> None:
    org, user, session = new_id(), new_id(), new_id()
    made = CreateOrganisation(org, user, new_id(), new_id(), "Larkspur", "dana@example.com", "x", new_key(), 500_000)
    await door.submit(made)
    await door.submit(BeginSession(user, session, "x"))
    await door.submit(SetAutoRecharge(org, user, 1_000_000, 5_000_000, 20_000_000, "I agree."))
    command = CloseOrganisation(org, OperatorAction(new_id(), "dana@example.com", "org_close", org, "why", org))
    for _ in range(2):
        assert (await door.submit(command)).balance == 500_000
    async with database.read() as connection:
        for closed in (
            sessions.c.ended_at.is_not(None),
            api_keys.c.revoked_at.is_not(None),
            organisations.c.suspended_at.is_not(None),
            auto_recharges.c.is_enabled.is_(False),
        ):
            assert (await connection.execute(select(func.count()).where(closed))).scalar_one() == 1
        assert (await connection.execute(select(users.c.email))).scalars().all() == [f"removed:{user}"]
        mailed = select(mails.c.recipient).where(mails.c.kind == "notice")
        assert (await connection.execute(mailed)).scalars().all() == ["dana@example.com"]
        assert (await connection.execute(select(func.count()).select_from(free_credit_identities))).scalar_one() == 1
