"""Money as integers of milli-cents, and how it is written for people.

Invariant: no amount is ever a float, and rounding to cents never favours the house: what a customer has is rounded
down, what a customer is asked to pay is rounded up.
"""

MILLI_CENTS_PER_CENT = 1_000
MILLI_CENTS_PER_DOLLAR = 100_000


def dollars_down(milli_cents: int) -> str:
    """`188_900` → `$1.88`; `-1_900_000` → `−$19.00`."""
    return _dollars(milli_cents // MILLI_CENTS_PER_CENT)


def dollars_up(milli_cents: int) -> str:
    """`111_001` → `$1.12`."""
    return _dollars(-(-milli_cents // MILLI_CENTS_PER_CENT))


def dollars_exact(milli_cents: int) -> str:
    """All digits a ledger has, without idle zeros below the cent: `5_250` → `$0.0525`, `300_000` → `$3.00`."""
    sign = "−" if milli_cents < 0 else ""
    whole, rest = divmod(abs(milli_cents), MILLI_CENTS_PER_DOLLAR)
    digits = f"{rest:05d}"
    return f"{sign}${whole:,}.{digits[:2]}{digits[2:].rstrip('0')}"


def _dollars(cents: int) -> str:
    sign = "−" if cents < 0 else ""
    return f"{sign}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"
