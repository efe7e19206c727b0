"""What all records of the tree `compliance` have in common, and where each kind stands.

xi‖issuer, ci → issuers · a‖account → attestations · j‖account → since when its subject is known ·
xl‖name, cl → lists · xm‖name‖/‖entry → entry · l‖name‖/‖version → change of a list ·
q → quorum · xb‖digest → what officers have begun to agree on · m → heads of policies ·
g → policies in force · p‖name‖/‖version → version · t‖id → rules · o‖id → proposal ·
xo‖number → open proposal · n‖number → any proposal · c → count of proposals ·
y‖officer → how many an officer has open · v… → counter of velocity · w‖source‖target → paid
before · h‖hold → how a held payment ended · z… → rings
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug

TREE: Final = "compliance"
RECORD_VERSION: Final = 1
Get = Callable[[bytes], bytes | None]


def pack(*values: object) -> bytes:
    """Return the bytes of a record."""
    return codec.pack([RECORD_VERSION, *values])


def own(data: bytes, count: int) -> list[Any]:
    """Return the `count` values of a record that we wrote. Raises `Bug` on anything else."""
    wire: list[Wire] = codec.unpack_own(data)
    if len(wire) != count + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of compliance has another format than this software writes")
    return wire[1:]


def count_at(get: Get, key: bytes) -> int:
    """Return a count; 0 when there is no record."""
    data = get(key)
    return 0 if data is None else codec.integer(own(data, 1)[0], "compliance.count")
