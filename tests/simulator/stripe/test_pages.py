"""The hosted Checkout and the receipt in a real browser."""

import asyncio
import itertools
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from axe_core_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright

from tests.simulator.stripe.conftest import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")  # else Playwright's own
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def browsing(**context: Any) -> AsyncIterator[Page]:
    """A page that fails the test on any script error or policy violation."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await (await browser.new_context(**context)).new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        yield page
        await browser.close()
        assert [text for text in complaints if "Content Security Policy" in text] == []


async def test_the_customer_goes_back_tries_again_and_pays(world: World) -> None:
    session = await world.session()
    world.merchant.answer_after_seconds = 0.3
    async with browsing() as page:
        await page.goto(session.url or "")
        assert "Simulated Stripe – no real card" in await page.inner_text("body")
        await page.get_by_role("link", name="Back to CallingBox").click()
        assert page.url == f"{world.merchant.url}/billing"
        await page.goto(session.url or "")
        await page.get_by_role("button", name="Decline").click()
        assert "Your card was declined." in await page.get_by_role("alert").inner_text()
        assert await world.kept() == 0
        await page.get_by_role("button", name="Pay $25.00").click()
        await page.wait_for_url(f"{world.merchant.url}/return?session_id={session.id}")
        assert "checkout.session.completed" in world.merchant.types()


async def test_what_the_merchant_writes_is_text(world: World) -> None:
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    product = {"name": attack, "description": attack}
    price = {"currency": "usd", "unit_amount": 2500, "product_data": product}
    session = await world.session(line_items=[{"quantity": 2, "price_data": price}])
    async with browsing() as page:
        await page.goto(session.url or "")
        assert attack in await page.inner_text("ul")
        assert "owned" not in await page.title()
        assert "$50.00" in await page.inner_text("h1")


async def test_every_page_is_accessible_in_both_themes(world: World) -> None:
    opened, declined, expired = [await world.session() for _ in range(3)]
    await world.do(f"sessions/{declined.id}/decline")
    await world.do(f"sessions/{expired.id}/expire")
    paid = await world.paid()
    await world.do("refunds", payment_intent=paid["payment_intent"], amount=100)
    receipt = world.bank.all("charge")[-1]["receipt_url"]
    paths = [opened.url, declined.url, expired.url, f"/stripe/checkout/{paid['id']}", receipt, "/stripe/checkout/x"]
    # The audit is a script, which the pages' policy rightly refuses: here it is let in past the policy.
    phone = {"width": 360, "height": 700}
    async with browsing(viewport=phone, base_url=world.base, bypass_csp=True) as page:
        for dark, path in itertools.product((False, True), paths):
            await page.emulate_media(color_scheme="dark" if dark else "light")
            await page.goto(path or "")
            assert (await Axe().run(page))["violations"] == [], path
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def _press(world: World, url: str | None, action: str) -> Any:
    return await world.sim.post(url or "", data={"action": action})


async def test_checkout_redirects_without_the_webhook_once_it_has_waited(world: World) -> None:
    world.merchant.answer_after_seconds = 3
    await world.do("settings", checkout_wait_seconds=0.2)
    session = await world.session()
    began = time.monotonic()
    answer = await _press(world, session.url, "pay")
    assert 0.2 <= time.monotonic() - began < 3
    assert answer.headers["Location"] == f"{world.merchant.url}/return?session_id={session.id}"
    assert world.merchant.events == []
    await world.merchant.wait_for("checkout.session.completed")


async def test_the_webhook_may_come_without_the_redirect(world: World) -> None:
    await world.do("settings", checkout_redirects=False)
    session = await world.session()
    answer = await _press(world, session.url, "pay")
    assert answer.headers["Location"] == f"/stripe/checkout/{session.id}"
    assert "Paid $25.00" in (await world.sim.get(answer.headers["Location"])).text
    await world.merchant.wait_for("checkout.session.completed")


async def test_the_redirect_may_come_without_the_webhook(world: World) -> None:
    await world.do("settings", checkout_wait_seconds=0, faults={"lose": 1})
    session = await world.session()
    answer = await _press(world, session.url, "pay")
    assert answer.status_code == 303
    assert world.merchant.events == []
    found = await world.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert found.payment_status == "paid"


async def test_pressing_pay_many_times_pays_once(world: World) -> None:
    session = await world.session()
    answers = await asyncio.gather(*[_press(world, session.url, "pay") for _ in range(8)])
    assert {answer.status_code for answer in answers} == {303}
    assert await world.kept() == 2500


async def test_paying_later_sends_the_customer_back_unpaid(world: World) -> None:
    session = await world.session()
    answer = await _press(world, session.url, "pay_later")
    assert answer.headers["Location"].endswith(session.id)
    found = await world.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert (found.status, found.payment_status) == ("complete", "unpaid")


async def test_an_expired_link_says_so_and_takes_nothing(world: World) -> None:
    session = await world.session()
    await world.do(f"sessions/{session.id}/expire")
    page = await world.sim.get(session.url or "")
    assert page.status_code == 410
    assert "This link has expired" in page.text
    await _press(world, session.url, "pay")
    assert await world.kept() == 0


async def test_an_unknown_button_or_page_is_refused_clearly(world: World) -> None:
    session = await world.session()
    assert (await _press(world, session.url, "steal")).status_code == 400
    assert (await world.sim.get("/stripe/checkout/cs_test_none")).status_code == 404
    assert (await world.sim.get("/stripe/receipts/ch_none")).status_code == 404
    assert await world.kept() == 0


async def test_the_pages_run_no_script_and_go_back_to_the_merchant_alone(world: World) -> None:
    session = await world.session()
    policy = (await world.sim.get(session.url or "")).headers["Content-Security-Policy"]
    assert re.search(r"default-src 'none'", policy)
    assert f"form-action 'self' {world.merchant.url};" in policy
    assert "script-src" not in policy
