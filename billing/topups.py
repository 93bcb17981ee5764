"""What we ask of Stripe: customers, Checkout sessions, charges of saved cards, refunds, and how all of them stand.

Invariant: the SDK's objects end here; what comes back are our own facts, and what goes wrong is either `BankRefused`
(Stripe has answered no) or `BankUnavailable` (whether anything happened is not known). Every request that creates
something carries an idempotency key of ours, so it can be sent again.

The SDK is imported at the first use, in a thread: it takes a while, and most commands never need it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from billing.stripe_facts import (
    BadObject,
    payment_of_intent,
    payment_of_session,
    reversal_of_dispute,
    reversal_of_refund,
)
from billing.topup_rules import CURRENCY, Payment, ReversalSeen, TopupKind

if TYPE_CHECKING:
    import stripe

TIMEOUT_SECONDS = 10
NETWORK_RETRIES = 2
PAGE = 100
REPEAT_MS = 20 * 3_600_000
"""How long a request is sent again under its key; Stripe forgets keys after 24 hours."""
CLOCKS_MS = 3_600_000
"""More than Stripe's clock and ours can be apart."""
BUSY_WITH_THIS_KEY = 409
PRODUCT = "CallingBox credit"


class BankUnavailable(Exception):
    """Stripe did not answer, or could not just now; it may or may not have done what was asked."""


class BankRefused(Exception):
    """Stripe's definite no. `code` and `param` in its words; `payment`: the failed charge, where there was one."""

    def __init__(
        self, message: str, code: str | None = None, param: str | None = None, payment: Payment | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.payment = code, param, payment


@dataclass(frozen=True, slots=True)
class Receipt:
    """What Stripe keeps of a payment."""

    url: str | None
    payment_method_id: str | None


@dataclass(frozen=True, slots=True)
class Charge:
    """An automatic top-up to be made; all of it comes from the top-up's row, so a repeat is the same request."""

    topup_id: str
    org_id: str
    amount_cents: int
    customer_id: str
    payment_method_id: str


class Bank:
    """Stripe, or whatever answers like it at `base_url`. `secret_key` decides between live and test."""

    def __init__(self, secret_key: str, base_url: str) -> None:
        self._secret_key, self._base_url = secret_key, base_url
        self.unreadable: Callable[[str], None] = lambda text: None
        """Hears of what Stripe lists in no form that it documents; the rest of the list is read all the same."""
        self._opening = asyncio.Lock()
        self._client: stripe.StripeClient | None = None
        self._http: stripe.HTTPXClient | None = None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create_customer(self, org_id: str, lost: str | None = None) -> str:
        """The id of the organisation's customer. `lost`: the one it had, which Stripe does not know any more."""
        key = f"customer:{org_id}:{lost}" if lost else f"customer:{org_id}"
        params: Any = {"metadata": {"org_id": org_id}}
        made = await self._ask(lambda v1: v1.customers.create_async(params, {"idempotency_key": key}))
        return str(made["id"])

    async def create_session(
        self, topup: Mapping[str, Any], customer_id: str, base_url: str, *, again: bool = False
    ) -> tuple[str, str]:
        """(id, address to pay at) of a Checkout session for a top-up's row.

        `base_url`: where the customer returns. `again`: after a refusal because of another customer.
        """
        metadata = {"topup_id": topup["id"], "org_id": topup["org_id"]}
        saving = {"setup_future_usage": "off_session"} if topup["saves_card"] else {}
        params: Any = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": topup["id"],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, **saving},
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": CURRENCY,
                        "unit_amount": topup["amount_cents"],
                        "product_data": {"name": PRODUCT},
                    },
                }
            ],
            "adaptive_pricing": {"enabled": False},
            "expires_at": topup["expires_at"] // 1000,
            "success_url": f"{base_url}/billing/return?session_id={{CHECKOUT_SESSION_ID}}",
            "cancel_url": f"{base_url}/billing?payment=left",
            **({"allowed_payment_method_types": ["card"]} if topup["saves_card"] else {}),
        }
        key = f"checkout:{topup['id']}:{customer_id}" if again else f"checkout:{topup['id']}"
        options: Any = {"idempotency_key": key}
        made = await self._ask(lambda v1: v1.checkout.sessions.create_async(params, options))
        return str(made["id"]), str(made["url"])

    async def session(self, session_id: str) -> Payment:
        params: Any = {"expand": ["payment_intent"]}
        return payment_of_session(await self._ask(lambda v1: v1.checkout.sessions.retrieve_async(session_id, params)))

    async def expire_session(self, session_id: str) -> None:
        await self._ask(lambda v1: v1.checkout.sessions.expire_async(session_id))

    async def receipt(self, payment_intent_id: str) -> Receipt:
        params: Any = {"expand": ["latest_charge"]}
        intent = await self._ask(lambda v1: v1.payment_intents.retrieve_async(payment_intent_id, params))
        charge = intent.get("latest_charge") or {}
        url = charge.get("receipt_url") or ""
        return Receipt(url if url.startswith(("https://", "http://")) else None, intent.get("payment_method"))

    async def charge(self, charge: Charge) -> Payment:
        """Charge a saved card, its owner being away. Raises BankRefused with the failed payment where there is one."""
        params: Any = {
            "amount": charge.amount_cents,
            "currency": CURRENCY,
            "customer": charge.customer_id,
            "payment_method": charge.payment_method_id,
            "off_session": True,
            "confirm": True,
            "error_on_requires_action": True,
            "metadata": {"topup_id": charge.topup_id, "org_id": charge.org_id, "kind": TopupKind.AUTO.value},
        }
        options: Any = {"idempotency_key": f"auto:{charge.topup_id}"}
        made = payment_of_intent(await self._ask(lambda v1: v1.payment_intents.create_async(params, options)))
        assert made is not None, "the metadata that we sent says what it is"
        return made

    async def find_charge(self, charge: Charge, since: int) -> Payment | None:
        """The payment of an automatic top-up whose answer never came. `since` in ms, by our clock: Stripe's may differ,
        and one that is overlooked is charged again."""
        params: Any = {"customer": charge.customer_id, **_since(since - CLOCKS_MS)}
        async for intent in self._list(lambda v1, page: v1.payment_intents.list_async({**params, **page})):
            if (intent.get("metadata") or {}).get("topup_id") == charge.topup_id:
                return payment_of_intent(intent)
        return None

    async def refund(self, payment_intent_id: str, amount_cents: int | None, action_id: str) -> ReversalSeen:
        """`amount_cents`: None for all that has not been refunded."""
        amount = {} if amount_cents is None else {"amount": amount_cents}
        params: Any = {"payment_intent": payment_intent_id, **amount, "metadata": {"action_id": action_id}}
        options: Any = {"idempotency_key": f"refund:{action_id}"}
        made = reversal_of_refund(await self._ask(lambda v1: v1.refunds.create_async(params, options)))
        assert made is not None, "it was asked for by its payment"
        return made

    async def find_refund(self, payment_intent_id: str, action_id: str) -> ReversalSeen:
        """The one that was asked for under this key, when that has been forgotten.

        Raises BankRefused: never made; BadObject: made, and not to be understood.
        """
        params: Any = {"payment_intent": payment_intent_id}
        async for refund in self._list(lambda v1, page: v1.refunds.list_async({**params, **page})):
            if (refund.get("metadata") or {}).get("action_id") == action_id:
                made = reversal_of_refund(refund)
                assert made is not None, "it was asked for by its payment"
                return made
        raise BankRefused("Stripe: no such refund", "not_found")

    async def refunds(self, *, since: int | None = None, payment_intent_id: str | None = None) -> list[ReversalSeen]:
        """All of one payment, or all made since (ms)."""
        params = _since(since) | ({"payment_intent": payment_intent_id} if payment_intent_id else {})
        found = self._list(lambda v1, page: v1.refunds.list_async({**params, **page}))
        return [seen async for refund in found if (seen := self._read(reversal_of_refund, refund)) is not None]

    async def disputes(self, since: int) -> list[ReversalSeen]:
        """All opened since (ms)."""
        found = self._list(lambda v1, page: v1.disputes.list_async({**_since(since), **page}))
        return [seen async for dispute in found if (seen := self._read(reversal_of_dispute, dispute)) is not None]

    async def dispute(self, dispute_id: str) -> ReversalSeen | None:
        return self._read(reversal_of_dispute, await self._ask(lambda v1: v1.disputes.retrieve_async(dispute_id)))

    def _read(
        self, read: Callable[[Mapping[str, Any]], ReversalSeen | None], found: Mapping[str, Any]
    ) -> ReversalSeen | None:
        try:
            return read(found)
        except BadObject as error:
            self.unreadable(f"{str(found.get('id'))[:64]}: {error}")
            return None

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _list(self, ask: "Callable[[Any, Any], Awaitable[stripe.StripeObject]]") -> AsyncIterator[dict[str, Any]]:
        """To the end, however long it is. Raises BankUnavailable: who has half a list has none."""
        page: dict[str, Any] = {"limit": PAGE}
        while True:
            answer = await self._ask(lambda v1, page=page: ask(v1, page))  # type: ignore[misc]
            for item in answer["data"]:
                yield item
            if not answer.get("has_more"):
                return
            last = answer["data"][-1]["id"] if answer["data"] else None
            if last in (None, page.get("starting_after")):
                raise BankUnavailable("Stripe: a list that does not go on")
            page = {"limit": PAGE, "starting_after": last}

    async def _ask(self, ask: "Callable[[Any], Awaitable[stripe.StripeObject]]") -> dict[str, Any]:
        client = await self._opened()
        try:
            answer: dict[str, Any] = (await ask(client.v1)).to_dict()
        except self._errors.any as error:
            if isinstance(error, self._errors.passing) or error.http_status == BUSY_WITH_THIS_KEY:
                raise BankUnavailable(f"Stripe: {type(error).__name__}") from error
            raise _refusal(error) from error
        return answer

    async def _opened(self) -> "stripe.StripeClient":
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
        return self._client

    def _open(self) -> "stripe.StripeClient":
        import stripe

        self._http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        return stripe.StripeClient(
            self._secret_key,
            http_client=self._http,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": self._base_url},
        )

    @cached_property
    def _errors(self) -> "_Errors":
        import stripe

        # A wrong key of ours is no answer about the request: it is repeated once the key has been mended.
        ours = (stripe.AuthenticationError, stripe.PermissionError, stripe.IdempotencyError)
        return _Errors((stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError, *ours), stripe.StripeError)


@dataclass(frozen=True, slots=True)
class _Errors:
    passing: "tuple[type[stripe.StripeError], ...]"
    any: "type[stripe.StripeError]"


def _refusal(error: "stripe.StripeError") -> BankRefused:
    """Stripe's words for people stay out of what we say: they can hold the customer's data."""
    told = error.error.to_dict() if error.error is not None else {}
    intent = told.get("payment_intent")
    payment = payment_of_intent(intent) if isinstance(intent, dict) else None
    message = f"Stripe: {type(error).__name__} {error.code or ''}".rstrip()
    return BankRefused(message, error.code, getattr(error, "param", None), payment)


def _since(since: int | None) -> dict[str, Any]:
    return {} if since is None else {"created": {"gte": since // 1000}}
