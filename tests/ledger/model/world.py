"""The real ledger of all modules on the real state store, kept so that it can be run again.

Every block's transactions, time and state root are kept. `again` runs them all anew from genesis,
`reopened` closes the store and opens it, with whatever can be rebuilt taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.statetree.tree import Geometry
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateLimits, StateStore
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import Execution, ExecutionResult, prepare
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.governance import chain as governance
from clawpurse.modules.payments import chain as payments
from clawpurse.modules.roles import chain as roles
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key, Sandbox

ISSUER, ADMIN = Key("issuer"), Key("admin")
OFFICERS = (Key("officer-1"), Key("officer-2"), Key("officer-3"))
FEE, DEPOSIT = 2, 3
OPENING: dict[Key, dict[str, int]] = {
    ALICE: {"CLAW": 5_000},
    BOB: {"CLAW": 3_000},
    CAROL: {"CLAW": 1_000},
    DAVE: {"CLAW": 100},
    ISSUER: {"CLAW": 9_000},
    ADMIN: {"CLAW": 9_000},
    **{officer: {"CLAW": 9_000} for officer in OFFICERS},
}
PARAMS = {"fee_min": FEE, "opening_deposit": DEPOSIT}
# Small pages and caches: every way to keep a tree is used within a few blocks.
SMALL = StateLimits(0, 2_000, Geometry(leaves_per_page=2, depth_min=2, depth_max=3))
REBUILT = (schema.ORDERED, schema.TABLE, schema.DELTA)


class StoredState:
    """Committed state in the real store; a `StateReader`. `records` is a plain copy of it."""

    def __init__(self, registry: Registry, changes: Mapping[StateKey, bytes | None]) -> None:
        self._modules = registry.trees
        self._store = MemoryStore()
        self._state = StateStore.open(self._store, self._modules, None, limits=SMALL)
        self._height = -1
        self.records: dict[StateKey, bytes] = {}
        self.apply(changes)

    @property
    def root(self) -> bytes:
        return self._state.state_root

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self._state.get(tree, key)

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        return self._state.first_ordered(tree, prefix, limit, after)

    def apply(self, changes: Mapping[StateKey, bytes | None]) -> None:
        self._height += 1
        update = self._state.apply(changes).finish()
        batch = Batch()
        self._state.write(update, self._height, batch)
        self._store.write(batch, sync=True)
        self._state.install(update, self._height)
        for place, value in changes.items():
            if value is None:
                self.records.pop(place, None)
            else:
                self.records[place] = value

    def reopen(self, *without: bytes) -> None:
        """Open what is stored again, after what begins with one of these is deleted."""
        root = self.root
        self._state.close()
        batch = Batch()
        for prefix in without:
            for key, _ in list(self._store.iterate(prefix, prefix + b"\xff" * 40)):
                batch.delete(key)
        if without:
            self._store.write(batch, sync=True)
        self._state = StateStore.open(self._store, self._modules, root, limits=SMALL)

    def check(self) -> None:
        """Compare the store with the plain copy, lists in order included."""
        for (tree, key), value in self.records.items():
            assert self.get(tree, key) == value
        for tree, _ in self._modules:
            for prefix in (b"x",) if tree != "kernel" else (b"d", b"e", b"f", b"k", b"x"):
                expected = sorted(
                    (key, value)
                    for (of, key), value in self.records.items()
                    if of == tree and key.startswith(prefix)
                )
                assert self.ordered(tree, prefix, 10_000) == expected, (tree, prefix)


class Done(NamedTuple):
    """What came of one transaction: the rule that failed it or "", and its events by kind."""

    rule: str
    events: list[tuple[str, tuple[Any, ...]]]

    def first(self, kind: str) -> tuple[Any, ...]:
        """The data of the first event of a kind."""
        return next(data for name, data in self.events if name == kind)


class World(Sandbox):
    """All modules; a block is begun, filled one transaction at a time, and sealed."""

    def __init__(self) -> None:
        held = [GenesisRole("admin", ADMIN.account), GenesisRole("issuer", ISSUER.account)]
        held += [GenesisRole("compliance", one.account) for one in OFFICERS]
        super().__init__(
            roles.MODULE,
            governance.MODULE,
            payments.MODULE,
            compliance.MODULE,
            params=PARAMS,
            opening=OPENING,
            roles=tuple(sorted(held)),
        )
        self.start = dict(self.state.records)
        self.stored = StoredState(self.registry, dict(self.start))
        self.state = self.stored  # type: ignore[assignment]
        self.blocks: list[tuple[int, tuple[bytes, ...], bytes]] = []
        self._after_ms = 0
        self._raws: list[bytes] = []
        self._open: Execution | None = None

    def begin(self, after_ms: int) -> list[tuple[str, tuple[Any, ...]]]:
        """Begin the next block; returns what came due in it."""
        self._after_ms, self._raws = after_ms, []
        self._open = self.execution(after_ms)
        return [(event.kind, event.data) for event in self._open._events]

    @property
    def is_open(self) -> bool:
        """Whether a block is open."""
        return self._open is not None

    @property
    def now_ms(self) -> int:
        """The time of the block that is open."""
        return self.time_ms + self._after_ms

    def send(self, key: Key, *actions: RawAction, **fields: Any) -> Done:
        """Put a transaction into the open block; one that fails changes nothing but its dues."""
        assert self._open is not None
        before = sum(self.sender_of(raw) == key.account for raw in self._raws)
        fields.setdefault("sequence", self.sequence(key) + before)
        fields.setdefault("valid_until_ms", self.now_ms + 60_000)
        raw = self.tx(key, *actions, **fields)
        receipt = self._open.apply(prepare(raw, self.registry))
        self._raws.append(raw)
        last = receipt.first_event, receipt.first_event + receipt.event_count
        events = [(event.kind, event.data) for event in self._open._events[slice(*last)]]
        if receipt.code:
            assert not events
            self._changed_nothing(key, receipt)
        assert (receipt.fee, bool(receipt.code)) == (FEE, bool(receipt.rule))
        return Done(receipt.rule, events)

    def sender_of(self, raw: bytes) -> bytes:
        body: bytes = msgpack.unpackb(raw)[0]
        sender: bytes = msgpack.unpackb(body)[3]
        return sender

    @property
    def count(self) -> int:
        """How many transactions the open block has."""
        return len(self._raws)

    def _prefix(self, count: int) -> ExecutionResult:
        """The open block's first transactions alone, executed anew."""
        execution = self.execution(self._after_ms)
        for raw in self._raws[:count]:
            execution.apply(prepare(raw, self.registry))
        return execution.finish()

    def _changed_nothing(self, key: Key, receipt: Receipt) -> None:
        """A failed transaction leaves sequence, quota and fee, and nothing else."""
        before = self._prefix(len(self._raws) - 1).changes
        result = self._prefix(len(self._raws))
        assert result.receipts[-1] == receipt
        places = before.keys() | result.changes.keys()
        different = {
            place
            for place in places
            if before.get(place, self.state.get(*place))
            != result.changes.get(place, self.state.get(*place))
        }
        mine, fees = (("kernel", b"a" + account) for account in (key.account, FEE_ACCOUNT))
        assert different == {mine, fees}
        old, new = (
            msgpack.unpackb(changes.get(mine, self.state.get(*mine)) or b"\xc0")
            for changes in (before, result.changes)
        )
        assert new[2] == old[2] - FEE
        assert (new[0:2], new[3], new[7:]) == (old[0:2], old[3], old[7:])

    def seal(self) -> ExecutionResult:
        """Keep the open block."""
        assert self._open is not None
        result = self._open.finish()
        self.stored.apply(result.changes)
        self.height += 1
        self.time_ms += self._after_ms
        self.blocks.append((self._after_ms, tuple(self._raws), self.stored.root))
        self._open = None
        for module in self.registry.modules:
            for invariant in module.invariants:
                assert invariant(self.state) is None, module.name
        return result

    def again(self) -> None:
        """Run every block anew from genesis in another store: each leaves the same root."""
        twin = Sandbox.__new__(Sandbox)
        twin.__dict__.update(self.__dict__)
        twin.height, twin.time_ms = 0, self.genesis.time_ms
        state = StoredState(self.registry, dict(self.start))
        twin.state = state  # type: ignore[assignment]
        for after_ms, raws, root in self.blocks:
            execution = twin.execution(after_ms)
            for raw in raws:
                execution.apply(prepare(raw, self.registry))
            state.apply(execution.finish().changes)
            twin.height, twin.time_ms = twin.height + 1, twin.time_ms + after_ms
            assert state.root == root
        assert state.records == self.stored.records


def act(name: str, *fields: Any) -> RawAction:
    """An action; keys stand for their accounts."""
    return RawAction(name, [_wire(field) for field in fields])


def _wire(field: Any) -> Any:
    if isinstance(field, Key):
        return field.account
    if isinstance(field, list | tuple):
        return [_wire(item) for item in field]
    return field
