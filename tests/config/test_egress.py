"""Requests to addresses that customers name, over real sockets: what is refused, and what a bad server can do."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config import egress as guard
from config.egress import Answer, Egress, NoAnswer, Refused, check_url, is_public
from tests.receiver import LARGE, Receiver, certificate_for, receiving

PRIVATE = (
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "203.0.113.5",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888", "2606:4700::1111")


class Names:
    """A directory of names: each lookup gives the next answer, the last one for ever; and counts the lookups."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        given = self._answers.get(host.removesuffix(".example.com"))
        if given is None:
            raise OSError("no such name")
        return given.pop(0) if len(given) > 1 else given[0]


@asynccontextmanager
async def opened(
    *, allow_private: bool = False, names: Names | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Egress]:
    egress = Egress(allow_private, names, tls)
    await egress.open()
    yield egress
    await egress.close()


async def post(egress: Egress, url: str, timeout: float = 5) -> Answer:
    return await egress.post(url, b"{}", {"X-Test": "1"}, timeout_seconds=timeout, answer_bytes=2_048)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def open_egress() -> AsyncIterator[Egress]:
    """One for which private addresses are allowed."""
    async with opened(allow_private=True) as egress:
        yield egress


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_no_public_host_is_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_host_is_told(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "example.com/hook",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com/#part",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com\\@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/" + "a" * 2_048,
        "https://localhost/",
        "https://localhost:8443/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://intranet/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        *(f"https://{address}/" for address in PRIVATE if ":" not in address),
    ],
)
def test_an_address_that_no_customer_should_name_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.com/hook?a=1", "https://hooks.example.com:8443/", "https://8.8.8.8/"])
def test_a_public_address_passes(url: str) -> None:
    assert str(check_url(url, allow_private=False)) == url


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://localhost:3000/x", "https://[::1]/"])
def test_where_private_addresses_are_allowed_they_pass(url: str) -> None:
    assert str(check_url(url, allow_private=True)) == url


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]"])
def test_where_private_addresses_are_allowed_a_cloud_still_keeps_its_secrets(host: str) -> None:
    with pytest.raises(Refused):
        check_url(f"http://{host}/latest/meta-data/", allow_private=True)


async def test_nor_does_a_name_lead_there() -> None:
    async with opened(allow_private=True, names=Names(hooks=[["169.254.169.254"]])) as egress:
        with pytest.raises(Refused):
            await post(egress, "http://hooks.example.com/", timeout=1)


async def test_a_private_number_is_never_connected_to(receiver: Receiver) -> None:
    async with opened() as egress:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254", "127.1", "2130706433", "0177.0.0.1"):
            with pytest.raises((Refused, NoAnswer)):
                await post(egress, f"https://{host}:{receiver.url.rpartition(':')[2]}/ok", timeout=1)
    assert receiver.received == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]]
)
async def test_a_name_of_a_private_address_is_refused_before_connecting(tmp_path: Path, addresses: list[str]) -> None:
    server_tls, client_tls = certificate_for("hooks.example.com", tmp_path)
    async with (
        receiving(tls=server_tls) as receiver,
        opened(names=Names(hooks=[addresses]), tls=client_tls) as egress,
    ):
        port = receiver.url.rpartition(":")[2]
        with pytest.raises(Refused, match="not on the public internet"):
            await post(egress, f"https://hooks.example.com:{port}/ok")
        with pytest.raises(Refused):
            await egress.check("https://hooks.example.com/")
        assert receiver.received == []
        assert receiver.names == []


async def test_a_name_that_turns_private_after_it_was_checked_is_refused_when_it_is_used() -> None:
    names = Names(hooks=[["8.8.8.8"], ["127.0.0.1"]])
    async with opened(names=names) as egress:
        assert await egress.check("https://hooks.example.com/") == "https://hooks.example.com/"
        with pytest.raises(Refused):
            await post(egress, "https://hooks.example.com/")


async def test_a_name_is_looked_up_once_and_exactly_that_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.2" or is_public(address))
    server_tls, client_tls = certificate_for("hooks.example.com", tmp_path)
    names = Names(hooks=[["127.0.0.2"], ["127.0.0.1"]])
    async with receiving("127.0.0.2", server_tls) as receiver, opened(names=names, tls=client_tls) as egress:
        port = receiver.url.rpartition(":")[2]
        answer = await post(egress, f"https://hooks.example.com:{port}/ok/here?a=1")
        assert (answer.status, answer.body, answer.is_whole) == (200, b"thanks", True)
        assert names.asked == ["hooks.example.com"]
        assert receiver.names == ["hooks.example.com"]
        request = receiver.received[0]
        assert (request.path, request.body) == ("/ok/here?a=1", b"{}")
        assert request.headers["host"] == f"hooks.example.com:{port}"
        assert request.headers["x-test"] == "1"
        with pytest.raises(Refused):  # the name now says something else; no connection is kept that would reach it
            await post(egress, f"https://hooks.example.com:{port}/ok")
        assert len(receiver.received) == 1


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    server_tls, client_tls = certificate_for("other.example.com", tmp_path)
    names = Names(hooks=[["127.0.0.1"]])
    async with (
        receiving(tls=server_tls) as receiver,
        opened(allow_private=True, names=names, tls=client_tls) as egress,
    ):
        with pytest.raises(NoAnswer, match="certificate"):
            await post(egress, f"https://hooks.example.com:{receiver.url.rpartition(':')[2]}/ok")
        assert receiver.received == []


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver, open_egress: Egress) -> None:
    assert (await post(open_egress, f"{receiver.url}/moved")).status == 302
    assert [request.path for request in receiver.received] == ["/moved"]


async def test_of_a_large_answer_only_the_beginning_is_read(receiver: Receiver, open_egress: Egress) -> None:
    answer = await post(open_egress, f"{receiver.url}/large")
    assert (answer.status, len(answer.body), answer.is_whole) == (200, 2_048, False)
    assert receiver.large_bytes < LARGE


async def test_an_answer_that_never_ends_keeps_its_status(receiver: Receiver, open_egress: Egress) -> None:
    assert await post(open_egress, f"{receiver.url}/dripping", timeout=0.3) == Answer(200, b".", is_whole=False)


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("hanging", "No answer in 0.3 s."),
        ("closing", "The connection was closed before an answer came."),
        ("nonsense", "The answer was not HTTP."),
    ],
)
async def test_a_server_that_does_not_answer_is_said_so(
    receiver: Receiver, open_egress: Egress, manner: str, words: str
) -> None:
    with pytest.raises(NoAnswer) as raised:
        await post(open_egress, f"{receiver.url}/{manner}", timeout=0.3)
    assert str(raised.value) == words


async def test_a_server_that_is_not_there_is_said_so(open_egress: Egress) -> None:
    async with receiving() as gone:
        url = gone.url
    with pytest.raises(NoAnswer, match="Could not connect"):
        await post(open_egress, f"{url}/ok")
    async with opened(names=Names()) as egress:
        with pytest.raises(NoAnswer, match="host name was not found"):
            await post(egress, "https://nowhere.example.com/")
        assert await egress.check("https://nowhere.example.com/") == "https://nowhere.example.com/"


async def test_a_header_cannot_smuggle_in_another(receiver: Receiver, open_egress: Egress) -> None:
    with pytest.raises(NoAnswer, match="characters"):
        await open_egress.post(
            f"{receiver.url}/ok", b"", {"X-Key": "a\r\nX-Other: b"}, timeout_seconds=5, answer_bytes=10
        )
    assert receiver.received == []


async def test_the_systems_own_directory_is_asked(receiver: Receiver) -> None:
    address = receiver.url.replace("127.0.0.1", "localhost")
    async with opened(allow_private=True) as egress:
        assert (await post(egress, f"{address}/ok")).status == 200
    async with opened() as egress:
        with pytest.raises(Refused):
            await egress._resolver.resolve("localhost")


async def test_a_name_whose_servers_hang_delays_no_other(receiver: Receiver) -> None:
    async def lookup(host: str) -> Sequence[str]:
        await asyncio.sleep(3_600 if host == "dead.example.com" else 0)
        return ["127.0.0.1"]

    egress = Egress(allow_private=True, lookup=lookup)
    await egress.open()
    port = receiver.url.rpartition(":")[2]
    dead = [asyncio.create_task(post(egress, f"http://dead.example.com:{port}/ok", 60)) for _ in range(50)]
    await asyncio.sleep(0.05)
    assert (await post(egress, f"http://alive.example.com:{port}/ok")).status == 200
    assert not any(each.done() for each in dead)
    with pytest.raises(NoAnswer, match=r"No answer in 0\.1 s\."):
        await post(egress, f"http://dead.example.com:{port}/ok", 0.1)
    for each in dead:
        each.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    await egress.close()
