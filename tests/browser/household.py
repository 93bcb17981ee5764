"""An account with something on every page: made through the product's own API and forms, as a customer would."""

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.browser.product import PASSWORD, Product

NUMBER = "+14155550101"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
PERSON, MACHINE, BUSY, NOBODY, PATIENT = (
    "+14155550130",
    "+14155550131",
    "+14155550133",
    "+14155550134",
    "+14155550149",
)


@dataclass
class Household:
    """`calls`: those that ended, by the number called; `live`: one that goes on."""

    email: str
    key: str
    org_id: str
    agent: dict[str, Any]
    number: dict[str, Any]
    calls: dict[str, dict[str, Any]]
    live: dict[str, Any]
    endpoint: dict[str, Any]
    delivery: dict[str, Any]
    batch: dict[str, Any]


def furnish(product: Product, email: str = "kim@example.com") -> Household:
    made = json.loads(product.command("org", "create", "Larkspur Dental", "--email", email, "--password", PASSWORD))
    product.command("credit", "adjust", made["org_id"], "4000000", "--reason", HOSTILE)
    product.command("number", "import", made["org_id"], NUMBER)
    product.simulator.put(f"/_sim/scripts/{PERSON}", json={"outcome": "human", "ring_seconds": 1, "talk_seconds": 9})
    for nobody in (BUSY, NOBODY):
        outcome = {BUSY: "busy", NOBODY: "no-answer"}[nobody]
        product.simulator.put(f"/_sim/scripts/{nobody}", json={"outcome": outcome, "ring_seconds": 1})
    with product.api(made["api_key"]) as api:
        [number] = _get(api, "/v1/numbers")
        agent = _agents(api, number["id"])
        endpoint = _lists_and_endpoint(api)
        calls = {to: _call(api, to, agent["id"]) for to in (PERSON, MACHINE, BUSY, NOBODY)}
        live = _call(api, PATIENT, agent["id"])
        ended = {to: _over(api, call["id"]) for to, call in calls.items()}
        [delivery, *_] = _get(api, "/v1/webhook_deliveries")
        api.post("/v1/billing/topups", json={"amount_cents": 2_500})
        batch = _batch(api, agent["id"])
    return Household(email, made["api_key"], made["org_id"], agent, number, ended, live, endpoint, delivery, batch)


def _agents(api: httpx.Client, number_id: str) -> dict[str, Any]:
    caller = {
        "name": f"Reminder {HOSTILE}",
        "type": "outbound",
        "instructions": HOSTILE,
        "first_message": "Hello, do you have a minute?",
        "returns": {"confirmed": "boolean", "note": "string"},
        "number_ids": [number_id],
        "silence_timeout_seconds": 120,
    }
    _post(api, "/v1/agents", {"name": "Front desk", "type": "inbound", "number_ids": [number_id]})
    return _post(api, "/v1/agents", caller)


def _batch(api: httpx.Client, agent_id: str) -> dict[str, Any]:
    """Paused before it calls anybody."""
    rows = [{"to": f"+1{area}5550130", "context": {"name": HOSTILE}} for area in (212, 312, 303, 404)]
    body = {"name": HOSTILE, "agent_id": agent_id, "calls": rows, "retry": {"attempts": 3}}
    batch = _post(api, "/v1/batches", {**body, "window": {"start": "00:00", "end": "00:01"}})
    return _post(api, f"/v1/batches/{batch['id']}/pause", {})


def _lists_and_endpoint(api: httpx.Client) -> dict[str, Any]:
    _post(api, "/v1/do_not_call", {"e164": "+14155550142", "reason": HOSTILE})
    _post(api, "/v1/blocked_callers", {"e164": "+14155550143", "reason": HOSTILE})
    return _post(api, "/v1/webhook_endpoints", {"url": "https://example.invalid/hook", "description": HOSTILE})


def _call(api: httpx.Client, to: str, agent_id: str) -> dict[str, Any]:
    return _post(api, "/v1/calls", {"to": to, "agent_id": agent_id, "metadata": {HOSTILE: HOSTILE}})


def _over(api: httpx.Client, call_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        call: dict[str, Any] = api.get(f"/v1/calls/{call_id}").json()
        if call["billing_reason"] is not None:
            return call
        time.sleep(0.2)
    raise AssertionError(f"call {call_id} does not end")


def _get(api: httpx.Client, path: str) -> list[dict[str, Any]]:
    response = api.get(path)
    assert response.status_code == 200, response.text
    said = response.json()
    found: list[dict[str, Any]] = said["data"]
    return found


def _post(api: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = api.post(path, json=body)
    assert response.status_code in (200, 201), response.text
    made: dict[str, Any] = response.json()
    return made


def pages(house: Household) -> dict[str, str]:
    """Every page of the dashboard with its address."""
    ended = house.calls
    return {
        "calls": "/calls",
        "calls-filtered": "/calls?state=busy&direction=outbound",
        "calls-none": "/calls?direction=inbound",
        "call": f"/calls/{ended[PERSON]['id']}",
        "call-voicemail": f"/calls/{ended[MACHINE]['id']}",
        "call-live": f"/calls/{house.live['id']}",
        "batches": "/batches",
        "batch": f"/batches/{house.batch['id']}",
        "batch-new": "/batches/new",
        "agents": "/agents",
        "agent-new": "/agents/new",
        "agent": f"/agents/{house.agent['id']}",
        "numbers": "/numbers?search=1&country_code=US&number_type=local&area_code=415",
        "number": f"/numbers/{house.number['id']}",
        "do-not-call": "/do-not-call",
        "blocked-callers": "/blocked-callers",
        "billing": "/billing",
        "billing-7d": "/billing?period=7d&entries=credit",
        "add-credits": "/billing/add-credits",
        "api-keys": "/api-keys",
        "webhooks": "/webhooks",
        "endpoint": f"/webhooks/endpoints/{house.endpoint['id']}",
        "delivery": f"/webhooks/deliveries/{house.delivery['id']}",
        "settings": "/settings",
        "docs": "/docs",
        "not-found": "/calls/none",
    }


OUTSIDE = {
    "login": "/login?next=/billing",
    "signup": "/signup",
    "forgot": "/forgot",
    "dead-link": "/verify?token=x",
    "docs": "/docs",
    "errors": "/docs/errors",
}
"""What is seen without logging in."""
