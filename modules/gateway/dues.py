"""What the gateway has to do on the ledger: claim what vouchers earned, send back what bought
nothing.

Everything is decided by what stands in the payments' database and on the ledger, and is looked at
again until the ledger says that it is done. What is sent carries a key that follows from what it
is for, which the ledger takes once: two gateways, or one that was killed, do nothing twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import sqlalchemy as sa
import trio

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import PeerError, StorageFault
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.gateway import invoices, prepaid
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.invoices import Paid
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.prepaid import Claim
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.kit.records.actions import pack_actions
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.records.work import TO_CHAIN, Work
from clawpurse.modules.kit.service.declaration import Host
from clawpurse.modules.kit.web.errors import RpcError, Unreachable

LOG: Final = logging.getLogger("clawpurse.gateway")
ROWS: Final = 100
REFUND_LOOK_S: Final = 15.0
AGAIN_MS: Final = 10 * 60_000
"""A claim that came to nothing is sent anew after so long; claiming twice moves nothing twice."""


class Dues:
    """See the module. `config` is asked each time: it may change."""

    def __init__(
        self,
        host: Host,
        store: Store,
        ledger: Ledger,
        config: Callable[[], GatewayConfig],
    ) -> None:
        self._host = host
        self._store = store
        self._ledger = ledger
        self._config = config
        #: What keeps it from its work, for people.
        self.problem = ""

    async def run(self) -> None:
        """Claim and refund until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._again, self.claim, lambda: float(self._config().claim_every_s))
            nursery.start_soon(self._again, self.refund, lambda: REFUND_LOOK_S)

    async def _again(
        self, step: Callable[[], Awaitable[None]], wait_s: Callable[[], float]
    ) -> None:
        while True:
            try:
                await step()
                self.problem = ""
            except (RpcError, Unreachable, PeerError, StorageFault) as error:
                if self.problem != str(error):
                    LOG.warning("claims and refunds wait", extra={"problem": str(error)})
                self.problem = str(error)
            await trio.sleep(wait_s())

    async def claim(self) -> None:
        """Send the newest voucher of each channel that earned something; note what was paid."""
        found = await self._store.read(lambda db: prepaid.claims(db, ROWS))
        for one in found:
            standing = await self._ledger.standing(one.channel)
            if standing is None:
                await self._store.write(partial(prepaid.closed, channel=one.channel))
            elif standing.claimed >= one.amount:
                await self._store.write(
                    partial(prepaid.claimed, channel=one.channel, amount=standing.claimed)
                )
            else:
                await self._send(claim_key(one, self._host.now_ms()), [claim_action(one)])

    async def refund(self) -> None:
        """Send back what bought nothing; note what was."""
        config = self._config()
        wait_ms = 1000 * (config.invoice_ttl_s + config.refund_after_s)
        before_ms = self._host.now_ms() - wait_ms
        for one in await self._store.write(lambda db: invoices.due_refunds(db, before_ms, ROWS)):
            key = refund_key(one)
            if await self._ledger.is_final(config.payee, key):
                await self._store.write(
                    partial(invoices.refunded, tx_id=one.tx_id, place=one.place)
                )
            else:
                await self._send(key, [refund_action(one)])

    async def _send(self, key: bytes, actions: list[RawAction]) -> None:
        """Put actions into the outbox, unless they are there."""

        def within(work: Work) -> None:
            outbox = work.tables.outbox
            there = sa.select(outbox.c.number).where(outbox.c.idempotency_key == key)
            if work.connection.execute(there).first() is None:
                work.send(TO_CHAIN, pack_actions(actions), key)

        await self._host.write(CHAIN, within)


def claim_action(claim: Claim) -> RawAction:
    """Return the action that claims a voucher."""
    channel, signature = bytes.fromhex(claim.channel[2:]), bytes.fromhex(claim.signature[2:])
    return RawAction("payments.claimChannel", [channel, claim.amount, signature])


def refund_action(paid: Paid) -> RawAction:
    """Return the action that sends a payment back."""
    return RawAction("assets.transfer", [paid.asset, account_from_text(paid.payer), paid.amount])


def claim_key(claim: Claim, now_ms: int) -> bytes:
    """Return the key of a claim; another one after a while."""
    text = f"claim {claim.channel} {claim.amount} {now_ms // AGAIN_MS}"
    return hashlib.sha256(b"clawpurse/gateway/" + text.encode()).digest()


def refund_key(paid: Paid) -> bytes:
    """Return the one key of a payment's refund."""
    text = f"refund {paid.tx_id} {paid.place}"
    return hashlib.sha256(b"clawpurse/gateway/" + text.encode()).digest()
