"""Every kind of error there is: the one table of codes.

Invariant: nothing answers with a code, or with a status for it, that does not stand here.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Code(NamedTuple):
    """`statuses`: of the answers that carry it; none: it stands on a call as its `error_code`, or the web framework
    chooses the status."""

    statuses: tuple[int, ...]
    means: str
    do: str


CODES: Mapping[str, Code] = {
    "agent_archived": Code(
        (409,),
        "The agent is archived: it makes and takes no more calls, and cannot be changed.",
        "Create another agent.",
    ),
    "agent_not_inbound": Code(
        (400,), "`inbound_agent_id` names an agent that calls out.", "Name an agent of type `inbound`."
    ),
    "agent_not_outbound": Code(
        (400,), "`agent_id` names an agent that answers calls.", "Name an agent of type `outbound`."
    ),
    "bad_form": Code(
        (403,),
        "The page's form is too old, or came from another page. Only the dashboard answers this.",
        "Reload the page and send it again.",
    ),
    "bad_signature": Code(
        (400, 403),
        "A callback is not signed by the carrier or the bank, or its signature is too old. Only they see this.",
        "Check the signing secret, and that PUBLIC_BASE_URL is the address they call.",
    ),
    "batch_over": Code(
        (409,), "The batch is completed or canceled, and stays as it is.", "Make another batch of the numbers left."
    ),
    "batch_rows_refused": Code(
        (400,),
        "Some of the batch's numbers cannot be called; nothing was made. `refused` says which, by line, and why.",
        "Mend or remove them, or send `skip_refused` to leave them out.",
    ),
    "body_too_large": Code(
        (400,), "The body is larger than the server takes.", "Send less; the answer says how much is taken."
    ),
    "call_unresolved": Code(
        (409,),
        "What became of an earlier call between these two numbers is not known yet.",
        "Try again in a few minutes.",
    ),
    "caller_blocked": Code(
        (),
        "On an inbound call: the caller is on your list of blocked callers, and was rejected.",
        "Take the caller off the list to hear from them.",
    ),
    "caller_id_not_verified": Code(
        (400,), "The carrier does not accept `from_number` as caller id.", "Call from another number."
    ),
    "caller_rate_limited": Code(
        (),
        "On an inbound call: the caller was answered too often within the hour, and was rejected.",
        "Nothing; the caller can try again later.",
    ),
    "calls_paused": Code(
        (402,),
        "The call's hold does not fit into what is available. No call was made, and nothing was held.",
        "Add credits, or ask for a shorter call with `max_duration_seconds`.",
    ),
    "carrier_busy": Code((503,), "The carrier has no capacity just now. Nothing was charged.", "Try again shortly."),
    "carrier_refused": Code(
        (400,),
        "The carrier refused this request. Nothing was charged.",
        "Read the sentence; the same request will be refused again.",
    ),
    "carrier_refuses_us": Code(
        (502,),
        "The carrier refuses this server's credentials, or does not know its account. Nothing was charged.",
        "Tell the server's operator.",
    ),
    "carrier_unreachable": Code(
        (502,), "The carrier could not be reached. Nothing was charged.", "Try again in a moment."
    ),
    "code_expired": Code((400,), "The confirmation code is used up or too old.", "Have another one told."),
    "concurrent_calls_reached": Code(
        (429,),
        "Your organisation has as many calls under way as it may have.",
        "Wait until one ends, or raise the limit on the Billing page.",
    ),
    "carrier_forgot": Code(
        (), "On a call: the carrier lost track of it. Nothing was charged.", "Nothing; or place the call again."
    ),
    "country_not_allowed": Code(
        (400,),
        "This country or region may not be called, or no numbers are sold there.",
        "Choose a number in an allowed country.",
    ),
    "daily_cap_reached": Code(
        (402,),
        "What your organisation spent today and holds, with this call or number, exceeds its daily cap.",
        "Raise the cap on the Billing page, ask for a shorter call, or wait until the day is over.",
    ),
    "dial_lost": Code((), "On a call: the carrier never confirmed it. Nothing was charged.", "Place the call again."),
    "duplicate_number": Code(
        (), "On a refused row of a batch: the number is on an earlier line already.", "Keep one of the lines."
    ),
    "ended_by_hand": Code(
        (),
        "On a call: whoever runs the server ended it, for example because the carrier no longer answers for it. "
        "Nothing was charged.",
        "Nothing; or place the call again.",
    ),
    "endpoint_disabled": Code((409,), "The webhook endpoint is disabled or deleted.", "Enable it first."),
    "http_error": Code((), "The request failed before it was understood.", "Check method, address and headers."),
    "idempotency_key_reused": Code(
        (409,), "This `Idempotency-Key` was used with another body.", "Use a new key for each new call."
    ),
    "inbound_disabled": Code(
        (),
        "On an inbound call: no agent answers this number, so the caller was rejected.",
        "Attach an inbound agent to the number.",
    ),
    "insufficient_credit": Code((402,), "What is to be bought costs more than is available.", "Add credits."),
    "internal_error": Code((500,), "Something went wrong on our side. Nothing was half done.", "Try again."),
    "invalid_csv": Code(
        (400,),
        "The file is not CSV in UTF-8 with a heading and a column `to`; or a row does not fit its heading.",
        "Mend the line that the answer names.",
    ),
    "invalid_event": Code(
        (400,),
        "The bank's event does not have the documented form. Only the bank sees this.",
        "Check the API version of the webhook endpoint at Stripe.",
    ),
    "invalid_from_number": Code(
        (400,),
        "`from_number` is not an active number of your organisation.",
        "Name one of your numbers, or leave the field out.",
    ),
    "invalid_json": Code(
        (400,), "The body is not valid JSON in UTF-8, or is nested too deeply.", "Send a JSON object."
    ),
    "invalid_number": Code(
        (400,), "Not a phone number in E.164, or one that does not exist.", "Write it like +14155550123."
    ),
    "invalid_request": Code(
        (400,), "A field or parameter is missing, unknown or of the wrong kind; `field` names it.", "Mend the field."
    ),
    "invalid_text": Code((400,), "A text contains NUL characters or unpaired surrogates.", "Take them out."),
    "invalid_url": Code(
        (400,), "Not an address that the server would call.", "Give an https address on the public internet."
    ),
    "key_concurrent_calls_reached": Code(
        (429,),
        "This API key has as many calls under way as it may have.",
        "Wait until one ends, or raise the limit on the API keys page.",
    ),
    "key_country_not_allowed": Code(
        (400,),
        "This API key may not call this country.",
        "Change the countries on the API keys page.",
    ),
    "key_daily_cap_reached": Code(
        (402,),
        "What this API key spent today and holds, with this call or number, exceeds its daily cap.",
        "Raise the cap on the API keys page, ask for a shorter call, or wait until the day is over.",
    ),
    "key_is_limited": Code(
        (403,),
        "An API key with limits of its own cannot change limits or the low-credit alert.",
        "Use a key without limits, or the dashboard.",
    ),
    "key_monthly_cap_reached": Code(
        (402,),
        "What this API key spent this month and holds, with this call or number, exceeds its monthly cap.",
        "Raise the cap on the API keys page, ask for a shorter call, or wait until the month is over.",
    ),
    "key_revoked": Code(
        (), "On a batch: the API key that made it was revoked, so it is paused.", "Make the batch again."
    ),
    "last_member": Code(
        (409,), "An account keeps at least one member. Only the dashboard answers this.", "Invite somebody else first."
    ),
    "method_not_allowed": Code(
        (405,), "This address does not take this method.", "Use one that the header `Allow` lists."
    ),
    "monthly_cap_reached": Code(
        (402,),
        "What your organisation spent this month and holds, with this call or number, exceeds its monthly cap.",
        "Raise the cap on the Billing page, ask for a shorter call, or wait until the month is over.",
    ),
    "no_number": Code(
        (400,), "There is no active number to call from.", "Buy or import a number, or attach one to the agent."
    ),
    "not_found": Code((404,), "There is no such thing, or it is not yours.", "Check the id, and whose key you use."),
    "number_has_inbound_agent": Code(
        (409,), "Another agent answers this number already.", "Detach the number from that agent first."
    ),
    "number_needs_address": Code(
        (400,), "The carrier sells this number only to whoever has an address there.", "Choose another number."
    ),
    "number_not_allowed": Code(
        (400,),
        "This number may not be called: premium, emergency, or on your do-not-call list.",
        "Call another number, or take it off the list.",
    ),
    "number_not_attached": Code((400,), "The number does not belong to this agent.", "Attach it to the agent first."),
    "number_not_verified": Code(
        (400,),
        "The number must be verified first.",
        "Verify it under `/v1/verified_numbers`, or with the carrier while its account is on trial.",
    ),
    "number_unavailable": Code((409,), "The number is not for sale, or no longer.", "Choose another number."),
    "number_unreachable": Code((400,), "The carrier cannot reach this number.", "Call another number."),
    "organisation_country_not_allowed": Code(
        (400,),
        "Your organisation may not call this country.",
        "Change the countries on the Billing page.",
    ),
    "organisation_suspended": Code((403,), "Your organisation is suspended.", "Write to support."),
    "over_capacity": Code(
        (503,),
        "The server, or its database, cannot do this just now. Nothing was changed.",
        "Try again after the seconds in `Retry-After`.",
    ),
    "payments_not_configured": Code((503,), "This server takes no payments.", "Ask its operator for credit."),
    "payments_refused": Code(
        (502,),
        "The bank refused the payment request. Nothing was charged.",
        "Try again later; the operator has been told.",
    ),
    "payments_unavailable": Code(
        (503,), "The bank cannot be reached just now. Nothing was charged.", "Try again in a moment."
    ),
    "purchase_unresolved": Code(
        (502,),
        "Whether the number was bought is not known yet. Its price is held until it is.",
        "Look at your numbers in a few minutes; do not buy it again.",
    ),
    "rate_limited": Code((429,), "Too many requests.", "Wait the seconds that `Retry-After` says."),
    "request_timeout": Code((408,), "The body did not arrive in time.", "Send it again, faster."),
    "too_many_batches": Code(
        (409,), "There are as many unfinished batches as there may be.", "Cancel one, or wait until one is completed."
    ),
    "too_many_codes": Code((429,), "Too many confirmation codes were told today.", "Try again tomorrow."),
    "too_many_endpoints": Code((409,), "There are as many webhook endpoints as there may be.", "Delete one first."),
    "topup_rate_limited": Code(
        (429,), "Too many top-ups were begun within the hour.", "Wait the seconds that `Retry-After` says."
    ),
    "type_is_fixed": Code((400,), "An agent's type cannot be changed.", "Create another agent."),
    "unauthorized": Code(
        (401,),
        "The API key is missing, unknown, expired or revoked.",
        "Send `Authorization: Bearer sk_live_…` with a valid key.",
    ),
    "unsupported_media_type": Code((415,), "The body is of a kind that this address does not take.", "Send JSON."),
    "window_never_opens": Code(
        (),
        "On a refused row of a batch: its number may be in several time zones, and the hours in which it may be called "
        "have none in common.",
        "Make the window longer, or give it a `timezone`.",
    ),
    "wrong_account": Code(
        (403,),
        "A callback is about another account at the carrier. Only the carrier sees this.",
        "Check TWILIO_ACCOUNT_SID.",
    ),
    "wrong_code": Code(
        (400,),
        "The confirmation code is not the one that was told.",
        "Enter it again; after five attempts have another one told.",
    ),
    "wrong_livemode": Code(
        (400,),
        "The bank's event is of the other mode: live and test are kept apart. Only the bank sees this.",
        "Use the secrets of one mode.",
    ),
}
