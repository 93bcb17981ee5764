"""When customers' servers are told that the wallet runs low."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from accounts.tables import events
from billing.low_balance import news, tell_of_wallet
from billing.rating import Terms
from billing.wallet import Wallet
from config.rows import Rows

HOLD = 300_000


def wallet(available: int, held: int = 0) -> Wallet:
    return Wallet(balance=available + held, held=held, sequence=1)


@pytest.mark.parametrize(
    ("before", "after", "name"),
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
def test_only_a_status_that_gets_worse_is_news(before: int, after: int, name: str | None) -> None:
    assert news(wallet(before), wallet(after), HOLD) == name


def test_a_hold_counts_like_any_other_use_of_credit() -> None:
    assert news(wallet(500_000), Wallet(500_000, 300_000, 2), HOLD) == "calls.paused"


@given(st.integers(-1_000_000, 1_000_000), st.integers(-1_000_000, 1_000_000))
def test_what_is_told_is_the_status_as_it_now_is(before: int, after: int) -> None:
    words = {"low": "balance.low", "paused": "calls.paused"}
    name = news(wallet(before), wallet(after), HOLD)
    assert name is None or name == words[wallet(after).status(HOLD)]
    assert name is None or wallet(after).calls_left(HOLD) < wallet(before).calls_left(HOLD)


def test_the_default_hold_is_that_of_the_longest_call_allowed() -> None:
    terms = Terms(rate_milli_cents_per_minute=5_000, max_duration_seconds=3_600)
    assert [terms.default_hold(longest) for longest in (None, 600, 3_600, 7_200)] == [300_000, 50_000, 300_000, 300_000]


def told(before: int, after: int, endpoints: int) -> list[Any]:
    """The types of the events written when the wallet moved."""
    organisation = {"id": "o1", "webhook_endpoints": endpoints, "max_call_duration_seconds": None}
    with create_engine("sqlite://").connect() as connection:
        rows = Rows(connection)
        tell_of_wallet(rows, organisation, wallet(before), wallet(after), Terms(5_000, 3_600), "t1", 1_000)
        return [event["type"] for event in rows.find(events, "org_id", "o1")]


def test_only_who_listens_is_told_and_only_of_news() -> None:
    assert told(900_000, 599_999, endpoints=1) == ["balance.low"]
    assert told(900_000, 299_999, endpoints=1) == ["calls.paused"]
    assert told(900_000, 599_999, endpoints=0) == told(900_000, 900_000, endpoints=1) == []
