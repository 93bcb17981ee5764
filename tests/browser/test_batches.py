"""A batch from its form to its last call, as somebody makes one who has never made one before."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import Axe, quiet_context
from tests.browser.product import PASSWORD, Product
from tests.browser.test_every_page import log_in

EMAIL = "lee@example.com"
PERSON, BUSY = "+14155550170", "+14155550171"


@pytest.fixture
def api_key(product: Product) -> str:
    made = json.loads(product.command("org", "create", "Larkspur Dental", "--email", EMAIL, "--password", PASSWORD))
    product.command("number", "import", made["org_id"], "+14155550107")
    product.simulator.put(f"/_sim/scripts/{PERSON}", json={"outcome": "human", "ring_seconds": 1, "talk_seconds": 6})
    product.simulator.put(f"/_sim/scripts/{BUSY}", json={"outcome": "busy", "ring_seconds": 1})
    key: str = made["api_key"]
    return key


def all_day(page: Page) -> None:
    page.get_by_label("From", exact=True).fill("00:00")
    page.get_by_label("Until", exact=True).fill("23:59")
    for day in ("Saturday", "Sunday"):
        page.get_by_label(day).check()


def test_a_batch_is_quoted_made_watched_and_done(
    browser: Browser, product: Product, api_key: str, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text(f"to,name\n{PERSON},Ann\n{BUSY},Ben\n{PERSON},Ann again\n4155550101,nobody\n")
    with quiet_context(browser) as context, product.api(api_key) as api:
        page = context.new_page()
        log_in(page, product, EMAIL)
        page.get_by_role("link", name="Batches").click()
        expect(page.get_by_role("heading", name="No batches yet")).to_be_visible()
        expect(page.locator("#batch-example")).to_contain_text("callingbox-server batch run numbers.csv")
        page.get_by_role("link", name="New batch").click()
        expect(page.get_by_role("heading", name="Who is to call?")).to_be_visible()
        numbers = [number["id"] for number in api.get("/v1/numbers").json()["data"]]
        agent = {"name": "Reminders", "type": "outbound", "number_ids": numbers, "max_duration_seconds": 60}
        assert api.post("/v1/agents", json=agent).status_code == 201

        page.reload()
        page.get_by_label("Name").fill("Tuesday")
        all_day(page)
        page.get_by_label("Calls at once").fill("many")
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="See what it would cost").click()
        expect(page.locator("#max_concurrent-error")).to_have_text("Must be a whole number.")

        page.get_by_label("Calls at once").fill("2")
        page.get_by_role("button", name="See what it would cost").click()
        quote = page.locator("#quote")
        expect(quote.get_by_role("heading")).to_have_text("2 calls, $0.10 at most")
        page.get_by_text("Lines that are left out").click()
        expect(quote).to_contain_text("This number is on line 2 already")
        expect(quote).to_contain_text("Line 5 (4155550101): `to` must be a phone number")
        assert not Axe().violations(page)
        assert api.get("/v1/batches").json()["data"] == []

        page.get_by_label("Name").fill("Tuesday morning")
        page.get_by_role("button", name="Call 2 numbers").click()
        expect(quote).to_be_visible()  # of what was changed
        assert api.get("/v1/batches").json()["data"] == []

        page.get_by_role("button", name="Call 2 numbers").click()
        expect(page.get_by_role("heading", name="Tuesday morning")).to_be_visible()
        head = page.locator("#batch-head")
        expect(head).to_contain_text("Completed", timeout=30_000)  # by itself, without a reload
        expect(head).to_contain_text("2 of 2")
        expect(page.locator("#batch-counts")).to_contain_text("Busy")
        expect(head.get_by_role("button", name="Pause")).to_have_count(0)
        assert not Axe().violations(page)
        page.get_by_role("link", name="+1 415 555 0170").click()
        expect(page.locator("#call-head")).to_contain_text("Completed")
        page.goto(f"{product.url}/batches")
        expect(page.locator("#batches")).to_contain_text("2 of 2 done")
        page.close()


def test_a_batch_is_paused_resumed_and_canceled_from_its_page_without_a_script(
    browser: Browser, product: Product
) -> None:
    with quiet_context(browser, java_script_enabled=False) as context:
        page = context.new_page()
        log_in(page, product, EMAIL)
        page.goto(f"{product.url}/batches/new")
        page.get_by_label("Or paste the numbers").fill("+12125550130\n+13125550130")
        page.get_by_label("From", exact=True).fill("00:00")
        page.get_by_label("Until", exact=True).fill("00:01")
        page.get_by_role("button", name="See what it would cost").click()
        page.get_by_role("button", name="Call 2 numbers").click()
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#batch-head")).to_contain_text("Paused. Calls under way go on; nobody else is called.")
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        page.get_by_text("Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel the batch").click()
        expect(page.locator("#batch-head")).to_contain_text("Canceled")
        expect(page.locator("#batch-rows")).to_contain_text("Not called")
        page.close()
