"""The control interface: what happens on the network, and the record of what truly happened.

Invariant: the record is the simulator's own; it is never read from what a customer's server says.

    GET    /_sim/calls[?to=&sid=]    every call, oldest first: {"calls": [record]}
    POST   /_sim/calls               {"to", "from", "script"?}: somebody calls one of the account's numbers
    POST   /_sim/calls/{sid}/{verb}  answer, decline or hangup, by the far end's hand
    PUT    /_sim/scripts/{number}    what a number does when called; "default" for all others
    DELETE /_sim/scripts/{number}
    GET    /_sim/scripts             {"scripts": {…}, "presets": {…}, "magic": {…}, "refused": {…}}
    PUT    /_sim/faults              {"seed"?: n, "all"?: p, "<fault>": p, …}: replaces the plan
    GET    /_sim/faults              {"seed", "faults": {…}}
    GET    /_sim/idle                {"idle", "live_calls", "pending_callbacks"}
    POST   /_sim/reset               {"seed"?: n}: drop calls, scripts, faults; the first numbers return
    GET    /_sim                     {"account_sid", "speed", "seed", "numbers": […]}
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response, jsonify, request

from simulator import orders, scripts
from simulator.answers import bound
from simulator.calls import Call, Command, record
from simulator.faults import FaultPlan
from simulator.network import Network
from simulator.resources import call_resource

DEFAULT_CALLER = "+14155550198"
_VERBS = {"answer": "answer", "decline": "decline", "hangup": "decline"}


class ControlError(Exception):
    """A control request cannot be followed."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def blueprint(network: Network) -> Blueprint:
    """Everything under /_sim."""
    control = Blueprint("control", __name__)

    @control.errorhandler(ControlError)
    async def refuse(error: ControlError) -> tuple[Response, int]:
        code = "not_found" if error.status == 404 else "invalid"
        return jsonify({"error": str(error), "code": code}), error.status

    for path, method, view in (
        ("", "GET", overview),
        ("/calls", "GET", list_records),
        ("/calls", "POST", ring_in),
        ("/calls/<sid>/<verb>", "POST", act_by_hand),
        ("/scripts", "GET", list_scripts),
        ("/scripts/<number>", "PUT", set_script),
        ("/scripts/<number>", "DELETE", drop_script),
        ("/faults", "GET", show_faults),
        ("/faults", "PUT", set_faults),
        ("/idle", "GET", idle),
        ("/reset", "POST", reset),
    ):
        control.add_url_rule(path, view.__name__, bound(view, network), methods=[method])
    return control


async def overview(network: Network) -> dict[str, Any]:
    """What network this is."""
    return {
        "account_sid": network.options.account_sid,
        "speed": network.clock.speed,
        "seed": network.seed,
        "numbers": list(network.numbers),
    }


async def list_records(network: Network) -> dict[str, Any]:
    """What truly happened in each call."""
    to, sid = request.args.get("to"), request.args.get("sid")
    chosen = (call for call in network.calls.values() if to in (None, call.order.to) and sid in (None, call.sid))
    return {"calls": [shown(call) for call in chosen]}


async def ring_in(network: Network) -> tuple[dict[str, Any], int]:
    """Have somebody call one of the account's numbers."""
    body = await _body()
    number = network.numbers.get(str(body.get("to")))
    if number is None:
        raise ControlError("to must be one of the account's numbers")
    from_ = str(body.get("from", DEFAULT_CALLER))
    if not orders.is_valid_number(from_):
        raise ControlError("from must be a number in E.164")
    script = _script(body.get("script", {"outcome": "human", "talk_seconds": 30}))
    return shown(network.ring_in(number, from_, script)), 201


async def act_by_hand(network: Network, sid: str, verb: str) -> dict[str, Any]:
    """Answer, decline or hang up at the far end."""
    call = network.calls.get(sid)
    if call is None or verb not in _VERBS:
        raise ControlError("there is no such call or verb", 404)
    call.command(Command(_VERBS[verb], network.clock.now()))
    return {"sid": sid}


async def list_scripts(network: Network) -> dict[str, Any]:
    """The scripts that were set, and those there are."""
    return {
        "scripts": {name: msgspec.structs.asdict(script) for name, script in network.scripts.items()},
        "presets": {name: msgspec.structs.asdict(script) for name, script in scripts.PRESETS.items()},
        "magic": scripts.MAGIC,
        "refused": scripts.REFUSED,
    }


async def set_script(network: Network, number: str) -> dict[str, Any]:
    """Say what a number does when it is called."""
    network.scripts[number] = _script(await _body())
    return msgspec.structs.asdict(network.scripts[number])


async def drop_script(network: Network, number: str) -> dict[str, Any]:
    """Take that back."""
    network.scripts.pop(number, None)
    return {}


async def show_faults(network: Network) -> dict[str, Any]:
    """The plan of faults and the seed of every die."""
    return {"seed": network.seed, "faults": msgspec.structs.asdict(network.faults)}


async def set_faults(network: Network) -> dict[str, Any]:
    """Replace the plan; `all` is every probability that is not given."""
    body = await _body()
    seed = _seed(body.pop("seed", network.seed))
    try:
        plan = FaultPlan.all_with(body.pop("all", 0.0))
        plan = msgspec.convert({**msgspec.structs.asdict(plan), **body}, FaultPlan)
    except msgspec.ValidationError as error:
        raise ControlError(str(error)) from error
    network.seed, network.faults = seed, plan
    return await show_faults(network)


async def idle(network: Network) -> dict[str, Any]:
    """Whether anything is still to happen by itself."""
    live, pending = network.live_calls, network.courier.pending
    return {"idle": not live and not pending, "live_calls": live, "pending_callbacks": pending}


async def reset(network: Network) -> dict[str, Any]:
    """Begin again."""
    await network.reset(_seed((await _body()).get("seed", network.seed)))
    return await overview(network)


def shown(call: Call) -> dict[str, Any]:
    """The record of one call with what the REST API says of it now."""
    return record(call, call_resource(call))


async def _body() -> dict[str, Any]:
    body = await request.get_json(force=True, silent=True) if await request.get_data() else {}
    if not isinstance(body, dict):
        raise ControlError("the body must be a JSON object")
    return body


def _script(body: Any) -> scripts.Script:
    try:
        return scripts.parse(body)
    except ValueError as error:
        raise ControlError(str(error)) from error


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ControlError("seed must be a whole number")
    return value
