"""The carrier's forms: verified, then read field by field.

Invariant: nothing of a request is believed before its signature has been checked.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from quart import Response, current_app, request

from config.errors import ApiError, invalid
from voice.signature import SignatureCheck

LONGEST_SID = 64

Form = Mapping[str, str]


async def verified_form() -> Form:
    """The form, once its signature has been checked. Raises ApiError 403."""
    check: SignatureCheck = current_app.extensions["signature"]
    form = await request.form
    path = request.scope["raw_path"].decode("ascii", "replace")
    query = request.query_string.decode("ascii", "replace")
    address = f"{path}?{query}" if query else path
    if not check.passes(address, form, dict(request.headers)):
        raise ApiError(403, "bad_signature", "The request's signature does not match.")
    account_sid = current_app.extensions["settings"].carrier_account_sid
    if form.get("AccountSid", account_sid) != account_sid:
        raise ApiError(403, "wrong_account", "The request is about another account.")
    for name, value in form.items():
        if "\x00" in value:
            raise invalid(name[:64], "The value contains a NUL character.", "invalid_text")
    return form.to_dict()  # of a field that is missing it says so without an exception


def sid_of(form: Form) -> str:
    sid = form.get("CallSid", "")
    if not sid or len(sid) > LONGEST_SID or not sid.isalnum():
        raise invalid("CallSid", "`CallSid` is missing or malformed.")
    return sid


def number_in(form: Form, name: str, largest: int) -> int | None:
    value = form.get(name, "")
    if value == "":
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 12 or int(value) > largest:
        raise invalid(name, f"`{name}` must be a whole number from 0 to {largest}.")
    return int(value)


def timestamp_in(value: str | None) -> int | None:
    if not value:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


def twiml_answer(text: str) -> Response:
    return Response(text, content_type="text/xml; charset=utf-8")
