"""The pages of webhooks: which deliveries they show, and sending again what failed."""

import re
from collections.abc import AsyncIterator

import pytest

from dashboard.webhooks_view import EVENTS, TEST_EVENT, sent_again
from tests.receiver import receiving
from tests.servers import until
from tests.town import Town, Visitor, open_town
from tests.webhooks.desk import working


@pytest.fixture
async def open_town_of_two(sqlite_url: str) -> AsyncIterator[Town]:
    async with open_town(sqlite_url, ALLOW_PRIVATE_URLS="true") as town:
        yield town


async def endpoint_at(member: Visitor, url: str) -> str:
    """Its address on the dashboard."""
    await member.get("/webhooks")
    await member.post("/webhooks/endpoints", url=url, enabled_events="balance.low")
    found = re.search(rf'href="(/webhooks/endpoints/[^"]+)">{url}<', member.page)
    assert found is not None
    return found[1]


async def test_deliveries_are_filtered_and_what_failed_is_sent_again(open_town_of_two: Town) -> None:
    town = open_town_of_two
    dana = await town.member("dana@example.com")
    async with receiving() as receiver, working(town.server):
        good = await endpoint_at(dana, f"{receiver.url}/ok")
        bad = await endpoint_at(dana, f"{receiver.url}/broken")
        for endpoint in (good, bad, bad):
            await dana.get(endpoint)
            await dana.post(f"{endpoint}/test")

        async def tried() -> bool:
            await dana.get("/webhooks")
            return dana.page.count("Delivered") >= 2 and dana.page.count("again at") == 2  # one is the filter's word

        await until(tried, "an attempt at each")
        assert "Delivered" not in shown(await after(dana, "/webhooks?state=pending"))
        assert "again at" not in shown(await after(dana, "/webhooks?state=delivered"))
        assert "No such deliveries." in await after(dana, "/webhooks?event=balance.low")
        assert "No such deliveries." in await after(dana, f"{bad}?event=webhook.test&state=delivered")
        assert TEST_EVENT in shown(await after(dana, "/webhooks?event=nonsense&state=nonsense"))

        receiver.answers["/broken"] = "ok"
        await dana.get(bad)
        hidden = re.search(r'name="endpoint" value="([^"]+)"', dana.page)
        assert hidden is not None
        sent = await dana.post("/webhooks/deliveries/redeliver", endpoint=hidden[1], hours="1")
        assert sent.headers["location"] == f"{bad}?again=2"
        assert "2 deliveries are on the way again." in await after(dana, sent.headers["location"])
        await until(lambda: len([each for each in receiver.received if each.path == "/broken"]) == 4, "both")
        sent = await dana.post("/webhooks/deliveries/redeliver", hours="720")
        assert "Nothing failed" in await after(dana, sent.headers["location"])
        await dana.get("/webhooks")
        assert (await dana.post("/webhooks/deliveries/redeliver", hours="99999999999")).status_code == 400


async def after(member: Visitor, path: str) -> str:
    await member.get(path)
    return member.page


def shown(page: str) -> str:
    """The table of deliveries."""
    found = re.search(r'<table class="records" id="deliveries".*?</table>', page, re.DOTALL)
    assert found is not None
    return found[0]


async def test_pages_of_filtered_deliveries_stay_filtered(open_town_of_two: Town) -> None:
    dana = await open_town_of_two.member("dana@example.com")
    endpoint = await endpoint_at(dana, "http://127.0.0.1:9/closed")
    for _ in range(26):
        await dana.get(endpoint)
        await dana.post(f"{endpoint}/test")
    page = await after(dana, f"{endpoint}?event=webhook.test&state=pending")
    older = re.search(r'href="([^"]+)">Older deliveries', page)
    assert older is not None
    assert "event=webhook.test&amp;state=pending&amp;before=" in older[1]
    page = await after(dana, older[1].replace("&amp;", "&"))
    assert f'href="{endpoint}?event=webhook.test&amp;state=pending">Newest deliveries' in page


@pytest.mark.parametrize(
    ("again", "tone", "words"),
    [
        ("0", "plain", "Nothing failed in that time that an enabled endpoint could be sent."),
        ("1", "good", "1 delivery is on the way again."),
        ("37", "good", "37 deliveries are on the way again."),
        ("1000+", "good", "1,000 deliveries are on the way again. There are more: send again to go on."),
    ],
)
def test_how_many_are_sent_again_is_said(again: str, tone: str, words: str) -> None:
    notice = sent_again(again)
    assert (notice.tone, notice.text) == (tone, words)


def test_every_event_can_be_chosen() -> None:
    from accounts.events import EVENT_TYPES

    assert set(EVENTS) == set(EVENT_TYPES)
