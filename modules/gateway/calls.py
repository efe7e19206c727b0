"""What passes between the parts of the gateway: a call, the answer to it, who let it in."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic_core import to_json

from clawpurse.modules.gateway.config import RouteConfig
from clawpurse.modules.kit.web.head import Head
from clawpurse.modules.kit.web.messages import Peer

Fields = list[tuple[bytes, bytes]]
JSON: Final = b"application/json"
_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Version 00 of W3C Trace Context, §3.2: neither id is all zeros.
_TRACE: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


class Reply:
    """An answer of the gateway itself. `close`: the connection ends with it."""

    __slots__ = ("body", "close", "content_type", "fields", "slug", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: bytes = JSON,
        fields: Sequence[tuple[bytes, bytes]] = (),
        *,
        slug: str = "",
        close: bool = False,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.fields = list(fields)
        self.slug = slug
        self.close = close


def problem(
    status: int,
    code: str,
    text: str,
    fields: Sequence[tuple[bytes, bytes]] = (),
    *,
    close: bool = False,
    **facts: Any,
) -> Reply:
    """Return a refusal: `{"error": {code, reason, …}}`, the same shape for all of them."""
    body = to_json({"error": {"code": code, "reason": text, **facts}})
    return Reply(status, body, fields=fields, slug=code, close=close)


def too_many(wait_s: float, code: str = "rateLimited", text: str = "too many requests") -> Reply:
    """429 with the time to wait, in whole seconds and at least one."""
    whole = max(1, -int(-wait_s // 1))
    return problem(429, code, text, [(b"Retry-After", b"%d" % whole)], retryAfterMs=whole * 1000)


@dataclass(slots=True)
class Call:
    """One request that was read: `path` is canonical, `ident` and `trace` are told onwards."""

    head: Head
    path: str
    peer: Peer
    route: RouteConfig
    secure: bool
    ident: bytes
    trace: bytes
    client: str = ""
    """Whom the log names; set by who lets it in."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What the log says beside it."""

    @property
    def target(self) -> str:
        """Path and query, as they are priced and forwarded."""
        return f"{self.path}?{self.head.query}" if self.head.query else self.path

    @property
    def url(self) -> str:
        """The URL as the client wrote it, in its one spelling."""
        return f"{'https' if self.secure else 'http'}://{self.head.host or ''}{self.target}"


class Entry:
    """Somebody was let in. `onwards` are fields for the upstream, `hidden` those of the request
    that it does not get, `back` those for the client.
    """

    __slots__ = ("back", "hidden", "onwards")

    def __init__(self) -> None:
        self.onwards: Fields = []
        self.hidden: frozenset[bytes] = frozenset()
        self.back: Fields = []

    async def served(self, status: int | None) -> Reply | None:
        """Told once, before the client hears of the answer: its status, or None when the upstream
        gave none. A reply is sent in its place.
        """
        return None

    async def ended(self, *, whole: bool) -> None:
        """Told once after `served`: whether the upstream gave all of its answer. A client that went
        away in the middle was served.
        """


class Guard(Protocol):
    """Who decides on a call before anything of it goes on."""

    async def admit(self, call: Call) -> Entry | Reply:
        """Let it in, or answer it."""


class OpenGuard:
    """Lets everybody in."""

    async def admit(self, call: Call) -> Entry | Reply:
        """See `Guard`."""
        call.client = call.peer.client
        return Entry()


def ident_of(head: Head) -> bytes:
    """Return the caller's request id if it is a plain word, else a new one."""
    given = head.headers.get(b"x-request-id", b"")
    return given if _ID.fullmatch(given) else secrets.token_hex(8).encode()


def trace_of(head: Head) -> bytes:
    """Return `traceparent` for the next hop: the caller's trace, or a new one, and our span."""
    span = secrets.token_hex(8).encode()
    found = _TRACE.fullmatch(head.headers.get(b"traceparent", b""))
    if found is None:
        return b"00-%b-%b-00" % (secrets.token_hex(16).encode(), span)
    return b"00-%b-%b-%b" % (found[1], span, found[2])
