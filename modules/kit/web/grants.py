"""Grants: who a caller turned out to be, and for how long that holds.

An `Authenticator` turns what a caller presented into a `Grant`, or says in one line why not.
A connection keeps the grant of its requests; each further request, and an open WebSocket every
second, asks `alive` again, so that an expired or revoked token ends in the middle of a session.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from clawpurse.ledger.errors import CallerError
from clawpurse.modules.kit.web.scopes import ALL_SCOPES, NO_SCOPES, Scopes

PRESENTED_BYTES_MAX: Final = 4_096
"""The longest credential that is looked at; a token with 64 scopes has under 3,000 bytes."""


ONE_FACTOR: Final = "aal1"
TWO_FACTORS: Final = "aal2"
"""Levels of NIST SP 800-63B-4: one proof, or two of different kinds."""


class NotAuthentic(CallerError):
    """What was presented proves nothing. `slug` is for counters, `problem` for the caller."""

    def __init__(self, slug: str, problem: str) -> None:
        super().__init__(problem)
        self.slug = slug
        self.problem = problem


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """What a caller may do. `ident` is fit for logs and budgets (never a secret); `name` is what
    the token was called when it was made; `alive` tells whether it still holds. Of a signed token
    also its `issuer`, the `level` of what was proven (aal1, aal2), and when last (UTC ms; else 0).
    """

    ident: str
    name: str
    scopes: Scopes
    expires_ms: int | None = None
    alive: Callable[[], bool] = field(default=_always, repr=False)
    issuer: str = ""
    level: str = ""
    proven_ms: int = 0

    def stepped_up(self, now_ms: int, within_ms: int) -> bool:
        """Whether two factors were shown so shortly before: what dangerous calls ask for."""
        return self.level == TWO_FACTORS and 0 <= now_ms - self.proven_ms <= within_ms


class Certificate(NamedTuple):
    """A client's certificate, verified by TLS: `fingerprint` is `sha256:` and lower-case
    hexadecimal; `names` are `cn:…` and `dns:…`.
    """

    fingerprint: str
    names: tuple[str, ...] = ()


class Authenticator(Protocol):
    """One way of proving who one is."""

    def recognise(self, presented: str) -> Grant | None:
        """Return the grant of a credential; None when it is not of this kind.

        Raises `NotAuthentic` when it is of this kind and proves nothing.
        """


class CertificateJudge(Protocol):
    """Maps certificates to grants."""

    def of_certificate(self, certificate: Certificate) -> Grant | None:
        """Return the grant of a verified certificate, or None when it gives none."""


@dataclass(frozen=True, slots=True)
class Token:
    """A fixed bearer token, at least 16 characters of good randomness, and its scopes."""

    secret: str = field(repr=False)
    scopes: Scopes = ALL_SCOPES
    ident: str = "admin"

    def __post_init__(self) -> None:
        if len(self.secret) < 16 or not self.secret.isascii():
            raise ValueError("a token has at least 16 ASCII characters")


class FixedTokens:
    """Recognises a handful of fixed tokens, such as the one in a node's home."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tuple(
            (token.secret.encode(), Grant(token.ident, token.ident, token.scopes))
            for token in tokens
        )

    def recognise(self, presented: str) -> Grant | None:
        """Compare with every token, each in constant time, whatever was sent."""
        secret = presented.encode("latin-1", "replace")
        found: Grant | None = None
        for known, grant in self._tokens:
            if hmac.compare_digest(known, secret):
                found = grant
        return found


def grant_scopes(grant: Grant | None) -> Scopes:
    """The scopes of a grant; none where there is no grant."""
    return NO_SCOPES if grant is None else grant.scopes
