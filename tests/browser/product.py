"""The product as somebody runs it: a server process that starts its own simulator, reached over loopback alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.servers import Installation, free_port, installation

PASSWORD = "correct horse battery"


@dataclass
class Product:
    installation: Installation
    simulator: httpx.Client

    @property
    def url(self) -> str:
        return self.installation.url

    def mail_to(self, address: str) -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = self.simulator.get("/_sim/mail", params={"to": address}).json()["messages"]
        return found

    def api(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def command(self, *arguments: str) -> str:
        return self.installation.run(*arguments).stdout


@contextmanager
def running_product(directory: Path) -> Iterator[Product]:
    network_url = f"http://127.0.0.1:{free_port()}"
    with (
        installation(
            directory,
            network_url,
            STRIPE_API_BASE_URL=f"{network_url}/stripe",
            OPENAI_BASE_URL=f"{network_url}/openai/v1",
            SMTP_URL=f"smtp://127.0.0.1:{free_port()}",
            ALLOW_PRIVATE_URLS="true",
        ) as made,
        httpx.Client(base_url=network_url, timeout=20) as simulator,
    ):
        server = made.start()
        try:
            yield Product(made, simulator)
        finally:
            server.stop()
