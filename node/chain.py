"""The committed tip and how it moves: the one owner of state, blocks and head.

`Chain` opens the database (or writes genesis into an empty one), shows the newest final block,
and makes the next one final in one synced batch. Between commits nothing here changes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import trio

from clawpurse.ledger import amendments
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.amendments import Amendment
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.crypto import HASH_BYTES
from clawpurse.ledger.errors import Bug, NotFound, OperatorError, StorageFault
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    DUE_PREFIX,
    PARAMS_KEY,
    Account,
    Membership,
    account_key,
)
from clawpurse.ledger.module_api import KERNEL, Registry
from clawpurse.ledger.params import Params
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.blocks import BlockStore, CommitRecord
from clawpurse.ledger.store.events import read_events
from clawpurse.ledger.store.format import enter
from clawpurse.ledger.store.kv import Batch, KeyValue
from clawpurse.ledger.store.state import StateLimits, StateStore
from clawpurse.ledger.store.state_update import StateUpdate
from clawpurse.ledger.transition import ExecutionResult, Prepared, genesis_changes
from clawpurse.node.amendments import unknown
from clawpurse.node.workers import Lane

# A block's cost limit allows far fewer; a bound for the reader only.
EVENTS_PER_BLOCK_MAX: Final = 1_000_000
# Transactions whose accounts are listed between two yields, at about 2 µs each.
TOUCHED_SLICE: Final = 256
# A full block's view takes about 2 MB.
VIEWS_KEPT: Final = 8
_AMENDMENTS: Final = (amendments.TREE, amendments.AMENDMENTS_KEY)
_TERMS: Final = frozenset(((KERNEL, AUTHORITIES_KEY), (KERNEL, PARAMS_KEY)))
log = logging.getLogger("clawpurse.chain")


class Tip(NamedTuple):
    """The newest final block. At genesis `header` and `certificate` are None, `height` 0.

    `block_id` is the genesis hash at height 0: the parent that block 1 names.
    """

    height: int
    block_id: bytes
    time_ms: int
    header: Header | None
    certificate: bytes | None


class Executed(NamedTuple):
    """A block with everything that its execution made, ready to be committed."""

    block: Block
    prepared: tuple[Prepared, ...]
    result: ExecutionResult
    update: StateUpdate
    receipts: tuple[bytes, ...]
    events: tuple[bytes, ...]


class BlockView(NamedTuple):
    """A final block as readers want it: decoded once, receipts and events as stored bytes."""

    block: Block
    certificate: bytes
    receipts: Sequence[bytes]
    events: Sequence[bytes]


class CommittedState:
    """`StateReader` over the committed state."""

    def __init__(self, state: StateStore) -> None:
        # The store's own functions: every question comes through here, many times.
        self.get: Final = state.get
        self.ordered: Final = state.first_ordered


class Chain:
    """State, blocks and tip of one node. Made by `open_chain`."""

    def __init__(
        self,
        genesis: Genesis,
        registry: Registry,
        store: KeyValue,
        state: StateStore,
        blocks: BlockStore,
        tip: Tip,
        lane: Lane,
    ) -> None:
        self.genesis: Final = genesis
        self.registry: Final = registry
        self.state: Final = state
        self.blocks: Final = blocks
        self.reader: Final = CommittedState(state)
        self.tip = tip
        self.store: Final = store
        self._lane = lane
        self._views: dict[int, BlockView] = {}
        self._membership, self._params = _terms(self.reader)
        #: All that were adopted, in force or not yet; and those that this software performs.
        self.amendments: tuple[Amendment, ...] = amendments.adopted(self.reader)
        self.known_amendments: tuple[str, ...] = amendments.KNOWN

    @property
    def params(self) -> Params:
        """The parameters in force for the next block."""
        return self._params

    @property
    def authorities(self) -> AuthoritySet:
        """The authorities of the next block."""
        return self._membership.at(self.height + 1)

    @property
    def next_authorities(self) -> AuthoritySet:
        """The authorities of the block after the next one."""
        return self._membership.at(self.height + 2)

    def authorities_at(self, height: int) -> AuthoritySet:
        """Return the authorities of any height up to that of `next_authorities`.

        Raises `NotFound` beyond it, and below 1: genesis was decided by nobody.
        """
        packed = self.blocks.authorities(height) if 0 < height <= self.height + 2 else None
        if packed is None:
            raise NotFound(f"the authorities of height {height}")
        return AuthoritySet.unpack(packed)

    @property
    def height(self) -> int:
        """The height of the newest final block."""
        return self.tip.height

    def account(self, account: bytes) -> Account | None:
        """Return a committed account record."""
        data = self.reader.get(KERNEL, account_key(account))
        return None if data is None else Account.unpack(data)

    def next_due_ms(self) -> int | None:
        """Return when the earliest due work is due (block time), or None."""
        first = self.reader.ordered(KERNEL, DUE_PREFIX, 1)
        return int.from_bytes(first[0][0][1:9], "big") if first else None

    def view(self, height: int) -> BlockView:
        """Return a final block with what came of it. Raises `NotFound` or `Pruned`.

        The newest ones are kept decoded: whoever waits for a payment asks for the same block.
        """
        found = self._views.pop(height, None)
        if found is None:
            packed = self.blocks.block(height) if 0 < height <= self.height else None
            receipts = None if packed is None else self.blocks.receipts(height)
            certificate = self.blocks.certificate(height)
            if packed is None or receipts is None or certificate is None:
                raise NotFound(f"block {height}")
            found = BlockView(Block.unpack(packed), certificate, receipts, self._events_at(height))
        self._keep_view(height, found)
        return found

    def _amend(self) -> None:
        """Read the amendments anew, and warn of those that this software does not know."""
        before, self.amendments = self.amendments, amendments.adopted(self.reader)
        for item in unknown(self.amendments, self.known_amendments):
            if item not in before:
                log.warning(
                    "an amendment was adopted that this version does not know; the node will stop",
                    extra={"amendment": item.name, "before_height": item.height},
                )

    def _keep_view(self, height: int, view: BlockView) -> None:
        self._views[height] = view
        while len(self._views) > VIEWS_KEPT:
            del self._views[next(iter(self._views))]

    def _events_at(self, height: int) -> list[bytes]:
        page = read_events(
            self.store,
            (height, 0),
            limit=EVENTS_PER_BLOCK_MAX,
            floor=self.blocks.floor(),
            head=height,
        )
        return [event for _, event in page.events]

    async def commit(self, executed: Executed, certificate: Certificate) -> None:
        """Make a block final: everything about it in one batch, on disk before returning.

        Raises `StorageFault`, after which the process must end: nobody knows what was kept.
        """
        block, header = executed.block, executed.block.header
        if header.height != self.height + 1 or header.parent_id != self.tip.block_id:
            raise Bug(f"block {header.height} does not follow {self.height}")
        packed_certificate = certificate.pack()
        touched: list[tuple[bytes, int]] = []
        for start in range(0, len(executed.prepared), TOUCHED_SLICE):
            touched += touched_accounts(executed, start, start + TOUCHED_SLICE)
            await trio.lowlevel.checkpoint()
        record = commit_record(executed, packed_certificate, touched)
        await trio.lowlevel.checkpoint()
        batch = Batch()
        for _ in self.blocks.adding(record, batch):
            await trio.lowlevel.checkpoint()
        self.state.write(executed.update, header.height, batch)
        # Not cancellable: half-known is worse than late.
        with trio.CancelScope(shield=True):
            await self._lane.run(lambda: self.store.write(batch, sync=True))
            self.state.install(executed.update, header.height)
        if not _TERMS.isdisjoint(executed.result.changes):
            self._membership, self._params = _terms(self.reader)
        if _AMENDMENTS in executed.result.changes:
            self._amend()
        view = BlockView(block, packed_certificate, executed.receipts, executed.events)
        self._keep_view(header.height, view)
        self.tip = Tip(header.height, header.block_id, header.time_ms, header, packed_certificate)
        log.info(
            "block final",
            extra={
                "height": header.height,
                "block": header.block_id.hex(),
                "transactions": len(block.transactions),
                "round": certificate.round,
            },
        )

    def close(self) -> None:
        """Let go of the database."""
        self.state.close()
        self.store.close()


def touched_accounts(executed: Executed, first: int, stop: int) -> list[tuple[bytes, int]]:
    """Return (account, index) for the histories, of the transactions from `first` to `stop`."""
    touched: list[tuple[bytes, int]] = []
    for index, item in enumerate(executed.prepared[first:stop], first):
        receipt = executed.result.receipts[index]
        body = item.transaction.body
        accounts = [body.sender] if body.payer is None else [body.sender, body.payer]
        last = receipt.first_event + receipt.event_count
        for event in executed.result.events[receipt.first_event : last]:
            accounts.extend(event.accounts)
        touched.extend([(account, index) for account in dict.fromkeys(accounts)])
    return touched


def commit_record(
    executed: Executed, certificate: bytes, touched: list[tuple[bytes, int]] | None = None
) -> CommitRecord:
    """Return what the block store keeps of a block, indexes included.

    `touched` saves looking for the accounts of all its transactions once more.
    """
    header = executed.block.header
    if touched is None:
        touched = touched_accounts(executed, 0, len(executed.prepared))
    return CommitRecord(
        height=header.height,
        block_id=header.block_id,
        header=header.pack(),
        block=executed.block.pack(),
        certificate=certificate,
        receipts=list(executed.receipts),
        events=list(executed.events),
        tx_ids=[item.transaction.tx_id for item in executed.prepared],
        touched=touched,
        authorities=new_authorities(executed.result, header.height),
    )


def new_authorities(result: ExecutionResult, height: int) -> bytes | None:
    """Return the packed set that a block puts in force two heights on, None if it does not."""
    data = result.changes.get((KERNEL, AUTHORITIES_KEY))
    if data is None:
        return None
    membership = Membership.unpack(data)
    if membership.change_height != height + 2:
        raise Bug(f"block {height} changes the authorities of {membership.change_height}")
    return membership.following.pack()


def _terms(reader: CommittedState) -> tuple[Membership, Params]:
    """Return what state says of authorities and parameters."""
    membership, params = reader.get(KERNEL, AUTHORITIES_KEY), reader.get(KERNEL, PARAMS_KEY)
    if membership is None or params is None:
        raise StorageFault(
            "State does not say who its authorities are, or its parameters.",
            "",
            "clawpurse db check",
        )
    return Membership.unpack(membership), Params.unpack(params)


def pack_outputs(result: ExecutionResult) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the bytes of receipts and events: the leaves of their roots."""
    return (
        tuple([receipt.pack() for receipt in result.receipts]),
        tuple([event.pack() for event in result.events]),
    )


def open_chain(
    genesis: Genesis,
    registry: Registry,
    store: KeyValue,
    lane: Lane,
    limits: StateLimits | None = None,
) -> Chain:
    """Open a node's database, or write genesis into an empty one. Blocking; start-up only.

    Verifies the tip: header, certificate and state root belong together (R23). Raises
    `OperatorError` for another network's database, `StorageFault` for damage.
    """
    enter(store)
    blocks = BlockStore(store)
    origin = blocks.header(0)
    if origin is None:
        return _begin(genesis, registry, store, blocks, lane, limits)
    if origin[:HASH_BYTES] != genesis.hash:
        raise _foreign(genesis)
    blocks.verify_tip()
    head = blocks.head()
    tip = _genesis_tip(genesis) if head is None else _read_tip(blocks, head)
    root = origin[HASH_BYTES:] if tip.header is None else tip.header.state_root
    state = StateStore.open(store, registry.trees, root, limits=limits)
    if state.height != tip.height:
        raise StorageFault(
            f"State is of height {state.height}, the head of {tip.height}.",
            "",
            "clawpurse db check",
        )
    return Chain(genesis, registry, store, state, blocks, tip, lane)


def _genesis_tip(genesis: Genesis) -> Tip:
    return Tip(0, genesis.hash, genesis.time_ms, None, None)


def _read_tip(blocks: BlockStore, head: tuple[int, bytes]) -> Tip:
    height, block_id = head
    header_bytes, certificate = blocks.header(height), blocks.certificate(height)
    if header_bytes is None or certificate is None:
        raise StorageFault(f"Block {height} is not whole.", "", "clawpurse db check")
    header = Header.unpack(header_bytes)
    decided = Certificate.unpack(certificate)
    if header.block_id != block_id or decided.block_id != block_id or header.height != height:
        raise StorageFault(
            f"Header, certificate and head disagree at height {height}.", "", "clawpurse db check"
        )
    return Tip(height, block_id, header.time_ms, header, certificate)


def _foreign(genesis: Genesis) -> OperatorError:
    return OperatorError(
        f"The database belongs to another network than {genesis.chain_id}.",
        "Its blocks name another genesis hash.",
        "clawpurse genesis verify",
    )


def _begin(
    genesis: Genesis,
    registry: Registry,
    store: KeyValue,
    blocks: BlockStore,
    lane: Lane,
    limits: StateLimits | None,
) -> Chain:
    """Write the state of height 0 in one batch."""
    state = StateStore.open(store, registry.trees, None, limits=limits)
    update = state.apply(genesis_changes(genesis, registry)).finish()
    batch = Batch()
    # In place of a header that height 0 does not have: what must match at every later start.
    origin = schema.at_height(schema.HEADER, 0)
    batch.put(origin, schema.seal(origin, genesis.hash + update.state_root))
    blocks.put_authorities(0, AuthoritySet(genesis.authorities).pack(), batch)
    state.write(update, 0, batch)
    store.write(batch, sync=True)
    state.install(update, 0)
    log.info("genesis written", extra={"chain": genesis.chain_id, "hash": genesis.hash.hex()})
    return Chain(genesis, registry, store, state, blocks, _genesis_tip(genesis), lane)
