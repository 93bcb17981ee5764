import datetime as dt
from dataclasses import replace

import pytest

from dashboard import billing_view, call_view, calls_view, ledger_view, urls
from dashboard.charts import UsageDay
from tests.dashboard import fixtures as fx
from tests.dashboard.gallery import GALLERY


def entry(sequence: int) -> tuple[str, str, str]:
    transfer = next(transfer for transfer in fx.TRANSFERS if transfer.sequence == sequence)
    found = ledger_view.entry(transfer, fx.CLOCK)
    return found.label, f"{found.before} {found.number}".strip(), found.url


@pytest.mark.parametrize(
    ("sequence", "label", "what_for"),
    [
        (3827, "Hold reserved", "Call to +1 508 555 0184"),
        (3825, "Call charged", "2:14 to +1 617 555 0147"),
        (3823, "Hold released", "Voicemail, +1 617 555 0191"),
        (3821, "Top-up", "Stripe payment"),
        (3820, "Call charged", "1:28 from +1 857 555 0119"),
        (3818, "Hold released", "No answer, +1 774 555 0158"),
        (3810, "Voicemail refunded", "Late voicemail verdict, +1 781 555 0162"),
        (3801, "Number charged", "Number +1 617 555 0134"),
        (3789, "Dispute", "Taken while a bank decides"),
        (3788, "Refund undone", "Stripe refund failed"),
        (3786, "Adjustment", "Goodwill for the outage of 20 Nov"),
        (1, "Free credit", "Email confirmed"),
    ],
)
def test_each_ledger_entry_says_what_it_was_for(sequence: int, label: str, what_for: str) -> None:
    assert entry(sequence)[:2] == (label, what_for)


def test_a_calls_entry_links_to_its_receipt() -> None:
    assert entry(3825)[2] == urls.call(fx.BILLED.id)
    assert entry(3821)[2] == ""


def test_an_unknown_kind_is_shown_by_its_name() -> None:
    odd = replace(fx.TRANSFERS[0], kind="loyalty_bonus", call_id=None)
    assert ledger_view.entry(odd, fx.CLOCK).label == "Loyalty bonus"


def test_the_ledgers_pages_keep_period_and_filter() -> None:
    page = ledger_view.ledger(
        fx.TRANSFERS,
        total=None,
        entries="credit",
        period="7d",
        older_before="t1",
        is_first_page=False,
        clock=fx.CLOCK,
    )
    assert page.paging.older_url == "/billing?period=7d&entries=credit&before=t1#ledger"
    assert page.paging.newer_url == "/billing?period=7d&entries=credit#ledger"
    assert [choice.chosen for choice in page.filters] == [False, True]
    assert page.csv_url == "/billing/transfers.csv?entries=credit"
    assert page.paging.summary == "22 entries"


def row(call: calls_view.CallFacts) -> calls_view.CallRow:
    return calls_view.row(call, fx.CLOCK)


def test_a_live_call_shows_its_hold_and_a_final_one_its_charge() -> None:
    live = row(fx.LIVE)
    assert (live.charge, live.held, live.connected_seconds, live.clock_from) == (
        None,
        "$3.00",
        93,
        fx.LIVE.connected_at,
    )
    assert (row(fx.BILLED).charge, row(fx.BILLED).connected_seconds, row(fx.BILLED).clock_from) == (
        11_166,
        134,
        None,
    )


def test_a_call_is_named_after_what_answered_it() -> None:
    assert row(fx.VOICEMAIL).status == calls_view.Status("voicemail", "Voicemail", is_live=False)


def test_a_refunded_call_stays_completed_and_costs_nothing() -> None:
    refunded = row(fx.REFUNDED)
    assert (refunded.status.label, refunded.refunded, refunded.charge) == ("Completed", True, 0)
    shown = GALLERY["calls"]("light").partition(f'id="{refunded.id}"')[2].partition("</tr>")[0]
    assert '<span class="soft">refunded</span></td>' in shown  # never "refunded $0.00", which says the contrary


def test_an_inbound_call_is_listed_under_who_called() -> None:
    assert row(fx.INBOUND).number == "+1 857 555 0119"


def test_the_filters_of_the_calls_page_survive_paging() -> None:
    page = calls_view.call_list(
        fx.CALLS,
        filters=calls_view.CallFilters("inbound", "failed", "a3"),
        agents=fx.AGENTS,
        live_calls=0,
        held_milli_cents=0,
        total=1,
        older_before="c9",
        is_first_page=True,
        clock=fx.CLOCK,
    )
    assert page.paging.older_url == "/calls?direction=inbound&state=failed&agent=a3&before=c9"
    assert page.paging.newer_url == ""
    assert page.directions[1].value == "/calls?direction=outbound&state=failed&agent=a3"
    assert page.live_summary == "None live"


def test_months_lead_to_their_days() -> None:
    usage = billing_view.usage(fx.NOVEMBER, fx.MONTHS, period="2026-11", clock=fx.CLOCK)
    assert usage.title == "Usage in November"
    assert usage.months[1].url == "/billing?period=2026-10#usage"
    assert [month.chosen for month in usage.months] == [True, False, False, False]
    assert (usage.charged_milli_cents, usage.csv_url) == (6_108_515, "/billing/usage.csv?period=2026-11")


def test_a_month_of_another_year_is_named_with_it() -> None:
    days = [UsageDay(dt.date(2025, 11, 1), calls=1, connected_seconds=60)]
    assert billing_view.usage(days, [], period="2025-11", clock=fx.CLOCK).title == "Usage in November 2025"


def test_an_account_without_calls_has_no_chart() -> None:
    days = [UsageDay(dt.date(2026, 11, 23))]
    assert billing_view.usage(days, [], period="30d", clock=fx.CLOCK).chart is None


def test_a_refused_call_carries_the_pause_message_with_its_own_figures() -> None:
    page = call_view.call_page(fx.REFUSED, [], [], clock=fx.CLOCK, check="unchecked")
    assert page.notices[0].text == fx.PAUSE_MESSAGE
    assert page.charge == 0
    assert [line.label for line in page.sum_lines] == ["The call was not taken", "Charged"]


def test_why_a_call_cost_nothing_is_said_once() -> None:
    for call, evidence, why in (
        (fx.NOT_PLACED, [], "The call could not be placed"),
        (fx.NO_ANSWER, fx.NO_ANSWER_EVIDENCE, "Nobody answered"),
    ):
        page = call_view.call_page(call, evidence, [], clock=fx.CLOCK, check="agrees")
        assert [page.reason, *(line.label for line in page.sum_lines)].count(why) == 1


def test_a_charge_that_could_not_be_confirmed_is_not_called_checked() -> None:
    page = call_view.call_page(fx.BILLED, fx.BILLED_EVIDENCE, [], clock=fx.CLOCK, check="differs")
    assert page.notices[0].text.startswith("This charge could not be confirmed")


def test_result_fields_are_shown_as_they_are() -> None:
    result = {"confirmed": False, "note": None, "slots": ["9:00"], "who": "Ms Okafor"}
    page = call_view.call_page(
        fx.BILLED, [], [], clock=fx.CLOCK, check="agrees", result_status="completed", result=result
    )
    assert page.result == (("confirmed", "false"), ("note", "–"), ("slots", '["9:00"]'), ("who", "Ms Okafor"))


@pytest.mark.parametrize(
    ("call", "result_status", "said"),
    [
        (fx.LIVE, "skipped", ""),
        (fx.BILLED, "skipped", ""),
        (fx.REFUSED, None, ""),
        (fx.LIVE, "pending", "Read off the transcript when the call has ended."),
        (fx.BILLED, "pending", "The call’s transcript is being read."),
        (fx.NO_ANSWER, "pending", "Nobody answered, so there is no result."),
        (fx.VOICEMAIL, "pending", "Nobody answered, so there is no result."),
        (fx.NOT_PLACED, "pending", "The call failed, so there is no result."),
    ],
)
def test_why_a_call_has_no_result_is_said_where_one_was_asked_for(
    call: calls_view.CallFacts, result_status: str | None, said: str
) -> None:
    page = call_view.call_page(call, [], [], clock=fx.CLOCK, check="unchecked", result_status=result_status)
    assert page.result_lead == said


def test_a_call_that_the_carrier_has_ended_cannot_be_hung_up_while_it_is_found_out_who_had_answered() -> None:
    page = call_view.call_page(fx.LIVE, [], [], clock=fx.CLOCK, check="unchecked")
    assert page.hang_up_url == f"/calls/{fx.LIVE.id}/hangup"
    ended = call_view.call_page(replace(fx.LIVE, ended_at=fx.NOW), [], [], clock=fx.CLOCK, check="unchecked")
    assert ended.hang_up_url == ""


def test_addresses_quote_what_they_are_given() -> None:
    assert urls.call("../settings?x=1#y") == "/calls/..%2Fsettings%3Fx%3D1%23y"
    assert urls.calls(state="a&b") == "/calls?state=a%26b"
