"""What may be spent: caps, calls at once, countries."""

from hypothesis import given
from hypothesis import strategies as st

from billing.spending import Limits, Scope, Spent, local_day, refusal

DAY, NEXT_DAY, NEXT_MONTH = "2026-11-23", "2026-11-24", "2026-12-01"
HOLD = 300_000


def judged(limits: Limits, spent: Spent, hold: int = HOLD, region: str | None = "US", day: str = DAY) -> str | None:
    over = refusal(Scope.KEY, limits, spent, hold, region, day)
    return None if over is None else over.code


def test_without_limits_nothing_is_refused() -> None:
    assert judged(Limits(), Spent(1_000, 10**12, DAY, 10**12, 10**12)) is None


def test_charges_and_holds_count_to_the_cap_and_reaching_it_exactly_is_allowed() -> None:
    limits = Limits(daily_cap_milli_cents=500_000)
    assert judged(limits, Spent(1, 100_000, DAY, 100_000, 100_000)) is None
    assert judged(limits, Spent(1, 100_001, DAY, 100_000, 100_000)) == "key_daily_cap_reached"
    assert judged(limits, Spent(1, 100_000, DAY, 100_001, 100_001)) == "key_daily_cap_reached"


def test_a_new_day_forgets_charges_but_not_what_calls_still_hold() -> None:
    limits = Limits(daily_cap_milli_cents=500_000)
    assert judged(limits, Spent(0, 0, DAY, 500_000, 500_000), day=NEXT_DAY) is None
    assert judged(limits, Spent(1, 300_000, DAY, 500_000, 500_000), day=NEXT_DAY) == "key_daily_cap_reached"


def test_the_month_goes_on_over_days_and_ends_with_the_month() -> None:
    limits = Limits(monthly_cap_milli_cents=500_000)
    spent = Spent(0, 0, DAY, 300_000, 300_000)
    assert judged(limits, spent, day=NEXT_DAY) == "key_monthly_cap_reached"
    assert judged(limits, spent, day=NEXT_MONTH) is None


def test_a_clock_that_lags_behind_reopens_no_day() -> None:
    spent = Spent(0, 0, NEXT_DAY, 500_000, 500_000)
    assert judged(Limits(daily_cap_milli_cents=500_000), spent, day=DAY) == "key_daily_cap_reached"


def test_calls_at_once_and_countries_have_codes_of_their_own() -> None:
    assert judged(Limits(max_concurrent_calls=2), Spent(open_calls=1)) is None
    assert judged(Limits(max_concurrent_calls=2), Spent(open_calls=2)) == "key_concurrent_calls_reached"
    assert judged(Limits(max_concurrent_calls=0), Spent()) == "key_concurrent_calls_reached"
    assert judged(Limits(allowed_countries=("CA",)), Spent()) == "key_country_not_allowed"
    assert judged(Limits(allowed_countries=("CA",)), Spent(), region=None) is None  # nobody is called


def test_a_refusal_says_the_figures_and_what_to_do() -> None:
    over = refusal(Scope.ORGANISATION, Limits(500_000), Spent(1, 300_000, DAY, 1, 1), HOLD, "US", DAY)
    assert over is not None
    assert over.code == "daily_cap_reached"
    assert over.message == (
        "Your organisation may spend $5.00 a day: $0.01 is spent and $3.00 held by calls under way, and this call "
        "requires a $3.00 hold. Raise the cap under Spending limits on the Billing page, ask for a shorter call, or "
        "wait until tomorrow."
    )


def test_only_a_refund_of_the_same_day_makes_room_on_it() -> None:
    spent = Spent(0, 0, NEXT_DAY, 100_000, 400_000)
    assert spent.refunded(60_000, NEXT_DAY, NEXT_DAY) == Spent(0, 0, NEXT_DAY, 40_000, 340_000)
    assert spent.refunded(60_000, DAY, NEXT_DAY) == Spent(0, 0, NEXT_DAY, 100_000, 340_000)
    assert spent.refunded(60_000, "2026-10-31", NEXT_DAY) == spent


def test_what_is_refunded_beyond_the_days_charges_makes_no_more_room_than_they_took() -> None:
    assert Spent(0, 0, DAY, 5, 9).refunded(6, DAY, DAY) == Spent(0, 0, DAY, 0, 3)
    assert Spent(0, 0, DAY, 5, 9).refunded(10, DAY, DAY) == Spent(0, 0, DAY, 0, 0)
    assert Spent(0, 0, DAY, 5, 9).refunded(6, "2026-10-31", DAY) == Spent(0, 0, DAY, 5, 9)


def test_a_call_that_ends_turns_its_hold_into_its_charge() -> None:
    assert Spent() == Spent(0, 0, "", 0, 0)
    assert Spent().opened(300, DAY) == Spent(1, 300, DAY, 0, 0)
    assert Spent(2, 400, DAY, 5, 9).closed(300, 70, DAY) == Spent(1, 100, DAY, 75, 79)
    assert Spent(2, 400, DAY, 5, 9).closed(300, 70, NEXT_DAY) == Spent(1, 100, NEXT_DAY, 70, 79)
    assert Spent(2, 400, DAY, 5, 9).on(NEXT_MONTH) == Spent(2, 400, NEXT_MONTH, 0, 0)


def test_only_a_daily_or_monthly_cap_limits_money() -> None:
    assert Limits(daily_cap_milli_cents=0).caps_money
    assert Limits(monthly_cap_milli_cents=0).caps_money
    assert not Limits(max_concurrent_calls=1, allowed_countries=("US",)).caps_money


def test_a_day_is_the_organisations_own() -> None:
    midnight_utc = 1_795_392_000_000  # 2026-11-23T00:00:00Z
    assert local_day(midnight_utc, "UTC") == "2026-11-23"
    assert local_day(midnight_utc, "America/New_York") == "2026-11-22"
    assert local_day(midnight_utc, "Pacific/Auckland") == "2026-11-23"


DAYS = ("2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02")


@given(
    cap=st.integers(0, 2_000),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 900), st.integers(0, 100), st.booleans()), max_size=40),
)
def test_no_days_charges_ever_exceed_its_cap(cap: int, steps: list[tuple[int, int, int, bool]]) -> None:
    limits, spent, day = Limits(daily_cap_milli_cents=cap), Spent(), 0
    charged, holds = dict.fromkeys(DAYS, 0), list[int]()
    for later, hold, share, begins in steps:
        day = min(3, day + (later == 3))
        if begins and refusal(Scope.KEY, limits, spent, hold, "US", DAYS[day]) is None:
            holds.append(hold)
            spent = spent.opened(hold, DAYS[day])
        elif not begins and holds:
            held = holds.pop(0)
            spent = spent.closed(held, held * share // 100, DAYS[day])
            charged[DAYS[day]] += held * share // 100
        assert spent.held_milli_cents == sum(holds)
        assert spent.open_calls == len(holds)
    assert max(charged.values()) <= cap
