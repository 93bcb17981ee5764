"""`callingbox-server listen`: what happens to calls, as it happens."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from tests.end_to_end.conftest import Site
from tests.servers import BIN

HUMAN, BUSY = "+14155550130", "+14155550133"


@contextmanager
def listening(site: Site, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {**site.installed.environment, "CALLINGBOX_BASE_URL": site.url, "CALLINGBOX_API_KEY": site.api_key}
    command = [str(BIN / "callingbox-server"), "listen", *arguments]
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stderr is not None
            assert "listening" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def over(site: Site, to: str) -> Any:
    """A call from its creation to its end."""
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {site.api_key}"}, timeout=40) as client:
        call = client.post("/v1/calls", json={"to": to}).json()
        for _ in range(600):
            if call["billing_reason"] is not None:
                return call
            time.sleep(0.1)
            call = client.get(f"/v1/calls/{call['id']}").json()
    raise AssertionError("the call did not end")


def told(process: "subprocess.Popen[str]", call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is printed of a call, until its end."""
    assert process.stdout is not None
    for printed in process.stdout:
        event = json.loads(printed)
        if event["call_id"] == call["id"]:
            yield event
            if event["event"].startswith("call."):
                return


def test_each_event_and_movement_of_a_call_is_printed_once_in_order(site: Site) -> None:
    earlier = over(site, BUSY)
    with listening(site, "--json") as process:
        for to, last in ((HUMAN, ["money.settle", "call.completed"]), (BUSY, ["money.release", "call.busy"])):
            call = over(site, to)
            events = list(told(process, call))
            names = [event["event"] for event in events]
            assert names[0] == "money.hold"
            assert "callback.status" in names
            assert sorted(names[-2:]) == sorted(last)
            assert events[-1]["charge_milli_cents"] == call["billing_amount_milli_cents"]
            assert [event["at"] for event in events] == sorted(event["at"] for event in events)
            assert len({json.dumps(event, sort_keys=True) for event in events}) == len(events)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert earlier["id"] not in rest  # what was before is not told


def test_a_person_reads_lines(site: Site) -> None:
    with listening(site) as process:
        call = over(site, BUSY)
        assert process.stdout is not None
        lines = []
        for printed in process.stdout:
            lines.append(printed)
            if "call.busy" in printed:
                break
        assert all(call["id"] in each for each in lines)
        assert lines[-1].rstrip().endswith("free_busy, $0.00")
        assert lines[-2].rstrip().endswith("$3.00 of the hold given back")


def test_without_a_key_that_works_it_says_so_in_a_line(site: Site) -> None:
    environment = {**site.installed.environment, "CALLINGBOX_BASE_URL": site.url}
    for key, word in (("", "CALLINGBOX_API_KEY"), ("sk_live_wrong", "not valid")):
        done = subprocess.run(
            [str(BIN / "callingbox-server"), "listen"],
            env={**environment, "CALLINGBOX_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert word in done.stderr
        assert done.stderr.count("\n") == 1
