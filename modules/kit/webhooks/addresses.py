"""Where a webhook may go: which URLs, and which addresses behind their names.

A receiver's URL comes from outside and this machine makes the request, so it must reach nothing
that only this machine can reach. A name is resolved here, every address that it gives is judged,
and the connection is made to one of the very addresses that were judged: asking the name again
would let it answer differently (DNS rebinding). No proxy is used, so none is misled.

Judged by tables of ours: what a library calls global changes between its versions. Sources: the
IANA special-purpose registries (RFC 6890), RFC 6052 and 8215 (NAT64), RFC 6598 (CGNAT).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import trio

from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.modules.kit.web.http_client import Connect, Origin
from clawpurse.modules.kit.web.limits import seconds

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Awaitable[Sequence[str]]]

URL_CHARS_MAX: Final = 2_048
HOST_CHARS_MAX: Final = 253
LABEL_CHARS_MAX: Final = 63
ADDRESSES_MAX: Final = 8
"""Addresses of one name that are judged; of those connected to in turn CONNECT_MAX."""

CONNECT_MAX: Final = 3
CONNECT_TIMEOUT_MS: Final = 5_000
LOOKUPS_MAX: Final = 2
"""Lookups under way for one endpoint: a dead name server holds up its own endpoint only."""

PORT_HTTPS: Final = 443
PORT_FREE_MIN: Final = 1_024
"""Below this, beside 443, listen services that never mean to be webhook receivers."""


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
_PRIVATE: Final = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_SHARED: Final = _networks("100.64.0.0/10")
# Never reached for a name, not even one that the operator lists; a network has to be listed.
_FORBIDDEN: Final[tuple[tuple[str, tuple[Network, ...]], ...]] = (
    (
        "metadata of a cloud",
        _networks(
            "169.254.169.254/32", "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128"
        ),
    ),
    ("link-local", _networks("169.254.0.0/16", "fe80::/10")),
    ("multicast", _networks("224.0.0.0/4", "ff00::/8")),
    ("IPv4 in IPv6", _networks("::ffff:0:0/96", "::/96")),
    ("translated (NAT64)", _networks("64:ff9b::/96", "64:ff9b:1::/48")),
    ("tunnelled (6to4, Teredo)", _networks("2002::/16", "2001::/32", "192.88.99.0/24")),
    (
        "reserved",
        _networks(
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
        ),
    ),
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")


class ForbiddenAddress(OperatorError):
    """A receiver that may not be reached. Attributes: `problem`."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"This address may not be reached: {problem}.",
            "",
            "clawpurse config set webhook_allow HOST-OR-NETWORK allows it",
        )
        self.problem = problem


class Allowed:
    """What the operator allows beyond https to the open internet.

    `entries` are networks (`10.1.0.0/16`, `127.0.0.1/32`) and host names. Receivers at them may
    be plain http, at any port. A listed name may stand for a private or loopback address; for
    a link-local one or a cloud's metadata it may not: those need their network listed.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Raises `Malformed` for an entry that is neither."""
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in entries:
            text = entry.strip()
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                if not _is_host_name(text):
                    raise Malformed("webhook_allow", f"{text!r}: {error}") from None
                hosts.append(_plain(text))
        self.networks: Final = tuple(networks)
        self.hosts: Final = frozenset(hosts)

    def covers(self, address: Address) -> bool:
        """Whether the operator listed a network that this address is in."""
        return any(address.version == net.version and address in net for net in self.networks)

    def names(self, host: str) -> bool:
        """Whether the operator listed this very host, by name or by its address's network."""
        address = _literal(host)
        return self.covers(address) if address is not None else _plain(host) in self.hosts

    def problem_of(self, address: Address, host: str) -> str | None:
        """Return why an address may not be connected to, None when it may."""
        if self.covers(address):
            return None
        for why, networks in _FORBIDDEN:
            # ::1 lies in a range of IPv4 addresses in IPv6, and is none.
            if _within(address, networks) and not _within(address, _LOOPBACK):
                return f"{address} is {why}"
        if _plain(host) in self.hosts:
            return None
        for why, networks in (
            ("loopback", _LOOPBACK),
            ("private", _PRIVATE),
            ("shared by a provider's customers (CGNAT)", _SHARED),
        ):
            if _within(address, networks):
                return f"{address} is {why}"
        if address.version == 6 and address not in _GLOBAL_V6:
            return f"{address} is not of the open internet"
        return None


def read_url(url: str, allowed: Allowed) -> Origin:
    """Take apart a receiver's URL. Raises `Malformed` for one that may not be used.

    Judged is what the text says; the addresses behind a name are judged at each connection.
    """
    if len(url) > URL_CHARS_MAX:
        raise Malformed("url", f"is longer than {URL_CHARS_MAX} characters")
    origin = Origin(url)
    if not url.startswith(("https://", "http://")):
        raise Malformed("url", "begins with neither https:// nor http://")
    listed = allowed.names(origin.host)
    if not origin.secure and not listed:
        raise Malformed("url", "is not https; the node's webhook_allow can list its host")
    if origin.port != PORT_HTTPS and origin.port < PORT_FREE_MIN and not listed:
        raise Malformed("url", f"port {origin.port} is neither 443 nor at least {PORT_FREE_MIN}")
    address = _literal(origin.host)
    problem = None if address is None else allowed.problem_of(address, origin.host)
    if problem is not None:
        raise Malformed("url", f"{problem}; the node's webhook_allow can list its network")
    return origin


def judge(texts: Sequence[str], host: str, allowed: Allowed) -> list[Address]:
    """Return the addresses of a host if every one may be reached.

    Raises `ForbiddenAddress` for the first that may not: a name that mixes open and private
    addresses is either broken or an attack. Raises `OSError` when there are none.
    """
    found: list[Address] = []
    for text in texts[:ADDRESSES_MAX]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ForbiddenAddress(f"{text!r} is not an address") from None
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise ForbiddenAddress(f"{text} is link-local")
        problem = allowed.problem_of(address, host)
        if problem is not None:
            raise ForbiddenAddress(problem)
        if address not in found:
            found.append(address)
    if not found:
        raise OSError(f"{host} has no address")
    return found


def vetted_connector(
    origin: Origin, allowed: Allowed, resolve: Resolve, context: Callable[[], ssl.SSLContext]
) -> Connect:
    """Connect to an origin at an address that was judged, with TLS for https.

    The name stays in the Host field, in SNI and in what the certificate must be for. The result
    raises `ForbiddenAddress`, OSError, or BrokenResourceError for bad TLS.
    """

    async def connect() -> trio.abc.Stream:
        literal = _literal(origin.host)
        texts = [origin.host] if literal is not None else await resolve(origin.host)
        stream = await _connect_first(judge(texts, origin.host, allowed), origin.port)
        if not origin.secure:
            return stream
        secured = trio.SSLStream(
            stream, context(), server_hostname=origin.host, https_compatible=True
        )
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return secured

    return connect


class SystemResolver:
    """The machine's resolver, in threads of its own; one for each endpoint."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(LOOKUPS_MAX)

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of a name. Raises OSError. A cancelled lookup is abandoned."""
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        rows = await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._limiter)
        return [str(row[4][0]) for row in rows]


async def _connect_first(addresses: Sequence[Address], port: int) -> trio.SocketStream:
    """Connect to the first address that answers. Raises the last one's OSError."""
    failure: OSError = OSError("no address")
    for address in addresses[:CONNECT_MAX]:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            with trio.fail_after(seconds(CONNECT_TIMEOUT_MS)):
                await sock.connect((str(address), port))
            return trio.SocketStream(sock)
        except trio.TooSlowError:
            sock.close()
            failure = TimeoutError(f"{address} does not answer")
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == net.version and address in net for net in networks)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _is_host_name(text: str) -> bool:
    labels = _plain(text).split(".")
    return (
        len(text) <= HOST_CHARS_MAX
        and text.isascii()
        and not labels[-1].isdigit()
        and all(_is_label(label) for label in labels)
    )


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= LABEL_CHARS_MAX
        and label == label.strip("-")
        and label.replace("-", "").isalnum()
    )
