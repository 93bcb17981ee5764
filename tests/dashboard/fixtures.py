"""Facts of one made-up organisation on one afternoon, in milli-cents and UTC epoch milliseconds."""

import datetime as dt
from dataclasses import replace
from typing import Any

from billing.auto_recharge import Recharge
from dashboard.billing_view import MonthTotal, TopUpFacts
from dashboard.call_view import Segment
from dashboard.calls_view import CallFacts
from dashboard.charts import UsageDay
from dashboard.format import Clock
from dashboard.ledger_view import Transfer
from dashboard.receipt_view import Evidence
from dashboard.recharge_view import auto_recharge, rule_of
from dashboard.views import Form
from dashboard.wallet_view import WalletFacts

RATE = 5_000
HOUR_HOLD = 300_000


def ms(clock: str, date: str = "2026-11-23") -> int:
    """UTC epoch milliseconds of "19:26:39.730" on the fixtures' day."""
    moment = dt.datetime.fromisoformat(f"{date}T{clock}+00:00")
    return round(moment.timestamp() * 1000)


NOW = ms("19:26:40.655")
CLOCK = Clock("UTC", NOW)
PAUSE_MESSAGE = (
    "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold "
    "(we release it back if no one answers). Add $1.12 or more in credits to keep calling."
)


def wallet(balance: int, live_calls: int, *, max_seconds: int = 3600, message: str = "") -> WalletFacts:
    """A wallet whose live calls each hold an hour."""
    hold = max_seconds * RATE // 60
    held = live_calls * HOUR_HOLD
    room = max(0, balance - held) // hold
    status = ("paused", "low", "ok")[min(room, 2)]
    return WalletFacts(
        balance=balance,
        held=held,
        available=balance - held,
        hold=hold,
        calls_left=room,
        status=status,  # type: ignore[arg-type]
        message=message,
        live_calls=live_calls,
        rate=RATE,
        max_duration_seconds=max_seconds,
    )


OK = wallet(2_752_451, 3)
LOW = wallet(684_166, 1)
PAUSED = wallet(188_591, 0, message=PAUSE_MESSAGE)
BELOW_ZERO = wallet(-350_000, 0, message="Calls paused. Your balance is −$3.50 but …")
NEW = wallet(500_000, 0)
RICH = wallet(53_412_000, 6)

_CHARGED = {
    2: 323_408, 3: 351_075, 4: 296_242, 5: 379_488, 6: 378_406, 7: 119_080, 9: 332_325, 10: 252_994,
    11: 13_916, 12: 485_989, 13: 562_908, 14: 69_414, 16: 403_658, 17: 377_074, 18: 454_906, 19: 449_571,
    20: 453_321, 21: 79_498, 23: 325_242,
}  # fmt: skip


def _day(date: dt.date) -> UsageDay:
    charged = _CHARGED.get(date.day, 0) if date.month == 11 else 0
    seconds = -(-charged * 60 // RATE)
    return UsageDay(date, seconds, seconds // 5, -(-seconds // 109), charged)


NOVEMBER = [_day(dt.date(2026, 11, day)) for day in range(1, 31)]
LAST_30_DAYS = [_day(dt.date(2026, 10, 25) + dt.timedelta(days=i)) for i in range(30)]
MONTHS = [
    MonthTotal(dt.date(2026, 11, 1), 673, 73_302, 14_928, 6_108_515),
    MonthTotal(dt.date(2026, 10, 1), 711, 83_646, 14_898, 6_970_493),
    MonthTotal(dt.date(2026, 9, 1), 423, 50_220, 8_772, 4_184_899),
    MonthTotal(dt.date(2026, 8, 1), 100, 11_802, 2_172, 983_642),
]

TOPUPS = [
    TopUpFacts(ms("19:26:02.000"), "processing", 2_500_000, "pi_3Qy0aaaaaaaaaa77c2"),
    TopUpFacts(ms("19:15:52.308"), "paid", 1_000_000, "pi_3Qx7aaaaaaaaaae41b", "https://pay.example.com/r/1"),
    TopUpFacts(ms("20:28:51.213", "2026-11-18"), "paid", 2_500_000, "pi_3Qv2aaaaaa90cd", "https://pay.example.com/r/2"),
    TopUpFacts(ms("16:03:00.032", "2026-10-30"), "refunded", 5_000_000, "pi_3Qo8aaaaaaaaa7a15"),
    TopUpFacts(ms("13:19:44.936", "2026-10-21"), "disputed", 2_500_000, "pi_3Ql5aaaaaaaaac233"),
    TopUpFacts(ms("16:22:13.151", "2026-10-09"), "review", 2_500_000, "pi_3Qh1aaaaaaaaa4f8e"),
    TopUpFacts(ms("16:20:13.151", "2026-10-09"), "expired", 2_500_000),
    TopUpFacts(ms("16:18:13.151", "2026-10-09"), "failed", 2_500_000),
]

_RULE = Recharge("o1", True, 1_000_000, 5_000_000, 20_000_000, consented_at=NOW, stripe_payment_method_id="pm_1")
RECHARGE_OFF = auto_recharge(None, None, CLOCK)
RECHARGE_ON = auto_recharge(_RULE, None, CLOCK)
RECHARGE_WITHOUT_CARD = auto_recharge(replace(_RULE, stripe_payment_method_id=None), None, CLOCK)
RECHARGE_PAUSED = auto_recharge(replace(_RULE, paused_reason="declined"), None, CLOCK)
_WRONG = rule_of({"threshold": "ten", "recharge_to": "50", "monthly_cap": "200"})
RECHARGE_WRONG = auto_recharge(_RULE, _WRONG if isinstance(_WRONG, Form) else None, CLOCK)

_AGENTS = {"Appointment reminder": "a1", "Six-month recall": "a2", "Front desk": "a3"}
AGENTS = [(key, name) for name, key in _AGENTS.items()]
OURS = "+16175550134"


def call(number: str, agent: str, started: str, status: str, *, inbound: bool = False, **more: Any) -> CallFacts:
    """A call with an hour's hold."""
    return CallFacts(
        id=f"1412afc7-074d-4abf-bacb-{number[-4:]:0>12}",
        direction="inbound" if inbound else "outbound",
        status=status,
        to_number=OURS if inbound else number,
        from_number=number if inbound else OURS,
        created_at=ms(started),
        max_duration_seconds=3600,
        rate_milli_cents_per_minute=RATE,
        hold_milli_cents=HOUR_HOLD,
        agent_id=_AGENTS[agent],
        agent_name=agent,
        **more,
    )


def billed(seconds: int) -> dict[str, Any]:
    return {
        "duration_seconds": seconds,
        "billed_duration_seconds": seconds,
        "billing_amount_milli_cents": seconds * RATE // 60,
        "billing_reason": "billed",
        "reservation_status": "settled",
    }


def free(reason: str, seconds: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "duration_seconds": seconds,
        "billed_duration_seconds": 0,
        "billing_amount_milli_cents": 0,
        "billing_reason": reason,
        "reservation_status": "released",
        **more,
    }


LIVE = call(
    "+17815550139", "Appointment reminder", "19:24:52.604", "in_progress",
    started_at=ms("19:24:53.870"), answered_at=ms("19:25:04.733"), connected_at=ms("19:25:07.655"),
    answered_by="human", reservation_status="reserved",
)  # fmt: skip
RINGING = call(
    "+15085550184", "Six-month recall", "19:26:21.917", "ringing", started_at=ms("19:26:23.100"),
    reservation_status="reserved",
)  # fmt: skip
BILLED = call(
    "+16175550147", "Appointment reminder", "19:20:11.084", "completed",
    started_at=ms("19:20:12.604"), answered_at=ms("19:20:21.702"), connected_at=ms("19:20:24.913"),
    ended_at=ms("19:22:39.488"), answered_by="human",
    **(billed(134) | {"duration_seconds": 138}),
)  # fmt: skip
VOICEMAIL = call(
    "+16175550191", "Appointment reminder", "19:17:03.450", "no_answer",
    started_at=ms("19:17:04.712"), answered_at=ms("19:17:27.655"), ended_at=ms("19:17:58.861"),
    **free("free_voicemail", 31, answered_by="machine"),
)  # fmt: skip
INBOUND = call(
    "+18575550119", "Front desk", "19:13:27.075", "completed", inbound=True,
    started_at=ms("19:13:27.075"), answered_at=ms("19:13:29.101"), connected_at=ms("19:13:29.101"),
    ended_at=ms("19:14:57.480"), **billed(88),
)  # fmt: skip
NO_ANSWER = call(
    "+17745550158", "Appointment reminder", "19:10:05.391", "no_answer",
    started_at=ms("19:10:06.700"), ended_at=ms("19:11:06.795"), **free("free_no_answer"),
)  # fmt: skip
NOT_PLACED = call(
    "+13395550100", "Six-month recall", "19:08:50.029", "failed", ended_at=ms("19:08:50.700"),
    error_code="number_unreachable", error_message="The carrier says that this number cannot be reached.",
    **free("free_failed"),
)  # fmt: skip
REFUSED = call(
    "+13395550107", "Front desk", "19:02:10.000", "failed", inbound=True,
    error_code="calls_paused", error_message=PAUSE_MESSAGE, ended_at=ms("19:02:10.000"),
    **free("free_failed", reservation_status=None),
)  # fmt: skip
REFUNDED = call(
    "+17815550162", "Six-month recall", "18:41:07.212", "completed",
    started_at=ms("18:41:08.400"), answered_at=ms("18:41:20.100"), connected_at=ms("18:41:24.400"),
    ended_at=ms("18:41:48.500"), answered_by="machine", refunded_milli_cents=2_000,
    **(billed(24) | {"duration_seconds": 28, "billing_reason": "refund_voicemail"}),
)  # fmt: skip

CALLS = [
    call("+19785550105", "Appointment reminder", "19:26:39.730", "queued", reservation_status="reserved"),
    RINGING,
    LIVE,
    BILLED,
    VOICEMAIL,
    INBOUND,
    NO_ANSWER,
    NOT_PLACED,
    call("+19785550173", "Appointment reminder", "19:04:19.662", "completed", **billed(38)),
    REFUSED,
    call("+18575550126", "Appointment reminder", "19:01:44.118", "canceled", **free("free_canceled")),
    call("+16175550188", "Front desk", "18:55:02.840", "completed", inbound=True, **billed(246)),
    call("+15085550111", "Appointment reminder", "18:52:30.507", "busy", **free("free_busy")),
    call("+15085550112", "Appointment reminder", "18:50:30.507", "no_answer", **free("free_fax", 9, answered_by="fax")),
    REFUNDED,
    call("+16175550127", "Six-month recall", "17:45:41.509", "completed", **billed(227)),
]

LIVE_EVIDENCE = [
    Evidence("status", ms("19:24:52.922"), "initiated"),
    Evidence("status", ms("19:24:53.870"), "ringing"),
    Evidence("status", ms("19:25:04.733"), "in-progress"),
    Evidence("verdict", ms("19:25:07.655"), answered_by="human", machine_detection_duration=2840),
]
BILLED_EVIDENCE = [
    Evidence("status", ms("19:20:11.391"), "initiated"),
    Evidence("status", ms("19:20:12.604"), "ringing"),
    Evidence("status", ms("19:20:21.702"), "in-progress"),
    Evidence("verdict", ms("19:20:24.913"), answered_by="human", machine_detection_duration=3120),
    Evidence("status", ms("19:22:39.488"), "completed", 138),
]
VOICEMAIL_EVIDENCE = [
    Evidence("status", ms("19:17:03.740"), "initiated"),
    Evidence("status", ms("19:17:04.712"), "ringing"),
    Evidence("status", ms("19:17:27.655"), "in-progress"),
    Evidence("verdict", ms("19:17:36.218"), answered_by="machine_end_beep", machine_detection_duration=8420),
    Evidence("status", ms("19:17:58.861"), "completed", 31),
]
NO_ANSWER_EVIDENCE = [
    Evidence("status", ms("19:10:05.700"), "initiated"),
    Evidence("status", ms("19:10:06.700"), "ringing"),
    Evidence("status", ms("19:11:06.795"), "no-answer", 0),
]
INBOUND_EVIDENCE = [
    Evidence("voice", ms("19:13:27.075"), "ringing"),
    Evidence("status", ms("19:14:57.480"), "completed", 88),
]
REFUNDED_EVIDENCE = [
    Evidence("status", ms("18:41:07.500"), "initiated"),
    Evidence("status", ms("18:41:08.400"), "ringing"),
    Evidence("status", ms("18:41:20.100"), "in-progress"),
    Evidence("verdict", ms("18:41:24.400"), answered_by="unknown", machine_detection_duration=4000),
    Evidence("status", ms("18:41:48.500"), "completed", 28),
    Evidence("verdict", ms("18:43:01.044"), answered_by="machine_start", machine_detection_duration=4000),
]


def _of(
    of: CallFacts, kind: str, at: str, sequence: int, balance_delta: int, held_delta: int, after: tuple[int, int]
) -> Transfer:
    return Transfer(
        id=f"t{sequence}",
        kind=kind,
        amount=max(abs(balance_delta), abs(held_delta)),
        balance_delta=balance_delta,
        held_delta=held_delta,
        balance_after=after[0],
        held_after=after[1],
        sequence=sequence,
        created_at=ms(at),
        call_id=of.id,
        call_number=of.other_number,
        call_direction=of.direction,
        billed_seconds=of.billed_duration_seconds,
        billing_reason=of.billing_reason,
    )


def _other(kind: str, at: str, sequence: int, delta: int, after: int, **more: str) -> Transfer:
    date = "2026-11-22" if at < "12" else "2026-11-23"
    return Transfer(f"t{sequence}", kind, abs(delta), delta, 0, after, 0, sequence, ms(at, date), **more)  # type: ignore[arg-type]


HOLD = HOUR_HOLD
TRANSFERS = [
    _of(CALLS[0], "hold", "19:26:39.730", 3828, 0, HOLD, (2_752_451, 3 * HOLD)),
    _of(RINGING, "hold", "19:26:21.917", 3827, 0, HOLD, (2_752_451, 2 * HOLD)),
    _of(LIVE, "hold", "19:24:52.604", 3826, 0, HOLD, (2_752_451, HOLD)),
    _of(BILLED, "settle", "19:22:39.494", 3825, -11_166, -HOLD, (2_752_451, 0)),
    _of(BILLED, "hold", "19:20:11.084", 3824, 0, HOLD, (2_763_617, HOLD)),
    _of(VOICEMAIL, "release", "19:17:58.866", 3823, 0, -HOLD, (2_763_617, 0)),
    _of(VOICEMAIL, "hold", "19:17:03.450", 3822, 0, HOLD, (2_763_617, HOLD)),
    _other("topup", "19:15:52.308", 3821, 1_000_000, 2_763_617),
    _of(INBOUND, "settle", "19:14:57.485", 3820, -7_333, -HOLD, (1_763_617, 0)),
    _of(INBOUND, "hold", "19:13:27.075", 3819, 0, HOLD, (1_770_950, HOLD)),
    _of(NO_ANSWER, "release", "19:11:06.801", 3818, 0, -HOLD, (1_770_950, 0)),
    _of(NO_ANSWER, "hold", "19:10:05.391", 3817, 0, HOLD, (1_770_950, HOLD)),
    _of(REFUNDED, "refund_voicemail", "18:43:01.050", 3810, 2_000, 0, (1_770_950, 0)),
    _of(REFUNDED, "settle", "18:41:48.510", 3809, -2_000, -HOLD, (1_768_950, 0)),
    _of(REFUNDED, "hold", "18:41:07.212", 3808, 0, HOLD, (1_770_950, HOLD)),
    _other("number_settle", "15:02:00.000", 3801, -100_000, 1_770_950, number="+16175550134"),
    _other("dispute_won", "09:02:00.000", 3790, 2_500_000, 1_870_950),
    _other("dispute", "08:02:00.000", 3789, -2_500_000, -629_050),
    _other("topup_refund_undo", "07:04:00.000", 3788, 1_000_000, 1_870_950),
    _other("topup_refund", "07:02:00.000", 3787, -1_000_000, 870_950),
    _other("adjustment", "06:02:00.000", 3786, 250_000, 1_870_950, reason="Goodwill for the outage of 20 Nov"),
    _other("free_credit", "05:02:00.000", 1, 500_000, 500_000),
]


def transfers_of(call: CallFacts) -> list[Transfer]:
    """The call's own, oldest first."""
    return [transfer for transfer in reversed(TRANSFERS) if transfer.call_id == call.id]


SEGMENTS = [
    Segment("agent", "Hello, this is the assistant of Larkspur Dental. Am I speaking with Ms Okafor?", 0),
    Segment("person", "Yes, speaking.", 6_000),
    Segment(
        "agent",
        "I’m calling about your cleaning this Wednesday, the 25th, at 10:30 in the morning. Can you still make it?",
        8_000,
        reply_ms=640,
        model_ms=630,
    ),
    Segment("person", "Oh. No, that’s the day before the holiday, I’m traveling by then.", 16_000),
    Segment(
        "agent",
        "No problem. I can offer Monday the 30th at 9:00, or Tuesday",
        22_000,
        True,
        810,
        "the 1st at noon.",
        790,
    ),
    Segment("person", "Sorry, Monday is good. Nine is good.", 29_000),
    Segment("agent", "Monday, November 30th, at 9:00. Shall I book that and release Wednesday?", 33_000),
    Segment("person", "Yes please. Wait, let me look whether I can leave work by then. One minute.", 40_000),
    Segment("agent", "You’re booked for Monday, November 30th, at 9:00. Goodbye.", 122_000),
]
