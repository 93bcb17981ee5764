"""What customers' servers are told of a call.

Invariant: the event is written by the fold that made the fact and carries the call's decisions as they were then;
only calls somebody listens to (`Call.notifies`, decided when the call begins) pay for it. So an endpoint hears of the
calls that begin after it was added.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from accounts.events import record_event
from config.rows import Rows
from voice.call import Call
from voice.calls import row_of
from voice.effects import Effect, Notify
from voice.tables import calls
from voice.vocabulary import CallStatus


def tell(rows: Rows, call: Call, effects: Iterable[Effect], now: int) -> None:
    """Write the events among the effects of a decision."""
    if call.notifies:
        for effect in effects:
            if isinstance(effect, Notify):
                record_event(rows, call.org_id, effect.type, call.id, row_of(call), now, call.id)


def completed_notice(rows: Rows, call: Call, now: int) -> None:
    """The result of a call that has one to give is stored, or given up, by this fold: tell of its completion now, if
    it has completed; otherwise the decision that completes it will."""
    if not call.awaits_result:
        return
    call = replace(call, awaits_result=False)
    rows.update(calls, call.id, {"awaits_result": False})
    if call.status is CallStatus.COMPLETED:
        tell(rows, call, (Notify("call.completed"),), now)
