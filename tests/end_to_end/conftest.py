import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.servers import Installation, installation, network_process

BELONGS_TO_SOMEBODY = re.compile(r"sk_live_[\w-]+|Bearer \w+|whsec_\w+|(?:\+|%2B)1\d{10}")


@dataclass
class Site:
    """A running server, its network, and one organisation, all made with the command line alone."""

    installed: Installation
    network_url: str
    org_id: str
    api_key: str
    number: str

    @property
    def url(self) -> str:
        return self.installed.url


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with network_process(directory) as network_url:
        beside_it = {"STRIPE_API_BASE_URL": f"{network_url}/stripe", "OPENAI_BASE_URL": f"{network_url}/openai/v1"}
        with installation(directory, network_url, RATE_LIMIT_PER_MINUTE="0", **beside_it) as installed:
            yield _opened(installed, network_url)
            written = (directory / "server.log").read_text()
            assert BELONGS_TO_SOMEBODY.findall(written) == [], "whatever was sent, nothing of anybody is written down"


def _opened(installed: Installation, network_url: str) -> Site:
    installed.start()
    created = installed.run("org", "create", "Example", "--email", "owner@example.com", "--password", "long enough")
    made = json.loads(created.stdout)
    number = "+14155550100"
    installed.run("number", "import", made["org_id"], number)
    installed.run("credit", "adjust", made["org_id"], "10000000", "--reason", "for the tests")
    return Site(installed, network_url, made["org_id"], made["api_key"], number)
