"""Where one may call.

Invariant: decided by the region a number belongs to, never by its country code alone (+1 includes the Caribbean);
premium and emergency numbers are nobody's to call.
"""

import re
from collections.abc import Collection
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

E164 = re.compile(r"\+[1-9]\d{1,14}")
_REFUSED_TYPES = {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN}


class NotDiallable(Exception):
    """With a stable `code` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def check_number(number: str, allowed_countries: Collection[str], field: str = "to") -> str:
    """The region of an E.164 number one may call, for example `US`. Raises NotDiallable."""
    if not E164.fullmatch(number):
        raise NotDiallable("invalid_number", f"`{field}` must be a phone number like +14155550123 (E.164).")
    known = _kind_and_region(number)
    if known is None:
        raise NotDiallable("invalid_number", f"`{field}` is not a phone number.")
    kind, region = known
    if kind == PhoneNumberType.UNKNOWN:
        raise NotDiallable("invalid_number", f"`{field}` is not a valid phone number.")
    if region not in allowed_countries:
        allowed = ", ".join(sorted(allowed_countries))
        raise NotDiallable("country_not_allowed", f"Calls to {region} are not allowed; allowed: {allowed}.")
    if kind in _REFUSED_TYPES:
        raise NotDiallable("number_not_allowed", f"`{field}` is a premium-rate number; such calls are not allowed.")
    return str(region)


@lru_cache(4096)
def _kind_and_region(number: str) -> tuple[int, str | None] | None:
    """None: it is no number. Kept, because a number is asked about again and again: quoted, called, retried."""
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        return None
    return phonenumbers.number_type(parsed), phonenumbers.region_code_for_number(parsed)
