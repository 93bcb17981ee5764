"""The pages in a real Chromium: accessible, within the screen, alive, and complete without a script."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dashboard.calls_view import CallFilters
from dashboard.render import render
from tests.browser.chromium import Axe, quiet_context
from tests.browser.gallery import Gallery, serve_gallery
from tests.dashboard import fixtures as fx
from tests.dashboard import gallery as rendered
from tests.dashboard.gallery import GALLERY


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with serve_gallery() as served:
        yield served


@pytest.fixture
def page(context: BrowserContext) -> Page:
    context.set_default_timeout(5_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context.new_page()


def test_axe_finds_no_violation_on_any_page_in_either_theme(page: Page, gallery: Gallery) -> None:
    axe, found = Axe(), {}
    for name in GALLERY:
        page.goto(f"{gallery.origin}/{name}")
        if violations := axe.violations(page):
            found[name] = violations
    assert not found, json.dumps(found, indent=1)


_SMALL_TARGETS = """() =>
    [...document.querySelectorAll("button, summary, .button, .pill, .nav a, .contents a, .tabs a, .close, label.tick")]
        .filter((e) => e.checkVisibility() && !e.closest("[inert]"))
        .map((e) => [e.textContent.trim(), e.getBoundingClientRect().height])
        .filter(([, height]) => height < 24)"""


def test_every_page_fits_a_telephone_and_a_thumb(page: Page, gallery: Gallery) -> None:
    too_wide, too_small = {}, {}
    for name in GALLERY:
        page.goto(f"{gallery.origin}/{name}")
        for width in (820, 320):
            page.set_viewport_size({"width": width, "height": 740})
            over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if over > 0:
                too_wide[name, width] = over
        if small := page.evaluate(_SMALL_TARGETS):
            too_small[name] = small
    assert (too_wide, too_small) == ({}, {})


def open_live(page: Page, gallery: Gallery, name: str) -> None:
    """Opens a page and waits until it listens and has asked once for what it might have missed."""
    with page.expect_response(lambda answer: "x-live" in answer.request.headers):
        page.goto(f"{gallery.origin}/{name}")


def test_the_wallet_turns_red_without_a_reload(page: Page, gallery: Gallery) -> None:
    open_live(page, gallery, "billing-low")
    expect(page.locator("#pill")).to_contain_text("Room for 1 call")
    page.locator("#usage-figures summary").click()
    page.evaluate("window.sameDocument = true")

    gallery.pages["billing-low"] = GALLERY["billing-paused"]
    gallery.announce("changed", "wallet ledger")

    expect(page.get_by_role("alert")).to_have_text(fx.PAUSE_MESSAGE)
    expect(page.locator("#pill")).to_have_attribute("data-wallet", "paused")
    expect(page.locator(".hero")).to_have_text("$1.88")
    expect(page.locator("#usage-figures")).to_have_attribute("open", "")
    assert page.evaluate("window.sameDocument") is True


def test_the_line_that_is_read_out_is_renewed_in_place(page: Page, gallery: Gallery) -> None:
    open_live(page, gallery, "billing-low")
    page.evaluate("window.standing = document.querySelector('.standing')")
    gallery.pages["billing-low"] = GALLERY["billing"]
    gallery.announce("changed", "wallet")
    expect(page.locator(".standing")).to_have_text("Calls on. Room for 6 more calls at once.")
    assert page.evaluate("window.standing === document.querySelector('.standing')")


def test_only_the_parts_that_changed_are_renewed(page: Page, gallery: Gallery) -> None:
    open_live(page, gallery, "billing")
    gallery.pages["billing"] = GALLERY["billing-paused"]
    gallery.announce("changed", "topups usage")
    page.wait_for_timeout(600)
    assert gallery.refreshes == ["all", "topups usage"]
    expect(page.locator(".hero")).to_have_text("$18.52")


def test_a_burst_of_changes_is_fetched_once(page: Page, gallery: Gallery) -> None:
    open_live(page, gallery, "billing")
    for _ in range(20):
        gallery.announce("changed", "wallet")
    page.wait_for_timeout(800)
    assert 2 <= len(gallery.refreshes) <= 4


def test_a_new_call_appears_above_and_keeps_the_focus_where_it_was(page: Page, gallery: Gallery) -> None:
    def calls(listed: list[Any]) -> rendered.Renderer:
        def draw(theme: rendered.Theme) -> str:
            shell = rendered.page("Calls", "calls", fx.OK, theme, events_url="/events")
            found = rendered.call_list(CallFilters(), listed)
            return render("calls.html", page=shell, calls=found)

        return draw

    gallery.pages["calls"] = calls(fx.CALLS[1:4])
    open_live(page, gallery, "calls")
    page.get_by_role("link", name="+1 617 555 0147").focus()
    gallery.pages["calls"] = calls(fx.CALLS[:4])
    gallery.announce("changed", "calls")
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.locator("tbody tr").first).to_contain_text("+1 978 555 0105")
    expect(page.get_by_role("link", name="+1 617 555 0147")).to_be_focused()


def test_lost_updates_are_told_and_made_up_for(page: Page, gallery: Gallery) -> None:
    open_live(page, gallery, "billing")
    expect(page.locator("#stale")).to_be_hidden()
    gallery.cut_streams()
    expect(page.locator("#stale")).to_contain_text("Live updates stopped. These figures are from 19:26:")
    gallery.pages["billing"] = GALLERY["billing-paused"]
    gallery.streaming = True
    expect(page.locator(".hero")).to_have_text("$1.88", timeout=15_000)
    expect(page.locator("#stale")).to_be_hidden()


def test_a_live_call_counts_seconds_and_cost(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/call-live")
    clock = page.locator("[data-clock]")
    expect(clock).to_have_text("1:35", timeout=10_000)
    expect(page.locator(".parts .billed")).to_contain_text("$0.07916 so far")


def test_add_credits_opens_over_the_page_and_closes_by_escape(page: Page, gallery: Gallery) -> None:
    gallery.aliases["/billing/add-credits"] = "add-credits"
    page.goto(f"{gallery.origin}/calls")
    page.locator(".wallet").get_by_role("link", name="Add credits").click()
    dialog = page.get_by_role("dialog", name="Add credits")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("radio", name="$25")).to_be_focused()
    expect(dialog).to_contain_text("$43.52 · room for 14 calls")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("$68.52 · room for 22 calls")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.url.endswith("/calls")


def test_add_credits_pressed_twice_opens_one_dialog_and_can_be_opened_again(page: Page, gallery: Gallery) -> None:
    gallery.aliases["/billing/add-credits"] = "add-credits"
    page.goto(f"{gallery.origin}/calls")
    opener = page.locator(".wallet").get_by_role("link", name="Add credits")
    for _ in range(2):
        opener.evaluate("(link) => { link.focus(); link.click(); link.click(); }")
        expect(page.get_by_role("dialog", name="Add credits")).to_be_visible()
        page.wait_for_timeout(300)
        expect(page.locator("dialog")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        expect(opener).to_be_focused()


def test_a_typed_amount_says_what_it_buys(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/add-credits-error")
    amount = page.get_by_label("Amount in US dollars")
    expect(amount).to_be_focused()
    amount.fill("37")
    expect(page.locator(".outcome")).to_contain_text("$55.52 · room for 18 calls")
    amount.fill("3")
    expect(page.locator(".outcome")).to_contain_text("20 connected minutes")


_PRESS_AGAIN = """(button) => {
    const form = button.form;
    button.click();
    setTimeout(() => { button.click(); form.requestSubmit(); }, 150);
}"""


@pytest.mark.parametrize(
    ("name", "address", "button", "fields"),
    [
        ("add-credits", "/billing/add-credits", "Continue to Stripe", {"amount": ["25"]}),
        ("api-keys-empty", "/api-keys", "Create key", {"name": ["Laptop"]}),
    ],
)
def test_a_form_posts_once(page: Page, gallery: Gallery, name: str, address: str, button: str, fields: Any) -> None:
    gallery.aliases[address] = name
    page.goto(f"{gallery.origin}/{name}")
    if "name" in fields:
        page.get_by_label("Name").fill(fields["name"][0])
    gallery.answers_after = 0.5
    page.get_by_role("button", name=button).evaluate(_PRESS_AGAIN)
    page.wait_for_timeout(1_000)
    assert gallery.posts == [(address, {"csrf_token": ["t0k3n"], **fields})]


def test_the_theme_is_kept_in_a_cookie(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/calls")
    page.get_by_title("Dark").click()
    assert {"theme": "dark"}.items() <= {c["name"]: c["value"] for c in page.context.cookies()}.items()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.goto(f"{gallery.origin}/calls?theme=dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark == "rgb(20, 21, 19)"


def test_a_receipt_is_printed_dark_on_white_with_whose_it_is_and_nothing_to_press(page: Page, gallery: Gallery) -> None:
    for name in ("call", "call-live", "billing"):
        page.goto(f"{gallery.origin}/{name}?theme=dark")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 28, 25)", name
        expect(page.get_by_text("Larkspur Dental").first).to_be_visible()
        pressed = page.locator("button, .button, input, select, nav a").filter(visible=True)
        expect(pressed, name).to_have_count(0)


def test_no_field_is_so_small_that_a_telephone_zooms_in_on_it(browser: Browser, gallery: Gallery) -> None:
    with quiet_context(browser, has_touch=True, is_mobile=True) as context:
        page, small, too_wide = context.new_page(), {}, {}
        for name in GALLERY:
            page.goto(f"{gallery.origin}/{name}")
            for width in (360, 320):
                page.set_viewport_size({"width": width, "height": 740})
                if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                    too_wide[name] = width
            if found := page.evaluate(_SMALL_TYPE):
                small[name] = found
        assert (small, too_wide) == ({}, {})


_SMALL_TYPE = """() => [...document.querySelectorAll("input, select, textarea")]
    .filter((e) => !["hidden", "checkbox", "radio", "file"].includes(e.type) && e.checkVisibility())
    .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 16).map((e) => e.name)"""


def test_what_is_to_be_pasted_can_be_copied(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/api-keys-created")
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_role("button", name="Copied the key")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "sk_live_7Qm2vUoXc3nTqkS9eYbJwRfZ0aLhGdPi"


def test_everything_can_be_reached_by_keyboard(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/billing")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("main").get_by_role("link", name="Add credits")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"


_FAULTS = '[aria-invalid="true"], .error, [role="alert"][tabindex]'


def test_each_section_of_billing_is_one_step_away_by_keyboard_and_not_hidden_by_the_bar(
    page: Page, gallery: Gallery
) -> None:
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        page.goto(f"{gallery.origin}/billing")
        contents = page.get_by_role("navigation", name="On this page").get_by_role("link")
        titles = page.locator(".section h2").all_inner_texts()
        assert [title.partition(" in ")[0] for title in titles] == contents.all_inner_texts()
        bar = page.locator(".wallet").bounding_box() if width == 360 else None
        for link, title in zip(contents.all(), titles, strict=True):
            page.evaluate("scrollTo(0, 0)")
            link.press("Enter")
            found = page.get_by_role("heading", name=title, exact=True)
            expect(found).to_be_in_viewport()
            place = found.bounding_box()
            assert place is not None
            assert place["y"] >= (bar["height"] if bar else 0)
    page.goto(f"{gallery.origin}/billing-low")
    page.get_by_role("link", name="Spending limits").press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "limits", "the next step is in the section"


def test_a_form_that_comes_back_opens_at_what_is_wrong_with_it(page: Page, gallery: Gallery) -> None:
    pages_with_faults = set()
    for name in GALLERY:
        page.goto(f"{gallery.origin}/{name}")
        fault = page.locator(_FAULTS).first
        if not fault.count():
            continue
        pages_with_faults.add(name)
        expect(fault, name).to_be_focused()
        expect(fault, name).to_be_in_viewport()
    assert pages_with_faults >= {"settings", "billing-30-days", "api-key-error", "numbers-empty", "signup"}


def test_what_is_asked_twice_can_be_taken_back_from_the_keyboard(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/api-keys")
    asking = page.locator("#revoke-k1")
    for back in ("Enter", "Escape"):
        asking.press("Enter")
        expect(page.get_by_role("button", name="Revoke it")).to_be_visible()
        expect(asking).to_be_focused()
        expect(asking).to_have_text("Keep", use_inner_text=True)
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Revoke it")).to_be_focused()
        page.keyboard.press("Shift+Tab" if back == "Enter" else back)
        if back == "Enter":
            page.keyboard.press(back)
        expect(page.get_by_role("button", name="Revoke it")).to_be_hidden()
        expect(asking).to_be_focused()
        expect(asking).to_have_text("Revoke", use_inner_text=True)
    assert gallery.posts == []


def test_hovering_a_day_tells_its_figures(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.origin}/billing")
    page.locator(".day .hit").nth(12).hover()
    expect(page.locator(".day .read").nth(12)).to_have_css("opacity", "1")
    expect(page.locator(".day .read").nth(12)).to_have_text("Fri 13 Nov · 112.5 min · 62 calls · $5.62908")


def test_without_a_script_the_dialog_is_open_and_revoking_is_asked_twice(browser: Browser, gallery: Gallery) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gallery.origin}/add-credits")
    expect(page.get_by_role("dialog", name="Add credits")).to_be_visible()
    page.get_by_role("radio", name="Other").check()
    expect(page.get_by_label("Amount in US dollars")).to_be_visible()

    gallery.aliases["/api-keys/k1/revoke"] = "api-keys"
    page.goto(f"{gallery.origin}/api-keys")
    page.locator("#revoke-k1").click()
    page.get_by_role("button", name="Revoke it").click()
    assert gallery.posts == [("/api-keys/k1/revoke", {"csrf_token": ["t0k3n"]})]
    context.close()
