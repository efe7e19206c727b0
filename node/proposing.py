"""Building blocks and judging those of others: checks, execution in slices, roots (R17, R21).

Both ways end in `Executed`, which is kept until the height is decided, so that each block is
executed once: what a proposer built or a prevoter executed is what commit writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.blocks import BLOCK_VERSION, Block, Header
from clawpurse.ledger.crypto import ZERO_HASH, list_root
from clawpurse.ledger.errors import (
    Bug,
    CallerError,
    InvalidBlock,
    OperatorError,
    PeerError,
    Refused,
)
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.transition import Execution, ExecutionResult, Prepared
from clawpurse.node.bodies import Body, transactions_root
from clawpurse.node.chain import Chain, Executed
from clawpurse.node.clock import Clock
from clawpurse.node.engine import Judgement
from clawpurse.node.evidence_rules import EvidenceRules

# Transactions executed between two yields: about a millisecond at 20–30 µs each.
SLICE: Final = 32
# Receipts or events encoded between two yields, at about 2 µs each.
PACK_SLICE: Final = 256
# Valid, locked and current value, and one that is being judged (R17).
EXECUTED_MAX: Final = 4
# What a block holds beside its transactions: header, certificate, evidence, list headers.
BLOCK_OVERHEAD_BYTES: Final = 32_768
SMALLEST_BLOCK: Final = 50
# A build is begun anew without a transaction whose execution breaks; more than a few such in
# one pool means that the software is broken, not the transactions.
REBUILDS_MAX: Final = 8
log = logging.getLogger("clawpurse.blocks")


class ReadyPool(Protocol):
    """What building needs of the mempool."""

    def ready(self) -> Iterator[Prepared]:
        """Yield transactions in proposal order; stays usable while the pool changes."""

    def refused(self, prepared: Prepared, error: Refused) -> None:
        """Say that a transaction may not be in a block now."""

    def quarantine(self, tx_id: bytes, why: str) -> None:
        """Put away a transaction that breaks execution (R21)."""


class PendingEvidence(Protocol):
    """What building needs of the evidence that waits."""

    def select(self, height: int, time_ms: int) -> tuple[DoubleSign, ...]:
        """Return what a block of a height and time should record, in its order."""

    def set_aside(self, proof: DoubleSign, why: str) -> None:
        """Propose a proof no more: recording it breaks execution."""


class Proposing:
    """Builds and judges blocks on the committed tip."""

    def __init__(
        self,
        chain: Chain,
        pool: ReadyPool,
        clock: Clock,
        domain: Domain,
        evidence: PendingEvidence | None = None,
    ) -> None:
        """Without `evidence` blocks are built without any. See also `check_decided`."""
        self._chain = chain
        self._pool = pool
        self._clock = clock
        self._domain = domain
        self._evidence = evidence
        self._evidence_rules = EvidenceRules(chain, domain)
        # Looks at a certificate of a final height: another block's is proof of a fork. Set by
        # the owner of the engine.
        self.check_decided: Callable[[Certificate], None] = lambda _certificate: None
        self._executed: dict[bytes, Executed] = {}

    def executed(self, block_id: bytes) -> Executed | None:
        """Return the kept result of a block's execution."""
        return self._executed.get(block_id)

    def forget(self) -> None:
        """Drop all results: the tip has moved."""
        self._executed.clear()

    def _keep(self, executed: Executed) -> None:
        while len(self._executed) >= EXECUTED_MAX:
            del self._executed[next(iter(self._executed))]
        self._executed[executed.block.header.block_id] = executed

    # -- building

    async def build(self, round_: int, proposer: bytes) -> Body:
        """Build and execute a block for the next height from what is pooled and due."""
        skipped: set[bytes] = set()
        for attempt in range(REBUILDS_MAX + 1):
            # However many are poisoned, a block without any of them can be built.
            count_max = self._count_max(round_) if attempt < REBUILDS_MAX else 0
            executed = await self._try_build(round_, proposer, skipped, count_max)
            if executed is not None:
                self._keep(executed)
                return Body(executed.block, executed.prepared)
        raise Bug("a block without transactions breaks execution")

    def _count_max(self, round_: int) -> int:
        """Return how many transactions to propose at most.

        A round that failed may have failed because its block was too much for this moment's
        machines and links, so each further round proposes half as much.
        """
        whole = self._chain.params.block_transactions_max
        return min(whole, max(whole >> round_, SMALLEST_BLOCK))

    async def _try_build(
        self, round_: int, proposer: bytes, skipped: set[bytes], count_max: int
    ) -> Executed | None:
        tip, params = self._chain.tip, self._chain.params
        # Read now, after all waiting (R19); strictly above the parent's time (R20).
        time_ms = max(self._clock.now_ms(), tip.time_ms + 1)
        env = BlockEnv(tip.height + 1, time_ms, params)
        evidence = await self._select_evidence(env)
        execution = Execution(self._chain.reader, self._chain.registry, env)
        await _begin(execution, evidence)
        included: list[Prepared] = []
        room = params.block_bytes_max - BLOCK_OVERHEAD_BYTES
        for item in self._pool.ready():
            raw = item.transaction.raw
            if len(included) >= count_max or len(raw) > room:
                break
            if item.transaction.tx_id in skipped:
                continue
            try:
                execution.apply(item)
            except Refused as err:
                if err.rule == "kernel.blockFull":
                    break
                self._pool.refused(item, err)
                continue
            except OperatorError:
                raise  # A disk that fails says nothing about the transaction.
            except Exception as err:  # Whatever it is, one transaction must not stop blocks (R21).
                self._poisoned(item, err, skipped)
                return None
            included.append(item)
            room -= len(raw) + 5
            if len(included) % SLICE == 0:
                await trio.lowlevel.checkpoint()
        try:
            result = await _finish(execution)
        except OperatorError:
            raise
        except Exception as err:  # Books that do not balance, say: whose transaction is it?
            culprit = await self._culprit(included, env, evidence)
            if culprit is None:
                raise
            self._poisoned(culprit, err, skipped)
            return None
        return await self._seal(result, included, env, round_, proposer, evidence)

    async def _select_evidence(self, env: BlockEnv) -> tuple[DoubleSign, ...]:
        """Return the evidence to record; what breaks execution is put aside, as a transaction is.

        Tried apart before the block is built on it, and nearly always there is none.
        """
        if self._evidence is None:
            return ()
        selected = self._evidence.select(env.height, env.time_ms)
        if not selected or await self._problem((), env, selected) is None:
            return selected
        sound: list[DoubleSign] = []
        for proof in selected:
            problem = await self._problem((), env, (*sound, proof))
            if problem is None:
                sound.append(proof)
            else:
                self._evidence.set_aside(proof, problem)
        return tuple(sound)

    async def _culprit(
        self, included: Sequence[Prepared], env: BlockEnv, evidence: Sequence[DoubleSign]
    ) -> Prepared | None:
        """Return the transaction after which the block's end breaks; None if it does without any.

        By halving: the first ones up to `sound` end well, the first ones up to `broken` do not.
        """
        if await self._problem((), env, evidence):
            return None
        sound, broken = 0, len(included)
        while broken - sound > 1:
            middle = (sound + broken) // 2
            if await self._problem(included[:middle], env, evidence):
                broken = middle
            else:
                sound = middle
        return included[broken - 1]

    async def _problem(
        self,
        transactions: Sequence[Prepared],
        env: BlockEnv,
        evidence: Sequence[DoubleSign],
    ) -> str | None:
        """Return why a block of these would not end well; None if it would."""
        execution = Execution(self._chain.reader, self._chain.registry, env)
        try:
            await _begin(execution, evidence)
            for number, item in enumerate(transactions, 1):
                execution.apply(item)
                if number % SLICE == 0:
                    await trio.lowlevel.checkpoint()
            await _finish(execution)
        except OperatorError:
            raise
        except Exception as err:  # Here to find out which transaction causes it.
            log.debug("execution breaks", extra={"error": repr(err), "after": len(transactions)})
            return repr(err)
        return None

    def _poisoned(self, item: Prepared, err: Exception, skipped: set[bytes]) -> None:
        tx_id = item.transaction.tx_id
        log.critical(
            "a transaction breaks execution and was put away",
            extra={"tx": tx_id.hex(), "error": repr(err)},
            exc_info=err,
        )
        self._pool.quarantine(tx_id, repr(err))
        skipped.add(tx_id)

    async def _seal(
        self,
        result: ExecutionResult,
        included: Sequence[Prepared],
        env: BlockEnv,
        round_: int,
        proposer: bytes,
        evidence: Sequence[DoubleSign],
    ) -> Executed:
        chain, tip = self._chain, self._chain.tip
        packed_evidence = tuple([proof.pack() for proof in evidence])
        outputs = await _pack(result)
        update = chain.state.apply(result.changes)
        for _ in update.steps():
            await trio.lowlevel.checkpoint()
        certificate = tip.certificate
        included_root = transactions_root([item.transaction.wtx_id for item in included])
        await trio.lowlevel.checkpoint()
        header = Header(
            version=BLOCK_VERSION,
            chain_id=chain.genesis.chain_id,
            genesis_hash=chain.genesis.hash,
            recovery_epoch=self._domain.recovery_epoch,
            height=env.height,
            time_ms=env.time_ms,
            first_round=round_,
            proposer=proposer,
            parent_id=tip.block_id,
            parent_certificate_hash=ZERO_HASH
            if certificate is None
            else crypto.certificate_hash_of(certificate),
            transactions_root=included_root,
            receipts_root=outputs.receipts_root,
            events_root=outputs.events_root,
            evidence_root=list_root(packed_evidence),
            state_root=update.state_root,
            authorities_hash=chain.authorities.hash,
            next_authorities_hash=chain.next_authorities.hash,
            params_hash=env.params.hash,
            cost_used=result.cost_used,
        )
        raws = tuple([item.transaction.raw for item in included])
        block = Block(header, certificate, packed_evidence, raws)
        return Executed(block, tuple(included), result, update, outputs.receipts, outputs.events)

    # -- judging

    async def judge(self, body: Body) -> Judgement:
        """Check and execute a proposed block; the verdict of R21. Never raises because of it."""
        block_id = body.block.header.block_id
        if block_id in self._executed:
            return Judgement(True)
        try:
            self._keep(await self.execute(body))
        except (PeerError, CallerError) as err:
            return Judgement(False, str(err))
        except OperatorError:
            raise  # Nor about the block.
        except Exception as err:  # A broken invariant makes the block invalid, not the node (R21).
            log.critical(
                "a proposed block breaks execution",
                extra={"block": block_id.hex(), "error": repr(err)},
                exc_info=err,
            )
            return Judgement(False, f"execution broke: {err!r}")
        return Judgement(True)

    async def execute(self, body: Body) -> Executed:
        """Check a block against the tip, execute it, compare every root.

        Raises `InvalidBlock`, `InvalidCertificate` or `Refused` naming what does not hold.
        """
        header = body.block.header
        if header.parent_id != self._chain.tip.block_id and body.block.parent_certificate:
            self.check_decided(Certificate.unpack(body.block.parent_certificate))
        self._check_header(header)
        self._check_parent(body.block)
        params = self._chain.params
        if len(body.prepared) > params.block_transactions_max:
            raise InvalidBlock("size", f"{len(body.prepared)} transactions")
        size = sum([len(raw) for raw in body.block.transactions])
        if size > params.block_bytes_max:
            raise InvalidBlock("size", f"{size} bytes of transactions")
        if sum([item.cost for item in body.prepared]) > params.block_cost_max:
            raise InvalidBlock("cost", "static cost is above the limit")
        evidence = await self._evidence_rules.check_block(body.block)
        return await self._run(body, evidence)

    def _check_header(self, header: Header) -> None:
        chain, tip = self._chain, self._chain.tip
        expected = {
            "version": BLOCK_VERSION,
            "chain_id": chain.genesis.chain_id,
            "genesis_hash": chain.genesis.hash,
            "recovery_epoch": self._domain.recovery_epoch,
            "height": tip.height + 1,
            "parent_id": tip.block_id,
            "proposer": chain.authorities.proposer(tip.height + 1, header.first_round),
            "authorities_hash": chain.authorities.hash,
            "next_authorities_hash": chain.next_authorities.hash,
            "params_hash": chain.params.hash,
        }
        for name, value in expected.items():
            if getattr(header, name) != value:
                raise InvalidBlock("header", f"{name} is not what it must be")
        if header.time_ms <= tip.time_ms:
            raise InvalidBlock("time", f"{header.time_ms} is not after {tip.time_ms}")

    def _check_parent(self, block: Block) -> None:
        """The parent's certificate must be a full proof; any quorum's will do."""
        tip, packed = self._chain.tip, block.parent_certificate
        if tip.height == 0:
            if packed is not None:
                raise InvalidBlock("parent", "block 1 has a parent certificate")
            return
        if packed is None:
            raise InvalidBlock("parent", "the parent's certificate is missing")
        if packed == tip.certificate:
            return
        certificate = Certificate.unpack(packed)
        if certificate.height != tip.height or certificate.block_id != tip.block_id:
            raise InvalidBlock("parent", "the certificate is of another block")
        deciders = self._chain.authorities_at(tip.height)
        certificate.verify(self._domain, deciders, crypto.verify)

    async def _run(self, body: Body, evidence: Sequence[DoubleSign]) -> Executed:
        header, chain = body.block.header, self._chain
        env = BlockEnv(header.height, header.time_ms, chain.params)
        execution = Execution(chain.reader, chain.registry, env)
        await _begin(execution, evidence)
        for number, item in enumerate(body.prepared, 1):
            execution.apply(item)
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        result = await _finish(execution)
        outputs = await _pack(result)
        for name, found, claimed in (
            ("receipts", outputs.receipts_root, header.receipts_root),
            ("events", outputs.events_root, header.events_root),
        ):
            if found != claimed:
                raise InvalidBlock(name, f"root is 0x{found.hex()}, not 0x{claimed.hex()}")
        if result.cost_used != header.cost_used:
            raise InvalidBlock("cost", f"is {result.cost_used}, not {header.cost_used}")
        update = chain.state.apply(result.changes)
        for _ in update.steps():
            await trio.lowlevel.checkpoint()
        if update.state_root != header.state_root:
            roots = ", ".join(f"{name} 0x{root.hex()}" for name, root in update.roots.items())
            first = min(result.changes, default=("none", b""))
            raise InvalidBlock(
                "state",
                f"root is 0x{update.state_root.hex()}, not 0x{header.state_root.hex()}; "
                f"module roots here: {roots}; first changed key {first[0]} 0x{first[1].hex()}",
            )
        return Executed(body.block, body.prepared, result, update, outputs.receipts, outputs.events)


class _Outputs(NamedTuple):
    """A block's receipts and events as bytes, and the roots over them."""

    receipts: tuple[bytes, ...]
    events: tuple[bytes, ...]
    receipts_root: bytes
    events_root: bytes


async def _pack(result: ExecutionResult) -> _Outputs:
    """Encode receipts and events and hash them, in slices."""
    receipts: list[bytes] = []
    for start in range(0, len(result.receipts), PACK_SLICE):
        receipts += [receipt.pack() for receipt in result.receipts[start : start + PACK_SLICE]]
        await trio.lowlevel.checkpoint()
    events: list[bytes] = []
    for start in range(0, len(result.events), PACK_SLICE):
        events += [event.pack() for event in result.events[start : start + PACK_SLICE]]
        await trio.lowlevel.checkpoint()
    receipts_root = list_root(receipts)
    await trio.lowlevel.checkpoint()
    events_root = list_root(events)
    await trio.lowlevel.checkpoint()
    return _Outputs(tuple(receipts), tuple(events), receipts_root, events_root)


async def _begin(execution: Execution, evidence: Sequence[DoubleSign]) -> None:
    """Perform due work in slices: a day after a busy day it is thousands of pieces."""
    for number, _ in enumerate(execution.begin_in_steps(evidence), 1):
        if number % SLICE == 0:
            await trio.lowlevel.checkpoint()


async def _finish(execution: Execution) -> ExecutionResult:
    """Encode and audit what a block changed, in slices."""
    changes: dict[StateKey, bytes | None] = {}
    for _ in execution.finish_in_steps(changes):
        await trio.lowlevel.checkpoint()
    return execution.result(changes)
