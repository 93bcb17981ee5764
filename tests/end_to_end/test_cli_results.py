"""The official command line waits for a whole conversation and prints what came of it."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers import BIN
from tests.voice.stage import TO, Stage, stage

RETURNS = {"attending": "boolean", "guests": "number", "allergies": "string"}
ARGUMENTS = ("call", "--to", TO, "--prompt", "Ask whether they attend, and with how many guests.")


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Stage]:
    async with stage(sqlite_url) as made:
        yield made


async def cli(on: Stage, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CALLINGBOX_BASE_URL": on.server.url,
        "CALLINGBOX_API_KEY": on.org.api_key,
        "COLUMNS": "200",
    }
    command = [str(BIN / "callingbox"), *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_call_with_returns_prints_its_result_and_what_was_said(on: Stage, tmp_path: Path) -> None:
    on.script(says=["Hello?", "Yes, I am attending, with 3 guests.", "No, that's all. Bye."])
    asked = await cli(on, tmp_path, "--json", *ARGUMENTS, "--returns", json.dumps(RETURNS), "--transcript")
    assert asked.returncode == 0, asked.stderr
    printed = json.loads(asked.stdout)
    assert printed["result"] == {"attending": True, "guests": 3, "allergies": None}
    assert (printed["call"]["status"], printed["call"]["result_status"]) == ("completed", "completed")
    assert [line["text"] for line in printed["transcript"] if line["role"] == "person"] == [
        "Hello?",
        "Yes, I am attending, with 3 guests.",
        "No, that's all. Bye.",
    ]
    assert "AI assistant" in printed["transcript"][1]["text"]


@pytest.mark.parametrize(("outcome", "status"), [("no-answer", "no_answer"), ("voicemail", "no_answer")])
async def test_a_call_that_nobody_answered_has_no_result_and_says_so(
    on: Stage, tmp_path: Path, outcome: str, status: str
) -> None:
    on.script(outcome, talk_seconds=60)
    asked = await cli(on, tmp_path, "--json", *ARGUMENTS, "--returns", json.dumps(RETURNS), "--transcript")
    assert asked.returncode == 1
    assert f"ended with status `{status}`" in asked.stderr
    printed = json.loads(asked.stdout)
    assert printed["result"] is None
    assert (printed["call"]["result_status"], printed["call"]["billing_amount_milli_cents"]) == ("skipped", 0)
