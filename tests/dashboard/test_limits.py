"""Spending limits on the pages, as people set them."""

from tests.town import Town

FORM = {"cap_day": "12.50", "cap_month": "", "cap_calls": "3", "countries": ["US"]}


async def test_the_organisations_limits_are_set_and_lifted_on_the_billing_page(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/billing")
    assert "Automatic recharge" in visitor.text
    assert "Spending limits" in visitor.text
    saved = await visitor.post("/billing/limits", **FORM)
    assert (saved.status_code, saved.headers["Location"]) == (303, "/billing?saved=limits#limits")
    await visitor.get("/billing?saved=limits")
    assert "Spending limitsSaved" in visitor.text
    assert "$0.00 of $12.50" in visitor.text
    await visitor.post("/billing/limits", cap_day="", cap_month="", cap_calls="", countries=["US", "CA"])
    await visitor.get("/billing")
    assert "$0.00, no cap" in visitor.text


async def test_what_is_no_limit_is_said_beside_its_field_and_nothing_is_saved(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/billing")
    for wrong, word in (
        ({"cap_day": "twenty"}, "Write an amount in dollars"),
        ({"cap_day": "-1"}, "Write an amount in dollars"),
        ({"cap_calls": "1.5"}, "Write a whole number"),
        ({"countries": []}, "Tick at least one country"),
        ({"countries": ["RU"]}, "Tick at least one country"),
    ):
        refused = await visitor.post("/billing/limits", **{**FORM, **wrong})
        assert refused.status_code == 400
        assert word in visitor.text
    await visitor.get("/billing")
    assert "$0.00, no cap" in visitor.text


async def test_a_number_that_is_bought_opens_with_what_it_cost(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/numbers")
    bought = await visitor.post("/numbers/buy", phone_number="+14155550160")
    assert bought.status_code == 303
    await visitor.get(bought.headers["Location"])
    assert "The number is yours. $1.00 for its first month came from your credit." in visitor.text


async def test_a_number_beyond_the_cap_is_not_bought_and_the_page_says_why(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/billing")
    await visitor.post("/billing/limits", **{**FORM, "cap_day": "0.99"})
    await visitor.get("/numbers")
    refused = await visitor.post("/numbers/buy", phone_number="+14155550160")
    assert refused.status_code == 402
    assert "$0.00 is spent and $0.00 held, and +14155550160 costs $1.00. Raise the cap under" in visitor.text


async def test_whoever_sets_the_longest_call_stays_where_it_was_set_and_is_told(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    for page, then, told in (
        ("billing", "/billing?saved=longest-call#longest-call", "Longest callSaved"),
        ("settings", "/settings?saved=1", "Saved."),
    ):
        await visitor.get(f"/{page}")
        saved = await visitor.post("/billing/longest-call", seconds="600", page=page)
        assert (saved.status_code, saved.headers["Location"]) == (303, then)
        await visitor.get(then)
        assert told in visitor.text


async def test_the_low_credit_alert_is_set_on_the_billing_page(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/billing")
    assert "$6.00, what two calls hold" in visitor.text
    assert "$5.00, below the line: you are told the next time it falls below" in visitor.text  # $5.00 of free credit
    saved = await visitor.post("/billing/alert", alert_below="4.50")
    assert (saved.status_code, saved.headers["Location"]) == (303, "/billing?saved=alert#alert")
    await visitor.get("/billing")
    assert "$4.50, your line" in visitor.text
    assert "$5.00, above the line" in visitor.text
    assert 'value="4.50"' in visitor.page
    await visitor.post("/billing/alert", alert_below=" ")
    await visitor.get("/billing")
    assert "$6.00, what two calls hold" in visitor.text


async def test_what_is_no_amount_is_said_beside_the_alert_and_not_saved(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/billing")
    for wrong in ("fifty", "-1", "0", "0.001", "1e3", "10000000.01"):
        refused = await visitor.post("/billing/alert", alert_below=wrong)
        assert refused.status_code == 400, wrong
        assert "Write an amount in dollars above 0, such as 50, or leave it empty." in visitor.text
        assert f'value="{wrong}"' in visitor.page
    assert (await visitor.send("/billing/alert", {"alert_below": "1"})).status_code == 403  # no proof of our own form
    await visitor.get("/billing/alert")  # where a form with an error stays, and is fetched again
    assert "$6.00, what two calls hold" in visitor.text


async def test_a_keys_limits_are_set_on_its_own_page(town: Town) -> None:
    visitor = await town.member("dana@example.com")
    await visitor.get("/api-keys")
    await visitor.post("/api-keys", name="Agent", expires="")
    address = visitor.page.split('href="/api-keys/')[1].split('"')[0]
    await visitor.get(f"/api-keys/{address}")
    saved = await visitor.post(f"/api-keys/{address}", **FORM)
    assert saved.status_code == 303
    await visitor.get("/api-keys")
    assert "$12.50 a day, 3 calls at once, only US" in visitor.text
    assert (await visitor.post("/api-keys/nobodys", **FORM)).status_code == 404
    assert (await visitor.get("/api-keys/nobodys")).status_code == 404
