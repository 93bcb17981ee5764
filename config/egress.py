"""Requests to addresses that customers name: their webhooks and their agents' tools.

Invariant: no connection is opened to an address that is not public, and the address that was checked is the address
connected to. A name is looked up once for each request, here, and the connector is handed exactly what was checked,
so a name that changes its mind in between changes nothing. The TLS name and the Host header stay the customer's.
Redirects are not followed: each would be another address.

`ALLOW_PRIVATE_URLS` lifts the scheme and the ranges, for development; where clouds keep their machines' secrets stays
closed.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

LONGEST_URL = 2_048
LOOKUPS_AT_ONCE = 512
"""More than are ever sent to at once: a name whose servers hang keeps its thread, and others must find one."""
CHECK_SECONDS = 3
USER_AGENT = "CallingBox/1.0"
PRIVATE_NAMES = (".localhost", ".local", ".internal", ".home.arpa")
NOT_PUBLIC = "The address is not on the public internet."

# What the IANA registries of special-purpose addresses set apart, and then some. The standard library's
# `is_global` differs between Python's patch versions and calls multicast and NAT64 global.
_CLOSED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, yet a cloud's host agent
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address in disguise
        "3fff::/20",
    )
)
_OPEN_V6 = ip_network("2000::/3")
"""All that is given out to hosts. Loopback, mapped, NAT64, unique local, link-local and multicast lie outside."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""A name → its addresses as text. Raises OSError."""


class Refused(Exception):
    """The address is not one we connect to. `str(error)` is a sentence for the customer."""


class NoAnswer(Exception):
    """There was no HTTP answer. `str(error)` says why, for the customer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: its first bytes as sent; `is_whole`: that was all of it."""

    status: int
    body: bytes
    is_whole: bool


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address, as text, is a host on the public internet."""
    parsed = ip_address(address)
    if parsed.version == 6 and parsed not in _OPEN_V6:
        return False
    return not any(_holds(network, parsed.version) and parsed in network for network in _CLOSED)


def may_reach(address: str, allow_private: bool) -> bool:
    """Whether we connect to this IPv4 or IPv6 address."""
    parsed = ip_address(address)
    is_private = allow_private and not (getattr(parsed, "ipv4_mapped", None) or parsed).is_link_local
    return is_private or is_public(address)


def check_url(text: str, allow_private: bool) -> URL:
    """The address as it will be used. Looks nothing up: a name may still turn out not to be public. Raises Refused."""
    if len(text) > LONGEST_URL:
        raise Refused(f"The address is longer than {LONGEST_URL} characters.")
    if not text.isprintable() or " " in text or "\\" in text:
        raise Refused("The address contains characters that do not belong in one.")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise Refused("This is not an address. Write it like https://example.com/path.") from None
    if url.scheme not in (("https", "http") if allow_private else ("https",)):
        raise Refused("The address must begin with https://.")
    if not host or not port:
        raise Refused("This is not an address. Write it like https://example.com/path.")
    if url.user is not None or url.password is not None or url.raw_fragment:
        raise Refused("The address must not contain a user name, a password or a fragment.")
    if not _may_be_reached(host, allow_private):
        raise Refused(NOT_PUBLIC)
    return url


def _may_be_reached(host: str, allow_private: bool) -> bool:
    """Numbers are judged; a name only by how it looks."""
    try:
        return may_reach(host, allow_private)
    except ValueError:
        name = host.rstrip(".").lower()
        return allow_private or ("." in name and not name.endswith(PRIVATE_NAMES))


def _holds(network: IPv4Network | IPv6Network, version: int) -> bool:
    return network.version == version


class Egress:
    """The way out, one for each process. `lookup` and `tls` are for tests."""

    def __init__(self, allow_private: bool, lookup: Lookup | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.allow_private = allow_private
        # Threads of our own: a name whose servers hang holds one for many seconds, and must not keep ours waiting.
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        self._resolver = _PublicOnly(lookup or self._ask_system, allow_private)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            family=socket.AF_UNSPEC,
            limit=0,
            force_close=True,  # a kept connection may be closed by them just when we use it, and a POST is not repeated
            ssl=self._tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a small answer must stay small
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, text: str) -> str:
        """The address in its normal form, looked up once to tell the customer early; a name that cannot be found
        just now passes, because it is checked again whenever it is used. Raises Refused."""
        url = check_url(text, self.allow_private)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._resolver.resolve(url.raw_host or "")
        except (OSError, TimeoutError):
            pass
        return str(url)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, answer_bytes: int
    ) -> Answer:
        """Send and give the answer, whatever its status. Raises Refused, NoAnswer."""
        assert self._session is not None, "open() comes first"
        address = check_url(url, self.allow_private)
        try:
            async with self._session.post(
                address,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as response:
                begun, is_whole = await _beginning(response, answer_bytes)
                return Answer(response.status, begun, is_whole)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(_reason(error, timeout_seconds)) from error

    async def _ask_system(self, host: str) -> list[str]:
        def ask() -> list[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except UnicodeError as error:
            raise OSError("not a host name") from error


class _PublicOnly(AbstractResolver):
    """What the connector asks; it connects to nothing but what is answered here."""

    def __init__(self, lookup: Lookup, allow_private: bool) -> None:
        self._lookup, self._allow_private = lookup, allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        if not all(may_reach(address, self._allow_private) for address in addresses):
            raise Refused(NOT_PUBLIC)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes, and whether that was all. The status has been said; a body that breaks off changes
    nothing. The connection is closed rather than drained."""
    begun = bytearray()
    try:
        while len(begun) <= limit:
            chunk = await response.content.read(limit + 1 - len(begun))
            if not chunk:
                return bytes(begun), True
            begun += chunk
    except (aiohttp.ClientError, OSError, TimeoutError):
        pass
    finally:
        response.close()
    return bytes(begun[:limit]), False


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "The host name was not found."),
    (aiohttp.ClientConnectorCertificateError, "The server's certificate is not valid."),
    (aiohttp.ClientSSLError, "No secure connection could be made."),
    (aiohttp.ClientConnectorError, "Could not connect."),
    (aiohttp.ServerDisconnectedError, "The connection was closed before an answer came."),
    (aiohttp.ClientOSError, "The connection broke off."),
    (aiohttp.InvalidURL, "The address cannot be used."),
    (aiohttp.ClientError, "The answer was not HTTP."),
    (OSError, "Could not connect."),
    (ValueError, "The request cannot be sent: a header or the address has characters that are not allowed."),
)


def _reason(error: Exception, timeout_seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"No answer in {timeout_seconds:g} s."
    return next(words for kind, words in _REASONS if isinstance(error, kind))
