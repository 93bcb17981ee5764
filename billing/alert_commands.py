"""The command that moves the line below which an organisation is told of its credit.

Invariant: a key with limits of its own does not move it, so that whoever holds such a key cannot silence the alert.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.tables import organisations
from billing.limits import is_limited
from billing.low_balance import rearm_mail
from billing.operator_commands import OperatorAction
from billing.tables import operator_actions, spending
from config.rows import Read, Rows


@dataclass(frozen=True, slots=True)
class SetAlert:
    """`alert_below_milli_cents`: None for what two calls hold. `by_key_id`: the API key that asks."""

    org_id: str
    alert_below_milli_cents: int | None
    by_key_id: str | None = None
    action: OperatorAction | None = None

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        keys = [] if self.by_key_id is None else [self.by_key_id]
        actions = [] if self.action is None else [self.action.id]
        return (
            Read(organisations, "id", (self.org_id,)),
            Read(spending, "id", keys),
            Read(operator_actions, "id", actions),
        )

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done; else the code of the refusal: not_found, key_is_limited."""
        organisation = rows.get(organisations, self.org_id)
        if organisation is None:
            return "not_found"
        if is_limited(rows, self.by_key_id):
            return "key_is_limited"
        if organisation["alert_below_milli_cents"] != self.alert_below_milli_cents:
            rearm_mail(rows, organisation)
        rows.update(organisations, self.org_id, {"alert_below_milli_cents": self.alert_below_milli_cents})
        if self.action is not None:
            self.action.insert(rows, now)
        return None
