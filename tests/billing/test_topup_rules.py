"""What a payment, a refund and a dispute do, decided without Stripe or a database."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.topup_rules import (
    MAXIMUM_CENTS,
    MINIMUM_CENTS,
    NOTHING,
    Deed,
    Judgement,
    Payment,
    PaymentState,
    Phase,
    Reversal,
    ReversalKind,
    ReviewReason,
    Topup,
    TopupKind,
    TopupStatus,
    credit_of,
    judge,
    later,
    movements,
    retry_at,
    share_milli_cents,
)

TOPUP = Topup("t1", TopupKind.CHECKOUT, TopupStatus.PENDING, 2_500, False, "cs_1", None)
PAYMENT = Payment(PaymentState.PAID, "cs_1", "pi_1", "t1", "o1", 2_500, 2_500, "usd", False)
PAID = dataclasses.replace(TOPUP, status=TopupStatus.PAID, payment_intent_id="pi_1")


def topup(**changes: Any) -> Topup:
    return dataclasses.replace(TOPUP, **changes)


def payment(**changes: Any) -> Payment:
    return dataclasses.replace(PAYMENT, **changes)


# -- payments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "processing", "expired", "failed"])
def test_a_payment_as_asked_for_is_credited_whatever_was_believed_before(status: str) -> None:
    assert judge(topup(status=TopupStatus(status)), PAYMENT) == Judgement(Deed.CREDIT)


@pytest.mark.parametrize("status", ["paid", "review", "rejected"])
def test_a_payment_that_has_been_dealt_with_changes_nothing(status: str) -> None:
    assert judge(topup(status=TopupStatus(status), payment_intent_id="pi_1"), PAYMENT) == NOTHING


def test_tax_that_the_customer_paid_on_top_does_not_matter_nor_a_discount() -> None:
    for total_cents in (1, 2_700):
        assert judge(TOPUP, payment(total_cents=total_cents)) == Judgement(Deed.CREDIT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subtotal_cents": 500}, ReviewReason.WRONG_AMOUNT),
        ({"subtotal_cents": 50_000}, ReviewReason.WRONG_AMOUNT),
        ({"currency": "jpy"}, ReviewReason.WRONG_CURRENCY),
        ({"livemode": True}, ReviewReason.WRONG_MODE),
        ({"topup_id": "t2"}, ReviewReason.OTHER_TOPUP),
        ({"topup_id": None}, ReviewReason.OTHER_TOPUP),
        ({"state": PaymentState.UNASKED, "payment_intent_id": None}, ReviewReason.NO_PAYMENT),
        ({"total_cents": 0}, ReviewReason.NO_PAYMENT),
    ],
)
def test_money_that_does_not_match_goes_to_review(changes: dict[str, Any], reason: ReviewReason) -> None:
    assert judge(TOPUP, payment(**changes)) == Judgement(Deed.REVIEW, reason)


def test_money_for_a_closed_account_goes_to_review_unless_something_else_is_wrong_with_it() -> None:
    closed = topup(account_is_closed=True)
    assert judge(closed, PAYMENT) == Judgement(Deed.REVIEW, ReviewReason.ACCOUNT_CLOSED)
    assert judge(closed, payment(currency="jpy")) == Judgement(Deed.REVIEW, ReviewReason.WRONG_CURRENCY)
    assert judge(closed, payment(state=PaymentState.EXPIRED)) == Judgement(Deed.EXPIRE)


@pytest.mark.parametrize(
    ("known", "changes", "reason"),
    [
        (None, {}, ReviewReason.UNKNOWN_TOPUP),
        (TOPUP, {"session_id": "cs_2"}, ReviewReason.OTHER_SESSION),
        (topup(session_id=None), {}, ReviewReason.OTHER_SESSION),
        (PAID, {"payment_intent_id": "pi_2"}, ReviewReason.PAID_TWICE),
        (PAID, {"session_id": "cs_2", "payment_intent_id": "pi_2"}, ReviewReason.OTHER_SESSION),
    ],
)
def test_money_for_something_else_is_recorded_apart_from_the_topup(
    known: Topup | None, changes: dict[str, Any], reason: ReviewReason
) -> None:
    assert judge(known, payment(**changes)) == Judgement(Deed.REVIEW_APART, reason)


@pytest.mark.parametrize(
    ("state", "status", "deed"),
    [
        ("open", "pending", Deed.NOTHING),
        ("processing", "pending", Deed.PROCESSING),
        ("processing", "failed", Deed.NOTHING),
        ("processing", "paid", Deed.NOTHING),
        ("failed", "pending", Deed.FAIL),
        ("failed", "processing", Deed.FAIL),
        ("failed", "paid", Deed.NOTHING),
        ("expired", "pending", Deed.EXPIRE),
        ("expired", "processing", Deed.NOTHING),
        ("expired", "paid", Deed.NOTHING),
        ("expired", "review", Deed.NOTHING),
    ],
)
def test_without_money_a_topup_only_moves_forward(state: str, status: str, deed: Deed) -> None:
    known = topup(status=TopupStatus(status), payment_intent_id="pi_1")
    assert judge(known, payment(state=PaymentState(state))).deed is deed


@pytest.mark.parametrize("state", ["open", "processing", "failed", "expired"])
def test_no_news_of_an_unknown_or_another_session_matters_unless_money_came(state: str) -> None:
    unpaid = payment(state=PaymentState(state), session_id="cs_2")
    assert judge(None, unpaid) == judge(TOPUP, unpaid) == NOTHING


def test_every_state_of_a_topup_has_an_answer_to_every_state_of_a_payment() -> None:
    for status, state in itertools.product(TopupStatus, PaymentState):
        known = topup(status=status, payment_intent_id="pi_1")
        judgement = judge(known, payment(state=state))
        assert (judgement.deed is Deed.CREDIT) <= (state is PaymentState.PAID and status not in ("paid", "rejected"))
        assert (judgement.reason is None) == (judgement.deed not in (Deed.REVIEW, Deed.REVIEW_APART))


# -- refunds and disputes ---------------------------------------------------------------------------------------------


class Story:
    """A top-up's reversals as they become known; applies what `movements` asks for, as the commands do."""

    def __init__(self, credit: int = 2_500_000) -> None:
        self.credit = self.outstanding = credit
        self.known: dict[str, Reversal] = {}
        self.keys: list[str] = []

    def tell(self, name: str, phase: Phase, share: int, kind: ReversalKind = ReversalKind.REFUND, at: int = 0) -> None:
        new = Reversal(name, kind, phase, at, share, 0, 0, 0)
        known = self.known.get(name, new)
        self.known[name] = dataclasses.replace(known, phase=later(known.phase, phase))
        for movement in movements(self.credit, self.known.values()):
            moved, amount = self.known[movement.reversal_id], movement.amount_milli_cents
            assert amount > 0
            assert movement.source_key not in self.keys
            self.keys.append(movement.source_key)
            if movement.gives_back:
                changed = dataclasses.replace(moved, returned_milli_cents=moved.returned_milli_cents + amount)
            else:
                taken = moved.taken_milli_cents + amount
                changed = dataclasses.replace(moved, taken_milli_cents=taken, takes=moved.takes + 1)
            self.known[movement.reversal_id] = changed
            self.outstanding += amount if movement.gives_back else -amount
            assert 0 <= self.outstanding <= self.credit
        assert movements(self.credit, self.known.values()) == []


def test_a_refund_takes_its_share_once_and_gives_exactly_that_back_when_it_fails() -> None:
    story = Story()
    story.tell("re_1", Phase.TAKEN, 1_000_000)
    story.tell("re_1", Phase.TAKEN, 1_000_000)
    assert (story.outstanding, story.keys) == (1_500_000, ["refund:re_1"])
    story.tell("re_1", Phase.UNDONE, 1_000_000)
    story.tell("re_1", Phase.TAKEN, 1_000_000)
    assert (story.outstanding, story.keys) == (2_500_000, ["refund:re_1", "refund_undo:re_1"])


def test_a_refund_known_to_have_failed_takes_nothing_when_its_beginning_comes_late() -> None:
    story = Story()
    story.tell("re_1", Phase.UNDONE, 1_000_000)
    story.tell("re_1", Phase.TAKEN, 1_000_000)
    assert (story.outstanding, story.keys) == (2_500_000, [])


def test_a_dispute_takes_when_funds_are_withdrawn_and_gives_back_once_when_won() -> None:
    story = Story()
    for phase, outstanding in (("open", 2_500_000), ("taken", 0), ("open", 0), ("undone", 2_500_000)):
        story.tell("dp_1", Phase(phase), 2_500_000, ReversalKind.DISPUTE)
        assert story.outstanding == outstanding
    story.tell("dp_1", Phase.UNDONE, 2_500_000, ReversalKind.DISPUTE)
    assert story.keys == ["dispute:dp_1", "dispute_won:dp_1"]


def test_refund_dispute_won_refund_again_ends_at_nothing_in_any_order() -> None:
    news = [
        ("re_1", Phase.TAKEN, 1_000_000, ReversalKind.REFUND),
        ("dp_1", Phase.TAKEN, 2_500_000, ReversalKind.DISPUTE),
        ("dp_1", Phase.UNDONE, 2_500_000, ReversalKind.DISPUTE),
        ("re_2", Phase.TAKEN, 1_500_000, ReversalKind.REFUND),
    ]
    for order in itertools.permutations(news):
        story = Story()
        for told in order:
            story.tell(*told)
        assert story.outstanding == 0


def test_what_found_too_little_to_take_takes_the_rest_under_a_further_key() -> None:
    story = Story()
    story.tell("dp_1", Phase.TAKEN, 2_000_000, ReversalKind.DISPUTE)
    story.tell("re_1", Phase.TAKEN, 1_000_000)
    assert story.outstanding == 0
    story.tell("dp_1", Phase.UNDONE, 2_000_000, ReversalKind.DISPUTE)
    assert story.outstanding == 1_500_000
    assert story.keys == ["dispute:dp_1", "refund:re_1", "dispute_won:dp_1", "refund:re_1:2"]


shares = st.lists(st.tuples(st.integers(1, 3_000_000), st.sampled_from(Phase)), min_size=1, max_size=5)


@given(shares, st.data())
def test_any_order_and_repetition_takes_what_the_last_phases_say(
    final: list[tuple[int, Phase]], data: st.DataObject
) -> None:
    news = [
        (f"re_{number}", phase, share)
        for number, (share, last) in enumerate(final)
        for phase in Phase
        if later(phase, last) is last
    ]
    told = data.draw(st.permutations(news + data.draw(st.lists(st.sampled_from(news), max_size=5))))
    story = Story()
    for name, phase, share in told:
        story.tell(name, phase, share)
    taken = sum(share for share, phase in final if phase is Phase.TAKEN)
    assert story.outstanding == story.credit - min(story.credit, taken)


@given(st.integers(500, 50_000), st.integers(0, 20_000), st.data())
def test_shares_round_up_and_never_exceed_the_credit(cents: int, tax: int, data: st.DataObject) -> None:
    credit, paid = cents * 1_000, cents + tax
    part = data.draw(st.integers(1, paid))
    share = share_milli_cents(credit, part, paid)
    assert share == min(credit, -(-credit * part // paid))
    assert share_milli_cents(credit, paid, paid) == credit
    assert share * paid >= credit * part


# -- how often --------------------------------------------------------------------------------------------------------


def test_twenty_sessions_an_hour_and_the_next_when_the_oldest_is_an_hour_ago() -> None:
    now = 10 * 3_600_000
    begun = [now - 60_000 * minute for minute in range(19)]
    assert retry_at(begun, now) is None
    assert retry_at([*begun, now - 3_600_000], now) is None
    assert retry_at([*begun, now - 3_599_000], now) == now + 1_000


def test_a_top_up_is_from_five_to_five_hundred_dollars_and_every_cent_of_it_is_credit() -> None:
    assert (MINIMUM_CENTS, MAXIMUM_CENTS) == (500, 50_000)
    assert [credit_of(cents) for cents in (0, 1, 2_500)] == [0, 1_000, 2_500_000]
