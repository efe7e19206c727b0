"""Payments during `testnet chaos`, and the promises that nodes made about them.

The faucet pays through every node at once, in a lane for each, to a recipient for each, so that
what a recipient has at the end is the number of payments of its lane.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli.network import FEE_MIN, LocalNetwork
from clawpurse.cli.session import now_ms
from clawpurse.ledger.address import account_text
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import Role
from clawpurse.modules.faucet.keys import faucet_seed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms, Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey

# The faucet service of a test network takes lanes from below; more nodes than this share lanes.
FIRST_LANE: Final = 32
LANES: Final = 31
# Every third caller waits until its payment is final; that it became so must then stay true.
WAIT_EVERY: Final = 3
# Longer than the longest plan keeps a quorum down, so that most become final; what does not in
# time is reported expired, which is an end too.
VALID_FOR_MS: Final = 120_000
RETRY_S: Final = 0.1
CALL_TIMEOUT_MS: Final = 20_000
# Promises kept in memory; a longer run pays more slowly.
PROMISES_MAX: Final = 200_000
PERIOD_MIN_S: Final = 0.05


class Place(NamedTuple):
    """Where a payment was said to be final, and with which outcome."""

    height: int
    place: int
    code: str


class Promises:
    """What callers were told. `accepted` maps a transaction to the node that accepted it."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.final: dict[str, Place] = {}
        self.sent = 0
        self.refused = 0
        self.unreachable = 0

    def note(self, node: int, answer: dict[str, Any]) -> None:
        """Keep what `tx_submit` answered."""
        if len(self.accepted) >= PROMISES_MAX:
            return
        self.accepted[answer["txId"]] = node
        if answer["status"] == "final":
            receipt = answer["receipt"]
            self.final[answer["txId"]] = Place(answer["height"], answer["index"], receipt["code"])


def recipient(node: int) -> bytes:
    """Return the account that is paid through a node; nobody has its key."""
    return bytes((0xC4, node + 1)) * 16


def pace_s(nodes: int, seconds: float) -> float:
    """Return how long each payer waits between payments, so that promises stay countable."""
    return max(PERIOD_MIN_S, seconds * nodes / PROMISES_MAX)


class Payer:
    """Pays through one node, in one lane, until cancelled."""

    def __init__(self, network: LocalNetwork, node: int, url: str, promises: Promises) -> None:
        genesis = Genesis.from_json(network.genesis_file.read_bytes())
        self._key = SigningKey(faucet_seed(genesis.chain_id, genesis.time_ms))
        self._terms = ChainTerms(genesis.chain_id, genesis.hash)
        self._registry = build_registry()
        self._node = node
        self._lane = FIRST_LANE + node % LANES
        self._url = url
        self._promises = promises

    def signed(self, sequence: int) -> bytes:
        """Return a payment of one minor unit."""
        body = build_body(
            self._terms,
            self._registry,
            self._key.account,
            Slot(self._lane, sequence),
            [transfer_action(NATIVE_ASSET, recipient(self._node), 1)],
            valid_until_ms=now_ms() + VALID_FOR_MS,
            fee=FEE_MIN,
        )
        return sign_body(body, [(Role.SENDER, self._key)]).raw

    async def run(self, period_s: float) -> None:
        """Pay until cancelled; a node that does not answer is asked again."""
        sequence: int | None = None
        async with RpcClient(self._url, timeout_ms=CALL_TIMEOUT_MS) as client:
            while True:
                try:
                    if sequence is None:
                        sequence = await self._next_sequence(client)
                    await self._pay(client, sequence)
                    sequence += 1
                except RpcError:
                    self._promises.refused += 1
                    sequence = None
                except (Unreachable, BadAnswer):
                    # Nothing was promised; whether it was taken, the next sequence will tell.
                    self._promises.unreachable += 1
                    sequence = None
                await trio.sleep(period_s if sequence is not None else RETRY_S)

    async def _next_sequence(self, client: RpcClient) -> int:
        asked = {"account": account_text(self._key.account), "lane": self._lane}
        found = await client.call("account_getSequence", asked)
        return int(found["sequence"])

    async def _pay(self, client: RpcClient, sequence: int) -> None:
        wait = "final" if sequence % WAIT_EVERY == 0 else "accepted"
        call = {"tx": f"0x{self.signed(sequence).hex()}", "wait": wait}
        self._promises.sent += 1
        self._promises.note(self._node, await client.call("tx_submit", call, retry=False))
