"""The bank: Checkout sessions, payments, refunds, disputes, and the events about them.

Invariant: `net_milli_cents` is what its customers have really paid and not got back; an organisation's credit must come
out as that, whatever became of the events.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import stripe

from billing.topups import Bank

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

MILLI_CENTS_PER_CENT = 1_000
REPEATS_SECONDS = (5.0, 60.0, 600.0)


class _Thing(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


@dataclass
class Vault:
    """All that the bank knows."""

    world: "World"
    dice: Random
    by_key: dict[str, _Thing] = field(default_factory=dict)
    """What was made under each idempotency key."""
    sessions: dict[str, _Thing] = field(default_factory=dict)
    intents: dict[str, _Thing] = field(default_factory=dict)
    refunds: dict[str, _Thing] = field(default_factory=dict)
    disputes: dict[str, _Thing] = field(default_factory=dict)

    @property
    def _now(self) -> int:
        return self.world.clock() // 1000

    # -- what customers and their banks do ----------------------------------------------------------------------------

    async def paid(self, session_id: str) -> None:
        """Somebody pays a session, at once or, by a slow method, later or never."""
        session = self.sessions[session_id]
        intent = _Thing(
            id=f"pi_{len(self.intents)}",
            status="processing",
            amount=session["amount_total"],
            currency="usd",
            livemode=False,
            metadata=session["metadata"],
            payment_method="pm_1",
            latest_charge={"receipt_url": "https://pay.example.com/receipt"},
            created=self._now,
        )
        self.intents[intent["id"]] = intent
        session |= {"status": "complete", "payment_intent": intent["id"]}
        if self.dice.random() < 0.2:
            self._tell("checkout.session.completed", session)
            await asyncio.sleep(self.dice.uniform(60, 600))
            if self.dice.random() < 0.3:
                intent["status"] = "requires_payment_method"
                self._tell("checkout.session.async_payment_failed", session)
                return
            kind = "checkout.session.async_payment_succeeded"
        else:
            kind = "checkout.session.completed"
        intent["status"], session["payment_status"] = "succeeded", "paid"
        self._tell(kind, session)
        if self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.choice((0.0, self.dice.uniform(0, 900))))
            await self._regret(intent)

    def charged(self, params: Any) -> _Thing:
        """A saved card is charged while its owner is away."""
        declined = self.dice.random() < 0.25
        intent = _Thing(
            id=f"pi_{len(self.intents)}",
            status="requires_payment_method" if declined else "succeeded",
            amount=params["amount"],
            currency="usd",
            livemode=False,
            metadata=params["metadata"],
            last_payment_error={"code": "card_declined"} if declined else None,
            payment_method=params["payment_method"],
            latest_charge={"receipt_url": "https://pay.example.com/receipt"},
            created=self._now,
        )
        self.intents[intent["id"]] = intent
        self._tell(f"payment_intent.{'payment_failed' if declined else 'succeeded'}", intent)
        if not declined and self.dice.random() < 0.3:
            self.world.spawn(self._regret(intent))
        return intent

    async def _regret(self, intent: _Thing) -> None:
        common = {"payment_intent": intent["id"], "created": self._now}
        amount = self.dice.choice((intent["amount"], intent["amount"] // 3 + 1))
        if self.dice.random() < 0.6:
            refund = _Thing(id=f"re_{len(self.refunds)}", amount=amount, status="succeeded", **common)
            self.refunds[refund["id"]] = refund
            self._tell("refund.created", refund)
            if self.dice.random() < 0.3:
                await asyncio.sleep(self.dice.uniform(0, 300))
                refund["status"] = "failed"
                self._tell("refund.failed", refund)
        if self.dice.random() < 0.6:
            dispute = _Thing(id=f"du_{len(self.disputes)}", amount=amount, status="needs_response", **common)
            dispute["balance_transactions"] = []
            self.disputes[dispute["id"]] = dispute
            self._tell("charge.dispute.created", dispute)
            dispute["balance_transactions"] = [{"amount": -amount}]
            self._tell("charge.dispute.funds_withdrawn", dispute)
            await asyncio.sleep(self.dice.uniform(0, 900))
            dispute["status"] = self.dice.choice(("won", "lost"))
            self._tell("charge.dispute.closed", dispute)
            if dispute["status"] == "won":
                dispute["balance_transactions"] = [{"amount": -amount}, {"amount": amount}]
                self._tell("charge.dispute.funds_reinstated", dispute)

    def refunded(self, params: Any) -> _Thing:
        """What an operator pays back; it may fail later, as any refund."""
        intent = self.intents[params["payment_intent"]]
        of_it = [each for each in self.refunds.values() if each["payment_intent"] == intent["id"]]
        left = intent["amount"] - sum(each["amount"] for each in of_it if each["status"] == "succeeded")
        if any(each["payment_intent"] == intent["id"] and each["status"] != "won" for each in self.disputes.values()):
            raise stripe.InvalidRequestError("disputed", None, "charge_disputed")  # type: ignore[no-untyped-call]
        if params["amount"] > left:
            raise stripe.InvalidRequestError("too much", "amount")  # type: ignore[no-untyped-call]
        common = {"payment_intent": intent["id"], "created": self._now, "metadata": params["metadata"]}
        refund = _Thing(id=f"re_{len(self.refunds)}", amount=params["amount"], status="succeeded", **common)
        self.refunds[refund["id"]] = refund
        self._tell("refund.created", refund)
        if self.dice.random() < 0.2:
            self.world.spawn(self._fails(refund))
        return refund

    async def _fails(self, refund: _Thing) -> None:
        await asyncio.sleep(self.dice.uniform(0, 300))
        refund["status"] = "failed"
        self._tell("refund.failed", refund)

    def expire(self, session_id: str) -> None:
        session = self.sessions[session_id]
        if session["status"] == "open":
            session["status"] = "expired"
            self._tell("checkout.session.expired", session)

    def net_milli_cents(self) -> dict[str, int]:
        """By organisation: payments, less what refunds and lost or pending disputes took, no more than each payment."""
        net: dict[str, int] = defaultdict(int)
        for intent in self.intents.values():
            if intent["status"] != "succeeded":
                continue
            refunds = [r for r in self.refunds.values() if r["status"] == "succeeded"]
            disputes = [d for d in self.disputes.values() if d["status"] != "won"]
            gone = sum(each["amount"] for each in refunds + disputes if each["payment_intent"] == intent["id"])
            net[intent["metadata"]["org_id"]] += max(0, intent["amount"] - gone) * MILLI_CENTS_PER_CENT
        return net

    # -- events -------------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, thing: _Thing) -> None:
        trouble = self.world.trouble
        if trouble.strikes("event_lost"):
            return
        event = {
            "id": f"evt_{self.world.ids().hex}",
            "type": kind,
            "created": self._now,
            "data": {"object": dict(thing)},
        }
        delay = self.dice.uniform(1, 600) if trouble.strikes("event_reordered") else self.dice.uniform(0.05, 0.5)
        self.world.spawn(self._deliver(event, delay))
        if trouble.strikes("event_twinned"):
            twin = {**event, "id": f"evt_{self.world.ids().hex}"} if self.dice.random() < 0.5 else event
            self.world.spawn(self._deliver(twin, delay + self.dice.choice((0.0, 0.0, 20.0))))

    async def _deliver(self, event: dict[str, Any], delay: float) -> None:
        for pause in (delay, *REPEATS_SECONDS):
            await asyncio.sleep(pause)
            process = self.world.any_process(self.dice)
            if process is None:
                continue
            try:
                await process.request(process.topups.hear_event(event))
            except Exception:  # also Gone
                continue
            return
        self.world.trouble.counts["event_never_taken"] += 1


class SimulatedBank(Bank):
    """The server's own adapter, over the simulated bank instead of the SDK's HTTP."""

    def __init__(self, vault: Vault, process: "Process") -> None:
        super().__init__("sk_test_simulated", "")
        self._api = _Api(vault, process)

    async def _opened(self) -> Any:
        return SimpleNamespace(v1=self._api)


class _Api:
    """What is used of `StripeClient.v1`."""

    def __init__(self, vault: Vault, process: "Process") -> None:
        self._vault, self._process = vault, process
        self.checkout = SimpleNamespace(
            sessions=SimpleNamespace(
                create_async=self._create_session,
                retrieve_async=self._session,
                expire_async=self._expire,
            )
        )
        self.customers = SimpleNamespace(create_async=self._create_customer)
        self.payment_intents = SimpleNamespace(
            retrieve_async=self._intent, create_async=self._charge, list_async=self._charges
        )
        self.refunds = SimpleNamespace(
            list_async=lambda params: self._list(vault.refunds), create_async=self._create_refund
        )
        self.disputes = SimpleNamespace(
            list_async=lambda params: self._list(vault.disputes), retrieve_async=self._dispute
        )

    async def _asked(self, *, made: bool = False) -> None:
        """The bank's ways not to answer."""
        self._process.step("asking the bank")
        await asyncio.sleep(self._vault.dice.uniform(0.05, 0.5))
        if self._process.trouble.strikes("bank_answer_lost" if made else "bank_500"):
            raise stripe.APIConnectionError("no answer")  # type: ignore[no-untyped-call]

    async def _once(self, key: str, make: Any) -> _Thing:
        await self._asked()
        if key not in self._vault.by_key:
            self._vault.by_key[key] = make()
        await self._asked(made=True)
        made = self._vault.by_key[key]
        if made.get("status") == "requires_payment_method":  # a charge that was declined, now as at the first time
            told: Any = {"error": {"code": "card_declined", "message": "declined", "payment_intent": dict(made)}}
            raise stripe.CardError("declined", None, "card_declined", json_body=told)  # type: ignore[no-untyped-call]
        return made

    async def _charge(self, params: Any, options: Any) -> _Thing:
        return await self._once(options["idempotency_key"], lambda: self._vault.charged(params))

    async def _charges(self, params: Any) -> _Thing:
        return await self._list(self._vault.intents)

    async def _create_refund(self, params: Any, options: Any) -> _Thing:
        return await self._once(options["idempotency_key"], lambda: self._vault.refunded(params))

    async def _create_customer(self, params: Any, options: Any) -> _Thing:
        return await self._once(options["idempotency_key"], lambda: _Thing(id=f"cus_{len(self._vault.by_key)}"))

    async def _create_session(self, params: Any, options: Any) -> _Thing:
        return await self._once(options["idempotency_key"], lambda: self._make_session(params))

    def _make_session(self, params: Any) -> _Thing:
        amount = params["line_items"][0]["price_data"]["unit_amount"]
        session = _Thing(
            id=f"cs_test_{len(self._vault.sessions)}",
            url="https://pay.example.com",
            status="open",
            payment_status="unpaid",
            livemode=False,
            amount_subtotal=amount,
            amount_total=amount,
            currency="usd",
            client_reference_id=params["client_reference_id"],
            metadata=params["metadata"],
            payment_intent=None,
        )
        self._vault.sessions[session["id"]] = session
        return session

    async def _session(self, session_id: str, params: Any) -> _Thing:
        await self._asked()
        session = self._vault.sessions[session_id]
        intent = self._vault.intents.get(session["payment_intent"])
        return _Thing(session | {"payment_intent": dict(intent) if intent else None})

    async def _expire(self, session_id: str) -> _Thing:
        await self._asked()
        self._vault.expire(session_id)
        return self._vault.sessions[session_id]

    async def _intent(self, intent_id: str, params: Any) -> _Thing:
        await self._asked()
        return self._vault.intents[intent_id]

    async def _dispute(self, dispute_id: str) -> _Thing:
        await self._asked()
        return self._vault.disputes[dispute_id]

    async def _list(self, things: dict[str, _Thing]) -> _Thing:
        await self._asked()
        return _Thing(data=[dict(thing) for thing in things.values()], has_more=False)
