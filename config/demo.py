"""`callingbox-server demo`: the server beside a simulated telephone network, and a first call that pays for itself.

Invariant: whatever the first call does, the server stays up until it is told to stop, and what is printed about money
comes from the call's own receipt. Time on the simulated network runs fast, so our patience is shorter, too.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
import httpx

from billing.money import dollars_exact
from billing.rating import hold_milli_cents
from config.clock import new_id
from config.serve import Simulator, introduce_numbers, listen, loop_factory, serve_app, simulator_for
from config.settings import Settings
from config.terminal import Terminal
from voice.vocabulary import CARRIER_STATUSES, CARRIER_VERDICTS, AnsweredBy

HOST = "127.0.0.1"
SPEED = 20
"""Seconds on the simulated network in a real one."""
EMAIL = "demo@example.com"
NUMBER = "+14155550100"
CALLEE = "+14155550130"
"""A person, who is recognised after 3.2 s and talks for 67 s."""
VOICEMAIL = "+14155550131"
PHONE = "+14155550120"
"""Rings on the simulated network's own page, for whoever wants to answer."""
POLL_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 180
PATIENCE = {"sweep_silence_seconds": 15.0, "sweep_interval_seconds": 2.0, "log_level": "ERROR"}
"""What the demo sets unless the environment does."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The demo organisation, with a key and a password that this run has made."""

    org_id: str
    api_key: str
    password: str


def demo(settings: Settings, port: int, prepare: Callable[[Settings], None]) -> int:
    """Serve until SIGTERM or SIGINT. Raises click.ClickException if it cannot start."""
    if not settings.simulated_network:
        message = (
            "demo is for the simulated telephone network: unset TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or serve"
        )
        raise click.ClickException(message)
    listening = listen(HOST, port, "--port or PORT")
    defaults = {name: value for name, value in PATIENCE.items() if name not in settings.model_fields_set}
    settings = settings.model_copy(update={**defaults, "public_base_url": f"http://{HOST}:{port}"})
    prepare(settings)
    with simulator_for(settings, "--speed", str(SPEED)) as simulator:
        if simulator is None:
            advice = "end it, or set TWILIO_API_BASE_URL=http://127.0.0.1:8011"
            raise click.ClickException(f"{settings.carrier_base_url} is taken by something else; {advice}")
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            tenant = runner.run(_tenant(settings))
            runner.run(introduce_numbers(settings))
            runner.run(_run(settings, listening, tenant, simulator))
    return 0


async def _tenant(settings: Settings) -> Tenant:
    """The demo organisation as it is, or a new one with the free credit; always with a new key and password."""
    from sqlalchemy import select

    from accounts.commands import CreateKey, CreateOrganisation
    from accounts.keys import new_key
    from accounts.passwords import hash_password
    from accounts.people import SetPassword
    from accounts.tables import users
    from billing.tables import wallets
    from config.database import Database
    from config.door import Door
    from voice.numbers.commands import ImportNumber

    key, password = new_key(), secrets.token_urlsafe(9)
    hashed = hash_password(password)
    database = Database(settings.database_url)
    door = Door(database, wallets)
    door.open()
    try:
        async with database.read() as connection:
            user = (await connection.execute(select(users).where(users.c.email == EMAIL))).first()
        if user is None:
            ids = new_id(), new_id(), new_id(), new_id()
            credit = settings.free_credit_milli_cents
            org_id = await door.submit(CreateOrganisation(*ids, "Demo", EMAIL, hashed, key, credit))
            assert org_id is not None
        else:
            org_id = user.org_id
            await door.submit(CreateKey(new_id(), org_id, "Demo", key))
            await door.submit(SetPassword(user.id, user.password_hash, hashed))
        await door.submit(ImportNumber(new_id(), org_id, NUMBER, "US"))  # a refusal: it is there already
    finally:
        await door.close()
        await database.close()
    return Tenant(org_id, key, password)


async def _run(settings: Settings, listening: Any, tenant: Tenant, simulator: Simulator) -> None:
    from config.app import create_app

    serving = asyncio.create_task(serve_app(create_app(settings), listening))
    terminal = Terminal()
    touring = asyncio.create_task(Tour(settings.public_base_url, tenant, simulator, terminal).take())
    await asyncio.wait({serving, touring}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done() and (error := touring.exception()) is not None:
        terminal.line(f"The first call was not finished: {type(error).__name__}.")
    if not serving.done():
        terminal.line(f"\nServing on {settings.public_base_url}. Ctrl-C ends it; the data stays.")
    await serving
    touring.cancel()
    await asyncio.gather(touring, return_exceptions=True)
    terminal.line("")


class Tour:
    """The first call, placed as any customer would: over HTTP, with the key."""

    def __init__(self, url: str, tenant: Tenant, simulator: Simulator, terminal: Terminal) -> None:
        self._url, self._tenant, self._simulator, self._terminal = url, tenant, simulator, terminal
        headers = {"Authorization": f"Bearer {tenant.api_key}"}
        self._api = httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False)

    async def take(self) -> None:
        self._greet()
        async with self._api:
            wallet = await self._get("/v1/billing/wallet")
            pace = f"simulated time runs {self._simulator.speed:g} times as fast"
            self._terminal.line(f"A first call, from {NUMBER} to {CALLEE}; {pace}:\n")
            call = await self._place(wallet)
            if call is None:
                return
            receipt = await self._follow(call)
            if receipt is None:
                self._terminal.line(f"It goes on. Its receipt: {self._url}/v1/calls/{call['id']}/receipt")
                return
            self._terminal.line("")
            for line in receipt_lines(receipt, await self._get("/v1/billing/wallet")):
                self._terminal.line(line)

    def _greet(self) -> None:
        say, bold = self._terminal.line, self._terminal.bold
        say(f"\n{bold('CallingBox')}: phone calls conducted by an AI agent, paid by the connected second.\n")
        say(f"  Dashboard  {bold(self._url)}")
        say(f"  Log in     {EMAIL}, password {bold(self._tenant.password)}")
        say(f"  API key    {bold(self._tenant.api_key)}")
        say(f"  Network    {self._simulator.url} (simulated: no real telephone rings)")
        say(f"             There {PHONE} rings when it is called; the mailbox is at /mail.\n")
        say("Place a call yourself; this one reaches a voicemail and is free:\n")
        body = f'{{"to":"{VOICEMAIL}"}}'
        headers = f"-H 'Authorization: Bearer {self._tenant.api_key}' -H 'Content-Type: application/json'"
        say(f"  curl -s {self._url}/v1/calls {headers} -d '{body}'\n")

    async def _get(self, path: str) -> Any:
        """Waits where the rate limit says so."""
        response = await self._api.get(path)
        if response.status_code == 429:
            await asyncio.sleep(float(response.headers["Retry-After"]))
            return await self._get(path)
        return response.raise_for_status().json()

    async def _place(self, wallet: dict[str, Any]) -> dict[str, Any] | None:
        if wallet["status"] == "paused" and wallet["held_milli_cents"]:
            wallet = await self._await_earlier_call(wallet)
        response = await self._api.post("/v1/calls", json={"to": CALLEE})
        said = response.json()
        if response.status_code == 201:
            held = dollars_exact(said["hold_milli_cents"])
            self._terminal.line(
                f"  0:00  queued       {held} reserved of {dollars_exact(wallet['balance_milli_cents'])}"
            )
            call: dict[str, Any] = said
            return call
        self._terminal.line(f"  {said['error']}")
        if response.status_code == 402:
            add = f"credit adjust {self._tenant.org_id} 500000 --reason 'more demo calls'"
            self._terminal.line(f"  Add $5.00 with:  {_command()} {add}")
        return None

    async def _await_earlier_call(self, wallet: dict[str, Any]) -> dict[str, Any]:
        """An earlier run may have been killed in mid-call: its hold ends when the network has been asked."""
        deadline = asyncio.get_running_loop().time() + 2 * PATIENCE["sweep_silence_seconds"]  # type: ignore[operator]
        while wallet["status"] == "paused" and asyncio.get_running_loop().time() < deadline:
            self._terminal.live("an earlier call still holds credit: the network will be asked how it ended")
            await asyncio.sleep(0.5)
            wallet = await self._get("/v1/billing/wallet")
        self._terminal.live("")
        return wallet

    async def _follow(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """Print each state as its evidence arrives; the receipt when the call is settled, None if that takes long."""
        clock = asyncio.get_running_loop().time
        began, shown = clock(), 0
        while clock() - began < LONGEST_WAIT_SECONDS:
            receipt: dict[str, Any] = await self._get(f"/v1/calls/{call['id']}/receipt")
            lines = timeline_lines(receipt)
            for line in lines[shown:]:
                self._terminal.line(line)
            shown = len(lines)
            if receipt["charge_milli_cents"] is not None:
                return receipt
            simulated = max((clock() - began) * self._simulator.speed, _last_seconds(receipt))
            self._terminal.live(f"  {_minutes(simulated)}  {receipt['status'].replace('_', ' ')} …")
            await asyncio.sleep(POLL_SECONDS)
        return None


_WORDS = {"in-progress": "somebody answered", "completed": "somebody hung up"}
_ANSWERED_BY = {
    AnsweredBy.HUMAN: "a person",
    AnsweredBy.MACHINE: "a voicemail",
    AnsweredBy.FAX: "a fax",
    AnsweredBy.UNKNOWN: "nobody knows who",
}
SHORT_CALL_SECONDS = 600


def timeline_lines(receipt: dict[str, Any]) -> list[str]:
    """One line for each state that the carrier has told of, at its time since the dial."""
    told = [entry for entry in receipt["timeline"] if entry["kind"] == "status" and entry["carrier_at"] is not None]
    if not told:
        return []
    first = min(_seconds(entry["carrier_at"]) for entry in told)
    answered = next((_seconds(e["carrier_at"]) for e in told if e["said"].get("CallStatus") == "in-progress"), first)
    return list(_lines(receipt["timeline"], first, answered))


def _lines(timeline: list[dict[str, Any]], first: float, answered: float) -> Iterator[str]:
    for entry in timeline:
        said = entry["said"]
        if entry["kind"] == "verdict":
            detected = int(said.get("MachineDetectionDuration", 0)) / 1000
            who = _ANSWERED_BY[CARRIER_VERDICTS.get(said.get("AnsweredBy", ""), AnsweredBy.UNKNOWN)]
            yield f"  {_minutes(answered + detected - first)}  {'':<12} {who}, recognised after {detected:g} s"
        elif said.get("CallStatus") in CARRIER_STATUSES and entry["carrier_at"] is not None:
            status = said["CallStatus"]
            name = CARRIER_STATUSES[status].replace("_", " ")
            yield f"  {_minutes(_seconds(entry['carrier_at']) - first)}  {name:<12} {_WORDS.get(status, '')}".rstrip()


def _last_seconds(receipt: dict[str, Any]) -> float:
    """From the first to the last that the carrier has told."""
    told = [_seconds(entry["carrier_at"]) for entry in receipt["timeline"] if entry["carrier_at"] is not None]
    return told[-1] - told[0] if told else 0.0


def receipt_lines(receipt: dict[str, Any], wallet: dict[str, Any]) -> list[str]:
    """The receipt as a table: what was held, what each second was, what it cost."""
    rate = receipt["rate_milli_cents_per_minute"]
    rows: list[tuple[str, str, str] | None] = [("reserved", "", dollars_exact(receipt["hold_milli_cents"]))]
    if (rang := _ring_seconds(receipt)) is not None:
        rows.append(("rang", f"{rang} s", "free"))
    if receipt["duration_seconds"]:
        rows.append(("answered", f"{receipt['duration_seconds']} s on the line", ""))
    if receipt["detection_ms"] is not None:
        rows.append(("", f"{receipt['detection_ms'] / 1000:g} s of detection", "free"))
    connected = receipt["connected"]["seconds"]
    if connected:
        settled = dollars_exact(receipt["charge_milli_cents"] + receipt["refunded_milli_cents"])
        rows.append(("", f"{connected} s connected at {dollars_exact(rate)} a minute", settled))
    if receipt["reason"] != "billed":
        rows.append(("", receipt["reason"].replace("_", " "), ""))
    rows += [None, ("charged", "", dollars_exact(receipt["charge_milli_cents"]))]
    if receipt["refunded_milli_cents"]:
        rows.append(("refunded", "", dollars_exact(receipt["refunded_milli_cents"])))
    rows.append(("released", "", dollars_exact(receipt["released_milli_cents"])))
    rule = f"  {'─' * 52}"
    drawn = [rule if row is None else f"  {row[0]:<10} {row[1]:<32} {row[2]:>8}".rstrip() for row in rows]
    return [f"  Receipt of call {receipt['call_id']}", rule, *drawn, "", f"  {_room(wallet, rate)}"]


def _room(wallet: dict[str, Any], rate: int) -> str:
    left = wallet["calls_left"]
    short = max(0, wallet["available_milli_cents"] // hold_milli_cents(SHORT_CALL_SECONDS, rate))
    calls = "call" if left == 1 else "calls"
    return (
        f"Balance {dollars_exact(wallet['balance_milli_cents'])}: room for {left} more {calls} of the longest kind, "
        f'or {short} with "max_duration_seconds": {SHORT_CALL_SECONDS}.'
    )


def _ring_seconds(receipt: dict[str, Any]) -> int | None:
    """By the carrier's clock, which runs faster than ours."""
    at = {e["said"].get("CallStatus"): _seconds(e["carrier_at"]) for e in receipt["timeline"] if e["carrier_at"]}
    ends = [moment for status, moment in at.items() if status not in ("queued", "initiated", "ringing")]
    return round(min(ends) - at["ringing"]) if "ringing" in at and ends else None


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _command() -> str:
    """This program as it was called, so that the line can be pasted."""
    return os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("callingbox-server") else "callingbox-server"
