"""What people read of a batch: its bar, its words, and why it waits."""

import pytest

from dashboard import batches_view as view
from tests.dashboard import batch_fixtures as fx


@pytest.mark.parametrize("batch", [fx.RUNNING, *fx.OTHERS])
def test_the_bar_and_the_counts_add_up_to_all_numbers(batch: dict[str, object]) -> None:
    shown = view.summary(batch, 0)
    assert sum(block.width for block in shown.bar) == pytest.approx(100)
    for left, right in zip(shown.bar, shown.bar[1:], strict=False):
        assert left.x + left.width == pytest.approx(right.x)
    assert sum(count for _, count in view.counts_of(batch)) == shown.total
    assert all(count for _, count in view.counts_of(batch))


def test_why_it_waits_is_said_in_the_wallets_own_words() -> None:
    notices = [view.notice_of(batch) for batch in (fx.RUNNING, *fx.OTHERS)]
    texts = [notice.text if notice else "" for notice in notices]
    assert texts == [
        "",
        "It is not the time to call anybody who is left: Mon to Fri, 09:00 to 17:00, each number’s local time. "
        "The batch goes on by itself.",
        f"{fx.PAUSE_SENTENCE} The batch then goes on by itself.",
        "Paused. Calls under way go on; nobody else is called.",
        "Paused: The API key that made this batch was revoked. Resume it when that is mended.",
        "",
        "",
    ]


def test_what_can_be_done_with_it_depends_on_its_state() -> None:
    assert view.actions_of("running") == view.actions_of("waiting_for_room") == ("pause", "cancel")
    assert view.actions_of("paused") == ("resume", "cancel")
    assert view.actions_of("completed") == view.actions_of("canceled") == ()


def test_its_terms_are_told_in_words() -> None:
    terms = dict(view.terms_of(fx.RUNNING, "Reminders"))
    assert terms["Again"] == "3 calls at most after busy, no answer, 15 min apart"
    assert dict(view.terms_of({**fx.RUNNING, "window": None}, ""))["Hours"] == "at any hour"
    once = {**fx.RUNNING, "retry": {"outcomes": [], "attempts": 1, "wait_seconds": 900}}
    assert dict(view.terms_of(once, ""))["Again"] == "Each number is called once"


@pytest.mark.parametrize(
    ("days", "timezone", "words"),
    [
        (["mon", "tue", "wed", "thu", "fri"], None, "Mon to Fri, 09:00 to 17:00, each number’s local time"),
        (["wed", "mon", "tue", "sun"], None, "Mon, Tue, Wed, Sun, 09:00 to 17:00, each number’s local time"),
        (["sat", "sun"], "America/New_York", "Sat, Sun, 09:00 to 17:00, in America/New York"),
        (list(view.DAYS), None, "every day, 09:00 to 17:00, each number’s local time"),
    ],
)
def test_its_hours_are_told_as_one_would_say_them(days: list[str], timezone: str | None, words: str) -> None:
    window = {"days": days, "start": "09:00", "end": "17:00", "timezone": timezone}
    assert view.window_words(window) == words


def test_an_unnamed_batch_is_called_by_its_size() -> None:
    assert view.summary(fx.OTHERS[0], 0).name == "Batch of 1,200 numbers"
