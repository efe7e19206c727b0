"""Sidecar `faucet`: pays test money to whoever asks, on test networks only.

Its key can be derived by anybody who knows the genesis, so that every node of a test network
can serve it, one that joined later too. Nodes that pay at the same time use lanes of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from clawpurse.ledger.errors import Bug, Code, Refused
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import (
    Body,
    RawAction,
    Role,
    encode_transaction,
    sign_entry,
)
from clawpurse.modules.faucet.keys import faucet_account, faucet_seed
from clawpurse.modules.kit.web.errors import RATE_LIMITED, RpcError

# A thousand whole units: enough to try everything, a thousandth of what the faucet begins with.
UNITS_PER_REQUEST: Final = 1_000
VALID_FOR_MS: Final = 600_000
MINUTE_MS: Final = 60_000
# Another node may have used a lane's sequence in the same moment; another lane will do.
TRIES_MAX: Final = 8
TAKEN: Final = (Code.SEQUENCE_LOW, Code.DUPLICATE, Code.SEQUENCE_GAP)


@dataclass(frozen=True)
class FaucetLimits:
    """How often one account is paid: a person tries things, a script drains."""

    per_account_per_minute: int = 10
    accounts_remembered: int = 10_000


class Faucet:
    """Pays from the faucet's account through the node, like any client."""

    def __init__(
        self,
        genesis: Genesis,
        *,
        next_sequence: Callable[[bytes, int], int],
        submit: Callable[[bytes], Awaitable[bytes]],
        now_ms: Callable[[], int],
        lanes: Callable[[], Sequence[int]],
        limits: FaucetLimits | None = None,
    ) -> None:
        """Stand for the faucet of a test network. Raises `OperatorError` for any other.

        `next_sequence(account, lane)` counts pooled transactions too; `submit(raw)` returns the
        tx id of an accepted transaction or raises `Refused`; `now_ms` is UTC. `lanes()` are those
        that this node pays from now: two nodes that use one at the same moment lose a payment.
        """
        self._genesis = genesis
        self._account = faucet_account(genesis)
        self._seed = faucet_seed(genesis.chain_id, genesis.time_ms)
        self._next_sequence = next_sequence
        self._submit = submit
        self._now_ms = now_ms
        self._lanes = lanes
        self._place = 0
        self._limits = limits or FaucetLimits()
        self._paid: dict[bytes, list[int]] = {}
        self._turn = trio.Lock()

    @property
    def account(self) -> bytes:
        """The faucet's account."""
        return self._account

    async def request(self, account: bytes) -> dict[str, Any]:
        """Pay `account` and return {txId, asset, amount}.

        Raises `Refused`, or `RpcError` (rateLimited) for an account that asks too often. A
        cancelled request may have paid.
        """
        self._require_patience(account)
        amount = UNITS_PER_REQUEST * 10 ** self._genesis.decimals[NATIVE_ASSET]
        async with self._turn:
            tx_id = await self._pay(account, amount)
        return {"txId": "0x" + tx_id.hex(), "asset": NATIVE_ASSET, "amount": str(amount)}

    def _require_patience(self, account: bytes) -> None:
        now = self._now_ms()
        most = self._limits.per_account_per_minute
        recent = [when for when in self._paid.get(account, ()) if now - MINUTE_MS < when <= now]
        if len(recent) >= most:
            wait_ms = recent[0] + MINUTE_MS - now
            raise RpcError(
                RATE_LIMITED,
                f"the faucet pays one account {most} times a minute at most",
                facts={"retryAfterMs": wait_ms},
            )
        self._paid.pop(account, None)
        self._paid[account] = [*recent, now]
        while len(self._paid) > self._limits.accounts_remembered:
            del self._paid[next(iter(self._paid))]

    async def _pay(self, account: bytes, amount: int) -> bytes:
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return await self._submit(self._signed(account, amount))
            except Refused as err:
                if err.code not in TAKEN or attempt == TRIES_MAX:
                    raise
                self._place += 1
        raise Bug("the faucet tried no lane")

    def _signed(self, account: bytes, amount: int) -> bytes:
        genesis, lanes = self._genesis, self._lanes()
        lane = lanes[self._place % len(lanes)]
        body = Body(
            genesis.chain_id,
            genesis.hash,
            self._account,
            lane,
            self._next_sequence(self._account, lane),
            0,
            self._now_ms() + VALID_FOR_MS,
            None,
            genesis.params.fee_min,
            None,
            (RawAction("assets.transfer", [NATIVE_ASSET, account, amount]),),
            b"faucet",
            secrets.token_bytes(16),
        ).pack()
        entry = sign_entry(self._seed, genesis.hash, Role.SENDER, self._account, body)
        return encode_transaction(body, [entry])
