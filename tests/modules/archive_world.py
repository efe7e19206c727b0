"""A council with an archive: officers, a log of Bob's that Carol writes, and its entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.anchor.records import Log, Proposal, log_id
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key
from tests.modules.council import Council
from tests.modules.multisig import DESK

HOUR_MS = 3_600_000
COMMITMENT, OTHER = message_hash_of(b"commitment"), message_hash_of(b"other")
OFFICERS = tuple(Key(f"officer-{number}") for number in range(1, 5))
ONE, TWO, THREE, FOUR = OFFICERS
OPENING: dict[Key, dict[str, int]] = {
    ALICE: {"CLAW": 1_000_000},
    BOB: {"CLAW": 1_000},
    CAROL: {"CLAW": 1_000},
    DAVE: {},
    **{officer: {} for officer in OFFICERS},
}
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(64)]
REWRITTEN = [leaf_hash(b"never so"), *LEAVES[1:]]
LOG = log_id(BOB.account, "audit")


class Archive(Council):
    """Alice is the administrator; three officers; Bob's log `audit` is written by Carol."""

    def __init__(self, *, opened: bool = True, **settings: Any) -> None:
        roles = [GenesisRole("admin", ALICE.account)]
        roles += [GenesisRole("compliance", one.account) for one in OFFICERS[:3]]
        settings.setdefault("opening", OPENING)
        super().__init__(DESK, anchor.MODULE, roles=tuple(sorted(roles)), **settings)
        if opened:
            self.do(BOB, open_log())

    def do(self, by: Key, action: RawAction, **fields: Any) -> Receipt:
        receipt = self.pay(by, action, **fields).receipts[0]
        assert receipt.code == 0, receipt
        return receipt

    def rule(self, by: Key, action: RawAction) -> str:
        return self.pay(by, action).receipts[0].rule

    def log(self, identity: bytes = LOG) -> Log:
        found: Log | None = self.query("anchor.log", identity)
        assert found is not None
        return found

    def grown(self, *sizes: int) -> None:
        """Anchor the log at these sizes, one after the other."""
        for size in sizes:
            self.do(CAROL, grow(self, size))

    def proposals(self) -> dict[bytes, Proposal]:
        return dict(self.query("anchor.proposals", LOG, 10))

    def same_person(self, *accounts: Key) -> None:
        for account in accounts:
            self.pay(ALICE, RawAction("desk.say", [account.account, bytes([9]) * 32]))


def document(commitment: bytes = COMMITMENT, kind: str = "invoice") -> RawAction:
    return RawAction("anchor.document", [commitment, kind])


def open_log(
    name: str = "audit",
    writer: bytes | None = CAROL.account,
    role: str | None = None,
    breakers: int = 2,
) -> RawAction:
    return RawAction("anchor.openLog", [name, writer, role, breakers])


def set_writer(writer: Key | None, role: str | None = None, log: bytes = LOG) -> RawAction:
    return RawAction("anchor.setWriter", [log, None if writer is None else writer.account, role])


def anchored(size: int, root: bytes, proof: Sequence[bytes] = (), log: bytes = LOG) -> RawAction:
    return RawAction("anchor.log", [log, size, root, list(proof)])


def grow(chain: Archive, size: int, leaves: Sequence[bytes] = LEAVES) -> RawAction:
    """The anchor of a log that is `leaves` up to `size`, from what is anchored now."""
    proof = consistency_proof(leaves[:size], chain.log().size)
    return anchored(size, root_of(leaves[:size]), proof)


def broken(chain: Archive, size: int = 3, **fields: Any) -> RawAction:
    root = fields.get("root", root_of(LEAVES[:size]))
    reason, for_ms = fields.get("reason", "restored from backup"), fields.get("for_ms", HOUR_MS)
    log = fields.get("log", LOG)
    return RawAction("anchor.break", [log, size, root, reason, chain.time_ms + 1_000 + for_ms])


def approved(number: int = 1, size: int = 3, by: Key = CAROL, **fields: Any) -> RawAction:
    root, log = fields.get("root", root_of(LEAVES[:size])), fields.get("log", LOG)
    return RawAction("anchor.approveBreak", [log, by.account, number, size, root])


def tree_of(chain: Council) -> dict[Any, bytes]:
    return {place: value for place, value in chain.state.records.items() if place[0] == "anchor"}


def behind() -> Archive:
    """A log that is anchored at eight entries, and was restored to less."""
    chain = Archive()
    chain.grown(5, 8)
    return chain
