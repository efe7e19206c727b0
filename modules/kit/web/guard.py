"""Who may come in and how often: host and origin lists, tokens, budgets, rationed logging.

Browsers are the reason for the first two: any web page can make its visitor's browser send
requests to 127.0.0.1, and a name under the page's control can be rebound to that address.
So a request must name a host that we answer to, and one that carries an Origin must come
from a page that we serve or that the operator listed.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

LOG = logging.getLogger("clawpurse.web")

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]"))

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the roles that it gives. At least 16 characters of good randomness."""

    secret: str = field(repr=False)
    roles: frozenset[str] = frozenset((ADMIN,))

    def __post_init__(self) -> None:
        if len(self.secret) < 16 or not self.secret.isascii():
            raise ValueError("a token has at least 16 ASCII characters")


@dataclass(frozen=True, slots=True)
class Access:
    """The lists of one server.

    `hosts`: names without port that requests may be addressed to; `ip_hosts`: address
    literals too (they cannot be rebound); `origins`: pages (`https://wallet.example`) that may
    call from a browser, beside those that this server serves itself; `tokens`.
    """

    hosts: frozenset[str] = LOCAL_HOSTS
    ip_hosts: bool = True
    origins: frozenset[str] = frozenset()
    tokens: tuple[Token, ...] = ()

    def host_allowed(self, host: str | None) -> bool:
        """Whether the Host of a request is one of ours; HTTP/1.0 may leave it out."""
        if host is None:
            # No browser speaks HTTP/1.0, and without a name nothing was rebound.
            return True
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        name = name.rstrip(".")
        return name in self.hosts or (self.ip_hosts and _is_address(name))

    def origin_allowed(self, origin: str | None, host: str | None) -> bool:
        """Whether a page may call us: none named, listed, or of the host that it calls."""
        if origin is None:
            return True
        origin = origin.lower()
        if origin in self.origins:
            return True
        scheme, separator, authority = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and authority == host

    def roles_of(self, authorization: str | None) -> frozenset[str] | None:
        """The roles of an Authorization field; None when there is none, or a wrong one.

        Every token is compared, in constant time, whatever was sent.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        secret = presented.strip().encode("latin-1", "replace")
        found: frozenset[str] | None = None
        for token in self.tokens:
            if hmac.compare_digest(token.secret.encode(), secret) and scheme.lower() == "bearer":
                found = token.roles
        return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name[:1] == "[" else name)
    except ValueError:
        return False
    return True


class Budgets:
    """A token bucket for each client, in cost units.

    A call is let in while its client's bucket is not empty, and then takes its cost, so a
    dear call may run into debt, which the next ones wait for. At most `clients_max` buckets
    are kept; the one longest unused goes first, and by then it is full again.
    """

    def __init__(
        self,
        rate_per_s: float,
        burst: float,
        *,
        now: Callable[[], float] = trio.current_time,
        exempt: Iterable[str] = (),
        clients_max: int = 10_000,
    ) -> None:
        if rate_per_s <= 0 or burst <= 0 or clients_max < 1:
            raise ValueError("a budget needs a positive rate, burst and number of clients")
        self._rate = rate_per_s
        self._burst = burst
        self._now = now
        self._exempt = frozenset(exempt)
        self._clients_max = clients_max
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, client: str) -> float:
        """Seconds until the client may call again; 0 when it may now."""
        level = self._level(client)
        return 0.0 if level > 0 else (1.0 - level) / self._rate

    def charge(self, client: str, cost: float) -> float:
        """Take a call's cost if the client may call; else return the seconds to wait."""
        if client in self._exempt:
            return 0.0
        level = self._level(client)
        if level <= 0:
            return (1.0 - level) / self._rate
        self._buckets.pop(client, None)
        self._buckets[client] = (level - cost, self._now())
        if len(self._buckets) > self._clients_max:
            del self._buckets[next(iter(self._buckets))]
        return 0.0

    def _level(self, client: str) -> float:
        if client in self._exempt:
            return self._burst
        bucket = self._buckets.get(client)
        if bucket is None:
            return self._burst
        level, since = bucket
        return min(self._burst, level + (self._now() - since) * self._rate)


class RefusalLog:
    """Says who was refused and why, and counts it; a flood cannot fill a disk.

    Each client may cause LINES_PER_CLIENT lines a minute and all together LINES_PER_MINUTE;
    what is held back is counted and told with the next line.
    """

    LINES_PER_MINUTE = 600
    """About 100 KiB of log a minute at worst."""

    LINES_PER_CLIENT = 20
    CLIENTS_MAX = 4096

    def __init__(
        self,
        now: Callable[[], float] = trio.current_time,
        *,
        logger: logging.Logger = LOG,
        incident_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        self._now = now
        self._logger = logger
        self._incident_id = incident_id
        self._minute = -1
        self._lines = 0
        self._by_client: dict[str, int] = {}
        self._suppressed = 0
        self.counts: dict[str, int] = {}

    def refuse(self, peer: str, client: str, slug: str, detail: str = "") -> None:
        """Note one refusal. `slug` is one of our short names, never the peer's words."""
        self.counts[slug] = self.counts.get(slug, 0) + 1
        if self._may_speak(client):
            self._logger.warning(
                "refused %s: %s%s",
                peer,
                slug,
                f" ({printable(detail)})" if detail else "",
                extra={"peer": peer, "reason": slug, "suppressed": self._take_suppressed()},
            )

    def incident(self, error: BaseException, where: str, peer: str) -> str:
        """Log a fault of ours with its traceback; return the id that the caller is given."""
        incident = self._incident_id()
        self.counts["incident"] = self.counts.get("incident", 0) + 1
        if self._may_speak(f"incident {where}"):
            self._logger.error(
                "incident %s in %s",
                incident,
                where,
                exc_info=error,
                extra={
                    "incident": incident,
                    "peer": peer,
                    "reason": "incident",
                    "suppressed": self._take_suppressed(),
                },
            )
        return incident

    def _take_suppressed(self) -> int:
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed

    def _may_speak(self, client: str) -> bool:
        minute = int(self._now() // 60)
        if minute != self._minute:
            self._minute, self._lines = minute, 0
            self._by_client.clear()
        spoken = self._by_client.get(client, 0)
        full = len(self._by_client) >= self.CLIENTS_MAX and not spoken
        if self._lines >= self.LINES_PER_MINUTE or spoken >= self.LINES_PER_CLIENT or full:
            self._suppressed += 1
            return False
        self._lines += 1
        self._by_client[client] = spoken + 1
        return True


def printable(text: str, length_max: int = 200) -> str:
    """Text of a stranger, made fit for a log line: bounded, no control or bidi characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:length_max])
