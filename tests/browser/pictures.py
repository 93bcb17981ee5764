"""The pictures in the README: `python -m tests.browser.pictures [DIRECTORY]`.

A month of a dental practice's calls goes through the real server and the simulated telephone network, and a real
Chromium looks at its Billing page and at a receipt, in light and in dark. Only the server's clock is moved: a day
passes between mornings.
"""

import asyncio
import base64
import random
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import httpx
from playwright.sync_api import ViewportSize

from accounts.commands import CreateOrganisation
from accounts.keys import new_key
from accounts.passwords import hash_password
from billing.ledger import Post
from billing.posting import Posting
from config.clock import new_id
from simulator.scripts import PRESETS, Script
from tests.browser.chromium import launched
from tests.databases import SqliteFiles
from tests.servers import DOLLAR, ROOT, Organisation, Server, running_network, running_server

DIRECTORY = ROOT / "docs/pictures"
DAYS, DAY_SECONDS = 30, 86_400
SIZE: ViewportSize = {"width": 1180, "height": 860}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
QUALITY = 80
EMAIL, PASSWORD, NUMBER = "dana@example.com", "correct horse battery", "+14155550100"
OUTCOMES = ("human",) * 6 + ("voicemail",) * 2 + ("no-answer", "busy")


AGENT = {
    "name": "Appointments",
    "type": "outbound",
    "instructions": "Confirm the appointment, or find a better time.",
    "first_message": "Is Tuesday at ten still good for you?",
}
LINES = ("Hello?", "Could we make it half past ten?", "Perfect, thank you.")
ANSWERS = {
    "half past ten": "Half past ten on Tuesday is free, and I have moved you there.",
    "thank you": "You're welcome. See you on Tuesday!",
}


def environment(network_url: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{network_url}/openai/v1", "RATE_LIMIT_PER_MINUTE": "0", "LOG_LEVEL": "CRITICAL"}


async def organisation(server: Server) -> Organisation:
    key, ids = new_key(), (new_id(), new_id(), new_id(), new_id())
    await server.door.submit(
        CreateOrganisation(*ids, "Larkspur Dental", EMAIL, hash_password(PASSWORD), key, 5 * DOLLAR)
    )
    made = await server.organisation(number=None, credit=0)
    made.id, made.api_key, made.number = ids[0], key, NUMBER
    made.api.headers["Authorization"] = f"Bearer {key}"
    await server.number(made, NUMBER)
    return made


async def month(server: Server, org: Organisation) -> None:
    """Calls of a month, ending today; one day passes for each."""
    chance = random.Random(4)
    for day in range(DAYS):
        if day in (3, 17):
            topup = Posting(new_id(), f"topup:{day}", org.id, "topup", 25 * DOLLAR, reason="topup")
            await server.door.submit(Post(topup))
        weekend = datetime.fromtimestamp(server.clock() / 1000, UTC).weekday() >= 5
        for number in range(1 if weekend else chance.randint(3, 9)):
            talks = {"talk_seconds": float(chance.randint(35, 290)), "caller": "silent"}
            await call(server, org, f"+1415555{101 + number:04d}", chance.choice(OUTCOMES), talks)
        server.clock.advance(DAY_SECONDS if day < DAYS - 1 else 0)


async def conversation(server: Server, org: Organisation) -> str:
    """One call at the pace of a real one, with an agent; gives its id."""
    [number] = (await org.get("/v1/numbers"))["data"]
    agent = await org.api.post("/v1/agents", json={**AGENT, "number_ids": [number["id"]]})
    assert agent.is_success, agent.text
    steps = [{"when": heard, "text": words} for heard, words in ANSWERS.items()]
    async with httpx.AsyncClient(base_url=server.network_url) as network:
        scripted = await network.post("/_sim/model", json={"steps": steps})
        assert scripted.is_success, scripted.text
    assert server.network is not None
    server.network.clock.speed = 1.0
    script = {"talk_seconds": 30.0, "caller": "patient", "says": LINES}
    over = await call(server, org, "+14155550123", "human", script, agent_id=agent.json()["id"])
    return str(over["id"])


async def call(
    server: Server, org: Organisation, to: str, outcome: str, changes: Mapping[str, Any], **wanted: Any
) -> Any:
    """One call from its beginning to its end."""
    preset = PRESETS[outcome]
    values = {name: getattr(preset, name) for name in preset.__struct_fields__}
    assert server.network is not None
    server.network.scripts[to] = Script(**(values | dict(changes if outcome == "human" else {})))
    return await org.over(await org.call(to, max_duration_seconds=900, **wanted))


def take_pictures(url: str, call_id: str, directory: Path) -> None:
    with launched() as browser:
        page = browser.new_context(viewport=SIZE, device_scale_factor=2).new_page()
        devtools = page.context.new_cdp_session(page)
        page.goto(f"{url}/login")
        page.get_by_label("Email").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/calls*")
        for name, path in {"billing": "/billing", "receipt": f"/calls/{call_id}"}.items():
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.goto(f"{url}{path}")
                taken = devtools.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
                (directory / f"{name}-{scheme}.webp").write_bytes(base64.b64decode(taken["data"]))


async def main(directory: Path) -> None:
    with TemporaryDirectory() as home, SqliteFiles(Path(home)).database(Path(home)) as database_url:
        async with (
            running_network(speed=2_000.0) as network,
            running_server(database_url, network=network, **environment(network[0])) as server,
        ):
            server.clock.advance(-(DAYS - 1) * DAY_SECONDS)
            org = await organisation(server)
            await month(server, org)
            call_id = await conversation(server, org)
            await asyncio.to_thread(take_pictures, server.url, call_id, directory)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY))
