"""Twilio's REST API for numbers: those of the account and those that can be had.

Invariant: only fictitious numbers exist here: +1, any area code, 555 01xx. Of each area code those that
end in 0150 to 0199 are for sale until the account has them.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from simulator import faults, orders
from simulator.answers import bound, made, refuse_unmade
from simulator.calls import Hook
from simulator.network import Network, Number
from simulator.resources import available_resource, friendly, is_toll_free, number_resource, page
from simulator.rest_errors import RestError

AREA_CODES = {"US": ("415", "212", "312", "206", "512"), "CA": ("416", "604", "514")}
TOLL_FREE_CODES = ("800", "888", "877")


def add_number_routes(api: Blueprint, network: Network) -> None:
    """IncomingPhoneNumbers and AvailablePhoneNumbers under an account."""
    for path, method, view in (
        ("IncomingPhoneNumbers.json", "GET", list_numbers),
        ("IncomingPhoneNumbers.json", "POST", buy_number),
        ("IncomingPhoneNumbers/<sid>.json", "GET", fetch_number),
        ("IncomingPhoneNumbers/<sid>.json", "POST", update_number),
        ("IncomingPhoneNumbers/<sid>.json", "DELETE", release_number),
        ("AvailablePhoneNumbers/<country>/<kind>.json", "GET", list_available),
    ):
        api.add_url_rule(f"/<account_sid>/{path}", view.__name__, bound(view, network), methods=[method])


async def list_numbers(network: Network) -> dict[str, Any]:
    """GET IncomingPhoneNumbers.json: newest first; `PhoneNumber` finds a part of one too."""
    orders.integer(request.args, "PageSize", 1, 1000, 50)
    wanted = request.args.get("PhoneNumber", "")
    rows = [number for number in network.numbers.values() if wanted in number.e164]
    query = list(request.args.items(multi=True))
    return page("incoming_phone_numbers", rows[::-1], partial(_shown, network), request.path, query)


async def buy_number(network: Network) -> Response:
    """POST IncomingPhoneNumbers.json: a `PhoneNumber`, or any with an `AreaCode`."""
    form = await request.form
    e164 = form.get("PhoneNumber", "") or _any_for_sale(network, form.get("AreaCode", ""))
    if not orders.is_fictitious(e164):
        raise RestError(21421, e164)
    if e164 in network.numbers:
        raise RestError(21422, e164)
    hooks = _hooks(form)
    key = network.attempt_key(e164, "purchase")
    fault = faults.create_fault(network.faults, network.seed, key)
    refuse_unmade(fault)
    number = network.add_number(e164, form.get("FriendlyName", "") or friendly(e164), **hooks)
    return await made(network, fault, _shown(network, number), key)


async def fetch_number(network: Network, sid: str) -> dict[str, Any]:
    """GET IncomingPhoneNumbers/{sid}.json."""
    return _shown(network, _number(network, sid))


async def update_number(network: Network, sid: str) -> dict[str, Any]:
    """POST IncomingPhoneNumbers/{sid}.json: where its calls go from now on."""
    number, form = _number(network, sid), await request.form
    for name, hook in _hooks(form).items():
        setattr(number, name, hook)
    number.friendly_name = form.get("FriendlyName", number.friendly_name)
    return _shown(network, number)


async def release_number(network: Network, sid: str) -> tuple[str, int]:
    """DELETE IncomingPhoneNumbers/{sid}.json."""
    del network.numbers[_number(network, sid).e164]
    return "", 204


async def list_available(network: Network, country: str, kind: str) -> dict[str, Any]:
    """GET AvailablePhoneNumbers/{country}/Local.json or TollFree.json."""
    codes = TOLL_FREE_CODES if kind == "TollFree" else AREA_CODES.get(country)
    if codes is None or kind not in ("Local", "TollFree"):
        raise RestError(20404, request.path)
    limit = orders.integer(request.args, "PageSize", 1, 1000, 50)
    area_code = request.args.get("AreaCode", "")
    if area_code and not re.fullmatch(r"[2-9]\d\d", area_code):
        raise RestError(20001, "AreaCode")
    if area_code:
        # An area code of the other kind has nothing to offer.
        fits = is_toll_free(f"+1{area_code}") == (kind == "TollFree")
        codes = (area_code,) if fits else ()
    found = [e164 for e164 in _for_sale(network, codes) if request.args.get("Contains", "") in e164]
    return {
        "available_phone_numbers": [available_resource(e164, country) for e164 in found[:limit]],
        "uri": request.path,
    }


def _shown(network: Network, number: Number) -> dict[str, Any]:
    return number_resource(number, network.options.account_sid)


def _number(network: Network, sid: str) -> Number:
    for number in network.numbers.values():
        if number.sid == sid:
            return number
    raise RestError(20404, request.path)


def _hooks(form: orders.Form) -> dict[str, Hook | None]:
    """The addresses that a form sets; an empty one clears."""
    names = {
        "voice": ("VoiceUrl", "VoiceMethod", 21502),
        "fallback": ("VoiceFallbackUrl", "VoiceFallbackMethod", 21502),
        "status_callback": ("StatusCallback", "StatusCallbackMethod", 21609),
    }
    return {
        name: orders.hook(form, url_name, method_name, code)
        for name, (url_name, method_name, code) in names.items()
        if url_name in form
    }


def _for_sale(network: Network, codes: tuple[str, ...]) -> list[str]:
    every = (f"+1{code}55501{last:02d}" for last in range(50, 100) for code in codes)
    return [e164 for e164 in every if e164 not in network.numbers]


def _any_for_sale(network: Network, area_code: str) -> str:
    if not re.fullmatch(r"[2-9]\d\d", area_code):
        raise RestError(21421, area_code)
    return next(iter(_for_sale(network, (area_code,))), "")
