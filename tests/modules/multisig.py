"""A sandbox with a firm: an account of three signers, two of whom are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Module
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.accounts.records import Contents, Head, multisig_id
from clawpurse.modules.roles import chain as roles
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key, Sandbox
from tests.modules.signing import signed_by

SALT = b"\x07" * 32
HOUR_MS = 3_600_000
ACCOUNT = Field("account", FieldType.ACCOUNT, "whom it is about")


def _say(context: Context, values: Sequence[Any]) -> None:
    context.set_subject(values[0], values[1])


def _seal(context: Context, values: Sequence[Any]) -> None:
    context.emit("desk.sealed", (context.sender,))


# Says who stands behind an account, as attestations will; and has an action with an approver.
DESK = Module(
    name="desk",
    version=1,
    actions=(
        ActionType(
            "desk.say",
            (ACCOUNT, Field("subject", FieldType.HASH, "who", optional=True)),
            10,
            lambda values, words: "say",
        ),
        ActionType(
            "desk.seal",
            (ACCOUNT,),
            10,
            lambda values, words: "seal",
            approvers=lambda values, body: ((values[0], values[0]),),
        ),
    ),
    handlers={"desk.say": _say, "desk.seal": _seal},
    events={"desk.sealed": ()},
)


class Account:
    """An account without a key of its own, to stand where a `Key` does."""

    def __init__(self, account: bytes) -> None:
        self.account = account

    def __repr__(self) -> str:
        return f"0x{self.account.hex()[:8]}"


def pairs(members: Sequence[Key | tuple[Key, int]]) -> list[tuple[bytes, int]]:
    listed = [one if isinstance(one, tuple) else (one, 1) for one in members]
    return [(key.account, weight) for key, weight in listed]


def create(threshold: int, *members: Key | tuple[Key, int], salt: bytes = SALT) -> RawAction:
    wire: list[Any] = [list(pair) for pair in pairs(members)]
    return RawAction("accounts.createMultisig", [threshold, wire, salt])


def set_signers(threshold: int, *members: Key | tuple[Key, int]) -> RawAction:
    listed = [one if isinstance(one, tuple) else (one, 1) for one in members]
    wire: list[Any] = [[key.account, key.public, weight] for key, weight in listed]
    return RawAction("accounts.setSigners", [threshold, wire])


def account_id(threshold: int, *members: Key | tuple[Key, int], salt: bytes = SALT) -> bytes:
    return multisig_id(Signers(threshold, tuple(sorted(pairs(members)))), salt)


def say(account: Key, subject: bytes | None) -> RawAction:
    return RawAction("desk.say", [account.account, subject])


class Firm(Sandbox):
    """Alice, Bob and Carol sign for the firm, two of three; Alice is the administrator."""

    def __init__(self, *modules: Module, founded: bool = True, **settings: Any) -> None:
        settings.setdefault("roles", (GenesisRole("admin", ALICE.account),))
        super().__init__(roles.MODULE, DESK, *modules, **settings)
        self.firm = Account(account_id(2, ALICE, BOB, CAROL))
        if founded:
            assert self.pay(ALICE, create(2, ALICE, BOB, CAROL)).receipts[0].code == 0
            for asset, amount in (("CLAW", 10_000), ("EUR", 500)):
                action = RawAction("assets.transfer", [asset, self.firm.account, amount])
                assert self.pay(ALICE, action).receipts[0].code == 0

    # -- reading

    def query(self, name: str, *args: object) -> Any:
        return self.registry.query(self.state, name, *args)

    def signers(self, account: bytes | None = None) -> Signers | None:
        found: Signers | None = self.query("accounts.signers", account or self.firm.account)
        return found

    def proposal(self, proposal_id: bytes) -> tuple[Head, Contents]:
        found = self.query("accounts.proposal", proposal_id)
        assert found is not None
        return found  # type: ignore[no-any-return]

    def open(self, account: bytes | None = None) -> list[bytes]:
        ids: list[bytes] = self.query("accounts.proposals", account or self.firm.account, 1_000)
        return ids

    # -- writing

    def block(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        """As a sandbox does; what modules say always holds is checked after each block."""
        result = super().block(*raws, after_ms=after_ms)
        for module in self.registry.modules:
            for invariant in module.invariants:
                assert invariant(self.state) is None
        return result

    def signed(
        self,
        *keys: Key,
        actions: Sequence[RawAction] = (),
        account: Any = None,
        approvers: Sequence[tuple[Key, bytes]] = (),
        payers: Sequence[Key] = (),
        **fields: Any,
    ) -> bytes:
        """A transaction of the firm (or another account), signed by these keys."""
        sender: Any = account or self.firm
        body = self.body(sender, *actions, **fields)
        return signed_by(body, senders=keys, payers=payers, approvers=approvers)

    def replace(
        self, keys: Sequence[Key], threshold: int, *members: Key | tuple[Key, int], of: Any = None
    ) -> Receipt:
        """Signers are replaced, of the firm or another account; new ones sign that too."""
        new = [one[0] if isinstance(one, tuple) else one for one in members]
        raw = self.signed(
            *keys,
            actions=[set_signers(threshold, *members)],
            account=of,
            approvers=[(key, key.account) for key in new],
        )
        return self.block(raw).receipts[0]

    def do(self, by: Key, verb: str, *fields: Any, **terms: Any) -> Receipt:
        """A block with one action of the module accounts."""
        return self.pay(by, RawAction(f"accounts.{verb}", list(fields)), **terms).receipts[0]

    def propose(self, by: Key, *actions: RawAction, within_ms: int = HOUR_MS) -> bytes:
        """A proposal for the firm; returns its id."""
        wire: list[Any] = [[action.name, action.fields] for action in actions]
        fields: list[Any] = [self.firm.account, self.time_ms + within_ms, wire, b""]
        result = self.pay(by, RawAction("accounts.propose", fields))
        assert result.receipts[0].code == 0, result.receipts[0]
        made = [event for event in result.events if event.kind == "accounts.proposed"]
        assert len(made) == 1 and isinstance(made[0].data[0], bytes)
        return made[0].data[0]
