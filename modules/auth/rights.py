"""What a user may do: scopes of everybody, and what roles on the ledger add to them.

There is no role here: the configuration says what a role on the ledger opens, the ledger says who
holds it. A token names the roles that it rests on, so that whoever takes it can look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.kit.web.errors import FORBIDDEN, RpcError
from clawpurse.modules.kit.web.scopes import EVERYTHING, Scopes, read_scopes


class Ledger(Protocol):
    """What sign-in asks a node. All raise `Unreachable` when none answers."""

    async def roles_of(self, account: str) -> frozenset[str]:
        """The roles that an account (claw1…) holds at the newest height."""

    async def key_of(self, account: str) -> bytes | None:
        """The public key that signs for an account alone; None where several must."""

    async def permissions(self) -> dict[str, str]:
        """Which role each guarded action asks for."""


class Rights(NamedTuple):
    """Scopes, and the roles without which there would be fewer."""

    scopes: Scopes
    roles: tuple[str, ...]


ENROL: Final = read_scopes(
    (
        "auth_me",
        "auth_logout",
        "auth_refresh",
        "auth_addTotp",
        "auth_confirmTotp",
        "auth_addPasskey",
        "auth_confirmPasskey",
    )
)
"""What a token reaches whose holder still has to set a second factor up."""


def rights_of(settings: AuthSettings, roles: Iterable[str], wanted: str = "") -> Rights:
    """Return what holders of roles may have; `wanted` (patterns, blanks between) is the most.

    What is wanted and cannot be had is left out: roles come and go while a session lasts.
    """
    base = read_scopes(settings.base_scopes)
    asked = set(wanted.split())
    found, relied = set(_within(base.patterns, asked)), []
    for role in sorted(set(roles) & settings.role_scopes.keys()):
        more = set(_within(settings.role_scopes[role], asked))
        if any(not _covers(base, pattern) for pattern in more):
            relied.append(role)
            found |= more
    return Rights(Scopes(frozenset(found)), tuple(relied))


def check_wanted(settings: AuthSettings, roles: Iterable[str], wanted: Iterable[str]) -> Rights:
    """As `rights_of`, for exactly these patterns. Raises `RpcError` (forbidden) beyond them."""
    asked = read_scopes(wanted)
    found = rights_of(settings, roles, asked.text)
    missing = sorted(one for one in asked.patterns if not _covers(found.scopes, one))
    if missing:
        raise RpcError(
            FORBIDDEN,
            f"your roles on the ledger do not reach {missing[0]}",
            hint="ask for fewer scopes, or have the role granted",
            facts={"scopes": missing},
        )
    return found


def role_matrix(settings: AuthSettings, permissions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return each role: scopes by configuration, and actions by the ledger (action → role)."""
    roles = {*settings.role_scopes, *permissions.values(), settings.admin_role}
    base = [{"role": "", "scopes": sorted(settings.base_scopes), "actions": [], "admin": False}]
    return base + [
        {
            "role": role,
            "scopes": sorted(settings.role_scopes.get(role, ())),
            "actions": sorted(action for action, needed in permissions.items() if needed == role),
            "admin": role == settings.admin_role,
        }
        for role in sorted(roles)
    ]


def _within(allowed: Iterable[str], asked: set[str]) -> Iterable[str]:
    """What is both allowed and asked for; nothing asked means everything."""
    if not asked:
        return allowed
    having, wanting = Scopes(frozenset(allowed)), Scopes(frozenset(asked))
    return {one for one in asked if _covers(having, one)} | {
        one for one in having.patterns if _covers(wanting, one)
    }


def _covers(scopes: Scopes, pattern: str) -> bool:
    """Whether everything that a pattern reaches is reached by scopes."""
    if pattern == EVERYTHING:
        return EVERYTHING in scopes.patterns
    return pattern in scopes.patterns or scopes.allows(pattern)
