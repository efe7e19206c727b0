"""What an account has to do with in this module, listed for people, a page at a time.

Session keys and sponsorships are records of the kernel, kept in order there.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from clawpurse.ledger.kernel.records import SESSION_PREFIX, SPONSOR_PREFIX
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.accounts.records import (
    MEMBERSHIP,
    PAYER,
    PROPOSAL,
    SPONSOR,
    TREE,
    listing,
)


class Listed(NamedTuple):
    """One object of an account: its kind, and the 32-byte id that its kind's method takes."""

    kind: str
    id: bytes


class Place(Protocol):
    """The last object of the page before, of any type that names its kind and id."""

    @property
    def kind(self) -> str: ...

    @property
    def id(self) -> bytes: ...


# In this order: who may pay it, the accounts for which it signs, open proposals for it, its
# session keys, the accounts whose fees it pays, and those that pay its fees.
KINDS: Final = ("preauthorisation", "multisig", "proposal", "session", "sponsorship", "sponsor")


def _lists(account: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return tree and beginning of the keys of each kind, as `KINDS`."""
    return (
        (TREE, listing(account, PAYER)),
        (TREE, listing(account, MEMBERSHIP)),
        (TREE, listing(account, PROPOSAL)),
        (KERNEL, SESSION_PREFIX + account),
        (KERNEL, SPONSOR_PREFIX + account),
        (TREE, listing(account, SPONSOR)),
    )


def list_objects(
    reader: StateReader, account: bytes, after: Place | None, limit: int
) -> list[Listed]:
    """Return up to `limit` objects of an account by kind and id, from after one of them.

    Raises `KeyError` for a kind that `KINDS` lacks.
    """
    if after is not None and after.kind not in KINDS:
        raise KeyError(after.kind)
    first = 0 if after is None else KINDS.index(after.kind)
    found: list[Listed] = []
    for kind, (tree, prefix) in list(zip(KINDS, _lists(account), strict=True))[first:]:
        start = prefix + after.id if after is not None and after.kind == kind else b""
        rows = reader.ordered(tree, prefix, limit - len(found), after=start)
        found.extend([Listed(kind, key[len(prefix) :]) for key, _ in rows])
        if len(found) == limit:
            break
    return found
