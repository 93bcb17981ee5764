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
from simulator.calls import Call, Command, record
from simulator.faults import FaultPlan
from simulator.network import Network
from simulator.resources import call_resource

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

    @control.get("")
    async def overview() -> dict[str, Any]:
        return {
            "account_sid": network.options.account_sid,
            "speed": network.clock.speed,
            "seed": network.seed,
            "numbers": list(network.numbers),
        }

    @control.get("/calls")
    async def list_records() -> dict[str, Any]:
        wanted = request.args.to_dict()
        return {
            "calls": [
                shown(call)
                for call in network.calls.values()
                if wanted.get("to", call.order.to) == call.order.to and wanted.get("sid", call.sid) == call.sid
            ]
        }

    @control.post("/calls")
    async def ring_in() -> tuple[dict[str, Any], int]:
        body = await _body()
        number = network.numbers.get(str(body.get("to")))
        if number is None:
            raise ControlError("to must be one of the account's numbers")
        from_ = str(body.get("from", "+14155550198"))
        if not orders.is_valid_number(from_):
            raise ControlError("from must be a number in E.164")
        script = _script(body.get("script", {"outcome": "human", "talk_seconds": 30}))
        return shown(network.ring_in(number, from_, script)), 201

    @control.post("/calls/<sid>/<verb>")
    async def by_hand(sid: str, verb: str) -> dict[str, Any]:
        call = network.calls.get(sid)
        if call is None or verb not in _VERBS:
            raise ControlError("there is no such call or verb", 404)
        call.command(Command(_VERBS[verb], network.clock.now()))
        return {"sid": sid}

    @control.put("/scripts/<number>")
    async def set_script(number: str) -> dict[str, Any]:
        network.scripts[number] = _script(await _body())
        return msgspec.structs.asdict(network.scripts[number])

    @control.delete("/scripts/<number>")
    async def drop_script(number: str) -> dict[str, Any]:
        network.scripts.pop(number, None)
        return {}

    @control.get("/scripts")
    async def list_scripts() -> dict[str, Any]:
        return {
            "scripts": {name: msgspec.structs.asdict(script) for name, script in network.scripts.items()},
            "presets": {name: msgspec.structs.asdict(script) for name, script in scripts.PRESETS.items()},
            "magic": scripts.MAGIC,
            "refused": scripts.REFUSED,
        }

    @control.get("/faults")
    async def show_faults() -> dict[str, Any]:
        return {"seed": network.seed, "faults": msgspec.structs.asdict(network.faults)}

    @control.put("/faults")
    async def set_faults() -> dict[str, Any]:
        body = await _body()
        seed = _seed(body.pop("seed", network.seed))
        try:
            plan = FaultPlan.all_with(body.pop("all", 0.0))
            plan = msgspec.convert({**msgspec.structs.asdict(plan), **body}, FaultPlan)
        except msgspec.ValidationError as error:
            raise ControlError(str(error)) from error
        network.seed, network.faults = seed, plan
        return await show_faults()

    @control.get("/idle")
    async def idle() -> dict[str, Any]:
        live, pending = network.live_calls, network.courier.pending
        return {"idle": not live and not pending, "live_calls": live, "pending_callbacks": pending}

    @control.post("/reset")
    async def reset() -> dict[str, Any]:
        await network.reset(_seed((await _body()).get("seed", network.seed)))
        return await overview()

    return control


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
