"""The network's side of a ConversationRelay session: speech that has become text on a WebSocket.

`Relay` is the seam: whoever plays the far end (a scripted caller, a telephone in a browser) is a function
of this shape. `hold_the_line` is the plainest: it connects, introduces the call and listens until the
server ends the session.

Invariant: the socket closes whenever the session's task ends, however it ends.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin
from xml.etree import ElementTree

import aiohttp
import yarl

from simulator.callbacks import is_loopback
from simulator.calls import Call

if TYPE_CHECKING:
    from simulator.network import Network

LOST_CONNECTION = "64105"
UNREACHABLE = "64102"


@dataclass(frozen=True, slots=True)
class RelaySession:
    """One `<ConversationRelay>`: its address, its attributes, its `<Parameter>`s and the call it is for."""

    id: str
    call: Call
    url: str
    attributes: dict[str, str]
    parameters: dict[str, str]

    @classmethod
    def of(cls, call: Call, element: ElementTree.Element, base_url: str) -> RelaySession:
        """Read the element; a relative address counts from the document's."""
        number = sum(delivery.event == "twiml" for delivery in call.deliveries)
        digest = blake2b(f"{call.sid}|{number}".encode(), digest_size=16).hexdigest()
        return cls(
            id=f"VX{digest}",
            call=call,
            url=urljoin(base_url, element.get("url", "")),
            attributes=dict(element.attrib),
            parameters={
                str(parameter.get("name")): str(parameter.get("value", "")) for parameter in element.iter("Parameter")
            },
        )

    def setup(self) -> dict[str, Any]:
        """The first message on the socket."""
        call = self.call
        return {
            "type": "setup",
            "sessionId": self.id,
            "accountSid": call.account_sid,
            "callSid": call.sid,
            "parentCallSid": call.parent_sid or None,
            "from": call.order.from_,
            "to": call.order.to,
            "forwardedFrom": None,
            "callType": "PSTN",
            "callerName": None,
            "direction": call.direction,
            "callStatus": str(call.status).upper(),
            "customParameters": self.parameters,
        }


@dataclass(frozen=True, slots=True)
class RelayEnd:
    """How a session ended, for the action address: `ended` by the server, or `failed`."""

    status: str
    handoff_data: str = ""
    error_code: str = ""
    error_message: str = ""

    def params(self) -> dict[str, str]:
        """As the action request's parameters; empty ones are left out."""
        given = {
            "SessionStatus": self.status,
            "HandoffData": self.handoff_data,
            "ErrorCode": self.error_code,
            "ErrorMessage": self.error_message,
        }
        return {name: value for name, value in given.items() if value}


Relay = Callable[["Network", RelaySession], Awaitable[RelayEnd]]


async def hold_the_line(network: Network, session: RelaySession) -> RelayEnd:
    """Connect with a signed handshake, send `setup`, and listen until `end` or a lost socket."""
    url = session.url
    if not is_loopback(url):
        return RelayEnd("failed", error_code=UNREACHABLE, error_message="only loopback addresses are called")
    headers = {"X-Twilio-Signature": network.courier.signature(url)}
    try:
        async with network.courier.session.ws_connect(
            yarl.URL(url, encoded=True), headers=headers, max_msg_size=1 << 20
        ) as socket:
            await socket.send_json(session.setup())
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                frame = _frame(message.data)
                if frame.get("type") == "end":
                    return RelayEnd("ended", handoff_data=str(frame.get("handoffData", "")))
    except (aiohttp.ClientError, OSError, ValueError):
        return RelayEnd("failed", error_code=UNREACHABLE, error_message="the socket could not be opened")
    return RelayEnd("failed", error_code=LOST_CONNECTION, error_message="the socket was lost")


def _frame(text: str) -> dict[str, Any]:
    try:
        frame = json.loads(text)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
