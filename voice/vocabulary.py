"""The words a call is described with: statuses, verdicts, reasons.

Owns the translation of the carrier's words into ours. Invariant: every value the carrier documents has exactly one
meaning here; a value it does not document is refused at the edge, never guessed.
"""

from enum import StrEnum


class CallStatus(StrEnum):
    QUEUED = "queued"
    """Created and paid for; the carrier has not confirmed it yet."""
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    """Answered, or ended and still waiting for the verdict that decides its price."""
    COMPLETED = "completed"
    NO_ANSWER = "no_answer"
    """Nobody answered; also a voicemail or a fax."""
    BUSY = "busy"
    CANCELED = "canceled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self.rank == FINAL_RANK

    @property
    def rank(self) -> int:
        """Statuses only rise; a final one absorbs."""
        return _RANKS.get(self, FINAL_RANK)


FINAL_RANK = 4
_RANKS = {
    CallStatus.QUEUED: 0,
    CallStatus.INITIATED: 1,
    CallStatus.RINGING: 2,
    CallStatus.IN_PROGRESS: 3,
}

CARRIER_STATUSES = {
    "queued": CallStatus.QUEUED,
    "initiated": CallStatus.INITIATED,
    "ringing": CallStatus.RINGING,
    "in-progress": CallStatus.IN_PROGRESS,
    "completed": CallStatus.COMPLETED,
    "busy": CallStatus.BUSY,
    "no-answer": CallStatus.NO_ANSWER,
    "failed": CallStatus.FAILED,
    "canceled": CallStatus.CANCELED,
}
"""Twilio's CallStatus → ours."""


ANONYMOUS = "anonymous"
"""In place of the number of a caller who shows none."""
_KEYS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_WITHHELD = ("", ANONYMOUS, "blocked", "private", "restricted", "unavailable", "unknown")
_NO_NUMBERS = frozenset(told for word in _WITHHELD for told in (word, word.translate(_KEYS)))


def caller_number(told: str) -> str:
    """A caller's number from Twilio's From, which spells what stands for none in letters, or as the keys of a telephone
    that bear them: +266696687."""
    return ANONYMOUS if told.strip().lower().removeprefix("+") in _NO_NUMBERS else told


class AnsweredBy(StrEnum):
    """Who picked up, from weakest to strongest evidence for the customer's benefit."""

    UNKNOWN = "unknown"
    HUMAN = "human"
    FAX = "fax"
    MACHINE = "machine"

    @property
    def is_free(self) -> bool:
        return self in (AnsweredBy.MACHINE, AnsweredBy.FAX)


VERDICT_STRENGTH = {verdict: strength for strength, verdict in enumerate(AnsweredBy)}

CARRIER_VERDICTS = {
    "human": AnsweredBy.HUMAN,
    "unknown": AnsweredBy.UNKNOWN,
    "fax": AnsweredBy.FAX,
    "machine_start": AnsweredBy.MACHINE,
    "machine_end_beep": AnsweredBy.MACHINE,
    "machine_end_silence": AnsweredBy.MACHINE,
    "machine_end_other": AnsweredBy.MACHINE,
}
"""Twilio's AnsweredBy → ours."""


class BillingReason(StrEnum):
    BILLED = "billed"
    FREE_ZERO_DURATION = "free_zero_duration"
    FREE_DETECTION = "free_detection"
    """It ended while voicemail detection was still running."""
    FREE_VOICEMAIL = "free_voicemail"
    FREE_FAX = "free_fax"
    FREE_NO_VERDICT = "free_no_verdict"
    """No verdict anywhere: nobody can say that a person was on the line."""
    FREE_PLATFORM_ERROR = "free_platform_error"
    """The agent never got to speak, by our fault."""
    FREE_BUSY = "free_busy"
    FREE_NO_ANSWER = "free_no_answer"
    FREE_FAILED = "free_failed"
    FREE_CANCELED = "free_canceled"
    REFUND_VOICEMAIL = "refund_voicemail"
    """Charged first, given back when later evidence said it was free; the same for the ones below."""
    REFUND_FAX = "refund_fax"
    REFUND_DETECTION = "refund_detection"
    REFUND_ZERO_DURATION = "refund_zero_duration"
    REFUND_PLATFORM_ERROR = "refund_platform_error"
    REFUND_BUSY = "refund_busy"
    REFUND_NO_ANSWER = "refund_no_answer"
    REFUND_FAILED = "refund_failed"
    REFUND_CANCELED = "refund_canceled"


class ReservationStatus(StrEnum):
    RESERVED = "reserved"
    SETTLED = "settled"
    """A charge above zero was taken from the hold."""
    RELEASED = "released"


class DialState(StrEnum):
    NONE = "none"
    """Nothing to dial: an inbound call."""
    INTENDED = "intended"
    """Committed; only the process that committed it may dial."""
    UNKNOWN = "unknown"
    """The carrier's answer was lost: perhaps dialled, never dialled again."""
    BOUND = "bound"
    """The carrier's id is known."""
    REFUSED = "refused"
    LOST = "lost"
    """Not to be found at the carrier; given up, free."""
