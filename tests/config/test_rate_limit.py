"""By whose address somebody is limited."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.rate_limit import RateLimit, origin

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "10.0.0.2", "198.51.100.7"


@pytest.mark.parametrize(
    ("forwarded", "proxies", "expected"),
    [
        ([""], 0, PROXY),
        ([CLIENT], 0, PROXY),
        ([CLIENT], 1, CLIENT),
        (["6.6.6.6", CLIENT], 1, CLIENT),
        (["6.6.6.6", " 7.7.7.7", f" {CLIENT}", OTHER_PROXY], 2, CLIENT),
        ([CLIENT], 2, CLIENT),
        ([""], 1, PROXY),
        (["unknown"], 1, PROXY),
        (["2001:db8:1:2:3:4:5:6"], 1, "2001:db8:1:2::/64"),
        (["2001:db8:1:2:ffff::9"], 1, "2001:db8:1:2::/64"),
        ([f"::ffff:{CLIENT}"], 1, CLIENT),
    ],
)
def test_what_our_proxies_saw_is_believed_and_nothing_before_it(
    forwarded: list[str], proxies: int, expected: str
) -> None:
    assert origin(PROXY, forwarded, proxies) == expected


def test_without_any_address_all_are_one() -> None:
    assert origin(None, [""], 0) == origin(None, [""], 3) == ""


@example(1, [1.6724371249214123])  # a minute after then, and a minute before that, is a hair later than then
@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=200))
def test_who_is_refused_has_passed_as_often_as_is_said_within_the_last_minute(
    per_minute: int, pauses: list[float]
) -> None:
    limit, now, passed = RateLimit(per_minute), 1_000.0, list[float]()
    for pause in pauses:
        now += pause
        if limit.wait_seconds("somebody", now):
            assert sum(now - at <= 60 + 1e-6 for at in passed) >= per_minute
        else:
            passed.append(now)
