"""The product's own SDK and command line, unchanged, against a running server."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import callingbox
import pytest
from callingbox import APIError, AuthenticationError, BadRequestError, Callingbox, NotFoundError

from tests.end_to_end.conftest import Site
from tests.servers import BIN


@pytest.fixture
def client(site: Site) -> Iterator[Callingbox]:
    with Callingbox(api_key=site.api_key, base_url=site.url) as client:
        yield client


def over(client: Callingbox, call_id: str) -> callingbox.Call:
    deadline = time.monotonic() + 30
    while (call := client.calls.retrieve(call_id)).billed_duration_seconds is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return call


def test_a_call_is_created_and_read_back(site: Site, client: Callingbox) -> None:
    call = client.calls.create(
        "+14155550130",
        prompt="Ask whether the table is free.",
        context={"table": 4},
        language="en",
        from_=site.number,
        voicemail_action="hangup",
    )
    assert (call.to_number, call.from_number, call.direction) == ("+14155550130", site.number, "outbound")
    assert (call.language, call.context, call.reservation_status) == ("en", {"table": 4}, "reserved")
    assert call.prompt == "Ask whether the table is free."
    assert call.webhook_status == "none"
    ended = over(client, call.id)
    assert (ended.status, ended.duration_seconds, ended.billed_duration_seconds) == ("completed", 67, 63)
    assert (ended.billing_amount_milli_cents, ended.reservation_status) == (5_250, "settled")


def test_calls_are_listed_and_iterated_both_ways(client: Callingbox) -> None:
    made = [client.calls.create("+14155550133").id for _ in range(5)][::-1]
    page = client.calls.list(limit=2)
    assert [call.id for call in page] == made[:2]
    assert page.has_more
    every = [call.id for call in client.calls.iter_calls(limit=2)]
    assert every[:5] == made
    assert len(every) == len(set(every))
    older = [call.id for call in client.calls.iter_calls(limit=2, starting_after=made[2])]
    assert older == every[3:]
    newer = [call.id for call in client.calls.iter_calls(limit=2, ending_before=made[4])]
    assert newer == made[:4]


def test_numbers_are_listed(site: Site, client: Callingbox) -> None:
    listed = list(client.numbers.iter_numbers(limit=1))
    [number] = [each for each in listed if each.e164 == site.number]  # other tests buy numbers of their own
    assert (number.country_code, number.status) == ("US", "active")
    assert [each.e164 for each in client.numbers.list(limit=1)] == [listed[0].e164]


def test_refusals_are_the_exceptions_they_are_documented_to_be(site: Site, client: Callingbox) -> None:
    with pytest.raises(BadRequestError, match="`to` must be a phone number like"):
        client.calls.create("12")
    with pytest.raises(BadRequestError, match="The carrier says that `to` is not a valid phone number"):
        client.calls.create("+14155550140")
    with pytest.raises(NotFoundError, match="call nobody not found"):
        client.calls.retrieve("nobody")
    with (
        Callingbox(api_key="sk_live_wrong", base_url=site.url) as stranger,
        pytest.raises(AuthenticationError, match="not valid"),
    ):
        stranger.calls.list()
    with pytest.raises(APIError) as busy:
        client.calls.create("+14155550146")
    assert (busy.value.status_code, busy.value.message[:11]) == (503, "The carrier")


def test_a_paused_organisation_reads_the_message_to_the_letter(site: Site) -> None:
    made = json.loads(
        site.installed.run("org", "create", "Poor", "--email", "poor@example.com", "--password", "long enough").stdout
    )
    site.installed.run("number", "import", made["org_id"], "+14155550101")
    site.installed.run("credit", "adjust", made["org_id"], "-311100", "--reason", "as typed")
    with Callingbox(api_key=made["api_key"], base_url=site.url) as client, pytest.raises(APIError) as paused:
        client.calls.create("+14155550130")
    assert paused.value.status_code == 402
    assert paused.value.message == (
        "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no one "
        "answers). Add $1.12 or more in credits to keep calling."
    )


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def cli(site: Site, home: Path, *arguments: str, key: str | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CALLINGBOX_BASE_URL": site.url, "COLUMNS": "400"}
    if key is not None:
        environment["CALLINGBOX_API_KEY"] = key
    command = [str(BIN / "callingbox"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_login_keeps_a_key_that_works_and_refuses_one_that_does_not(site: Site, home: Path) -> None:
    refused = cli(site, home, "login", "--api-key", "sk_live_wrong", "--base-url", site.url)
    assert refused.returncode == 3
    assert "not valid" in refused.stderr
    assert not (home / ".config/callingbox/config.toml").exists()
    taken = cli(site, home, "login", "--api-key", site.api_key, "--base-url", site.url)
    assert taken.returncode == 0, taken.stderr
    assert site.api_key in (home / ".config/callingbox/config.toml").read_text()
    listed = cli(site, home, "--json", "numbers", "list")  # without a key in the environment
    assert listed.returncode == 0, listed.stderr
    assert site.number in listed.stdout


def test_a_call_is_dispatched_without_waiting(site: Site, home: Path) -> None:
    asked = cli(
        site, home, "--json", "call", "--to", "+14155550131", "--prompt", "Hello", "--no-wait", key=site.api_key
    )
    assert asked.returncode == 0, asked.stderr
    call = json.loads(asked.stdout)
    assert (call["to_number"], call["reservation_status"]) == ("+14155550131", "reserved")
    shown = cli(site, home, "--json", "calls", "get", call["id"], key=site.api_key)
    assert json.loads(shown.stdout)["id"] == call["id"]


def test_a_call_is_waited_for(site: Site, home: Path) -> None:
    asked = cli(site, home, "--json", "call", "--to", "+14155550130", "--prompt", "Hello", key=site.api_key)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["status"] == "completed"
    busy = cli(site, home, "--json", "call", "--to", "+14155550133", "--prompt", "Hello", key=site.api_key)
    assert busy.returncode == 1
    assert "ended with status `busy`" in busy.stderr


def test_every_call_is_listed(site: Site, home: Path, client: Callingbox) -> None:
    for _ in range(3):
        client.calls.create("+14155550133")
    listed = cli(site, home, "--json", "calls", "list", "--all", "--limit", "2", key=site.api_key)
    assert listed.returncode == 0, listed.stderr
    assert [call["id"] for call in json.loads(listed.stdout)] == [call.id for call in client.calls.iter_calls()]
    table = cli(site, home, "calls", "list", "--limit", "1", key=site.api_key)
    assert (table.returncode, "+14155550133" in table.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("calls", "get", "nobody"), 4),
        (("call", "--to", "12", "--prompt", "x", "--no-wait"), 5),
        (("calls", "list", "--limit", "1000"), 5),
    ],
)
def test_the_exit_code_says_what_kind_of_refusal_it_was(
    site: Site, home: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert cli(site, home, *arguments, key=site.api_key).returncode == code
