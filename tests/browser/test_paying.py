"""Adding credits as people do it: in two tabs, with a refused card, later, not at all, and while the server dies."""

import json
import re
import time

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.product import PASSWORD, Product
from tests.browser.test_every_page import log_in

PAY = re.compile(r"^Pay \$25")


@pytest.fixture
def customer(context: BrowserContext, product: Product) -> BrowserContext:
    """A browser in which the owner of a new account is logged in."""
    email = f"payer{time.time_ns()}@example.com"
    json.loads(product.command("org", "create", "Larkspur Dental", "--email", email, "--password", PASSWORD))
    page = context.new_page()
    log_in(page, product, email)
    page.close()
    return context


def at_checkout(customer: BrowserContext, product: Product) -> Page:
    """A tab in which $25 was chosen."""
    page = customer.new_page()
    page.goto(f"{product.url}/billing/add-credits")
    page.get_by_role("button", name="Continue to Stripe").click()
    page.wait_for_url("**/stripe/checkout/*")
    return page


def back_at_billing(page: Page, sentence: str) -> None:
    page.wait_for_url("**/billing?payment=*")
    expect(page.get_by_text(sentence)).to_be_visible()


def test_a_refused_card_two_tabs_and_two_clicks_credit_what_was_paid_and_no_more(
    customer: BrowserContext, product: Product
) -> None:
    first, second = at_checkout(customer, product), at_checkout(customer, product)
    first.get_by_role("button", name="Decline").click()
    expect(first.get_by_role("alert")).to_contain_text("Nothing was charged. Try again.")
    first.get_by_role("button", name=PAY).dblclick(no_wait_after=True)
    back_at_billing(first, "Payment received. $25.00 is in your wallet.")
    second.get_by_role("button", name=PAY).click()
    back_at_billing(second, "Payment received. $25.00 is in your wallet.")
    for page in (first, second):
        expect(page.locator(".hero")).to_have_text("$55.00")
    second.reload()
    expect(second.locator(".hero")).to_have_text("$55.00")
    second.go_back()
    expect(second.get_by_role("heading", name="Paid $25.00")).to_be_visible()
    expect(second.get_by_role("button")).to_have_count(0)


def test_what_is_paid_later_or_not_at_all_is_said_and_not_credited(customer: BrowserContext, product: Product) -> None:
    later = at_checkout(customer, product)
    later.get_by_role("button", name="Pay later").click()
    back_at_billing(later, "Your bank is moving $25.00. That can take days; it is credited when it arrives.")
    left = at_checkout(customer, product)
    left.get_by_role("link", name="Back to CallingBox").click()
    back_at_billing(left, "Top-up not completed. Nothing was charged.")
    expect(left.locator(".hero")).to_have_text("$5.00")
    again = at_checkout(customer, product)
    again.go_back()
    expect(again.get_by_role("button", name="Continue to Stripe")).to_be_enabled()
    again.get_by_role("button", name="Continue to Stripe").click()
    again.wait_for_url("**/stripe/checkout/*")
    again.get_by_role("button", name=PAY).click()
    back_at_billing(again, "Payment received. $25.00 is in your wallet.")
    expect(again.locator(".hero")).to_have_text("$30.00")


def test_a_payment_while_the_server_is_down_is_credited_when_it_is_back(
    customer: BrowserContext, product: Product
) -> None:
    closed, page = at_checkout(customer, product), at_checkout(customer, product)
    assert product.installation.server is not None
    product.installation.server.kill()
    for each in (closed, page):
        each.get_by_role("button", name=PAY).click(no_wait_after=True)
    time.sleep(1)
    closed.close()
    product.installation.start()
    billing = customer.new_page()
    billing.goto(f"{product.url}/billing")
    expect(billing.locator(".hero")).to_have_text("$55.00", timeout=60_000)
    expect(billing.locator("#topups").get_by_text("Paid")).to_have_count(2)


def test_the_dialog_keeps_the_focus_and_gives_it_back(customer: BrowserContext, product: Product) -> None:
    page = customer.new_page()
    page.goto(f"{product.url}/billing")
    opener = page.locator("main").get_by_role("link", name="Add credits")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Add credits")
    expect(dialog.get_by_role("radio", name="$25")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        outside = page.evaluate("document.activeElement !== document.body && !document.activeElement.closest('dialog')")
        assert not outside
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
