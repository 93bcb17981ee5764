"""`callingbox-server batch`: call a file of numbers, and see how far it is.

It asks the HTTP API with a key, like any customer. Invariant: nobody is called before the quote was shown and agreed
to, and a batch that was made goes on whatever becomes of this command.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from config.terminal import Terminal

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 1.0
LOST_SECONDS = 3.0
TRIES = 5
BAR_WIDTH = 24
REFUSED_SHOWN = 10
ENDS = ("completed", "canceled")
WORDS = {
    "running": "calling",
    "waiting_for_window": "waiting for the hours in which people may be called",
    "waiting_for_room": "waiting for room",
    "paused": "paused",
    "completed": "completed",
    "canceled": "canceled",
}
base_url_option = click.option(
    "--base-url", envvar="CALLINGBOX_BASE_URL", default="http://127.0.0.1:8000", show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="The batch as a JSON object, for programs.")


@click.group()
def batch() -> None:
    """Call many numbers. The key is CALLINGBOX_API_KEY."""


@batch.command("run")
@click.argument("file", type=click.File("rb"))
@click.option("--agent", "agent_id", help="The outbound agent that calls (its id).")
@click.option("--prompt", help="What to do, instead of an agent.")
@click.option("--name", help="What the batch is called.")
@click.option("--from", "from_number", help="The number to call from.")
@click.option("--max-duration", "max_duration_seconds", type=click.IntRange(60, 3600), help="Seconds of a call.")
@click.option("--window", help="Local hours like 09:00-17:00, or any.  [default: 08:00-21:00]")
@click.option("--days", help="Days of the window, like mon,tue.")
@click.option("--timezone", help="Everybody's time zone; else each number's own.")
@click.option("--max-concurrent", type=click.IntRange(1, 100), help="Calls at once.  [default: 5]")
@click.option("--calls-per-second", type=click.IntRange(1, 10), help="New calls a second.  [default: 1]")
@click.option("--retry", help="Call again after: no_answer, busy, voicemail, failed; with commas.")
@click.option("--attempts", type=click.IntRange(1, 10), help="Calls to one number, with --retry.  [default: 2]")
@click.option("--wait", "wait_seconds", type=click.IntRange(10), help="Seconds between them.  [default: 900]")
@click.option("--skip-refused", is_flag=True, help="Leave out the lines that cannot be called.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@base_url_option
def run(file: Any, skip_refused: bool, yes: bool, as_json: bool, base_url: str, **options: Any) -> None:
    """Call the numbers in FILE (CSV: the column `to`, other columns are what the agent may know)."""
    if not options["agent_id"] and not options["prompt"]:
        raise click.UsageError("say who calls with --agent, or what to do with --prompt")
    content = file.read()
    query = {name: str(value) for name, value in options.items() if value is not None}
    query |= {"skip_refused": "true"} if skip_refused else {}
    with _client(base_url) as client:
        quote = _ask(client, "POST", "/v1/batches/quote", content, query)
        for line in quote_lines(quote):
            click.echo(line, err=True)
        if quote["code"] is not None:
            from voice.batches.service import NOT_ONES_OWN

            if quote["code"] in NOT_ONES_OWN:  # and said why; nothing would be made
                raise SystemExit(1)
        if not quote["calls"]:
            raise click.ClickException("there is nobody to call")
        unlisted = [row for row in quote["refused"] if row["code"] != "number_not_allowed"]
        if unlisted and not skip_refused:
            raise click.ClickException("mend these lines, or leave them out with --skip-refused")
        if not yes:
            click.confirm(f"Call {_count(quote['calls'], 'number')}?", abort=True, err=True)
        made = None
        try:
            made = _ask(client, "POST", "/v1/batches", content, query, {"Idempotency-Key": str(uuid.uuid4())})
            _follow(client, made, as_json)
        except KeyboardInterrupt:
            _stop_watching(made, base_url)


@batch.command("show")
@click.argument("batch_id")
@click.option("--follow", is_flag=True, help="Until it ends.")
@json_option
@base_url_option
def show_batch(batch_id: str, follow: bool, as_json: bool, base_url: str) -> None:
    """How far BATCH_ID is."""
    with _client(base_url) as client:
        found = _ask(client, "GET", _path(batch_id))
        try:
            _follow(client, found, as_json) if follow else _tell(found, as_json)
        except KeyboardInterrupt:
            _stop_watching(found, base_url)


def _switch(action: str, words: str) -> None:
    @batch.command(action, help=words)
    @click.argument("batch_id")
    @json_option
    @base_url_option
    def switch(batch_id: str, as_json: bool, base_url: str) -> None:
        with _client(base_url) as client:
            _tell(_ask(client, "POST", f"{_path(batch_id)}/{action}"), as_json)


_switch("pause", "No new calls of BATCH_ID; those under way go on.")
_switch("resume", "Let BATCH_ID go on where it was paused.")
_switch("cancel", "Call nobody more of BATCH_ID; calls under way go on.")


def _path(batch_id: str) -> str:
    from urllib.parse import quote

    return f"/v1/batches/{quote(batch_id, safe='')}"


def _client(base_url: str) -> "httpx.Client":
    import httpx

    if not base_url.startswith(("http://", "https://")):
        raise click.ClickException("--base-url must begin with http:// or https://")
    if not (key := os.environ.get("CALLINGBOX_API_KEY", "")).startswith("sk_"):
        raise click.ClickException("set CALLINGBOX_API_KEY to an API key")
    return httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def _ask(
    client: "httpx.Client",
    method: str,
    path: str,
    content: bytes | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The JSON of the answer; asks again when the server is busy or away. Raises ClickException."""
    import httpx

    sent = {**({"Content-Type": "text/csv"} if content is not None else {}), **(headers or {})}
    for attempt in range(TRIES):
        try:
            answer = client.request(method, path, content=content, params=dict(query or {}), headers=sent)
            data = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            if attempt == TRIES - 1:
                raise click.ClickException(f"no answer from {client.base_url} ({type(error).__name__})") from None
            time.sleep(LOST_SECONDS if attempt else POLL_SECONDS)
            continue
        if answer.status_code in (429, 503) and attempt < TRIES - 1:
            time.sleep(min(60, int(answer.headers.get("Retry-After", 1))))
            continue
        if not answer.is_success:
            lines = [str(data.get("error", "refused")), *_refused_lines(data)]
            raise click.ClickException("\n".join(lines))
        return data
    raise AssertionError("the last try has answered or raised")


def _follow(client: "httpx.Client", found: Mapping[str, Any], as_json: bool) -> None:
    """Show its progress until it ends. Whoever stops watching does not stop it."""
    screen, told = Terminal(), ""
    try:
        while found["state"] not in ENDS or found["progress"]["calling"]:
            if not as_json:
                words = _state_words(found)
                if words != told:
                    screen.line(words)
                told = words
                screen.live(bar(found))
            time.sleep(POLL_SECONDS)
            found = _ask(client, "GET", _path(found["id"]))
    finally:
        screen.live("")
    _tell(found, as_json)


def _stop_watching(found: Mapping[str, Any] | None, base_url: str) -> NoReturn:
    """After Ctrl-C. None: it came while the batch was being made, and no answer says whether it was."""
    if found is None:
        words = f"The batch may have been made, and then it goes on: {base_url.rstrip('/')}/batches shows it."
    else:
        command = f"callingbox-server batch pause {found['id']}"
        words = f"The batch goes on without this command. To pause it: {command}"
    click.echo(f"\n{words}", err=True)
    raise SystemExit(130) from None


def _tell(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    screen = Terminal()
    screen.line(_state_words(found))
    screen.line(bar(found))


def _state_words(found: Mapping[str, Any]) -> str:
    why = f": {found['message']}" if found["message"] else ""
    return f"Batch {found['id']} is {WORDS[found['state']]}{why}"


def bar(found: Mapping[str, Any]) -> str:
    """`████████░░░░  8 of 12, 2 calling; 6 completed, 2 busy; $0.42`."""
    from billing.money import dollars_exact

    progress = found["progress"]
    over = progress["total"] - progress["waiting"] - progress["calling"]
    filled = BAR_WIDTH * over // progress["total"]
    counts = {**found["outcomes"], "skipped": progress["skipped"], "not called": progress["canceled"]}
    ends = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    calling = f", {progress['calling']} calling" if progress["calling"] else ""
    cost = dollars_exact(found["charged_milli_cents"])
    blocks = ("█" * filled).ljust(BAR_WIDTH, "░") if _shows("█") else ("#" * filled).ljust(BAR_WIDTH, ".")
    return "; ".join(filter(None, (f"{blocks}  {over} of {progress['total']}{calling}", ends, cost)))


def _shows(character: str) -> bool:
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def quote_lines(quote: Mapping[str, Any]) -> Iterator[str]:
    """For people: what it could cost, and who would not be called."""
    from billing.money import dollars_down, dollars_up

    hold, worst = dollars_up(quote["hold_milli_cents"]), dollars_up(quote["worst_case_milli_cents"])
    calls, minutes = _count(quote["calls"], "call"), _count(quote["max_duration_seconds"] / 60, "minute")
    yield f"{calls} of {minutes} at most. Each holds {hold}; all cost {worst} at most."
    room = _count(quote["calls_at_once"], "call")
    yield f"Your wallet has {dollars_down(quote['available_milli_cents'])}: room for {room} of this batch at once."
    if quote["message"]:
        yield quote["message"]
    if quote["first_call_at"]:
        yield f"The first number may be called from {quote['first_call_at'][:16].replace('T', ' ')} UTC on."
    yield from _refused_lines(quote)


def _refused_lines(data: Mapping[str, Any]) -> Iterator[str]:
    if count := data.get("refused_rows"):
        yield f"{_count(count, 'line')} cannot be called:"
        yield from (f"  line {row['line']}: {row['message']}" for row in data["refused"][:REFUSED_SHOWN])
        if count > REFUSED_SHOWN:
            yield f"  and {count - REFUSED_SHOWN} more"


def _count(number: float, noun: str) -> str:
    return f"{number:,g} {noun}{'' if number == 1 else 's'}"
