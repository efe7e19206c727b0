"""A network small enough for a test: real genesis, real transition, real certificates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset, GenesisRole
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.params import Params
from clawpurse.ledger.transition import Execution, genesis_changes, prepare
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.proofs import AuthorityChange, build_payment_proof

START_MS = 1_800_000_000_000
REGISTRY = build_registry()


class _State:
    """Committed state as a dictionary."""

    def __init__(self, records: dict[tuple[str, bytes], bytes]) -> None:
        self.records = records

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self.records.get((tree, key))

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        found = [(k, v) for (t, k), v in self.records.items() if t == tree and k.startswith(prefix)]
        return sorted(row for row in found if row[0] > after)[:limit]


class SmallChain:
    """Four authorities, funded keys `alice` and `bob`, blocks made by `block`."""

    def __init__(self, fee_min: int = 0, roles: tuple[tuple[str, str], ...] = ()) -> None:
        """`roles` are (role, alice or bob), held from the start."""
        self.seeds = [bytes([number]) * 32 for number in range(1, 5)]
        self.alice = SigningKey(b"\xa1" * 32)
        self.bob = SigningKey(b"\xb0" * 32)
        balances = (("CLAW", 1_000_00), ("EUR", 500_000))
        accounts = sorted(GenesisAccount(key.account, balances) for key in (self.alice, self.bob))
        self.genesis = Genesis(
            "acme-test",
            START_MS,
            tuple(sorted(crypto.public_key_of(seed) for seed in self.seeds)),
            Params(fee_min=fee_min),
            (GenesisAsset("CLAW", 2, "Claw"), GenesisAsset("EUR", 3, "Euro")),
            tuple(accounts),
            tuple((module.name, module.version) for module in REGISTRY.modules),
            roles=tuple(
                sorted(GenesisRole(role, getattr(self, who).account) for role, who in roles)
            ),
            test_network=True,
        )
        self.terms = ChainTerms(self.genesis.chain_id, self.genesis.hash)
        changes = genesis_changes(self.genesis, REGISTRY)
        self.state = {place: value for place, value in changes.items() if value is not None}
        self.height = 0
        self.changes: list[AuthorityChange] = []

    @property
    def authorities(self) -> AuthoritySet:
        return AuthoritySet(crypto.public_key_of(seed) for seed in self.seeds)

    def block(self, *raws: bytes) -> Made:
        """Execute transactions as the next block and certify it by three of four."""
        self.height += 1
        time_ms = START_MS + 1000 * self.height
        env = BlockEnv(self.height, time_ms, self.genesis.params)
        execution = Execution(_State(self.state), REGISTRY, env)
        execution.begin()
        for raw in raws:
            execution.apply(prepare(raw, REGISTRY))
        result = execution.finish()
        for place, value in result.changes.items():
            if value is None:
                self.state.pop(place, None)
            else:
                self.state[place] = value
        receipts = [receipt.pack() for receipt in result.receipts]
        events = [event.pack() for event in result.events]
        header = self.header(receipts, events)
        return Made(self, header, receipts, events, list(raws))

    def header(self, receipts: list[bytes], events: list[bytes]) -> Header:
        zero = bytes(32)
        return Header(
            1,
            self.genesis.chain_id,
            self.genesis.hash,
            0,
            self.height,
            START_MS + 1000 * self.height,
            0,
            self.authorities.proposer(self.height, 0),
            zero,
            zero,
            zero,
            crypto.list_root(receipts),
            crypto.list_root(events),
            zero,
            zero,
            self.authorities.hash,
            self.authorities.hash,
            self.genesis.params.hash,
            0,
        )

    def certify(self, header: Header, count: int = 3, round_: int = 0) -> Certificate:
        """Return a certificate of the first `count` authorities; a quorum is three."""
        domain = Domain(header.chain_id, header.genesis_hash, header.recovery_epoch)
        votes = {}
        for seed in self.seeds[:count]:
            key = crypto.public_key_of(seed)
            vote = Vote(Kind.PRECOMMIT, header.height, round_, header.block_id, key)
            signature = crypto.sign(seed, vote.sign_bytes(domain))
            votes[key] = vote._replace(signature=signature)
        return Certificate.of(self.authorities, votes)

    def change_authorities(self, seeds: list[bytes]) -> None:
        """Certify a block after which other authorities decide."""
        self.height += 1
        following = AuthoritySet(crypto.public_key_of(seed) for seed in seeds)
        header = replace(self.header([], []), next_authorities_hash=following.hash)
        certificate = self.certify(header)
        self.changes.append(AuthorityChange(header.pack(), certificate.pack(), following.pack()))
        self.seeds = seeds


class Made:
    """A block that was made, and the proofs of what is in it."""

    def __init__(
        self,
        chain: SmallChain,
        header: Header,
        receipts: list[bytes],
        events: list[bytes],
        raws: list[bytes],
    ) -> None:
        self.chain = chain
        self.header = header
        self.receipts = receipts
        self.events = events
        self.raws = raws

    def proof(self, index: int = 0, **changed: Any) -> dict[str, Any]:
        """Return the proof of a receipt, with some of its inputs replaced."""
        inputs: dict[str, Any] = {
            "genesis": self.chain.genesis.packed,
            "changes": self.chain.changes,
            "header": self.header.pack(),
            "certificate": self.chain.certify(self.header).pack(),
            "receipts": self.receipts,
            "events": self.events,
            "index": index,
            "transaction": self.raws[index],
        }
        return build_payment_proof(**{**inputs, **changed})
