"""Amendments: changes of the rules that are in force from a height on, by vote of authorities.

The ledger's code asks `active` where an amendment changes what it does. A node whose software
does not know an amendment stops before its height: it would judge blocks by rules that are no
longer those of the network.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.overlay import StateReader

#: The amendments that this software performs, by name, in the order in which they were made.
KNOWN: Final[tuple[str, ...]] = ()
# All stand in one record, which is read before each block; a network adopts a few a year.
AMENDMENTS_MAX: Final = 256
TREE: Final = "governance"
AMENDMENTS_KEY: Final = b"a"
_RECORD_VERSION: Final = 1


class Amendment(NamedTuple):
    """One that was adopted: in force from `height` on, decided at `adopted`."""

    name: str
    height: int
    adopted: int


def read_amendments(data: bytes | None) -> tuple[Amendment, ...]:
    """Return the amendments of a state record, ascending by name; none without a record."""
    if data is None:
        return ()
    wire: list[Any] = codec.unpack_own(data)
    if len(wire) != 2 or wire[0] != _RECORD_VERSION:
        raise Bug("the record of amendments has another format than this software writes")
    return tuple(Amendment(*item) for item in wire[1])


def pack_amendments(amendments: tuple[Amendment, ...]) -> bytes:
    """Return the state record of amendments; ascending by name."""
    listed: list[Wire] = [list(item) for item in sorted(amendments)]
    return codec.pack([_RECORD_VERSION, listed])


def adopted(reader: StateReader) -> tuple[Amendment, ...]:
    """Return all amendments that were adopted, in force or not yet, ascending by name."""
    return read_amendments(reader.get(TREE, AMENDMENTS_KEY))


def active(reader: StateReader, name: str, height: int) -> bool:
    """Tell whether an amendment is in force in the block of a height."""
    return any(item.name == name and item.height <= height for item in adopted(reader))
