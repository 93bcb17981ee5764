"""Owns how answers are cut out of the books: lists by page and objects by expansion. Invariant: what leaves
is a copy; the books stay as they are.
"""

from copy import deepcopy

from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object


def page(things: list[Object], params: Object) -> Object:
    """A list, newest first, filtered by every parameter that names a field, from a cursor on."""
    found = [thing for thing in reversed(things) if _matches(thing, params)]
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise ApiError("This value must be between 1 and 100.", param="limit")
    ids = [thing["id"] for thing in found]
    start, end = 0, len(found)
    for cursor in ("starting_after", "ending_before"):
        if cursor in params and params[cursor] not in ids:
            raise ApiError(f"No such object: '{params[cursor][:100]}'", code="resource_missing", param=cursor)
    if "starting_after" in params:
        start = ids.index(params["starting_after"]) + 1
    if "ending_before" in params:
        end = ids.index(params["ending_before"])
        start = max(start, end - limit)
    return {"object": "list", "data": found[start : min(end, start + limit)], "has_more": start + limit < end}


def _matches(thing: Object, params: Object) -> bool:
    compared = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
    for name, wanted in params.items():
        if name in ("limit", "starting_after", "ending_before"):
            continue
        if name == "created" and isinstance(wanted, dict):
            if not all(compared[sign](thing["created"], bound) for sign, bound in wanted.items()):
                return False
        elif name == "types":
            if thing["type"] not in wanted:
                return False
        elif isinstance(wanted, dict):
            if not _matches(thing.get(name) or {}, wanted):
                return False
        elif thing.get(name) != wanted:
            return False
    return True


def expanded(bank: Bank, thing: Object, paths: list[str]) -> Object:
    """A copy with ids replaced by their objects along each path, such as `payment_intent.latest_charge`."""
    copied = deepcopy(thing)
    for path in paths:
        _expand(bank, copied, path.split(".")[:5], path)
    return copied


def _expand(bank: Bank, node: Object, steps: list[str], path: str) -> None:
    name, rest = steps[0], steps[1:]
    if node.get("object") == "list" and name == "data" and rest:
        for thing in node["data"]:
            _expand(bank, thing, rest, path)
        return
    if node.get("object") == "checkout.session" and name == "line_items":
        node[name] = _line_items(bank, node)
    value = node.get(name, "")
    if value is None:
        return
    if isinstance(value, str) and (found := bank.find(value)) is not None:
        value = node[name] = deepcopy(found)
    if not isinstance(value, dict):
        raise ApiError(f"This property cannot be expanded ({path[:100]}).", param="expand")
    if rest:
        _expand(bank, value, rest, path)


def _line_items(bank: Bank, session: Object) -> Object:
    data = []
    for index, item in enumerate(bank.line_items[session["id"]]):
        price = item["price_data"]
        amount = price["unit_amount"] * item["quantity"]
        data.append(
            {
                "id": f"li_{index}_{session['id'][-20:]}",
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": price["product_data"]["name"],
                "quantity": item["quantity"],
            }
        )
    return {"object": "list", "data": data, "has_more": False}
