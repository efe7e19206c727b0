"""Who may come in and how often: host and origin lists, tokens, budgets, rationed logging.

Browsers are the reason for the first two: any web page can make its visitor's browser send
requests to 127.0.0.1, and a name under the page's control can be rebound to that address.
So a request must name a host that we answer to, and one that carries an Origin must come
from a page that we serve or that the operator listed.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import trio

from clawpurse.modules.kit.web.grants import (
    PRESENTED_BYTES_MAX,
    Authenticator,
    Certificate,
    CertificateJudge,
    Grant,
    NotAuthentic,
)

LOG = logging.getLogger("clawpurse.web")

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]"))

LOOPBACK_CLIENTS = frozenset(("127.0.0.1", "::1", "local", "memory"))
"""Budget keys of this machine, and of streams within the process."""

ADMIN = "admin"

OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Access:
    """The lists of one server.

    `hosts`: names without port that requests may be addressed to; `ip_hosts`: address
    literals too (they cannot be rebound); `origins`: pages (`https://wallet.example`) that may
    call from a browser, beside those that this server serves itself; `authenticators`, asked
    in order; `certificates` maps clients' certificates; `closed`: nobody calls without a grant,
    but for methods without a role where `strangers` are answered (sign-in);
    `certificate_needed`: who is not on this machine shows a certificate, whatever its token.
    """

    hosts: frozenset[str] = LOCAL_HOSTS
    ip_hosts: bool = True
    origins: frozenset[str] = frozenset()
    authenticators: tuple[Authenticator, ...] = ()
    certificates: CertificateJudge | None = None
    closed: bool = False
    strangers: bool = False
    certificate_needed: bool = False

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

    def grant_of(self, presented: str | None, certificate: Certificate | None) -> Grant | None:
        """The grant of what a caller presented: its token if it sent one, else its certificate.

        None when it presented neither. Raises `NotAuthentic` for a token that proves nothing:
        who sends one means to use it, and is told rather than served as somebody else.
        """
        if presented is None:
            if certificate is None or self.certificates is None:
                return None
            return self.certificates.of_certificate(certificate)
        if len(presented) > PRESENTED_BYTES_MAX:
            raise NotAuthentic("token-too-long", "the token is too long")
        for authenticator in self.authenticators:
            grant = authenticator.recognise(presented)
            if grant is not None:
                if not grant.alive():
                    raise NotAuthentic("token-dead", "the token has expired or was revoked")
                return grant
        raise NotAuthentic("bad-token", "the token is not one of this server's")


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

    `preferred`: another rate and burst, and the clients that have it. `methods`: name → (calls
    at once, calls a second), a further bucket for each client and method.
    """

    def __init__(
        self,
        rate_per_s: float,
        burst: float,
        *,
        now: Callable[[], float] = trio.current_time,
        exempt: Iterable[str] = (),
        preferred: tuple[float, float, frozenset[str]] | None = None,
        methods: Mapping[str, tuple[float, float]] | None = None,
        clients_max: int = 10_000,
    ) -> None:
        if rate_per_s <= 0 or burst <= 0 or clients_max < 1:
            raise ValueError("a budget needs a positive rate, burst and number of clients")
        self._rate = rate_per_s
        self._burst = burst
        self._now = now
        self._exempt = frozenset(exempt)
        self._clients_max = clients_max
        self._preferred = preferred or (rate_per_s, burst, frozenset())
        self._methods = {
            name: Budgets(per_s, calls, now=now, exempt=exempt, clients_max=clients_max)
            for name, (calls, per_s) in (methods or {}).items()
        }
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, client: str) -> float:
        """Seconds until the client may call again; 0 when it may now."""
        bucket = self._buckets.get(client)
        if bucket is None or bucket[0] > 0:
            # Time only fills it further.
            return 0.0
        level = self._level(client)
        return 0.0 if level > 0 else (1.0 - level) / self._terms(client)[0]

    def charge_method(self, client: str, method: str) -> float:
        """Count one call of a method that has a limit; else, and in it, 0 seconds to wait."""
        bucket = self._methods.get(method)
        return 0.0 if bucket is None else bucket.charge(client, 1)

    def charge(self, client: str, cost: float) -> float:
        """Take a call's cost if the client may call; else return the seconds to wait."""
        if client in self._exempt:
            return 0.0
        now = self._now()
        rate, burst, clients = self._preferred
        if client not in clients:
            rate, burst = self._rate, self._burst
        buckets = self._buckets
        # Taken out and put in again, it is the one used last.
        bucket = buckets.pop(client, None)
        level = burst if bucket is None else min(burst, bucket[0] + (now - bucket[1]) * rate)
        if level <= 0:
            assert bucket is not None
            buckets[client] = bucket
            return (1.0 - level) / rate
        buckets[client] = (level - cost, now)
        if len(buckets) > self._clients_max:
            del buckets[next(iter(buckets))]
        return 0.0

    def _terms(self, client: str) -> tuple[float, float]:
        rate, burst, clients = self._preferred
        return (rate, burst) if client in clients else (self._rate, self._burst)

    def _level(self, client: str) -> float:
        rate, burst = self._terms(client)
        bucket = self._buckets.get(client)
        if bucket is None or client in self._exempt:
            return burst
        level, since = bucket
        return min(burst, level + (self._now() - since) * rate)


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
