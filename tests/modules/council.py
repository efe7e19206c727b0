"""A sandbox with authorities that vote and administrators that give roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.records import AUTHORITIES_KEY, PARAMS_KEY, Membership
from clawpurse.ledger.module_api import KERNEL, Module
from clawpurse.ledger.params import Params
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.governance import chain as governance
from clawpurse.modules.governance.changes import KIND_NAMES, Change, Kind
from clawpurse.modules.governance.records import Proposal, Status
from clawpurse.modules.roles import chain as roles
from tests.ledger.sandbox import ALICE, BOB, Key, Sandbox

AUTHORITIES = tuple(sorted((Key(f"authority-{n}") for n in range(1, 10)), key=lambda k: k.public))
HOUR_MS = 3_600_000


class Council(Sandbox):
    """Four authorities by default; Alice is the administrator, and pays for votes."""

    def __init__(self, *modules: Module, seats: int = 4, **settings: Any) -> None:
        settings.setdefault("roles", (GenesisRole("admin", ALICE.account),))
        settings["authorities"] = tuple(key.public for key in AUTHORITIES[:seats])
        super().__init__(roles.MODULE, governance.MODULE, *modules, **settings)

    # -- reading

    @property
    def membership(self) -> Membership:
        data = self.state.get(KERNEL, AUTHORITIES_KEY)
        assert data is not None
        return Membership.unpack(data)

    def seats(self, height: int) -> AuthoritySet:
        return self.membership.at(height)

    def query(self, name: str, *args: object) -> Any:
        return self.registry.query(self.state, name, *args)

    def proposal(self, proposal_id: bytes) -> Proposal:
        found = self.query("governance.proposal", proposal_id)
        assert found is not None
        return found  # type: ignore[no-any-return]

    def status(self, proposal_id: bytes) -> str:
        return Status(self.proposal(proposal_id).status).label

    # -- writing

    def block(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        """As a sandbox does; parameters follow the state, invariants hold after each block."""
        result = super().block(*raws, after_ms=after_ms)
        data = self.state.get(KERNEL, PARAMS_KEY)
        assert data is not None
        self.params = Params.unpack(data)
        for module in self.registry.modules:
            for invariant in module.invariants:
                assert invariant(self.state) is None
        return result

    def change(self, kind: Kind, *arguments: Any) -> Change:
        return Change(kind, tuple(one.public if isinstance(one, Key) else one for one in arguments))

    def ballot(
        self, by: Key, change: Change, expires_ms: int, sender: Key = ALICE, **fields: Any
    ) -> bytes:
        """A signed vote by contents."""
        name = f"governance.{KIND_NAMES[Kind(change.kind)]}"
        action = RawAction(name, [by.public, expires_ms, *change.arguments])
        return self.tx(sender, action, approvers=[(by, by.public)], **fields)

    def by_id(
        self, verb: str, by: Key, proposal_id: bytes, sender: Key = ALICE, **fields: Any
    ) -> bytes:
        """A signed `vote` or `withdraw`."""
        action = RawAction(f"governance.{verb}", [by.public, proposal_id])
        return self.tx(sender, action, approvers=[(by, by.public)], **fields)

    def cast(self, by: Key, change: Change, expires_ms: int, **fields: Any) -> Receipt:
        """A block with one vote by contents."""
        return self.block(self.ballot(by, change, expires_ms, **fields)).receipts[0]

    def say(self, verb: str, by: Key, proposal_id: bytes, **fields: Any) -> Receipt:
        """A block with one vote or withdrawal by id."""
        return self.block(self.by_id(verb, by, proposal_id, **fields)).receipts[0]

    def decide(self, change: Change, voters: Sequence[Key], within_ms: int = HOUR_MS) -> bytes:
        """Let these vote, one block each; returns the proposal's id."""
        expires_ms = self.time_ms + within_ms
        for voter in voters:
            receipt = self.cast(voter, change, expires_ms)
            assert receipt.code == 0, receipt
        return change.id(expires_ms)

    def together(self, *changes: Change, voters: Sequence[Key]) -> ExecutionResult:
        """Let these vote for all changes in one block."""
        expires_ms, sequence = self.time_ms + HOUR_MS, self.sequence(ALICE)
        raws = []
        for change in changes:
            for voter in voters:
                raws.append(self.ballot(voter, change, expires_ms, sequence=sequence))
                sequence += 1
        return self.block(*raws)


def kinds(result: ExecutionResult) -> list[str]:
    return [event.kind for event in result.events]


def event(result: ExecutionResult, kind: str) -> Event:
    found = [one for one in result.events if one.kind == kind]
    assert len(found) == 1, kinds(result)
    return found[0]


def grant(role: str, to: Key = BOB) -> RawAction:
    return RawAction("roles.grant", [role, to.account])


def revoke(role: str, of: Key = BOB, reason: str = "") -> RawAction:
    return RawAction("roles.revoke", [role, of.account, reason])


def permit(action: str, role: str | None) -> RawAction:
    return RawAction("roles.setPermission", [action, role])
