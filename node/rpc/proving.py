"""Proofs of state that need nothing but the genesis hash: what `prove` adds to an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from clawpurse.ledger.errors import Bug, NotFound
from clawpurse.ledger.store.state_view import StateView
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc.past import PastState
from clawpurse.node.rpc.services import Services
from clawpurse.wallet.proofs import AuthorityChange
from clawpurse.wallet.state_proofs import (
    ProvableBlock,
    ProvableValue,
    StateKey,
    build_state_proof,
)

# Changes of the authorities read between two turns of the loop: about half a millisecond.
CHANGES_SLICE: Final = 32
# So are keys proven; one takes 30 to 80 microseconds in a view, whose cache begins empty.
KEYS_SLICE: Final = 8
# What a proof of state costs beside its answer: the past is hashed anew, block by block.
PROVE_COST: Final = 20
PROVE: Final = "Add a proof that verifies offline, from the genesis hash alone"
Json = dict[str, Any]


class Provable:
    """The state after block `height`, which stays as it is while its holder waits."""

    def __init__(self, services: Services, view: StateView) -> None:
        self._services = services
        self._view = view
        self.state = PastState(view)
        self.height = view.height

    async def block(self, keys: Sequence[StateKey]) -> ProvableBlock:
        """Return the values of keys with their proofs, and what decided the block."""
        certificate = self._services.chain.blocks.certificate(self.height)
        if certificate is None:
            raise NotFound(f"block {self.height}")
        found: list[ProvableValue] = []
        for number, (module, key) in enumerate(keys, 1):
            value, proof = self._view.get(module, key), self._view.prove(module, key)
            found.append(ProvableValue(module, key, value, proof))
            if number % KEYS_SLICE == 0:
                await next_turn()
        return ProvableBlock(self._services.header(self.height).pack(), certificate, found)


@asynccontextmanager
async def provable_after(services: Services, at_height: int | None) -> AsyncIterator[Provable]:
    """Give the state after a block, ready to prove; None means the newest.

    The view is taken before anything is waited for. Raises `Pruned` below the undo floor,
    `NotFound` above the head, `RpcError` (not found) at 0, which no header decides.
    """
    height = services.chain.height if at_height is None else at_height
    if height == 0:
        raise RpcError(NOT_FOUND, "genesis has no header; proofs begin at block 1")
    view = services.chain.state.at_height(height, proofs=True)
    try:
        for _ in view.steps():
            await next_turn()
        yield Provable(services, view)
    finally:
        view.close()


async def state_bundle(
    services: Services, kind: str, height: int, blocks: Sequence[ProvableBlock]
) -> Json:
    """Return a bundle of what was proven; `height` is the last block's."""
    return build_state_proof(
        kind,
        genesis=services.chain.genesis.packed,
        changes=await authority_changes(services, height),
        blocks=blocks,
    )


async def authority_changes(services: Services, height: int) -> list[AuthorityChange]:
    """Return the certified headers that lead from the genesis set to the one of `height`."""
    blocks = services.chain.blocks
    changes: list[AuthorityChange] = []
    for in_force, packed in list(blocks.authority_changes(height)):
        header, certificate = blocks.header(in_force - 1), blocks.certificate(in_force - 1)
        if header is None or certificate is None:
            raise Bug(f"the authorities of {in_force} are known and no header names them")
        changes.append(AuthorityChange(header, certificate, packed))
        if len(changes) % CHANGES_SLICE == 0:
            await next_turn()
    return changes
