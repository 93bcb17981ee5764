"""A whole call as two people see it: one at the telephone, one who watches the call's page, live and without reloading.

The telephone is the simulated network's, the tool is a real HTTP endpoint, everything between is the product.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.chromium import Axe
from tests.browser.product import PASSWORD, Product
from tests.browser.test_every_page import log_in
from tests.browser.test_journey import over, wait_for
from tests.servers import DOLLAR

PHONE, NUMBER = "+14155550120", "+14155550106"
DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"], "additionalProperties": False}
LONG = "I don't have that at hand, but I'll pass your question on. Is there anything else?"


@contextmanager
def slots_endpoint(answer: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A customer's tool: its address, and what it was asked (call id, arguments)."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.headers["X-CallingBox-Call-Id"], body))
            told = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/slots", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="package")
def account(product: Product) -> dict[str, str]:
    command = ("org", "create", "Larkspur Dental", "--email", "rae@example.com", "--password", PASSWORD)
    made: dict[str, str] = json.loads(product.command(*command))
    product.command("credit", "adjust", made["org_id"], "1000000", "--reason", "test")
    product.command("number", "import", made["org_id"], NUMBER)
    return made


def agent_with(api: httpx.Client, tool_url: str) -> str:
    [number] = api.get("/v1/numbers").json()["data"]
    tool = {
        "type": "http",
        "name": "free_slots",
        "description": "Looks up free slots",
        "policy": "read",
        "url": tool_url,
        "parameters": DAY,
    }
    body = {
        "name": "Reminder",
        "type": "outbound",
        "instructions": "Find a new day for the appointment.",
        "first_message": "Hello, do you have a minute?",
        "returns": {"confirmed": "boolean", "day": "string"},
        "tools": [tool],
        "number_ids": [number["id"]],
        "voicemail_action": "leave_message",
        "voicemail_message": "Please call us back. Thank you, goodbye.",
        "silence_timeout_seconds": 120,
    }
    made = api.post("/v1/agents", json=body)
    assert made.status_code == 201, made.text
    agent_id: str = made.json()["id"]
    return agent_id


def place(api: httpx.Client, agent_id: str) -> str:
    made = api.post("/v1/calls", json={"to": PHONE, "agent_id": agent_id})
    assert made.status_code == 201, made.text
    call_id: str = made.json()["id"]
    return call_id


def say(phone: Page, words: str) -> None:
    phone.get_by_label("What you say").fill(words)
    phone.keyboard.press("Enter")


def agent_says(phone: Page, words: str) -> Locator:
    return phone.locator("#lines .agent").filter(has_text=words).last


def heard(phone: Page, words: str) -> None:
    """Wait until all of it has sounded."""
    line = agent_says(phone, words)
    expect(line).to_be_visible(timeout=15_000)
    expect(line.locator("i")).to_have_count(0, timeout=15_000)


def test_a_whole_call_with_a_tool_an_interruption_and_an_end_by_the_agent(
    context: BrowserContext, product: Product, account: dict[str, str]
) -> None:
    phone, desk = context.new_page(), context.new_page()
    phone.goto(str(product.simulator.base_url))
    log_in(desk, product, "rae@example.com")
    desk.wait_for_url("**/calls")
    with product.api(account["api_key"]) as api, slots_endpoint({"free": "ten in the morning"}) as (url, asked):
        call_id = place(api, agent_with(api, url))
        desk.goto(f"{product.url}/calls/{call_id}")
        desk.evaluate("window.sameDocument = true")
        head, talk = desk.locator("#call-head"), desk.locator("#talk")
        expect(phone.get_by_role("button", name="Answer")).to_be_focused()
        expect(head).to_contain_text("Ringing")

        phone.keyboard.press("Enter")
        expect(head).to_contain_text("In progress")
        heard(phone, "Hello, do you have a minute?")

        say(phone, "Yes. Which slots are free on Monday?")
        heard(phone, "I have checked that for you: free ten in the morning.")
        assert asked == [(call_id, {"day": "Monday"})]
        expect(talk).to_contain_text('free_slots {"day": "Monday"} → {"free": "ten in the morning"}')
        expect(talk).to_contain_text("I have checked that for you: free ten in the morning.")
        expect(desk.locator("#result")).to_contain_text("when the call has ended")

        say(phone, "How long will it take?")
        line = agent_says(phone, LONG)
        expect(line.locator("i")).to_have_text(re.compile(r"^\s*but"), timeout=15_000)
        say(phone, "Sorry, Monday is good.")
        cut = line.locator("s")
        expect(cut).to_be_visible()
        unheard = cut.inner_text()
        expect(talk.locator(".cut")).to_have_count(1)
        expect(talk.locator("s")).to_have_text(unheard.strip())
        heard(phone, "Thank you, I've noted that.")

        say(phone, "No, that is all. Goodbye.")
        expect(phone.locator("#status")).to_contain_text("The agent hung up", timeout=20_000)
        expect(head).to_contain_text("Completed")
        expect(desk.locator("#result")).to_contain_text("confirmed", timeout=15_000)
        expect(desk.locator("#receipt")).to_contain_text("Worked out again from the evidence above: the same charge.")
        call = api.get(f"/v1/calls/{call_id}").json()
        segments = api.get(f"/v1/calls/{call_id}/transcript").json()["segments"]

    charge = call["billing_amount_milli_cents"]
    assert charge == call["billed_duration_seconds"] * 5_000 // 60 > 0
    expect(desk.locator(".charge")).to_contain_text(f"${charge // DOLLAR}.{charge % DOLLAR:05d}")
    assert call["result_status"] == "completed"
    assert set(call["result"]) == {"confirmed", "day"}
    [interrupted] = [each for each in segments if each["cut_text"]]
    assert interrupted["cut_text"].strip() == unheard.strip()
    assert interrupted["text"].strip() == LONG.removesuffix(unheard.strip()).strip()
    expect(talk.locator("li").filter(has_text=interrupted["text"])).to_contain_text("cut off")
    timed = [each for each in segments if each["latency_ms"] is not None]
    assert len(timed) >= 3
    took = f"{timed[0]['latency_ms'] / 1000:.2f} s to reply, {timed[0]['model_latency_ms'] / 1000:.2f} by the model"
    expect(talk).to_contain_text(took)
    expect(talk).to_contain_text("Thank you for your time. Have a nice day, goodbye.")
    expect(talk).to_contain_text("No, that is all. Goodbye.")
    assert desk.evaluate("window.sameDocument") is True
    assert not Axe().violations(desk)
    assert not Axe().violations(phone)


def test_the_telephone_declines_or_leaves_it_to_its_voicemail(
    context: BrowserContext, product: Product, account: dict[str, str]
) -> None:
    phone = context.new_page()
    phone.goto(str(product.simulator.base_url))
    with product.api(account["api_key"]) as api:
        agent = agent_with(api, "http://127.0.0.1:9/none")
        declined = place(api, agent)
        phone.get_by_role("button", name="Decline").click()
        expect(phone.locator("#status")).to_contain_text("Declined")
        message = place(api, agent)
        phone.get_by_role("button", name="Let voicemail take it").click()
        expect(phone.locator("#lines .voicemail")).to_contain_text("Please leave a message", timeout=20_000)
        expect(phone.get_by_role("textbox")).to_have_count(0)
        heard(phone, "Thank you, goodbye.")
        expect(phone.locator("#status")).to_contain_text("Voicemail took it", timeout=20_000)
        calls = [wait_for(partial(over, api, call_id)) for call_id in (declined, message)]
    assert [call["status"] for call in calls] == ["busy", "no_answer"]
    assert calls[1]["answered_by"] == "machine"
