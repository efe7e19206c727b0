"""A node that is a moment behind would fall further behind, if it checked everything twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clawpurse.ledger.blocks import BLOCK_VERSION, Block, Header
from clawpurse.ledger.crypto import ZERO_HASH, list_root, wtx_id_of
from clawpurse.node.bodies import BadBody, Bodies
from clawpurse.node.mempool import Mempool
from clawpurse.node.messages import ProposalKind
from clawpurse.node.verifier import InlineVerifier, Triple
from tests.node.poolworld import REGISTRY, PoolWorld, admit


class Counting:
    """Checks for real, and counts."""

    def __init__(self) -> None:
        self.checked = 0
        self._inner = InlineVerifier()

    async def verify(self, triples: Sequence[Triple]) -> list[bool]:
        self.checked += len(triples)
        return await self._inner.verify(triples)


class Nobody:
    """No peers."""

    def peers(self) -> Sequence[bytes]:
        return ()

    def send(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        return False


def block_of(world: PoolWorld, raws: Sequence[bytes]) -> Block:
    """A block whose header commits to these transactions, and to nothing else that is true."""
    header = Header(
        version=BLOCK_VERSION,
        chain_id=world.genesis.chain_id,
        genesis_hash=world.genesis.hash,
        recovery_epoch=0,
        height=1,
        time_ms=world.time_ms + 1,
        first_round=0,
        proposer=world.genesis.authorities[0],
        parent_id=world.genesis.hash,
        parent_certificate_hash=ZERO_HASH,
        transactions_root=list_root([wtx_id_of(raw) for raw in raws]),
        receipts_root=ZERO_HASH,
        events_root=ZERO_HASH,
        evidence_root=list_root(()),
        state_root=ZERO_HASH,
        authorities_hash=ZERO_HASH,
        next_authorities_hash=ZERO_HASH,
        params_hash=world.genesis.params.hash,
        cost_used=0,
    )
    return Block(header, None, (), tuple(raws))


async def test_what_is_pooled_is_not_verified_again() -> None:
    """Only what this node has not seen costs signatures; order and bytes are the block's."""
    world, pool, verifier = PoolWorld(), Mempool(), Counting()
    bodies = Bodies(REGISTRY, pool, verifier, Nobody())
    raws = [world.pay(sender, 0, signed=True) for sender in range(4)]
    pooled = world.prepared(1, 0, signed=True)
    admit(pool, world, pooled)
    body = await bodies.complete(block_of(world, raws))
    assert verifier.checked == 3
    assert [item.transaction.raw for item in body.prepared] == raws
    assert body.prepared[1] is pooled


async def test_another_signature_on_a_pooled_body_is_verified() -> None:
    """The pool vouches for bytes, not for ids: a forged witness must not ride on a good one."""
    world, pool, verifier = PoolWorld(), Mempool(), Counting()
    bodies = Bodies(REGISTRY, pool, verifier, Nobody())
    admit(pool, world, world.prepared(0, 0, signed=True))
    with pytest.raises(BadBody):
        await bodies.complete(block_of(world, [world.pay(0, 0)]))
    assert verifier.checked == 1
