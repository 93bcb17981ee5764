"""Live and test set-ups never mix: what is refused at start."""

from typing import Any

import pytest

from config.settings import SIMULATED_STRIPE_KEY, SIMULATOR_URL, BadSettings, Settings
from tests.servers import settings_of

TWILIO = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "2" * 32}
LIVE = {
    **TWILIO,
    "SECRET_KEY": "a secret of enough characters",
    "PUBLIC_BASE_URL": "https://calls.example.com",
    "STRIPE_SECRET_KEY": "sk_live_made_up",
    "STRIPE_WEBHOOK_SECRETS": "whsec_made_up",
}


def with_(base: dict[str, str], **changes: str | None) -> Settings:
    merged: dict[str, Any] = {**base, **changes}
    return settings_of({name: value for name, value in merged.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"TWILIO_ACCOUNT_SID": None, "TWILIO_AUTH_TOKEN": None}, "beside the simulated telephone network"),
        ({"TWILIO_API_BASE_URL": "http://127.0.0.1:8010"}, "beside the simulated telephone network"),
        ({"STRIPE_WEBHOOK_SECRETS": "whsec_made_up,whsec_simulated"}, "needs the signing secret"),
        ({"STRIPE_SECRET_KEY": "sk_test_made_up"}, "a test key beside the real telephone network"),
        ({"STRIPE_SECRET_KEY": "rk_test_made_up"}, "a test key beside the real telephone network"),
    ],
)
def test_a_mixed_set_up_is_refused_without_showing_the_key(changes: dict[str, str | None], fault: str) -> None:
    with pytest.raises(BadSettings) as refusal:
        with_(LIVE, **changes)
    assert any(fault in line for line in refusal.value.faults)
    assert "made_up" not in str(refusal.value)


def test_test_payments_beside_real_telephones_can_be_allowed_while_trying_out() -> None:
    settings = with_(LIVE, STRIPE_SECRET_KEY="sk_test_made_up", ALLOW_TEST_PAYMENTS="true")
    assert not settings.bank_livemode
    assert settings.takes_payments


def test_without_any_key_the_simulated_bank_takes_the_money() -> None:
    settings = settings_of({})
    assert settings.takes_payments
    assert (settings.bank_key, settings.bank_base_url) == (SIMULATED_STRIPE_KEY, f"{SIMULATOR_URL}/stripe")
    assert settings.bank_webhook_secrets == ("whsec_simulated",)


def test_bank_and_model_are_where_the_simulated_network_is() -> None:
    settings = settings_of({"TWILIO_API_BASE_URL": "http://127.0.0.1:8011"})
    assert settings.carrier_base_url == "http://127.0.0.1:8011"
    assert settings.bank_base_url == "http://127.0.0.1:8011/stripe"
    assert settings.model_base_url == "http://127.0.0.1:8011/openai/v1"


def test_beside_real_telephones_there_is_no_simulated_bank() -> None:
    """Its secret is public: whoever knows it could sign events for credit that buys real calls."""
    settings = with_(LIVE, STRIPE_SECRET_KEY=None, STRIPE_WEBHOOK_SECRETS=None)
    assert not settings.takes_payments
    assert settings.bank_webhook_secrets == ()
