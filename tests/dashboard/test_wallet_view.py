from dataclasses import replace

import pytest

from dashboard import wallet_view as view
from tests.dashboard import fixtures as fx

HOLD_IS_NO_CHARGE = "A hold is not a charge: what a call does not use comes back when it ends."


@pytest.mark.parametrize(
    ("wallet", "pill"),
    [
        (fx.OK, ("ok", "$18.52", "Room for 6 calls")),
        (fx.LOW, ("low", "$3.84", "Room for 1 call")),
        (fx.PAUSED, ("paused", "$1.88", "Calls paused")),
        (fx.BELOW_ZERO, ("paused", "−$3.50", "Calls paused")),
        (fx.RICH, ("ok", "$516.12", "Room for 172 calls")),
    ],
)
def test_the_pill_shows_what_can_be_used(wallet: view.WalletFacts, pill: tuple[str, str, str]) -> None:
    shown = view.pill(wallet)
    assert (shown.status, shown.amount, shown.room) == pill


def test_what_one_owns_is_rounded_down_and_what_is_missing_up() -> None:
    wallet = fx.wallet(188_999, 0)
    assert view.pill(wallet).amount == "$1.88"
    assert "$1.12 of it is missing" in view.credit(wallet, fx.CLOCK).sentence


def test_the_ruler_says_what_each_block_is() -> None:
    sentence = view.credit(fx.OK, fx.CLOCK).sentence
    assert sentence == (
        "Each block is one $3.00 hold: 3 held by live calls, room for 6 more, $0.52 left over. " + HOLD_IS_NO_CHARGE
    )


def test_a_short_wallet_is_offered_shorter_calls() -> None:
    low = view.credit(fx.LOW, fx.CLOCK)
    assert (low.standing, low.detail) == (
        "Room for 1 more call.",
        "After that, calls pause until a live one ends or you add credits.",
    )
    assert low.sentence == "Each block is one $3.00 hold: 1 held by a live call, room for 1 more, $0.84 left over."
    assert low.suggestion == ("Set your longest call to 10 minutes", ": room for 7 calls.")
    assert view.credit(fx.NEW, fx.CLOCK).suggestion == (
        "Set your longest call to 10 minutes",
        ": room for 10 calls.",
    )
    assert view.credit(fx.OK, fx.CLOCK).suggestion is None


def test_calls_that_are_short_already_get_no_suggestion() -> None:
    short = fx.wallet(60_000, 0, max_seconds=600)
    assert short.status == "low"
    assert view.credit(short, fx.CLOCK).suggestion is None
    assert view.credit(fx.wallet(10_000, 0), fx.CLOCK).suggestion is None, "room for none even then"


def test_a_paused_wallet_says_what_is_missing_in_billings_own_words() -> None:
    paused = view.credit(fx.PAUSED, fx.CLOCK)
    assert paused.message == fx.PAUSE_MESSAGE
    assert paused.sentence == "A call needs one whole $3.00 block, and $1.12 of it is missing."
    assert view.credit(fx.OK, fx.CLOCK).message == ""


def test_a_paused_wallet_says_since_when_and_who_was_refused() -> None:
    paused = replace(fx.PAUSED, paused_since=fx.ms("18:41:14"), refused_calls=2)
    credit = view.credit(paused, fx.CLOCK)
    assert f"{credit.standing} {credit.detail}" == "Calls paused since 18:41 UTC. 2 incoming calls were refused."


def test_a_wallet_below_zero_says_what_repays_it() -> None:
    assert view.credit(fx.BELOW_ZERO, fx.CLOCK).sentence == (
        "Your wallet is $3.50 below zero. Add $6.50 or more: $3.50 repays it, $3.00 covers one hold."
    )


def test_a_rich_wallet_is_told_in_one_sentence() -> None:
    assert view.credit(fx.RICH, fx.CLOCK).sentence == (
        "6 holds of $3.00 belong to live calls; room for 172 more, $0.12 left over. " + HOLD_IS_NO_CHARGE
    )


def test_holds_of_another_size_are_not_called_blocks() -> None:
    mixed = replace(fx.OK, held=350_000, live_calls=2, available=2_402_451)
    assert view.credit(mixed, fx.CLOCK).sentence.startswith(
        "$3.50 is held by live calls; room for 8 more of $3.00 each, $0.02 left over."
    )


def test_what_no_call_holds_is_not_said_to_be_a_calls() -> None:
    refunding = replace(fx.OK, held=350_000, live_calls=0, available=2_402_451)
    assert view.credit(refunding, fx.CLOCK).sentence.startswith(
        "$3.50 is held by a purchase or a refund; room for 8 more"
    )


def test_the_longest_call_is_chosen_with_what_it_means() -> None:
    choices = view.longest_calls(fx.NEW, 3600)
    assert [(c.label, c.hold, c.room) for c in choices if c.seconds in (600, 3600)] == [
        ("10 min", "$0.50 hold", "room for 10"),
        ("60 min", "$3.00 hold", "room for 1"),
    ]
    assert [c.seconds for c in choices if c.chosen] == [3600]


def test_a_longest_call_of_ones_own_stays_among_the_choices() -> None:
    choices = view.longest_calls(fx.wallet(500_000, 0, max_seconds=420), 1800)
    assert [c.seconds for c in choices] == [300, 420, 600, 900, 1800]
    assert [c.chosen for c in choices] == [False, True, False, False, False]


def test_a_top_up_says_what_it_buys() -> None:
    dialog = view.add_credits(fx.OK)
    assert [(c.dollars, c.minutes, c.available_after, c.room_after) for c in dialog.choices][:2] == [
        (10, "200 min", "$28.52", "room for 9 calls"),
        (25, "500 min", "$43.52", "room for 14 calls"),
    ]
    assert dialog.minutes_per_dollar == "20"


def test_a_top_up_that_does_not_lift_the_pause_says_so() -> None:
    deep = fx.wallet(-1_900_000, 0)
    assert [c.room_after for c in view.add_credits(deep).choices][:2] == ["calls stay paused", "room for 2 calls"]


def test_a_suspended_account_has_room_for_nothing_whatever_its_credit() -> None:
    wallet = replace(fx.OK, status="paused", message="", suspended=True)
    assert (view.pill(wallet).status, view.pill(wallet).room) == ("paused", "Account suspended")
    head = view.credit(wallet, fx.CLOCK)
    assert (head.standing, head.message, head.suggestion) == ("Account suspended.", "", None)
    assert "room" not in head.sentence.lower()
