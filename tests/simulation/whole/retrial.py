"""Every block of a run, judged once more from genesis by somebody who was not there.

The judge has the genesis and the blocks' bytes: no pool, no index, no cache, no node. Its state
is a store of its own; the root of every tree is computed a second time from the plain set of
its keys, by the few lines at the end of this file. What does not hold is collected by the number
of the property that it breaks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign, read_block_evidence
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.errors import ClawPurseError
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    FEE_ACCOUNT,
    PARAMS_KEY,
    Account,
    Balance,
    Hold,
    Membership,
    account_key,
    unpack_supply,
)
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.statetree.nodes import (
    EMPTY_ROOT,
    hash_branch,
    key_hash_of,
    leaf_hash_of,
    nibble,
    value_hash_of,
)
from clawpurse.ledger.statetree.state_proof import state_root_of
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.recovery import read_state_head
from clawpurse.ledger.store.state import StateStore
from clawpurse.ledger.transactions import Body
from clawpurse.ledger.transition import Execution, ExecutionResult, genesis_changes, prepare
from clawpurse.modules.registry import build_registry

#: What a transaction that failed may change beside the accounts of its sender, its payer and
#: the fees: the record of its key and when that ends.
FAILED_MAY_CHANGE = (b"i", b"e")


class _Reader:
    """`StateReader` over the judge's own state."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self._state.get(tree, key)

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        return self._state.first_ordered(tree, prefix, limit, after)


class Retrial:
    """The chain as the judge finds it. `problems` are (property, what), in order of height."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.problems: list[tuple[int, str]] = []
        self.receipts: dict[int, list[bytes]] = {}
        self.events: dict[int, list[bytes]] = {}
        self.sets: dict[int, AuthoritySet] = {}
        self.evidence: list[DoubleSign] = []
        self.headers: list[Header] = []
        self._domain = Domain(genesis.chain_id, genesis.hash)
        self._registry = build_registry()
        self._store = MemoryStore()
        self._state = StateStore.open(self._store, self._registry.trees, None)
        self._sequences: dict[tuple[bytes, int], int] = {}
        self._keys: dict[tuple[bytes, bytes], bytes] = {}
        self._tx_ids: dict[bytes, int] = {}
        self._install(genesis_changes(genesis, self._registry), 0)

    @property
    def height(self) -> int:
        """How many blocks were judged."""
        return len(self.headers)

    def found(self, number: int) -> list[str]:
        """Return what breaks one property."""
        return [what for broken, what in self.problems if broken == number]

    def _blame(self, number: int, what: str) -> None:
        self.problems.append((number, f"height {self.height + 1}: {what}"))

    def _expect(self, number: int, what: str, found: object, expected: object) -> None:
        if found != expected:
            self._blame(number, f"{what} is {found!r}, not {expected!r}")

    def _install(self, changes: dict[StateKey, bytes | None], height: int) -> None:
        update = self._state.apply(changes).finish()
        batch = Batch()
        self._state.write(update, height, batch)
        self._store.write(batch, sync=True)
        self._state.install(update, height)

    def _record(self, key: bytes) -> bytes:
        data = self._state.get(KERNEL, key)
        assert data is not None
        return data

    # -- one block

    def take(self, raw: bytes) -> bool:
        """Judge the next block by its bytes; False when nothing can be built on it."""
        height = self.height + 1
        membership = Membership.unpack(self._record(AUTHORITIES_KEY))
        params = Params.unpack(self._record(PARAMS_KEY))
        self.sets[height] = membership.at(height)
        self.sets[height + 1] = membership.at(height + 1)
        block = Block.unpack(raw)
        header = block.header
        self._judge_header(header, params)
        self._judge_parent(block)
        try:
            evidence = read_block_evidence(block.evidence, height)
            result = self._execute(block, evidence, params)
        except (ClawPurseError, AssertionError) as err:
            self._blame(2, f"execution refuses it: {err}")
            self.headers.append(header)
            return False
        self._judge_outcome(block, result, params)
        self.evidence.extend(evidence)
        self._install(result.changes, height)
        self._expect(7, "state root", header.state_root, self._state.state_root)
        self.headers.append(header)
        return True

    def _judge_header(self, header: Header, params: Params) -> None:
        height = self.height + 1
        parent = self.headers[-1] if self.headers else None
        self._expect(2, "height", header.height, height)
        network = header.chain_id, header.genesis_hash, header.recovery_epoch
        self._expect(2, "network", network, (self.genesis.chain_id, self.genesis.hash, 0))
        parent_id = self.genesis.hash if parent is None else parent.block_id
        self._expect(2, "parent", header.parent_id, parent_id)
        proposer = self.sets[height].proposer(height, header.first_round)
        self._expect(2, "proposer", header.proposer, proposer)
        self._expect(2, "set", header.authorities_hash, self.sets[height].hash)
        self._expect(2, "next set", header.next_authorities_hash, self.sets[height + 1].hash)
        self._expect(2, "parameters", header.params_hash, params.hash)
        before = self.genesis.time_ms if parent is None else parent.time_ms
        if header.time_ms <= before:
            self._blame(9, f"time {header.time_ms} does not rise above {before}")

    def _judge_parent(self, block: Block) -> None:
        packed = block.parent_certificate
        if not self.headers:
            self._expect(3, "parent certificate", packed, None)
            return
        if packed is None:
            self._blame(3, "there is no parent certificate")
            return
        parent = self.headers[-1]
        claimed, found = block.header.parent_certificate_hash, crypto.certificate_hash_of(packed)
        self._expect(2, "hash of the parent's certificate", claimed, found)
        why = self.judge_certificate(parent, packed)
        if why is not None:
            self._blame(3, f"parent certificate: {why}")

    def judge_certificate(self, header: Header, packed: bytes) -> str | None:
        """Return what is wrong with the certificate of a block that was judged."""
        try:
            certificate = Certificate.unpack(packed)
            certificate.verify(self._domain, self.sets[header.height], crypto.verify)
        except ClawPurseError as err:
            return str(err)
        if (certificate.height, certificate.block_id) != (header.height, header.block_id):
            return "it is of another block"
        if certificate.round < header.first_round:
            return "it was decided before it was proposed"
        return None

    def _execute(
        self, block: Block, evidence: Sequence[DoubleSign], params: Params
    ) -> ExecutionResult:
        header = block.header
        prepared = [prepare(raw, self._registry) for raw in block.transactions]
        wtx_ids = [item.transaction.wtx_id for item in prepared]
        self._expect(2, "transactions root", header.transactions_root, crypto.list_root(wtx_ids))
        self._expect(2, "evidence root", header.evidence_root, crypto.list_root(block.evidence))
        for proof in evidence:
            proof.verify(self._domain, self.sets[proof.height], crypto.verify)
        env = BlockEnv(header.height, header.time_ms, params)
        execution = Execution(_Reader(self._state), self._registry, env)
        execution.begin(evidence)
        for item in prepared:
            for triple in item.transaction.signatures:
                if not crypto.verify(*triple):
                    self._blame(18, f"0x{item.transaction.tx_id.hex()} has a false signature")
            before = dict(_changed(execution))
            receipt = execution.apply(item)
            body = item.transaction.body
            if receipt.code:
                self._judge_failed(before, dict(_changed(execution)), body)
            self._judge_once(item.transaction.tx_id, body, receipt.rule)
        if sum(item.cost for item in prepared) != execution.cost_used:
            self._blame(20, "the cost is not the sum of its transactions' costs")
        return execution.finish()

    def _judge_failed(
        self,
        before: dict[StateKey, bytes | None],
        after: dict[StateKey, bytes | None],
        body: Body,
    ) -> None:
        """Property 19: a failed transaction moves no value but its fee."""
        payers = {account_key(who) for who in (body.sender, body.fee_account, FEE_ACCOUNT)}
        for tree, key in after:
            if after[tree, key] == before.get((tree, key)):
                continue
            if tree != KERNEL or (key not in payers and key[:1] not in FAILED_MAY_CHANGE):
                self._blame(19, f"a failed transaction changes {tree} 0x{key.hex()}")

    def _judge_once(self, tx_id: bytes, body: Body, rule: str) -> None:
        """Property 17: each sequence and each idempotency key has effect once."""
        slot, key = (body.sender, body.lane), body.idempotency_key
        self._expect(17, "sequence", body.sequence, self._sequences.get(slot, 0))
        self._sequences[slot] = body.sequence + 1
        if self._tx_ids.setdefault(tx_id, self.height + 1) != self.height + 1:
            self._blame(17, f"0x{tx_id.hex()} is in two blocks")
        if key is not None:
            first = self._keys.setdefault((slot[0], key), tx_id)
            if first != tx_id and rule != "kernel.duplicateKey":
                self._blame(17, f"the key {key!r} has effect twice")

    def _judge_outcome(self, block: Block, result: ExecutionResult, params: Params) -> None:
        header = block.header
        receipts = [receipt.pack() for receipt in result.receipts]
        events = [event.pack() for event in result.events]
        self._expect(2, "receipts root", header.receipts_root, crypto.list_root(receipts))
        self._expect(23, "events root", header.events_root, crypto.list_root(events))
        self._expect(20, "cost", header.cost_used, result.cost_used)
        if result.cost_used > params.block_cost_max:
            self._blame(20, f"cost {result.cost_used} is above {params.block_cost_max}")
        self.receipts[header.height], self.events[header.height] = receipts, events

    # -- the whole state

    def judge_supply(self) -> None:
        """Property 19: per asset all containers together are the supply, at the end as ever."""
        value: dict[str, int] = {}
        supply: dict[str, int] = {}
        held: dict[str, int] = {}
        for key, data in entries(self._store, KERNEL):
            match key[:1]:
                case b"a":
                    account = Account.unpack(data)
                    _add(value, NATIVE_ASSET, account.balance + account.held)
                    _add(held, NATIVE_ASSET, account.held)
                case b"b":
                    balance, asset = Balance.unpack(data), key[33:].decode("ascii")
                    _add(value, asset, balance.amount + balance.held)
                    _add(held, asset, balance.held)
                case b"h":
                    hold = Hold.unpack(data)
                    _add(held, hold.asset, -hold.amount)
                case b"u":
                    _add(supply, key[1:].decode("ascii"), unpack_supply(data))
        expected = {
            asset: sum(dict(account.balances).get(asset, 0) for account in self.genesis.accounts)
            for asset in supply
        }
        self._expect(19, "value", value, supply)
        self._expect(19, "supply", supply, expected)
        self._expect(19, "held without a hold", any(held.values()), False)

    def judge_trees(self, chance: random.Random) -> None:
        """Property 16: the root is that of the set of keys, in whatever order they came."""
        roots = []
        for name, version in self._registry.trees:
            found = list(entries(self._store, name))
            chance.shuffle(found)
            roots.append((name, version, root_of(found)))
        plain = state_root_of(roots)
        self._expect(16, "root of the plain set of keys", plain, self._state.state_root)


def _changed(execution: Execution) -> Iterator[tuple[StateKey, bytes | None]]:
    for place, _, after in execution._books.changed_records():
        yield place, after


def _add(table: dict[str, int], asset: str, amount: int) -> None:
    table[asset] = table.get(asset, 0) + amount


def entries(store: MemoryStore, tree: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield (raw key, value) of a tree's leaves as they are stored."""
    names = read_state_head(store).names
    if tree not in names:
        return
    start = schema.of_tree(schema.LEAF, names.index(tree))
    stop = start[:-2] + (int.from_bytes(start[-2:], "big") + 1).to_bytes(2, "big")
    for place, record in store.iterate(start, stop):
        body = schema.unseal(place, record)
        length = int.from_bytes(body[32:34], "big")
        yield body[34 : 34 + length], body[34 + length :]


def root_of(found: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The root of a set of (key, value), straight from the definition of the tree."""
    leaves = [
        (key_hash, leaf_hash_of(key_hash, value_hash_of(value)))
        for key_hash, value in ((key_hash_of(key), value) for key, value in found)
    ]
    return _node(sorted(leaves), 0)


def _node(leaves: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0][1]
    sides: list[list[tuple[bytes, bytes]]] = [[] for _ in range(16)]
    for leaf in leaves:
        sides[nibble(leaf[0], depth)].append(leaf)
    bitmap = sum(1 << place for place, side in enumerate(sides) if side)
    below = [_node(side, depth + 1) for side in sides if side]
    return hash_branch(bitmap.to_bytes(2, "big") + b"".join(below))


def retry(genesis: Genesis, blocks: Sequence[bytes], chance: random.Random) -> Retrial:
    """Judge blocks 1, 2, … and the state that they lead to."""
    trial = Retrial(genesis)
    for raw in blocks:
        if not trial.take(raw):
            return trial
    for earlier, later in pairwise(sorted(trial.evidence, key=lambda proof: proof.slot)):
        if earlier.slot == later.slot:
            trial.problems.append((12, f"evidence about {earlier.slot.hex()} is in two blocks"))
    trial.judge_supply()
    trial.judge_trees(chance)
    return trial
