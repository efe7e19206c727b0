"""Every way in which the mempool refuses, beside those of the ledger: rule → code and sentence."""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.rules import Rule

POOL_RULES: Final = {
    "pool.duplicate": Rule(
        Code.DUPLICATE,
        "Sequence {1:number} of lane {2:number} is taken by {0:hash}, which waits for a block; "
        "to replace it send a higher fee or attempt.",
    ),
    "pool.duplicateKey": Rule(
        Code.DUPLICATE, "That idempotency key is used by {0:hash}, which waits for a block."
    ),
    "pool.full": Rule(Code.POOL_FULL, "{0:number} transactions wait already; try again later."),
    "pool.busy": Rule(
        Code.POOL_FULL, "{0:number} transactions wait to be checked; try again in a second."
    ),
    "pool.senderFull": Rule(
        Code.POOL_FULL, "{0:account} has {1:number} transactions waiting, the most allowed."
    ),
    "pool.gapsFull": Rule(
        Code.POOL_FULL, "Too many wait behind a gap; send sequence {0:number} of that lane first."
    ),
    "pool.quarantined": Rule(
        Code.POLICY_REJECTED, "{0:hash} breaks this node when it is executed and was put away."
    ),
}
