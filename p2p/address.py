"""Who and where a node is: node ids, `<node-id>@host:port`, and the groups that caps count by.

A node id is the 32-byte Ed25519 node key; people see it as 64 lower-case hex digits, without
prefix, because it stands left of an `@`. Host names are kept as names: a dial resolves them
anew each time, so a peer may move.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from clawpurse.ledger.errors import Malformed

NODE_ID_BYTES: Final = 32
# RFC 1035 §2.3.4: the longest host name, and the longest label in one.
HOST_CHARS_MAX: Final = 253
LABEL_CHARS_MAX: Final = 63
PORT_MAX: Final = 65535
_HEX: Final = frozenset("0123456789abcdef")
_HOST_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection as the transport saw it: an IP (or simulated host) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a node can be dialled, and the key that must answer there."""

    node_id: bytes
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.node_id.hex()}@{Endpoint(self.host, self.port)}"

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """Read `<64 hex digits>@host:port` (IPv6 hosts in brackets); `Malformed` names the part."""
        identity, at, place = text.partition("@")
        if not at:
            raise Malformed("peer address", "has no @; it reads NODE-ID@HOST:PORT")
        host, port = parse_host_port(place)
        return cls(parse_node_id(identity), host, port)


def parse_node_id(text: str) -> bytes:
    """Read 64 lower-case hex digits as a node id; raises `Malformed`."""
    if len(text) != 2 * NODE_ID_BYTES or not set(text) <= _HEX:
        raise Malformed("node id", "is not 64 lower-case hex digits")
    return bytes.fromhex(text)


def parse_host_port(text: str) -> tuple[str, int]:
    """Read `host:port` or `[ipv6]:port`; raises `Malformed`."""
    host, colon, digits = text.rpartition(":")
    if not colon:
        raise Malformed("peer address", "has no port; it reads NODE-ID@HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Malformed("peer address", "has an IPv6 host without brackets")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        raise Malformed("peer address port", "is not a number")
    return check_host(host), check_port(int(digits))


def check_host(host: str) -> str:
    """Return `host` in lower case if it can be a name or an IP; raises `Malformed`."""
    host = host.lower()
    if not 1 <= len(host) <= HOST_CHARS_MAX or not set(host) <= _HOST_CHARS:
        raise Malformed("peer address host", "is not a host name or an IP address")
    if ":" in host and as_ip(host) is None:
        raise Malformed("peer address host", "is not an IPv6 address")
    if not all(1 <= len(label) <= LABEL_CHARS_MAX for label in host.split(".")):
        # Resolvers do not merely fail on such a name, they break.
        raise Malformed("peer address host", "has a label that is empty or too long")
    return host


def check_port(port: int) -> int:
    """Return `port` if it can be dialled; raises `Malformed`."""
    if not 1 <= port <= PORT_MAX:
        raise Malformed("peer address port", f"is {port}, outside 1…{PORT_MAX}")
    return port


def as_ip(host: str) -> IpAddress | None:
    """Return the IP that `host` spells (IPv4 mapped into IPv6 as IPv4), or None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine: such peers are never banned by address."""
    address = as_ip(host)
    return host == "localhost" if address is None else address.is_loopback


def is_public(host: str) -> bool:
    """Tell whether `host` is an IP of the open internet, where groups of addresses cost money."""
    address = as_ip(host)
    return address is not None and address.is_global


def is_dialable(host: str) -> bool:
    """Tell whether a gossiped `host` could be a node at all (not 0.0.0.0, not multicast)."""
    address = as_ip(host)
    return address is None or not (address.is_unspecified or address.is_multicast)


def subnet(host: str) -> str:
    """Return the /24 or /64 that unauthenticated connections and handshakes are counted by."""
    return _prefix(host, 24, 64)


def source_group(host: str) -> str:
    """Return the /16 or /32 that address-book buckets and outbound diversity are counted by.

    A name is grouped by its last two labels, which is what one owner can multiply for free.
    """
    return _prefix(host, 16, 32)


def ban_key(host: str) -> str:
    """Return what an address ban covers: one IPv4 address, or an IPv6 /64, which one host owns."""
    return _prefix(host, 32, 64)


def _prefix(host: str, bits_v4: int, bits_v6: int) -> str:
    address = as_ip(host)
    if address is None:
        return ".".join(host.rsplit(".", 2)[-2:])
    bits = bits_v4 if address.version == 4 else bits_v6
    return str(ipaddress.ip_network((address, bits), strict=False))
