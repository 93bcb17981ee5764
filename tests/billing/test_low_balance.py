"""When customers are told that the wallet runs low."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.tables import events, mails, organisations, users
from billing.low_balance import (
    LARGEST_ALERT,
    QUIET_MS,
    Line,
    crossed,
    line_in_force,
    news,
    reads_for,
    rearm_mail,
    tell_of_wallet,
)
from billing.rating import Terms
from billing.wallet import Wallet, WalletStatus
from config.rows import Rows
from tests.doors import Nowhere

HOLD = 300_000
TERMS = Terms(rate_milli_cents_per_minute=5_000, max_duration_seconds=3_600)
AVAILABLE = st.integers(-1_000_000, 2_000_000)


def wallet(available: int, held: int = 0) -> Wallet:
    return Wallet(balance=available + held, held=held, sequence=1)


def name(before: int, after: int, alert_below: int | None = None) -> str | None:
    return news(crossed(wallet(before), wallet(after), HOLD, alert_below))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (900_000, 600_000, None),
        (600_000, 599_999, "balance.low"),
        (599_999, 300_000, None),
        (300_000, 299_999, "calls.paused"),
        (900_000, 0, "calls.paused"),
        (0, -1_900_000, None),
        (0, 300_000, None),
        (299_999, 900_000, None),
    ],
)
def test_only_a_status_that_gets_worse_is_news(before: int, after: int, expected: str | None) -> None:
    assert name(before, after) == expected


def test_a_hold_counts_like_any_other_use_of_credit() -> None:
    assert crossed(wallet(500_000), Wallet(500_000, 300_000, 2), HOLD, None) == (Line.ONE_CALL,)


@pytest.mark.parametrize(
    ("before", "after", "alert_below", "lines", "expected"),
    [
        (900_000, 899_999, 900_000, ["alert_below"], "balance.low"),
        (900_000, 899_999, 899_999, [], None),
        (900_001, 900_000, 900_000, [], None),
        (899_999, 600_000, 900_000, [], None),  # below it already
        (900_000, 599_999, 900_000, ["alert_below", "two_calls"], "balance.low"),
        (899_999, 599_999, 900_000, ["two_calls"], "balance.low"),  # a chosen line does not replace the other two
        (900_000, 299_999, 900_000, ["alert_below", "two_calls", "one_call"], "calls.paused"),
        (200_000, 99_999, 100_000, ["alert_below"], "balance.low"),  # calls are paused long since
        (600_000, 599_999, 600_000, ["alert_below", "two_calls"], "balance.low"),
        (0, 900_000, 100_000, [], None),
    ],
)
def test_one_move_is_one_event_that_says_which_lines_it_crossed(
    before: int, after: int, alert_below: int, lines: list[str], expected: str | None
) -> None:
    found = crossed(wallet(before), wallet(after), HOLD, alert_below)
    assert ([line.value for line in found], news(found)) == (lines, expected)


@given(AVAILABLE, AVAILABLE)
def test_what_is_told_is_the_status_as_it_now_is(before: int, after: int) -> None:
    told, status = name(before, after), wallet(after).status(HOLD)
    assert told is None or told == {WalletStatus.LOW: "balance.low", WalletStatus.PAUSED: "calls.paused"}[status]
    assert told is None or wallet(after).calls_left(HOLD) < wallet(before).calls_left(HOLD)


@given(st.lists(AVAILABLE, min_size=1, max_size=30), st.none() | st.integers(1, 1_500_000))
def test_each_line_is_told_exactly_once_for_each_time_credit_falls_below_it(
    steps: list[int], alert_below: int | None
) -> None:
    lines = {Line.ALERT_BELOW: alert_below, Line.TWO_CALLS: 2 * HOLD, Line.ONE_CALL: HOLD}
    moves = list(pairwise(steps))
    told = [crossed(wallet(before), wallet(after), HOLD, alert_below) for before, after in moves]
    for line, amount in lines.items():
        count = sum(line in each for each in told)
        if amount is None:
            assert count == 0
            continue
        is_above, fell = steps[0] >= amount, 0  # as somebody sees it who watches the credit alone
        for available in steps[1:]:
            fell += is_above and available < amount
            is_above = available >= amount
        assert count == fell


def test_people_are_told_at_the_line_they_chose_or_at_two_calls() -> None:
    assert line_in_force(HOLD, None) == 600_000
    assert line_in_force(HOLD, 1) == 1


def test_the_default_hold_is_that_of_the_longest_call_allowed() -> None:
    assert [TERMS.default_hold(longest) for longest in (None, 600, 3_600, 7_200)] == [300_000, 50_000, 300_000, 300_000]


MEMBERS = (("u1", "ann@example.com", 1), ("u2", "bo@example.com", None), ("u3", "removed:u3", 1))
HOUR_MS = 3_600_000


class Place:
    """An organisation in a batch of its own, with one member who confirmed, one who did not, and one who left."""

    def __init__(self, rows: Rows, endpoints: int, alert_below: int | None) -> None:
        self.rows = rows
        rows.insert(organisations, {"id": "o1", "name": "Example", "created_at": 0, "webhook_endpoints": endpoints})
        rows.update(organisations, "o1", {"alert_below_milli_cents": alert_below})
        for user_id, email, verified_at in MEMBERS:
            user = {"id": user_id, "org_id": "o1", "email": email, "password_hash": "", "verified_at": verified_at}
            rows.insert(users, {**user, "created_at": 0})

    @property
    def row(self) -> Any:
        return self.rows.get(organisations, "o1")

    def move(self, before: Wallet, after: Wallet, now: int) -> None:
        tell_of_wallet(self.rows, self.row, before, after, TERMS, f"t{now}", now)

    @property
    def events(self) -> list[Any]:
        return self.rows.find(events, "org_id", "o1")

    @property
    def letters(self) -> list[Any]:
        return self.rows.find(mails, "org_id", "o1")


def told(steps: Sequence[int], endpoints: int = 1, alert_below: int | None = None) -> Place:
    """What is written when the available credit is one after the other, an hour apart."""
    place = Place(Rows(Nowhere()), endpoints, alert_below)
    for hour, (before, after) in enumerate(pairwise(steps), 1):  # holds alone: no credit
        total = max(steps)
        place.move(wallet(before, total - before), wallet(after, total - after), hour * HOUR_MS)
    return place


def types(place: Place) -> list[str]:
    return [event["type"] for event in place.events]


def test_only_endpoints_that_listen_are_told_and_only_of_news() -> None:
    assert types(told([900_000, 599_999])) == ["balance.low"]
    assert types(told([900_000, 299_999])) == ["calls.paused"]
    assert types(told([900_000, 599_999], endpoints=0)) == types(told([900_000, 900_000])) == []


def test_an_event_says_the_lines_it_crossed_and_the_one_that_was_chosen() -> None:
    [event] = told([1_000_000, 500_000], alert_below=800_000).events
    assert event["state"]["crossed"] == ["alert_below", "two_calls"]
    assert event["state"]["alert_below_milli_cents"] == 800_000
    assert event["state"]["wallet"]["available_milli_cents"] == 500_000


def test_members_who_confirmed_are_mailed_with_or_without_endpoints() -> None:
    for endpoints in (0, 1):
        [letter] = told([900_000, 599_999], endpoints).letters
        assert (letter["recipient"], letter["kind"]) == ("ann@example.com", "notice")
        assert letter["facts"]["subject"] == "Your CallingBox credit is below $6.00"
        assert letter["facts"]["text"].startswith(
            "$5.99 is available: less than $6.00, what two calls of your longest length hold."
        )
        assert letter["facts"]["path"] == "/billing/add-credits"


def test_who_chose_a_line_is_mailed_there_and_not_at_two_calls() -> None:
    place = told([900_000, 799_999, 500_000], alert_below=800_000)
    [letter] = place.letters
    assert letter["facts"]["subject"] == "Your CallingBox credit is below $8.00"
    assert "the line you set" in letter["facts"]["text"]
    assert "Calls paused" not in letter["facts"]["text"]
    assert types(place) == ["balance.low", "balance.low"]


def test_a_mail_of_credit_that_is_too_little_for_a_call_says_so() -> None:
    place = told([900_000, 188_000], alert_below=800_000)
    [letter] = place.letters
    assert "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold" in letter["facts"]["text"]
    assert types(place) == ["calls.paused"]


def test_a_mail_of_credit_for_exactly_one_more_call_says_nothing_of_a_pause() -> None:
    [letter] = told([900_000, HOLD]).letters
    assert "Calls paused" not in letter["facts"]["text"]


def test_who_is_told_and_where_is_read_before() -> None:
    assert {(read.table.name, read.column, tuple(read.values)) for read in reads_for("o1")} == {
        ("organisations", "id", ("o1",)),
        ("users", "org_id", ("o1",)),
    }


def test_a_line_is_set_within_ten_million_dollars() -> None:
    assert LARGEST_ALERT == 10_000_000 * 100_000


def test_calls_that_begin_and_end_at_the_line_are_told_to_servers_each_time_and_mailed_once_a_day() -> None:
    steps = [620_000, 320_000] * 20  # down each second hour
    place = told(steps)
    assert types(place) == ["balance.low"] * 20
    assert [letter["created_at"] // HOUR_MS for letter in place.letters] == [1, 25]
    assert QUIET_MS == 24 * HOUR_MS


def test_after_credit_was_added_the_next_crossing_is_mailed_however_soon() -> None:
    place = Place(Rows(Nowhere()), 0, None)
    place.move(wallet(600_000), wallet(599_999), 1)
    place.move(wallet(599_999), wallet(600_000), 2)
    place.move(wallet(600_000), wallet(599_999), 3)
    assert [letter["created_at"] for letter in place.letters] == [1, 3]
    rearm_mail(place.rows, place.row)
    place.move(wallet(600_000, 5), wallet(599_999, 6), 4)
    assert len(place.letters) == 3
