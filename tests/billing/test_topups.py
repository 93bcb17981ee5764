"""Top-ups from the click to the credit, against a bank on a real socket, through the official SDK."""



from tests.servers import DOLLAR
from tests.shop import Shop


async def test_paying_credits_what_was_asked_for_within_a_moment(shop: Shop) -> None:
    topup = await shop.paid(2_500)
    assert await shop.balance() == 25 * DOLLAR
    assert await shop.keys() == [f"topup:{topup['payment_intent']}"]
    assert (await shop.shown(topup))["amount_cents"] == 2_500
