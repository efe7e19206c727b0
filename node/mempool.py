"""The mempool: verified transactions that wait for a block. Synchronous, no I/O, deterministic.

Within one (sender, lane) transactions are offered strictly by sequence; between lanes by fee per
cost, then arrival. A sequence ahead of what is pooled waits apart, blocks nobody, and becomes
ready when the gap fills. Everything has a cap. What leaves without a block is remembered
(`pool_fates`) until a final block says how it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.kernel.witness import SESSION_SHARE
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transactions import Body, Transaction
from clawpurse.ledger.transition import Prepared, authorise, find_idempotency
from clawpurse.node.pool_fates import Fate, Fates, Settlement
from clawpurse.node.pool_order import Entry, Lane, Place, ProposalOrder, rate
from clawpurse.node.pool_rules import POOL_RULES

# A proposal names a transaction by so many bytes of its wtx id.
PREFIX_BYTES: Final = 16
# Of the whole pool and of one sender's part, so much may wait behind gaps.
GAP_SHARE: Final = 4
# A proposer that could not include it so often has better things to execute.
STRIKES_MAX: Final = 3
QUARANTINE_MAX: Final = 1_024
# Decoded accounts kept for admission between two blocks; beyond it they are read anew.
JUDGED_MAX: Final = 8_192
# Entries handled between two places where `PoolUpdate` lets the loop go on: under a millisecond.
UPDATE_SLICE: Final = 128

Settled = tuple[bytes, Settlement]


class Head(NamedTuple):
    """The committed tip: height, block time (ms UTC), parameters in force, state."""

    height: int
    time_ms: int
    params: Params
    reader: StateReader


class PoolLimits(NamedTuple):
    """Caps. The first two bound memory (a pooled transfer takes about 3 KB in all), the third keeps
    one sender from filling the pool.
    """

    transactions_max: int = 50_000
    bytes_max: int = 64_000_000
    per_sender_max: int = 5_000


class Standing(NamedTuple):
    """What the committed state at `height` says of a transaction's sender and payer.

    Of the sender's quota and place in the pool a session key gets a share only, so that its owner
    can always send what revokes it. `limited`: the fee is within limits that somebody set, a
    session key's owner or a sponsor.
    """

    height: int
    expected: int
    payer_balance: int
    quota_left: int
    count_max: int
    limited: bool


class Admission(NamedTuple):
    """What `admit` did. `prepared` is what is pooled now: with a duplicate, the first one.

    `replaced` is the tx id of the transaction whose place it took.
    """

    prepared: Prepared
    duplicate: bool = False
    ready: bool = False
    replaced: bytes | None = None


class PoolStatus(NamedTuple):
    """Figures for `mempool_getStatus` and metrics."""

    transactions: int
    bytes: int
    ready: int
    gaps: int
    senders: int
    remembered: int
    transactions_max: int
    bytes_max: int
    evicted: int


class _Sender:
    """One sender's part of the pool, for its caps."""

    __slots__ = ("cost", "count", "gaps", "keys", "lanes")

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.keys: dict[bytes, Entry] = {}
        self.count = 0
        self.gaps = 0
        self.cost = 0


class Mempool:
    """Verified transactions by id, by wtx id, by sender, and in proposal order."""

    def __init__(self, limits: PoolLimits | None = None, fates: Fates | None = None) -> None:
        self.limits = PoolLimits() if limits is None else limits
        self.fates = Fates() if fates is None else fates
        self._by_id: dict[bytes, Entry] = {}
        # By prefix of the wtx id. 128 bits cannot be ground, but two that do match are kept apart.
        self._by_prefix: dict[bytes, Entry | tuple[Entry, ...]] = {}
        self._senders: dict[bytes, _Sender] = {}
        # By account, and whether they are within limits that it set. Those wait for nothing that
        # the account sends itself: it must always be able to take back what it allowed.
        self._fees: dict[tuple[bytes, bool], int] = {}
        self._order = ProposalOrder()
        self._quarantined: dict[bytes, str] = {}
        self._bytes = 0
        self._gaps = 0
        self._arrivals = 0
        self._evicted = 0
        self._epoch = 0
        self._updating = False
        self._books: Books | None = None
        self._env: BlockEnv | None = None
        self._judged = 0

    # -- asking

    def __len__(self) -> int:
        return len(self._by_id)

    def contains(self, tx_id: bytes) -> bool:
        """Tell whether a transaction waits here."""
        return tx_id in self._by_id

    def get(self, tx_id: bytes) -> Prepared | None:
        """Return a pooled transaction by the id of its body."""
        return entry.prepared if (entry := self._by_id.get(tx_id)) else None

    def oldest_accepted_ms(self) -> int | None:
        """Return when what is pooled longest was accepted (ms UTC), None for an empty pool."""
        return next((entry.accepted_ms for entry in self._by_id.values()), None)

    def by_wtxid(self, wtx_id: bytes) -> Prepared | None:
        """Return a pooled transaction by the id of its signed form."""
        found = self._by_prefix.get(wtx_id[:PREFIX_BYTES])
        if found is None:
            return None
        for entry in (found,) if isinstance(found, Entry) else found:
            if entry.wtx_id == wtx_id:
                return entry.prepared
        return None

    def prefix_lookup(self, prefix: bytes) -> Prepared | None:
        """Return the one transaction whose wtx id begins with 16 bytes; None: none, or two."""
        found = self._by_prefix.get(prefix)
        return found.prepared if isinstance(found, Entry) else None

    def by_sender(self, sender: bytes) -> list[tuple[Prepared, bool]]:
        """Return a sender's transactions by lane and sequence, each with whether it is ready."""
        found = self._senders.get(sender)
        if found is None:
            return []
        lanes = [lane for _, lane in sorted(found.lanes.items())]
        entries = [entry for lane in lanes for _, entry in sorted(lane.entries.items())]
        return [(entry.prepared, entry.ready) for entry in entries]

    def by_key(self, sender: bytes, key: bytes) -> Prepared | None:
        """Return a sender's pooled transaction with an idempotency key."""
        found = self._senders.get(sender)
        entry = None if found is None else found.keys.get(key)
        return None if entry is None else entry.prepared

    def lane(self, sender: bytes, lane: int, start: int, limit: int) -> list[Prepared]:
        """Return up to `limit` of a lane's transactions from sequence `start` on, without gaps."""
        found = self._senders.get(sender)
        known = None if found is None else found.lanes.get(lane)
        listed: list[Prepared] = []
        while known is not None and len(listed) < limit:
            entry = known.entries.get(start + len(listed))
            if entry is None:
                break
            listed.append(entry.prepared)
        return listed

    def next_sequence(self, sender: bytes, lane: int) -> int | None:
        """Return the first sequence of a lane that nobody uses; None: none of it is pooled."""
        found = self._senders.get(sender)
        known = None if found is None else found.lanes.get(lane)
        return None if known is None else known.ready_end

    def held(self, limit: int) -> list[Prepared]:
        """Return pooled transactions by arrival, also those that wait behind a gap."""
        return [entry.prepared for entry in islice(self._by_id.values(), limit)]

    def page(self, limit: int, after: Place | None = None) -> tuple[list[Prepared], Place | None]:
        """Return ready transactions in order of fee and arrival, and where the next page begins."""
        found: list[Entry] = []
        place = after
        while len(found) < limit:
            piece = self._order.after(place)[: limit - len(found)]
            if not piece:
                return [entry.prepared for entry in found], None
            found.extend(piece)
            place = piece[-1].place
        return [entry.prepared for entry in found], place

    def status(self) -> PoolStatus:
        """Return the figures."""
        return PoolStatus(
            len(self._by_id),
            self._bytes,
            len(self._order),
            self._gaps,
            len(self._senders),
            len(self.fates),
            self.limits.transactions_max,
            self.limits.bytes_max,
            self._evicted,
        )

    def is_pending(self, tx_id: bytes) -> bool:
        """Tell whether a transaction seen here may still come into a block."""
        return tx_id in self._by_id or self.fates.is_remembered(tx_id)

    def has_ready(self) -> bool:
        """Tell whether `ready` would yield something."""
        return len(self._order) > 0 and not self._updating

    # -- admission

    def judge(self, prepared: Prepared, head: Head, now_ms: int) -> Standing:
        """Judge by committed state alone whether a transaction could ever follow what is pooled.

        Cheap enough to come before its signatures are checked. Its time is judged by the later
        of head time and `now_ms`. Raises `Refused`.
        """
        transaction, params = prepared.transaction, head.params
        body = transaction.body
        if transaction.tx_id in self._quarantined:
            raise refuse("pool.quarantined", transaction.tx_id, table=POOL_RULES)
        books, env = self._at(head, now_ms)
        sender, payer, meter, sponsor = authorise(books, prepared, env, self.limits.per_sender_max)
        if prepared.cost > params.block_cost_max:
            raise refuse("kernel.cost", prepared.cost, params.block_cost_max)
        if body.idempotency_key is not None:
            record = find_idempotency(head.reader, body.sender, body.idempotency_key)
            if record is not None:
                raise refuse("kernel.duplicateKey", record.tx_id, record.height)
        window = env.time_ms // params.quota_window_ms
        used = sender.quota_used if sender.quota_window == window else 0
        share = 1 if meter is None else SESSION_SHARE
        return Standing(
            head.height,
            sender.sequence(body.lane),
            payer.balance,
            params.quota_cost_max // share - used,
            max(1, self.limits.per_sender_max // share),
            meter is not None or sponsor is not None,
        )

    def _at(self, head: Head, now_ms: int) -> tuple[Books, BlockEnv]:
        """Return the books and the next block's terms, kept from one question to the next."""
        height, time_ms = head.height + 1, max(head.time_ms + 1, now_ms)
        books, env = self._books, self._env
        self._judged += 1
        if books is None or env is None or env.height != height or self._judged > JUDGED_MAX:
            books = self._books = Books(Overlay(head.reader))
            env = self._env = BlockEnv(height, time_ms, head.params)
            self._judged = 0
        elif env.time_ms != time_ms:
            env = self._env = BlockEnv(height, time_ms, head.params)
        return books, env

    def admit(
        self, prepared: Prepared, head: Head, now_ms: int, standing: Standing | None = None
    ) -> Admission:
        """Take in a transaction whose form and signatures were checked.

        `standing` from `judge` at the same head saves judging again. Raises `Refused`; the pool
        is then as it was. `head` must not be older than the last block taken in.
        """
        transaction = prepared.transaction
        known = self._by_id.get(transaction.tx_id)
        if known is not None:
            return Admission(known.prepared, duplicate=True, ready=known.ready)
        if standing is None or standing.height != head.height:
            standing = self.judge(prepared, head, now_ms)
        body = transaction.body
        sender = self._senders.get(body.sender) or _Sender()
        lane = sender.lanes.get(body.lane) or Lane(body.sender, body.lane, standing.expected)
        if body.sequence < lane.next:
            raise refuse("kernel.sequenceLow", body.sequence, lane.next)
        rival = lane.entries.get(body.sequence)
        self._check_rivals(body, sender, rival)
        self._check_means(prepared, standing, sender, rival)
        is_gap = rival is None and body.sequence > lane.ready_end
        self._check_sender_caps(body, sender, lane, is_gap, rival, standing.count_max)
        self._make_room(prepared, lane, is_gap, rival)
        if rival is not None:
            is_gap = not rival.ready
            self._drop(rival)
            self.fates.remember(rival.prepared.transaction)
        entry = Entry(prepared, lane, self._arrivals, now_ms, standing.limited)
        self._arrivals += 1
        # Only now may both become part of the pool: everything above can still refuse.
        self._senders[body.sender] = sender
        sender.lanes[body.lane] = lane
        self._insert(entry, sender)
        if is_gap:
            self._count_gap(sender, 1)
        else:
            entry.ready = True
            self._order.add(entry)
            if rival is None:
                lane.ready_end += 1
                self._promote(lane, sender)
        return Admission(prepared, False, entry.ready, None if rival is None else rival.tx_id)

    def _check_rivals(self, body: Body, sender: _Sender, rival: Entry | None) -> None:
        """Refuse what would take the place or the key of another without outbidding it."""
        if rival is not None:
            first = rival.prepared.transaction.body
            if (body.fee, body.attempt) <= (first.fee, first.attempt):
                raise refuse(
                    "pool.duplicate", rival.tx_id, body.sequence, body.lane, table=POOL_RULES
                )
        if body.idempotency_key is not None:
            holder = sender.keys.get(body.idempotency_key)
            if holder is not None and holder is not rival:
                raise refuse("pool.duplicateKey", holder.tx_id, table=POOL_RULES)

    def _check_means(
        self, prepared: Prepared, standing: Standing, sender: _Sender, rival: Entry | None
    ) -> None:
        """Refuse what the payer's balance or the sender's quota cannot carry with all pooled."""
        body = prepared.transaction.body
        cost = sender.cost + prepared.cost
        payer = body.fee_account
        fees = self._fees.get((payer, False), 0) + body.fee
        if standing.limited:
            fees += self._fees.get((payer, True), 0)
        if rival is not None:
            first = rival.prepared.transaction.body
            cost -= rival.prepared.cost
            if first.fee_account == payer and (standing.limited or not rival.limited):
                fees -= first.fee
        if body.fee and fees > standing.payer_balance:
            raise refuse("kernel.feeFunds", payer, standing.payer_balance, fees, NATIVE_ASSET)
        if cost > standing.quota_left:
            left = max(0, standing.quota_left - sender.cost)
            raise refuse("kernel.quota", prepared.cost, left)

    def _check_sender_caps(
        self,
        body: Body,
        sender: _Sender,
        lane: Lane,
        is_gap: bool,
        rival: Entry | None,
        limit: int,
    ) -> None:
        if rival is not None:
            return
        if sender.count >= limit:
            raise refuse("pool.senderFull", body.sender, limit, table=POOL_RULES)
        if is_gap and (
            sender.gaps >= max(1, limit // GAP_SHARE)
            or self._gaps >= self.limits.transactions_max // GAP_SHARE
        ):
            raise refuse("pool.gapsFull", lane.ready_end, table=POOL_RULES)

    def _make_room(self, prepared: Prepared, lane: Lane, is_gap: bool, rival: Entry | None) -> None:
        """Evict what pays less, from the ends of the cheapest lanes, or refuse."""
        count = len(self._by_id) + (rival is None) - self.limits.transactions_max
        size = self._bytes + len(prepared.transaction.raw) - self.limits.bytes_max
        size -= 0 if rival is None else rival.size_bytes
        if count <= 0 and size <= 0:
            return
        victims = [] if is_gap else self._victims(rate(prepared), lane, count, size)
        if not victims:
            raise refuse("pool.full", len(self._by_id), table=POOL_RULES)
        for victim in victims:
            self._evicted += 1
            self._leave(victim)
            self.fates.remember(victim.prepared.transaction)

    def _victims(self, own_rate: int, own_lane: Lane, count: int, size: int) -> list[Entry]:
        """Return whom to evict for `count` places and `size` bytes; empty when it is not worth it.

        The last of a lane cannot be included before its cheapest, so a lane is worth what its
        cheapest pays, and is shortened from its end up to there.
        """
        victims: list[Entry] = []
        ends: dict[Lane, int] = {}
        for cheapest in self._order.backwards():
            if cheapest.place[0] <= own_rate or cheapest.lane is own_lane:
                return []
            lane = cheapest.lane
            end = ends.get(lane, lane.ready_end)
            while end > cheapest.sequence:
                end -= 1
                victims.append(lane.entries[end])
                count -= 1
                size -= victims[-1].size_bytes
                if count <= 0 and size <= 0:
                    return victims
            ends[lane] = end
        return []

    # -- keeping the indexes

    def _insert(self, entry: Entry, sender: _Sender) -> None:
        transaction = entry.prepared.transaction
        body = transaction.body
        entry.lane.entries[entry.sequence] = entry
        self._by_id[entry.tx_id] = entry
        prefix = entry.wtx_id[:PREFIX_BYTES]
        same = self._by_prefix.get(prefix)
        if same is None:
            self._by_prefix[prefix] = entry
        else:
            self._by_prefix[prefix] = (*((same,) if isinstance(same, Entry) else same), entry)
        self._bytes += entry.size_bytes
        sender.count += 1
        sender.cost += entry.prepared.cost
        if body.idempotency_key is not None:
            sender.keys[body.idempotency_key] = entry
        if body.fee:
            place = body.fee_account, entry.limited
            self._fees[place] = self._fees.get(place, 0) + body.fee
        self.fates.recall(transaction)
        self.fates.watch(transaction)

    def _drop(self, entry: Entry) -> _Sender:
        """Take an entry out of every index but its neighbours' readiness."""
        body = entry.prepared.transaction.body
        sender = self._senders[body.sender]
        del entry.lane.entries[entry.sequence]
        del self._by_id[entry.tx_id]
        prefix = entry.wtx_id[:PREFIX_BYTES]
        same = self._by_prefix[prefix]
        if isinstance(same, Entry):
            del self._by_prefix[prefix]
        else:
            rest = tuple([other for other in same if other is not entry])
            self._by_prefix[prefix] = rest[0] if len(rest) == 1 else rest
        self._bytes -= entry.size_bytes
        sender.count -= 1
        sender.cost -= entry.prepared.cost
        if body.idempotency_key is not None:
            del sender.keys[body.idempotency_key]
        if body.fee:
            place = body.fee_account, entry.limited
            left = self._fees[place] - body.fee
            if left:
                self._fees[place] = left
            else:
                del self._fees[place]
        if entry.ready:
            self._order.remove(entry)
            entry.ready = False
        else:
            self._count_gap(sender, -1)
        return sender

    def _count_gap(self, sender: _Sender, change: int) -> None:
        sender.gaps += change
        self._gaps += change

    def _tidy(self, lane: Lane, sender: _Sender) -> None:
        """Forget an empty lane, and a sender without lanes."""
        if not lane.entries:
            sender.lanes.pop(lane.number, None)
            if not sender.lanes:
                self._senders.pop(lane.sender, None)

    def _promote(self, lane: Lane, sender: _Sender) -> None:
        """Make what waited behind a gap ready that now follows without one."""
        entry = lane.entries.get(lane.ready_end)
        while entry is not None:
            entry.ready = True
            self._order.add(entry)
            self._count_gap(sender, -1)
            lane.ready_end += 1
            entry = lane.entries.get(lane.ready_end)

    def _leave(self, entry: Entry) -> None:
        """Take an entry out; what followed it in its lane waits for it to come again."""
        lane = entry.lane
        was_ready = entry.ready
        sender = self._drop(entry)
        if was_ready:
            for sequence in range(entry.sequence + 1, lane.ready_end):
                later = lane.entries[sequence]
                self._order.remove(later)
                later.ready = False
                self._count_gap(sender, 1)
            lane.ready_end = entry.sequence
        self._tidy(lane, sender)

    # -- proposing

    def ready(self) -> Iterator[Prepared]:
        """Yield transactions in proposal order, each lane strictly by sequence.

        May be drawn from in slices while the pool changes: what leaves is not yielded, what
        comes late may be missed. It ends when a block is committed. After `refused` or
        `quarantine` of what it yielded last, the rest of that lane is left out.
        """
        epoch = self._epoch
        wanted: dict[Lane, int] = {}
        place: Place | None = None
        while not self._updating:
            piece = self._order.after(place)
            if not piece:
                return
            for candidate in piece:
                place = candidate.place
                entry: Entry | None = candidate
                # What follows in the lane and stands earlier was passed over: its turn is now.
                while entry is not None and entry.place <= place:
                    lane = entry.lane
                    if not entry.ready or wanted.get(lane, lane.next) != entry.sequence:
                        break
                    refusals = entry.refusals
                    yield entry.prepared
                    if epoch != self._epoch:
                        return
                    if not entry.ready or entry.refusals != refusals:
                        wanted[lane] = -1
                        break
                    wanted[lane] = entry.sequence + 1
                    entry = lane.entries.get(entry.sequence + 1)

    def refused(self, prepared: Prepared, error: Refused) -> None:
        """Say that a proposer's execution refused a transaction.

        What can never be included leaves at once; what may fare better later, after a few times.
        """
        entry = self._by_id.get(prepared.transaction.tx_id)
        if entry is None:
            return
        entry.refusals += 1
        if error.rule == "kernel.blockFull":
            return  # Nothing is wrong with it.
        entry.strikes += 1
        may_pass = (Code.INSUFFICIENT_FUNDS, Code.QUOTA_EXCEEDED, Code.SEQUENCE_GAP)
        is_final = error.code not in may_pass
        if is_final or entry.strikes >= STRIKES_MAX:
            self._leave(entry)
            self.fates.remember(entry.prepared.transaction)

    def quarantine(self, tx_id: bytes, why: str) -> None:
        """Put away a transaction whose execution breaks (R21), and refuse it from now on."""
        while len(self._quarantined) >= QUARANTINE_MAX:
            del self._quarantined[next(iter(self._quarantined))]
        self._quarantined[tx_id] = why
        entry = self._by_id.get(tx_id)
        if entry is not None:
            self._leave(entry)
            self.fates.remember(entry.prepared.transaction)

    def remember(self, prepared: Prepared) -> None:
        """Watch for the end of an accepted transaction that cannot be pooled now."""
        transaction = prepared.transaction
        if not self.is_pending(transaction.tx_id):
            self.fates.watch(transaction)
            self.fates.remember(transaction)

    def quarantined(self) -> dict[bytes, str]:
        """Return what was put away, by tx id, with the reason."""
        return dict(self._quarantined)

    # -- what the chain says

    def committed(self, head: Head, included: Sequence[Prepared]) -> PoolUpdate:
        """Take in a block: its transactions, all of them, in their order, and the new head.

        The update is driven by its `step`s; until it is done `ready` yields nothing, and
        admission, with the new head, works.
        """
        self._epoch += 1
        self._updating = True
        return PoolUpdate(self, head, included)

    def _finish_update(self) -> None:
        self._updating = False

    def _take_included(self, transaction: Transaction, height: int) -> list[Settled]:
        """Remove what a committed transaction makes impossible; returns how that ended."""
        body = transaction.body
        losers = self.fates.take_slot((body.sender, body.lane, body.sequence), transaction.tx_id)
        sender = self._senders.get(body.sender)
        lane = None if sender is None else sender.lanes.get(body.lane)
        if sender is not None and lane is not None:
            entry = lane.entries.get(body.sequence)
            if entry is not None:
                self._drop(entry)
                self.fates.unwatch(entry.prepared.transaction)
                if entry.tx_id != transaction.tx_id:
                    losers.append(entry.tx_id)
            lane.next = max(lane.next, body.sequence + 1)
            lane.ready_end = max(lane.ready_end, lane.next)
            self._promote(lane, sender)
            self._tidy(lane, sender)
        if not losers:
            return []
        return self._end(losers, Settlement(Fate.REPLACED, height, transaction.tx_id))

    def _take_expired(self, tx_id: bytes) -> None:
        entry = self._by_id.get(tx_id)
        if entry is None:
            self.fates.expire_remembered(tx_id)
        else:
            self._leave(entry)
            self.fates.unwatch(entry.prepared.transaction)

    def _end(self, tx_ids: Sequence[bytes], settlement: Settlement) -> list[Settled]:
        for tx_id in tx_ids:
            self.fates.settle(tx_id, settlement)
        return [(tx_id, settlement) for tx_id in tx_ids]


class PoolUpdate:
    """A committed block being taken into the pool, in slices of under a millisecond.

    `settled` collects how transactions ended that are in no block; the included ones not.
    """

    def __init__(self, pool: Mempool, head: Head, included: Sequence[Prepared]) -> None:
        self._pool = pool
        self._head = head
        self._included = included
        self._done = 0
        self.settled: list[Settled] = []

    def step(self) -> bool:
        """Do a slice; tells whether more is to be done."""
        pool, height = self._pool, self._head.height
        if self._done < len(self._included):
            for prepared in self._included[self._done : self._done + UPDATE_SLICE]:
                self.settled += pool._take_included(prepared.transaction, height)
            self._done += UPDATE_SLICE
            return True
        expired = pool.fates.reached(self._head.time_ms, height, UPDATE_SLICE)
        for tx_id in expired:
            pool._take_expired(tx_id)
        self.settled += pool._end(expired, Settlement(Fate.EXPIRED, height))
        if len(expired) == UPDATE_SLICE:
            return True
        forgotten = Settlement(Fate.FORGOTTEN, height)
        self.settled += [(tx_id, forgotten) for tx_id in pool.fates.forgotten]
        pool.fates.forgotten.clear()
        pool._finish_update()
        return False

    def run(self) -> list[Settled]:
        """Do all of it at once and return `settled`; for callers that have the loop's time."""
        while self.step():
            pass
        return self.settled
