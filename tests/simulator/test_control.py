"""The control interface and the program itself."""

import asyncio
import json
import signal
import sys
import urllib.request
from typing import Any

import pytest

from tests.simulator.telephony import customer


async def test_a_script_for_a_number_beats_the_default_which_beats_the_magic_number() -> None:
    async with customer() as who:

        async def status(to: str) -> Any:
            call = await who.call(to)
            await who.idle()
            return who.network.calls[call.sid].status

        assert await status("+14155550133") == "busy"
        await who.control("PUT", "/scripts/default", {"outcome": "failed"})
        assert await status("+14155550133") == "failed"
        await who.control("PUT", "/scripts/+14155550133", {"outcome": "no-answer"})
        assert await status("+14155550133") == "no-answer"
        await who.control("DELETE", "/scripts/+14155550133")
        assert await status("+14155550133") == "failed"


async def test_a_script_can_be_changed_in_every_part() -> None:
    async with customer() as who:
        script = await who.control(
            "PUT", "/scripts/default", {"outcome": "voicemail", "talk_seconds": 12, "detection_ms": 2000}
        )
        assert (script["verdict"], script["talk_seconds"]) == ("machine_start", 12.0)
        call = await who.call("+14155550123")
        await who.idle()
        record = await who.record(call.sid)
    assert (record["duration_seconds"], record["detection_ms"], record["verdict"]) == (12, 2000, "machine_start")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/scripts/default", {"outcome": "sleepy"}, "outcome must be one of"),
        ("/scripts/default", {"outcome": "human", "talk_second": 3}, "talk_second"),
        ("/scripts/default", {"outcome": "human", "talk_seconds": "3"}, "talk_seconds"),
        ("/scripts/default", [1], "JSON object"),
        ("/faults", {"callback_lost": 2}, "callback_lost"),
        ("/faults", {"all": -1}, "0"),
        ("/faults", {"callback_list": 0.1}, "callback_list"),
        ("/faults", {"seed": "x"}, "seed"),
    ],
)
async def test_what_cannot_be_followed_is_refused_with_the_field_named(path: str, body: Any, message: str) -> None:
    async with customer() as who:
        with pytest.raises(ValueError, match=rf"400: .*{message}"):
            await who.control("PUT", path, body)


async def test_faults_are_replaced_as_a_whole() -> None:
    async with customer() as who:
        await who.control("PUT", "/faults", {"all": 0.1, "callback_lost": 0.5, "seed": 9})
        shown = await who.control("GET", "/faults")
        assert shown["seed"] == 9
        assert (shown["faults"]["callback_lost"], shown["faults"]["fetch_error"]) == (0.5, 0.1)
        await who.control("PUT", "/faults", {"fetch_error": 0.2})
        assert (await who.control("GET", "/faults"))["faults"]["callback_lost"] == 0.0


async def test_a_network_is_idle_when_no_call_is_live_and_no_callback_is_due() -> None:
    async with customer(speed=20) as who:
        assert (await who.control("GET", "/idle"))["idle"] is True
        await who.call("+14155550134")
        busy = await who.control("GET", "/idle")
        assert (busy["idle"], busy["live_calls"]) == (False, 1)
        await who.idle()
        assert (await who.control("GET", "/idle"))["idle"] is True


async def test_a_reset_drops_everything_and_begins_the_dice_again() -> None:
    async with customer(speed=1.0) as who:
        first = await who.call("+14155550123")
        key = who.network.calls[first.sid].key
        await who.control("PUT", "/scripts/default", {"outcome": "busy"})
        await who.control("PUT", "/faults", {"all": 1})
        await who.client.incoming_phone_numbers(first.phone_number_sid).delete_async()
        await who.control("POST", "/reset", {"seed": 5})
        assert (await who.control("GET", "/idle"))["idle"] is True
        assert (await who.control("GET", "/calls"))["calls"] == []
        overview = await who.control("GET", "")
        assert (overview["seed"], overview["numbers"]) == (5, ["+14155550100"])
        assert (await who.control("GET", "/scripts"))["scripts"] == {}
        second = await who.call("+14155550123")
        assert who.network.calls[second.sid].key == key
        assert second.sid != first.sid


@pytest.mark.parametrize(
    ("verb", "statuses"),
    [
        ("answer", ["initiated", "ringing", "in-progress", "completed"]),
        ("decline", ["initiated", "ringing", "busy"]),
    ],
)
async def test_a_person_at_the_far_end_answers_or_declines_by_hand(verb: str, statuses: list[str]) -> None:
    async with customer(speed=20) as who:
        await who.control("PUT", "/scripts/default", {"outcome": "phone"})
        call = await who.call("+14155550123", timeout=600)
        await who.until(call.sid, "ringing")
        await who.control("POST", f"/calls/{call.sid}/{verb}")
        if verb == "answer":
            await who.until(call.sid, "in-progress")
            await who.control("POST", f"/calls/{call.sid}/hangup")
        await who.idle()
        assert who.statuses_of(call.sid) == statuses
        assert who.network.calls[call.sid].ended_by == "far_end"


async def test_a_phone_that_nobody_answers_rings_out() -> None:
    async with customer() as who:
        await who.control("PUT", "/scripts/default", {"outcome": "phone"})
        call = await who.call("+14155550123", timeout=15)
        await who.idle()
        assert who.statuses_of(call.sid)[-1] == "no-answer"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_says_when_it_is_ready_and_ends_cleanly(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--port", "0", "--speed", "10", "--seed", "3"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = line.split()[-1]
    answer = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/_sim", timeout=10).read())
    assert json.loads(answer)["seed"] == 3
    process.send_signal(number)
    stdout, stderr = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, stdout, stderr) == (0, b"", b"")


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--speed", "0"), ("--host", "nowhere")])
async def test_the_program_refuses_what_it_cannot_serve_in_one_line(arguments: tuple[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--port", "0", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.startswith(b"simulator: ")
    assert stderr.count(b"\n") == 1
