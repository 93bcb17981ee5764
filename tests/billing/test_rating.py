"""What connected time costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating import (
    LONGEST_MAXIMUM_SECONDS,
    SHORTEST_MAXIMUM_SECONDS,
    Terms,
    charge_milli_cents,
    hold_milli_cents,
)

RATES = st.integers(0, 10_000_000)


@pytest.mark.parametrize(
    ("seconds", "rate", "charge"),
    [
        (0, 5_000, 0),
        (1, 5_000, 83),
        (59, 5_000, 4_916),
        (60, 5_000, 5_000),
        (61, 5_000, 5_083),
        (63, 5_000, 5_250),
        (3_600, 5_000, 300_000),
        (1, 59, 0),
        (59, 1, 0),
        (60, 1, 1),
        (3_600, 0, 0),
    ],
)
def test_time_is_charged_by_the_second_and_never_rounded_up(seconds: int, rate: int, charge: int) -> None:
    assert charge_milli_cents(seconds, rate) == charge


@pytest.mark.parametrize(
    ("maximum_seconds", "rate", "hold"), [(3_600, 5_000, 300_000), (600, 5_000, 50_000), (60, 5_000, 5_000), (60, 1, 1)]
)
def test_the_hold_is_the_worst_case_of_one_call(maximum_seconds: int, rate: int, hold: int) -> None:
    assert hold_milli_cents(maximum_seconds, rate) == hold


@given(st.integers(0, 100_000), RATES)
def test_a_charge_is_never_a_fraction_more_than_the_time_used(seconds: int, rate: int) -> None:
    charge = charge_milli_cents(seconds, rate)
    assert 60 * charge <= seconds * rate < 60 * (charge + 1)


@given(st.integers(60, 3_600).flatmap(lambda maximum: st.tuples(st.just(maximum), st.integers(0, maximum))), RATES)
def test_no_charge_exceeds_its_hold(maximum_and_seconds: tuple[int, int], rate: int) -> None:
    maximum, seconds = maximum_and_seconds
    assert 0 <= charge_milli_cents(seconds, rate) <= hold_milli_cents(maximum, rate)


@pytest.mark.parametrize(
    ("own_maximum_seconds", "hold"), [(None, 150_000), (600, 50_000), (1_800, 150_000), (3_600, 150_000), (60, 5_000)]
)
def test_an_organisation_may_set_a_shorter_maximum_than_the_servers_but_no_longer_one(
    own_maximum_seconds: int | None, hold: int
) -> None:
    assert Terms(5_000, 1_800).default_hold(own_maximum_seconds) == hold


def test_a_call_may_last_from_a_minute_to_an_hour() -> None:
    assert (SHORTEST_MAXIMUM_SECONDS, LONGEST_MAXIMUM_SECONDS) == (60, 3_600)
