"""A chain small enough for tests of the pool: real genesis, real transition, no consensus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import Params
from clawpurse.ledger.transactions import (
    Body,
    RawAction,
    Role,
    WitnessEntry,
    encode_transaction,
    sign_entry,
)
from clawpurse.ledger.transition import Execution, Prepared, genesis_changes, prepare
from clawpurse.modules.registry import build_registry
from clawpurse.node.mempool import Admission, Head, Mempool

START_MS = 1_800_000_000_000
REGISTRY = build_registry()
FUNDS = 1_000_000
HOUR_MS = 3_600_000


class DictState:
    """Committed state as a dictionary."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, bytes], bytes] = {}

    def take(self, changes: dict[tuple[str, bytes], bytes | None]) -> None:
        for place, value in changes.items():
            if value is None:
                self.records.pop(place, None)
            else:
                self.records[place] = value

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self.records.get((tree, key))

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        found = [(k, v) for (t, k), v in self.records.items() if t == tree and k.startswith(prefix)]
        return sorted(row for row in found if row[0] > after)[:limit]


class PoolWorld:
    """A few funded senders, payments of theirs, and blocks that are final as soon as made."""

    def __init__(self, senders: int = 4, funds: int = FUNDS, **params: int) -> None:
        self.seeds = [number.to_bytes(32, "big") for number in range(1, senders + 1)]
        self.keys = [crypto.public_key_of(seed) for seed in self.seeds]
        accounts = [GenesisAccount(key, (("CLAW", funds),)) for key in sorted(self.keys)]
        self.genesis = Genesis(
            "pool-test",
            START_MS,
            (crypto.public_key_of(b"a" * 32),),
            replace(Params(), **params),
            (GenesisAsset("CLAW", 2, "Claw"),),
            tuple(accounts),
            tuple((module.name, module.version) for module in REGISTRY.modules),
        )
        self.state = DictState()
        self.state.take(genesis_changes(self.genesis, REGISTRY))
        self.height = 0
        self.time_ms = START_MS

    def head(self) -> Head:
        return Head(self.height, self.time_ms, self.genesis.params, self.state)

    def pay(self, sender: int, sequence: int, *, signed: bool = False, **terms: Any) -> bytes:
        """The bytes of a payment of one minor unit; unless `signed`, of zeros for signatures.

        Terms are those of `Body`, and `payer` is a sender's number.
        """
        key = self.keys[sender]
        payer = terms.pop("payer", None)
        target = terms.pop("target", self.keys[(sender + 1) % len(self.keys)])
        body = Body(
            terms.pop("chain_id", self.genesis.chain_id),
            terms.pop("genesis_hash", self.genesis.hash),
            key,
            terms.pop("lane", 0),
            sequence,
            terms.pop("attempt", 0),
            terms.pop("valid_until_ms", self.time_ms + HOUR_MS),
            terms.pop("height_max", None),
            terms.pop("fee", 0),
            None if payer is None else self.keys[payer],
            (RawAction("assets.transfer", ["CLAW", target, terms.pop("amount", 1)]),),
            **terms,
        )
        packed = body.pack()
        signers = [(Role.SENDER, sender)] + ([] if payer is None else [(Role.PAYER, payer)])
        witness = [self._entry(role, number, packed, signed) for role, number in signers]
        return encode_transaction(packed, witness)

    def _entry(self, role: Role, number: int, packed: bytes, signed: bool) -> WitnessEntry:
        key = self.keys[number]
        if not signed:
            return WitnessEntry(int(role), key, key, bytes(64))
        return sign_entry(self.seeds[number], self.genesis.hash, role, key, packed)

    def prepared(self, sender: int, sequence: int, **terms: Any) -> Prepared:
        return prepare(self.pay(sender, sequence, **terms), REGISTRY)

    def commit(self, block: Iterable[Prepared] = (), step_ms: int = 1_000) -> list[Prepared]:
        """Make a block of these, all of which must be includable, final."""
        included = list(block)
        self.height += 1
        self.time_ms += step_ms
        env = BlockEnv(self.height, self.time_ms, self.genesis.params)
        execution = Execution(self.state, REGISTRY, env)
        execution.begin()
        for prepared in included:
            execution.apply(prepared)
        self.state.take(execution.finish().changes)
        return included

    def sequence(self, sender: int, lane: int = 0) -> int:
        """The sequence that the committed state wants next."""
        account = Books(Overlay(self.state)).account(self.keys[sender])
        assert account is not None
        return account.sequence(lane)


def admit(pool: Mempool, world: PoolWorld, prepared: Prepared) -> Admission:
    return pool.admit(prepared, world.head(), world.time_ms)


def places(prepareds: Iterable[Prepared]) -> list[tuple[bytes, int, int]]:
    """Where transactions stand: (sender, lane, sequence) each."""
    bodies = [prepared.transaction.body for prepared in prepareds]
    return [(body.sender, body.lane, body.sequence) for body in bodies]
