"""Where one may call.

Invariant: decided by the region a number belongs to, never by its country code alone (+1 includes the Caribbean);
premium and emergency numbers are nobody's to call.
"""

import re
from collections.abc import Collection

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
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        raise NotDiallable("invalid_number", f"`{field}` is not a phone number.") from None
    kind = phonenumbers.number_type(parsed)
    if kind == PhoneNumberType.UNKNOWN:
        raise NotDiallable("invalid_number", f"`{field}` is not a valid phone number.")
    region = phonenumbers.region_code_for_number(parsed)
    if region not in allowed_countries:
        allowed = ", ".join(sorted(allowed_countries))
        raise NotDiallable("country_not_allowed", f"Calls to {region} are not allowed; allowed: {allowed}.")
    if kind in _REFUSED_TYPES:
        raise NotDiallable("number_not_allowed", f"`{field}` is a premium-rate number; such calls are not allowed.")
    return str(region)
