"""What may be asked of `/v1/batches`, and what is answered to anything else: nothing is made by halves."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.servers import DOLLAR, Organisation, Server
from tests.voice.test_agents import ask
from tests.voice.test_batches import HUMAN, calls_to, ended, humans, make, rows_of

CSV = {"Content-Type": "text/csv"}
QUIET: dict[str, Any] = {"prompt": "Say hello.", "window": "any", "max_duration_seconds": 60}
LATER = (datetime.now(UTC) + timedelta(days=2)).strftime("%a").lower()
NIGHT: dict[str, Any] = {
    "prompt": "Say hello.",
    "window": {"start": "09:00", "end": "09:30", "timezone": "UTC", "days": [LATER]},
}
"""Hours in which it is not now."""


async def upload(org: Organisation, text: str | bytes, path: str = "/v1/batches", **options: Any) -> httpx.Response:
    return await org.api.post(path, content=text, params={**QUIET, **options}, headers=CSV)


async def made_nothing(org: Organisation) -> bool:
    return not (await org.get("/v1/batches"))["data"]


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "to,name,when\n+1 (415) 555-0130,Ann,10\n",
        "\ufeffTo;name;when\r\n+1.415.555.0130;Ann;10\r\n",
        'to\tname\twhen\n"+14155550130"\tAnn\t10',
        "name,when,to\n\nAnn,10,+14155550130\n\n",
    ],
)
async def test_a_file_as_spreadsheets_save_it_is_called(sqlite_server: Server, text: str) -> None:
    org = await sqlite_server.organisation()
    answer = await upload(org, text, name="From a file", prompt="Remind them.", retry="busy,no_answer", attempts=3)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["retry"] == {"outcomes": ["busy", "no_answer"], "attempts": 3, "wait_seconds": 900}
    await ended(org, made)
    [row] = await rows_of(org, made)
    assert (row["to"], row["context"]) == (HUMAN, {"name": "Ann", "when": "10"})
    call = await org.get(f"/v1/calls/{row['call_id']}")
    assert (call["context"], call["prompt"]) == (row["context"], "Remind them.")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_csv"),
        ("number,name\n+14155550130,Ann\n", "invalid_csv"),
        ("to,to\n+14155550130,x\n", "invalid_csv"),
        ("to,\n+14155550130,x\n", "invalid_csv"),
        ("to," + ",".join(f"c{number}" for number in range(51)) + "\n", "invalid_csv"),
        ('to,name\n+14155550130,"never closed\n', "invalid_csv"),
        (b"to,name\n+14155550130,Ren\xe9\n", "invalid_csv"),
        (b"\xff\xfet\x00o\x00", "invalid_csv"),
        ("to\n+14155550130\x00\n", "invalid_text"),
        ("to\n", "invalid_request"),
        ("to\n" + "+14155550130\n" * 5_001, "invalid_request"),
        ("to,x\n+14155550130," + "y" * (2 * 1024 * 1024), "body_too_large"),
        ("to,x\n+14155550130," + "y" * 200_000, "invalid_csv"),
    ],
)
async def test_what_is_no_such_file_is_refused_whole(sqlite_server: Server, text: str | bytes, code: str) -> None:
    org = await sqlite_server.organisation()
    answer = await upload(org, text)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert await made_nothing(org)


async def test_every_bad_row_is_named_with_its_line_and_nothing_is_made(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    text = (
        "to,note\n"
        "+14155550130,fine\n"
        '4155550131,"two\nlines"\n'
        "+14155550130,again\n"
        "+442079460000,abroad\n"
        "+19005550123,dear\n"
        ",none\n"
        "+14155550132\n"
        f"+14155550134,{'x' * 2_001}\n"
    )
    answer = await upload(org, text)
    assert answer.status_code == 400
    said = answer.json()
    assert said["code"] == "batch_rows_refused"
    assert said["error"].startswith("Line 3 is refused: `to` must be a phone number")
    assert said["error"].endswith("So are 6 more. Nothing was made.")
    found = [(row["line"], row["code"]) for row in said["refused"]]
    assert found == [
        (3, "invalid_number"),
        (5, "duplicate_number"),
        (6, "country_not_allowed"),
        (7, "number_not_allowed"),
        (8, "invalid_number"),
        (9, "invalid_csv"),
        (10, "invalid_csv"),
    ]
    assert await made_nothing(org)
    made = await upload(org, text, skip_refused="true")
    assert made.status_code == 201, made.text
    assert [row["line"] for row in await rows_of(org, made.json())] == [2]


async def test_a_number_whose_hours_have_none_in_common_is_refused(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    hours = {"start": "09:00", "end": "09:30"}
    body: Any = {"prompt": "Hi.", "calls": calls_to("+19075550130", "+18005550123"), "window": hours}
    said = await ask(org, "POST", "/v1/batches", body, expect=400)
    assert [(row["to"], row["code"]) for row in said["refused"]] == [("+19075550130", "window_never_opens")]
    body["window"]["timezone"] = "America/Anchorage"
    await ask(org, "POST", "/v1/batches", body, expect=201)


# -- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"calls": []}, "calls"),
        ({"calls": "x"}, "calls"),
        ({"calls": [{"to": HUMAN}] * 5_001}, "calls"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 101}, "max_concurrent"),
        ({"calls_per_second": 0.5}, "calls_per_second"),
        ({"retry": {"outcomes": ["completed"]}}, "retry.outcomes.0"),
        ({"retry": {"attempts": 11}}, "retry.attempts"),
        ({"retry": {"wait_seconds": 1}}, "retry.wait_seconds"),
        ({"window": {"start": "17:00", "end": "09:00"}}, "window"),
        ({"window": {"start": "9:00"}}, "window.start"),
        ({"window": {"end": "24:01"}}, "window.end"),
        ({"window": {"days": []}}, "window.days"),
        ({"window": {"days": ["someday"]}}, "window.days.0"),
        ({"window": {"timezone": "Mars/Olympus"}}, "window"),
        ({"max_duration_seconds": 59}, "max_duration_seconds"),
        ({"prompt": " "}, "prompt"),
        ({"persona": "x"}, "persona"),
        ({"to": HUMAN}, "to"),
        ({"name": "x" * 121}, "name"),
        ({"name": "\x00"}, "name"),
    ],
)
async def test_wrong_terms_are_refused_with_their_field(sqlite_server: Server, wrong: Any, field: str) -> None:
    org = await sqlite_server.organisation()
    said = await ask(org, "POST", "/v1/batches", {"prompt": "Hi.", "calls": calls_to(HUMAN), **wrong}, expect=400)
    assert said["field"] == field
    assert await made_nothing(org)


@pytest.mark.parametrize("options", [{"window": "9-17"}, {"window": "morning"}, {"max_concurrent": "many"}, {"x": "y"}])
async def test_wrong_options_of_a_file_are_refused(sqlite_server: Server, options: Any) -> None:
    org = await sqlite_server.organisation()
    answer = await upload(org, f"to\n{HUMAN}\n", **options)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    answer = await org.api.post(
        "/v1/batches", json={"prompt": "Hi.", "calls": calls_to(HUMAN)}, params={"name": "In the wrong place"}
    )
    assert (answer.status_code, answer.json()["field"]) == (400, "name")
    assert await made_nothing(org)


async def test_a_batch_that_could_never_call_is_refused_at_once(sqlite_server: Server) -> None:
    org, other = await sqlite_server.organisation(), await sqlite_server.organisation(number="+14155550101")
    agent = await ask(other, "POST", "/v1/agents", {"name": "A", "type": "outbound"}, expect=201)
    for terms, code in (
        ({"agent_id": agent["id"]}, "not_found"),
        ({"prompt": "Hi.", "from_number": "+14155550101"}, "invalid_from_number"),
        ({"prompt": "Hi.", "webhook_url": "http://127.0.0.1/x"}, "invalid_url"),
    ):
        answer = await org.api.post("/v1/batches", json={"calls": calls_to(HUMAN), **terms})
        assert answer.json()["code"] == code, answer.text
    assert await made_nothing(org)


async def test_unless_told_otherwise_people_are_called_between_eight_and_nine(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    made = await ask(org, "POST", "/v1/batches", {"prompt": "Hi.", "calls": calls_to(HUMAN)}, expect=201)
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert made["window"] == {"start": "08:00", "end": "21:00", "days": week, "timezone": None}


# -- the quote --------------------------------------------------------------------------------------------------------


async def test_a_quote_says_what_it_could_cost_and_who_would_not_be_called(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=DOLLAR // 10 + 1)  # two calls of a minute
    await ask(org, "POST", "/v1/do_not_call", {"e164": "+12125550130"}, expect=201)
    body = {"window": None, "max_duration_seconds": 60, "calls": calls_to(*humans(4), HUMAN)}
    quote = await ask(org, "POST", "/v1/batches/quote", body)
    assert quote["refused"] == [
        {
            "line": 2,
            "to": "+12125550130",
            "code": "number_not_allowed",
            "message": "This number is on your do-not-call list.",
        },
        {
            "line": 5,
            "to": HUMAN,
            "code": "duplicate_number",
            "message": "This number is on line 1 already; a batch calls each number once.",
        },
    ]
    figures = ("calls", "refused_rows", "hold_milli_cents", "worst_case_milli_cents", "calls_at_once")
    assert [quote[name] for name in figures] == [3, 2, 5_000, 15_000, 2]
    assert quote["shortfall_milli_cents"] == 15_000 - quote["available_milli_cents"] == 4_999
    assert quote["code"] is None
    assert quote["first_call_at"] is not None
    assert await made_nothing(org)
    assert await sqlite_server.records() == []


async def test_a_quote_says_why_it_would_not_begin_and_when_it_would(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=0)
    quote = await ask(org, "POST", "/v1/batches/quote", {**NIGHT, "calls": calls_to(HUMAN)})
    assert quote["code"] == "calls_paused"
    assert "Add $3.00 or more in credits to keep calling." in quote["message"]
    assert quote["first_call_at"].endswith("T09:00:00.000Z")
    nobody = await ask(org, "POST", "/v1/batches/quote", {"calls": calls_to("+1")})
    assert (nobody["calls"], nobody["code"], nobody["first_call_at"]) == (0, None, None)


# -- again, and from somebody else ------------------------------------------------------------------------------------


async def test_a_request_that_is_repeated_makes_one_batch(server: Server) -> None:
    org = await server.organisation()
    body = {**NIGHT, "calls": calls_to(HUMAN)}
    headers = {"Idempotency-Key": "monday"}
    first = await org.api.post("/v1/batches", json=body, headers=headers)
    again = await org.api.post("/v1/batches", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    other = await org.api.post("/v1/batches", json={**body, "name": "Other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len((await org.get("/v1/batches"))["data"]) == 1
    someone = await server.organisation(number="+14155550101")
    theirs = await someone.api.post("/v1/batches", json=body, headers=headers)
    assert theirs.status_code == 201
    assert (await org.api.get(f"/v1/batches/{theirs.json()['id']}")).status_code == 404


async def test_nobody_has_more_batches_unfinished_than_anybody_needs(
    sqlite_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice.batches.service.MOST_UNFINISHED", 1)
    org = await sqlite_server.organisation()
    made = await make(org, [HUMAN], **NIGHT)
    assert (await make(org, [HUMAN], expect=409, **NIGHT))["code"] == "too_many_batches"
    await ask(org, "POST", f"/v1/batches/{made['id']}/cancel")
    await make(org, [HUMAN], **NIGHT)


async def test_batches_and_their_numbers_are_paged(server: Server) -> None:
    org = await server.organisation()
    made = [(await make(org, humans(5), **NIGHT))["id"] for _ in range(3)]
    page = await org.get("/v1/batches", limit=2)
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == (made[:0:-1], True)
    rest = await org.get("/v1/batches", limit=2, starting_after=page["data"][-1]["id"])
    assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == (made[:1], False)
    path = f"/v1/batches/{made[0]}/calls"
    first = await org.get(path, limit=2)
    assert ([row["line"] for row in first["data"]], first["has_more"]) == ([1, 2], True)
    second = await org.get(path, limit=2, starting_after=first["data"][-1]["id"])
    assert [row["line"] for row in second["data"]] == [3, 4]
    back = await org.get(path, limit=1, ending_before=second["data"][0]["id"])
    assert ([row["line"] for row in back["data"]], back["has_more"]) == ([2], True)
    assert (await org.api.get(path, params={"starting_after": f"{made[1]}:0000001"})).status_code == 404
    assert await rows_of(org, {"id": made[0]}, state="done") == []


async def test_five_thousand_numbers_are_taken_at_once(server: Server) -> None:
    org = await server.organisation()
    numbers = [f"+1415{exchange}{last:04d}" for exchange in (555, 556) for last in range(2_500)]
    calls = [{"to": number, "context": {"name": f"Customer of {number}", "note": "x" * 200}} for number in numbers]
    assert len(json.dumps(calls)) > 1_000_000
    made = await ask(org, "POST", "/v1/batches", {**NIGHT, "calls": calls}, expect=201)
    assert made["progress"]["waiting"] == 5_000
    assert (await ask(org, "POST", f"/v1/batches/{made['id']}/cancel"))["progress"]["canceled"] == 5_000


async def test_a_batch_that_does_not_say_what_to_do_calls_nobody(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    said = await ask(org, "POST", "/v1/batches", {"calls": calls_to(HUMAN)}, expect=400)
    assert (said["code"], said["field"]) == ("invalid_request", "prompt")
    answer = await org.api.post("/v1/batches", content=f"to\n{HUMAN}\n", headers=CSV)
    assert (answer.status_code, answer.json()["field"]) == (400, "prompt")
    assert await made_nothing(org)
    assert (await ask(org, "POST", "/v1/batches/quote", {"calls": calls_to(HUMAN)}))["calls"] == 1
