"""The commands on who belongs to an organisation, and its settings.

Invariant: the last member is never removed while the account is open; whoever leaves opens nothing any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.mails import has_left, send_mail
from accounts.people import end_sessions, insert_user
from accounts.tables import invitations, organisations, sessions, users
from config.rows import OfOneOrganisation, Read, Row, Rows

INVITATION_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class _OnOrganisation(OfOneOrganisation):
    org_id: str


@dataclass(frozen=True, slots=True)
class Invite(_OnOrganisation):
    """Ask somebody to join."""

    invitation_id: str
    mail_id: str
    email: str
    invited_by: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            Read(users, "email", (self.email,)),
            Read(invitations, "org_id", (self.org_id,)),
            Read(organisations, "id", (self.org_id,)),
        )

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done, else a sentence that says why not."""
        if rows.get(invitations, self.invitation_id) is not None:
            return None
        if rows.find(users, "email", self.email):
            return f"{self.email} already has an account."
        for open_one in rows.find(invitations, "org_id", self.org_id):
            if open_one["email"] == self.email and open_one["ended_at"] is None and open_one["expires_at"] > now:
                return f"{self.email} has an open invitation already."
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None
        rows.insert(
            invitations,
            {
                "id": self.invitation_id,
                "org_id": self.org_id,
                "email": self.email,
                "invited_by": self.invited_by,
                "created_at": now,
                "expires_at": now + INVITATION_MS,
                "ended_at": None,
            },
        )
        facts = {"invitation_id": self.invitation_id, "organisation": organisation["name"]}
        send_mail(rows, self.mail_id, "invite", self.email, facts, self.org_id, now)
        return None


@dataclass(frozen=True, slots=True)
class RevokeInvitation(_OnOrganisation):
    invitation_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(invitations, "id", (self.invitation_id,)),)

    def fold(self, rows: Rows, now: int) -> bool:
        row = _own(rows.get(invitations, self.invitation_id), self.org_id)
        if row is not None and row["ended_at"] is None:
            rows.update(invitations, self.invitation_id, {"ended_at": now})
        return row is not None


@dataclass(frozen=True, slots=True)
class AcceptInvitation:
    """Whoever received the mail joins; the address counts as confirmed."""

    invitation_id: str
    user_id: str
    password_hash: str

    def locate(self) -> Sequence[Read]:
        return (Read(invitations, "id", (self.invitation_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        row = located.get(invitations, self.invitation_id)
        return () if row is None else (row["org_id"],)

    def reads(self, located: Rows) -> Sequence[Read]:
        row = located.get(invitations, self.invitation_id)
        return () if row is None else (*self.locate(), Read(users, "email", (row["email"],)))

    def fold(self, rows: Rows, now: int) -> bool:
        """False if the invitation is used, revoked or old, or the address has an account by now."""
        row = rows.get(invitations, self.invitation_id)
        if row is None or rows.get(users, self.user_id) is not None:
            return row is not None
        if row["ended_at"] is not None or row["expires_at"] <= now or rows.find(users, "email", row["email"]):
            return False
        rows.update(invitations, self.invitation_id, {"ended_at": now})
        insert_user(rows, self.user_id, row["org_id"], row["email"], self.password_hash, now, now)
        return True


@dataclass(frozen=True, slots=True)
class RemoveMember(_OnOrganisation):
    """Somebody leaves; the last one cannot. Their sessions end."""

    user_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(users, "org_id", (self.org_id,)), Read(sessions, "user_id", (self.user_id,)))

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done, else a sentence that says why not."""
        members = [row for row in rows.find(users, "org_id", self.org_id) if not has_left(row)]
        row = next((row for row in members if row["id"] == self.user_id), None)
        if row is None:
            return None
        if len(members) == 1:
            return "The last member cannot be removed."
        end_membership(rows, self.user_id)
        end_sessions(rows, self.user_id, None, now)
        return None


def end_membership(rows: Rows, user_id: str) -> None:
    """The row stays for the audit trail, but neither the address nor the password opens anything again."""
    rows.update(users, user_id, {"email": f"removed:{user_id}", "password_hash": ""})


def _own(row: Row | None, org_id: str) -> Row | None:
    return row if row is not None and row["org_id"] == org_id else None


SETTABLE = ("name", "timezone", "max_call_duration_seconds", "disclose_ai")


@dataclass(frozen=True, slots=True)
class ChangeOrganisation(_OnOrganisation):
    """Change settings that were checked at the edge; keys are among SETTABLE."""

    changes: Mapping[str, Any]

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)),)

    def fold(self, rows: Rows, now: int) -> bool:
        if rows.get(organisations, self.org_id) is None:
            return False
        assert set(self.changes) <= set(SETTABLE)
        rows.update(organisations, self.org_id, self.changes)
        return True
