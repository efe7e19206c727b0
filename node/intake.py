"""The way of a transaction into the mempool: decoded, judged, verified, admitted, journalled.

One task computes here, in slices of a millisecond, so that intake never adds more than one such
slice to the loop's lag however many callers and peers there are; while the verifier works on
some batches the next one is decoded. What committed state already forbids is refused before any
signature is checked. A caller is told "accepted" when the journal holds the transaction; what
came from peers is not journalled, because nobody was promised anything here, unless a caller
submits it too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import trio

from clawpurse.ledger.crypto import wtx_id_of
from clawpurse.ledger.errors import BadSignature, Code, Malformed, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transactions import TX_BYTES_MAX
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.node.clock import Clock
from clawpurse.node.journal import Journal, JournalRecord
from clawpurse.node.mempool import Head, Mempool, Standing
from clawpurse.node.pool_fates import Fate, Settlement
from clawpurse.node.pool_rules import POOL_RULES
from clawpurse.node.precedence import Precedence
from clawpurse.node.verifier import Triple, Verifier

# A slice ends after so many transactions, or a millisecond. The clock is asked now and then, and
# after whatever is large enough to matter by itself: on a crowded machine slices of two or three
# transactions would cost more than the lag that they save.
SLICE_MAX: Final = 32
SLICE_NS: Final = 1_000_000
CLOCK_EVERY: Final = 8
LARGE_BYTES: Final = 4_096
# Batches grow to this size while the verifier has others to work on, and are sent at once when
# it would have none; four of them are 10 ms of its work, so it has some while the loop lags.
BATCH_MAX: Final = 64
VERIFYING_MIN: Final = 2
VERIFYING_MAX: Final = 4
# A durable write costs the loop as much as ten transactions. While others are on their way, it
# waits so long for them; who submits alone does not.
GATHER_S: Final = 0.003
# About two seconds of work; more would only be a longer wait before "try again".
JOBS_MAX: Final = 16_384
JOBS_BYTES_MAX: Final = 32_000_000
# Peers together leave a quarter to callers, and no peer takes more than a quarter.
PEERS_JOBS_MAX: Final = 3 * JOBS_MAX // 4
ONE_PEER_JOBS_MAX: Final = JOBS_MAX // 4
# Ids of hopeless transactions, in two generations: a minute of a full channel of them.
REJECTED_MAX: Final = 32_768
# Journal records handed in at once at start-up.
RESTORE_SLICE: Final = 1_000
log = logging.getLogger("clawpurse.intake")


class Outcome(NamedTuple):
    """A transaction that is accepted: it, or one with the same body, is pooled or final.

    `duplicate`: it was known already. `replaced`: the tx id whose place it took.
    """

    tx_id: bytes
    duplicate: bool = False
    replaced: bytes | None = None


class Restored(NamedTuple):
    """What became of the journal's transactions at start-up."""

    final: int
    pooled: int
    ended: int
    remembered: int


# Everything by which a transaction is turned away.
Failure = Malformed | BadSignature | Refused
Result = Outcome | Failure
OnAccepted = Callable[[Sequence[Prepared], bytes | None], None]
OnRejected = Callable[[bytes, Failure], None]


class _Call:
    """A caller who waits for the results of some transactions."""

    __slots__ = ("done", "durable", "left", "results")

    def __init__(self, count: int, *, durable: bool) -> None:
        self.durable = durable
        self.results: list[Result | None] = [None] * count
        self.left = count
        self.done = trio.Event()

    def set(self, index: int, result: Result) -> None:
        self.results[index] = result
        self.left -= 1
        if not self.left:
            self.done.set()


class _Job:
    """One transaction on its way. `source` is the peer that sent it first, None for a caller."""

    __slots__ = ("prepared", "raw", "source", "standing", "waiters")

    def __init__(self, raw: bytes, source: bytes | None) -> None:
        self.raw = raw
        self.source = source
        self.waiters: list[tuple[_Call, int]] = []
        self.prepared: Prepared | None = None
        self.standing: Standing | None = None


class _Batch:
    """Decoded transactions whose signatures are being checked; `next` is the first to admit."""

    __slots__ = ("jobs", "next", "place", "triples", "verdicts")

    def __init__(self) -> None:
        self.jobs: list[_Job] = []
        self.triples: list[Triple] = []
        self.verdicts: list[bool] | None = None
        self.next = 0
        self.place = 0


class _Rejected:
    """Why some wtx ids failed for ever; the older half is forgotten when it is full."""

    def __init__(self, size_max: int) -> None:
        self._half = size_max // 2
        self._new: dict[bytes, Failure] = {}
        self._old: dict[bytes, Failure] = {}

    def add(self, wtx_id: bytes, error: Failure) -> None:
        self._new[wtx_id] = _fresh(error)
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}

    def get(self, wtx_id: bytes) -> Failure | None:
        found = self._new.get(wtx_id) or self._old.get(wtx_id)
        return None if found is None else _fresh(found)


class Intake:
    """Everything that wants into the mempool passes here.

    `head` returns the committed tip, `is_final` tells whether a tx id is in a block. Called
    back without waiting: `on_accepted(transactions, source)` with what entered the pool, by the
    peer that sent it (None: a caller), and `on_rejected(peer, error)` for bytes that no honest
    node sends.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        verifier: Verifier,
        pool: Mempool,
        journal: Journal,
        head: Callable[[], Head],
        is_final: Callable[[bytes], bool],
        on_accepted: OnAccepted,
        on_rejected: OnRejected,
        precedence: Precedence | None = None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._verifier = verifier
        self._pool = pool
        self._journal = journal
        self._head = head
        self._is_final = is_final
        self._on_accepted = on_accepted
        self._on_rejected = on_rejected
        self._precedence = Precedence() if precedence is None else precedence
        self._queue: deque[_Job] = deque()
        # By signed bytes: what is submitted twice at once is checked once.
        self._jobs: dict[bytes, _Job] = {}
        self._jobs_bytes = 0
        self._peer_jobs: dict[bytes, int] = {}
        self._peers_jobs = 0
        self._filling = _Batch()
        self._verifying: deque[_Batch] = deque()
        self._durable: list[tuple[_Job, Outcome]] = []
        self._rejected = _Rejected(REJECTED_MAX)
        self._wake = trio.Event()
        self._journal_wake = trio.Event()
        self.accepted_count = 0
        self.refused_count = 0
        self.dropped_count = 0

    # -- entries

    async def submit(self, raw: bytes, *, durable: bool = True) -> Outcome:
        """Take a caller's transaction in; returns when it is pooled and, if `durable`, journalled.

        Raises `Malformed`, `BadSignature` or `Refused` (POOL_FULL also when too many wait to be
        checked). A cancelled call may still end in acceptance: ask by tx id or key.
        """
        result = (await self.submit_many([raw], durable=durable))[0]
        if not isinstance(result, Outcome):
            raise result
        return result

    async def submit_many(self, raws: Sequence[bytes], *, durable: bool = True) -> list[Result]:
        """As `submit` for several, in their order; errors stand in the place of outcomes."""
        if not raws:
            return []
        call = _Call(len(raws), durable=durable)
        for index, raw in enumerate(raws):
            job = self._jobs.get(raw)
            if job is None:
                if self._is_full(len(raw)):
                    self.dropped_count += 1
                    call.set(index, refuse("pool.busy", len(self._jobs), table=POOL_RULES))
                    continue
                job = self._enter(raw, None)
            job.waiters.append((call, index))
        self._wake.set()
        await call.done.wait()
        return [result for result in call.results if result is not None]

    def offer(self, raws: Sequence[bytes], peer: bytes) -> int:
        """Take a peer's transactions in, as many as there is room for; returns how many."""
        taken = 0
        for index, raw in enumerate(raws):
            if raw in self._jobs:
                continue
            if (
                self._is_full(len(raw))
                or self._peers_jobs >= PEERS_JOBS_MAX
                or self._peer_jobs.get(peer, 0) >= ONE_PEER_JOBS_MAX
            ):
                self.dropped_count += len(raws) - index
                break
            self._enter(raw, peer)
            taken += 1
        self._wake.set()
        return taken

    def knows(self, wtx_id: bytes) -> bool:
        """Tell whether a transaction need not be asked for: it is pooled, or hopeless."""
        return self._pool.by_wtxid(wtx_id) is not None or self._rejected.get(wtx_id) is not None

    @property
    def waiting_count(self) -> int:
        """How many transactions are on their way."""
        return len(self._jobs)

    def _is_full(self, size_bytes: int) -> bool:
        return len(self._jobs) >= JOBS_MAX or self._jobs_bytes + size_bytes > JOBS_BYTES_MAX

    def _enter(self, raw: bytes, source: bytes | None) -> _Job:
        job = _Job(raw, source)
        self._jobs[raw] = job
        self._jobs_bytes += len(raw)
        if source is not None:
            self._peer_jobs[source] = self._peer_jobs.get(source, 0) + 1
            self._peers_jobs += 1
        self._queue.append(job)
        return job

    def _leave(self, job: _Job, result: Result) -> None:
        """End a job and tell who waits for it."""
        del self._jobs[job.raw]
        self._jobs_bytes -= len(job.raw)
        if job.source is not None:
            self._peers_jobs -= 1
            self._peer_jobs[job.source] -= 1
            if not self._peer_jobs[job.source]:
                del self._peer_jobs[job.source]
        if not isinstance(result, Outcome):
            self.refused_count += 1
        for call, index in job.waiters:
            call.set(index, result)

    # -- the tasks

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. Raises `StorageFault` when the journal cannot be written."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_promises)
            task_status.started()
            while True:
                await self._precedence.give_way()
                if self._verifying and self._verifying[0].verdicts is not None:
                    self._admit_slice()
                elif self._queue and len(self._verifying) < VERIFYING_MAX:
                    batch = self._filling
                    self._decode_slice(batch)
                    is_wanted = not self._queue or len(self._verifying) < VERIFYING_MIN
                    if len(batch.jobs) >= BATCH_MAX or (batch.jobs and is_wanted):
                        self._filling = _Batch()
                        self._verifying.append(batch)
                        nursery.start_soon(self._verify, batch)
                else:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    continue
                await trio.lowlevel.checkpoint()

    async def _verify(self, batch: _Batch) -> None:
        batch.verdicts = await self._verifier.verify(batch.triples)
        self._wake.set()

    async def _keep_promises(self) -> None:
        """Make admitted transactions durable, many at once, then tell their callers."""
        while True:
            await self._journal_wake.wait()
            if self._queue or self._verifying:
                await trio.sleep(GATHER_S)
            self._journal_wake = trio.Event()
            promised, self._durable = self._durable, []
            await self._journal.flush()
            for job, outcome in promised:
                self._leave(job, outcome)

    # -- decoding and judging

    def _decode_slice(self, batch: _Batch) -> None:
        """Decode and judge what waits, for a millisecond; what is to be verified joins `batch`."""
        head, now_ms = self._head(), self._clock.now_ms()
        clock = self._clock.monotonic_ns
        end = clock() + SLICE_NS
        queue = self._queue
        for done in range(1, SLICE_MAX + 1):
            job = queue.popleft()
            prepared = self._decode(job, head, now_ms)
            if prepared is not None:
                batch.jobs.append(job)
                batch.triples.extend(prepared.transaction.signatures)
            if not queue or len(batch.jobs) >= BATCH_MAX:
                break
            if (done % CLOCK_EVERY == 0 or len(job.raw) >= LARGE_BYTES) and clock() >= end:
                break

    def _decode(self, job: _Job, head: Head, now_ms: int) -> Prepared | None:
        """Return a job's transaction if its signatures are worth checking; else end the job."""
        pool, raw = self._pool, job.raw
        if job.source is not None and len(raw) <= TX_BYTES_MAX:
            wtx_id = wtx_id_of(raw)
            error = self._rejected.get(wtx_id)
            if error is not None:
                self._reject(job, error)
                return None
            pooled = pool.by_wtxid(wtx_id)
            if pooled is not None:
                self._accept_again(job, pooled)
                return None
        try:
            prepared = prepare(raw, self._registry)
        except (Malformed, BadSignature, Refused) as err:
            if len(raw) <= TX_BYTES_MAX:
                self._rejected.add(wtx_id_of(raw), err)
            self._reject(job, err)
            return None
        pooled = pool.get(prepared.transaction.tx_id)
        if pooled is not None:
            self._accept_again(job, pooled)
            return None
        try:
            job.standing = pool.judge(prepared, head, now_ms)
        except Refused as err:
            self._refuse(job, prepared, err)
            return None
        job.prepared = prepared
        return prepared

    def _reject(self, job: _Job, error: Failure) -> None:
        """End a job whose bytes can never be right, and say who sent them."""
        source = job.source
        self._leave(job, error)
        if source is not None:
            self._on_rejected(source, error)

    def _refuse(self, job: _Job, prepared: Prepared, error: Refused) -> None:
        """End a job that may not be included now; one that was included is a duplicate."""
        tx_id = prepared.transaction.tx_id
        if error.code is Code.SEQUENCE_LOW and job.waiters and self._is_final(tx_id):
            self._leave(job, Outcome(tx_id, duplicate=True))
        else:
            self._leave(job, error)

    # -- admitting

    def _admit_slice(self) -> None:
        """Admit verified transactions for a millisecond, and hand on what entered the pool."""
        head, now_ms = self._head(), self._clock.now_ms()
        clock = self._clock.monotonic_ns
        end = clock() + SLICE_NS
        entered: dict[bytes | None, list[Prepared]] = {}
        is_over = False
        while self._verifying and self._verifying[0].verdicts is not None:
            batch = self._verifying[0]
            while batch.next < len(batch.jobs) and not is_over:
                job = batch.jobs[batch.next]
                batch.next += 1
                self._admit(job, batch, head, now_ms, entered)
                is_over = batch.next % CLOCK_EVERY == 0 and clock() >= end
            if batch.next == len(batch.jobs):
                self._verifying.popleft()
            if is_over:
                break
        for source, prepareds in entered.items():
            self.accepted_count += len(prepareds)
            self._on_accepted(prepareds, source)

    def _admit(
        self,
        job: _Job,
        batch: _Batch,
        head: Head,
        now_ms: int,
        entered: dict[bytes | None, list[Prepared]],
    ) -> None:
        prepared, verdicts = job.prepared, batch.verdicts
        assert prepared is not None
        assert verdicts is not None
        transaction = prepared.transaction
        count = len(transaction.witness)
        is_genuine = all(verdicts[batch.place : batch.place + count])
        batch.place += count
        if not is_genuine:
            error = BadSignature("a signature does not verify under the key it names")
            self._rejected.add(transaction.wtx_id, error)
            self._reject(job, error)
            return
        try:
            admission = self._pool.admit(prepared, head, now_ms, job.standing)
        except Refused as err:
            self._refuse(job, prepared, err)
            return
        if admission.duplicate:
            self._accept_again(job, admission.prepared)
            return
        entered.setdefault(job.source, []).append(prepared)
        self._promise(job, prepared, Outcome(transaction.tx_id, replaced=admission.replaced))

    def _accept_again(self, job: _Job, pooled: Prepared) -> None:
        self._promise(job, pooled, Outcome(pooled.transaction.tx_id, duplicate=True))

    def _promise(self, job: _Job, pooled: Prepared, outcome: Outcome) -> None:
        """Have the journal hold what a caller waits for; nobody else needs to wait for it."""
        for waiter in [waiter for waiter in job.waiters if not waiter[0].durable]:
            job.waiters.remove(waiter)
            waiter[0].set(waiter[1], outcome)
        if not job.waiters:
            self._leave(job, outcome)
            return
        self._journal.put(outcome.tx_id, pooled.transaction.raw)
        self._durable.append((job, outcome))
        self._journal_wake.set()

    # -- start-up

    async def restore(self, records: Sequence[JournalRecord]) -> Restored:
        """Bring back what the journal held: into the pool, or to the end that it met.

        Needs `run`. What cannot enter the pool now is remembered until its end is certain.
        """
        final = [one.tx_id for one in records if self._is_final(one.tx_id)]
        self._journal.settle(final)
        known = frozenset(final)
        left = [one for one in records if one.tx_id not in known]
        pooled = ended = 0
        for start in range(0, len(left), RESTORE_SLICE):
            piece = left[start : start + RESTORE_SLICE]
            results = await self.submit_many([one.raw for one in piece])
            for one, result in zip(piece, results, strict=True):
                if isinstance(result, Outcome):
                    pooled += 1
                elif self._has_ended(one, result):
                    self._journal.settle([one.tx_id])
                    ended += 1
        report = Restored(len(final), pooled, ended, len(left) - pooled - ended)
        if records:
            log.info("accepted transactions restored", extra=report._asdict())
        return report

    def _has_ended(self, record: JournalRecord, error: Failure) -> bool:
        """Settle a journalled transaction that was refused, if its end is certain."""
        head, fate = self._head(), None
        try:
            prepared = prepare(record.raw, self._registry)
        except (Malformed, BadSignature, Refused) as err:
            error = err
        if isinstance(error, Malformed | BadSignature) or error.rule == "kernel.action":
            log.error(
                "a journalled transaction is not valid in this version",
                extra={"tx": record.tx_id.hex(), "why": str(error)},
            )
            return True
        body = prepared.transaction.body
        too_late = body.valid_until_ms <= head.time_ms
        too_high = body.height_max is not None and body.height_max <= head.height
        if error.code is Code.SEQUENCE_LOW:
            fate = Fate.REPLACED
        elif too_late or too_high:
            fate = Fate.EXPIRED
        if fate is None:
            self._pool.remember(prepared)
            return False
        self._pool.fates.settle(record.tx_id, Settlement(fate, head.height))
        return True


def _fresh(error: Failure) -> Failure:
    """Return a copy without a traceback: a kept error would keep what its raising touched."""
    match error:
        case Malformed():
            return Malformed(error.field, error.problem)
        case BadSignature():
            return BadSignature(error.problem)
        case Refused():
            return Refused(error.code, error.reason, rule=error.rule, wire_facts=error.wire_facts)
