"""A network with all modules, for those who mean ill: what a refusal leaves behind, what it costs.

`refused` compares every record of the state before and after. `StoreState` keeps state in the real
trees, so that what a block costs includes what hashing its records costs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.genesis import Genesis, GenesisRole
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, SPONSOR_PREFIX, Account, account_key
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateStore
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import Execution, ExecutionResult, Prepared, prepare
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.governance import chain as governance
from clawpurse.modules.payments import chain as payments
from clawpurse.modules.registry import build_registry
from clawpurse.modules.risk import chain as risk
from clawpurse.modules.roles import chain as roles_chain
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, Sandbox
from tests.modules.council import AUTHORITIES, Council

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MOST = (1 << 64) - 1
ADMIN, ISSUER, SPONSOR = Key("admin"), Key("issuer"), Key("sponsor")
OFFICERS = tuple(Key(f"officer-{number}") for number in range(1, 4))
FEE = 3
OPENING: dict[Key, dict[str, int]] = {
    ALICE: {"CLAW": 10_000_000, "EUR": 1_000_000},
    BOB: {"CLAW": 1_000_000, "EUR": 1_000_000},
    CAROL: {"CLAW": 1_000_000, "EUR": 1_000_000},
    DAVE: {"CLAW": 1_000_000},
    ERIN: {"CLAW": 1_000_000},
    ADMIN: {"CLAW": 1_000_000},
    ISSUER: {"CLAW": 1_000_000},
    SPONSOR: {"CLAW": 1_000_000},
    **{officer: {"CLAW": 1_000_000} for officer in OFFICERS},
}


def raw(name: str, *fields: Any) -> RawAction:
    """An action; keys stand for their accounts."""
    return RawAction(name, [one.account if isinstance(one, Key) else one for one in fields])


def ascending(*accounts: Key) -> list[bytes]:
    return sorted(one.account for one in accounts)


class StoreState:
    """Committed state in the real trees over memory; a `StateReader`. No plain copy is kept."""

    def __init__(self, genesis: Genesis, changes: Mapping[StateKey, bytes | None]) -> None:
        del genesis
        self._store = MemoryStore()
        self._state = StateStore.open(self._store, build_registry().trees, None)
        self._height = -1
        self.hashing_s = 0.0
        self.apply(changes)

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self._state.get(tree, key)

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        return self._state.first_ordered(tree, prefix, limit, after)

    def apply(self, changes: Mapping[StateKey, bytes | None]) -> None:
        """Hash the changes and keep them; `hashing_s` is the CPU time of the first half."""
        self._height += 1
        began = time.process_time()
        update = self._state.apply(changes).finish()
        self.hashing_s = time.process_time() - began
        batch = Batch()
        self._state.write(update, self._height, batch)
        self._store.write(batch, sync=True)
        self._state.install(update, self._height)


class Realm(Council):
    """All modules of a node. Administrator, issuer of assets, three officers; fees are asked."""

    def __init__(self, *, stored: bool = False, **settings: Any) -> None:
        roles = [GenesisRole("admin", ADMIN.account), GenesisRole("issuer", ISSUER.account)]
        roles += [GenesisRole("compliance", officer.account) for officer in OFFICERS]
        roles += settings.pop("more_roles", [])
        settings.setdefault("roles", tuple(sorted(roles)))
        settings.setdefault("opening", OPENING)
        settings.setdefault("params", {"fee_min": FEE})
        settings.setdefault("authorities", tuple(key.public for key in AUTHORITIES[:4]))
        Sandbox.__init__(
            self,
            roles_chain.MODULE,
            governance.MODULE,
            payments.MODULE,
            compliance.MODULE,
            risk.MODULE,
            anchor.MODULE,
            **settings,
        )
        assert self.registry.trees == build_registry().trees
        self.checks = not stored
        if stored:
            self.state = StoreState(self.genesis, self.state.records)  # type: ignore[assignment]

    def block(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        """A block; with `checks`, all invariants after it."""
        if self.checks:
            return super().block(*raws, after_ms=after_ms)
        return Sandbox.block(self, *raws, after_ms=after_ms)

    # -- what succeeds

    def do(self, by: Key, name: str, *fields: Any, **more: Any) -> ExecutionResult:
        """A block with one action, which must succeed."""
        return self.done(self.tx(by, raw(name, *fields), **more))

    def done(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        """A block of transactions that must all succeed."""
        result = self.block(*raws, after_ms=after_ms)
        for receipt in result.receipts:
            assert receipt.code == 0, (receipt.rule, receipt.facts)
        return result

    def person(self, subject: int, *accounts: Key) -> None:
        """Officers say that one person is behind accounts."""
        for account in accounts:
            for officer in OFFICERS[:2]:
                self.do(officer, "compliance.setSubject", account, bytes([subject]) * 32, "")

    # -- what is refused

    def everything(self) -> dict[StateKey, bytes]:
        return dict(self.state.records)

    def refused(
        self, transaction: bytes, rule: str, *, after_ms: int = 1_000, spends: bool = False
    ) -> Receipt:
        """A block with a transaction that must fail by a rule and change nothing of value.

        Every record is compared. Of the sender's, fee, sequence, quota and the number of its
        idempotency keys may differ; the payer's and the fee account's balance by the fee;
        beside them only the idempotency record and its place in the queue, what a sponsor has
        left, and what a session key spent, are written.
        """
        before, due = self.everything(), self.time_ms + after_ms
        body = prepare(transaction, self.registry).transaction.body
        result = self.block(transaction, after_ms=after_ms)
        (receipt,) = result.receipts
        assert (receipt.rule, receipt.code != 0) == (rule, True), (receipt.rule, receipt.facts)
        assert receipt.event_count == 0
        assert due == self.time_ms
        after = self.everything()
        changed = {
            place for place in before.keys() | after.keys() if before.get(place) != after.get(place)
        }
        payer = body.payer or body.sender
        for account, paid in ((payer, body.fee), (FEE_ACCOUNT, -body.fee)):
            place = (KERNEL, account_key(account))
            old, new = Account.unpack(before[place]), Account.unpack(after[place])
            assert old.balance - new.balance == paid
            changed.discard(place)
            if account != body.sender:
                assert old._replace(balance=new.balance) == new
        self._only_terms(body.sender, body.lane, body.sender == payer, before, after)
        changed.discard((KERNEL, account_key(body.sender)))
        letters = {key[:1] for tree, key in changed if tree == KERNEL}
        assert {tree for tree, _ in changed} <= {KERNEL}, changed
        allowed = set(b"ie") if body.idempotency_key is not None else set()
        if spends:
            allowed |= set(b"t")
        if body.payer is not None:
            allowed |= set(SPONSOR_PREFIX)
        assert {letter[0] for letter in letters} <= allowed, changed
        return receipt

    def refused_by_session(self, transaction: bytes, rule: str, key: Key) -> Receipt:
        """As `refused`: that the fee counts against the key's caps is the one difference."""
        body = prepare(transaction, self.registry).transaction.body
        before = self.books.entitlements.spent(body.sender, key.public)
        receipt = self.refused(transaction, rule, spends=True)
        after = self.books.entitlements.spent(body.sender, key.public)
        assert after is not None
        old = dict(before.amounts) if before is not None and before.day == after.day else {}
        old[NATIVE_ASSET] = old.get(NATIVE_ASSET, 0) + body.fee
        assert dict(after.amounts) == old
        return receipt

    def _only_terms(
        self,
        sender: bytes,
        lane: int,
        pays: bool,
        before: Mapping[StateKey, bytes],
        after: Mapping[StateKey, bytes],
    ) -> None:
        place = (KERNEL, account_key(sender))
        old, new = Account.unpack(before[place]), Account.unpack(after[place])
        assert new.sequence(lane) == old.sequence(lane) + 1
        assert all(new.sequence(one) == old.sequence(one) for one in range(64) if one != lane)
        same = old._replace(
            lanes=new.lanes,
            quota_window=new.quota_window,
            quota_used=new.quota_used,
            idempotency_count=new.idempotency_count,
        )
        assert same._replace(balance=new.balance) == new
        assert pays or old.balance == new.balance

    def barred(self, transaction: bytes, rule: str, after_ms: int = 1_000) -> None:
        """No block takes a transaction, and it changes nothing at all."""
        found = self.refusal(transaction, after_ms)
        assert found.rule == rule, (found.rule, found.wire_facts)


def first(result: ExecutionResult, kind: str) -> Event:
    return next(event for event in result.events if event.kind == kind)


# -- what it costs


class Measure:
    """CPU time and static cost of a block's transactions, without verifying signatures."""

    def __init__(
        self, cpu_s: float, cost: int, result: ExecutionResult, signatures: int = 0
    ) -> None:
        self.cpu_s, self.cost, self.result, self.signatures = cpu_s, cost, result, signatures

    @property
    def us_per_unit(self) -> float:
        return self.cpu_s * 1e6 / self.cost


def measured(realm: Realm, raws: Sequence[bytes], after_ms: int = 1_000) -> Measure:
    """Execute a block and hash it, keeping it; the signatures' share of the cost is left out."""
    signatures = 0
    realm_time = realm.time_ms + after_ms
    env = BlockEnv(realm.height + 1, realm_time, realm.params)
    state: Any = realm.state
    # What other tests of this process left in memory is no part of a block's work. It stays apart
    # afterwards, with what the run has collected before its first test.
    gc.freeze()
    began = time.process_time()
    execution = Execution(state, realm.registry, env)
    execution.begin()
    for transaction in raws:
        prepared: Prepared = prepare(transaction, realm.registry)
        signatures += len(prepared.transaction.witness)
        execution.apply(prepared)
    result = execution.finish()
    cpu_s = time.process_time() - began
    state.apply(result.changes)
    cpu_s += state.hashing_s
    realm.height += 1
    realm.time_ms = realm_time
    return Measure(cpu_s, result.cost_used - 60 * signatures, result, signatures)


def signature_us(count: int = 200) -> float:
    """What verifying one signature takes here."""
    seed = ALICE.seed
    message = crypto.message_hash_of(b"m")
    signature = crypto.sign(seed, message)
    began = time.process_time()
    for _ in range(count):
        assert crypto.verify(ALICE.public, message, signature)
    return (time.process_time() - began) * 1e6 / count
