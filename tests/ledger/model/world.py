"""The real ledger of all modules on the real state store, kept so that it can be run again.

Every block's transactions, time and state root are kept. `again` runs them all anew from genesis,
`reopened` closes the store and opens it, with whatever can be rebuilt taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, PARAMS_KEY
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.params import Params
from clawpurse.ledger.statetree.tree import Geometry
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateLimits, StateStore
from clawpurse.ledger.transactions import Body, RawAction
from clawpurse.ledger.transition import Execution, ExecutionResult, prepare
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.governance import chain as governance
from clawpurse.modules.payments import chain as payments
from clawpurse.modules.risk import chain as risk
from clawpurse.modules.roles import chain as roles
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key, Sandbox
from tests.modules.council import AUTHORITIES
from tests.modules.signing import signed_by

ISSUER, ADMIN = Key("issuer"), Key("admin")
OFFICERS = (Key("officer-1"), Key("officer-2"), Key("officer-3"))
FEE, DEPOSIT = 2, 3
SEATS = 3
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
    """What came of one transaction: the rule that refused it or "", and its events by kind."""

    rule: str
    events: list[tuple[str, tuple[Any, ...]]]
    tx_id: bytes = b""
    #: Whether no block may hold it: then not even a fee was taken.
    kept_out: bool = False

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
            risk.MODULE,
            anchor.MODULE,
            params=PARAMS,
            opening=OPENING,
            roles=tuple(sorted(held)),
            authorities=tuple(key.public for key in AUTHORITIES[:SEATS]),
        )
        self.start = dict(self.state.records)
        self.stored = StoredState(self.registry, dict(self.start))
        self.state = self.stored  # type: ignore[assignment]
        self.blocks: list[tuple[int, tuple[bytes, ...], bytes]] = []
        #: What was tried alone, and whether it was done.
        self.tried: set[tuple[str, bool]] = set()
        #: By which key accounts sign that changed theirs.
        self.keys: dict[Key, Key] = {}
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

    def query(self, name: str, *args: object) -> Any:
        """What a module's public reader says of the newest kept state."""
        return self.registry.query(self.state, name, *args)

    def send(
        self,
        sender: Key | Account,
        *actions: RawAction,
        signers: Sequence[Key] = (),
        payer: Key | None = None,
        sponsored: bool = False,
        approvers: Sequence[tuple[Key, bytes]] = (),
        **fields: Any,
    ) -> Done:
        """Put a transaction into the open block; one that fails changes nothing but its dues.

        `sponsored` says that the payer did not sign.
        """
        assert self._open is not None
        fields.setdefault("valid_until_ms", self.now_ms + 60_000)
        fields.setdefault("lane", 0)
        if "sequence" not in fields:
            fields["sequence"] = self._next(sender.account, fields["lane"])
        if payer is not None:
            fields["payer"] = payer.account
        body = self.body(sender, *actions, **fields)  # type: ignore[arg-type]
        if not signers:
            assert isinstance(sender, Key)
            signers = (self.keys.get(sender, sender),)
        paying = (payer,) if payer is not None and not sponsored else ()
        raw = signed_by(body, senders=signers, payers=paying, approvers=approvers)
        names = {action.name for action in actions}
        before = self._open.cost_used, self._open.count
        try:
            receipt = self._open.apply(prepare(raw, self.registry))
        except Refused as err:
            assert (self._open.cost_used, self._open.count) == before
            return Done(err.rule, [], kept_out=True)
        self._raws.append(raw)
        last = receipt.first_event, receipt.first_event + receipt.event_count
        events = [(event.kind, event.data) for event in self._open._events[slice(*last)]]
        if len(names) == 1:
            self.tried.add((actions[0].name, not receipt.code))
        if receipt.code:
            assert not events
            self._changed_nothing(body, receipt, signers[0])
        assert (receipt.fee, bool(receipt.code)) == (FEE, bool(receipt.rule))
        return Done(receipt.rule, events, receipt.tx_id)

    def _next(self, account: bytes, lane: int) -> int:
        """The next sequence of a lane, after what the open block has."""
        waiting = sum(body_of(raw)[3:5] == [account, lane] for raw in self._raws)
        found = self.books.account(account)
        return waiting + (0 if found is None else found.sequence(lane))

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

    def _changed_nothing(self, body: Body, receipt: Receipt, signer: Key) -> None:
        """A failed transaction leaves sequence, quota, fee and what counts fees, nothing else."""
        before = self._prefix(len(self._raws) - 1).changes
        result = self._prefix(len(self._raws))
        assert result.receipts[-1] == receipt

        def record(changes: Mapping[StateKey, bytes | None], place: StateKey) -> bytes | None:
            return changes[place] if place in changes else self.state.get(*place)

        places = before.keys() | result.changes.keys()
        different = {
            place for place in places if record(before, place) != record(result.changes, place)
        }
        payer = body.payer or body.sender
        accounts = {body.sender, payer, FEE_ACCOUNT}
        must = {("kernel", b"a" + account) for account in accounts}
        may = {
            ("kernel", b"t" + body.sender + signer.public),
            ("kernel", b"f" + payer + body.sender),
        }
        kept = {place for place in different - must if place[1][:1] in b"ie"}
        assert must <= different <= must | may | kept, (different, body)
        assert not kept or body.idempotency_key is not None
        for account in accounts - {FEE_ACCOUNT}:
            old, new = (
                msgpack.unpackb(record(changes, ("kernel", b"a" + account)) or b"\xc0")
                for changes in (before, result.changes)
            )
            assert new[2] == old[2] - (FEE if account == payer else 0)
            same = (0, 1, 3, 8, 9, 10)
            assert [new[place] for place in same] == [old[place] for place in same]

    def seal(self) -> ExecutionResult:
        """Keep the open block."""
        assert self._open is not None
        result = self._open.finish()
        self.stored.apply(result.changes)
        self.height += 1
        self.time_ms += self._after_ms
        self.params = params_of(self.stored)
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
        twin.height, twin.time_ms, twin.params = 0, self.genesis.time_ms, self.genesis.params
        state = StoredState(self.registry, dict(self.start))
        twin.state = state  # type: ignore[assignment]
        for after_ms, raws, root in self.blocks:
            execution = twin.execution(after_ms)
            for raw in raws:
                execution.apply(prepare(raw, self.registry))
            state.apply(execution.finish().changes)
            twin.height, twin.time_ms = twin.height + 1, twin.time_ms + after_ms
            twin.params = params_of(state)
            assert state.root == root
        assert state.records == self.stored.records


class Account:
    """An account without a key of its own, where a `Key` stands otherwise."""

    def __init__(self, account: bytes) -> None:
        self.account = account

    def __repr__(self) -> str:
        return f"0x{self.account.hex()[:8]}"


def body_of(raw: bytes) -> list[Any]:
    """The fields of a transaction's body."""
    fields: list[Any] = msgpack.unpackb(msgpack.unpackb(raw)[0])
    return fields


def params_of(state: StoredState) -> Params:
    """The parameters in force after the newest block."""
    data = state.get("kernel", PARAMS_KEY)
    assert data is not None
    return Params.unpack(data)


def act(name: str, *fields: Any) -> RawAction:
    """An action; keys stand for their accounts."""
    return RawAction(name, [_wire(field) for field in fields])


def _wire(field: Any) -> Any:
    if isinstance(field, Key | Account):
        return field.account
    if isinstance(field, list | tuple):
        return [_wire(item) for item in field]
    return field
