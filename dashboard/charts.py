"""Geometry of what the server draws: blocks of money or of time, and the chart of daily minutes.

Pure; x and widths are in percent of the drawing's width, y and heights in pixels, so text never scales.
The one invariant: a drawing's parts are in proportion to its figures, except that a part too small to see
is widened to be seen.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dashboard import format as fmt

BlockKind = Literal["fill", "rest", "hatch", "free", "missing"]

_GAP = 0.55
_SMALLEST_BLOCK = 0.9
MOST_BLOCKS = 24

_TOP_Y, _BASE_Y = 24.0, 166.0
_SMALLEST_BAR = 1.5
_ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class Block(NamedTuple):
    """One rectangle of a row: where it begins and how wide it is, in percent."""

    kind: BlockKind
    x: float
    width: float


def row_of_blocks(parts: Sequence[tuple[BlockKind, int]]) -> tuple[Block, ...]:
    """Blocks side by side, as wide as their shares, for parts of at least 0 (a part of 0 is left out)."""
    parts = [part for part in parts if part[1] > 0]
    space = 100 - _GAP * (len(parts) - 1)
    total = sum(size for _, size in parts)
    small = [size * space / total < _SMALLEST_BLOCK for _, size in parts]
    shared = space - _SMALLEST_BLOCK * sum(small)
    large_total = sum(size for (_, size), is_small in zip(parts, small, strict=True) if not is_small)
    blocks, x = [], 0.0
    for (kind, size), is_small in zip(parts, small, strict=True):
        width = _SMALLEST_BLOCK if is_small else size * shared / large_total
        blocks.append(Block(kind, x, width))
        x += width + _GAP
    return tuple(blocks)


def ruler(*, held: int, held_count: int, available: int, hold: int) -> tuple[Block, ...]:
    """The wallet cut into holds: held, room for more, what is left over, and what one more call lacks.

    All in milli-cents, `held_count` live holds. Beyond 24 blocks each kind is drawn as one.
    """
    room, rest = divmod(max(0, available), hold)
    missing = 0 if room else hold - available
    parts: list[tuple[BlockKind, int]] = [("hatch", held), ("fill", room * hold)]
    if held_count + room < MOST_BLOCKS:
        parts = [("hatch", held // max(1, held_count))] * max(1, held_count)
        parts += [("fill", hold)] * room
    return row_of_blocks([*parts, ("rest", rest), ("missing", missing)])


@dataclass(frozen=True, slots=True)
class UsageDay:
    """One day's ended calls in the organisation's zone."""

    date: dt.date
    connected_seconds: int = 0
    free_seconds: int = 0
    """Ringing, detection and voicemail: time that was not billed."""
    calls: int = 0
    charged_milli_cents: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart: its slot under the pointer, its bar (none at zero) and what the readout says."""

    x: float
    slot: float
    bar_x: float
    bar_width: float
    y: float
    height: float
    is_today: bool
    readout: str


class Tick(NamedTuple):
    """A label: at `x` percent along the axis, or at `y` pixels beside a gridline."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class UsageChart:
    """Everything the drawing of daily minutes needs; `summary` says it in words."""

    bars: tuple[Bar, ...]
    days: tuple[Tick, ...]
    lines: tuple[Tick, ...]
    summary: str


def usage_chart(days: Sequence[UsageDay], *, period: str, today: dt.date) -> UsageChart:
    """The chart of consecutive `days` (at least one), the future ones absent; `period` as "in November"."""
    slot = 100 / len(days)
    top_minutes = _round_top(max(day.connected_seconds for day in days) / 60)
    bars = tuple(_bar(index, day, slot, top_minutes, today) for index, day in enumerate(days) if day.date <= today)
    lines = tuple(Tick(_BASE_Y - share * (_BASE_Y - _TOP_Y), f"{top_minutes * share:,g}") for share in (1, 0.5, 0))
    return UsageChart(bars, _day_labels(days, slot), lines, _summary(days, period))


def _bar(index: int, day: UsageDay, slot: float, top_minutes: float, today: dt.date) -> Bar:
    height = day.connected_seconds / 60 / top_minutes * (_BASE_Y - _TOP_Y)
    height = max(_SMALLEST_BAR, height) if day.connected_seconds else 0.0
    is_today = day.date == today
    readout = " · ".join(
        (
            fmt.day(day.date) + (", so far" if is_today else ""),
            f"{fmt.minutes(day.connected_seconds)} min",
            fmt.count(day.calls, "call"),
            fmt.exact_text(day.charged_milli_cents),
        )
    )
    x = index * slot
    return Bar(x, slot, x + slot * 0.16, slot * 0.68, _BASE_Y - height, height, is_today, readout)


def _day_labels(days: Sequence[UsageDay], slot: float) -> tuple[Tick, ...]:
    """Every day of a week, else every seventh, or so many sevenths that five labels are enough."""
    if len(days) <= 7:
        return tuple(Tick((i + 0.5) * slot, f"{day.date:%a}") for i, day in enumerate(days))
    one_month = days[0].date.replace(day=1) == days[-1].date.replace(day=1)
    step = 7 * -(-len(days) // 35)
    return tuple(
        Tick((i + 0.5) * slot, f"{day.date.day}" if one_month else f"{day.date.day} {day.date:%b}")
        for i, day in enumerate(days)
        if i % step == 0
    )


def _round_top(minutes: float) -> float:
    """The smallest round number at or above `minutes`, and at least 2."""
    scale = 1.0
    while scale * 10 < minutes:
        scale *= 10
    return max(2.0, next(scale * step for step in _ROUND if scale * step >= minutes))


def _summary(days: Sequence[UsageDay], period: str) -> str:
    total = sum(day.connected_seconds for day in days)
    busiest = max(days, key=lambda day: day.connected_seconds)
    text = f"Connected minutes per day {period}: {fmt.minutes(total)} in all"
    if not total:
        return text + "."
    return text + f", most on {fmt.day(busiest.date)} with {fmt.minutes(busiest.connected_seconds)}."
