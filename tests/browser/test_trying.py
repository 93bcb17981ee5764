"""The panel for typing with an agent, in a real Chromium: by keyboard, on a small screen, with unsaved changes."""

import json

from playwright.sync_api import BrowserContext, expect

from tests.browser.chromium import Axe
from tests.browser.product import PASSWORD, Product
from tests.browser.test_every_page import log_in


def test_an_owner_tries_an_agent_by_keyboard_on_a_telephone(context: BrowserContext, product: Product) -> None:
    command = ("org", "create", "Larkspur Dental", "--email", "ira@example.com", "--password", PASSWORD)
    made = json.loads(product.command(*command))
    with product.api(made["api_key"]) as api:
        body = {"name": "Front desk", "type": "inbound", "first_message": "How can I help?"}
        agent = api.post("/v1/agents", json=body).json()["id"]
        page = context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        log_in(page, product, "ira@example.com")
        page.wait_for_url("**/calls")
        page.goto(f"{product.url}/agents/{agent}")
        lines, status = page.locator("#try-lines"), page.locator("#try-status")
        page.get_by_role("link", name="Try it").click()
        page.get_by_role("button", name="Start").focus()
        page.keyboard.press("Enter")
        expect(lines).to_contain_text("How can I help?")
        expect(page.get_by_label("You say")).to_be_focused()

        page.keyboard.type("What are your hours?")
        page.keyboard.press("Enter")
        expect(lines).to_contain_text("I don't have that at hand")
        expect(page.locator("#try-told")).to_contain_text("Agent: I don't have that at hand")
        expect(page.get_by_text("You have unsaved changes.")).to_be_hidden()
        page.get_by_label("Name").fill("Back desk")
        expect(page.get_by_text("You have unsaved changes.")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert not Axe().violations(page)

        page.get_by_label("You say").fill("That is all, goodbye.")
        page.keyboard.press("Enter")
        expect(status).to_have_text("The agent hung up.", timeout=15_000)
        expect(page.get_by_role("button", name="Start again")).to_be_focused()
        assert api.get("/v1/calls").json()["data"] == []
    product.simulator.post("/_sim/model", json={"steps": [{"fault": "status", "status": 429, "times": 2}]})
    try:
        page.keyboard.press("Enter")
        expect(lines).to_contain_text("How can I help?")
        page.keyboard.type("And now?")
        page.keyboard.press("Enter")
        expect(lines).to_contain_text("The language model is busy. Wait a minute, then say it again.")
    finally:
        product.simulator.delete("/_sim/model")
    page.get_by_role("button", name="End", exact=True).click()
    expect(status).to_have_text("You ended the trial.")
