"""The commands of people: sign-up, confirmation, passwords, sessions.

Invariant: free credit is given when an address is confirmed, once per person, in the same commit as the confirmation;
whoever changes a password ends every other session.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.identity import person_hash
from accounts.mails import send_mail
from accounts.tables import free_credit_identities, mails, organisations, sessions, users
from billing import ledger
from billing.posting import Posting
from billing.tables import transfers, wallets
from config.rows import Read, Rows

SESSION_MS = 14 * 86_400_000


@dataclass(frozen=True, slots=True)
class _OnUser:
    """A command about one user, whose organisation never changes."""

    user_id: str

    def locate(self) -> Sequence[Read]:
        return (Read(users, "id", (self.user_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        row = located.get(users, self.user_id)
        return () if row is None else (row["org_id"],)


@dataclass(frozen=True, slots=True)
class SignUp:
    """A new organisation with its first user, not confirmed yet, and the mail that asks for it."""

    org_id: str
    user_id: str
    mail_id: str
    organisation_name: str
    email: str
    password_hash: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return ()

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)), Read(users, "email", (self.email,)))

    def fold(self, rows: Rows, now: int) -> bool:
        """False if the address has an account."""
        if rows.get(organisations, self.org_id) is not None:
            return True
        if rows.find(users, "email", self.email):
            return False
        rows.insert(organisations, {"id": self.org_id, "name": self.organisation_name, "created_at": now})
        rows.insert(wallets, {"id": self.org_id, "balance": 0, "held": 0, "sequence": 0})
        insert_user(rows, self.user_id, self.org_id, self.email, self.password_hash, None, now)
        send_mail(rows, self.mail_id, "verify", self.email, {"user_id": self.user_id}, self.org_id, now)
        return True


def insert_user(
    rows: Rows, user_id: str, org_id: str, email: str, password_hash: str, verified_at: int | None, now: int
) -> None:
    rows.insert(
        users,
        {
            "id": user_id,
            "org_id": org_id,
            "email": email,
            "password_hash": password_hash,
            "verified_at": verified_at,
            "created_at": now,
        },
    )


def grant_free_credit(rows: Rows, org_id: str, email: str, transfer_id: str, milli_cents: int, now: int) -> int:
    """Post the free credit unless this person or organisation had it. Milli-cents granted.

    Needs the reads of `free_credit_reads`.
    """
    person = person_hash(email)
    key = f"{org_id}:free_credit"
    if not milli_cents or rows.get(free_credit_identities, person) or rows.find(transfers, "source_key", key):
        return 0
    rows.insert(free_credit_identities, {"id": person, "granted_at": now})
    ledger.apply(rows, Posting(transfer_id, key, org_id, "free_credit", milli_cents), now)
    return milli_cents


def free_credit_reads(org_id: str, email: str) -> list[Read]:
    return [
        Read(free_credit_identities, "id", (person_hash(email),)),
        Read(transfers, "source_key", (f"{org_id}:free_credit",)),
    ]


@dataclass(frozen=True, slots=True)
class VerifyEmail(_OnUser):
    """The link in the mail was opened."""

    email: str
    transfer_id: str
    free_credit_milli_cents: int

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = [Read(users, "id", (self.user_id,))]
        for org_id in self.organisations(located):
            reads += free_credit_reads(org_id, self.email)
        return reads

    def fold(self, rows: Rows, now: int) -> int | None:
        """Milli-cents of free credit granted (0: had before), or None if the link is no longer about this address."""
        user = rows.get(users, self.user_id)
        if user is None or user["email"] != self.email:
            return None
        if user["verified_at"] is not None:
            return 0
        rows.update(users, self.user_id, {"verified_at": now})
        return grant_free_credit(rows, user["org_id"], self.email, self.transfer_id, self.free_credit_milli_cents, now)


@dataclass(frozen=True, slots=True)
class AskToVerify(_OnUser):
    """Send a user the mail that asks for confirmation again."""

    mail_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(users, "id", (self.user_id,)), Read(mails, "id", (self.mail_id,)))

    def fold(self, rows: Rows, now: int) -> None:
        user = rows.get(users, self.user_id)
        if user is not None and user["verified_at"] is None and rows.get(mails, self.mail_id) is None:
            send_mail(rows, self.mail_id, "verify", user["email"], {"user_id": self.user_id}, user["org_id"], now)


@dataclass(frozen=True, slots=True)
class AskToReset:
    """Send whoever has this address the link to a new password. Where nobody has it, a mail to nobody is written: a
    commit that waits for the disk and one that does not can be told apart by the time they take."""

    email: str
    mail_id: str

    def locate(self) -> Sequence[Read]:
        return (Read(users, "email", (self.email,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        return [row["org_id"] for row in located.find(users, "email", self.email)]

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*self.locate(), Read(mails, "id", (self.mail_id,)))

    def fold(self, rows: Rows, now: int) -> None:
        if rows.get(mails, self.mail_id) is not None:
            return
        for user in rows.find(users, "email", self.email):
            send_mail(rows, self.mail_id, "reset", self.email, {"user_id": user["id"]}, user["org_id"], now)
            return
        send_mail(rows, self.mail_id, "reset", "", {}, None, now)
        rows.update(mails, self.mail_id, {"due_at": None})


@dataclass(frozen=True, slots=True)
class SetPassword(_OnUser):
    """A new password, proven by the old one's hash; every session but `kept_session` ends."""

    old_password_hash: str
    password_hash: str
    kept_session: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(users, "id", (self.user_id,)), Read(sessions, "user_id", (self.user_id,)))

    def fold(self, rows: Rows, now: int) -> bool:
        """False if the password has changed meanwhile."""
        user = rows.get(users, self.user_id)
        if user is None or user["password_hash"] not in (self.old_password_hash, self.password_hash):
            return False
        rows.update(users, self.user_id, {"password_hash": self.password_hash})
        end_sessions(rows, self.user_id, self.kept_session, now)
        return True


def end_sessions(rows: Rows, user_id: str, kept: str | None, now: int) -> None:
    for session in rows.find(sessions, "user_id", user_id):
        if session["id"] != kept and session["ended_at"] is None:
            rows.update(sessions, session["id"], {"ended_at": now})


@dataclass(frozen=True, slots=True)
class BeginSession(_OnUser):
    """Log-in. `session_id` is the hash of a fresh random token; `password_hash` is what the password was checked
    against: who was removed, or whose password was changed, while it was being checked gets no session."""

    session_id: str
    password_hash: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(users, "id", (self.user_id,)), Read(sessions, "id", (self.session_id,)))

    def fold(self, rows: Rows, now: int) -> bool:
        user = rows.get(users, self.user_id)
        if user is None or user["password_hash"] != self.password_hash:
            return False
        if rows.get(sessions, self.session_id) is None:
            rows.insert(
                sessions,
                {
                    "id": self.session_id,
                    "org_id": user["org_id"],
                    "user_id": self.user_id,
                    "created_at": now,
                    "expires_at": now + SESSION_MS,
                    "ended_at": None,
                },
            )
        return True


@dataclass(frozen=True, slots=True)
class EndSession(_OnUser):
    """Log-out."""

    session_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(sessions, "id", (self.session_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        session = rows.get(sessions, self.session_id)
        if session is not None and session["user_id"] == self.user_id and session["ended_at"] is None:
            rows.update(sessions, self.session_id, {"ended_at": now})
