"""How the server keeps connections, and the simulated network that it finds."""

import click
import pytest
from hypercorn.config import Config

from config import serve
from config.serve import HYPERCORN
from tests.servers import free_port, settings_of
from voice.conversation.silence import HOLD_CHECK_MS


def test_a_socket_stays_open_while_a_caller_who_said_hold_on_is_silent() -> None:
    """Nothing may come from the carrier until we check in, and then only what follows our words."""
    silent_seconds = Config.from_toml(HYPERCORN).read_timeout
    assert silent_seconds is not None
    assert silent_seconds > HOLD_CHECK_MS / 1000 + 30


def test_a_scenario_that_has_no_effect_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = serve.Simulator("http://127.0.0.1:9", 1.0)
    monkeypatch.setattr(serve, "_probe", lambda settings: running)
    monkeypatch.setenv("SIMULATOR_SCENARIO", "scenario.yaml")
    with serve.simulator_for(settings_of({})) as found:
        assert found == running
    assert "without SIMULATOR_SCENARIO" in capsys.readouterr().err


def test_real_calls_are_not_placed_from_an_address_that_the_carrier_cannot_reach() -> None:
    keys = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "t" * 32, "SECRET_KEY": "0123456789abcdef"}
    with pytest.raises(click.ClickException, match=r"PUBLIC_BASE_URL.*http://127\.0\.0\.1:\d+"):
        serve.serve(settings_of(keys), "127.0.0.1", free_port())
