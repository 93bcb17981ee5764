"""Automatic recharges: when, how much, and what a refusal leads to."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import auto_recharge
from billing.auto_recharge import HOUR_MS, BadRecharge, PausedReason, Recharge, amount_due_cents, month_of

DOLLAR = 100_000
NOW = 1_764_000_000_000
RULE = Recharge(
    id="o1",
    is_enabled=True,
    threshold_milli_cents=10 * DOLLAR,
    recharge_to_milli_cents=50 * DOLLAR,
    monthly_cap_milli_cents=200 * DOLLAR,
    consented_at=1,
    consented_by="u1",
    consent_text="Charge my card.",
    stripe_payment_method_id="pm_1",
)


def rule(**changes: Any) -> Recharge:
    return dataclasses.replace(RULE, **changes)


# -- the decision -----------------------------------------------------------------------------------------------------


def test_below_the_threshold_the_card_is_charged_up_to_the_amount_asked_for() -> None:
    assert amount_due_cents(RULE, 10 * DOLLAR, NOW) is None
    assert amount_due_cents(RULE, 10 * DOLLAR - 1, NOW) == 4_001
    assert amount_due_cents(RULE, -5 * DOLLAR, NOW) == 5_500
    assert amount_due_cents(RULE, -1_000 * DOLLAR, NOW) == 20_000  # the month's cap


def test_a_charge_is_at_least_five_and_at_most_five_hundred_dollars() -> None:
    small = rule(threshold_milli_cents=10 * DOLLAR, recharge_to_milli_cents=11 * DOLLAR)
    assert amount_due_cents(small, 9 * DOLLAR, NOW) == 500
    large = rule(monthly_cap_milli_cents=10_000 * DOLLAR)
    assert amount_due_cents(large, -900 * DOLLAR, NOW) == 50_000


@pytest.mark.parametrize(
    "changes",
    [
        {"is_enabled": False},
        {"consented_at": None},
        {"stripe_payment_method_id": None},
        {"paused_reason": PausedReason.DISPUTED},
        {"pending_topup_id": "t1"},
        {"claimed_at": NOW - 3_599_999},
        {"retry_at": NOW + 1},
        {"month": month_of(NOW), "month_milli_cents": 196 * DOLLAR},
    ],
)
def test_nothing_is_charged_without_everything_that_allows_it(changes: dict[str, Any]) -> None:
    assert amount_due_cents(rule(**changes), 0, NOW) is None


def test_an_hour_after_a_charge_the_next_may_be_made() -> None:
    assert amount_due_cents(rule(claimed_at=NOW - 3_600_000), 0, NOW) == 5_000
    assert amount_due_cents(rule(retry_at=NOW), 0, NOW) == 5_000


def test_the_rest_of_the_months_cap_is_used_and_a_new_month_begins_anew() -> None:
    spent = rule(month=month_of(NOW), month_milli_cents=190 * DOLLAR)
    assert amount_due_cents(spent, 0, NOW) == 1_000
    assert amount_due_cents(spent, 0, NOW + 31 * 86_400_000) == 5_000


def test_the_charges_of_a_month_add_up_and_those_of_another_do_not_count() -> None:
    once = auto_recharge.claim(RULE, "t1", 5_000, NOW)
    assert (once.month, once.month_milli_cents, once.pending_topup_id, once.claimed_at) == (
        month_of(NOW),
        50 * DOLLAR,
        "t1",
        NOW,
    )
    assert auto_recharge.claim(once, "t2", 1_000, NOW + 1).month_milli_cents == 60 * DOLLAR
    assert auto_recharge.claim(once, "t2", 1_000, NOW + 31 * 86_400_000).month_milli_cents == 10 * DOLLAR


def test_a_charge_of_last_month_that_fails_gives_this_month_nothing_back() -> None:
    later = auto_recharge.claim(RULE, "t1", 5_000, NOW)
    known = auto_recharge.failed(later, 5_000, NOW - 31 * 86_400_000, "card_declined", NOW)
    assert known.month_milli_cents == 50 * DOLLAR


def test_a_month_begins_at_midnight_utc() -> None:
    first = 1_796_083_200_000  # 2026-12-01T00:00:00Z
    assert (month_of(first - 1), month_of(first)) == ("2026-11", "2026-12")


def test_a_charge_that_was_credited_leaves_a_clean_rule() -> None:
    known = auto_recharge.credited(rule(declines=2, retry_at=NOW, pending_topup_id="t1"))
    assert (known.declines, known.retry_at, known.pending_topup_id) == (0, None, None)
    fresh = Recharge("o1", False, 0, 0, 0)
    assert (fresh.month_milli_cents, fresh.declines, fresh.updated_at) == (0, 0, 0)


def test_a_review_or_a_dispute_stops_it() -> None:
    reviewed = auto_recharge.in_review(rule(pending_topup_id="t1"))
    assert (reviewed.paused_reason, reviewed.pending_topup_id) == (PausedReason.REVIEW, None)
    disputed = auto_recharge.disputed(rule(pending_topup_id="t1", link_due_at=NOW, link_amount_cents=500))
    assert (disputed.paused_reason, disputed.pending_topup_id) == (PausedReason.DISPUTED, "t1")
    assert (disputed.link_due_at, disputed.link_amount_cents) == (None, None)


def test_a_card_is_wanted_where_there_is_none_or_it_stopped_working() -> None:
    assert rule(stripe_payment_method_id=None).wants_card
    assert rule(paused_reason=PausedReason.DECLINED).wants_card
    assert not RULE.wants_card
    assert not rule(paused_reason=PausedReason.DISPUTED).wants_card
    assert not rule(is_enabled=False, stripe_payment_method_id=None).wants_card


def test_declines_are_repeated_after_one_three_and_seven_hours_and_the_fourth_pauses() -> None:
    known, at, waits = RULE, NOW, []
    for _ in range(3):
        known = auto_recharge.failed(auto_recharge.claim(known, "t1", 5_000, at), 5_000, at, "card_declined", at)
        assert known.retry_at is not None
        waits.append((known.retry_at - at) // HOUR_MS)
        at = known.retry_at
        assert amount_due_cents(known, 0, at - 1) is None
        assert amount_due_cents(known, 0, at) == 5_000
    assert waits == [1, 3, 7]
    known = auto_recharge.failed(auto_recharge.claim(known, "t1", 5_000, at), 5_000, at, "card_declined", at)
    assert (known.paused_reason, known.retry_at, known.link_due_at) == (PausedReason.DECLINED, None, at)
    assert amount_due_cents(known, 0, at + 1_000 * HOUR_MS) is None
    assert known.month_milli_cents == 0  # what failed does not count


def test_a_bank_that_asks_for_the_customer_pauses_at_once() -> None:
    claimed = auto_recharge.claim(RULE, "t1", 5_000, NOW)
    known = auto_recharge.failed(claimed, 5_000, NOW, "authentication_required", NOW)
    assert known.paused_reason == PausedReason.AUTHENTICATION_REQUIRED
    assert (known.link_due_at, known.link_amount_cents) == (NOW, 5_000)
    assert known.wants_card


def test_a_new_card_lifts_what_the_card_had_stopped_and_nothing_else() -> None:
    for reason in (PausedReason.DECLINED, PausedReason.AUTHENTICATION_REQUIRED):
        mended = auto_recharge.card_saved(rule(paused_reason=reason, declines=4), "pm_2")
        assert (mended.paused_reason, mended.declines, mended.stripe_payment_method_id) == (None, 0, "pm_2")
    for reason in (PausedReason.DISPUTED, PausedReason.REFUNDED, PausedReason.REVIEW):
        assert auto_recharge.card_saved(rule(paused_reason=reason), "pm_2").paused_reason == reason


@pytest.mark.parametrize(
    "amounts",
    [
        (-1, 50 * DOLLAR, 100 * DOLLAR),
        (501 * DOLLAR, 600 * DOLLAR, 1_000 * DOLLAR),
        (10 * DOLLAR, 14 * DOLLAR, 100 * DOLLAR),
        (10 * DOLLAR, 511 * DOLLAR, 1_000 * DOLLAR),
        (10 * DOLLAR, 50 * DOLLAR, 39 * DOLLAR),
        (10 * DOLLAR, 50 * DOLLAR, 100_000 * DOLLAR),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_a_sentence(amounts: tuple[int, int, int]) -> None:
    auto_recharge.check(10 * DOLLAR, 50 * DOLLAR, 200 * DOLLAR)
    with pytest.raises(BadRecharge, match=r"^The .*\$.*\.$"):
        auto_recharge.check(*amounts)


def test_the_outermost_amounts_that_make_sense_are_taken() -> None:
    for threshold, recharge_to, cap in ((0, 5, 5), (500, 1_000, 500), (10, 15, 50_000), (10, 15, 5)):
        auto_recharge.check(threshold * DOLLAR, recharge_to * DOLLAR, cap * DOLLAR)
    for cap in (39 * DOLLAR, 50_000 * DOLLAR + 1):
        with pytest.raises(BadRecharge) as refused:
            auto_recharge.check(10 * DOLLAR, 50 * DOLLAR, cap)
        assert str(refused.value) == (
            "The monthly cap must allow at least one recharge of $40.00 and be at most $50,000.00."
        )


@given(st.integers(-(10**9), 10**8), st.integers(0, 10**8), st.integers(0, 10**9))
def test_a_charge_never_exceeds_the_cap(available: int, charged: int, cap: int) -> None:
    known = rule(month=month_of(NOW), month_milli_cents=charged, monthly_cap_milli_cents=cap)
    cents = amount_due_cents(known, available, NOW)
    if cents is not None:
        claimed = auto_recharge.claim(known, "t1", cents, NOW)
        assert 500 <= cents <= 50_000
        assert claimed.month_milli_cents <= cap
        assert amount_due_cents(claimed, available, NOW) is None


@pytest.mark.parametrize("error_code", ["card_declined", "authentication_required"])
@pytest.mark.parametrize(
    "standing",
    [{"is_enabled": False}, {"paused_reason": PausedReason.DISPUTED}, {"paused_reason": PausedReason.REVIEW}],
)
def test_a_decline_moves_nothing_that_its_owner_turned_off_or_something_graver_stopped(
    standing: dict[str, Any], error_code: str
) -> None:
    known = rule(**standing, declines=3, pending_topup_id="t1", month=month_of(NOW), month_milli_cents=1_000_000)
    after = auto_recharge.failed(known, 1_000, NOW, error_code, NOW)
    assert (after.paused_reason, after.retry_at, after.link_due_at) == (known.paused_reason, None, None)
    assert (after.pending_topup_id, after.month_milli_cents) == (None, 0)


@pytest.mark.parametrize(
    ("available", "standing", "reason"),
    [
        (10 * DOLLAR - 1, {}, PausedReason.REFUNDED),
        (10 * DOLLAR, {}, None),
        (0, {"is_enabled": False}, None),
        (0, {"paused_reason": PausedReason.DECLINED}, PausedReason.REFUNDED),
        (0, {"paused_reason": PausedReason.DISPUTED}, PausedReason.DISPUTED),
        (0, {"paused_reason": PausedReason.REVIEW}, PausedReason.REVIEW),
    ],
)
def test_a_refund_pauses_what_would_take_it_back(
    available: int, standing: dict[str, Any], reason: PausedReason | None
) -> None:
    known = rule(**standing, link_due_at=NOW, link_amount_cents=500)
    after = auto_recharge.refunded(known, available)
    assert after.paused_reason == reason
    pausing = reason is PausedReason.REFUNDED
    assert (after.link_due_at, after.link_amount_cents) == ((None, None) if pausing else (NOW, 500))
    assert amount_due_cents(after, 0, NOW) is None or reason is None


@pytest.mark.parametrize(
    ("available", "reason", "after"),
    [
        (RULE.threshold_milli_cents, PausedReason.REFUNDED, None),
        (RULE.threshold_milli_cents - 1, PausedReason.REFUNDED, PausedReason.REFUNDED),
        (RULE.threshold_milli_cents, PausedReason.DISPUTED, PausedReason.DISPUTED),
        (RULE.threshold_milli_cents, None, None),
    ],
)
def test_a_refund_that_is_refused_lets_go_on_what_it_paused_unless_that_would_charge(
    available: int, reason: PausedReason | None, after: PausedReason | None
) -> None:
    assert auto_recharge.refund_refused(rule(paused_reason=reason), available) == rule(paused_reason=after)


def test_a_charge_that_was_never_made_is_no_decline() -> None:
    known = rule(declines=3, pending_topup_id="t1", month=month_of(NOW), month_milli_cents=60 * DOLLAR)
    after = auto_recharge.failed(known, 4_000, NOW, auto_recharge.NEVER_MADE, NOW)
    assert after == rule(declines=3, month=month_of(NOW), month_milli_cents=20 * DOLLAR)
