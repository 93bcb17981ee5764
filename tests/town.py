"""People at their browsers, a server, and a mailbox that receives what it sends."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from accounts.links import Links
from accounts.mailer import Mailer
from simulator.mailbox import Mailbox
from tests.servers import Server, running_network, running_server, until

PASSWORD = "correct horse battery"


@dataclass
class Visitor:
    """A browser without a screen: it keeps cookies, and sends the token of the form that it saw."""

    http: httpx.AsyncClient
    mailbox: Mailbox
    mailer: Mailer
    page: str = ""

    async def get(self, path: str, **more: Any) -> httpx.Response:
        response = await self.http.get(path, **more)
        self.page = response.text
        return response

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form as the last page would."""
        return await self.send(path, {"csrf_token": self.token, **fields})

    async def send(self, path: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
        """Send a form exactly as given."""
        response = await self.http.post(path, data=fields, headers=headers)
        if "text/html" in response.headers.get("content-type", "") and response.text:
            self.page = response.text
        return response

    @property
    def token(self) -> str:
        found = re.search(r'name="csrf_token" value="([^"]*)"', self.page)
        assert found is not None, self.page[:2000]
        return found[1]

    @property
    def text(self) -> str:
        return html.unescape(re.sub(r"<[^>]+>", "", self.page))

    @property
    def session(self) -> str | None:
        return self.http.cookies.get("cb_session")

    async def sign_up(self, email: str, password: str = PASSWORD, name: str = "Larkspur Dental") -> httpx.Response:
        await self.get("/signup")
        return await self.post("/signup", organisation=name, email=email, password=password)

    async def log_in(self, email: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        await self.get("/login")
        return await self.post("/login", email=email, password=password, **more)

    async def letter(self, email: str, about: str) -> str:
        """The path of the link in the newest mail to an address with these words in its subject."""

        def arrived() -> Any:
            found = [letter for letter in self.mailbox.letters if email in letter.recipients]
            return next((letter for letter in reversed(found) if about in letter.subject), None)

        await self.mailer.send_due()
        letter = await until(arrived, f"a mail to {email} about {about}")
        return str(httpx.URL(letter.links[0]).raw_path, "ascii")

    async def verify(self, email: str) -> httpx.Response:
        return await self.get(await self.letter(email, "Confirm"))

    async def balance(self) -> str:
        """What the pill says is available."""
        await self.get("/calls")
        found = re.search(r'id="pill".*?<b>([^<]*)</b>', self.page, re.DOTALL)
        assert found is not None
        return found[1]


@dataclass
class Town:
    server: Server
    mailbox: Mailbox
    mailer: Mailer
    """One more beside the server's, at work whenever somebody waits for a letter."""
    visitors: list[httpx.AsyncClient] = field(default_factory=list)

    def visitor(self) -> Visitor:
        client = httpx.AsyncClient(base_url=self.server.url, timeout=30, headers={"Accept": "text/html"})
        self.visitors.append(client)
        return Visitor(client, self.mailbox, self.mailer)

    async def member(self, email: str) -> Visitor:
        """Somebody who has signed up and confirmed the address."""
        made = self.visitor()
        await made.sign_up(email)
        await made.verify(email)
        return made

    def forgive(self) -> None:
        """Nobody has asked for anything lately."""
        for kind in ("login", "sign_up"):
            self.server.app.extensions[f"{kind}_limit"]._full_until.clear()


@asynccontextmanager
async def open_town(database_url: str, **environment: str) -> AsyncIterator[Town]:
    """A town on a database; `environment` as the server gets it."""
    mailbox = Mailbox(port=0)
    async with running_network(mailbox=mailbox) as network:
        await until(lambda: mailbox.port, "the mailbox")
        smtp_url = f"smtp://127.0.0.1:{mailbox.port}"
        bank_url = f"{network[0]}/stripe"
        async with running_server(
            database_url,
            network=network,
            SMTP_URL=smtp_url,
            STRIPE_API_BASE_URL=bank_url,
            **{"OPENAI_BASE_URL": f"{network[0]}/openai/v1", **environment},
        ) as server:
            links = Links(server.settings.signing_secret)
            base_url = server.settings.public_base_url
            mailer = Mailer(server.database, server.door, smtp_url, base_url, links, server.clock)
            town = Town(server, mailbox, mailer)
            yield town
            for client in town.visitors:
                await client.aclose()
