"""The environment, checked once at start.

Invariant: after `load` every value is usable as it stands; what is wrong ends the start with one line per fault, and
no secret ever appears in one of them.
"""

import sys
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from billing.rating import LONGEST_MAXIMUM_SECONDS, SHORTEST_MAXIMUM_SECONDS, Terms, hold_milli_cents

SIMULATOR_URL = "http://127.0.0.1:8010"
SIMULATED_SMTP_URL = "smtp://127.0.0.1:8025"
TWILIO_API_URL = "https://api.twilio.com"
OPENAI_API_URL = "https://api.openai.com/v1"
STRIPE_API_URL = "https://api.stripe.com"
SIMULATED_ACCOUNT_SID = "AC" + "5" * 32
SIMULATED_SECRET = "simulated-only-works-on-loopback"  # noqa: S105 (opens nothing but the simulator)
SIMULATED_STRIPE_KEY = "sk_test_simulated"  # opens nothing but the simulator
SIMULATED_STRIPE_WEBHOOK_SECRET = "whsec_simulated"  # noqa: S105 (as above)
LIVE_KEYS = ("sk_live_", "rk_live_")
MINIMUM_SECRET_LENGTH = 16


class Settings(BaseSettings):
    """Names are the environment's, in lower case. Durations in the unit their name ends with."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,  # a variable that is there but empty is not set
        extra="ignore",
        str_strip_whitespace=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        frozen=True,
    )

    database_url: str = Field("sqlite+aiosqlite:///callingbox.db", repr=False)  # may carry a password
    public_base_url: str = "http://127.0.0.1:8000"
    secret_key: SecretStr = SecretStr("")
    twilio_account_sid: str = ""
    twilio_auth_token: SecretStr = SecretStr("")
    twilio_api_base_url: str = ""
    stripe_secret_key: SecretStr = SecretStr("")
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    stripe_api_base_url: str = ""
    allow_test_payments: bool = False
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""
    openai_model: str = "gpt-4o-mini"
    smtp_url: SecretStr = SecretStr("")
    rate_milli_cents_per_minute: int = Field(5_000, ge=0, le=10_000_000)
    max_call_duration_seconds: int = Field(3_600, ge=SHORTEST_MAXIMUM_SECONDS, le=LONGEST_MAXIMUM_SECONDS)
    free_credit_milli_cents: int = Field(500_000, ge=0)
    amd_grace_seconds: float = Field(15, ge=0, le=600)
    sweep_interval_seconds: float = Field(60, gt=0)
    sweep_silence_seconds: float = Field(300, ge=0)
    rate_limit_per_minute: int = Field(600, ge=0)
    allowed_countries: Annotated[tuple[str, ...], NoDecode] = ("US", "CA")
    proxies: int = Field(0, ge=0, le=10)
    allow_private_urls: bool = False
    metrics_token: SecretStr = SecretStr("")
    alert_email: str = ""
    alert_webhook_url: str = Field("", repr=False)  # often a secret in itself
    log_level: str = "INFO"

    @field_validator("stripe_webhook_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_countries", mode="before")
    @classmethod
    def _split_countries(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        codes = tuple(part.strip().upper() for part in value.split(",") if part.strip())
        wrong = [code for code in codes if len(code) != 2 or not code.isalpha()]
        if wrong or not codes:
            raise ValueError("must be two-letter country codes with commas between them, for example US,CA")
        return codes

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        if not value.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            raise ValueError("must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        try:
            database = make_url(value).database
        except (ArgumentError, ValueError):
            raise ValueError("is not the address of a database") from None
        if database in (None, "", ":memory:"):
            raise ValueError("must name a database; one in memory cannot be shared")
        return value

    @field_validator(
        "public_base_url", "twilio_api_base_url", "stripe_api_base_url", "openai_base_url", "alert_webhook_url"
    )
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value:
            try:
                parts, port = urlsplit(value), urlsplit(value).port
            except ValueError:
                raise ValueError("must be an address like https://example.com") from None
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or parts.query
                or parts.fragment
                or port == 0
            ):
                raise ValueError("must be an address like https://example.com")
            if "_" in parts.hostname:
                raise ValueError("must not have an underscore in the host name: Twilio refuses such callbacks")
        return value.rstrip("/")

    @field_validator("smtp_url")
    @classmethod
    def _mail_address(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if value.get_secret_value() and (parts.scheme not in ("smtp", "smtps") or not parts.hostname):
            raise ValueError("must be like smtp://user:password@mail.example.com:587")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value.upper()

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        faults = list(self._faults())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        """What is wrong with values that are each right, a line each."""
        if hold_milli_cents(SHORTEST_MAXIMUM_SECONDS, self.rate_milli_cents_per_minute) < 1:
            yield "RATE_MILLI_CENTS_PER_MINUTE: a hold must be at least 1 milli-cent"
        if bool(self.twilio_account_sid) != bool(self.twilio_auth_token.get_secret_value()):
            yield "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: set both, or neither for the simulated network"
        if self.real_network and len(self.secret_key.get_secret_value()) < MINIMUM_SECRET_LENGTH:
            yield f"SECRET_KEY: set it to at least {MINIMUM_SECRET_LENGTH} random characters"
        yield from self._key_faults()

    def _key_faults(self) -> Iterator[str]:
        """A live key beside a test set-up would move real money by mistake; a test key beside a live one gives real
        calls for payments that never happened."""
        key = self.stripe_secret_key.get_secret_value()
        if key and not key.startswith(("sk_test_", "rk_test_", *LIVE_KEYS)):
            yield "STRIPE_SECRET_KEY: must begin with sk_test_ or sk_live_"
        elif self.bank_livemode:
            yield from self._live_key_faults()
        elif key and self.real_network and not self.allow_test_payments:
            yield (
                "STRIPE_SECRET_KEY: a test key beside the real telephone network sells real calls for test cards; use "
                "a live key, or set ALLOW_TEST_PAYMENTS=true while nobody else can sign up"
            )

    def _live_key_faults(self) -> Iterator[str]:
        if self.stripe_api_base_url not in ("", STRIPE_API_URL):
            yield "STRIPE_SECRET_KEY: a live key works only with Stripe's own address; unset STRIPE_API_BASE_URL"
        if not self.real_network:
            yield (
                "STRIPE_SECRET_KEY: a live key beside the simulated telephone network; set the Twilio keys and unset "
                "TWILIO_API_BASE_URL"
            )
        if urlsplit(self.public_base_url).scheme != "https":
            yield "STRIPE_SECRET_KEY: a live key needs a public https address; set PUBLIC_BASE_URL"
        secrets = self.bank_webhook_secrets
        if not secrets or SIMULATED_STRIPE_WEBHOOK_SECRET in secrets:
            yield "STRIPE_WEBHOOK_SECRETS: a live key needs the signing secret of your webhook at Stripe"

    @property
    def simulated_network(self) -> bool:
        """No Twilio keys: the telephone network is the simulator on loopback."""
        return not self.twilio_account_sid

    @property
    def real_network(self) -> bool:
        """Calls reach real telephones. (Neither this nor simulated: Twilio keys for a stand-in at another address.)"""
        return bool(self.twilio_account_sid) and not self.twilio_api_base_url

    @property
    def simulator_url(self) -> str:
        """Of the simulated network, and of bank and model beside it."""
        return (self.simulated_network and self.twilio_api_base_url) or SIMULATOR_URL

    @property
    def simulated_bank(self) -> bool:
        """No Stripe key: the bank is the simulator on loopback."""
        return not self.stripe_secret_key.get_secret_value()

    @property
    def takes_payments(self) -> bool:
        """A simulated bank beside the real network would sell real calls for nothing, so there is none."""
        return not (self.simulated_bank and self.real_network)

    @property
    def bank_key(self) -> str:
        return self.stripe_secret_key.get_secret_value() or SIMULATED_STRIPE_KEY

    @property
    def bank_livemode(self) -> bool:
        return self.stripe_secret_key.get_secret_value().startswith(LIVE_KEYS)

    @property
    def bank_base_url(self) -> str:
        return self.stripe_api_base_url or (f"{self.simulator_url}/stripe" if self.simulated_bank else STRIPE_API_URL)

    @property
    def checkout_origin(self) -> str:
        """Where customers pay."""
        own = urlsplit(self.bank_base_url)
        return "https://checkout.stripe.com" if self.bank_base_url == STRIPE_API_URL else f"{own.scheme}://{own.netloc}"

    @property
    def bank_webhook_secrets(self) -> tuple[str, ...]:
        """Signatures of any of these are believed; several during a rotation. None where no payments are taken."""
        given = tuple(secret.get_secret_value() for secret in self.stripe_webhook_secrets)
        simulated = (SIMULATED_STRIPE_WEBHOOK_SECRET,) if self.simulated_bank and self.takes_payments else ()
        return given or simulated

    @property
    def model_base_url(self) -> str:
        """Of the language model: as set, else OpenAI's own with a key, else the simulator's. Empty: there is none."""
        if self.openai_base_url or self.openai_api_key.get_secret_value():
            return self.openai_base_url or OPENAI_API_URL
        return f"{self.simulator_url}/openai/v1" if self.simulated_network else ""

    @property
    def has_model(self) -> bool:
        """Without a model, calls are answered with a greeting and nothing more."""
        return bool(self.model_base_url)

    @property
    def carrier_account_sid(self) -> str:
        return self.twilio_account_sid or SIMULATED_ACCOUNT_SID

    @property
    def carrier_auth_token(self) -> str:
        return self.twilio_auth_token.get_secret_value() or SIMULATED_SECRET

    @property
    def carrier_base_url(self) -> str:
        return self.simulator_url if self.simulated_network else self.twilio_api_base_url or TWILIO_API_URL

    @property
    def mail_url(self) -> str:
        """Where mail goes, empty for nowhere; the simulator has a mailbox."""
        return self.smtp_url.get_secret_value() or (SIMULATED_SMTP_URL if self.simulated_network else "")

    @property
    def terms(self) -> Terms:
        return Terms(self.rate_milli_cents_per_minute, self.max_call_duration_seconds)

    @property
    def signing_secret(self) -> str:
        """For session cookies and confirmation links."""
        return self.secret_key.get_secret_value() or SIMULATED_SECRET


class BadSettings(Exception):
    """The environment cannot be used. `faults`: one line each, without secrets."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load() -> Settings:
    """Read and check the environment. Raises BadSettings."""
    try:
        return Settings()
    except ValidationError as error:
        raise BadSettings([line for fault in error.errors() for line in _lines(fault["loc"], fault["msg"])]) from None


def load_or_exit() -> Settings:
    """For a process whose starter shows only its output: one line per fault on standard error, exit code 1."""
    try:
        return load()
    except BadSettings as error:
        sys.stderr.writelines(f"callingbox-server: {fault}\n" for fault in error.faults)
        raise SystemExit(1) from None


def _lines(location: tuple[int | str, ...], message: str) -> list[str]:
    text = message.removeprefix("Value error, ")
    return [f"{str(location[0]).upper()}: {text[0].lower()}{text[1:]}"] if location else text.splitlines()
