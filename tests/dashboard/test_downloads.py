"""Usage and ledger as CSV: complete, exact, and harmless in a spreadsheet."""

import csv
import io

import pytest

from billing.ledger import Post
from billing.posting import Posting
from config.clock import new_id
from tests.servers import DOLLAR
from tests.town import Town, Visitor

FORMULAS = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1"]


async def adjust(town: Town, org_id: str, milli_cents: int, reason: str) -> None:
    transfer = new_id()
    posting = Posting(transfer, f"{org_id}:{transfer}", org_id, "adjustment", milli_cents, reason=reason)
    await town.server.door.submit(Post(posting))


async def rows(member: Visitor, path: str) -> list[dict[str, str]]:
    response = await member.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def account_of(member: Visitor) -> str:
    await member.get("/settings")
    return member.page.partition('id="account-id">')[2].partition("<")[0]


@pytest.mark.parametrize("reason", FORMULAS)
async def test_what_would_run_as_a_formula_is_text(town: Town, reason: str) -> None:
    dana = await town.member("dana@example.com")
    await adjust(town, await account_of(dana), -DOLLAR, reason)
    newest, oldest = await rows(dana, "/billing/transfers.csv")
    assert newest["reason"] == f"'{reason}"
    assert (newest["balance_delta_milli_cents"], newest["balance_after_milli_cents"]) == ("-100000", "400000")
    assert (oldest["kind"], oldest["reason"]) == ("free_credit", "")


async def test_every_transfer_of_ones_own_is_in_the_file_however_many(town: Town) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    org_id = await account_of(dana)
    for number in range(1_200):
        await adjust(town, org_id, 1, f"number {number}")
    await adjust(town, await account_of(kim), DOLLAR, "of kim")
    listed = await rows(dana, "/billing/transfers.csv")
    assert [int(row["sequence"]) for row in listed] == list(range(1_201, 0, -1))
    assert "of kim" not in {row["reason"] for row in listed}


async def test_usage_is_a_line_for_each_day(town: Town) -> None:
    dana = await town.member("dana@example.com")
    for period, days in (("7d", 7), ("30d", 30), ("2026-02", 28), ("nonsense", 30)):
        listed = await rows(dana, f"/billing/usage.csv?period={period}")
        assert len(listed) == days
        assert {row["charged_milli_cents"] for row in listed} == {"0"}
