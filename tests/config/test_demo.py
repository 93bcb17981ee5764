"""What a newcomer sees: the demo as a real program, with a network of its own."""

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.demo import receipt_lines, timeline_lines
from tests.servers import BIN, free_port

PATIENCE_SECONDS = 90
KEY = re.compile(r"sk_live_[\w-]+")


class Demo:
    """One folder, and the demo run in it again and again."""

    def __init__(self, folder: Path) -> None:
        self.port, network_port = free_port(), free_port()
        self.url, self.network_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{network_port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/callingbox.db",
            "TWILIO_API_BASE_URL": self.network_url,
            "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
        }
        self.running: list[subprocess.Popen[str]] = []

    def start(self, **changes: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(BIN / "callingbox-server"), "demo", "--port", str(self.port)],
            env={**self.environment, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, *arguments: str) -> None:
        """Another command in the same folder."""
        command = [str(BIN / "callingbox-server"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path)
    yield made
    for process in made.running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Standard output up to the line with these words."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    assert process.stderr is not None
    raise AssertionError(f"{words!r} never came: {seen}{process.stderr.read()}")


def rest_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and standard error."""
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def get(demo: Demo, key: str, path: str) -> Any:
    return httpx.get(f"{demo.url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30).json()


def states_in(output: str) -> list[str]:
    return re.findall(r"^  \d:\d\d  (queued|initiated|ringing|in progress|completed)", output, re.MULTILINE)


def test_a_newcomer_sees_a_call_pay_for_itself(demo: Demo) -> None:
    process = demo.start()
    output = read_until(process, "Ctrl-C")
    assert states_in(output) == ["queued", "initiated", "ringing", "in progress", "completed"]
    assert re.search(r"^  0:0[78] +a person, recognised after 3\.2 s$", output, re.MULTILINE)
    receipt = output[output.index("Receipt of call") :]
    for words in (
        r"reserved +\$3\.00$",
        r"rang +4 s +free$",
        r"answered +67 s on the line$",
        r"3\.2 s of detection +free$",
        r"63 s connected at \$0\.05 a minute +\$0\.0525$",
        r"charged +\$0\.0525$",
        r"released +\$2\.9475$",
    ):
        assert re.search(words, receipt, re.MULTILINE), words
    assert "Balance $4.9475: room for 1 more call of the longest kind, or 9 with" in receipt
    assert "\x1b" not in output
    assert "\r" not in output
    _the_curl_line_works(demo, output)
    os.kill(process.pid, signal.SIGINT)
    code, errors = rest_of(process)
    assert code == 0
    assert "Traceback" not in errors
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{demo.network_url}/_sim")


def _the_curl_line_works(demo: Demo, output: str) -> None:
    [line] = [line for line in output.splitlines() if line.strip().startswith("curl")]
    words = shlex.split(line)
    headers = dict(words[place + 1].split(": ") for place, word in enumerate(words) if word == "-H")
    [url] = [word for word in words if word.startswith("http")]
    answer = httpx.post(url, headers=headers, content=words[words.index("-d") + 1], timeout=30)
    assert answer.status_code == 201
    key = headers["Authorization"].removeprefix("Bearer ")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (call := get(demo, key, f"/v1/calls/{answer.json()['id']}"))["billing_reason"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (call["status"], call["answered_by"], call["billing_reason"]) == ("no_answer", "machine", "free_voicemail")


def test_the_data_stays_through_a_power_cut_and_every_run_has_a_new_key(demo: Demo) -> None:
    first = demo.start()
    first_key = KEY.findall(read_until(first, "recognised"))[0]
    first.kill()  # in mid-call, and the network goes on
    first.wait()
    second = demo.start(SWEEP_SILENCE_SECONDS="3")
    output = read_until(second, "Ctrl-C")
    second_key = KEY.findall(output)[0]
    assert second_key != first_key
    assert "released" in output
    whole, cut_short = get(demo, first_key, "/v1/calls")["data"]
    assert (whole["billing_amount_milli_cents"], cut_short["status"]) == (5_250, "completed")
    wallet = get(demo, second_key, "/v1/billing/wallet")
    assert wallet["balance_milli_cents"] == 500_000 - 5_250 - cut_short["billing_amount_milli_cents"]
    assert wallet["held_milli_cents"] == 0
    demo.run("audit")
    assert [number["e164"] for number in get(demo, second_key, "/v1/numbers")["data"]] == ["+14155550100"]


def test_an_empty_wallet_is_told_how_to_fill_up_and_the_server_stays(demo: Demo) -> None:
    process = demo.start(FREE_CREDIT_MILLI_CENTS="188000")
    output = read_until(process, "Ctrl-C")
    assert (
        "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no one "
        "answers). Add $1.12 or more in credits to keep calling." in output
    )
    [line] = [line for line in output.splitlines() if "credit adjust" in line]
    demo.run(*shlex.split(line.partition("callingbox-server ")[2]))
    assert get(demo, KEY.findall(output)[0], "/v1/billing/wallet")["balance_milli_cents"] == 688_000


def test_a_taken_port_is_one_line(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", demo.port)):
        code, errors = rest_of(demo.start())
    assert code == 1
    message = f"cannot listen on 127.0.0.1 port {demo.port}: address already in use; choose another with --port or PORT"
    assert errors == f"callingbox-server: {message}\n"


def test_something_else_where_the_network_should_be_is_one_line(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", int(demo.network_url.rpartition(":")[2]))):
        code, errors = rest_of(demo.start())
    assert code == 1
    assert errors.startswith(f"callingbox-server: {demo.network_url} is taken by something else; end it, or set ")


def test_it_never_dials_real_telephones(demo: Demo) -> None:
    keys = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "geheim", "SECRET_KEY": "0123456789abcdef"}
    code, errors = rest_of(demo.start(**keys))
    assert code == 1
    assert "unset TWILIO_ACCOUNT_SID" in errors
    assert len(errors.splitlines()) == 1


def test_at_a_terminal_the_time_runs_on_the_last_line(demo: Demo) -> None:
    command = str(BIN / "callingbox-server")
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command, [command, "demo", "--port", str(demo.port)], {**demo.environment, "TERM": "xterm"})
    output, deadline = "", time.monotonic() + PATIENCE_SECONDS
    try:
        while "Ctrl-C" not in output:
            assert time.monotonic() < deadline, output
            if select.select([terminal], [], [], 1)[0]:
                output += os.read(terminal, 65_536).decode(errors="replace")
    finally:
        os.kill(process, signal.SIGINT)
        os.waitpid(process, 0)
        os.close(terminal)
    assert len(set(re.findall(r"  \d:\d\d  in progress …\r\x1b\[2K", output))) > 1
    assert states_in(output.replace("\r\x1b[2K", "\n")).count("completed") == 1


# -- what is printed, from receipts ---------------------------------------------------------------------------------

WALLET = {"balance_milli_cents": 500_000, "available_milli_cents": 500_000, "calls_left": 1}


def receipt(**changes: Any) -> dict[str, Any]:
    """Of a call that nobody answered, unless changes say otherwise."""
    made: dict[str, Any] = {
        "call_id": "c1",
        "status": "no_answer",
        "answered_by": None,
        "timeline": [],
        "duration_seconds": 0,
        "detection_ms": None,
        "connected": {"from": None, "to": None, "seconds": 0},
        "rate_milli_cents_per_minute": 5_000,
        "reason": "free_no_answer",
        "hold_milli_cents": 300_000,
        "charge_milli_cents": 0,
        "released_milli_cents": 300_000,
        "refunded_milli_cents": 0,
    }
    return {**made, **changes}


def told(status: str, second: int) -> dict[str, Any]:
    at = f"2026-01-01T12:00:{second:02d}.000Z"
    return {"kind": "status", "source": "callback", "arrived_at": at, "carrier_at": at, "said": {"CallStatus": status}}


def test_a_call_that_nobody_answers_costs_nothing() -> None:
    lines = receipt_lines(receipt(timeline=[told("ringing", 1), told("no-answer", 31)]), WALLET)
    shown = [" ".join(line.split()) for line in lines]
    assert "rang 30 s free" in shown
    assert "free no answer" in shown
    assert "charged $0.00" in shown
    assert "released $3.00" in shown


def test_a_charge_that_was_given_back_shows_both() -> None:
    refunded = receipt(
        reason="refund_voicemail",
        duration_seconds=67,
        connected={"from": None, "to": None, "seconds": 0},
        released_milli_cents=294_750,
        refunded_milli_cents=5_250,
    )
    shown = [" ".join(line.split()) for line in receipt_lines(refunded, WALLET)]
    assert "charged $0.00" in shown
    assert "refunded $0.0525" in shown


def test_states_stand_at_the_carriers_time_since_the_dial() -> None:
    timeline = [
        {"kind": "dial", "source": "carrier", "arrived_at": "x", "carrier_at": None, "said": {"answer": "accepted"}},
        told("initiated", 1),
        told("ringing", 2),
        told("in-progress", 6),
        {
            "kind": "verdict",
            "source": "callback",
            "arrived_at": "x",
            "carrier_at": None,
            "said": {"AnsweredBy": "machine_start", "MachineDetectionDuration": "4100"},
        },
        told("completed", 11),
    ]
    assert [" ".join(line.split()) for line in timeline_lines(receipt(timeline=timeline))] == [
        "0:00 initiated",
        "0:01 ringing",
        "0:05 in progress somebody answered",
        "0:09 a voicemail, recognised after 4.1 s",
        "0:10 completed somebody hung up",
    ]
