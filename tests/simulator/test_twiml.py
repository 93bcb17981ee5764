"""What the network does with the TwiML it is given."""

import pytest

from simulator.twiml import TwimlError, parse
from tests.simulator.telephony import customer

ENDLESS = "+14155550149"


async def _duration(twiml: str) -> int:
    async with customer() as who:
        call = await who.call(ENDLESS, url=None, twiml=twiml)
        await who.idle()
        assert who.network.calls[call.sid].ended_by == "twiml"
        return who.network.calls[call.sid].duration_seconds


@pytest.mark.parametrize(
    ("verbs", "seconds"),
    [
        ("", 0),
        ("<Pause length='7'/>", 7),
        ("<Say>one two three four five</Say>", 2),
        ("<Say loop='3'>one two three four five</Say>", 6),
        ("<Play>http://127.0.0.1/a.mp3</Play>", 5),
        ("<Gather timeout='4'><Say>one two three four five</Say></Gather><Pause/>", 7),
        ("<Pause length='3'/><Hangup/><Pause length='100'/>", 3),
        ("<Pause length='3'/><Reject/>", 3),
        ("<Nonsense/>", 4),
    ],
)
async def test_verbs_take_their_time(verbs: str, seconds: int) -> None:
    assert await _duration(f"<Response>{verbs}</Response>") == seconds


async def test_the_callee_may_hang_up_before_the_twiml_ends() -> None:
    async with customer() as who:
        call = await who.call("+14155550130")
        await who.idle()
        record = await who.record(call.sid)
    assert (record["duration_seconds"], record["ended_by"]) == (67, "far_end")


async def test_twiml_is_asked_for_at_the_answer_with_the_calls_facts() -> None:
    async with customer() as who:
        call = await who.call("+14155550130", url=f"{who.url}/twiml?call=7")
        await who.idle()
        [asked] = who.at("/twiml")
        assert [received.raw_url for received in who.received if received.path == "/twiml"] == [
            f"{who.url}/twiml?call=7"
        ]
    assert asked["CallSid"] == call.sid
    assert (asked["CallStatus"], asked["Direction"]) == ("in-progress", "outbound-api")


async def test_a_document_may_redirect_to_another() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = "<Response><Pause length='2'/><Redirect>next?a=1</Redirect></Response>"
        who.twiml["/next"] = "<Response><Pause length='3'/></Response>"
        call = await who.call(ENDLESS)
        await who.idle()
        assert who.network.calls[call.sid].duration_seconds == 5


async def test_a_document_that_redirects_to_itself_for_ever_is_ended() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = "<Response><Redirect/></Response>"
        call = await who.call(ENDLESS)
        await who.idle()
        assert who.network.calls[call.sid].ended_by == "twiml"


async def test_when_twiml_cannot_be_had_the_fallback_is_asked() -> None:
    async with customer() as who:
        who.statuses["/twiml"] = [500]
        who.twiml["/fallback"] = "<Response><Pause length='2'/></Response>"
        call = await who.call(ENDLESS, fallback_url=f"{who.url}/fallback")
        await who.idle()
        [asked] = who.at("/fallback")
        assert who.network.calls[call.sid].duration_seconds == 2
    assert (asked["ErrorCode"], asked["ErrorUrl"]) == ("11200", f"{who.url}/twiml")


async def test_without_a_fallback_the_caller_hears_an_apology_and_is_billed_for_it() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = "this is not TwiML"
        call = await who.call(ENDLESS)
        await who.idle()
        record = await who.record(call.sid)
    assert (record["status"], record["duration_seconds"], record["ended_by"]) == ("completed", 4, "twiml")


@pytest.mark.parametrize(
    "text",
    ["<Response>", "<Other/>", '<!DOCTYPE x [<!ENTITY a "b">]><Response>&a;</Response>', "{}"],
)
def test_what_is_not_twiml_is_refused(text: str) -> None:
    with pytest.raises(TwimlError):
        parse(text)


async def test_gather_reports_the_keys_that_the_script_presses() -> None:
    async with customer() as who:
        await who.control("PUT", "/scripts/default", {"outcome": "endless", "digits": "12#"})
        who.twiml["/twiml"] = "<Response><Gather action='/keys'><Say>press</Say></Gather></Response>"
        who.twiml["/keys"] = "<Response><Hangup/></Response>"
        await who.call("+14155550123")
        await who.idle()
        [pressed] = who.at("/keys")
    assert pressed["Digits"] == "12#"


DIAL = "<Response><Dial action='/done' timeLimit='30' timeout='20'>{}</Dial></Response>"


async def test_dial_makes_a_child_leg_and_reports_it_to_its_action() -> None:
    async with customer() as who:
        number = "<Number statusCallback='/child' statusCallbackEvent='answered completed'>+14155550149</Number>"
        who.twiml["/twiml"] = DIAL.format(number)
        who.twiml["/done"] = "<Response><Hangup/></Response>"
        parent = await who.call(ENDLESS)
        await who.idle()
        [done] = who.at("/done")
        children = await who.client.calls.list_async(parent_call_sid=parent.sid)
        events = who.at("/child")
    [child] = children
    assert (done["DialCallSid"], done["DialCallStatus"], done["DialCallDuration"]) == (
        child.sid,
        "completed",
        "30",
    )
    assert (child.direction, child.to, child.duration) == ("outbound-dial", "+14155550149", "30")
    assert [(event["CallStatus"], event["ParentCallSid"]) for event in events] == [
        ("in-progress", parent.sid),
        ("completed", parent.sid),
    ]


@pytest.mark.parametrize(
    ("to", "status"), [("+14155550133", "busy"), ("+14155550134", "no-answer"), ("+14155550135", "failed")]
)
async def test_dial_reports_an_unanswered_child(to: str, status: str) -> None:
    async with customer() as who:
        who.twiml["/twiml"] = DIAL.format(to)
        who.twiml["/done"] = "<Response/>"
        await who.call(ENDLESS)
        await who.idle()
        [done] = who.at("/done")
    assert done["DialCallStatus"] == status
    assert "DialCallDuration" not in done


async def test_a_child_leg_ends_with_its_parent() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = f"<Response><Dial>{ENDLESS}</Dial></Response>"
        parent = await who.call("+14155550130")
        await who.idle()
        [child] = await who.client.calls.list_async(parent_call_sid=parent.sid)
    assert child.status == "completed"
    assert int(child.duration) < 120  # the parent hangs up after 67 s; by itself it would last for ever


async def test_a_whisper_may_refuse_a_child_leg() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = DIAL.format(f"<Number url='/whisper'>{ENDLESS}</Number>")
        who.twiml["/whisper"] = "<Response><Say>press one</Say><Hangup/></Response>"
        who.twiml["/done"] = "<Response/>"
        await who.call(ENDLESS)
        await who.idle()
        [whispered], [done] = who.at("/whisper"), who.at("/done")
    assert whispered["Direction"] == "outbound-dial"
    assert done["DialCallDuration"] == "1"


RELAY = (
    "<Response><Connect action='/done'><ConversationRelay url='{}/relay' welcomeGreeting='Hi'>"
    "<Parameter name='token' value='t'/></ConversationRelay></Connect></Response>"
)


async def test_a_relay_is_set_up_ended_by_the_server_and_reported_to_its_action() -> None:
    async with customer() as who:
        who.relay_sends = [{"type": "text", "token": "Hi", "last": True}, {"type": "end", "handoffData": "{}"}]
        who.twiml["/twiml"] = RELAY.format(who.url.replace("http:", "ws:"))
        who.twiml["/done"] = "<Response><Hangup/></Response>"
        call = await who.call(ENDLESS)
        await who.idle()
        [setup], [done] = who.frames, who.at("/done")
        assert who.relay_signed == [True]
    assert setup["type"] == "setup"
    assert (setup["callSid"], setup["customParameters"]) == (call.sid, {"token": "t"})
    assert (done["SessionStatus"], done["HandoffData"]) == ("ended", "{}")
    assert done["SessionId"] == setup["sessionId"]


async def test_a_relay_that_the_caller_leaves_is_reported_as_completed() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = RELAY.format(who.url.replace("http:", "ws:"))
        call = await who.call("+14155550130")
        await who.idle()
        [done] = who.at("/done")
        assert who.network.calls[call.sid].duration_seconds == 67
    assert done["SessionStatus"] == "completed"


async def test_a_relay_that_cannot_be_reached_has_failed_and_the_call_goes_on() -> None:
    async with customer() as who:
        who.twiml["/twiml"] = RELAY.format("ws://127.0.0.1:1")
        who.twiml["/done"] = "<Response><Pause length='9'/></Response>"
        call = await who.call(ENDLESS)
        await who.idle()
        [done] = who.at("/done")
        assert who.network.calls[call.sid].duration_seconds >= 9
    assert (done["SessionStatus"], done["ErrorCode"]) == ("failed", "64102")
