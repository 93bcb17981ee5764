"""`callingbox-server batch`: a file of numbers, its quote, its progress, and what stopping to watch does."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Site
from tests.servers import BIN

HUMAN, BUSY, NEVER_ENDS = "+14155550130", "+14155550133", "+14155550149"
QUOTE: dict[str, Any] = {
    "calls": 1,
    "max_duration_seconds": 60,
    "hold_milli_cents": 5_000,
    "worst_case_milli_cents": 5_000,
    "available_milli_cents": 5_000,
    "calls_at_once": 1,
    "first_call_at": None,
    "refused": [],
    "refused_rows": 0,
    "message": None,
    "code": None,
}
AT_ONCE = ("--window", "any", "--max-duration", "60", "--prompt", "Hello")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.csv"
    path.write_text(f"to,name\n{HUMAN},Ann\n{BUSY},Boris\n")
    return path


def environment(site: Site) -> dict[str, str]:
    return {**site.installed.environment, "CALLINGBOX_BASE_URL": site.url, "CALLINGBOX_API_KEY": site.api_key}


def run(site: Site, *arguments: str, said: str = "", code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(BIN / "callingbox-server"), "batch", *arguments],
        env=environment(site),
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def batches(site: Site) -> int:
    import httpx

    answer = httpx.get(f"{site.url}/v1/batches", headers={"Authorization": f"Bearer {site.api_key}"})
    return len(answer.json()["data"])


def test_it_shows_the_quote_asks_and_calls_everybody(site: Site, file: Path) -> None:
    done = run(site, "run", str(file), *AT_ONCE, "--calls-per-second", "10", said="y\n")
    assert "2 calls of 1 minute at most. Each holds $0.05; all cost $0.10 at most." in done.stderr
    assert "Call 2 numbers?" in done.stderr
    last = done.stdout.splitlines()[-1]
    assert "2 of 2; 1 completed, 1 busy; $0.0" in last
    [batch_id] = set(re.findall(r"Batch (\S+) is", done.stdout))
    shown = json.loads(run(site, "show", batch_id, "--json").stdout)
    assert (shown["state"], shown["progress"]["done"]) == ("completed", 2)
    assert "stays as it is" in run(site, "pause", batch_id, code=1).stderr


def test_nobody_is_called_without_a_yes(site: Site, file: Path) -> None:
    before = batches(site)
    run(site, "run", str(file), *AT_ONCE, said="n\n", code=130)
    run(site, "run", str(file), *AT_ONCE, said="", code=130)
    assert batches(site) == before


def test_lines_that_cannot_be_called_are_named(site: Site, file: Path) -> None:
    file.write_text(f"to\n{HUMAN}\n4155550101\n")
    refused = run(site, "run", str(file), *AT_ONCE, "--yes", code=1)
    assert "line 3: `to` must be a phone number like +14155550123 (E.164)." in refused.stderr
    assert "leave them out with --skip-refused" in refused.stderr
    done = run(site, "run", str(file), *AT_ONCE, "--yes", "--skip-refused", "--json")
    made: Any = json.loads(done.stdout)
    assert made["progress"] == {"total": 1, "waiting": 0, "calling": 0, "done": 1, "skipped": 0, "canceled": 0}


def test_it_does_not_ask_about_what_nobody_could_call(site: Site, file: Path) -> None:
    nobody = run(site, "run", str(file), "--window", "any", code=1)
    assert "--agent" in nobody.stderr
    unknown = run(site, "run", str(file), "--window", "any", "--agent", "nope", said="y\n", code=1)
    assert "agent nope not found" in unknown.stderr
    assert "[y/N]" not in unknown.stderr


def test_a_wrong_file_or_option_is_one_line(site: Site, file: Path) -> None:
    assert "must be like 09:00-17:00" in run(site, "run", str(file), *AT_ONCE, "--window", "noon", code=1).stderr
    file.write_text("number\n1\n")
    assert "one of them must be `to`" in run(site, "run", str(file), *AT_ONCE, code=1).stderr
    assert "not found" in run(site, "show", "unknown", code=1).stderr


def test_who_stops_watching_leaves_it_running_and_is_told_how_to_pause_it(site: Site, file: Path) -> None:
    file.write_text(f"to\n{NEVER_ENDS}\n{HUMAN}\n")
    ours, theirs = pty.openpty()
    slowly = ("--window", "any", "--max-concurrent", "1", "--prompt", "Hello")
    command = [str(BIN / "callingbox-server"), "batch", "run", str(file), *slowly, "--yes"]
    surroundings = {**environment(site), "TERM": "xterm", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    with subprocess.Popen(command, env=surroundings, stdout=theirs, stderr=-1, text=True) as process:
        screen = ""
        while "░" not in screen or "1 calling" not in screen:
            screen += os.read(ours, 4096).decode(errors="ignore")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(30) == 130
    found = re.search(r"callingbox-server batch (pause \S+)", said)
    assert found is not None, said
    paused = run(site, *found[1].split())
    assert "is paused" in paused.stdout
    batch_id = found[1].split()[1]
    assert "is calling" in run(site, "resume", batch_id).stdout
    canceled = run(site, "cancel", batch_id)
    assert "is canceled" in canceled.stdout
    assert "not called" in canceled.stdout


def test_who_stops_it_while_the_batch_is_being_made_is_told_where_to_look(site: Site, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the batch, and never says that it did
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [str(BIN / "callingbox-server"), "batch", "run", str(file), *AT_ONCE, "--yes"]
        surroundings = {**environment(site), "CALLINGBOX_BASE_URL": url}
        with subprocess.Popen(command, env=surroundings, stdout=-1, stderr=-1, text=True) as process:
            quote, _ = silent.accept()
            with quote:
                _request(quote)
                body = json.dumps(QUOTE).encode()
                head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                quote.sendall(head.encode() + body)
            making, _ = silent.accept()
            with making:
                assert b"POST /v1/batches?" in _request(making)
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"The batch may have been made, and then it goes on: {url}/batches shows it."


def _request(connection: socket.socket) -> bytes:
    """Its head; its body has been sent as well."""
    received = b""
    while b"Boris" not in received:
        received += connection.recv(65_536)
    return received
