"""Every page of the running product, with real data on it: accessible, within a telephone, safe, and alive."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chromium import Axe, quiet_context
from tests.browser.household import OUTSIDE, Household, furnish, pages
from tests.browser.product import PASSWORD, Product


@pytest.fixture(scope="module")
def house(product: Product) -> Household:
    return furnish(product)


@pytest.fixture(scope="module")
def inside(browser: Browser, product: Product, house: Household) -> Iterator[BrowserContext]:
    """A browser in which the account's owner is logged in."""
    with quiet_context(browser) as context:
        page = context.new_page()
        log_in(page, product, house.email)
        page.close()
        yield context


def log_in(page: Page, product: Product, email: str, password: str = PASSWORD) -> None:
    page.goto(f"{product.url}/login")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login" not in url)  # a page closed while it arrives may keep Chromium for ever


def test_axe_finds_no_violation_on_any_page_and_nothing_is_wider_than_a_telephone(
    inside: BrowserContext, product: Product, house: Household
) -> None:
    axe, page = Axe(), inside.new_page()
    violations, too_wide = {}, {}
    for name, path in pages(house).items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{product.url}{path}")
        if found := axe.violations(page):
            violations[name] = found
        page.set_viewport_size({"width": 360, "height": 740})
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            too_wide[name] = over
    page.close()
    assert not violations, json.dumps(violations, indent=1)
    assert not too_wide


def test_nor_before_log_in(context: BrowserContext, product: Product) -> None:
    axe, page = Axe(), context.new_page()
    for name, path in OUTSIDE.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{product.url}{path}")
        assert not axe.violations(page), name
        page.set_viewport_size({"width": 360, "height": 740})
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, name


def test_hostile_text_is_shown_as_text_everywhere(inside: BrowserContext, product: Product, house: Household) -> None:
    page = inside.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    shown = 0
    for name, path in pages(house).items():
        page.goto(f"{product.url}{path}")
        assert page.locator("img").count() == 0, name
        assert page.evaluate("[...document.scripts].every((s) => s.src.startsWith(location.origin))"), name
        shown += page.get_by_text("<script>alert(1)</script>").count()
    page.close()
    assert shown >= 8


def test_a_live_call_is_hung_up_from_its_page(inside: BrowserContext, product: Product, house: Household) -> None:
    page = inside.new_page()
    page.goto(f"{product.url}/calls/{house.live['id']}")
    page.get_by_role("button", name="Hang up").click()
    expect(page.locator("#call-head")).to_contain_text("Completed", timeout=30_000)
    expect(page.locator("#talk")).to_contain_text("Hello, do you have a minute?")
    page.close()
