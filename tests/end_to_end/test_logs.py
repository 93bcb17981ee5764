"""What a server writes down under use, misuse and breakage: nothing that belongs to anybody."""

import json
import re
import sqlite3
from pathlib import Path

import httpx
from twilio.request_validator import RequestValidator

from config.settings import SIMULATED_SECRET
from tests.servers import installation, network_process

PASSWORD, EMAIL, PROMPT = "correct horse battery", "somebody@example.com", "Ask about the blue folder"
NUMBER, CALLEE, CALLER = "+14155550123", "+14155550130", "+12125550162"
STRAY_KEY = "sk_live_" + "Zz9" * 14


def test_no_number_key_password_or_word_is_ever_logged(tmp_path: Path) -> None:
    with (
        network_process(tmp_path, speed=100.0) as network_url,
        installation(tmp_path, network_url, LOG_LEVEL="DEBUG", RATE_LIMIT_PER_MINUTE="60") as installed,
    ):
        made = installed.run("org", "create", "Example", "--email", EMAIL, "--password", PASSWORD)
        org = json.loads(made.stdout)
        imported = installed.run("number", "import", org["org_id"], NUMBER)
        installed.start()
        use(installed.url, org["api_key"])
        misuse(installed.url, org["api_key"])
        breakage(installed.url, org["api_key"], tmp_path / "callingbox.db")
        assert installed.server is not None
        installed.server.stop()
        written = (tmp_path / "server.log").read_text() + made.stderr + imported.stderr
    assert "unexpected_error" in written  # what was broken is in there, with its cause
    secrets = {org["api_key"], STRAY_KEY, PASSWORD, EMAIL, PROMPT, SIMULATED_SECRET, "blue folder", "argon2"}
    for secret in secrets:
        assert secret not in written, line_with(secret, written)
    for number in (NUMBER, CALLEE, CALLER):
        for spelling in (number, number[1:], number[2:], number.replace("+", "%2B")):
            assert spelling not in written, line_with(spelling, written)
    assert not re.search(r"sk_live_\w|Bearer \w|X-Twilio-Signature", written)


def use(url: str, key: str) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=40) as client:
        wanted = {"prompt": PROMPT, "context": {"number": CALLER}, "max_duration_seconds": 600}
        call = client.post("/v1/calls", json={"to": CALLEE, **wanted}).json()
        assert client.get(f"/v1/calls/{call['id']}").status_code == 200
        assert client.post(f"/v1/calls/{call['id']}/hangup").status_code == 200
        assert client.post("/v1/calls", json={"to": "+14155550140", "max_duration_seconds": 600}).status_code == 400
        assert client.post("/v1/calls", json={"to": CALLER, "max_duration_seconds": 3_600}).status_code in (201, 402)


def misuse(url: str, key: str) -> None:
    with httpx.Client(base_url=url, timeout=40) as client:
        for address in (f"/v1/calls/{CALLEE}", f"/v1/calls/{key}", f"/{CALLEE}", f"/v1/calls?starting_after={CALLEE}"):
            client.get(address, headers={"Authorization": f"Bearer {key}"})
            client.get(address, headers={"Authorization": f"Bearer {STRAY_KEY}"})
        client.post("/v1/calls", content=f'{{"to": "{CALLEE}", ', headers={"Authorization": f"Bearer {key}"})
        client.post("/v1/calls", content=b"\xff" * 400_000, headers={"Authorization": f"Bearer {key}"})
        form = {"CallSid": "CA" + "1" * 32, "To": NUMBER, "From": CALLER, "CallStatus": "completed"}
        client.post("/webhooks/twilio/voice", data=form)
        client.post("/webhooks/twilio/status", data=form, headers={"X-Twilio-Signature": SIMULATED_SECRET})
        for path in ("/webhooks/twilio/voice", "/webhooks/twilio/status"):
            signature = RequestValidator(SIMULATED_SECRET).compute_signature(url + path, form)
            client.post(path, data=form, headers={"X-Twilio-Signature": signature})
        for _ in range(70):
            client.get("/v1/billing/wallet", headers={"Authorization": f"Bearer {STRAY_KEY}"})
        client.post("/login", data={"email": EMAIL, "password": PASSWORD})


def breakage(url: str, key: str, database: Path) -> None:
    """The database refuses new calls, quoting what was to be written."""
    with sqlite3.connect(database, timeout=20) as connection:
        connection.execute("CREATE TRIGGER broken BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'broken'); END")
    connection.close()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=40) as client:
        answer = client.post("/v1/calls", json={"to": CALLEE, "prompt": PROMPT, "max_duration_seconds": 60})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert answer.headers["Request-Id"] in answer.json()["error"]  # what support finds the line of the log by
        form = {"CallSid": "CA" + "2" * 32, "To": NUMBER, "From": CALLER, "CallStatus": "ringing"}
        path = "/webhooks/twilio/voice"
        signature = RequestValidator(SIMULATED_SECRET).compute_signature(url + path, form)
        assert client.post(path, data=form, headers={"X-Twilio-Signature": signature}).status_code == 500


def line_with(secret: str, written: str) -> str:
    return next(line for line in written.splitlines() if secret in line)[:2_000]
