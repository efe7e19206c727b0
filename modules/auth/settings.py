"""The configuration of sign-in, with the reason beside each number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.auth.passwords import Cost
from clawpurse.modules.kit.service.declaration import Settings
from clawpurse.modules.kit.service.signin import SITE_CHARS_MAX
from clawpurse.modules.kit.web.scopes import read_scopes

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_ROLE_PATTERN: Final = r"^[a-z0-9.-]{1,32}$"


BASE_SCOPES: Final = tuple(
    f"{name}_*"
    for name in (
        *("auth", "rpc", "events", "sub"),
        *("account", "anchor", "asset", "chain", "compliance", "consensus", "credential"),
        *("governance", "hold", "mempool", "multisig", "net", "node", "payment", "risk", "role"),
        *("session", "sponsorship", "tx"),
    )
)
"""What a dashboard shows: what every member of a network may read, and sending what they signed.
What operators do is in other namespaces.
"""


class AuthSettings(Settings):
    """See each field. As it comes it serves one machine: passkeys on http://localhost:9641."""

    service_name: str = Field(default="ClawPurse", min_length=1, max_length=64)
    """What authenticator apps and passkey dialogues show."""

    issuer: str = Field(
        default="clawpurse:auth", min_length=1, max_length=256, json_schema_extra={"live": False}
    )
    """`iss` of tokens: nodes name it as rpc_token_issuer. Taken over by a new start."""

    audience: tuple[str, ...] = Field(default=(), max_length=16, json_schema_extra={"live": False})
    """`aud` of tokens, taken over by a new start; empty: the chain id, so the whole network."""

    origins: tuple[str, ...] = Field(
        default=("http://localhost:9641",), min_length=1, max_length=16
    )
    """Pages on which people sign in; passkeys answer to these alone."""

    sites: tuple[str, ...] = Field(default=(), max_length=64)
    """Pages elsewhere that people are signed in for: dashboards of nodes, pages of services."""

    rp_id: str = Field(default="localhost", min_length=1, max_length=253)
    """The domain that passkeys and challenges are bound to: a suffix of every origin's host."""

    second_factor: Literal["optional", "required"] = "optional"
    """Required: whoever signs in by password alone may do nothing but set a second factor up."""

    token_life_ms: int = Field(default=5 * MINUTE_MS, ge=MINUTE_MS, le=10 * MINUTE_MS)
    """Access tokens: what was stolen works no longer than that."""

    session_idle_ms: int = Field(default=HOUR_MS, ge=5 * MINUTE_MS, le=30 * DAY_MS)
    """NIST SP 800-63B-4 §2.2.3: an hour at AAL2."""

    session_life_ms: int = Field(default=DAY_MS, ge=5 * MINUTE_MS, le=30 * DAY_MS)
    """NIST SP 800-63B-4 §2.2.3: a day at AAL2, whatever is refreshed."""

    step_up_ms: int = Field(default=5 * MINUTE_MS, ge=MINUTE_MS, le=15 * MINUTE_MS)
    """How recent the proof is that dangerous calls ask for."""

    invitation_ms: int = Field(default=7 * DAY_MS, ge=HOUR_MS, le=30 * DAY_MS)
    signing_key_ms: int = Field(default=30 * DAY_MS, ge=DAY_MS, le=366 * DAY_MS)
    """A key signs for so long; the next one is published before."""

    admin_role: str = Field(default="auth.admin", pattern=_ROLE_PATTERN)
    """Who holds this role on the ledger invites, locks and unlocks."""

    base_scopes: tuple[str, ...] = BASE_SCOPES
    """What everybody's tokens reach: `auth_*` at least, so that they can sign out."""

    role_scopes: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """What a role on the ledger adds to the tokens of its holders."""

    argon_memory_kib: int = Field(default=19_456, ge=19_456, le=1 << 20)
    argon_passes: int = Field(default=2, ge=2, le=16)
    """Argon2id by OWASP's minimum, 22 hashes a second on one of our cores; raised at will."""

    @property
    def cost(self) -> Cost:
        """What one hash of a password takes."""
        return Cost(self.argon_memory_kib, self.argon_passes)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for origin in self.origins:
            parts = urlsplit(origin)
            host = parts.hostname or ""
            local = parts.scheme == "http" and host == "localhost"
            if origin != f"{parts.scheme}://{parts.netloc}" or not (
                parts.scheme == "https" or local
            ):
                raise ValueError(f"{origin} is no origin: https://host, without a path")
            if host != self.rp_id and not host.endswith(f".{self.rp_id}"):
                raise ValueError(f"{origin} is not of the domain {self.rp_id}")
        for site in self.sites:
            parts = urlsplit(site)
            if site != f"{parts.scheme}://{parts.netloc}" or not (
                parts.scheme == "https" or is_this_machine(parts)
            ):
                raise ValueError(f"{site} is no origin: https://host, without a path")
            if len(site) > SITE_CHARS_MAX:
                raise ValueError(f"{site} is longer than {SITE_CHARS_MAX} characters")
        try:
            for words in (self.base_scopes, *self.role_scopes.values()):
                read_scopes(words)
        except Malformed as error:
            raise ValueError(str(error)) from None
        if not read_scopes(self.base_scopes).allows("auth_logout"):
            raise ValueError("base_scopes do not reach auth_logout: nobody could sign out")
        if self.session_idle_ms > self.session_life_ms:
            raise ValueError("a session cannot be idle for longer than it lives")
        return self


def is_this_machine(parts: SplitResult) -> bool:
    """Tell whether a URL leads to this machine, where http is as good as https."""
    return parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
