"""The end of an account, by the will of its members.

Invariant: from this commit on nobody can log in, no key opens anything, nothing new is placed or bought and no card is
charged. The books and the trail stay, and so does the memory of who had free credit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from accounts.mails import has_left, mail_members
from accounts.members import end_membership
from accounts.tables import api_keys, invitations, organisations, sessions, users
from billing.ledger import wallet_in
from billing.operator_commands import OperatorAction
from billing.tables import auto_recharges, operator_actions
from billing.topup_rows import put_recharge, recharge_in
from billing.wallet import Wallet
from config.rows import OfOneOrganisation, Read, Rows


@dataclass(frozen=True, slots=True)
class CloseOrganisation(OfOneOrganisation):
    """`action` says which member closed it, in the trail. What it holds at others (numbers) has been given back."""

    org_id: str
    action: OperatorAction

    def reads(self, located: Rows) -> Sequence[Read]:
        of_it = ((users, "org_id"), (sessions, "org_id"), (invitations, "org_id"), (api_keys, "org_id"))
        return (
            *(Read(table, column, (self.org_id,)) for table, column in of_it),
            Read(organisations, "id", (self.org_id,)),
            Read(auto_recharges, "id", (self.org_id,)),
            Read(operator_actions, "id", (self.action.id,)),
        )

    def fold(self, rows: Rows, now: int) -> Wallet:
        """Its wallet: what is left of top-ups is to be paid back."""
        wallet = wallet_in(rows, self.org_id)
        if rows.get(operator_actions, self.action.id) is not None:
            return wallet
        self.action.insert(rows, now)
        mail_members(rows, self.org_id, self.action.id, self._notice(), now)
        for user in rows.find(users, "org_id", self.org_id):
            if not has_left(user):
                end_membership(rows, user["id"])
        for table, column in ((sessions, "ended_at"), (invitations, "ended_at"), (api_keys, "revoked_at")):
            for row in rows.find(table, "org_id", self.org_id):
                if row[column] is None:
                    rows.update(table, row["id"], {column: now})
        organisation, recharge = rows.get(organisations, self.org_id), recharge_in(rows, self.org_id)
        assert organisation is not None
        rows.update(organisations, self.org_id, {"suspended_at": organisation["suspended_at"] or now})
        if recharge is not None:
            off = replace(recharge, is_enabled=False, stripe_payment_method_id=None, link_due_at=None)
            put_recharge(rows, off, now)
        return wallet

    def _notice(self) -> dict[str, str]:
        text = (
            f"{self.action.operator} has closed your account. Nobody can log in to it any more, and its API keys do "
            "nothing. Calls that are under way go on to their end. What is then left of your top-ups goes back to the "
            f"card it came from.\n\nIf this is a mistake, write to us and name the account id {self.org_id}.\n"
        )
        return {"subject": "Your CallingBox account is closed", "text": text}
