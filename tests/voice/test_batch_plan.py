"""How a batch goes on, without a telephone: every rule for whatever a batch may look like, and the hours of the day."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.batches.plan import BatchState, Outcome, Plan, Rules, Standing, Waiting, Window, outcome_of, plan

MONDAY = round(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PLACES = (
    ("America/New_York",),
    ("America/Los_Angeles",),
    ("America/Adak", "America/Anchorage"),
    ("UTC",),
)
OFFICE_HOURS = Window(9 * 60, 17 * 60, frozenset(range(1, 6)))


def at(zone: str, text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


# -- any batch, run to its end ----------------------------------------------------------------------------------------


@dataclass
class Someone:
    """A row, and what happens when it is called: (seconds, outcome) of each call."""

    id: str
    zones: tuple[str, ...]
    story: list[tuple[int, Outcome]]
    due_at: int = MONDAY
    attempts: int = 0
    ends_at: int | None = None
    is_over: bool = False


ends = st.tuples(st.integers(1, 600), st.sampled_from([outcome for outcome in Outcome if outcome != "fax"]))
windows = st.none() | st.builds(
    lambda start, length, days: Window(start * 60, min(24, start + length) * 60, days),
    st.integers(0, 20),
    st.integers(4, 12),
    st.frozensets(st.integers(1, 7), min_size=1),
)
rules = st.builds(
    Rules,
    max_concurrent=st.integers(1, 4),
    calls_per_second=st.integers(1, 10),
    retry_outcomes=st.frozensets(st.sampled_from(["no_answer", "busy", "voicemail", "failed"])),
    retry_attempts=st.integers(1, 3),
    retry_wait_ms=st.integers(10, 7_200).map(lambda seconds: seconds * 1000),
    window=windows,
)
crowds = st.lists(st.tuples(st.sampled_from(PLACES), st.lists(ends, min_size=3, max_size=3)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(rules, crowds, st.integers(0, 7 * 24 * 3_600))
def test_any_batch_comes_to_its_end_within_all_of_its_limits(
    rules: Rules, crowd: list[tuple[tuple[str, ...], list[tuple[int, Outcome]]]], begins_seconds: int
) -> None:
    begun = now = MONDAY + begins_seconds * 1000
    people = [Someone(str(number), zones, story, begun) for number, (zones, story) in enumerate(crowd)]
    standing, dials, looks = Standing(next_dial_at=now), list[int](), 0
    while True:
        for one in people:
            if one.ends_at is not None and one.ends_at <= now:
                _, outcome = one.story[one.attempts - 1]
                again = rules.retry_at(outcome, one.attempts, now)
                one.ends_at, one.is_over, one.due_at = None, again is None, again or 0
        waiting = [Waiting(one.zones, one.due_at, one.id) for one in people if not one.is_over and one.ends_at is None]
        live = sum(one.ends_at is not None for one in people)
        found = plan(rules, standing, waiting, sorted(waiting, key=lambda row: row.due_at), live, now)
        for row_id in found.dial:
            one = people[int(row_id)]
            assert one.ends_at is None, "never a row twice at once"
            assert one.attempts < rules.retry_attempts, "never more than its attempts"
            assert rules.window is None or rules.window.is_open(one.zones, now), "never outside the window"
            assert now >= one.due_at, "never before it is due"
            one.attempts += 1
            one.ends_at = now + one.story[one.attempts - 1][0] * 1000
            dials.append(now)
        assert sum(one.ends_at is not None for one in people) <= rules.max_concurrent, "never too many at once"
        if found.dial:
            standing = replace(standing, next_dial_at=now + rules.spacing_ms)
        if found.state is BatchState.COMPLETED:
            break
        assert found.look_at is not None, "somebody always comes back"
        assert found.look_at > now, "and lets time pass"
        now, looks = found.look_at, looks + 1
        assert looks < 60_000
    for first in dials:
        assert sum(first <= each < first + 1000 for each in dials) <= rules.calls_per_second, "never too fast"
    assert all(one.is_over and one.attempts >= 1 for one in people), "nobody is forgotten"


# -- what one look decides --------------------------------------------------------------------------------------------

ROWS = [Waiting(("UTC",), MONDAY, "a"), Waiting(("UTC",), MONDAY, "b")]
FREE = Standing(next_dial_at=MONDAY)
FIVE = Rules(max_concurrent=5, calls_per_second=2)


def look(standing: Standing = FREE, live: int = 0, rows: list[Waiting] = ROWS, rules: Rules = FIVE) -> Plan:
    return plan(rules, standing, rows, rows, live, MONDAY + 12 * HOUR_MS)


def test_calls_are_spaced_evenly() -> None:
    first = look()
    assert (first.dial, first.look_at) == (("a",), MONDAY + 12 * HOUR_MS + 500)
    assert look(replace(FREE, next_dial_at=MONDAY + 12 * HOUR_MS + 1)).dial == ()


def test_a_full_batch_waits_for_a_call_to_end() -> None:
    full = look(live=5)
    assert (full.dial, full.look_at, full.state) == ((), MONDAY + 12 * HOUR_MS + 1000, BatchState.RUNNING)


@pytest.mark.parametrize(
    ("standing", "state"),
    [
        (replace(FREE, is_paused=True), BatchState.PAUSED),
        (replace(FREE, is_canceled=True), BatchState.CANCELED),
        (replace(FREE, is_canceled=True, is_paused=True), BatchState.CANCELED),
    ],
)
def test_who_stopped_it_is_obeyed_and_calls_under_way_are_seen_to_their_end(
    standing: Standing, state: BatchState
) -> None:
    assert look(standing) == Plan((), None, state)
    assert look(standing, live=1) == Plan((), MONDAY + 12 * HOUR_MS + 1000, state)


def test_without_room_it_tries_one_call_when_it_is_time() -> None:
    held_up = replace(FREE, is_held_up=True)
    assert look(held_up).state is BatchState.WAITING_FOR_ROOM
    later = look(replace(held_up, next_dial_at=MONDAY + 13 * HOUR_MS))
    assert (later.dial, later.look_at) == ((), MONDAY + 13 * HOUR_MS)


def test_outside_all_windows_it_says_so_and_sleeps_until_the_first_opens() -> None:
    rows = [Waiting((zone,), MONDAY, zone) for zone in ("America/Los_Angeles", "America/New_York")]
    found = look(rows=rows, rules=replace(FIVE, window=Window(9 * 60, 10 * 60)))  # noon in UTC: 7:00 in New York
    assert (found.dial, found.state) == ((), BatchState.WAITING_FOR_WINDOW)
    assert found.look_at == at("America/New_York", "2026-11-23T09:00")


# -- hours ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        ("2026-11-23T08:59:59", False),
        ("2026-11-23T09:00:00", True),
        ("2026-11-23T16:59:59", True),
        ("2026-11-23T17:00:00", False),
        ("2026-11-21T12:00:00", False),  # a Saturday
    ],
)
def test_a_window_is_open_from_its_start_until_before_its_end_on_its_days(local: str, is_open: bool) -> None:
    for zone in ("America/New_York", "Pacific/Honolulu", "Asia/Kathmandu"):
        assert OFFICE_HOURS.is_open((zone,), at(zone, local)) is is_open


def test_who_may_be_in_several_zones_is_called_when_all_of_them_are_open() -> None:
    alaska = ("America/Adak", "America/Anchorage")  # an hour apart
    assert not OFFICE_HOURS.is_open(alaska, at("America/Anchorage", "2026-11-23T09:30"))
    assert OFFICE_HOURS.is_open(alaska, at("America/Adak", "2026-11-23T09:00"))
    assert OFFICE_HOURS.opens_at(alaska, MONDAY) == at("America/Adak", "2026-11-23T09:00")
    half_an_hour = Window(9 * 60, 9 * 60 + 30)
    assert half_an_hour.opens_at(alaska, MONDAY) is None
    assert half_an_hour.opens_at(("America/Adak",), MONDAY) is not None


def test_a_zone_of_the_window_is_everybodys() -> None:
    window = replace(OFFICE_HOURS, timezone="Europe/Berlin")
    assert window.is_open(("America/Los_Angeles",), at("Europe/Berlin", "2026-11-23T09:00"))


def test_after_friday_comes_monday_and_summer_time_is_minded() -> None:
    friday, monday = at("America/New_York", "2026-10-30T17:00"), at("America/New_York", "2026-11-02T09:00")
    assert OFFICE_HOURS.opens_at(("America/New_York",), friday) == monday
    assert monday - friday == 2 * DAY_MS + 17 * HOUR_MS  # an hour more than the clock on the wall says
    night = Window(2 * 60, 3 * 60)  # the hour that a Sunday in March does not have
    opens = night.opens_at(("America/New_York",), at("America/New_York", "2027-03-14T00:30"))
    assert opens == at("America/New_York", "2027-03-15T02:00")


# -- ends of calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict", "outcome"),
    [
        ("completed", "human", "completed"),
        ("completed", "machine", "completed"),  # charged, then given back: somebody heard the agent speak
        ("no_answer", "machine", "voicemail"),
        ("no_answer", "fax", "fax"),
        ("no_answer", None, "no_answer"),
        ("busy", None, "busy"),
        ("failed", None, "failed"),
        ("canceled", None, "canceled"),
        ("in_progress", "human", None),
        ("queued", None, None),
    ],
)
def test_how_a_call_ended(status: str, verdict: str | None, outcome: str | None) -> None:
    assert outcome_of({"status": status, "verdict": verdict}) == outcome


def test_only_the_ends_that_were_named_are_tried_again_and_only_so_often() -> None:
    twice = replace(FIVE, retry_outcomes=frozenset({"busy"}), retry_attempts=2, retry_wait_ms=60_000)
    assert twice.retry_at("busy", 1, MONDAY) == MONDAY + 60_000
    assert twice.retry_at("busy", 2, MONDAY) is None
    assert twice.retry_at("no_answer", 1, MONDAY) is None
    assert FIVE.retry_at("busy", 1, MONDAY) is None
