"""Posting against a plain model: whatever is asked in whatever order, the books are right.

The model keeps what a person with a pencil would: balances, open holds, and what was done under each key.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from billing.posting import HOLD, KINDS, RELEASE, SETTLE, Posting, Present, Refusal, Transfer, post
from billing.wallet import Wallet
from tests.billing.books import assert_sound

ORGS = ("org-a", "org-b")
AMOUNTS = st.integers(0, 60)
SIMPLE_KINDS = sorted(KINDS.keys() - {HOLD, RELEASE, SETTLE})


@dataclass
class Ledger:
    """The smallest store around `post`: lists instead of tables."""

    wallets: dict[str, Wallet] = field(default_factory=lambda: dict.fromkeys(ORGS, Wallet(0, 0, 0)))
    transfers: list[Transfer] = field(default_factory=list)

    def ask(self, posting: Posting) -> Transfer | Refusal:
        def first(**wanted: object) -> Transfer | None:
            return next(
                (t for t in self.transfers if all(getattr(t, name) == value for name, value in wanted.items())), None
            )

        pending = posting.pending_id
        present = Present(
            same_key=first(source_key=posting.source_key),
            hold=first(id=pending, org_id=posting.org_id) if pending else None,
            second_phase=first(pending_id=pending) if pending else None,
        )
        outcome = post(self.wallets[posting.org_id], posting, present, now=1_000)
        if isinstance(outcome, Transfer) and outcome not in self.transfers:
            self.transfers.append(outcome)
            self.wallets[posting.org_id] = Wallet(outcome.balance_after, outcome.held_after, outcome.sequence)
        return outcome


class LedgerAgainstModel(RuleBasedStateMachine):
    holds = Bundle("holds")
    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.numbers = 0
        self.balance = dict.fromkeys(ORGS, 0)
        self.house = {kind.house_account: 0 for kind in KINDS.values()}
        self.open: dict[str, tuple[str, int]] = {}
        self.ended: dict[str, Refusal] = {}

    def _posting(self, org_id: str, kind: str, amount: int = 0, pending_id: str | None = None) -> Posting:
        self.numbers += 1
        return Posting(f"t{self.numbers}", f"k{self.numbers}", org_id, kind, amount, pending_id)

    def _held(self, org_id: str) -> int:
        return sum(amount for owner, amount in self.open.values() if owner == org_id)

    @initialize(target=asked)
    def pay_in(self) -> object:
        return multiple(*(self.credit_or_claw_back(org_id, "topup", 100, negative=False) for org_id in ORGS))

    @initialize(target=holds, amount=st.integers(1, 100))
    def first_hold(self, amount: int) -> object:
        return self.hold(ORGS[0], amount)

    @rule(target=asked, org_id=st.sampled_from(ORGS), kind=st.sampled_from(SIMPLE_KINDS), amount=AMOUNTS,
          negative=st.booleans())  # fmt: skip
    def credit_or_claw_back(self, org_id: str, kind: str, amount: int, negative: bool) -> Posting:
        sign = KINDS[kind].sign or (-1 if negative else 1)
        posting = self._posting(org_id, kind, amount if KINDS[kind].sign else sign * amount)
        outcome = self.ledger.ask(posting)
        assert isinstance(outcome, Transfer)
        assert (outcome.balance_delta, outcome.held_delta, outcome.amount) == (sign * amount, 0, amount)
        self._accounts(outcome, to_wallet=sign * amount > 0 or (amount == 0 and KINDS[kind].sign > 0))
        self.balance[org_id] += sign * amount
        return posting

    @rule(target=holds, org_id=st.sampled_from(ORGS), amount=AMOUNTS)
    def hold(self, org_id: str, amount: int) -> object:
        posting = self._posting(org_id, HOLD, amount)
        outcome = self.ledger.ask(posting)
        if amount > self.balance[org_id] - self._held(org_id):
            assert outcome is Refusal.INSUFFICIENT
            return multiple()
        assert isinstance(outcome, Transfer)
        assert (outcome.balance_delta, outcome.held_delta) == (0, amount)
        self._accounts(outcome, to_wallet=False)
        self.open[posting.id] = (org_id, amount)
        return posting

    @rule(target=asked, hold=holds, amount=st.none() | AMOUNTS, release=st.booleans(), other_org=st.booleans())
    def end(self, hold: Posting, amount: int | None, release: bool, other_org: bool) -> object:
        """Without an amount, all of the hold is charged."""
        owner = ORGS[1 - ORGS.index(hold.org_id)] if other_org else hold.org_id
        amount = 0 if release else hold.amount if amount is None else amount
        posting = self._posting(owner, RELEASE if release else SETTLE, amount, hold.id)
        outcome = self.ledger.ask(posting)
        expected = (
            Refusal.NOT_FOUND
            if other_org
            else self.ended.get(hold.id) or (Refusal.EXCEEDS_HOLD if amount > hold.amount else None)
        )
        if expected is not None:
            assert outcome is expected
            return multiple()
        assert isinstance(outcome, Transfer)
        assert (outcome.balance_delta, outcome.held_delta, outcome.amount) == (-amount, -hold.amount, amount)
        self._accounts(outcome, to_wallet=False)
        del self.open[hold.id]
        self.ended[hold.id] = Refusal.ALREADY_RELEASED if release else Refusal.ALREADY_SETTLED
        self.balance[owner] -= amount
        return posting

    @rule(posting=asked)
    def settle_what_is_no_hold(self, posting: Posting) -> None:
        outcome = self.ledger.ask(self._posting(posting.org_id, SETTLE, 0, posting.id))
        assert outcome is Refusal.NOT_PENDING

    @rule(org_id=st.sampled_from(ORGS))
    def settle_what_never_was(self, org_id: str) -> None:
        assert self.ledger.ask(self._posting(org_id, RELEASE, 0, "nothing")) is Refusal.NOT_FOUND

    @rule(posting=st.one_of(asked, holds))
    def repeat(self, posting: Posting) -> None:
        outcome = self.ledger.ask(posting)
        assert isinstance(outcome, Transfer)
        assert outcome.source_key == posting.source_key

    @rule(used=st.one_of(asked, holds), org_id=st.sampled_from(ORGS), kind=st.sampled_from(sorted(KINDS)),
          amount=AMOUNTS)  # fmt: skip
    def use_a_key_again_for_something_else(self, used: Posting, org_id: str, kind: str, amount: int) -> None:
        posting = Posting("again", used.source_key, org_id, kind, amount)
        outcome = self.ledger.ask(posting)
        same = (org_id, kind, amount, None) == (used.org_id, used.kind, used.amount, used.pending_id)
        assert (outcome is Refusal.CONFLICT) != same

    def _accounts(self, transfer: Transfer, *, to_wallet: bool) -> None:
        wallet, house = f"wallet:{transfer.org_id}", KINDS[transfer.kind].house_account
        assert (transfer.debit_account, transfer.credit_account) == ((house, wallet) if to_wallet else (wallet, house))
        self.house[house] -= transfer.balance_delta

    @invariant()
    def books_are_sound(self) -> None:
        for org_id in ORGS:
            wallet = self.ledger.wallets[org_id]
            assert (wallet.balance, wallet.held) == (self.balance[org_id], self._held(org_id))
            assert_sound(wallet, [transfer for transfer in self.ledger.transfers if transfer.org_id == org_id])
        assert sum(self.house.values()) == -sum(self.balance.values())


LedgerAgainstModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_the_ledger_agrees_with_a_plain_model = LedgerAgainstModel.TestCase


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"adjustment"}))
def test_only_an_adjustment_has_a_sign(kind: str) -> None:
    with pytest.raises(AssertionError):
        post(Wallet(100, 0, 1), Posting("t", "k", "org", kind, -1), Present(), now=0)


def test_only_a_second_phase_points_at_a_hold() -> None:
    with pytest.raises(AssertionError):
        post(Wallet(100, 0, 1), Posting("t", "k", "org", HOLD, 1, pending_id="t0"), Present(), now=0)


def test_a_transfer_keeps_what_it_was_for() -> None:
    posting = Posting("t", "k", "org", "refund", 7, call_id="call", reason="refund_voicemail")
    assert post(Wallet(100, 20, 41), posting, Present(), now=1_234) == Transfer(
        id="t",
        org_id="org",
        sequence=42,
        kind="refund",
        debit_account="revenue",
        credit_account="wallet:org",
        amount=7,
        balance_delta=7,
        held_delta=0,
        balance_after=107,
        held_after=20,
        source_key="k",
        pending_id=None,
        call_id="call",
        reason="refund_voicemail",
        created_at=1_234,
    )


def posted(kind: str, amount: int = 0, pending_id: str | None = None, present: Present | None = None) -> Transfer:
    outcome = post(
        Wallet(100, 20, 1), Posting(kind, kind, "org", kind, amount, pending_id), present or Present(), now=0
    )
    assert isinstance(outcome, Transfer)
    return outcome


@pytest.mark.parametrize("kind", [SETTLE, RELEASE])
@pytest.mark.parametrize(
    ("earlier", "refusal"), [(SETTLE, Refusal.ALREADY_SETTLED), (RELEASE, Refusal.ALREADY_RELEASED)]
)
def test_a_hold_that_has_ended_cannot_end_again(kind: str, earlier: str, refusal: Refusal) -> None:
    hold = posted(HOLD, 20)
    ended = posted(earlier, 0, HOLD, Present(hold=hold))
    again = Posting("again", "again", "org", kind, 0, HOLD)
    assert post(Wallet(100, 0, 3), again, Present(hold=hold, second_phase=ended), now=0) is refusal


def test_settling_takes_the_charge_from_the_balance_and_ends_the_whole_hold() -> None:
    transfer = posted(SETTLE, 7, HOLD, Present(hold=posted(HOLD, 20)))
    assert (transfer.debit_account, transfer.credit_account, transfer.amount) == ("wallet:org", "revenue", 7)
    assert (transfer.balance_delta, transfer.held_delta) == (-7, -20)
    assert (transfer.balance_after, transfer.held_after) == (93, 0)


def test_releasing_takes_nothing_and_ends_the_whole_hold() -> None:
    release = Posting("t", "k", "org", RELEASE, pending_id=HOLD)
    transfer = post(Wallet(100, 20, 1), release, Present(hold=posted(HOLD, 20)), now=0)
    assert isinstance(transfer, Transfer)
    assert (transfer.amount, transfer.balance_delta, transfer.held_delta) == (0, 0, -20)
    assert (transfer.balance_after, transfer.held_after) == (100, 0)


def test_no_more_is_charged_than_was_held() -> None:
    hold = Present(hold=posted(HOLD, 20))
    assert posted(SETTLE, 20, HOLD, hold).balance_delta == -20
    more = Posting("t", "k", "org", SETTLE, 21, HOLD)
    assert post(Wallet(100, 20, 1), more, hold, now=0) is Refusal.EXCEEDS_HOLD


def test_a_hold_is_of_what_is_available_to_the_last_milli_cent() -> None:
    transfer = posted(HOLD, 80)
    assert (transfer.amount, transfer.balance_delta, transfer.held_delta) == (80, 0, 80)
    assert (transfer.balance_after, transfer.held_after) == (100, 100)
    more = Posting("t", "k", "org", HOLD, 81)
    assert post(Wallet(100, 20, 1), more, Present(), now=0) is Refusal.INSUFFICIENT


GIVE = {"refund", "free_credit", "topup", "topup_refund_undo", "dispute_won"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_money_comes_from_the_house_or_goes_to_it_even_when_it_is_none(kind: str) -> None:
    hold = Present(hold=posted(HOLD, 20)) if kind in (SETTLE, RELEASE) else None
    transfer = posted(kind, 0, HOLD if hold else None, hold)
    wallet_and_house = ("wallet:org", KINDS[kind].house_account)
    to_wallet = kind in GIVE
    assert (transfer.debit_account, transfer.credit_account) == wallet_and_house[:: -1 if to_wallet else 1]


@pytest.mark.parametrize(
    ("kind", "balance", "house"),
    [
        ("free_credit", +7, "free_credit"),
        ("topup", +7, "payments"),
        ("topup_refund", -7, "refunds"),
        ("topup_refund_undo", +7, "refunds"),
        ("dispute", -7, "disputes"),
        ("dispute_won", +7, "disputes"),
        ("refund", +7, "revenue"),
        ("adjustment", +7, "adjustments"),
    ],
)
def test_each_kind_moves_the_balance_its_way(kind: str, balance: int, house: str) -> None:
    transfer = posted(kind, 7)
    assert (transfer.balance_delta, transfer.balance_after, transfer.held_delta) == (balance, 100 + balance, 0)
    assert house in (transfer.debit_account, transfer.credit_account)


def test_an_adjustment_may_take_credit_away() -> None:
    transfer = posted("adjustment", -7)
    assert (transfer.amount, transfer.balance_delta, transfer.credit_account) == (7, -7, "adjustments")


def test_even_a_single_milli_cent_comes_from_the_house_it_is_paid_in_by() -> None:
    for kind, house in (("topup", "payments"), ("adjustment", "adjustments")):
        assert (posted(kind, 1).debit_account, posted(kind, 1).credit_account) == (house, "wallet:org")
