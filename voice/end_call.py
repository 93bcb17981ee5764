"""The command by which an operator ends a call: the way out where the carrier gives no answer that ends a hold.

Invariant: what is ended so is free for good, and leaves a row that says who did it and why, in the same transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from billing.operator_commands import OperatorAction
from billing.tables import operator_actions
from config.rows import Read, Rows
from voice.call import Policy
from voice.events import EndedByHand
from voice.move_call import MoveCall, Observation
from voice.outcomes import Moved, Unknown


@dataclass(frozen=True, slots=True)
class EndCall:
    """`action` names the call; `transfer_id` and `evidence_id` are those of the rows to write."""

    action: OperatorAction
    policy: Policy
    transfer_id: str
    evidence_id: str

    @property
    def _move(self) -> MoveCall:
        observation = Observation(self.evidence_id, "operator", "end", {})
        call_id = self.action.subject_id
        return MoveCall(EndedByHand(), self.policy, self.transfer_id, call_id=call_id, observation=observation)

    def locate(self) -> Sequence[Read]:
        return self._move.locate()

    def organisations(self, located: Rows) -> Iterable[str]:
        return self._move.organisations(located)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*self._move.reads(located), Read(operator_actions, "id", (self.action.id,)))

    def fold(self, rows: Rows, now: int) -> Moved | Unknown:
        result = self._move.fold(rows, now)
        if isinstance(result, Moved) and result.new:
            self.action.insert(rows, now)
        return result
