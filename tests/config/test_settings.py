"""The environment: every variable read, every fault named in a line of its own, no secret ever shown."""

from typing import Any

import pytest

from config.settings import SIMULATED_ACCOUNT_SID, BadSettings, Settings
from tests.servers import settings_of

SECRET = "geheim-0123456789abcdef"
TWILIO = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "t" * 32, "SECRET_KEY": SECRET}
LIVE = {
    **TWILIO,
    "PUBLIC_BASE_URL": "https://voice.example.com",
    "STRIPE_SECRET_KEY": "sk_live_" + SECRET,
    "STRIPE_WEBHOOK_SECRETS": "whsec_" + SECRET,
}

DEFAULTS: dict[str, Any] = {
    "database_url": "sqlite+aiosqlite:///callingbox.db",
    "public_base_url": "http://127.0.0.1:8000",
    "carrier_base_url": "http://127.0.0.1:8010",
    "carrier_account_sid": SIMULATED_ACCOUNT_SID,
    "rate_milli_cents_per_minute": 5_000,
    "max_call_duration_seconds": 3_600,
    "free_credit_milli_cents": 500_000,
    "amd_grace_seconds": 15,
    "sweep_interval_seconds": 60,
    "sweep_silence_seconds": 300,
    "rate_limit_per_minute": 600,
    "allowed_countries": ("US", "CA"),
    "allow_private_urls": False,
    "log_level": "INFO",
}

GIVEN: list[tuple[str, str, Any]] = [
    ("DATABASE_URL", "postgresql+asyncpg://u:p@db.example.com/x", "postgresql+asyncpg://u:p@db.example.com/x"),
    ("PUBLIC_BASE_URL", "https://voice.example.com/", "https://voice.example.com"),
    ("TWILIO_API_BASE_URL", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    ("STRIPE_API_BASE_URL", "http://127.0.0.1:9000/stripe", "http://127.0.0.1:9000/stripe"),
    ("OPENAI_BASE_URL", "https://models.example.com/v1", "https://models.example.com/v1"),
    ("OPENAI_MODEL", "small", "small"),
    ("RATE_MILLI_CENTS_PER_MINUTE", "7000", 7_000),
    ("MAX_CALL_DURATION_SECONDS", "600", 600),
    ("FREE_CREDIT_MILLI_CENTS", "0", 0),
    ("AMD_GRACE_SECONDS", "0.5", 0.5),
    ("SWEEP_INTERVAL_SECONDS", "0.25", 0.25),
    ("SWEEP_SILENCE_SECONDS", "2", 2),
    ("RATE_LIMIT_PER_MINUTE", "0", 0),
    ("PROXIES", "2", 2),
    ("ALLOWED_COUNTRIES", "us, de ,", ("US", "DE")),
    ("ALLOW_PRIVATE_URLS", "true", True),
    ("LOG_LEVEL", "debug", "DEBUG"),
]
SECRETS = ("SECRET_KEY", "TWILIO_AUTH_TOKEN", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "OPENAI_API_KEY")

FAULTS = [
    ("DATABASE_URL", "mysql://u:geheim@db.example.com/x"),
    ("DATABASE_URL", "postgresql+asyncpg://u:geheim@db.example.com:port/x"),
    ("DATABASE_URL", "postgresql+asyncpg://u:geheim@db.example.com"),
    ("DATABASE_URL", "sqlite+aiosqlite:///"),
    ("DATABASE_URL", "sqlite+aiosqlite:///:memory:"),
    ("PUBLIC_BASE_URL", "voice.example.com"),
    ("PUBLIC_BASE_URL", "ftp://voice.example.com"),
    ("PUBLIC_BASE_URL", "https://voice.example.com?x=geheim"),
    ("PUBLIC_BASE_URL", "https://voice.example.com:99999"),
    ("PUBLIC_BASE_URL", "https://[voice"),
    ("PUBLIC_BASE_URL", "https://my_voice.example.com"),
    ("TWILIO_API_BASE_URL", "localhost:9000"),
    ("STRIPE_API_BASE_URL", "localhost:9000"),
    ("OPENAI_BASE_URL", "localhost:9000"),
    ("STRIPE_SECRET_KEY", "geheim"),
    ("SMTP_URL", "mail.example.com:geheim"),
    ("RATE_MILLI_CENTS_PER_MINUTE", "five"),
    ("RATE_MILLI_CENTS_PER_MINUTE", "0"),
    ("RATE_MILLI_CENTS_PER_MINUTE", "-5000"),
    ("MAX_CALL_DURATION_SECONDS", "59"),
    ("MAX_CALL_DURATION_SECONDS", "3601"),
    ("FREE_CREDIT_MILLI_CENTS", "-1"),
    ("AMD_GRACE_SECONDS", "-1"),
    ("SWEEP_INTERVAL_SECONDS", "0"),
    ("SWEEP_INTERVAL_SECONDS", "inf"),
    ("SWEEP_SILENCE_SECONDS", "nan"),
    ("RATE_LIMIT_PER_MINUTE", "-1"),
    ("RATE_LIMIT_PER_MINUTE", "many"),
    ("PROXIES", "-1"),
    ("ALLOWED_COUNTRIES", "USA"),
    ("ALLOWED_COUNTRIES", ","),
    ("ALLOW_PRIVATE_URLS", "perhaps"),
    ("LOG_LEVEL", "loud"),
]


def faults_of(environment: dict[str, str]) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        settings_of(environment)
    assert "geheim" not in str(caught.value)
    assert "geheim" not in repr(caught.value)
    return caught.value.faults


def test_an_empty_environment_is_a_simulated_network_on_this_machine() -> None:
    settings = settings_of({})
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert settings.simulated_network
    assert settings.simulated_bank


@pytest.mark.parametrize(("name", "value", "expected"), GIVEN)
def test_every_variable_is_read(name: str, value: str, expected: Any) -> None:
    assert getattr(settings_of({name: value}), name.lower()) == expected


@pytest.mark.parametrize("name", [name for name, _, _ in GIVEN])
def test_a_variable_that_is_empty_is_not_set(name: str) -> None:
    assert getattr(settings_of({name: ""}), name.lower()) == getattr(settings_of({}), name.lower())


@pytest.mark.parametrize(("name", "value"), FAULTS)
def test_a_bad_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    [fault] = faults_of({name: value})
    assert fault.startswith(f"{name}: ")
    assert "\n" not in fault


def test_each_fault_has_a_line_of_its_own() -> None:
    faults = faults_of({"LOG_LEVEL": "loud", "RATE_LIMIT_PER_MINUTE": "many", "PUBLIC_BASE_URL": "nowhere"})
    assert sorted(fault.partition(":")[0] for fault in faults) == [
        "LOG_LEVEL",
        "PUBLIC_BASE_URL",
        "RATE_LIMIT_PER_MINUTE",
    ]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"TWILIO_ACCOUNT_SID": "AC1", "SECRET_KEY": SECRET}, ["TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"]),
        ({"TWILIO_AUTH_TOKEN": "geheim"}, ["TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"]),
        ({**TWILIO, "SECRET_KEY": ""}, ["SECRET_KEY"]),
        ({**TWILIO, "SECRET_KEY": "geheim"}, ["SECRET_KEY"]),
        ({**TWILIO, "STRIPE_SECRET_KEY": "sk_test_geheim"}, ["STRIPE_SECRET_KEY"]),
        ({**LIVE, "STRIPE_WEBHOOK_SECRETS": ""}, ["STRIPE_WEBHOOK_SECRETS"]),
        ({**LIVE, "PUBLIC_BASE_URL": "http://voice.example.com"}, ["STRIPE_SECRET_KEY"]),
        ({**LIVE, "STRIPE_API_BASE_URL": "http://127.0.0.1:9000"}, ["STRIPE_SECRET_KEY"]),
        ({"STRIPE_SECRET_KEY": "sk_live_geheim"}, ["STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS"]),
    ],
)
def test_values_that_do_not_fit_together_are_refused(given: dict[str, str], named: list[str]) -> None:
    assert [fault.partition(":")[0] for fault in faults_of(given)] == named


def test_with_keys_the_same_code_talks_to_the_vendors() -> None:
    settings = settings_of(LIVE)
    assert settings.carrier_base_url == "https://api.twilio.com"
    assert settings.carrier_account_sid == TWILIO["TWILIO_ACCOUNT_SID"]
    assert settings.carrier_auth_token == TWILIO["TWILIO_AUTH_TOKEN"]
    assert settings.bank_webhook_secrets == (LIVE["STRIPE_WEBHOOK_SECRETS"],)
    assert settings.real_network
    assert settings.bank_livemode


def test_several_webhook_secrets_stand_side_by_side_during_a_rotation() -> None:
    settings = settings_of({**LIVE, "STRIPE_WEBHOOK_SECRETS": " whsec_old0, ,whsec_new0 "})
    assert settings.bank_webhook_secrets == ("whsec_old0", "whsec_new0")


def test_a_secret_is_kept_but_never_shown() -> None:
    environment = {**LIVE, "OPENAI_API_KEY": SECRET, "DATABASE_URL": "postgresql+asyncpg://u:geheim@db.example.com/x"}
    shown = repr(settings_of(environment)) + str(settings_of(environment))
    assert "geheim" not in shown
    assert TWILIO["TWILIO_AUTH_TOKEN"] not in shown


@pytest.mark.parametrize("name", SECRETS)
def test_space_around_a_pasted_secret_does_not_count(name: str) -> None:
    settings: Settings = settings_of({**LIVE, name: f" {LIVE.get(name, 'x' * 20)}\n"})
    kept = getattr(settings, name.lower())
    assert [secret.get_secret_value() for secret in (kept if isinstance(kept, tuple) else (kept,))] == [
        LIVE.get(name, "x" * 20)
    ]
