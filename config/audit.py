"""The whole database audited in one snapshot, beside a running server.

Invariant: reads only; what it finds is named by invariant, organisation and call.
"""

from dataclasses import asdict
from typing import Any

from billing.audit import Violation, audit_ledger
from billing.topup_audit import audit_topups
from config.clock import Clock, now_ms
from config.database import Database
from config.settings import Settings
from voice.audit import audit_calls
from voice.numbers.audit import audit_numbers

MOST_VIOLATIONS = 1_000


class _Enough(Exception):
    """What is this wrong need not be counted to the end."""


async def audit(settings: Settings, clock: Clock = now_ms) -> dict[str, Any]:
    """`{"wallets", "calls", "transfers", "violations": [{"invariant", "org_id", "call_id", "detail"}]}`.

    Stops after MOST_VIOLATIONS. Raises Unavailable.
    """
    counts = {"wallets": 0, "calls": 0, "transfers": 0}
    violations: list[dict[str, Any]] = []

    def report(violation: Violation) -> None:
        violations.append(asdict(violation))
        if len(violations) >= MOST_VIOLATIONS:
            raise _Enough

    database = Database(settings.database_url)
    try:
        async with database.read() as connection:
            if not database.is_sqlite:  # there every read transaction is a snapshot
                await connection.execution_options(isolation_level="REPEATABLE READ")
            counts["wallets"], counts["transfers"] = await audit_ledger(connection, report)
            await audit_topups(connection, report)
            counts["calls"] = await audit_calls(connection, clock(), report)
            await audit_numbers(connection, clock(), report)
    except _Enough:
        pass
    finally:
        await database.close()
    return {**counts, "violations": violations}
