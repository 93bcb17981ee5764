"""The ledger only grows: the database itself refuses to change or delete a transfer.

Invariant: whoever makes the table makes these with it, in tests and migrations alike.
"""

REFUSAL = "transfers are never changed or deleted"

APPEND_ONLY: dict[str, tuple[str, ...]] = {
    "sqlite": tuple(
        f"""
        CREATE TRIGGER transfers_refuse_{action.lower()} BEFORE {action} ON transfers
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
        """
        for action in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        f"""
        CREATE OR REPLACE FUNCTION refuse_change_of_transfers() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$
        """,
        """
        CREATE TRIGGER transfers_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_transfers()
        """,
    ),
}
"""Statements by dialect, to be run once after `transfers` has been created."""
