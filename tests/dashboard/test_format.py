import pytest

from dashboard import format as fmt
from tests.dashboard.fixtures import ms


@pytest.mark.parametrize(
    ("milli_cents", "cents", "below"),
    [
        (11_166, "$0.11", "166"),
        (0, "$0.00", "000"),
        (7, "$0.00", "007"),
        (2_752_451, "$27.52", "451"),
        (123_456_789_012, "$1,234,567.89", "012"),
        (-1_900_000, "−$19.00", "000"),
        (-1, "−$0.00", "001"),
    ],
)
def test_money_is_written_to_the_last_milli_cent(milli_cents: int, cents: str, below: str) -> None:
    assert fmt.exact(milli_cents) == (cents, below)


def test_a_change_of_credit_carries_its_sign() -> None:
    assert fmt.exact(300_000, signed=True).cents == "+$3.00"
    assert fmt.exact(-11_166, signed=True).cents == "−$0.11"


def test_a_price_below_the_cent_is_not_rounded() -> None:
    assert fmt.dollars(300_000) == "$3.00"
    assert fmt.dollars(5_083) == "$0.05083"


def test_minutes_are_never_rounded_up() -> None:
    assert fmt.minutes(73_302) == "1,221.7"
    assert fmt.minutes(59) == "0.98"
    assert fmt.minutes(1) == "0.01"  # charged for, so not none
    assert fmt.minutes(60) == "1.0"
    assert fmt.minutes(0) == "0.0"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59, "0:59"), (134, "2:14"), (3_600, "60:00")])
def test_durations(seconds: int, text: str) -> None:
    assert fmt.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(3_600, "60 min"), (90, "1 min 30 s"), (45, "45 s"), (0, "0 s")])
def test_chosen_lengths(seconds: int, text: str) -> None:
    assert fmt.span(seconds) == text


@pytest.mark.parametrize(
    ("e164", "text"),
    [
        ("+14155550123", "+1 415 555 0123"),
        ("+442079460958", "+44 20 7946 0958"),
        ("anonymous", "anonymous"),
        ("", ""),
        ("sip:desk@example.com", "sip:desk@example.com"),
    ],
)
def test_phone_numbers_are_grouped_and_anything_else_is_left_alone(e164: str, text: str) -> None:
    assert fmt.phone(e164) == text


def test_times_are_in_the_organisations_zone_and_machines_get_utc() -> None:
    clock = fmt.Clock("America/New_York", ms("19:26:40.000"))
    assert clock.full(ms("19:20:11.084")) == ("2026-11-23T19:20:11.084Z", "23 Nov 2026, 14:20:11 EST")
    assert clock.full(ms("19:20:11.084", "2026-07-01")).text == "1 Jul 2026, 15:20:11 EDT"
    assert clock.label == "New York"


def test_a_zone_without_letters_is_named_by_its_offset() -> None:
    clock = fmt.Clock("America/Sao_Paulo", ms("19:26:40.000"))
    assert clock.full(ms("19:20:11.000")).text == "23 Nov 2026, 16:20:11 UTC-03"


def test_a_time_of_another_day_carries_its_date() -> None:
    clock = fmt.Clock("UTC", ms("19:26:40.000"))
    assert clock.time(ms("00:00:00.000")).text == "00:00:00"
    assert clock.time(ms("23:59:59.999", "2026-11-22")).text == "22 Nov, 23:59:59"
    assert clock.time(ms("10:00:00", "2025-12-31")).text == "31 Dec 2025, 10:00:00"


def test_today_is_the_zones_own_day() -> None:
    late = ms("02:00:00.000", "2026-11-24")
    assert fmt.Clock("America/New_York", late).today.day == 23
    assert fmt.Clock("UTC", late).today.day == 24


def test_arrivals_keep_their_milliseconds() -> None:
    assert fmt.Clock("UTC", 0).arrival(ms("19:20:11.084")).text == "19:20:11.084"
