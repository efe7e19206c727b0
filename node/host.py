"""What consensus asks of the rest of the node: the engine's `Chain`, performed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from clawpurse.consensus.inputs import StartHeight
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.errors import OperatorError, PeerError, Refused
from clawpurse.node.amendments import refuse_unknown
from clawpurse.node.bodies import Body
from clawpurse.node.chain import Chain, Executed
from clawpurse.node.clock import Clock
from clawpurse.node.engine import Judgement, KeyFor
from clawpurse.node.finality import Finality
from clawpurse.node.mempool import Head, Mempool
from clawpurse.node.precedence import Precedence
from clawpurse.node.proposing import Proposing


class ConsensusHost:
    """The next height's terms, blocks built and judged, commits and who hears of them."""

    def __init__(
        self,
        chain: Chain,
        proposing: Proposing,
        pool: Mempool,
        finality: Finality,
        clock: Clock,
        on_committed: Callable[[Executed, list[bytes]], None],
        precedence: Precedence,
    ) -> None:
        self._chain = chain
        self._proposing = proposing
        self._pool = pool
        self._finality = finality
        self._clock = clock
        self._on_committed = on_committed
        self._precedence = precedence
        self._newest: Executed | None = None
        self.commit_count = 0
        # Tells whether a height is decided already; set by the owner of block sync.
        self.knows_decided: Callable[[int], bool] = lambda _height: False
        # Tells whether evidence waits for a block; set by the owner of its pool.
        self.evidence_waits: Callable[[], bool] = lambda: False
        self._refuse_unknown()  # Also where the log would go on in the middle of a height.

    def _refuse_unknown(self) -> None:
        chain = self._chain
        refuse_unknown(chain.amendments, chain.known_amendments, chain.height + 1)

    @property
    def height(self) -> int:
        """The newest committed height."""
        return self._chain.height

    def start_height(self, key_for: KeyFor) -> StartHeight:
        """Return the terms of the next height.

        Raises `OperatorError` when an amendment is in force there that is not known here.
        """
        self._refuse_unknown()
        authorities, height = self._chain.authorities, self._chain.height + 1
        return StartHeight(
            height,
            authorities,
            self._chain.next_authorities,
            None if self.knows_decided(height) else key_for(height, authorities),
            TimeoutParams.of(self._chain.params),
        )

    async def build(self, round_: int, proposer: bytes) -> Body | None:
        """Build a block under this node's key of that height."""
        with self._precedence:
            return await self._proposing.build(round_, proposer)

    async def judge(self, body: Body) -> Judgement:
        """Check and execute a proposed block."""
        with self._precedence:
            return await self._proposing.judge(body)

    async def commit(self, body: Body, certificate: Certificate) -> None:
        """Make a decided block final."""
        header = body.block.header
        executed = self._proposing.executed(header.block_id)
        if executed is None:
            # After a restart the verdict is in the log but its result is not: once more.
            try:
                executed = await self._proposing.execute(body)
            except (PeerError, Refused) as err:
                raise OperatorError(
                    f"Block {header.height} was final, and executes differently now.",
                    f"{err}.",
                    "clawpurse db check",
                ) from err
        await self._chain.commit(executed, certificate)
        # What is let go of now takes a millisecond to free.
        await trio.lowlevel.checkpoint()
        self._proposing.forget()
        self._newest = executed
        self.commit_count += 1

    async def announce(self) -> None:
        """Update the pool in slices, then wake whoever waits for the newest block."""
        executed = self._newest
        if executed is None:
            return
        self._newest = None
        update = self._pool.committed(self.head, executed.prepared)
        with self._precedence:
            while update.step():
                await trio.lowlevel.checkpoint()
        tx_ids = [item.transaction.tx_id for item in executed.prepared]
        self._finality.announce(executed.block.header.height, tx_ids)
        await trio.lowlevel.checkpoint()
        settled = [tx_id for tx_id, _ in update.settled]
        for tx_id in settled:
            self._finality.tell(tx_id)
        self._on_committed(executed, settled)

    @property
    def head(self) -> Head:
        """The committed tip, as the mempool judges by it."""
        chain = self._chain
        return Head(chain.height, chain.tip.time_ms, chain.params, chain.reader)

    def work_waits(self) -> bool:
        """Tell whether the next block would have something in it."""
        if self._pool.has_ready() or self.evidence_waits():
            return True
        # R19: a change of the authorities takes its effect at once, also on an idle chain.
        if self._chain.next_authorities != self._chain.authorities:
            return True
        due_ms = self._chain.next_due_ms()
        return due_ms is not None and due_ms <= self._clock.now_ms()
