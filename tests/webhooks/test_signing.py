"""Signatures, headers and schedules, against the official client's own check and openssl."""

import time

import pytest
from callingbox import BadRequestError
from callingbox.resources.webhooks import Webhooks
from hypothesis import given
from hypothesis import strategies as st

from webhooks.schedule import RETRY_MS, accepted, next_attempt_at, wants
from webhooks.signing import headers, signature

SECRET = "whsec_4nOe2Qz7bXkTt0uYp1LrCw"
BODY = '{"id":"0198","type":"call.completed","created":1,"api_version":"2026-04","data":{"name":"Zoë 🙂"}}'.encode()


def test_the_official_client_accepts_what_we_sign() -> None:
    event = Webhooks.construct_event(BODY, signature(SECRET, int(time.time()), BODY), SECRET)
    assert (event.id, event.type, event.data) == ("0198", "call.completed", {"name": "Zoë 🙂"})


def test_a_signature_is_what_openssl_makes_of_it() -> None:
    assert signature("whsec_x", 1_795_634_259, b"{}") == (
        "t=1795634259,v1=05782a5eb4b8cf1cdd7f99efb7a585f4c7a81c8278ee48549aa4424937820914"
    )


@pytest.mark.parametrize(
    ("body", "secret", "age"),
    [(BODY + b" ", SECRET, 0), (BODY, SECRET[:-1], 0), (BODY, SECRET.removeprefix("whsec_"), 0), (BODY, SECRET, 301)],
)
def test_another_body_another_secret_or_an_old_signature_is_refused(body: bytes, secret: str, age: int) -> None:
    signed = signature(SECRET, int(time.time()) - age, BODY)
    with pytest.raises(BadRequestError):
        Webhooks.construct_event(body, signed, secret)


@given(st.binary(max_size=200), st.text(min_size=1, max_size=50).filter(str.isprintable), st.integers(1, 2**33))
def test_whatever_is_signed_can_be_checked_at_its_time(body: bytes, secret: str, at: int) -> None:
    from callingbox.resources.webhooks import _verify_signature

    _verify_signature(secret, signature(secret, at, body), body, 0)


def test_headers_name_the_event_and_its_call() -> None:
    made = headers("e1", "call.ringing", "c1", "t=1,v1=ab")
    assert made == {
        "Content-Type": "application/json",
        "CallingBox-Signature": "t=1,v1=ab",
        "CallingBox-Event-Id": "e1",
        "CallingBox-Event-Type": "call.ringing",
        "X-CallingBox-Event": "call.ringing",
        "X-CallingBox-Call-Id": "c1",
    }
    assert "X-CallingBox-Call-Id" not in headers("e1", "balance.low", None, "")


def test_attempts_are_spread_over_42_hours_and_then_end() -> None:
    minutes = [1, 5, 30, 120, 300, 600, 1_440]
    for attempts, wait in enumerate(minutes, 1):
        assert next_attempt_at(attempts, 1_000, 0.5) == 1_000 + wait * 60_000
    assert next_attempt_at(8, 1_000, 0.5) is None
    assert len(RETRY_MS) == 7


@given(st.integers(1, 7), st.floats(0, 1))
def test_an_attempt_is_at_most_a_fifth_early_or_late(attempts: int, chance: float) -> None:
    at = next_attempt_at(attempts, 0, chance)
    assert at is not None
    assert 0.8 * RETRY_MS[attempts - 1] <= at <= 1.2 * RETRY_MS[attempts - 1]


def test_only_a_success_is_acceptance() -> None:
    assert [status for status in (None, 101, 199, 200, 204, 299, 300, 302, 404, 410, 500) if accepted(status)] == [
        200,
        204,
        299,
    ]


def test_an_endpoint_wants_all_events_or_those_it_names() -> None:
    assert wants(["*"], "call.busy")
    assert wants(["call.busy", "balance.low"], "balance.low")
    assert not wants(["call.busy"], "call.failed")
