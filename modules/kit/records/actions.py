"""Actions for the ledger as they wait in an outbox: canonical bytes, read back as they were."""

from __future__ import annotations

from collections.abc import Sequence

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug, Malformed
from clawpurse.ledger.transactions import RawAction, read_raw_action


def pack_actions(actions: Sequence[RawAction]) -> bytes:
    """Return actions as bytes."""
    return codec.pack([[one.name, list(one.fields)] for one in actions])


def unpack_actions(data: bytes) -> list[RawAction]:
    """Return the actions that were packed. Raises `Bug` when they are none."""
    try:
        return [read_raw_action(one, "actions") for one in codec.unpack_own(data)]
    except Malformed as error:
        raise Bug(f"actions of an outbox cannot be read: {error}") from error
