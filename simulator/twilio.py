"""Twilio's REST API for calls, numbers and the account, as the official client speaks to it.

Invariant: a request that is refused has changed nothing; one that is answered with an error or not at all
has changed exactly what `faults` says it has.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from quart import Blueprint, Response, jsonify, request

from simulator import faults, orders
from simulator.answers import bound, made, read_fault, refuse_unmade
from simulator.calls import Call, Command, Status
from simulator.network import API_VERSION, Network
from simulator.phone_numbers import add_number_routes
from simulator.resources import call_resource, page
from simulator.rest_errors import RestError


def blueprint(network: Network) -> Blueprint:
    """Everything under /2010-04-01/Accounts."""
    api = Blueprint("twilio", __name__, url_prefix=f"/{API_VERSION}/Accounts")

    @api.before_request
    async def authenticate() -> None:
        given, options = request.authorization, network.options
        name, password = (given.username or "", given.password or "") if given else ("", "")
        known = hmac.compare_digest(name.encode(), options.account_sid.encode())
        if not (hmac.compare_digest(password.encode(), options.auth_token.encode()) and known):
            raise RestError(20003)
        if (request.view_args or {}).get("account_sid") != options.account_sid:
            raise RestError(20404, request.path)

    @api.errorhandler(RestError)
    async def refuse(error: RestError) -> tuple[Response, int]:
        return jsonify(error.body()), error.status

    for path, method, view in (
        ("/<account_sid>.json", "GET", fetch_account),
        ("/<account_sid>/Calls.json", "POST", create_call),
        ("/<account_sid>/Calls.json", "GET", list_calls),
        ("/<account_sid>/Calls/<sid>.json", "GET", fetch_call),
        ("/<account_sid>/Calls/<sid>.json", "POST", update_call),
        ("/<account_sid>/Calls/<sid>.json", "DELETE", delete_call),
    ):
        api.add_url_rule(path, view.__name__, bound(view, network), methods=[method])
    add_number_routes(api, network)
    return api


async def fetch_account(network: Network) -> dict[str, Any]:
    """GET Accounts/{sid}.json: enough to check credentials with."""
    sid = network.options.account_sid
    return {
        "sid": sid,
        "friendly_name": "Simulated account",
        "status": "active",
        "type": "Full",
        "owner_account_sid": sid,
        "uri": f"/{API_VERSION}/Accounts/{sid}.json",
    }


async def create_call(network: Network) -> Response:
    """POST Calls.json: place a call."""
    form = await request.form
    order = orders.order(form, network.numbers)
    key = network.attempt_key(order.to, order.from_)
    fault = faults.create_fault(network.faults, network.seed, key)
    refuse_unmade(fault)
    call = network.dial(order, key)
    if fault:
        call.faults.append(f"create_{fault}")
        call.create_answer = "error" if fault == "error_made" else "lost"
    shown = call_resource(call)
    await asyncio.sleep(0)
    return await made(network, fault, shown, key)


async def list_calls(network: Network) -> dict[str, Any]:
    """GET Calls.json: newest first."""
    await read_fault(network, "list")
    args = request.args
    page_size = orders.integer(args, "PageSize", 1, 10**6, 50)
    orders.integer(args, "Page", 0, 10**6, 0)
    wanted: list[Callable[[Call], bool]] = []
    for name, value in args.items(multi=True):
        if name in _FILTERS:
            wanted.append(partial(_FILTERS[name], value))
        elif name.rstrip("<>=") in ("StartTime", "EndTime"):
            wanted.append(_time_filter(name, value))
    calls = (call for call in reversed(network.calls.values()) if not call.deleted)
    rows = [call for call in calls if all(fits(call) for fits in wanted)]
    query = [pair for pair in args.items(multi=True) if pair[0] != "PageSize"]
    query.append(("PageSize", str(min(page_size, 1000))))
    return page("calls", rows, call_resource, request.path, query)


_FILTERS: dict[str, Callable[[str, Call], bool]] = {
    "To": lambda value, call: call.order.to == value,
    "From": lambda value, call: call.order.from_ == value,
    "ParentCallSid": lambda value, call: call.parent_sid == value,
    "Status": lambda value, call: call_resource(call)["status"] == value,
}


def _time_filter(name: str, value: str) -> Callable[[Call], bool]:
    """`StartTime`, `StartTime<` or `StartTime>`, and the same of EndTime, with a day or a moment in UTC.

    A call that has not started counts from its creation, so that one just made can be found.
    """
    try:
        if len(value) == 10:
            first = datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
        else:
            first = datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        raise RestError(20001, f"{name} must be a date") from None
    if name[-1] not in "<>":
        first = datetime.combine(first.date(), datetime.min.time(), UTC)
    after = first + timedelta(days=1)

    def fits(call: Call) -> bool:
        if name.startswith("End"):
            at = call.ended_at
        else:
            at = next(t for t in (call.answered_at, call.dialed_at, call.created_at) if t is not None)
        if at is None:
            return False
        moment = datetime.fromtimestamp(call.epoch_ms(at) // 1000, UTC)
        if name.endswith("<"):
            return moment < first
        return moment >= first if name.endswith(">") else first <= moment < after

    return fits


async def fetch_call(network: Network, sid: str) -> dict[str, Any]:
    """GET Calls/{sid}.json."""
    number = await read_fault(network, sid)
    call = _call(network, sid)
    stale = faults.happens(network.faults.fetch_stale, network.seed, "stale", call.key, number)
    return call_resource(call, stale=stale)


async def update_call(network: Network, sid: str) -> dict[str, Any]:
    """POST Calls/{sid}.json: hang up, cancel, redirect, or set a new time limit."""
    form = await request.form
    call = _call(network, sid)
    number = network.count(f"update|{sid}")
    if faults.happens(network.faults.update_error, network.seed, "update", call.key, number):
        raise RestError(20500)
    await _apply(network, call, form)
    return call_resource(call)


async def _apply(network: Network, call: Call, form: orders.Form) -> None:
    status, now = form.get("Status", ""), network.clock.now()
    voice = orders.hook(form, "Url", "Method", 21205)
    limit = orders.time_limit_seconds(form)
    if status not in ("", "completed", "canceled"):
        raise RestError(20001, "Status must be completed or canceled")
    if not (status or voice or limit or form.get("Twiml")):
        raise RestError(20001, "nothing to update")
    if not call.is_live or (status == "canceled" and call.status is Status.IN_PROGRESS):
        raise RestError(21220)
    if (voice or form.get("Twiml")) and not status:
        if call.status is not Status.IN_PROGRESS:
            raise RestError(21220)
        call.command(Command("redirect", now, voice, "" if voice else form.get("Twiml", "")))
    if limit:
        call.time_limit_seconds = limit
        call.wake()
    if status:
        call.command(Command("hang_up", now))
        await call.ended.wait()


async def delete_call(network: Network, sid: str) -> tuple[str, int]:
    """DELETE Calls/{sid}.json: forget a call that has ended. The simulator's own record keeps it."""
    call = _call(network, sid)
    if call.is_live:
        raise RestError(21220)
    call.deleted = True
    return "", 204


def _call(network: Network, sid: str) -> Call:
    call = network.calls.get(sid)
    if call is None or call.deleted:
        raise RestError(20404, request.path)
    return call
