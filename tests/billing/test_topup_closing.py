"""Money that comes when its account has been closed: neither lost nor credited to nobody."""

from accounts.closing import CloseOrganisation
from billing.ledger import read_wallet
from billing.operator_commands import OperatorAction, SuspendOrganisation
from billing.topup_refunds import Refunds
from config.clock import new_id
from tests.servers import DOLLAR
from tests.shop import Shop


async def close(shop: Shop) -> None:
    """As its members do on the Settings page, when the bank does not answer just then: payment pages stay open."""
    action = OperatorAction(new_id(), "dana@example.com", "org_close", shop.org.id, "closed", shop.org.id)
    await shop.server.door.submit(CloseOrganisation(shop.org.id, action))


async def balance_in_the_books(shop: Shop) -> int:
    """Its keys open nothing any more."""
    async with shop.server.database.read() as connection:
        wallet = await read_wallet(connection, shop.org.id)
    assert wallet is not None
    return wallet.balance


async def test_what_is_paid_after_its_account_was_closed_waits_for_an_operator_who_pays_it_back(any_shop: Shop) -> None:
    shop = any_shop
    topup = await shop.begin()
    await close(shop)
    await shop.pay(topup)
    await shop.delivered()
    row = await shop.row(topup)
    assert (row["status"], row["review_reason"], row["paid_cents"]) == ("review", "account_closed", 2_500)
    assert [(alert.kind, alert.text) for alert in shop.alerts] == [
        ("paid_after_closing", f"top-up {topup['id']}: account_closed")
    ]
    await shop.come_back(topup)
    shop.wait(61)
    await shop.upkeep.reconcile()
    assert (await balance_in_the_books(shop), len(shop.alerts)) == (0, 1)
    await shop.service.resolve(topup["id"], "Ada", "closed", credit=False, org_id=None, amount_cents=None)
    await Refunds(shop.service).refund(topup["id"], "Ada", "closed", None)
    assert (await balance_in_the_books(shop), await shop.kept_cents()) == (0, 0)


async def test_a_delayed_payment_that_succeeds_after_the_closing_waits_too(shop: Shop) -> None:
    topup = await shop.begin()
    await shop.do(f"sessions/{topup['session']}/pay_later")
    await shop.until_status(topup, "processing")
    await close(shop)
    await shop.do(f"sessions/{topup['session']}/settle_later", succeeds=True)
    await shop.delivered()
    assert (await shop.row(topup))["review_reason"] == "account_closed"
    assert await balance_in_the_books(shop) == 0


async def test_what_is_paid_just_before_the_closing_is_credit_that_can_be_refunded(shop: Shop) -> None:
    topup = await shop.paid()
    await close(shop)
    await Refunds(shop.service).refund(topup["id"], "Ada", "closed", None)
    assert (await balance_in_the_books(shop), await shop.kept_cents()) == (0, 0)


async def test_what_a_suspended_organisation_has_paid_is_its_credit(shop: Shop) -> None:
    """Nobody closed it: when it may go on, its money is there."""
    topup = await shop.begin()
    action = OperatorAction(new_id(), "Ada", "org_suspend", shop.org.id, "abuse", shop.org.id)
    await shop.server.door.submit(SuspendOrganisation(shop.org.id, True, action))
    await shop.pay(topup)
    await shop.until_status(topup, "paid")
    assert await balance_in_the_books(shop) == 25 * DOLLAR


async def test_an_account_that_an_operator_opened_again_is_credited_as_before(shop: Shop) -> None:
    topup = await shop.begin()
    await close(shop)
    action = OperatorAction(new_id(), "Ada", "org_resume", shop.org.id, "a mistake", shop.org.id)
    await shop.server.door.submit(SuspendOrganisation(shop.org.id, False, action))
    await shop.pay(topup)
    await shop.delivered()
    assert await balance_in_the_books(shop) == 25 * DOLLAR
