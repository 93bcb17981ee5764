"""Scenario files: who answers how, and which faults."""

import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from simulator.scenario import parse, read

EXAMPLE = """
seed: 7
speed: 20
faults: {callback_lost: 0.25}
callees:
  +14155550123: busy
  "+14155550124": {outcome: human, talk_seconds: 30, says: ["Yes, Tuesday is fine."]}
  default: voicemail
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "scenario.yaml"
    path.write_text(text)
    return path


def test_a_file_says_who_answers_how_and_which_faults(tmp_path: Path) -> None:
    scenario = read(written(tmp_path, EXAMPLE))
    assert (scenario.seed, scenario.speed, scenario.faults.callback_lost) == (7, 20.0, 0.25)
    assert scenario.callees["+14155550123"].ends == "busy"
    assert scenario.callees["+14155550124"].says == ("Yes, Tuesday is fine.",)
    assert scenario.callees["+14155550124"].talk_seconds == 30
    assert scenario.callees["default"].verdict == "machine_start"


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert read(written(tmp_path, "# nothing yet\n")).callees == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- busy", "mapping"),
        ("callees: [busy]", "callees is a mapping"),
        ("callees: {+14155550123: asleep}", "+14155550123: outcome must be one of"),
        ("callees: {+14155550123: {talk_seconds: -1}}", "+14155550123"),
        ("callees: {+14155550123: {colour: red}}", "+14155550123"),
        ("callees: {nobody: busy}", "neither a number in E.164 nor default"),
        ("faults: {callback_lost: 2}", "faults.callback_lost"),
        ("faults: {typhoon: 1}", "typhoon"),
        ("speed: 0", "speed"),
        ("seed: x", "seed"),
        ("caller: {}", "caller"),
        ("callees: {a: ]", "not YAML"),
        ("callees: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(tmp_path: Path, text: str, word: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match="scenario") as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most"):
        read(written(tmp_path, "#" * 300_000))


def test_numbers_that_yaml_reads_as_numbers_are_numbers() -> None:
    assert set(parse({"callees": {14155550123: "busy"}}).callees) == {"+14155550123"}


async def shown(tmp_path: Path, *arguments: str, **environment: str) -> Any:
    """What the program started with."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--port", "0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().split()[-1]
    try:
        return await asyncio.to_thread(lambda: [_json(f"{url}/_sim"), _json(f"{url}/_sim/scripts")])
    finally:
        process.terminate()
        await process.wait()


def _json(url: str) -> Any:
    return json.loads(urllib.request.urlopen(url, timeout=10).read())


async def test_the_program_plays_a_scenario_and_its_own_arguments_come_first(tmp_path: Path) -> None:
    path = written(tmp_path, EXAMPLE)
    overview, scripts = await shown(tmp_path, "--scenario", str(path))
    assert overview["seed"] == 7
    assert set(scripts["scripts"]) == {"+14155550123", "+14155550124", "default"}
    overview, scripts = await shown(tmp_path, "--seed", "3", SIMULATOR_SCENARIO=str(path))
    assert overview["seed"] == 3
    assert scripts["scripts"]["default"]["outcome"] == "voicemail"


async def test_a_wrong_scenario_is_said_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", written(tmp_path, "speed: fast")):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "--port", "0", "--scenario", str(path)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert said.startswith(b"simulator: ")
        assert said.count(b"\n") == 1
