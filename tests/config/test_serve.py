"""How the server keeps connections."""

from hypercorn.config import Config

from config.serve import HYPERCORN
from voice.conversation.silence import HOLD_CHECK_MS


def test_a_socket_stays_open_while_a_caller_who_said_hold_on_is_silent() -> None:
    """Nothing may come from the carrier until we check in, and then only what follows our words."""
    silent_seconds = Config.from_toml(HYPERCORN).read_timeout
    assert silent_seconds is not None
    assert silent_seconds > HOLD_CHECK_MS / 1000 + 30
