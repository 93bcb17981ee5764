"""Mails that are to be sent: writing the intention, for the worker that sends what was committed.

Invariant: what is written to an organisation goes to each of its members who has confirmed the address, once.
"""

from collections.abc import Mapping
from typing import Any

from accounts.tables import mails, users
from config.clock import stable_id
from config.rows import Row, Rows


def send_mail(
    rows: Rows, mail_id: str, kind: str, recipient: str, facts: Mapping[str, Any], org_id: str | None, now: int
) -> None:
    """Write the intention to send a mail; the worker sends it after the commit."""
    rows.insert(
        mails,
        {
            "id": mail_id,
            "org_id": org_id,
            "kind": kind,
            "recipient": recipient,
            "facts": dict(facts),
            "created_at": now,
            "due_at": now,
            "attempts": 0,
            "sent_at": None,
        },
    )


def mail_members(rows: Rows, org_id: str, key: str, facts: Mapping[str, Any], now: int) -> int:
    """The same notice (`subject`, `text`; a `path` of ours becomes a link below it) to all members: how many it goes
    to. Their rows, by `org_id`, must have been read; `key` names the notice, so that it is written once."""
    members = [
        user for user in rows.find(users, "org_id", org_id) if user["verified_at"] is not None and not has_left(user)
    ]
    for user in members:
        send_mail(rows, stable_id(now, 0, f"{key}:{user['id']}"), "notice", user["email"], facts, org_id, now)
    return len(members)


def has_left(user: Row) -> bool:
    """The row of a member who was removed stays for the trail; its address is nobody's."""
    return str(user["email"]).startswith("removed:")
