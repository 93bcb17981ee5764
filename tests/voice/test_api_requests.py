"""What a request must look like: every wrong one is told so, names its field, and changes nothing."""

import asyncio
import json
from typing import Any

import pytest

from tests.servers import Server

TO = "+14155550130"

BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "to", "invalid_request"),
    ({"to": 14155550130}, "to", "invalid_request"),
    ({"to": None}, "to", "invalid_request"),
    ({"to": ""}, "to", "invalid_number"),
    ({"to": "4155550130"}, "to", "invalid_number"),
    ({"to": "+1 415 555 0130"}, "to", "invalid_number"),
    ({"to": TO + "\n"}, "to", "invalid_number"),
    ({"to": "+١٤١٥٥٥٥٠١٣٠"}, "to", "invalid_number"),
    ({"to": "+1" + "5" * 40}, "to", "invalid_request"),
    ({"to": "+12"}, "to", "invalid_number"),
    ({"to": "911"}, "to", "invalid_number"),
    ({"to": "+1911"}, "to", "invalid_number"),
    ({"to": "+19005550123"}, "to", "number_not_allowed"),
    ({"to": "+18765550123"}, "to", "country_not_allowed"),
    ({"to": "+442079460123"}, "to", "country_not_allowed"),
    ({"to": TO, "from_number": "+14155550199"}, "from_number", "invalid_from_number"),
    ({"to": TO, "from_number": 5}, "from_number", "invalid_request"),
    ({"to": TO, "colour": "red"}, "colour", "invalid_request"),
    ({"to": TO, "prompt": ""}, "prompt", "invalid_request"),
    ({"to": TO, "prompt": " \n "}, "prompt", "invalid_request"),
    ({"to": TO, "prompt": ["x"]}, "prompt", "invalid_request"),
    ({"to": TO, "prompt": "x" * 20_001}, "prompt", "invalid_request"),
    ({"to": TO, "context": []}, "context", "invalid_request"),
    ({"to": TO, "context": {str(n): n for n in range(51)}}, "context", "invalid_request"),
    ({"to": TO, "metadata": "x"}, "metadata", "invalid_request"),
    ({"to": TO, "returns": {"when": "date"}}, "returns.when", "invalid_request"),
    ({"to": TO, "returns": {"when": {"type": "string"}}}, "returns.when", "invalid_request"),
    ({"to": TO, "language": "english!"}, "language", "invalid_request"),
    ({"to": TO, "webhook_url": 1}, "webhook_url", "invalid_request"),
    ({"to": TO, "voicemail_action": "sing"}, "voicemail_action", "invalid_request"),
    ({"to": TO, "tools": {}}, "tools", "invalid_request"),
    ({"to": TO, "max_duration_seconds": 59}, "max_duration_seconds", "invalid_request"),
    ({"to": TO, "max_duration_seconds": 3601}, "max_duration_seconds", "invalid_request"),
    ({"to": TO, "max_duration_seconds": 10**400}, "max_duration_seconds", "invalid_request"),
    ({"to": TO, "max_duration_seconds": "600"}, "max_duration_seconds", "invalid_request"),
    ({"to": TO, "max_duration_seconds": 600.5}, "max_duration_seconds", "invalid_request"),
    ({"to": TO, "max_duration_seconds": True}, "max_duration_seconds", "invalid_request"),
]

_CALL = f'"to":"{TO}"'
BAD_BYTES: list[tuple[bytes, str]] = [
    (b"", "invalid_request"),
    (b"{", "invalid_json"),
    (b"to=%2B14155550130", "invalid_json"),
    (b"[]", "invalid_request"),
    (b"null", "invalid_request"),
    (b'"to"', "invalid_request"),
    (b"{" + _CALL.encode() + b"} trailing", "invalid_json"),
    (b"[" * 100_000 + b"]" * 100_000, "invalid_json"),
    (f'{{{_CALL},"context":{"[" * 40}{"]" * 40}}}'.encode(), "invalid_json"),
    (f'{{{_CALL},"context":{{"a":1e999}}}}'.encode(), "invalid_json"),
    (f'{{{_CALL},"context":{{"a":NaN}}}}'.encode(), "invalid_json"),
    (f'{{{_CALL},"context":{{"a":{"9" * 5000}}}}}'.encode(), "invalid_json"),
    (f'{{{_CALL},"prompt":"a\\u0000b"}}'.encode(), "invalid_text"),
    (f'{{{_CALL},"context":{{"a\\u0000b":[]}}}}'.encode(), "invalid_text"),
    (f'{{{_CALL},"metadata":{{"a":["\\u0000"]}}}}'.encode(), "invalid_text"),
    (f'{{{_CALL},"prompt":"a\\ud800b"}}'.encode(), "invalid_json"),
    (f'{{{_CALL},"prompt":"caf\xe9"}}'.encode("latin-1"), "invalid_json"),
    (f"{{{_CALL}}}".encode("utf-16"), "invalid_json"),
    (b'{"to":"' + b"1" * 300_000 + b'"}', "body_too_large"),
    (b"x" * 10_000_000, "body_too_large"),
]


async def test_a_wrong_field_is_named_and_nothing_happens(server: Server) -> None:
    org = await server.organisation()
    for body, field, code in BAD_FIELDS:
        refusal = await org.call(**{"to": None, **body}, expect=400) if "to" in body else await _post(org, body)
        assert (refusal["field"], refusal["code"]) == (field, code), body
        assert refusal["error"][0] in "`CTE" or refusal["error"][0].isupper(), refusal
    await _nothing_happened(server, org)


async def test_a_body_that_cannot_be_read_is_refused_whole(server: Server) -> None:
    org = await server.organisation()
    for body, code in BAD_BYTES:
        for path in ("/v1/calls", "/v1/calls/quote"):
            response = await org.api.post(path, content=body, headers={"Content-Type": "application/json; charset=x"})
            assert (response.status_code, response.json()["code"]) == (400, code), body[:60]
    await _nothing_happened(server, org)


async def test_a_body_without_an_end_is_not_waited_for(server: Server) -> None:
    org = await server.organisation()
    server.app.config["BODY_TIMEOUT"] = 0.2
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    head = f"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {org.api_key}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(4096), 5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    writer.close()
    await _nothing_happened(server, org)


async def test_text_of_every_script_and_large_numbers_come_back_as_sent(server: Server) -> None:
    org = await server.organisation()
    context = {"名前": "Zoë \U0001f600 \u2028", "number": 10**30, "nested": {"list": [1.5, None, True, {"a": []}]}}
    call = await org.call(TO, prompt="Здравствуйте", context=context, metadata={"language": "x", "order": 7})
    assert call["context"] == context
    assert call["prompt"] == "Здравствуйте"
    assert call["metadata"] == {"language": "en", "order": 7}
    assert (await org.get("/v1/calls"))["data"][0]["context"] == context


async def test_idempotency_keys_are_printable_and_short(server: Server) -> None:
    org = await server.organisation()
    for key in ("", "k" * 256, "a\tb", "\u00e9"):
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        response = await org.api.post("/v1/calls", json={"to": TO}, headers=headers)
        assert response.status_code == 400, key
        assert response.json()["field"] == "Idempotency-Key"
    await _nothing_happened(server, org)
    await org.call(TO, headers={"Idempotency-Key": "k" * 255})


@pytest.mark.parametrize("path", ["/v1/calls", "/v1/billing/transfers"])
async def test_bad_page_parameters_are_named(server: Server, path: str) -> None:
    org = await server.organisation()
    for query, field in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=%00", "limit"),
        ("page=2", "page"),
        ("starting_after=%00", "starting_after"),
        ("starting_after=x&ending_before=y", "ending_before"),
    ):
        response = await org.api.get(f"{path}?{query}")
        assert (response.status_code, response.json()["field"]) == (400, field), query
    for query in ("starting_after=nobody", "ending_before=nobody"):
        response = await org.api.get(f"{path}?{query}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), query


async def test_an_id_that_cannot_exist_is_not_found(server: Server) -> None:
    org = await server.organisation()
    for call_id in ("nobody", "%00", "%FF", "a" * 5000, "..", "%ED%A0%80", "'--"):
        for method, path in (("GET", ""), ("GET", "/receipt"), ("POST", "/hangup")):
            response = await org.api.request(method, f"/v1/calls/{call_id}{path}")
            assert (response.status_code, response.json()["code"]) == (404, "not_found"), call_id


async def test_an_unknown_address_or_method_is_told_in_json(server: Server) -> None:
    org = await server.organisation()
    nowhere = await org.api.get("/v1/nothing")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    wrong = await org.api.delete("/v1/calls")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(wrong.headers["Allow"].split(", "))


async def _post(org: Any, body: Any) -> Any:
    response = await org.api.post("/v1/calls", json=body)
    assert response.status_code == 400
    return response.json()


async def _nothing_happened(server: Server, org: Any) -> None:
    assert (await org.get("/v1/calls"))["data"] == []
    assert (await org.wallet())["held_milli_cents"] == 0
    assert server.network is not None
    assert not server.network.calls
