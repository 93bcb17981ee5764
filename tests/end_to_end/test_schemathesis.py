"""Whatever is asked of a running server, with a valid key: no 5xx, and every answer is one that is described."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.end_to_end.conftest import Site
from tests.servers import DOLLAR, Organisation, create_organisation, opened_door

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
"""Of each operation and mode, beside those that the description gives."""
CARRIER_AWAY = {502, 503}
"""Described answers, not faults: some simulated numbers are refused by the carrier so."""


@pytest.fixture(scope="session")
def customer(site: Site) -> Organisation:
    async def create() -> Organisation:
        async with opened_door(site.installed.database_url) as door:
            return await create_organisation(site.url, door, credit=1_000 * DOLLAR, number=None)

    made = asyncio.run(create())
    site.installed.run("number", "import", made.id, "+14155550177")
    return made


@pytest.fixture(scope="session")
def document(site: Site) -> Any:
    return httpx.get(f"{site.url}/openapi.json").json()


@pytest.fixture(scope="session")
def real(site: Site, customer: Organisation) -> dict[str, str]:
    """One of each thing that has an address, so that requests also succeed."""
    headers = {"Authorization": f"Bearer {customer.api_key}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=40) as client:
        found = {
            "call_id": client.post("/v1/calls", json={"to": "+14155550133"}).json()["id"],
            "number_id": client.get("/v1/numbers").json()["data"][0]["id"],
            "agent_id": client.post("/v1/agents", json={"name": "A", "type": "outbound"}).json()["id"],
            "endpoint_id": client.post("/v1/webhook_endpoints", json={"url": "https://93.184.215.14/"}).json()["id"],
            "entry": client.post("/v1/do_not_call", json={"e164": "+14155550189"}).json()["e164"],
        }
        batch = {"prompt": "Hi.", "calls": [{"to": "+14155550133"}], "window": {"start": "00:00", "end": "00:01"}}
        found["batch_id"] = client.post("/v1/batches", json=batch).json()["id"]
        found["delivery_id"] = client.post(f"/v1/webhook_endpoints/{found['endpoint_id']}/test").json()["id"]
    return found


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_asked_the_answer_is_one_that_is_described(
    site: Site, document: Any, customer: Organisation, real: dict[str, str], mode: GenerationMode
) -> None:
    """Both what the description allows and what it does not; the latter is never accepted."""
    headers = {"Authorization": f"Bearer {customer.api_key}"}
    answered: Counter[int] = Counter()

    def ask(case: "schemathesis.Case[Any]") -> None:
        if answered.total() % 2 and case.method != "DELETE":
            case.path_parameters.update({name: real[name] for name in case.path_parameters or {} if name in real})
            if isinstance(case.body, dict) and "to" in case.body and mode is GenerationMode.POSITIVE:
                case.body["to"] = "+14155550131"
        response = case.call(base_url=site.url, headers=headers)
        answered[response.status_code] += 1
        if response.status_code not in CARRIER_AWAY:
            case.validate_response(response, checks=[*CHECKS, negative_data_rejection])
        else:
            case.validate_response(response, checks=CHECKS[1:])

    for operation in operations(document, mode):
        strategy: SearchStrategy[Any] = operation.as_strategy(generation_mode=mode)
        bounds()(given(strategy)(ask))()
    print(mode, answered.total(), dict(answered))
    if mode is GenerationMode.POSITIVE:
        assert min(answered[status] for status in (200, 201, 400, 404)) >= EXAMPLES, answered
    else:
        assert answered[400] > 10 * EXAMPLES, answered


def operations(document: Any, mode: GenerationMode) -> Iterator[Any]:
    for operation in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(operation, Ok), operation
        found = operation.ok()
        if mode is GenerationMode.POSITIVE or found.body or found.query:
            yield found


def bounds() -> settings:
    return settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_a_method_that_an_address_does_not_take_is_refused_with_those_it_takes(
    site: Site, document: Any, customer: Organisation, real: dict[str, str]
) -> None:
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {customer.api_key}"}) as client:
        for path in document["paths"]:
            address = path.format(**{**real, "e164": "+14155550188", "key_id": "x"})
            taken = methods_of(document, address)
            for method in {"get", "post", "put", "patch", "delete", "trace"} - taken:
                answer = client.request(method, address)
                assert answer.status_code == 405, f"{method} {path}: {answer.status_code}"
                allowed = {name.strip().lower() for name in answer.headers["Allow"].split(",")}
                assert allowed - {"head", "options"} == taken, f"{method} {path}"
                assert answer.json()["code"] == "method_not_allowed"


def methods_of(document: Any, address: str) -> set[str]:
    """Of every path that the address can be read as: `/v1/calls/quote` also names a call."""
    read_as = [path for path in document["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), address)]
    return {method for path in read_as for method in document["paths"][path]}
