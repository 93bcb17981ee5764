"""Who finds a place when many hang."""

from webhooks.places import (
    AT_ONCE,
    FIRST,
    MOST_REMEMBERED,
    OF_LATE,
    OF_NOT_QUICK,
    OF_ONE_DESTINATION,
    OF_ONE_ORGANISATION,
    QUICK_MS,
    Places,
)

LATE_MS = QUICK_MS + 1


def filled(places: Places, kind: str) -> int:
    """Have each of many destinations, of as many organisations, take what it is given; how many that is."""
    taken = 0
    for number in range(AT_ONCE):
        while places.take(f"{kind} {number}", f"organisation {kind} {number}"):
            taken += 1
    return taken


def test_a_destination_begins_with_few_places_and_earns_more() -> None:
    places = Places()
    assert [places.take("one", "org") for _ in range(FIRST + 1)] == [True] * FIRST + [False]
    for _ in range(5):
        places.learn("one", QUICK_MS)
    assert sum(places.take("one", "org") for _ in range(2 * OF_ONE_DESTINATION)) == OF_ONE_DESTINATION - FIRST


def test_all_destinations_of_an_organisation_share_its_places() -> None:
    places = Places()
    assert sum(places.take(str(number), "org") for number in range(2 * OF_ONE_ORGANISATION)) == OF_ONE_ORGANISATION
    assert places.take("another", "another")
    assert places.closed().organisations == ["org"]


def test_whoever_is_quick_finds_a_place_beside_any_number_that_hang() -> None:
    places = Places()
    places.learn("quick", 1)
    assert filled(places, "new") == OF_NOT_QUICK
    assert places.closed().only == ["quick"]
    assert places.take("quick", "org")


def test_whoever_is_new_finds_a_place_beside_any_number_that_were_late_before() -> None:
    places = Places()
    for number in range(AT_ONCE):
        places.learn(f"late {number}", LATE_MS)
    assert filled(places, "late") == OF_LATE
    closed = places.closed()
    assert closed.only is None
    assert f"late {AT_ONCE - 1}" in closed.destinations
    assert places.take("new", "org")


def test_who_was_late_and_is_quick_again_is_as_any_other() -> None:
    places = Places()
    for number in range(OF_LATE):
        places.learn(f"late {number}", LATE_MS)
    assert filled(places, "late") >= OF_LATE
    assert not places.take("late 0", "org")
    places.learn("late 0", 1)
    assert places.take("late 0", "org")


def test_every_place_taken_is_given_back_whatever_was_learnt_meanwhile() -> None:
    places = Places()
    for durations in ((1,), (LATE_MS,), (1, LATE_MS), (LATE_MS, 1), ()):
        assert places.take("one", "org")
        for duration_ms in durations:
            places.learn("one", duration_ms)
        places.leave("one", "org")
        assert places.free() == AT_ONCE
    for number in range(MOST_REMEMBERED + 1):
        places.learn(f"other {number}", 1)
    assert filled(places, "new") == OF_NOT_QUICK, "nothing is counted that was given back"


def test_what_is_remembered_is_limited_and_forgets_whom_it_heard_of_longest_ago() -> None:
    places = Places()
    places.learn("first", LATE_MS)
    places.learn("second", LATE_MS)
    assert places.take("first", "org")
    for number in range(MOST_REMEMBERED - 1):
        places.learn(f"quick {number}", 1)
    assert filled(places, "new") == OF_NOT_QUICK - 1
    places.leave("first", "org")
    assert places.take("second", "org")
