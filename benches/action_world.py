"""A network in memory for the bench of actions: people, keys, the real modules, the real trees.

State is in a `StateStore` over memory: hashed and proven as on a node, without its disk. What a
transaction costs is measured without keeping what it did, so it can be measured again.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import crypto
from clawpurse.ledger.blocks import Event
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset, GenesisRole
from clawpurse.ledger.kernel.records import account_key, new_account
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.params import Params
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateStore
from clawpurse.ledger.transactions import Body, RawAction, Role, encode_transaction, sign_entry
from clawpurse.ledger.transition import Execution, ExecutionResult, genesis_changes, prepare
from clawpurse.modules.registry import build_registry
from clawpurse.node.chain import CommittedState

START_MS: Final = 1_800_000_000_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HASH: Final = bytes(range(32))
_MONEY: Final = 10**12
_VALID_MS: Final = 60_000


class Person(NamedTuple):
    """Somebody with a key; the account is named after it."""

    seed: bytes
    account: bytes


def person(name: str) -> Person:
    """Return somebody, the same for each name."""
    seed = hashlib.blake2b(name.encode(), digest_size=32).digest()
    return Person(seed, crypto.public_key_of(seed))


ALICE, BOB, CAROL = person("alice"), person("bob"), person("carol")
ADMIN, ISSUER = person("admin"), person("issuer")
OFFICERS: Final = tuple(person(f"officer-{number}") for number in range(3))
ORACLES: Final = tuple(person(f"oracle-{number}") for number in range(3))
SEATS: Final = tuple(
    sorted((person(f"seat-{number}") for number in range(4)), key=lambda one: one.account)
)
NOBODY, AGENT = person("nobody"), person("agent")
PEOPLE: Final = (ALICE, BOB, CAROL, ADMIN, ISSUER, *OFFICERS, *ORACLES)


class Job(NamedTuple):
    """A transaction to be: who sends which actions, and who approves for whom."""

    by: Person
    actions: tuple[RawAction, ...]
    approvers: tuple[tuple[Person, bytes], ...] = ()


class Figures(NamedTuple):
    """What a transaction takes. Times in µs of CPU at the fastest, without checking signatures.

    `cost` is what it is charged; `keys` how many records it writes, `written_bytes` their keys
    and values, `state_bytes` by how much state grows.
    """

    us: float
    cost: int
    keys: int
    written_bytes: int
    state_bytes: int


def act(by: Person, name: str, *fields: Any, approvers: Sequence[tuple[Person, bytes]] = ()) -> Job:
    """Return a transaction of one action; people stand for their accounts."""
    wire = [one.account if isinstance(one, Person) else one for one in fields]
    ordered = tuple(sorted(approvers, key=lambda pair: (pair[1], pair[0].account)))
    return Job(by, (RawAction(name, wire),), ordered)


class World:
    """One chain. `do` makes a block of one transaction, which must succeed."""

    def __init__(self, accounts: int) -> None:
        """`accounts` more than the people are there, so that the tree has a tree's depth."""
        self.registry = build_registry()
        self.genesis = _genesis(tuple((one.name, one.version) for one in self.registry.modules))
        self._store = MemoryStore()
        self._state = StateStore.open(self._store, self.registry.trees, None)
        self.state = CommittedState(self._state)
        self.height = 0
        self.time_ms = START_MS
        self._sequences: dict[bytes, int] = {}
        changes = dict(genesis_changes(self.genesis, self.registry))
        for number in range(accounts):
            account = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
            changes[KERNEL, account_key(account)] = new_account(account).pack()
        self._keep(changes)

    def do(self, job: Job, after_ms: int = 1_000) -> tuple[Event, ...]:
        """Carry a transaction out and return its events. A refusal is an error of the bench."""
        raw = self._signed(job)
        execution = self._execution(after_ms)
        execution.apply(prepare(raw, self.registry))
        result = execution.finish()
        _require(result, job)
        self._sequences[job.by.account] = self._sequences.get(job.by.account, 0) + 1
        self._advance(result, after_ms)
        return result.events

    def wait(self, after_ms: int) -> None:
        """Let time pass, and what is due be done."""
        self._advance(self._execution(after_ms).finish(), after_ms)

    def made(self, job: Job, kind: str, place: int = 0) -> Any:
        """Do it, and return a value of the event that tells what was made."""
        return next(event for event in self.do(job) if event.kind == kind).data[place]

    def measure(self, job: Job, repeat: int) -> Figures:
        """Carry a transaction out `repeat` times on the same state, keeping nothing."""
        raw = self._signed(job)
        gc.collect()
        gc.disable()
        # One after the other, so that whatever else the machine does hits both.
        pairs = [(self._timed(raw), self._timed(None)) for _ in range(repeat)]
        gc.enable()
        us = (min(full for full, _ in pairs) - min(empty for _, empty in pairs)) * 1e6
        prepared = prepare(raw, self.registry)
        bare = self._execution(1_000).finish().changes
        execution = self._execution(1_000)
        execution.apply(prepared)
        result = execution.finish()
        _require(result, job)
        changes = {place: one for place, one in result.changes.items() if place not in bare}
        written, grown = 0, 0
        for (tree, key), value in changes.items():
            old = self.state.get(tree, key)
            size = 0 if value is None else len(key) + len(value)
            written += size or len(key)
            grown += size - (0 if old is None else len(key) + len(old))
        return Figures(round(us, 1), prepared.cost, len(changes), written, grown)

    def _timed(self, raw: bytes | None) -> float:
        """Return seconds of CPU for a block of one transaction or none, up to its state root."""
        began = time.process_time()
        execution = self._execution(1_000)
        if raw is not None:
            execution.apply(prepare(raw, self.registry))
        self._state.apply(execution.finish().changes).finish()
        return time.process_time() - began

    def _signed(self, job: Job) -> bytes:
        body = Body(
            chain_id=self.genesis.chain_id,
            genesis_hash=self.genesis.hash,
            sender=job.by.account,
            lane=0,
            sequence=self._sequences.get(job.by.account, 0),
            attempt=0,
            valid_until_ms=self.time_ms + _VALID_MS,
            height_max=None,
            fee=1,
            payer=None,
            actions=job.actions,
        )
        data, genesis_hash = body.pack(), self.genesis.hash
        entries = [sign_entry(job.by.seed, genesis_hash, Role.SENDER, job.by.account, data)]
        entries += [
            sign_entry(by.seed, genesis_hash, Role.APPROVER, account, data)
            for by, account in job.approvers
        ]
        return encode_transaction(data, entries)

    def _execution(self, after_ms: int) -> Execution:
        env = BlockEnv(self.height + 1, self.time_ms + after_ms, self.genesis.params)
        execution = Execution(self.state, self.registry, env)
        execution.begin()
        return execution

    def _advance(self, result: ExecutionResult, after_ms: int) -> None:
        self.height += 1
        self.time_ms += after_ms
        self._keep(result.changes)

    def _keep(self, changes: dict[StateKey, bytes | None]) -> None:
        update = self._state.apply(changes).finish()
        batch = Batch()
        self._state.write(update, self.height, batch)
        self._store.write(batch, sync=True)
        self._state.install(update, self.height)


def _require(result: ExecutionResult, job: Job) -> None:
    receipt = result.receipts[0]
    if receipt.code:
        names = ", ".join(action.name for action in job.actions)
        raise RuntimeError(f"{names}: {receipt.rule} {receipt.facts}")


def _genesis(modules: tuple[tuple[str, int], ...]) -> Genesis:
    balances = (("CLAW", _MONEY), ("EUR", _MONEY))
    roles = [GenesisRole("admin", ADMIN.account), GenesisRole("issuer", ISSUER.account)]
    roles += [GenesisRole("compliance", one.account) for one in OFFICERS]
    return Genesis(
        "bench-1",
        START_MS,
        tuple(seat.account for seat in SEATS),
        Params(fee_min=1, quota_cost_max=10**15),
        (GenesisAsset("CLAW", 6, "Claw"), GenesisAsset("EUR", 2, "Euro")),
        tuple(sorted(GenesisAccount(one.account, balances) for one in PEOPLE)),
        modules,
        roles=tuple(sorted(roles)),
        test_network=True,
    )
