"""The first block of a test network: something to decide, so that everybody sees it works.

An idle chain makes no blocks before its heartbeat (30 s). The faucet pays a cent to itself; that
is block 1, and who signed it is read from the certificates of all nodes together, because each
one keeps the first quorum that it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import trio

from clawpurse.cli.network import EURO, FEE_MIN, LocalNetwork
from clawpurse.cli.processes import PAUSE_S, ask
from clawpurse.cli.session import now_ms
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.transactions import LANE_COUNT, Role
from clawpurse.modules.faucet.keys import faucet_seed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    ChainTerms,
    Slot,
    build_body,
    new_idempotency_key,
    sign_body,
    transfer_action,
)
from clawpurse.wallet.keys import SigningKey

BLOCK_TIMEOUT_S: Final = 30.0
# Late certificates of other nodes: they commit within a round trip, or are not waited for.
SIGNERS_TIMEOUT_S: Final = 2.0
# The faucet service takes its lanes from the other end.
_LANE: Final = LANE_COUNT - 1


async def first_block(network: LocalNetwork, urls: Sequence[str]) -> tuple[int, int]:
    """Have block 1 decided; return its height and how many authorities signed it.

    Raises `OperatorError` when that does not happen within half a minute, `RpcError` when the
    node refuses the payment.
    """
    raw = _payment(network)
    with trio.move_on_after(BLOCK_TIMEOUT_S):
        async with RpcClient(urls[0], timeout_ms=int(BLOCK_TIMEOUT_S * 1000)) as client:
            await client.call("tx_submit", {"tx": f"0x{raw.hex()}", "wait": "final"})
        while True:
            block = await ask(urls[0], "chain_getBlock", {"height": 1})
            if block is not None:
                return 1, await _signers(urls, network.authorities)
            await trio.sleep(PAUSE_S)
    raise OperatorError(
        f"Block 1 was not final after {BLOCK_TIMEOUT_S:.0f} s.",
        "",
        f"tail {network.homes[0].log}",
    )


def _payment(network: LocalNetwork) -> bytes:
    genesis = Genesis.from_json(network.genesis_file.read_bytes())
    key = SigningKey(faucet_seed(genesis.chain_id, genesis.time_ms))
    body = build_body(
        ChainTerms(genesis.chain_id, genesis.hash),
        build_registry(),
        key.account,
        Slot(_LANE, 0),
        [transfer_action(EURO, key.account, 1)],
        valid_until_ms=now_ms() + VALID_FOR_MS_DEFAULT,
        fee=FEE_MIN,
        idempotency_key=new_idempotency_key(),
    )
    return sign_body(body, [(Role.SENDER, key)]).raw


async def _signers(urls: Sequence[str], authorities: int) -> int:
    """Return how many authorities are in any node's certificate of block 1."""
    signers = 0
    with trio.move_on_after(SIGNERS_TIMEOUT_S):
        while signers.bit_count() < authorities:
            for url in urls:
                block: dict[str, Any] | None = await ask(url, "chain_getBlock", {"height": 1})
                if block is not None:
                    signers |= int(block["certificate"]["signers"], 16)
            await trio.sleep(PAUSE_S)
    return signers.bit_count()
