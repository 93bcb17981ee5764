"""`callingbox-server listen`: what happens to calls, line by line, as it happens.

It asks the HTTP API with a key, like any customer. Invariant: each piece of evidence and each movement of money of a
call that changes while we listen is printed once, in order, however fast the call was; what was before is not told.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 1.0
LOST_SECONDS = 3.0
PAGE = 100
MOST_PAGES = 20


@click.command()
@click.option("--base-url", envvar="CALLINGBOX_BASE_URL", default="http://127.0.0.1:8000", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, for programs.")
def listen(base_url: str, as_json: bool) -> None:
    """Print what happens to calls as it happens, until stopped. The key is CALLINGBOX_API_KEY."""
    import httpx

    if not base_url.startswith(("http://", "https://")):
        raise click.ClickException("--base-url must begin with http:// or https://")
    if not (key := os.environ.get("CALLINGBOX_API_KEY", "")).startswith("sk_"):
        raise click.ClickException("set CALLINGBOX_API_KEY to an API key")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it the same way
    try:
        with httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
            _listen(client, as_json)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _listen(client: "httpx.Client", as_json: bool) -> None:
    import httpx

    heard = Heard()
    is_lost = False
    while True:
        try:
            first = not heard.has_begun
            for event in heard.look(lambda path, **query: _get(client, path, query)):
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else line(event))
            if first:
                click.echo("callingbox-server: listening; place a call", err=True)
            is_lost = False
            time.sleep(POLL_SECONDS)
        except (httpx.HTTPError, ValueError) as error:
            if not is_lost:
                click.echo(f"callingbox-server: no answer ({type(error).__name__}); trying again", err=True)
            is_lost = True
            time.sleep(LOST_SECONDS)


def _get(client: "httpx.Client", path: str, query: Mapping[str, Any]) -> Any:
    """Raises httpx.HTTPError, ValueError, and ClickException where asking again would not help."""
    while (answer := client.get(path, params=dict(query))).status_code == 429:
        time.sleep(int(answer.headers.get("Retry-After", 1)))
    if answer.status_code in (401, 403, 404):
        raise click.ClickException(str(answer.json().get("error", "refused")))
    answer.raise_for_status()
    return answer.json()


class Heard:
    """What was told already: by call, when it last changed and what its receipt had."""

    def __init__(self) -> None:
        self.has_begun = False
        self._changed: dict[str, str] = {}
        self._told: dict[str, set[str]] = {}

    def look(self, get: Any) -> Iterator[dict[str, Any]]:
        """Ask once; the events that are new. The first time: none, that is where listening begins."""
        calls = list(self._recent(get))
        for call in reversed(calls):
            if self._changed.get(call["id"]) == call["updated_at"]:
                continue
            known = call["id"] in self._changed
            if self.has_begun or call["reservation_status"] == "reserved":
                receipt = get(f"/v1/calls/{call['id']}/receipt")
                yield from self._news(call, receipt, tells=self.has_begun or known)
            self._changed[call["id"]] = call["updated_at"]
        self.has_begun = True

    def _recent(self, get: Any) -> Iterator[dict[str, Any]]:
        """The newest page, and older ones while they are all unknown to us."""
        query: dict[str, Any] = {"limit": PAGE}
        for _ in range(MOST_PAGES if self.has_begun else 1):
            page = get("/v1/calls", **query)
            yield from page["data"]
            if not page["has_more"] or any(call["id"] in self._changed for call in page["data"]):
                return
            query["starting_after"] = page["data"][-1]["id"]

    def _news(self, call: Mapping[str, Any], receipt: Mapping[str, Any], *, tells: bool) -> Iterator[dict[str, Any]]:
        told = self._told.setdefault(call["id"], set())
        for at, event in sorted(_happened(call, receipt), key=lambda each: each[0]):
            name = json.dumps(event, sort_keys=True)
            if tells and name not in told:
                yield {"at": at, **event}
            told.add(name)


def _happened(call: Mapping[str, Any], receipt: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(when, what) of one call: evidence before the money of the same moment, and how it ended."""
    about = {"call_id": call["id"]}
    for row in receipt["timeline"]:
        yield row["arrived_at"], {**about, "event": f"{row['source']}.{row['kind']}", "said": row["said"]}
    for row in receipt["transfers"]:
        moved = {name: row[name] for name in ("amount_milli_cents", "held_delta_milli_cents")}
        money = {**moved, "transfer_id": row["id"]}
        yield row["created_at"], {**about, "event": f"money.{row['kind']}", **money}
    if receipt["reason"] is not None:
        outcome = {"reason": receipt["reason"], "charge_milli_cents": receipt["charge_milli_cents"]}
        yield call["updated_at"], {**about, "event": f"call.{call['status']}", **outcome}


def line(event: Mapping[str, Any]) -> str:
    """For people: the time in UTC, the call, what happened."""
    from billing.money import dollars_exact
    from billing.presenting import movement_words

    if "said" in event:
        words = ", ".join(f"{name} {value}" for name, value in event["said"].items())
    elif "reason" in event:
        words = f"{event['reason']}, {dollars_exact(event['charge_milli_cents'])}"
    else:
        words = movement_words(event["amount_milli_cents"], event["held_delta_milli_cents"])
    return f"{event['at'][11:23]}  {event['call_id']}  {event['event']:<18} {words}"
