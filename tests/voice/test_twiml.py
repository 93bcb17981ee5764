"""What the carrier is told, to the letter: its library passes misspelt attributes on without a word."""

from xml.etree import ElementTree

from voice.twiml import converse


def test_a_conversation_sets_every_attribute_whose_default_bites() -> None:
    told = converse(
        "wss://example.com/relay",
        "https://example.com/after",
        {"ticket": "a<b&c"},
        language="en-US",
        voice=None,
        languages=("es-US",),
    )
    [connect] = ElementTree.fromstring(told)
    assert (connect.tag, connect.attrib) == ("Connect", {"action": "https://example.com/after", "method": "POST"})
    [relay] = connect
    assert relay.tag == "ConversationRelay"
    assert relay.attrib == {
        "url": "wss://example.com/relay",
        "language": "en-US",
        "interruptible": "any",
        "interruptSensitivity": "high",
        "reportInputDuringAgentSpeech": "speech",
        "ignoreBackchannel": "true",
        "preemptible": "false",
        "dtmfDetection": "true",
        "speechTimeout": "700",
        "events": "speaker-events tokens-played",
    }
    assert [(child.tag, child.attrib) for child in relay] == [
        ("Language", {"code": "es-US"}),
        ("Parameter", {"name": "ticket", "value": "a<b&c"}),
    ]


def test_a_resumed_conversation_waits_first_and_a_voice_is_named() -> None:
    told = converse("wss://a", "https://a", {}, language="es-US", voice="v1", after_seconds=5)
    pause, connect = ElementTree.fromstring(told)
    assert (pause.tag, pause.attrib) == ("Pause", {"length": "5"})
    assert connect[0].get("voice") == "v1"
