import datetime as dt
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import UsageDay, row_of_blocks, ruler, usage_chart
from tests.dashboard.fixtures import HOUR_HOLD, LAST_30_DAYS, NOVEMBER

TODAY = dt.date(2026, 11, 23)


def shape(blocks: object) -> list[tuple[str, float, float]]:
    return [(kind, round(x, 2), round(width, 2)) for kind, x, width in blocks]  # type: ignore[attr-defined]


def test_the_ruler_has_a_block_for_each_hold_and_one_for_the_rest() -> None:
    blocks = shape(ruler(held=3 * HOUR_HOLD, held_count=3, available=1_852_451, hold=HOUR_HOLD))
    assert [kind for kind, _, _ in blocks] == ["hatch"] * 3 + ["fill"] * 6 + ["rest"]
    assert blocks[0] == ("hatch", 0.0, 10.36)
    assert blocks[-1] == ("rest", 98.19, 1.81)


def test_a_paused_wallet_shows_what_is_missing() -> None:
    assert shape(ruler(held=0, held_count=0, available=188_591, hold=HOUR_HOLD)) == [
        ("rest", 0.0, 62.52),
        ("missing", 63.07, 36.93),
    ]


def test_a_wallet_below_zero_is_all_missing() -> None:
    assert shape(ruler(held=0, held_count=0, available=-350_000, hold=HOUR_HOLD)) == [("missing", 0.0, 100.0)]


def test_more_than_24_blocks_are_drawn_as_one_of_each_kind() -> None:
    blocks = shape(ruler(held=6 * HOUR_HOLD, held_count=6, available=51_612_000, hold=HOUR_HOLD))
    assert blocks == [("hatch", 0.0, 3.3), ("fill", 3.85, 94.7), ("rest", 99.1, 0.9)]


def test_a_second_of_dialing_is_still_seen_beside_a_long_call() -> None:
    blocks = shape(row_of_blocks([("free", 1), ("free", 9), ("hatch", 4), ("fill", 134)]))
    assert blocks == [("free", 0.0, 0.9), ("free", 1.45, 5.97), ("hatch", 7.97, 2.65), ("fill", 11.17, 88.83)]


@given(st.lists(st.integers(min_value=0, max_value=10**7), max_size=24))
def test_blocks_fill_the_row_exactly_and_never_overlap(sizes: list[int]) -> None:
    blocks = row_of_blocks([("fill", size) for size in sizes])
    assert len(blocks) == sum(size > 0 for size in sizes)
    for left, right in pairwise(blocks):
        assert left.x + left.width < right.x
    if blocks:
        assert abs(blocks[-1].x + blocks[-1].width - 100) < 1e-6


@given(
    held_count=st.integers(0, 200),
    available=st.integers(-(10**8), 10**9),
    hold=st.integers(1, 10**6),
)
def test_every_wallet_has_a_ruler_of_at_most_24_blocks(held_count: int, available: int, hold: int) -> None:
    blocks = ruler(held=held_count * hold, held_count=held_count, available=available, hold=hold)
    assert 1 <= len(blocks) <= 24


def test_the_chart_draws_days_up_to_today_and_none_at_zero() -> None:
    chart = usage_chart(NOVEMBER, period="in November 2026", today=TODAY)
    assert len(chart.bars) == 23
    assert chart.bars[0].height == 0
    assert chart.bars[-1].is_today
    assert round(chart.bars[1].height, 1) == 76.5
    assert [line.text for line in chart.lines] == ["120", "60", "0"]
    assert [tick.text for tick in chart.days] == ["1", "8", "15", "22", "29"]
    assert chart.summary.endswith("most on Fri 13 Nov with 112.5.")


def test_hovering_tells_minutes_calls_and_dollars() -> None:
    chart = usage_chart(NOVEMBER, period="in November 2026", today=TODAY)
    assert chart.bars[1].readout == "Mon 2 Nov · 64.6 min · 36 calls · $3.23408"
    assert chart.bars[22].readout.startswith("Mon 23 Nov, so far · ")


def test_days_across_two_months_are_labelled_with_theirs() -> None:
    chart = usage_chart(LAST_30_DAYS, period="in the last 30 days", today=TODAY)
    assert [tick.text for tick in chart.days] == ["25 Oct", "1 Nov", "8 Nov", "15 Nov", "22 Nov"]


def test_ninety_days_have_five_labels_and_a_week_has_seven() -> None:
    def days(count: int) -> list[UsageDay]:
        return [UsageDay(TODAY - dt.timedelta(days=count - 1 - i)) for i in range(count)]

    assert len(usage_chart(days(90), period="", today=TODAY).days) == 5
    assert [tick.text for tick in usage_chart(days(7), period="", today=TODAY).days][-1] == "Mon"


def test_a_second_of_use_leaves_a_visible_bar() -> None:
    days = [UsageDay(TODAY - dt.timedelta(days=1), 360_000), UsageDay(TODAY, 1)]
    assert usage_chart(days, period="", today=TODAY).bars[1].height == 1.5


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=92))
def test_bars_stay_inside_the_drawing_and_gridlines_are_round(seconds: list[int]) -> None:
    days = [UsageDay(TODAY - dt.timedelta(days=i), s) for i, s in enumerate(seconds)][::-1]
    chart = usage_chart(days, period="", today=TODAY)
    assert all(24 - 1e-6 <= bar.y <= 166 for bar in chart.bars)
    top, middle, zero = (float(line.text.replace(",", "")) for line in chart.lines)
    assert (middle * 2, zero) == (top, 0)
