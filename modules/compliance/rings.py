"""What is remembered of an account for a while: so many items, and then the oldest goes.

Items of an owner stand under their own keys; a ring of places says in which order they came, so
that state per account is bounded and remembering one more costs the same, however many there are.

z‖kind‖owner → how many ever came · z‖kind‖owner‖place (4) → key of the item there
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger import codec
from clawpurse.ledger.module_api import Context
from clawpurse.modules.compliance.records import count_at, own, pack

# Whom an account paid: beyond so many, whom it paid first is new to it again.
COUNTERPARTIES_MAX: Final = 1_000
# Ends of held payments of one account, for those who ask later how it went.
ENDS_MAX: Final = 1_000
COUNTERPARTY_RING: Final = b"c"
END_RING: Final = b"e"


def remember(
    context: Context, ring: bytes, owner: bytes, size: int, key: bytes, item: bytes
) -> None:
    """Keep an item under a key of the module's own; the oldest of the owner's may go for it.

    The key must be new.
    """
    head = b"z" + ring + owner
    came = count_at(context.get, head)
    place = head + (came % size).to_bytes(4, "big")
    if came >= size:
        old = context.get(place)
        if old is not None:
            context.delete(codec.binary(own(old, 1)[0], "compliance.ring", 128))
    context.put(place, pack(key))
    context.put(head, pack(came + 1))
    context.put(key, item)
