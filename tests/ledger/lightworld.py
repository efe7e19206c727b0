"""Chains of light blocks, made without executing anything: any sets, any forks, any lies.

A world is a genesis and a plan of who decides from which height on. Headers are linked, certified
by the sets that the plan names, and cheap enough for thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.light import LightBlock, Trusted, domain_of
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.genesis import Genesis, GenesisAsset
from clawpurse.ledger.params import Params

START_MS = 1_800_000_000_000
BLOCK_MS = 1_000
DAY_MS = 86_400_000
ZERO = bytes(32)


def seed_of(number: int) -> bytes:
    """The private key of authority `number`, from 0."""
    return number.to_bytes(2, "big") * 16


_SEEDS = {crypto.public_key_of(seed_of(number)): seed_of(number) for number in range(130)}


def keys_of(numbers: Iterable[int]) -> AuthoritySet:
    """The set of these authorities."""
    return AuthoritySet(crypto.public_key_of(seed_of(number)) for number in numbers)


def certify(header: Header, members: AuthoritySet, count: int = 0, round_: int = 0) -> Certificate:
    """A certificate of the first `count` members; a quorum by default."""
    chosen = members.keys[: count or members.quorum_size]
    return certify_by(header, members, chosen, round_)


def certify_by(
    header: Header, members: AuthoritySet, signers: Iterable[bytes], round_: int = 0
) -> Certificate:
    """A certificate of these members."""
    votes = {key: sign_vote(Kind.PRECOMMIT, header, key, round_) for key in signers}
    return Certificate.of(members, votes)


def sign_vote(kind: Kind, header: Header, key: bytes, round_: int = 0) -> Vote:
    """A vote for a block, really signed."""
    vote = Vote(kind, header.height, round_, header.block_id, key)
    sign_bytes = vote.sign_bytes(domain_of(header))
    return vote._replace(signature=crypto.sign(_SEEDS[key], sign_bytes))


class LightWorld:
    """Blocks 1…`height`. `plan` maps a height to the authorities that decide from there on.

    A fork is a world with `after`: it shares another one's blocks below its first own height.
    """

    def __init__(
        self,
        plan: Mapping[int, Iterable[int]] | None = None,
        height: int = 0,
        *,
        chain_id: str = "light-test",
        block_ms: int = BLOCK_MS,
        fee_min: int = 0,
    ) -> None:
        self.plan = {at: keys_of(numbers) for at, numbers in (plan or {1: range(4)}).items()}
        self.block_ms = block_ms
        self.genesis = Genesis(
            chain_id,
            START_MS,
            self.members(1).keys,
            Params(fee_min=fee_min),
            (GenesisAsset("CLAW", 2, "Claw"),),
            (),
            (("accounts", 1), ("assets", 1)),
        )
        self.blocks: dict[int, LightBlock] = {}
        self.grow(height)

    @property
    def height(self) -> int:
        return max(self.blocks, default=0)

    @property
    def now_ms(self) -> int:
        """A moment after the newest block."""
        return START_MS + self.block_ms * self.height + 1

    @property
    def root(self) -> Trusted:
        return Trusted.at_genesis(self.genesis)

    def members(self, height: int) -> AuthoritySet:
        """Who decides `height`."""
        return self.plan[max(at for at in self.plan if at <= height)]

    def grow(self, height: int) -> None:
        """Make blocks up to `height`."""
        for number in range(self.height + 1, height + 1):
            self.blocks[number] = self.make(number)

    def make(
        self,
        height: int,
        *,
        signers: Iterable[bytes] | None = None,
        round_: int = 0,
        **changed: Any,
    ) -> LightBlock:
        """The honest next block of `height`, with some header fields changed before signing."""
        header = replace(self.header(height), **changed)
        members = self.members(height)
        certificate = (
            certify(header, members, round_=round_)
            if signers is None
            else certify_by(header, members, signers, round_)
        )
        return LightBlock(header, certificate, members, self.members(height + 1))

    def header(self, height: int) -> Header:
        parent = self.blocks[height - 1].block_id if height > 1 else self.genesis.hash
        return Header(
            version=1,
            chain_id=self.genesis.chain_id,
            genesis_hash=self.genesis.hash,
            recovery_epoch=0,
            height=height,
            time_ms=START_MS + self.block_ms * height,
            first_round=0,
            proposer=self.members(height).proposer(height, 0),
            parent_id=parent,
            parent_certificate_hash=ZERO,
            transactions_root=ZERO,
            receipts_root=ZERO,
            events_root=ZERO,
            evidence_root=ZERO,
            state_root=ZERO,
            authorities_hash=self.members(height).hash,
            next_authorities_hash=self.members(height + 1).hash,
            params_hash=self.genesis.params.hash,
            cost_used=0,
        )

    def fork(
        self,
        first: int,
        height: int,
        plan: Mapping[int, Iterable[int]] | None = None,
        **changed: Any,
    ) -> LightWorld:
        """Another history from block `first` on, certified as well as the real one.

        `plan` replaces what was planned above `first`. `changed` are header fields of block
        `first`; another `state_root` unless told.
        """
        other = LightWorld.__new__(LightWorld)
        kept = (
            self.plan if plan is None else {at: who for at, who in self.plan.items() if at <= first}
        )
        other.plan = {**kept, **{at: keys_of(who) for at, who in (plan or {}).items()}}
        other.block_ms = self.block_ms
        other.genesis = self.genesis
        other.blocks = {at: block for at, block in self.blocks.items() if at < first}
        round_ = changed.pop("round_", 0)
        other.blocks[first] = other.make(
            first, round_=round_, **{"state_root": b"\x0f" * 32, **changed}
        )
        other.grow(height)
        return other
