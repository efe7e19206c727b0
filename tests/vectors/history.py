"""The short history that the golden vectors show: a genesis, five blocks, four authorities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Block as WireBlock
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.crypto import ZERO_HASH, list_root
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset, GenesisRole
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.params import Params
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateStore
from clawpurse.ledger.transactions import (
    Body,
    RawAction,
    Role,
    Transaction,
    decode_transaction,
    encode_transaction,
    sign_entry,
)
from clawpurse.ledger.transition import Execution, ExecutionResult, genesis_changes, prepare
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.keys import account_path, derive
from clawpurse.wallet.mnemonic import seed_of

# A published test phrase of BIP-39: nobody may ever put money on it.
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"
AUTHORITY_SEEDS = [bytes([number]) * 32 for number in range(0x11, 0x15)]
START_MS = 1_800_000_000_000


class Person(NamedTuple):
    """One account of the phrase."""

    seed: bytes
    account: bytes


class Block(NamedTuple):
    """A block, what it did, and what decided it."""

    block: WireBlock
    result: ExecutionResult
    certificate: Certificate


def person(index: int) -> Person:
    seed = derive(seed_of(PHRASE.split()), account_path(index)).key
    return Person(seed, crypto.public_key_of(seed))


class History:
    """Built once; read by the generator."""

    def __init__(self) -> None:
        self.registry = build_registry()
        self.alice, self.bob, self.carol = (person(index) for index in range(3))
        self._seed_of = {crypto.public_key_of(seed): seed for seed in AUTHORITY_SEEDS}
        self.authorities = AuthoritySet(self._seed_of)
        self.genesis = self._genesis()
        self.domain = Domain(self.genesis.chain_id, self.genesis.hash)
        store = MemoryStore()
        self._store = store
        self.state = StateStore.open(store, self.registry.trees, None)
        self.records: dict[tuple[str, bytes], bytes] = {}
        self.transactions: dict[str, Transaction] = {}
        self.blocks: list[Block] = []
        self._commit(genesis_changes(self.genesis, self.registry), 0)
        self._make()

    def _genesis(self) -> Genesis:
        accounts = [
            GenesisAccount(self.alice.account, (("CLAW", 1_000_000_000), ("EUR", 250_000))),
            GenesisAccount(self.bob.account, (("CLAW", 5_000_000),)),
        ]
        return Genesis(
            "vectors-1",
            START_MS,
            self.authorities.keys,
            Params(fee_min=1_000, opening_deposit=50_000),
            (GenesisAsset("CLAW", 6, "Claw"), GenesisAsset("EUR", 2, "Euro")),
            tuple(sorted(accounts)),
            tuple((module.name, module.version) for module in self.registry.modules),
            (bytes([7]) * 32, bytes([9]) * 32),
            2,
            True,
            (GenesisRole("admin", self.alice.account),),
        )

    # -- transactions

    def _tx(
        self,
        name: str,
        sender: Person,
        actions: tuple[RawAction, ...],
        *signers: tuple[Person, Role, bytes],
        **terms: Any,
    ) -> bytes:
        """Sign a body; `terms` are the fields that differ from the usual."""
        values: dict[str, Any] = {
            "lane": 0,
            "sequence": 0,
            "attempt": 0,
            "valid_until_ms": START_MS + 600_000,
            "height_max": None,
            "fee": 1_000,
            "payer": None,
            "actions": actions,
        }
        network = (self.genesis.chain_id, self.genesis.hash)
        body = Body(*network, sender.account, **{**values, **terms})
        data = body.pack()
        who = [(sender, Role.SENDER, sender.account), *signers]
        entries = [
            sign_entry(one.seed, self.genesis.hash, role, account, data)
            for one, role, account in who
        ]
        raw = encode_transaction(data, entries)
        self.transactions[name] = decode_transaction(raw)
        return raw

    def _make(self) -> None:
        alice, bob, carol = self.alice, self.bob, self.carol
        pay = "assets.transfer"
        self._block(
            self._tx(
                "payment with memo and idempotency key",
                alice,
                (RawAction(pay, ["CLAW", bob.account, 12_500_000]),),
                memo="Invoice 17, März".encode(),
                idempotency_key=bytes(range(16)),
            ),
            self._tx(
                "payment in another asset to a new account",
                alice,
                (RawAction(pay, ["EUR", carol.account, 1_999]),),
                sequence=1,
                height_max=100,
            ),
            self._tx(
                "payment that fails: more than the balance",
                bob,
                (RawAction(pay, ["CLAW", alice.account, 10**15]),),
                lane=5,
                attempt=2,
            ),
        )
        self._block(
            self._tx(
                "two actions, fee paid by a sponsor",
                carol,
                (
                    RawAction(pay, ["EUR", bob.account, 999]),
                    RawAction(pay, ["EUR", alice.account, 1_000]),
                ),
                (alice, Role.PAYER, alice.account),
                payer=alice.account,
            ),
            self._tx(
                "account opened with a deposit",
                alice,
                (RawAction("accounts.open", [person(7).account]),),
                sequence=2,
            ),
            self._tx(
                "key changed, approved by the new key",
                bob,
                (RawAction("accounts.changeKey", [person(8).account]),),
                (person(8), Role.APPROVER, bob.account),
                lane=5,
                sequence=1,
            ),
        )
        self._govern()
        self._convict()
        self._block()

    def _govern(self) -> None:
        """A block of roles and a vote."""
        alice, carol = self.alice, self.carol
        authority = Person(AUTHORITY_SEEDS[0], crypto.public_key_of(AUTHORITY_SEEDS[0]))
        vote: list[Any] = [authority.account, START_MS + 600_000, "fee_min=2000,interval_ms=500"]
        self._block(
            self._tx(
                "roles given and asked for by an administrator",
                alice,
                (
                    RawAction("roles.grant", ["cashier", carol.account]),
                    RawAction("roles.setPermission", ["accounts.open", "cashier"]),
                ),
                sequence=3,
            ),
            self._tx(
                "vote of an authority, paid for by another account",
                alice,
                (RawAction("governance.setParameters", vote),),
                (authority, Role.APPROVER, authority.account),
                sequence=4,
            ),
        )

    def _convict(self) -> None:
        """A block with evidence: a prevote for a block and for nil; one block as new and as old."""
        first, second = self.blocks[0].block.header, self.blocks[1].block.header
        prevotes = [
            self.vote(0, Kind.PREVOTE, 1, 0, block_id) for block_id in (first.block_id, None)
        ]
        proposer = self.authorities.proposer(2, 3)
        proposals = []
        for valid_round in (-1, 2):
            unsigned = Proposal(3, valid_round, second, proposer)
            signature = self.sign(proposer, unsigned.sign_bytes(self.domain))
            proposals.append(unsigned._replace(signature=signature))
        self._block(evidence=(DoubleSign.of(*prevotes), DoubleSign.of(*proposals)))

    # -- blocks

    def _block(self, *raws: bytes, evidence: tuple[DoubleSign, ...] = ()) -> None:
        parent = self.blocks[-1] if self.blocks else None
        height, params = len(self.blocks) + 1, self.genesis.params
        env = BlockEnv(height, START_MS + 1_000 * height, params)
        execution = Execution(self.state_reader, self.registry, env)
        execution.begin(evidence)
        packed_evidence = tuple(proof.pack() for proof in evidence)
        for raw in raws:
            execution.apply(prepare(raw, self.registry))
        result = execution.finish()
        self._commit(result.changes, height)
        header = Header(
            version=1,
            chain_id=self.genesis.chain_id,
            genesis_hash=self.genesis.hash,
            recovery_epoch=0,
            height=height,
            time_ms=env.time_ms,
            first_round=0,
            proposer=self.authorities.proposer(height, 0),
            parent_id=parent.block.header.block_id if parent else self.genesis.hash,
            parent_certificate_hash=parent.certificate.hash if parent else ZERO_HASH,
            transactions_root=list_root([decode_transaction(raw).wtx_id for raw in raws]),
            receipts_root=list_root([receipt.pack() for receipt in result.receipts]),
            events_root=list_root([event.pack() for event in result.events]),
            evidence_root=list_root(packed_evidence),
            state_root=self.state.state_root,
            authorities_hash=self.authorities.hash,
            next_authorities_hash=self.authorities.hash,
            params_hash=params.hash,
            cost_used=result.cost_used,
        )
        votes = {
            key: self.vote(number, Kind.PRECOMMIT, height, 0, header.block_id)
            for number, key in self.voters()
        }
        packed = parent.certificate.pack() if parent else None
        block = WireBlock(header, packed, packed_evidence, tuple(raws))
        self.blocks.append(Block(block, result, Certificate.of(self.authorities, votes)))

    @property
    def state_reader(self) -> Reader:
        return Reader(self.state)

    def _commit(self, changes: dict[tuple[str, bytes], bytes | None], height: int) -> None:
        update = self.state.apply(changes).finish()
        batch = Batch()
        self.state.write(update, height, batch)
        self._store.write(batch, sync=True)
        self.state.install(update, height)
        for place, value in changes.items():
            if value is None:
                del self.records[place]
            else:
                self.records[place] = value

    # -- votes

    def voters(self) -> Iterator[tuple[int, bytes]]:
        """Three of the four: (place in the set, key). The third one is missing."""
        for number, key in enumerate(self.authorities.keys):
            if number != 2:
                yield number, key

    def sign(self, key: bytes, message: bytes) -> bytes:
        return crypto.sign(self._seed_of[key], message)

    def vote(
        self, number: int, kind: Kind, height: int, round_: int, block_id: bytes | None
    ) -> Vote:
        key = self.authorities.keys[number]
        vote = Vote(kind, height, round_, block_id, key)
        return vote._replace(signature=self.sign(key, vote.sign_bytes(self.domain)))


class Reader:
    """The store as the transition reads it."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self._state.get(tree, key)

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        return self._state.first_ordered(tree, prefix, limit, after)
