"""What each call must cost: the billing rules applied to what the simulated network did and said, and to nothing else.

It knows nothing of the server. Where it cannot be known from outside when a statement arrived, or whether it did, it
allows what each of the possibilities gives.
"""

from collections.abc import Sequence
from itertools import islice, product

from tests.simulation.carrier import FREE_STATUSES, FREE_VERDICTS, Leg, Moment, Said
from tests.simulation.time import Trouble

RATE_MILLI_CENTS_PER_MINUTE = 5_000
AMD_TIMEOUT_SECONDS = 30
MOST_POSSIBILITIES = 20_000
SILENCE_MS = 120_000
"""How long after the grace a carrier that shows an ended call as up is still waited for."""
AN_ASK_MS = 12_000
"""How long after an answer of the REST API it may be stored, when the database is in trouble."""


def allowed_charges(leg: Leg, maximum_seconds: int, grace_ms: int, trouble: Trouble) -> set[int]:
    """Milli-cents; more than one where the order of arrival cannot be known."""
    charges: set[int | None] = set()
    told = [(_options(moment, said, trouble), said) for moment, said in leg.told]
    told = [(options, said) for options, said in told if said != Said()]
    moments = [options for options, _ in told]
    voices = [moment.options for moment, answer in leg.voice if answer in ("talk", "lost")] or [(None,)]
    for times in islice(product(*moments, *voices), MOST_POSSIBILITIES):
        arrived = [(at, said) for at, (_, said) in zip(times, told, strict=False) if at is not None]
        arrived.sort(key=lambda each: each[0])
        if leg.direction == "inbound":
            let_in = min((at for at in times[len(told) :] if at is not None), default=None)
            charges.add(_inbound(arrived, let_in, maximum_seconds))
        else:
            charges.add(_outbound(arrived, maximum_seconds, grace_ms))
    return {charge for charge in charges if charge is not None}


def _options(moment: Moment, said: Said, trouble: Trouble) -> tuple[int | None, ...]:
    if not said.is_reading:
        return tuple(dict.fromkeys(moment.options))
    at = moment.options[0]
    assert at is not None
    return (*moment.options, at + AN_ASK_MS, None) if trouble.struck_between(at, at + AN_ASK_MS) else moment.options


def _charge(seconds: int, maximum_seconds: int) -> int:
    return min(max(0, seconds), maximum_seconds) * RATE_MILLI_CENTS_PER_MINUTE // 60


def _inbound(arrived: Sequence[tuple[int, Said]], let_in: int | None, maximum_seconds: int) -> int:
    finals = [(at, said) for at, said in arrived if said.status is not None]
    if let_in is None or not finals or finals[0][0] < let_in:
        return 0
    if any(said.status in FREE_STATUSES for _, said in finals):
        return 0
    return _charge(min(said.duration_seconds or 0 for _, said in finals), maximum_seconds)


def _outbound(arrived: Sequence[tuple[int, Said]], maximum_seconds: int, grace_ms: int) -> int | None:
    """The first decision, then what only corrections in the customer's favour make of it; None: nothing decides yet."""
    decided: int | None = None
    ended_at: int | None = None
    statuses: list[str] = []
    durations: list[int] = []
    verdicts: list[str] = []
    detections: list[int] = []
    overdue = False
    for at, said in arrived:
        waited = -1 if ended_at is None or verdicts else at - ended_at
        late = waited >= grace_ms + (SILENCE_MS if said.is_live else 0)
        if said.status is not None:
            statuses.append(said.status)
            durations += [said.duration_seconds] if said.duration_seconds is not None else []
            ended_at = at if ended_at is None else ended_at
        decides = late and not said.is_live
        if said.answered_by is not None and (not said.is_reading or decides or said.answered_by in FREE_VERDICTS):
            verdicts.append(said.answered_by)
            milliseconds = said.detection_ms if said.detection_ms is not None else AMD_TIMEOUT_SECONDS * 1000
            detections.append(-(-milliseconds // 1000))
        overdue = overdue or (said.is_reading and late)
        if not statuses:
            continue
        if any(status in FREE_STATUSES for status in statuses) or any(who in FREE_VERDICTS for who in verdicts):
            now = 0
        elif verdicts:
            now = _charge(min(durations, default=0) - max(detections), maximum_seconds)
        elif overdue:
            now = 0
        else:
            continue
        decided = now if decided is None else min(decided, now)
    return decided
