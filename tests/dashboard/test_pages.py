from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain

import pytest
from jinja2 import UndefinedError

from accounts.identity import LONGEST_NAME
from dashboard import call_view, views, wallet_view
from dashboard.calls_view import CallFilters, first_call
from dashboard.ledger_view import Transfer, entry
from dashboard.receipt_view import Evidence
from dashboard.render import STATIC, render, static
from dashboard.webhooks_view import WebhooksPage
from dashboard.workspace_view import AgentRow, ListedRow
from tests.dashboard import fixtures as fx
from tests.dashboard import workspace_fixtures as ws
from tests.dashboard.gallery import GALLERY, billing, call_list, page

UNASKING = {"error-429", "error-500", "error-503"}
"""Pages that ask the database for nothing, and so know no figures."""
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


class Page(HTMLParser):
    """The elements of a page: (name, attributes) in order, and the fields of each form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.forms: list[tuple[dict[str, str | None], set[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "form":
            self.forms.append((found, set()))
        elif "name" in found and self.forms:
            self.forms[-1][1].add(found["name"] or "")


@pytest.fixture(scope="module", params=sorted(GALLERY))
def shown(request: pytest.FixtureRequest) -> Page:
    return Page(GALLERY[request.param]("system"))


def test_no_page_needs_more_than_its_own_files(shown: Page) -> None:
    for tag, attributes in shown.elements:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/static/")
        for name in ("src", "href"):
            assert not (attributes.get(name) or "").startswith(("http:", "//", "javascript:"))


def test_every_post_carries_the_token_against_forgery(shown: Page) -> None:
    for form, names in shown.forms:
        if form.get("method") == "post":
            assert "csrf_token" in names, form


def test_ids_are_unique_and_everything_named_by_one_exists(shown: Page) -> None:
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)  # type: ignore[type-var]
    for tag, attributes in shown.elements:
        named = [attributes.get(name) for name in ("for", "aria-labelledby", "aria-describedby", "data-copy")]
        href = attributes.get("href") or ""
        if tag == "use":
            named.append(href.removeprefix("#"))
        missing = set(chain.from_iterable((name or "").split() for name in named)) - set(ids)
        assert not missing, (tag, attributes)


def test_a_live_part_has_an_id_to_be_found_by(shown: Page) -> None:
    for tag, attributes in shown.elements:
        if "data-live" in attributes:
            assert attributes.get("id"), (tag, attributes)


def test_each_page_has_one_h1_and_the_chosen_theme_before_anything_is_painted() -> None:
    for name, renderer in GALLERY.items():
        found = Page(renderer("dark")).elements
        assert sum(tag == "h1" for tag, _ in found) == 1, name
        assert found[0] == ("html", {"lang": "en", "data-theme": "dark"})
        chosen = [a["value"] for tag, a in found if tag == "input" and a.get("name") == "theme" and "checked" in a]
        assert chosen == ["dark"], name


def test_the_pill_and_add_credits_are_on_every_page_inside() -> None:
    for name, renderer in GALLERY.items():
        html = renderer("system")
        if 'class="shell"' in html:
            assert ('id="pill"' in html) is (name not in UNASKING), name
            assert 'aria-label="Add credits"' in html, name


def test_hostile_words_are_shown_as_text() -> None:
    call = fx.call("+14155550123", "Front desk", "19:00:00", "failed", error_message=HOSTILE, **fx.free("free_failed"))
    call = replace(call, agent_name=HOSTILE, from_number=HOSTILE)
    segments = [call_view.Segment("person", HOSTILE, 0)]
    view = call_view.call_page(
        call,
        [Evidence(HOSTILE, fx.NOW, HOSTILE, answered_by=HOSTILE)],
        [],
        clock=fx.CLOCK,
        check="agrees",
        segments=segments,
        result_status="completed",
        result={HOSTILE: HOSTILE},
        metadata={HOSTILE: [HOSTILE]},
    )
    shell = page(HOSTILE, "calls", fx.OK, "system", notices=(views.Notice("plain", "wait", HOSTILE),))
    shell = replace(shell, organisation=HOSTILE, email=HOSTILE)
    ledger = billing(fx.OK)
    transfer = Transfer("t1", HOSTILE, 1, 1, 0, 1, 0, 1, fx.NOW, reason=HOSTILE)
    row = replace(ledger, ledger=replace(ledger.ledger, entries=(entry(transfer, fx.CLOCK),)))
    dialog = wallet_view.add_credits(fx.OK, chosen="other", custom=HOSTILE, error=HOSTILE)
    agent = replace(
        ws.AGENT,
        name=HOSTILE,
        form=views.Form({"name": HOSTILE, "tools": f"</textarea>{HOSTILE}"}, {"name": HOSTILE}),
    )
    endpoint = replace(ws.ENDPOINTS[0], url=HOSTILE, description=HOSTILE)
    delivery = replace(ws.DELIVERY, body=HOSTILE, headers=((HOSTILE, HOSTILE),))
    webhooks = replace(ws.WEBHOOKS, endpoints=(endpoint,), secret=HOSTILE)
    assert isinstance(webhooks, WebhooksPage)
    listed = replace(ws.LISTED, rows=(ListedRow(HOSTILE, fx.NOW, note=HOSTILE),), paging=views.Paging(HOSTILE))
    pages = [
        render("call.html", page=shell, call=view),
        render("calls.html", page=shell, calls=call_list(CallFilters(), [call])),
        render("billing.html", page=shell, billing=row, dialog=dialog),
        render("agent.html", page=shell, agent=agent),
        render("agents.html", page=shell, agents=(AgentRow(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE, 60, 0),)),
        render("webhooks.html", page=shell, view=webhooks),
        render("delivery.html", page=shell, view=delivery),
        render("listed.html", page=shell, view=listed),
        render("api_keys.html", page=shell, view=replace(ws.KEY_CREATED, secret=HOSTILE)),
    ]
    for html in pages:
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "&lt;script&gt;alert(1)" in html
        assert "{{ 7*7 }}" in html
        assert not any(name.startswith("on") for _, attributes in Page(html).elements for name in attributes)


@pytest.mark.parametrize(("name", "field"), [("signup", "organisation"), ("settings", "name")])
def test_a_companys_name_can_be_typed_as_long_as_it_may_be_and_no_longer(name: str, field: str) -> None:
    [found] = [each for tag, each in Page(GALLERY[name]("system")).elements if tag == "input" and each["name"] == field]
    assert found["maxlength"] == str(LONGEST_NAME)


def test_a_view_that_lacks_something_is_an_error_and_not_an_empty_space() -> None:
    with pytest.raises(UndefinedError):
        render("call.html", page=page("Call", "calls", fx.OK, "system"))


def test_a_static_files_address_changes_with_its_content() -> None:
    assert static("style.css").startswith("/static/style.css?v=")
    assert sorted(path.name for path in STATIC.iterdir()) == ["app.js", "favicon.svg", "style.css", "try.js"]


def test_the_notices_say_what_happened_and_what_to_do() -> None:
    assert views.payment_received(2_500_000).text == "Payment received. $25.00 is in your wallet."
    assert views.payment_pending(2_500_000).text == (
        "Stripe is confirming your $25.00. It usually takes seconds; this page updates by itself."
    )
    assert views.payment_left().text == "Top-up not completed. Nothing was charged."
    assert views.wrong_login().text == "Email or password is wrong."
    assert views.unverified("dana@example.com", 500_000).text.startswith("Confirm your email to receive $5.00")


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503, 418, 502])
def test_every_error_has_a_page_with_a_way_on(status: int) -> None:
    error = views.error_page(status)
    assert error.heading
    assert error.action.url
    stranger = views.error_page(status, is_stranger=True, page_url="/somewhere")
    assert "/login" in (stranger.action.url, stranger.other and stranger.other.url)


@pytest.mark.parametrize(
    ("wallet", "said", "unsaid"),
    [
        (fx.NEW, "$3.00 is held while a call is live, so $5.00 has room for 1 at a time.", "that much credit"),
        (fx.wallet(0, 0), "$3.00 is held while a call is live, so it takes that much credit.", "connected minute"),
        (fx.BELOW_ZERO, "$3.00 is held while a call is live, so it takes that much credit.", "connected minute"),
    ],
)
def test_an_account_without_a_call_is_told_what_its_credit_is_worth(
    wallet: wallet_view.WalletFacts, said: str, unsaid: str
) -> None:
    first = first_call(wallet, has_key=False, has_number=False, api_url="https://api.example.com")
    shown = call_list(CallFilters(), [], first_call=first)
    html = render("calls.html", page=page("Calls", "calls", wallet, "system"), calls=shown)
    assert said in html
    assert unsaid not in html
