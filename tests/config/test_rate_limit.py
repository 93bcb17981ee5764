"""By whose address somebody is limited."""

import pytest

from config.rate_limit import origin

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
