"""A customer's first hour, in a real Chromium against a real server: from signing up to the receipt."""

import csv
import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.product import PASSWORD, Product
from tests.servers import DOLLAR

NUMBER, PATIENT_PERSON, VOICEMAIL = "+14155550100", "+14155550149", "+14155550131"
PAUSED = (
    "Calls paused. Your balance is $2.00 but each call requires a $3.00 hold (we release it back if no one answers). "
    "Add $1.00 or more in credits to keep calling."
)


def wait_for(holds: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_a_customer_signs_up_runs_out_of_credit_pays_and_reads_the_receipt(
    page: Page, product: Product, tmp_path: Path
) -> None:
    email = "dana@example.com"
    sign_up(page, product, email)
    pill = page.locator("#pill")
    page.goto(f"{product.url}/calls")
    expect(pill).to_have_attribute("data-wallet", "paused")
    expect(
        page.get_by_text(f"Confirm your email to receive $5.00 of free credit. We sent a link to {email}.")
    ).to_be_visible()

    verify(page, product, email)
    expect(page.get_by_text("$5.00 of free credit is in your wallet.")).to_be_visible()
    page.get_by_role("link", name="Go to your calls").click()
    expect(pill).to_have_attribute("data-wallet", "low")
    expect(pill).to_contain_text("$5.00")
    expect(pill).to_contain_text("Room for 1 call")

    page.goto(f"{product.url}/billing")
    set_longest_call(page, "10 min")
    expect(pill).to_have_attribute("data-wallet", "ok")
    expect(pill).to_contain_text("Room for 10 calls")
    set_longest_call(page, "60 min")
    expect(pill).to_have_attribute("data-wallet", "low")

    key = create_key(page, product)
    page.goto(f"{product.url}/settings")
    product.command("number", "import", page.locator("#account-id").inner_text(), NUMBER)
    page.goto(f"{product.url}/billing")
    page.evaluate("window.sameDocument = true")
    expect(page.get_by_role("alert")).to_have_count(0)

    with product.api(key) as api:
        call = place(api, PATIENT_PERSON)
        expect(page.get_by_role("alert")).to_have_text(PAUSED)
        expect(pill).to_have_attribute("data-wallet", "paused")
        expect(page.locator(".hero")).to_have_text("$2.00")
        assert page.evaluate("window.sameDocument") is True
        expect(page.locator("#stale")).to_be_hidden()
        refused = api.post("/v1/calls", json={"to": VOICEMAIL})
        assert (refused.status_code, refused.json()["error"]) == (402, PAUSED)

        page.locator(".wallet").get_by_role("link", name="Add credits").click()
        dialog = page.get_by_role("dialog", name="Add credits")
        expect(dialog).to_contain_text("$27.00 · room for 9 calls")
        dialog.get_by_role("button", name="Continue to Stripe").click()
        page.get_by_role("button", name=re.compile("^Pay \\$?25")).click()
        page.wait_for_url(f"{product.url}/billing?payment=*")
        expect(page.get_by_text("Payment received. $25.00 is in your wallet.")).to_be_visible()
        expect(pill).to_have_attribute("data-wallet", "ok")
        expect(page.locator(".hero")).to_have_text("$27.00")
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.locator("#topups")).to_contain_text("Paid")

        place(api, VOICEMAIL)
        wait_for(lambda: (api.get(f"/v1/calls/{call['id']}").json()["answered_by"]) == "human")
        time.sleep(2)
        page.goto(f"{product.url}/calls/{call['id']}")
        expect(page.locator("#call-head")).to_contain_text("In progress")
        page.goto(f"{product.url}/billing")
        expect(page.locator("#usage")).to_contain_text("No minutes yet")
        page.evaluate("window.sameDocument = true")
        api.post(f"/v1/calls/{call['id']}/hangup")
        ended = wait_for(lambda: over(api, call["id"]))
        assert ended["billing_reason"] == "billed"

    seconds, charge = ended["billed_duration_seconds"], ended["billing_amount_milli_cents"]
    assert charge == seconds * 5_000 // 60 > 0
    exact = f"${charge // DOLLAR}.{charge % DOLLAR:05d}"
    expect(page.locator("#usage .figures")).to_contain_text(f"Charged{exact}")
    expect(page.locator("#usage .figures")).to_contain_text(f"Connected{minutes(seconds)} min")
    expect(page.locator(".months tbody tr")).to_contain_text(exact)
    expect(page.locator(".day.today .bar")).to_be_visible()
    assert page.evaluate("window.sameDocument") is True

    page.locator("#ledger").get_by_role("row", name=re.compile("Call charged")).get_by_role("link").click()
    expect(page.locator(".charge")).to_contain_text(exact)
    assert receipt_seconds(page) == ended["duration_seconds"] - detection(page), seconds
    expect(page.locator(".sum .total").last).to_contain_text(exact)
    expect(page.locator("#receipt")).to_contain_text("Worked out again from the evidence above: the same charge.")

    page.goto(f"{product.url}/billing")
    [day] = [row for row in download(page, "#usage", tmp_path) if row["calls"] != "0"]
    assert int(day["charged_milli_cents"]) == charge
    assert int(day["connected_seconds"]) == seconds
    entries = download(page, "#ledger", tmp_path)
    assert sum(int(row["balance_delta_milli_cents"]) for row in entries) == 30 * DOLLAR - charge
    assert entries[-1]["kind"] == "free_credit"


# -- steps ------------------------------------------------------------------------------------------------------------


def sign_up(page: Page, product: Product, email: str) -> None:
    page.goto(f"{product.url}/signup")
    page.get_by_label("Company or team").fill("Larkspur Dental")
    page.get_by_label("Work email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()


def verify(page: Page, product: Product, email: str) -> None:
    [letter] = wait_for(lambda: product.mail_to(email))
    page.goto(letter["links"][0])
    expect(page.get_by_role("heading", name="Your email is confirmed")).to_be_visible()


def set_longest_call(page: Page, label: str) -> None:
    section = page.locator("#longest-call")
    section.get_by_role("radio", name=label).check()
    section.get_by_role("button", name="Save").click()
    expect(section.get_by_role("radio", name=label)).to_be_checked()


def create_key(page: Page, product: Product) -> str:
    page.goto(f"{product.url}/api-keys")
    page.get_by_label("Name").fill("Booking server")
    page.get_by_role("button", name="Create key").click()
    return page.locator("#secret").inner_text()


def place(api: httpx.Client, to: str) -> dict[str, Any]:
    response = api.post("/v1/calls", json={"to": to})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def over(api: httpx.Client, call_id: str) -> dict[str, Any] | None:
    call: dict[str, Any] = api.get(f"/v1/calls/{call_id}").json()
    return call if call["billing_reason"] is not None else None


def minutes(seconds: int) -> str:
    return f"0.{seconds * 100 // 60:02d}" if 0 < seconds < 60 else f"{seconds // 6 / 10:.1f}"


def detection(page: Page) -> int:
    found = re.search(r"−Voicemail detection([\d,]+) s", page.locator(".sum").inner_text().replace("\n", ""))
    return int(found[1]) if found else 0


def receipt_seconds(page: Page) -> int:
    found = re.search(r"=Connected([\d,]+) s", page.locator(".sum").inner_text().replace("\n", ""))
    assert found is not None
    return int(found[1])


def download(page: Page, section: str, directory: Path) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.locator(section).get_by_role("link", name=re.compile("Download CSV")).click()
    path = directory / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return list(csv.DictReader(io.StringIO(path.read_text())))
