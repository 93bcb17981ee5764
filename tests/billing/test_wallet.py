"""What a wallet affords, and how customers are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import MILLI_CENTS_PER_CENT
from billing.wallet import Wallet, WalletStatus, pause_message, shortfall_milli_cents
from tests.billing.test_money import cents

HOLD = 300_000


def test_what_live_calls_hold_cannot_be_used_twice() -> None:
    assert Wallet(balance=500_000, held=300_000, sequence=2).available == 200_000


@pytest.mark.parametrize(
    ("available", "calls_left", "status"),
    [
        (-1_900_000, 0, WalletStatus.PAUSED),
        (-1, 0, WalletStatus.PAUSED),
        (0, 0, WalletStatus.PAUSED),
        (HOLD - 1, 0, WalletStatus.PAUSED),
        (HOLD, 1, WalletStatus.LOW),
        (500_000, 1, WalletStatus.LOW),
        (2 * HOLD - 1, 1, WalletStatus.LOW),
        (2 * HOLD, 2, WalletStatus.OK),
        (10 * HOLD, 10, WalletStatus.OK),
    ],
)
@pytest.mark.parametrize("held", [0, HOLD])
def test_the_status_says_how_many_calls_fit(available: int, held: int, calls_left: int, status: WalletStatus) -> None:
    wallet = Wallet(balance=available + held, held=held, sequence=1)
    assert (wallet.calls_left(HOLD), wallet.status(HOLD)) == (calls_left, status)


def test_five_dollars_are_one_call_of_an_hour_or_ten_of_ten_minutes() -> None:
    wallet = Wallet(balance=500_000, held=0, sequence=1)
    assert wallet.calls_left(300_000) == 1
    assert wallet.calls_left(50_000) == 10


def test_the_pause_message_to_the_letter() -> None:
    assert pause_message(188_900, 300_000) == (
        "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no one "
        "answers). Add $1.12 or more in credits to keep calling."
    )


def test_the_pause_message_of_a_balance_below_zero() -> None:
    assert pause_message(-1_900_000, 300_000) == (
        "Calls paused. Your balance is −$19.00 but each call requires a $3.00 hold (we release it back if no one "
        "answers). Add $22.00 or more in credits to keep calling."
    )


def test_the_pause_message_rounds_nothing_in_the_houses_favour() -> None:
    assert pause_message(1_999, 3_001) == (
        "Calls paused. Your balance is $0.01 but each call requires a $0.04 hold (we release it back if no one "
        "answers). Add $0.02 or more in credits to keep calling."
    )


@pytest.mark.parametrize(
    ("available", "hold", "shortfall"), [(0, 1, 1), (299_999, 300_000, 1), (-5, 10, 15), (10, 10, 0), (11, 10, 0)]
)
def test_the_shortfall_is_what_is_missing(available: int, hold: int, shortfall: int) -> None:
    assert shortfall_milli_cents(available, hold) == shortfall


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9))
def test_adding_what_the_message_asks_for_is_always_enough_and_never_a_cent_too_much(available: int, hold: int) -> None:
    message = pause_message(available, hold)
    asked = cents(message.rsplit("Add ", 1)[1].split(" ", 1)[0]) * MILLI_CENTS_PER_CENT
    missing = shortfall_milli_cents(available, hold)
    assert missing <= asked < missing + MILLI_CENTS_PER_CENT
    assert Wallet(balance=available + asked, held=0, sequence=1).calls_left(hold) >= 1
