"""A fixed history that touches everything the ledger does; prints one digest a block.

Run as a program under other hash seeds and other Pythons: every node must print the same.
"""

from __future__ import annotations

import hashlib
import random

from clawpurse.ledger.crypto import list_root
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.overlay import tree_changes
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult, prepare
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    FRANK,
    Sandbox,
    change_key,
    open_account,
    transfer,
)
from tests.ledger.test_due_and_hooks import DESK, desk

BLOCKS = 40


def digest_of(result: ExecutionResult) -> str:
    """One digest over everything that a block did, in the order in which it did it."""
    state = hashlib.blake2b(digest_size=16)
    for tree, key, value in tree_changes(result.changes):
        state.update(repr((tree, key, value)).encode())
    state.update(repr(list(result.changes)).encode())
    state.update(list_root([receipt.pack() for receipt in result.receipts]))
    state.update(list_root([event.pack() for event in result.events]))
    state.update(repr(result.cost_used).encode())
    return state.hexdigest()


def random_action(draw: random.Random, now_ms: int) -> RawAction:
    whom = draw.choice([BOB, CAROL, ERIN, FRANK])
    amount = draw.choice([1, 2, 13, 200, 400, 500, 666, 70_000])
    match draw.randrange(8):
        case 0:
            return open_account(whom)
        case 1:
            return desk("later", whom.account, amount, now_ms + draw.randrange(20_000_000))
        case 2:
            return desk("supply", whom.account, amount)
        case 3:
            return change_key(FRANK)
        case _:
            return transfer(whom, amount, draw.choice(["CLAW", "EUR"]))


def digests() -> list[str]:
    """Run the history; one digest a block, genesis first."""
    draw = random.Random(20_261_122)
    chain = Sandbox(DESK, params={"opening_deposit": 3, "fee_min": 1, "due_per_block_max": 3})
    found = [
        chain.genesis.hash.hex(),
        hashlib.sha256(repr(chain.state.records).encode()).hexdigest(),
    ]
    for _ in range(BLOCKS):
        after_ms = draw.choice([1, 1_000, 3_600_000, 90_000_000])
        execution = chain.execution(after_ms)
        for number in range(draw.randrange(12)):
            sender = draw.choice([ALICE, ALICE, BOB, CAROL])
            actions = [random_action(draw, chain.time_ms) for _ in range(draw.choice([1, 1, 1, 3]))]
            rekeys = any(action.name == "accounts.changeKey" for action in actions)
            rekeyed = chain.account(sender).key == FRANK.public
            raw = chain.tx(
                sender,
                *actions,
                lane=draw.randrange(3) * 20 + number,
                signer=FRANK if rekeyed else None,
                payer=draw.choice([None, None, ALICE]) if sender is not ALICE else None,
                approvers=[(FRANK, sender.account)] if rekeys else [],
                idempotency_key=draw.choice([None, b"a", b"b"]),
                valid_until_ms=chain.time_ms + after_ms + 1,
            )
            try:
                execution.apply(prepare(raw, chain.registry))
            except Refused as err:
                found.append(f"{err.rule} {err.wire_facts!r}")
        result = execution.finish()
        chain.state.apply(result.changes)
        chain.height, chain.time_ms = chain.height + 1, chain.time_ms + after_ms
        found.append(digest_of(result))
        found.extend(receipt.rule or "done" for receipt in result.receipts)
        found.extend(event.kind for event in result.events)
    return found


if __name__ == "__main__":
    print("\n".join(digests()))
