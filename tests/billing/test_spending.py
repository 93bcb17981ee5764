"""What may be spent: caps, calls at once, countries."""

from hypothesis import given
from hypothesis import strategies as st

from billing.spending import CAP_CODES, Limits, Scope, Spent, local_day, purchase_refusal, refusal

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
        "Your organisation may spend $5.00 a day: $0.01 is spent and $3.00 held, and this call requires a $3.00 hold. "
        "Raise the cap under Spending limits on the Billing page, ask for a shorter call, or "
        "wait until tomorrow."
    )
    over = refusal(Scope.ORGANISATION, Limits(max_concurrent_calls=1), Spent(open_calls=1), HOLD, "US", DAY)
    assert over is not None
    assert over.message.startswith("Your organisation may have 1 call at once and has 1 under way. Wait until one ends")


PRICE, WANTED = 100_000, "+14155550160"


def bought(limits: Limits, spent: Spent, scope: Scope = Scope.KEY, day: str = DAY) -> str | None:
    over = purchase_refusal(scope, limits, spent, PRICE, WANTED, day)
    return None if over is None else over.code


def test_a_number_is_bound_by_both_caps_up_to_the_milli_cent() -> None:
    spent = Spent(1, 150_000, DAY, 250_000, 250_000)
    assert bought(Limits(daily_cap_milli_cents=500_000), spent) is None
    assert bought(Limits(daily_cap_milli_cents=499_999), spent) == "key_daily_cap_reached"
    assert bought(Limits(monthly_cap_milli_cents=500_000), spent, Scope.ORGANISATION) is None
    assert bought(Limits(monthly_cap_milli_cents=499_999), spent, Scope.ORGANISATION) == "monthly_cap_reached"
    assert bought(Limits(daily_cap_milli_cents=499_999), spent, day=NEXT_DAY) is None
    assert bought(Limits(daily_cap_milli_cents=0, monthly_cap_milli_cents=0), Spent()) == "key_daily_cap_reached"
    assert bought(Limits(), Spent(9, 10**12, DAY, 10**12, 10**12)) is None


def test_a_number_is_no_call_so_countries_and_calls_at_once_do_not_bind_it() -> None:
    assert bought(Limits(max_concurrent_calls=0, allowed_countries=("CA",)), Spent(open_calls=5)) is None


def test_what_is_said_of_a_number_speaks_of_no_call() -> None:
    over = purchase_refusal(Scope.ORGANISATION, Limits(500_000), Spent(1, 0, DAY, 450_000, 450_000), PRICE, WANTED, DAY)
    assert over is not None
    assert over.message == (
        "Your organisation may spend $5.00 a day: $4.50 is spent and $0.00 held, and +14155550160 costs $1.00. Raise "
        "the cap under Spending limits on the Billing page, or wait until tomorrow."
    )
    assert over.figures == {
        "cap_milli_cents": 500_000,
        "charged_milli_cents": 450_000,
        "held_milli_cents": 0,
        "hold_milli_cents": PRICE,
    }


def test_a_purchase_holds_and_is_charged_and_is_no_call_under_way() -> None:
    assert Spent().opened(PRICE, DAY, calls=0) == Spent(0, PRICE, DAY, 0, 0)
    assert Spent(1, PRICE, DAY).closed(PRICE, PRICE, DAY, calls=0) == Spent(1, 0, DAY, PRICE, PRICE)
    assert Spent(1, PRICE, DAY).closed(PRICE, 0, DAY, calls=0) == Spent(1, 0, DAY, 0, 0)


def test_only_caps_are_said_of_numbers() -> None:
    assert CAP_CODES == ("daily_cap_reached", "monthly_cap_reached", "key_daily_cap_reached", "key_monthly_cap_reached")


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


STEP = st.tuples(
    st.sampled_from(("call", "number", "end", "renewal", "midnight")), st.integers(1, 900), st.integers(0, 100)
)


@given(cap=st.integers(0, 2_000), steps=st.lists(STEP, max_size=40))
def test_no_days_charges_ever_exceed_its_cap_but_by_renewals(cap: int, steps: list[tuple[str, int, int]]) -> None:
    limits, spent, day = Limits(daily_cap_milli_cents=cap), Spent(), 0
    charged, holds = dict.fromkeys(DAYS, 0), list[tuple[str, int]]()
    for what, amount, share in steps:
        judge = {
            "call": lambda: refusal(Scope.KEY, limits, spent, amount, "US", DAYS[day]),  # noqa: B023
            "number": lambda: purchase_refusal(Scope.KEY, limits, spent, amount, WANTED, DAYS[day]),  # noqa: B023
        }
        if what == "midnight":
            day = min(3, day + 1)
        elif what == "renewal":
            spent = spent.closed(0, amount, DAYS[day], calls=0)
        elif what == "end" and holds:
            kind, held = holds.pop(0)
            charge = held * share // 100 if kind == "call" else held * (share % 2)
            spent = spent.closed(held, charge, DAYS[day], calls=int(kind == "call"))
            charged[DAYS[day]] += charge
        elif what in judge and judge[what]() is None:
            holds.append((what, amount))
            spent = spent.opened(amount, DAYS[day], calls=int(what == "call"))
        assert spent.held_milli_cents == sum(held for _, held in holds)
        assert spent.open_calls == sum(kind == "call" for kind, _ in holds)
    assert max(charged.values()) <= cap
