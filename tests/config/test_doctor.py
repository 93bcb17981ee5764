"""What the doctor says of good and bad set-ups."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from config.doctor import Check, Examination, doctor
from config.settings import Settings
from simulator import app as simulator_app
from simulator.calls import Hook
from simulator.network import Network
from tests.databases import alter, sqlite_url
from tests.servers import create_organisation, opened_door, running_network, settings_of

SID, TOKEN, SECRET = "AC" + "1" * 32, "geheim" * 6, "geheim-0123456789"
PUBLIC = "https://voice.example.com"
NUMBER = "+14155550100"


@pytest.fixture
async def with_number(sqlite_url: str) -> str:
    """A database with an organisation that has an active number."""
    async with opened_door(sqlite_url) as door:
        organisation = await create_organisation("http://127.0.0.1", door, number=NUMBER)
        await organisation.api.aclose()
    return sqlite_url


@pytest.fixture
def network() -> Network:
    """A network that answers as Twilio does, with the number set up as it should be."""
    app = simulator_app.create_app(simulator_app.Options(account_sid=SID, auth_token=TOKEN, numbers=(), seed=1))
    made: Network = app.extensions["network"]
    made.add_number(
        NUMBER,
        "ours",
        voice=Hook(f"{PUBLIC}/webhooks/twilio/voice"),
        status_callback=Hook(f"{PUBLIC}/webhooks/twilio/status"),
    )
    made.app = app  # type: ignore[attr-defined]
    return made


def going_live(database_url: str, **changes: str) -> Settings:
    return settings_of(
        {
            "DATABASE_URL": database_url,
            "PUBLIC_BASE_URL": PUBLIC,
            "SECRET_KEY": SECRET,
            "PROXIES": "1",
            "TWILIO_ACCOUNT_SID": SID,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "STRIPE_SECRET_KEY": "sk_live_geheim",
            "STRIPE_WEBHOOK_SECRETS": "whsec_geheim",
            **changes,
        }
    )


async def ready(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"status": "ok"})


async def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no route")


async def checks(settings: Settings, twilio: Network | httpx.MockTransport, ours: Any = ready) -> AsyncIterator[Check]:
    """The checks with Twilio and our own public address in reach, wherever this runs."""
    carrier = httpx.ASGITransport(twilio.app) if isinstance(twilio, Network) else twilio  # type: ignore[attr-defined]
    mounts = {"https://api.twilio.com": carrier, "https://": httpx.MockTransport(ours)}
    async with httpx.AsyncClient(mounts=mounts) as http:
        async for check in Examination(settings, http).checks(set_webhooks=False):
            assert "geheim" not in check.words
            yield check


async def to_mend(settings: Settings, twilio: Network | httpx.MockTransport, ours: Any = ready) -> dict[str, str]:
    return {check.name: check.words async for check in checks(settings, twilio, ours) if check.mend}


async def test_nothing_is_to_be_mended_where_all_is_set_up(with_number: str, network: Network) -> None:
    found = [check async for check in checks(going_live(with_number), network)]
    assert [check for check in found if check.mend] == []
    assert [check.name for check in found] == [
        "secret key",
        "database",
        "public address",
        "proxies",
        "carrier",
        "clock",
        f"number {NUMBER}",
        "payments",
    ]
    assert "live" in found[-1].words


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://voice.example.com", "https"),
        ("https://127.0.0.1:8000", "cannot reach it"),
        ("https://10.0.0.7", "cannot reach it"),
        ("https://localhost", "cannot reach it"),
        ("https://server.internal", "cannot reach it"),
    ],
)
async def test_the_carrier_must_reach_the_public_address(
    with_number: str, network: Network, url: str, said: str
) -> None:
    settings = going_live(with_number, STRIPE_SECRET_KEY="").model_copy(update={"public_base_url": url})
    assert said in (await to_mend(settings, network))["public address"]


@pytest.mark.parametrize("answer", [away, lambda request: _answer(502), lambda request: _answer(200, "a shop")])
async def test_our_server_must_answer_at_the_public_address(with_number: str, network: Network, answer: Any) -> None:
    mended = await to_mend(going_live(with_number), network, answer)
    assert list(mended) == ["public address"]


async def test_behind_a_proxy_visitors_must_be_told_apart(with_number: str, network: Network) -> None:
    mended = await to_mend(going_live(with_number, PROXIES="0"), network)
    assert list(mended) == ["proxies"]
    assert "X-Forwarded-For" in mended["proxies"]


async def _answer(status: int, words: str = "") -> httpx.Response:
    return httpx.Response(status, text=words)


async def test_wrong_credentials_are_named_and_not_shown(with_number: str, network: Network) -> None:
    settings = going_live(with_number, TWILIO_AUTH_TOKEN="geheim, but wrong")
    mended = await to_mend(settings, network)
    assert "TWILIO_AUTH_TOKEN" in mended["carrier"]
    assert list(mended) == ["carrier"]


def carrier_says(code: int, headers: dict[str, str] | None = None, **account: str) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        numbers: dict[str, Any] = {"incoming_phone_numbers": [], "next_page_uri": None}
        listed = "IncomingPhoneNumbers" in request.url.path
        return httpx.Response(code, json=numbers if listed else account, headers=headers)

    return httpx.MockTransport(answer)


async def test_a_suspended_account_is_to_be_mended(sqlite_url: str) -> None:
    mended = await to_mend(going_live(sqlite_url), carrier_says(200, status="suspended"))
    assert "suspended" in mended["carrier"]


async def test_a_trial_account_is_told_what_it_can_do(sqlite_url: str) -> None:
    found = checks(going_live(sqlite_url), carrier_says(200, status="active", type="Trial"))
    assert "verified numbers only" in {check.name: check.words async for check in found}["carrier"]


async def test_a_carrier_out_of_reach_or_out_of_order_is_to_be_mended(sqlite_url: str) -> None:
    assert "ConnectError" in (await to_mend(going_live(sqlite_url), httpx.MockTransport(away)))["carrier"]
    assert "503" in (await to_mend(going_live(sqlite_url), carrier_says(503)))["carrier"]


@pytest.mark.parametrize(("seconds", "said"), [(120, "behind"), (-120, "ahead of")])
async def test_a_clock_that_is_wrong_is_told_by_how_much(sqlite_url: str, seconds: int, said: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    mended = await to_mend(going_live(sqlite_url), carrier_says(200, {"Date": date}, status="active"))
    assert said in mended["clock"]
    [told] = [int(word) for word in mended["clock"].split() if word.isdigit()]
    assert abs(told - 120) <= 10  # a second of the header, and however slow this machine is


async def test_each_number_must_come_here(with_number: str, network: Network) -> None:
    number = network.numbers[NUMBER]
    number.voice = Hook("https://elsewhere.example.com/voice")
    mended = await to_mend(going_live(with_number), network)
    assert f"voice URL to POST {PUBLIC}/webhooks/twilio/voice" in mended[f"number {NUMBER}"]
    assert "status callback" not in mended[f"number {NUMBER}"]
    number.voice, number.status_callback = Hook(f"{PUBLIC}/webhooks/twilio/voice", "GET"), None
    mended = await to_mend(going_live(with_number), network)
    assert "voice URL" in mended[f"number {NUMBER}"]
    assert "status callback" in mended[f"number {NUMBER}"]
    del network.numbers[NUMBER]
    assert "no such number" in (await to_mend(going_live(with_number), network))[f"number {NUMBER}"]


async def test_the_numbers_of_a_large_account_are_all_looked_at(with_number: str, network: Network) -> None:
    for area in range(200, 212):
        for last in range(100):
            network.add_number(f"+1{area}55501{last:02d}", "another")
    assert await to_mend(going_live(with_number), network) == {}


async def test_payments_need_their_webhook_secret(with_number: str, network: Network) -> None:
    changes = {"STRIPE_SECRET_KEY": "sk_test_geheim", "STRIPE_WEBHOOK_SECRETS": "", "ALLOW_TEST_PAYMENTS": "true"}
    mended = await to_mend(going_live(with_number, **changes), network)
    assert f"{PUBLIC}/webhooks/stripe" in mended["payments"]


async def test_an_older_schema_is_to_be_migrated(sqlite_url: str, network: Network) -> None:
    older = text("update alembic_version set version_num = '0000'")
    await alter(sqlite_url, lambda connection: connection.execute(older))
    assert "callingbox-server migrate" in (await to_mend(going_live(sqlite_url), network))["database"]


async def test_a_database_without_schema_or_out_of_reach_is_to_be_mended(postgres_url: str, network: Network) -> None:
    assert "callingbox-server migrate" in (await to_mend(going_live(postgres_url), network))["database"]
    nowhere = "postgresql+asyncpg://someone:geheim@127.0.0.1:1/callingbox"
    assert "cannot be reached" in (await to_mend(going_live(nowhere), network))["database"]


async def test_a_public_server_needs_a_secret_key(tmp_path: Path, network: Network) -> None:
    settings = settings_of({"PUBLIC_BASE_URL": PUBLIC, "DATABASE_URL": sqlite_url(tmp_path / "none.db")})
    mended = await to_mend(settings.model_copy(update={"twilio_api_base_url": "https://api.twilio.com"}), network)
    assert "SECRET_KEY" in mended["secret key"]


async def test_a_newcomers_machine_is_well(with_number: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with running_network() as (url, _):
        settings = settings_of({"DATABASE_URL": with_number, "TWILIO_API_BASE_URL": url})
        assert await doctor(settings) == 1
        assert "--set-webhooks" in capsys.readouterr().out
        assert await doctor(settings, set_webhooks=True) == 0
    output = capsys.readouterr().out
    assert [line[:5].strip() for line in output.splitlines()] == ["ok"] * 8 + ["All i"]


async def test_before_anything_was_started_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"DATABASE_URL": sqlite_url(tmp_path / "none.db"), "TWILIO_API_BASE_URL": "http://127.0.0.1:1"}
    assert await doctor(settings_of(environment)) == 0
    assert "serve makes it" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
