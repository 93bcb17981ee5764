"""What the README and the documents tell people to type is run here as it stands, or at least known to exist.

Invariant: a block of commands that this file does not run fails it, and so does a command, option, variable, file or
test that is not there.
"""

import ast
import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml
from pydantic import TypeAdapter

from accounts.events import EVENT_TYPES, TEST_EVENT
from config.cli import main
from config.settings import Settings
from simulator.faults import FaultPlan
from simulator.scenario import parse
from simulator.scripts import MAGIC, PRESETS, REFUSED
from tests.end_to_end.conftest import Site
from tests.servers import BIN, ROOT, free_port, installation, network_process
from voice.agents.tool_shapes import Tools
from webhooks.shapes import Event
from webhooks.signing import signature

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PATIENCE_SECONDS = 120
NOT_RUN = {"make test": "it is what runs this"}
"""Commands of blocks that are only checked for being there, and why."""
LIVE, BATCHES, WATCHED = "callingbox-server migrate", "curl $CALLINGBOX_BASE_URL/v1/batches", "callingbox-server batch"
HEARD, ONCE = "curl -s $CALLINGBOX_BASE_URL/v1/webhook_endpoints", "curl -s $CALLINGBOX_BASE_URL/v1/calls -H"
AGAIN = "curl -s $CALLINGBOX_BASE_URL/v1/webhook_deliveries/redeliver"
BANK = "curl -s http://127.0.0.1:8010/_sim/stripe"
RUN_HERE = ("make run", "export", LIVE, BATCHES, WATCHED, HEARD, AGAIN, ONCE, BANK)
"""How each block begins."""
LARGEST_PICTURE_BYTES = 150_000


def text_of(path: Path) -> str:
    return path.read_text()


def commands_of(block: str) -> list[str]:
    """The lines of a block without their comments."""
    lines = (re.sub(r"\s{2,}# .*$", "", line).strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


BLOCKS = [commands_of(found) for path in DOCUMENTS for found in BLOCK.findall(text_of(path))]


def block_with(command: str) -> list[str]:
    """The one that begins with it."""
    [found] = [block for block in BLOCKS if block[0].startswith(command)]
    return found


def test_every_block_of_commands_is_run_here() -> None:
    assert [block[0] for block in BLOCKS if not block[0].startswith(RUN_HERE)] == []


# -- the two commands to begin with, and the API in four lines --------------------------------------------------------


@contextlib.contextmanager
def first_run(command: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Type the first command in a folder where it was typed before; (what it printed, its address, its key)."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "tests/requirements.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(BIN)
    for stamp in (".run", ".dev", ".browser"):
        (folder / ".venv" / stamp).touch()
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "PORT": str(port),
        "TWILIO_API_BASE_URL": f"http://127.0.0.1:{free_port()}",
        "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
    }
    process = subprocess.Popen(
        shlex.split(command),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = read_until(process, "Ctrl-C ends it")
        [key] = set(re.findall(r"sk_live_[\w-]+", printed))
        yield printed, f"http://127.0.0.1:{port}", key
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        process.wait(PATIENCE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} never came: {seen}")


def test_the_first_command_prints_the_receipt_of_the_readme_and_its_server_answers_the_four_lines(
    tmp_path: Path,
) -> None:
    run, test = block_with("make run")
    assert (run, test) == ("make run", *NOT_RUN)
    shown = re.findall(r"^  (\w+) .*?(\$[\d.]+|free)?$", text_of(ROOT / "README.md").split("```")[1], re.MULTILINE)
    with first_run(run, tmp_path) as (printed, url, key):
        for name, amount in shown:
            assert re.search(rf"^\s+{name}\s.*{re.escape(amount)}$", printed, re.MULTILINE), (name, amount, printed)
        receipt_of_the_four_lines(url, key)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/healthz")


def receipt_of_the_four_lines(url: str, key: str) -> None:
    """Type them, with what `make run` printed and the call that the second line made in their places."""
    export, create, receipt, wallet = block_with("export")
    export = export.replace("http://127.0.0.1:8000", url).replace("sk_live_…", key)
    call = typed(f"{export}\n{create}")
    assert call["hold_milli_cents"] == 300_000
    until = time.monotonic() + PATIENCE_SECONDS
    while (said := typed(f"{export}\n{receipt.replace('ID', call['id'])}"))["charge_milli_cents"] is None:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert said["charge_milli_cents"] == 0  # a voicemail
    assert typed(f"{export}\n{wallet}")["held_milli_cents"] == 0


def typed(lines: str, environment: dict[str, str] | None = None) -> Any:
    """What a shell prints, which is JSON."""
    done = subprocess.run(["sh", "-ec", lines], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


# -- going live -------------------------------------------------------------------------------------------------------


def test_the_commands_for_going_live_make_an_organisation_whose_number_is_looked_after(tmp_path: Path) -> None:
    migrate, create, number, doctor = block_with(LIVE)
    with network_process(tmp_path) as network_url, installation(tmp_path, network_url) as made:

        def ran(line: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
            command, *arguments = shlex.split(line)
            assert command == "callingbox-server"
            return made.run(*arguments, check=check)

        assert json.loads(ran(migrate).stdout) == {"migrated": True}
        org = json.loads(ran(create).stdout)
        assert json.loads(ran(number.replace("ORG_ID", org["org_id"])).stdout)["carrier"]
        made.start()
        looked_at = ran(doctor, check=False)
        assert "number" in looked_at.stdout
        assert "Traceback" not in looked_at.stderr


# -- many calls -------------------------------------------------------------------------------------------------------


def test_batches_are_made_and_watched_and_paused_as_the_page_of_the_api_says(site: Site, tmp_path: Path) -> None:
    made = json.loads(
        site.installed.run("org", "create", "B", "--email", "b@example.com", "--password", "long enough").stdout
    )
    site.installed.run("number", "import", made["org_id"], "+14155550191")
    environment = {**site.installed.environment, "CALLINGBOX_BASE_URL": site.url, "CALLINGBOX_API_KEY": made["api_key"]}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    (tmp_path / "numbers.csv").write_text("to,name\n+14155550133,Ann\n+14155550134,Bob\n")  # busy, no answer
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {made['api_key']}"}, timeout=40) as api:
        [number] = api.get("/v1/numbers").json()["data"]
        agent = api.post("/v1/agents", json={"name": "A", "type": "outbound", "number_ids": [number["id"]]}).json()
        lines = re.sub(r"(agent_id\W+)(…|[0-9a-f-]{36})", rf"\g<1>{agent['id']}", "\n".join(block_with(BATCHES)))
        for typed_here in re.split(r"\n(?=curl)", lines):
            shell = ["sh", "-ec", typed_here]
            done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=True)
            batch = json.loads(done.stdout)
            assert batch["state"] in ("running", "waiting_for_window", "waiting_for_room")  # by the hour of the day
        run, pause = block_with(WATCHED)
        command = shlex.split(run.replace("AGENT_ID", agent["id"]))
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=-1, stdout=-1, stderr=-1) as watching:
            assert watching.stdin is not None
            watching.stdin.write(b"y\n")
            watching.stdin.close()
            until = time.monotonic() + PATIENCE_SECONDS
            while len(batches := api.get("/v1/batches").json()["data"]) < 3:
                assert time.monotonic() < until
                assert watching.poll() is None, watching.stderr.read() if watching.stderr else ""
                time.sleep(0.1)
            watching.send_signal(signal.SIGINT)
        command = shlex.split(pause.replace("BATCH_ID", batches[0]["id"]))
        subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
        assert api.get(f"/v1/batches/{batches[0]['id']}").json()["state"] == "paused"
        for each in batches:
            canceled = api.post(f"/v1/batches/{each['id']}/cancel")
            assert canceled.is_success or canceled.json()["code"] == "batch_over"


# -- the customer's own server ----------------------------------------------------------------------------------------


def code_of(language: str, page: str = "integrating") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(ROOT / f"docs/{page}.md"), re.MULTILINE | re.DOTALL)


def test_the_first_steps_in_python_place_a_call_and_receive_what_is_signed(tmp_path: Path) -> None:
    caller, receiver, _ = code_of("python")
    port = str(free_port())
    with (
        network_process(tmp_path) as network_url,
        installation(tmp_path, network_url, ALLOW_PRIVATE_URLS="true") as made,
    ):
        org = json.loads(made.run("org", "create", "P", "--email", "p@example.com", "--password", "long enough").stdout)
        made.run("number", "import", org["org_id"], "+14155550123")
        made.start()
        environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "CALLINGBOX_BASE_URL": made.url}
        environment["CALLINGBOX_API_KEY"] = org["api_key"]
        add, test = block_with(HEARD)
        endpoint = typed(add.replace("8030", port), environment)
        environment["SIGNING_SECRET"] = endpoint["signing_secret"]
        program = [str(BIN / "python"), "-c", receiver.replace("8030", port)]
        with subprocess.Popen(program, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True) as hearing:
            try:
                assert answer_to_a_forgery(f"http://127.0.0.1:{port}") == 400
                assert typed(test.replace("ENDPOINT_ID", endpoint["id"]), environment)["event_type"] == TEST_EVENT
                read_until(hearing, TEST_EVENT)
                [again] = block_with(AGAIN)
                assert typed(again, environment) == {"redelivered": 0, "has_more": False, "last_id": None}
                once = "\n".join(block_with(ONCE))
                assert typed(once, environment)["id"] == typed(once, environment)["id"]
                read_until(hearing, "call.voicemail")
                done = subprocess.run(
                    [*program[:2], caller], env=environment, capture_output=True, text=True, timeout=60
                )
                assert re.fullmatch(r"completed \{'suits': (True|False|None)\} \d+\n", done.stdout), done
                read_until(hearing, "call.completed")
            finally:
                hearing.kill()
        [refused] = block_with(BANK)
        assert typed(refused.replace("http://127.0.0.1:8010", network_url), environment) is not None


def answer_to_a_forgery(url: str) -> int:
    """Of a server that has just been started."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return httpx.post(url, headers={"CallingBox-Signature": "t=1,v1=2"}).status_code
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_the_check_of_signatures_believes_what_we_sign_and_nothing_else() -> None:
    *_, program = code_of("python")
    names: dict[str, Any] = {}
    exec(program, names)
    body, now = b'{"type": "call.completed"}', int(time.time())
    signed = signature("whsec_right", now, body)
    assert names["is_ours"](body, signed, "whsec_right")
    assert not names["is_ours"](body, signed, "whsec_wrong")
    assert not names["is_ours"](body + b" ", signed, "whsec_right")
    assert not names["is_ours"](body, signature("whsec_right", now - 301, body), "whsec_right")


def test_the_event_and_the_tools_that_are_shown_are_such_and_every_event_is_named() -> None:
    event, tools = map(json.loads, code_of("json"))
    assert set(event) == set(Event.model_fields)
    assert len(TypeAdapter(Tools).validate_python(tools)) == len(tools)
    assert [
        name for name in (*EVENT_TYPES, TEST_EVENT) if f"`{name}`" not in text_of(ROOT / "docs/integrating.md")
    ] == []


# -- the simulated network --------------------------------------------------------------------------------------------


def test_the_scenario_of_the_page_is_one_and_every_outcome_fault_and_number_is_named() -> None:
    [scenario] = code_of("yaml", "developing")
    assert parse(yaml.safe_load(scenario)).callees["+14155550123"].ends == "busy"
    page = text_of(ROOT / "docs/developing.md")
    assert [name for name in (*PRESETS, *FaultPlan.__struct_fields__) if f"`{name}`" not in page] == []
    first, last = re.findall(r"\| (\d{4}) – (\d{4}) \|", page)[0]
    named = {*re.findall(r"\| (\d{4}) \|", page), *(f"{number:04}" for number in range(int(first), int(last) + 1))}
    assert named == {*MAGIC, *REFUSED}


def test_what_assistants_are_told_starts_a_command_that_is_there() -> None:
    [told] = map(json.loads, code_of("json", "developing"))
    server = told["mcpServers"]["callingbox"]
    assert (Path(server["command"]).name, server["args"][0] in main.commands) == ("callingbox-server", True)
    assert server["env"].keys() == {"CALLINGBOX_BASE_URL", "CALLINGBOX_API_KEY"}


# -- what else is named -----------------------------------------------------------------------------------------------

SPANS = sorted({span for path in DOCUMENTS for span in SPAN.findall(BLOCK.sub("", text_of(path)))})
LINES_TYPED = [line for block in BLOCKS for line in block]
TESTS = {path: text_of(path) for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)}


def words_of(typed: str) -> list[str]:
    """A command without the variables set before it."""
    words = shlex.split(typed)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def operator_commands() -> list[list[str]]:
    """Words after `callingbox-server`; a document on operating may leave that away."""
    found = []
    for typed in [*SPANS, *LINES_TYPED]:
        try:
            words = words_of(typed)
        except ValueError:  # no closing quotation: it is no command
            continue
        if words[:1] == ["callingbox-server"] and words[1:2] != ["COMMAND"]:
            found.append(words[1:])
        elif len(words) > 1 and words[0] in main.commands and (words[1].islower() or words[1].startswith("--")):
            found.append(words)
    return found


@pytest.mark.parametrize("words", operator_commands(), ids=" ".join)
def test_a_command_for_operators_is_there_with_its_options_and_some_test_runs_it(words: list[str]) -> None:
    command: click.Command = main
    path: list[str] = []
    while isinstance(command, click.Group) and words:
        path.append(words[0])
        assert words[0] in command.commands, path
        command, words = command.commands[words[0]], words[1:]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known
    run_here = any(line.startswith(" ".join(["callingbox-server", *path])) for line in LINES_TYPED)
    assert run_here or any(all(f'"{word}"' in source for word in path) for source in TESTS.values()), (
        f"no test runs {' '.join(path)}"
    )


def test_every_command_for_operators_is_named() -> None:
    groups = {"": main, **{f"{name} ": each for name, each in main.commands.items() if isinstance(each, click.Group)}}
    for prefix, group in groups.items():
        for name in group.commands.keys() - {known.strip() for known in groups}:
            named = re.compile(rf"(^|callingbox-server ){prefix}{name}\b")
            assert any(named.search(typed) for typed in [*SPANS, *LINES_TYPED]), prefix + name


def typed_with(program: str) -> list[list[str]]:
    words = [words_of(span) for span in [*SPANS, *LINES_TYPED] if re.match(rf"([A-Z_]+=\S+ )*{program} ", span)]
    assert words
    return words


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert {words[1] for words in typed_with("make")} <= targets
    for command in NOT_RUN:
        planned = subprocess.run(
            [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "-m pytest tests" in planned.stdout


def test_every_module_and_test_that_is_named_is_there() -> None:
    for words in typed_with("python"):
        assert words[1] == "-m"
        assert importlib.util.find_spec(words[2]), words
    for words in typed_with("pytest"):
        files = [word for word in words[1:] if word.endswith(".py")]
        assert files
        for file in files:
            names = [node.name for node in ast.walk(ast.parse(text_of(ROOT / file))) if hasattr(node, "name")]
            wanted = words[words.index("-k") + 1] if "-k" in words else "test_"
            assert any(wanted in name for name in names), words
    for module in {module for words in typed_with("python") if words[2] == "tests.mutations" for module in words[3:]}:
        assert importlib.util.find_spec(module), module


def test_every_variable_is_one_that_is_read_and_every_one_that_is_read_is_named() -> None:
    options = [option.envvar for command in main.commands.values() for option in command.params]
    read = {name.upper() for name in Settings.model_fields} | {str(name) for name in options if name}
    rows = [line.split("|")[1] for path in DOCUMENTS for line in text_of(path).splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]{3,})`", row)}
    assert named - read == set()
    everywhere = "".join(map(text_of, DOCUMENTS))
    assert {name for name in read if f"{name}" not in everywhere} == set()


def test_every_file_that_is_named_or_linked_is_there_and_pictures_are_small() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)|(?:src|srcset)=\"([^\"]+)\"", text_of(path)):
            target = next(filter(None, link))
            if not target.startswith("http"):
                assert (path.parent / target).is_file(), f"{path.name}: {target}"
    for picture in (ROOT / "docs/pictures").iterdir():
        assert picture.stat().st_size <= LARGEST_PICTURE_BYTES
        assert picture.name in text_of(ROOT / "README.md")
