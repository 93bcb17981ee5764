"""The commands that change organisations and their keys.

Invariant: an organisation, its wallet, its first user and its free credit come into being together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.identity import person_hash
from accounts.keys import SHOWN_LENGTH, hash_of
from accounts.people import free_credit_reads, insert_user
from accounts.tables import api_keys, free_credit_identities, organisations, users
from billing import ledger
from billing.posting import Posting
from billing.tables import wallets
from config.rows import OfOneOrganisation, Read, Rows


@dataclass(frozen=True, slots=True)
class CreateOrganisation:
    """With its owner, a first API key and, where `free_credit_milli_cents` > 0, the free credit."""

    org_id: str
    user_id: str
    key_id: str
    transfer_id: str
    name: str
    email: str
    password_hash: str
    api_key: str
    free_credit_milli_cents: int

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return ()  # it does not exist yet, so nobody else can be changing it

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            Read(organisations, "id", (self.org_id,)),
            Read(users, "email", (self.email,)),
            *free_credit_reads(self.org_id, self.email),
        )

    def fold(self, rows: Rows, now: int) -> str | None:
        """The organisation's id, or None if the e-mail address is taken."""
        if rows.get(organisations, self.org_id) is not None:
            return self.org_id
        if rows.find(users, "email", self.email):
            return None
        rows.insert(organisations, {"id": self.org_id, "name": self.name, "created_at": now})
        rows.insert(wallets, {"id": self.org_id, "balance": 0, "held": 0, "sequence": 0})
        insert_user(rows, self.user_id, self.org_id, self.email, self.password_hash, now, now)
        insert_key(rows, self.key_id, self.org_id, self.user_id, "First key", self.api_key, None, now)
        if self.free_credit_milli_cents:  # an operator's decision, whoever had it before; remembered all the same
            key = f"{self.org_id}:free_credit"
            posting = Posting(self.transfer_id, key, self.org_id, "free_credit", self.free_credit_milli_cents)
            ledger.apply(rows, posting, now)
            if rows.get(free_credit_identities, person_hash(self.email)) is None:
                rows.insert(free_credit_identities, {"id": person_hash(self.email), "granted_at": now})
        return self.org_id


@dataclass(frozen=True, slots=True)
class CreateKey(OfOneOrganisation):
    """One more API key for an organisation."""

    key_id: str
    org_id: str
    name: str
    api_key: str
    user_id: str | None = None
    expires_at: int | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)), Read(api_keys, "id", (self.key_id,)))

    def fold(self, rows: Rows, now: int) -> str | None:
        """The key's id, or None if there is no such organisation."""
        if rows.get(organisations, self.org_id) is None:
            return None
        if rows.get(api_keys, self.key_id) is None:
            insert_key(rows, self.key_id, self.org_id, self.user_id, self.name, self.api_key, self.expires_at, now)
        return self.key_id


@dataclass(frozen=True, slots=True)
class RevokeKey(OfOneOrganisation):
    """From this commit on the key opens nothing."""

    key_id: str
    org_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(api_keys, "id", (self.key_id,)),)

    def fold(self, rows: Rows, now: int) -> bool:
        """False if the organisation has no such key."""
        row = rows.get(api_keys, self.key_id)
        if row is None or row["org_id"] != self.org_id:
            return False
        if row["revoked_at"] is None:
            rows.update(api_keys, self.key_id, {"revoked_at": now})
        return True


def insert_key(
    rows: Rows, key_id: str, org_id: str, user_id: str | None, name: str, key: str, expires_at: int | None, now: int
) -> None:
    rows.insert(
        api_keys,
        {
            "id": key_id,
            "org_id": org_id,
            "user_id": user_id,
            "name": name,
            "prefix": key[:SHOWN_LENGTH],
            "key_hash": hash_of(key),
            "expires_at": expires_at,
            "revoked_at": None,
            "created_at": now,
        },
    )
