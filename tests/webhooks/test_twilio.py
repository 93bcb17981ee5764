"""Callbacks about outbound calls: believed only when signed, harmless when repeated, early, late or out of order."""

import asyncio
import base64
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from tests.postgres_proxy import proxy_to
from tests.servers import Organisation, Server, running_network, running_server, until
from tests.voice.test_api_calls import script
from voice.tables import evidence

TO = "+14155550123"
STATUS = {
    "initiated": {"CallStatus": "initiated"},
    "ringing": {"CallStatus": "ringing"},
    "answered": {"CallStatus": "in-progress"},
    "completed": {"CallStatus": "completed", "CallDuration": "67", "Duration": "2", "SipResponseCode": "200"},
}
HUMAN = {"AnsweredBy": "human", "MachineDetectionDuration": "3200"}
MACHINE = {"AnsweredBy": "machine_start", "MachineDetectionDuration": "4100"}


@dataclass
class Dialled:
    """A call that the carrier has taken and says nothing about by itself."""

    server: Server
    org: Organisation
    id: str
    sid: str

    def path(self, kind: str) -> str:
        return f"/webhooks/twilio/calls/{self.id}/{kind}"

    async def say(self, name: str, **changes: Any) -> httpx.Response:
        """One event of STATUS, or a verdict."""
        if name in STATUS:
            return await self.server.callback(self.path("status"), {"CallSid": self.sid, **STATUS[name]}, **changes)
        form = {"human": HUMAN, "machine": MACHINE}[name]
        return await self.server.callback(self.path("verdict"), {"CallSid": self.sid, **form}, **changes)

    async def shown(self) -> Any:
        return await self.org.get(f"/v1/calls/{self.id}")

    async def told(self) -> int:
        """How many pieces of evidence are stored, beside the dial's own."""
        async with self.server.database.read() as connection:
            query = select(func.count()).select_from(evidence).where(evidence.c.call_id == self.id)
            return int((await connection.execute(query)).scalar_one()) - 1


async def dial(server: Server, **wanted: Any) -> Dialled:
    org = await server.organisation(**wanted)
    script(server, "phone")
    assert server.network is not None
    server.network.faults = type(server.network.faults)(callback_lost=1.0)
    call = await org.call(TO)
    sid = next(reversed(server.network.calls))
    await server.converse(org, call, sid)
    return Dialled(server, org, call["id"], sid)


@pytest.fixture
async def dialled(server: Server) -> Dialled:
    return await dial(server)


@pytest.fixture
async def dialled_on_sqlite(sqlite_server: Server) -> Dialled:
    return await dial(sqlite_server)


# -- who speaks -----------------------------------------------------------------------------------------------------


async def test_what_is_not_signed_by_the_carrier_has_no_effect(dialled_on_sqlite: Dialled) -> None:
    dialled = dialled_on_sqlite
    before = await dialled.shown()
    other = await dial(dialled.server, number="+14155550101")
    for changes in (
        {"signature": None},
        {"signature": ""},
        {"signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"signature": "\u00e9".encode()},
        {"token": "another account's token"},
        {"signed_path": other.path("status")},
        {"signed_path": dialled.path("status") + "?x=1"},
        {"signed_base": "http://127.0.0.2"},  # (the carrier itself may leave the port out)
        {"signed_base": dialled.server.url.replace("http:", "https:")},
        {"headers": {"X-Twilio-Webhooks-Signature-Settings": "key=x,algorithm=HMAC_SHA256"}},
        {"headers": {"X-Twilio-Webhooks-Signature-Settings": "algorithm=none"}, "token": "x"},
    ):
        answer = await dialled.say("completed", **changes)
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature"), changes
    assert await dialled.shown() == before
    assert await dialled.told() == 0


async def test_a_changed_field_breaks_the_signature(dialled_on_sqlite: Dialled) -> None:
    dialled = dialled_on_sqlite
    signed = await dialled.server.callback(dialled.path("status"), {"CallSid": dialled.sid, **STATUS["ringing"]})
    assert signed.status_code == 204
    signature = signed.request.headers["X-Twilio-Signature"]
    forged = {"CallSid": dialled.sid, **STATUS["completed"]}
    answer = await dialled.server.callback(dialled.path("status"), forged, signature=signature)
    assert answer.status_code == 403
    added = {"CallSid": dialled.sid, **STATUS["ringing"], "CallDuration": "1"}
    assert (await dialled.server.callback(dialled.path("status"), added, signature=signature)).status_code == 403


async def test_another_account_is_turned_away_though_it_signs_with_our_token(dialled_on_sqlite: Dialled) -> None:
    form = {"CallSid": dialled_on_sqlite.sid, **STATUS["completed"], "AccountSid": "AC" + "6" * 32}
    answer = await dialled_on_sqlite.server.callback(dialled_on_sqlite.path("status"), form)
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_account")
    assert await dialled_on_sqlite.told() == 0


async def test_a_sha256_signature_with_our_key_is_accepted_for_its_own_address_alone(
    dialled_on_sqlite: Dialled,
) -> None:
    dialled = dialled_on_sqlite
    form = {"AccountSid": dialled.server.settings.carrier_account_sid, "CallSid": dialled.sid, **STATUS["ringing"]}
    said = "".join(f"{name}{form[name]}" for name in sorted(form))
    announced = {"X-Twilio-Webhooks-Signature-Settings": "key=primary,algorithm=HMAC_SHA256"}

    async def answered(path: str, key: str, headers: dict[str, str]) -> int:
        signed = (dialled.server.settings.public_base_url + path + said).encode()
        signature = base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode()
        answer = await dialled.server.callback(dialled.path("status"), form, signature=signature, headers=headers)
        return answer.status_code

    ours = dialled.server.settings.carrier_auth_token
    assert await answered(dialled.path("status"), "another account's token", announced) == 403
    assert await answered(dialled.path("verdict"), ours, announced) == 403
    assert await answered(dialled.path("status").replace(dialled.id, "another"), ours, announced) == 403
    assert await answered(dialled.path("status"), ours, {}) == 403
    assert await dialled.told() == 0
    assert await answered(dialled.path("status"), ours, announced) == 204
    assert (await dialled.shown())["status"] == "ringing"


async def test_the_signed_address_is_the_public_one_whatever_host_is_named(sqlite_url: str) -> None:
    """As behind a proxy: the public address differs from the one we listen on."""
    async with running_server(sqlite_url, PUBLIC_BASE_URL="https://calls.example.com") as server:
        path, form = "/webhooks/twilio/status", {"CallSid": "CA1", "CallStatus": "completed", "To": TO}
        assert (await server.callback(path, form)).status_code == 204
        for base, headers in (
            (server.url, {}),
            ("https://evil.example.com", {"Host": "evil.example.com"}),
            ("https://evil.example.com", {"X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}),
        ):
            answer = await server.callback(path, form, signed_base=base, headers=headers)
            assert answer.status_code == 403, base


async def test_a_query_and_blank_fields_are_part_of_what_is_signed(dialled_on_sqlite: Dialled) -> None:
    dialled = dialled_on_sqlite
    path = dialled.path("status") + "?b=2&a=%201"
    form = {"CallSid": dialled.sid, **STATUS["ringing"], "ErrorCode": "", "CallerName": ""}
    assert (await dialled.server.callback(path, form)).status_code == 204
    reordered = dialled.path("status") + "?a=%201&b=2"
    assert (await dialled.server.callback(path, form, signed_path=reordered)).status_code == 403


# -- what is said ---------------------------------------------------------------------------------------------------


async def test_every_order_of_a_calls_events_leads_to_the_same_end(server: Server) -> None:
    """All 120 orders would take long; those in which verdict and end stand anywhere say the same."""
    orders: list[tuple[str, ...]] = [("initiated", "ringing", "answered", "human", "completed")]
    orders += itertools.permutations(("answered", "human", "completed"))
    orders += [("completed", "human"), ("human", "completed"), ("completed", "ringing", "human", "initiated")]
    ends = set()
    for number, order in enumerate(orders):
        dialled = await dial(server, number=f"+141555501{60 + number}")
        for name in order:
            assert (await dialled.say(name)).status_code == 204
        shown = await dialled.shown()
        ends.add(tuple(shown[name] for name in ("status", "billing_amount_milli_cents", "answered_by")))
        assert (await dialled.org.get(f"/v1/calls/{dialled.id}/receipt"))["confirmed"] is True
    assert ends == {("completed", 5_250, "human")}


async def test_a_repeated_callback_changes_nothing_and_is_kept_once(dialled: Dialled) -> None:
    for name in ("ringing", "answered", "human", "completed"):
        answers = await asyncio.gather(*(dialled.say(name) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {204}
    shown = await dialled.shown()
    assert shown["billing_amount_milli_cents"] == 5_250
    assert await dialled.told() == 4
    retried = await dialled.say("completed", headers={"I-Twilio-Idempotency-Token": "abc"})
    assert retried.status_code == 204
    assert await dialled.shown() == shown
    kinds = [transfer["kind"] for transfer in (await dialled.org.get("/v1/billing/transfers"))["data"]]
    assert kinds == ["settle", "hold", "adjustment"]


async def test_a_machine_verdict_after_the_charge_gives_the_money_back(dialled: Dialled) -> None:
    for name in ("answered", "human", "completed"):
        await dialled.say(name)
    assert (await dialled.org.wallet())["balance_milli_cents"] == 494_750
    assert (await dialled.say("machine")).status_code == 204
    shown = await dialled.shown()
    assert (shown["status"], shown["answered_by"]) == ("completed", "machine")
    assert (shown["billing_reason"], shown["billing_amount_milli_cents"]) == ("refund_voicemail", 0)
    assert (await dialled.org.wallet())["balance_milli_cents"] == 500_000
    receipt = await dialled.org.get(f"/v1/calls/{dialled.id}/receipt")
    assert (receipt["charge_milli_cents"], receipt["refunded_milli_cents"]) == (0, 5_250)
    assert [transfer["kind"] for transfer in receipt["transfers"]] == ["hold", "settle", "refund"]
    await dialled.say("human")
    assert (await dialled.shown())["billing_reason"] == "refund_voicemail"


async def test_a_new_price_and_a_new_maximum_do_not_touch_the_call_under_way(sqlite_url: str) -> None:
    async with running_network() as network:
        async with running_server(sqlite_url, network=network) as server:
            dialled = await dial(server)
        changed = {"RATE_MILLI_CENTS_PER_MINUTE": "60000", "MAX_CALL_DURATION_SECONDS": "60"}
        async with running_server(sqlite_url, network=network, **changed) as server:
            path = f"/webhooks/twilio/calls/{dialled.id}"
            await server.callback(f"{path}/verdict", {"CallSid": dialled.sid, **HUMAN})
            await server.callback(f"{path}/status", {"CallSid": dialled.sid, **STATUS["completed"]})
            async with httpx.AsyncClient(base_url=server.url, headers=dialled.org.api.headers) as api:
                shown = (await api.get(f"/v1/calls/{dialled.id}")).json()
    assert (shown["rate_milli_cents_per_minute"], shown["hold_milli_cents"]) == (5_000, 300_000)
    assert (shown["billed_duration_seconds"], shown["billing_amount_milli_cents"]) == (63, 5_250)


async def test_a_machine_is_hung_up_on(dialled: Dialled) -> None:
    network = dialled.server.network
    assert network is not None
    await dialled.say("answered")
    await dialled.say("machine")
    await until(lambda: not network.calls[dialled.sid].is_live, "the hang-up")
    assert (await dialled.shown())["answered_by"] == "machine"


async def test_a_child_leg_is_never_billed(dialled_on_sqlite: Dialled) -> None:
    form = {"CallSid": "CA" + "9" * 32, "ParentCallSid": dialled_on_sqlite.sid, **STATUS["completed"]}
    answer = await dialled_on_sqlite.server.callback(dialled_on_sqlite.path("status"), form)
    assert answer.status_code == 204
    assert (await dialled_on_sqlite.shown())["billing_reason"] is None
    assert await dialled_on_sqlite.told() == 0


def is_live(call: dict[str, Any]) -> bool:
    """Whatever the network's own telephone has done meanwhile."""
    return call["status"] in ("initiated", "ringing", "in_progress") and call["billing_reason"] is None


async def test_a_carrier_call_belongs_to_one_call_of_ours(dialled: Dialled) -> None:
    """Two dials of which one was lost may be mistaken for each other; the second to claim it is left as it is."""
    server, network = dialled.server, dialled.server.network
    assert network is not None
    network.faults = type(network.faults)(create_error_unmade=1.0)
    await server.credit(dialled.org, 1_000_000)
    lost = await dialled.org.call("+14155550124")
    form = {"CallSid": dialled.sid, **STATUS["completed"]}
    assert (await server.callback(f"/webhooks/twilio/calls/{lost['id']}/status", form)).status_code == 204
    assert (await dialled.org.call_of(lost))["status"] == "queued"
    assert is_live(await dialled.shown())


async def test_what_is_said_of_a_call_under_another_ones_name_ends_neither(dialled: Dialled) -> None:
    server, network = dialled.server, dialled.server.network
    assert network is not None
    await server.credit(dialled.org, 1_000_000)
    other = await dialled.org.call("+14155550124")
    form = {"CallSid": dialled.sid, **STATUS["answered"]}
    assert (await server.callback(f"/webhooks/twilio/calls/{other['id']}/status", form)).status_code == 204
    await server.app.extensions["calls"].outbox.idle()
    assert network.calls[dialled.sid].is_live
    assert is_live(await dialled.shown())
    assert is_live(await dialled.org.call_of(other))


@pytest.fixture
async def ringing(sqlite_url: str) -> AsyncIterator[Dialled]:
    """It rings for a minute of real time."""
    async with running_network(speed=1.0) as network, running_server(sqlite_url, network=network) as server:
        yield await dial(server)


async def test_who_picks_up_while_the_call_is_being_hung_up_hears_nobody(ringing: Dialled) -> None:
    """Before the carrier has taken the hang-up."""
    network = ringing.server.network
    assert network is not None
    network.faults = type(network.faults)(callback_lost=1.0, verdict_lost=1.0, update_error=1.0)
    picked_up = {"CallSid": ringing.sid, **STATUS["answered"]}
    assert "<Connect" in (await ringing.server.callback(ringing.path("voice"), picked_up)).text
    await ringing.org.api.post(f"/v1/calls/{ringing.id}/hangup")
    told = (await ringing.server.callback(ringing.path("voice"), picked_up)).text
    assert ("<Hangup" in told, "<Connect" in told) == (True, False)


@pytest.fixture
async def stray(ringing: Dialled) -> str:
    """The carrier has made two calls of one dial, and cannot be told to end one."""
    dialled = ringing
    calls, network = dialled.server.app.extensions["calls"], dialled.server.network
    assert network is not None
    await calls.outbox._carrier.dial(await calls.find(dialled.id))
    sid = next(reversed(network.calls))
    network.faults = type(network.faults)(callback_lost=1.0, verdict_lost=1.0, update_error=1.0)
    return sid


async def stray_tells(dialled: Dialled, sid: str) -> list[str]:
    """It rings; gives the kinds of all alerts from then on."""
    alerts: list[str] = []
    dialled.server.app.extensions["calls"].outbox.alerted.append(lambda alert: alerts.append(alert.kind))
    form = {"CallSid": sid, **STATUS["ringing"]}
    assert (await dialled.server.callback(dialled.path("status"), form)).status_code == 204
    return alerts


async def test_a_second_call_of_the_carrier_is_hung_up_until_it_has_ended(
    ringing: Dialled, stray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled = ringing
    monkeypatch.setattr("voice.outbox.STRAY_RETRY_SECONDS", (0.05,) * 400)
    network = dialled.server.network
    assert network is not None
    alerts = await stray_tells(dialled, stray)
    await asyncio.sleep(0.3)
    assert network.calls[stray].is_live
    network.faults = type(network.faults)(callback_lost=1.0, verdict_lost=1.0)
    await until(lambda: not network.calls[stray].is_live, "its end")
    await until(lambda: not dialled.server.app.extensions["calls"].outbox._strays)
    assert alerts == ["stray_call"]
    assert is_live(await dialled.shown())
    assert network.calls[dialled.sid].is_live


async def test_a_second_call_of_the_carrier_that_cannot_be_ended_is_left_to_a_person(
    ringing: Dialled, stray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice.outbox.STRAY_RETRY_SECONDS", (0.01, 0.01))
    alerts = await stray_tells(ringing, stray)
    await until(lambda: len(alerts) == 2, "the alert")
    assert alerts == ["stray_call", "stray_call_up"]


async def test_who_picked_up_a_child_leg_says_nothing_of_the_call(dialled_on_sqlite: Dialled) -> None:
    form = {"CallSid": "CA" + "9" * 32, "ParentCallSid": dialled_on_sqlite.sid, **MACHINE}
    assert (await dialled_on_sqlite.server.callback(dialled_on_sqlite.path("verdict"), form)).status_code == 204
    assert (await dialled_on_sqlite.shown())["answered_by"] is None
    assert await dialled_on_sqlite.told() == 0


async def test_a_second_carrier_call_that_claims_to_be_ours_is_ended_and_free(dialled_on_sqlite: Dialled) -> None:
    form = {"CallSid": "CA" + "9" * 32, **STATUS["completed"]}
    answer = await dialled_on_sqlite.server.callback(dialled_on_sqlite.path("status"), form)
    assert answer.status_code == 204
    assert is_live(await dialled_on_sqlite.shown())


async def test_fields_and_values_that_are_not_documented_are_told_apart(dialled_on_sqlite: Dialled) -> None:
    dialled = dialled_on_sqlite
    more = {"CallSid": dialled.sid, **STATUS["ringing"], "NewField": "x", "SequenceNumber": "0", "Timestamp": "soon"}
    assert (await dialled.server.callback(dialled.path("status"), more)).status_code == 204
    for kind, form, field in (
        ("status", {"CallStatus": "levitating"}, "CallStatus"),
        ("status", {}, "CallStatus"),
        ("status", {"CallStatus": "completed", "CallDuration": "-1"}, "CallDuration"),
        ("status", {"CallStatus": "completed", "CallDuration": "1e3"}, "CallDuration"),
        ("status", {"CallStatus": "completed", "CallDuration": "9" * 20}, "CallDuration"),
        ("status", {"CallStatus": "completed", "CallDuration": "٣"}, "CallDuration"),
        ("status", {"CallStatus": "completed", "CallSid": ""}, "CallSid"),
        ("status", {"CallStatus": "completed", "CallSid": "CA\x00"}, "CallSid"),
        ("status", {"CallStatus": "completed", "CallSid": "CA" + "1" * 100}, "CallSid"),
        ("status", {"CallStatus": "completed", "SipResponseCode": "\x00"}, "SipResponseCode"),
        ("verdict", {"AnsweredBy": "parrot"}, "AnsweredBy"),
        ("verdict", {"AnsweredBy": "human", "MachineDetectionDuration": "soon"}, "MachineDetectionDuration"),
    ):
        answer = await dialled.server.callback(dialled.path(kind), {"CallSid": dialled.sid, **form})
        assert (answer.status_code, answer.json()["field"]) == (400, field), form
    assert (await dialled.shown())["status"] == "ringing"
    assert await dialled.told() == 1


async def test_a_callback_about_a_call_we_do_not_know_is_taken_and_forgotten(dialled_on_sqlite: Dialled) -> None:
    path = f"/webhooks/twilio/calls/{dialled_on_sqlite.id[:-4]}0000/status"
    form = {"CallSid": "CA1", **STATUS["completed"]}
    assert (await dialled_on_sqlite.server.callback(path, form)).status_code == 204


async def test_an_outbound_call_is_answered_with_words_and_a_stray_one_with_a_hang_up(dialled: Dialled) -> None:
    spoken = await dialled.server.callback(dialled.path("voice"), {"CallSid": dialled.sid, "CallStatus": "in-progress"})
    assert spoken.status_code == 200
    assert spoken.headers["Content-Type"].startswith("text/xml")
    assert "<Say>" in spoken.text or "<Connect" in spoken.text
    stray = await dialled.server.callback(dialled.path("voice"), {"CallSid": "CA9", "CallStatus": "in-progress"})
    assert "<Hangup" in stray.text
    await dialled.say("completed")
    await dialled.say("human")
    late = await dialled.server.callback(dialled.path("voice"), {"CallSid": dialled.sid, "CallStatus": "in-progress"})
    assert "<Hangup" in late.text


async def test_while_the_database_is_away_callbacks_are_asked_for_again_and_then_count(
    postgres_url: str, tmp_path: Path
) -> None:
    async with (
        proxy_to(postgres_url, tmp_path) as proxy,
        running_network() as network,
        running_server(proxy.url, network=network) as server,
    ):
        dialled = await dial(server)
        await proxy.cut()
        for name in ("answered", "human", "completed"):
            refused = await dialled.say(name)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        voice = await server.callback(dialled.path("voice"), {"CallSid": dialled.sid, "CallStatus": "in-progress"})
        assert voice.status_code == 503
        api = await dialled.org.api.get(f"/v1/calls/{dialled.id}")
        assert (api.status_code, api.json()["code"]) == (503, "over_capacity")
        async with httpx.AsyncClient(base_url=server.url) as anyone:
            assert (await anyone.get("/healthz")).status_code == 200
            assert (await anyone.get("/readyz")).status_code == 503
        await proxy.mend()
        for name in ("answered", "human", "completed"):
            assert (await dialled.say(name)).status_code == 204
        assert (await dialled.shown())["billing_amount_milli_cents"] == 5_250
        assert await dialled.told() == 3
