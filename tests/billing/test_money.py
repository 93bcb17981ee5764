"""Money in words: never a fraction in the house's favour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import MILLI_CENTS_PER_CENT, MILLI_CENTS_PER_DOLLAR, dollars_down, dollars_exact, dollars_up

AMOUNTS = st.integers(-(10**12), 10**12)


def cents(shown: str) -> int:
    return int(shown.replace("−", "-").replace("$", "").replace(",", "").replace(".", ""))


@pytest.mark.parametrize(
    ("milli_cents", "shown"),
    [
        (0, "$0.00"),
        (999, "$0.00"),
        (1_000, "$0.01"),
        (188_900, "$1.88"),
        (100_000_000, "$1,000.00"),
        (-1, "−$0.01"),
        (-1_000, "−$0.01"),
        (-1_001, "−$0.02"),
        (-1_900_000, "−$19.00"),
    ],
)
def test_what_a_customer_has_is_rounded_down(milli_cents: int, shown: str) -> None:
    assert dollars_down(milli_cents) == shown


@pytest.mark.parametrize(
    ("milli_cents", "shown"),
    [(0, "$0.00"), (1, "$0.01"), (1_000, "$0.01"), (1_001, "$0.02"), (111_001, "$1.12"), (-999, "$0.00")],
)
def test_what_a_customer_is_asked_for_is_rounded_up(milli_cents: int, shown: str) -> None:
    assert dollars_up(milli_cents) == shown


@pytest.mark.parametrize(
    ("milli_cents", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.00001"),
        (5_250, "$0.0525"),
        (294_750, "$2.9475"),
        (300_000, "$3.00"),
        (310_000, "$3.10"),
        (123_456_789_012, "$1,234,567.89012"),
        (-5_250, "−$0.0525"),
    ],
)
def test_the_ledger_shows_every_digit_it_has(milli_cents: int, shown: str) -> None:
    assert dollars_exact(milli_cents) == shown


@given(AMOUNTS)
def test_rounding_goes_one_cent_at_most_and_in_its_own_direction(milli_cents: int) -> None:
    down, up = cents(dollars_down(milli_cents)), cents(dollars_up(milli_cents))
    assert down * MILLI_CENTS_PER_CENT <= milli_cents <= up * MILLI_CENTS_PER_CENT
    assert up - down == (milli_cents % MILLI_CENTS_PER_CENT != 0)


@given(AMOUNTS)
def test_no_digit_is_lost(milli_cents: int) -> None:
    shown = dollars_exact(milli_cents).replace("−", "-").replace("$", "").replace(",", "")
    whole, fraction = shown.split(".")
    assert 2 <= len(fraction) <= 5
    sign = -1 if whole.startswith("-") else 1
    assert sign * (abs(int(whole)) * MILLI_CENTS_PER_DOLLAR + int(fraction.ljust(5, "0"))) == milli_cents
