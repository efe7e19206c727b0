"""What a module is: declared actions, handlers, hooks, queries. The kernel does the rest.

A module reads any committed state through queries, writes only its own tree, and moves value
only through the kernel, which asks the hooks of all modules in registry order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Malformed, Refused
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.entitlements import Entitlements, Signers
from clawpurse.ledger.kernel.records import TREE, Balance, Hold, module_account
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import Params, asset_name
from clawpurse.ledger.rules import KERNEL_RULES, Rule, refuse
from clawpurse.ledger.transactions import (
    ACTION_NAME_CHARS_MAX,
    ACTIONS_MAX,
    Body,
    RawAction,
    read_raw_action,
)

KERNEL: Final = TREE
# A movement's purpose when value that was set apart is paid out; otherwise the module that moves.
RELEASE: Final = "release"
# Who decides on what a rule held, unless the rule names another role.
OFFICER_ROLE: Final = "compliance"
# The kernel's own kinds of event and their data; a hold's `released` is 1, or 0 with the rule
# that refused the release, if one did.
KERNEL_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "kernel.held": ("asset", "amount", "holdId", "rule"),
    "kernel.holdEnded": ("asset", "amount", "holdId", "released", "rule"),
    "kernel.dueFailed": ("module", "dueId", "code", "rule"),
    "kernel.setApart": ("asset", "amount", "holdId", "rule"),
    "kernel.givenBack": ("asset", "amount", "holdId", "rule"),
    "kernel.seized": ("asset", "amount", "holdId"),
}


class FieldType(IntEnum):
    """How a field is encoded, checked, and shown in JSON."""

    ACCOUNT = 1
    ASSET = 2
    AMOUNT = 3
    INTEGER = 4
    TEXT = 5
    BYTES = 6
    KEY = 7
    TIME = 8
    # A 32-byte hash or id that is no key.
    HASH = 9
    # 1–32 of a–z, 0–9, dot, hyphen.
    NAME = 10
    # An array of records, each an array of `items`; with one item, of plain values.
    LIST = 11
    # Actions within an action: [[name, [fields…]]…].
    ACTIONS = 12


class Field(NamedTuple):
    """One field of an action. `name` is its JSON name.

    `size_max` bounds text and bytes (bytes), lists and actions (items), `size_min` likewise;
    `low` and `high` bound amounts, integers and times. `items` are the fields of each record of
    a list.
    """

    name: str
    type: FieldType
    meaning: str
    size_max: int = 32
    optional: bool = False
    size_min: int = 0
    low: int = 0
    high: int = codec.U64_MAX
    items: tuple[Field, ...] = ()


def read_field(spec: Field, value: Wire, where: str) -> Any:
    """Return a field's value, exactly typed. Raises `Malformed` naming `where`.`spec.name`."""
    name = f"{where}.{spec.name}"
    if value is None and spec.optional:
        return None
    match spec.type:
        case FieldType.ACCOUNT | FieldType.KEY | FieldType.HASH:
            return codec.digest(value, name)
        case FieldType.ASSET:
            return asset_name(value, name)
        case FieldType.NAME:
            return plain_name(value, name)
        case FieldType.AMOUNT | FieldType.INTEGER | FieldType.TIME:
            return codec.integer(value, name, spec.low, spec.high)
        case FieldType.TEXT:
            return codec.ascii_text(value, name, spec.size_max, spec.size_min)
        case FieldType.BYTES:
            return codec.binary(value, name, spec.size_max, spec.size_min)
        case FieldType.LIST:
            return tuple(
                [_read_item(spec, item, f"{name}[]") for item in _items(spec, value, name)]
            )
        case FieldType.ACTIONS:
            bounded = spec._replace(size_max=min(spec.size_max, ACTIONS_MAX))
            return tuple([read_raw_action(item, name) for item in _items(bounded, value, name)])


def _items(spec: Field, value: Wire, name: str) -> list[Wire]:
    found = codec.items(value, name, spec.size_max)
    if len(found) < spec.size_min:
        raise Malformed(name, f"has {len(found)} items, at least {spec.size_min} are required")
    return found


def _read_item(spec: Field, value: Wire, name: str) -> Any:
    """Return one item of a list: a plain value, or a tuple of the record's fields."""
    if len(spec.items) == 1:
        return read_field(spec.items[0], value, name)
    wire = codec.array(value, name, len(spec.items))
    return tuple(
        [read_field(part, item, name) for part, item in zip(spec.items, wire, strict=True)]
    )


@dataclass(frozen=True, slots=True)
class ActionType:
    """An action that transactions may carry.

    `name` is `module.verb`; `fields` are in wire order; `cost` is its static cost without bytes
    and signatures (R17: about one unit a microsecond on the slowest supported machine).
    `words` says what it does, given its parsed fields by name and functions that show accounts
    and amounts; `approvers` names (account, public key) pairs whose signature it needs beside
    the sender's, in ascending order. `cost_of` adds to the cost what depends on the fields (the
    legs of a batch). `session` tells whether a session key may be allowed to do it: only where
    all that it can ever take from the account is debited, and so capped, at once.
    """

    name: str
    fields: tuple[Field, ...]
    cost: int
    words: Callable[[Mapping[str, Any], Words], str]
    approvers: Callable[[Sequence[Any], Body], tuple[tuple[bytes, bytes], ...]] | None = None
    parse: Callable[[Sequence[Wire], str], tuple[Any, ...]] | None = None
    cost_of: Callable[[Sequence[Any]], int] | None = None
    session: bool = False

    def cost_with(self, values: Sequence[Any]) -> int:
        """Return the static cost of this action with these parsed fields."""
        return self.cost if self.cost_of is None else self.cost + self.cost_of(values)

    def read(self, wire: Sequence[Wire]) -> tuple[Any, ...]:
        """Return the fields of an action, exactly typed, in wire order. Raises `Malformed`."""
        if self.parse is not None:
            return self.parse(wire, self.name)
        if len(wire) != len(self.fields):
            raise Malformed(self.name, f"has {len(wire)} fields, {len(self.fields)} are required")
        pairs = zip(self.fields, wire, strict=True)
        return tuple([read_field(spec, value, self.name) for spec, value in pairs])

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return parsed fields by name."""
        return {spec.name: value for spec, value in zip(self.fields, values, strict=True)}


class Words(NamedTuple):
    """How a sentence shows things: the caller knows contacts, decimals and languages."""

    account: Callable[[bytes], str]
    amount: Callable[[str, int], str]


class VerdictKind(IntEnum):
    """What a hook says of a transfer."""

    ALLOW = 0
    HOLD = 1
    DENY = 2


class Verdict(NamedTuple):
    """A hook's answer: which rule in which version said what.

    A HOLD names until when (ms of block time) and whether it then releases or returns, and how
    many holders (`needed`) of which role decide before that.
    """

    kind: VerdictKind
    rule: str = ""
    version: int = 0
    facts: tuple[Wire, ...] = ()
    expires_ms: int = 0
    release_at_expiry: bool = False
    officers: str = OFFICER_ROLE
    needed: int = 1


ALLOW: Final = Verdict(VerdictKind.ALLOW)


class RoleChange(NamedTuple):
    """That an account comes to hold a role (`held`), or no longer does; by whom, and why."""

    account: bytes
    role: str
    held: bool
    by: bytes
    reason: str


class Movement(NamedTuple):
    """A transfer that hooks are asked about. Amount in minor units.

    `purpose` is the module whose handler moves it or sets it apart for `target`, or `RELEASE`:
    then it was set apart before, and a hook's HOLD counts as ALLOW. `travel_hash` is the hash of
    what the payer's institution told the payee's, if the payment names one.
    """

    asset: str
    source: bytes
    target: bytes
    amount: int
    purpose: str
    travel_hash: bytes | None = None


class HoldEnd(NamedTuple):
    """That value which was set apart is so no longer: `amount` of it was paid out, or given back.

    `hold` is the record before; what a clawback took counts as given back.
    """

    hold_id: bytes
    hold: Hold
    amount: int
    paid: bool


class Context(Protocol):
    """What a handler may do: read anything committed, write its own tree, ask the kernel.

    All of it is undone when the transaction fails. Anything refused is raised as `Refused`.
    """

    @property
    def height(self) -> int:
        """The height of the block that is being executed."""

    @property
    def time_ms(self) -> int:
        """The block's time, the only clock of the ledger: ms UTC."""

    @property
    def params(self) -> Params:
        """The parameters in force."""

    @property
    def genesis_hash(self) -> bytes:
        """The hash of this network's genesis: what is signed off the ledger names it."""

    @property
    def sender(self) -> bytes:
        """Who sent the transaction; the module's own account in due work and genesis.

        Who wants due work (its creator) pays for accounts that it opens, as a sender does.
        """

    @property
    def memo(self) -> bytes:
        """The transaction's memo."""

    def get(self, key: bytes) -> bytes | None:
        """Read from the module's own tree."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write to the module's own tree; an empty value is a `Bug`."""

    def delete(self, key: bytes) -> None:
        """Remove from the module's own tree."""

    def query(self, name: str, *args: object) -> Any:
        """Ask another module (`module.noun`) about state as of this point."""

    def answers(self, name: str) -> bool:
        """Tell whether this chain has a module that answers a query of that name."""

    def refuse(self, rule: str, *facts: Wire) -> Refused:
        """Return the error of one of the module's (or the kernel's) rules, to be raised."""

    @property
    def approvals(self) -> tuple[bytes, ...]:
        """Accounts for which, beside the sender, a key signed as approver that may sign for them.

        Each once, ascending; two of them can be one subject's (`subject_of`). Within `act_for`
        those too who approved before, on the ledger.
        """

    def transfer(
        self,
        asset: str,
        source: bytes,
        target: bytes,
        amount: int,
        *,
        holdable: bool = False,
        travel_hash: bytes | None = None,
    ) -> bytes | None:
        """Move value, asking every module's hook first; opens `target` if it is new.

        Returns None when it was moved, the hold's id when a rule holds it.

        `holdable` says that this payment is all that the action does: a hook may then hold it
        (it returns as if done, and is completed or undone later). Without it, or beside other
        movements, a hold is a denial, since nothing is ever half held.
        """

    def set_apart(
        self,
        asset: str,
        source: bytes,
        target: bytes,
        amount: int,
        *,
        rule: str,
        travel_hash: bytes | None = None,
    ) -> bytes:
        """Set value apart for a payment to come (escrow, channel); returns the hold's id.

        It stays the source's, which cannot spend it; the module that made the hold pays it out
        or gives it back. Hooks are asked as for a transfer to `target`; `rule` says in the
        record what it is for. The hold record is the only place that knows how much is left: a
        clawback may have made it smaller. Opens `target` if it is new.
        """

    def add_apart(self, hold_id: bytes, amount: int) -> None:
        """Set more apart under a hold of this module, as `set_apart` does."""

    def hold(self, hold_id: bytes) -> Hold | None:
        """Return a hold of any module, None once nothing is left in it."""

    def pay_apart(self, hold_id: bytes, amount: int) -> None:
        """Pay to its target what a hold of this module set apart; hooks see `RELEASE`.

        What is paid out entirely is gone. Refused when less is left, or by a hook.
        """

    def give_back(self, hold_id: bytes, amount: int) -> None:
        """Give back to its source what a hold of this module set apart; asks nobody."""

    def suspend(self, hold_id: bytes, refusal: Refused) -> None:
        """Let officers decide on a payout that was refused: the hold becomes one of a rule.

        For due work, where nobody is there to be told: a payout to a frozen party becomes a
        hold, given back when nobody decides in time.
        """

    def settle(self, hold_id: bytes, *, release: bool) -> None:
        """End a hold that a rule made: pay it out (freezes are checked again), or give it back."""

    def seize(
        self, asset: str, source: bytes, target: bytes, amount: int, hold_id: bytes | None = None
    ) -> None:
        """Move value against its holder's will, from a balance or out of a hold; asks nobody.

        For clawback alone; who calls it has checked the right to.
        """

    def perform(self, account: bytes, actions: Sequence[RawAction]) -> None:
        """Perform actions as if `account` had sent them; not within one another.

        For proposals that enough signers approved. Whoever sends the transaction has to pay for
        their static cost (`actions_cost`).
        """

    def act_for(self, account: bytes, approvals: Sequence[bytes], deed: Callable[[], None]) -> None:
        """Do `deed` in the name of an account that wanted it, and of those who approved since.

        Hooks see the account as sender, whoever sends the transaction, and `approvals` beside
        its own approvers; the account pays for accounts that are opened. The module answers for
        all of them: it has their word on the ledger.
        """

    def action_type(self, name: str) -> ActionType:
        """Return an action of this chain; refused if there is none of that name."""

    def actions_cost(self, actions: Sequence[RawAction]) -> int:
        """Return the static cost of actions within an action.

        Refused unless all are readable and need no signatures of their own.
        """

    def note(self, rule: str, version: int, kind: VerdictKind) -> None:
        """Add a rule's verdict to the receipt's trace, beside the one that a hook returns."""

    def subject_of(self, account: bytes) -> bytes:
        """Return who stands behind an account: its attested subject, else the account itself.

        Who counts people counts these: two accounts, or keys, of one subject are one.
        """

    def set_subject(self, account: bytes, subject: bytes | None) -> None:
        """Say who stands behind an account: a commitment of 32 bytes; None: nobody says."""

    def account_flags(self, account: bytes) -> int:
        """Return the flags of an account's record, 0 for none (`ACCOUNT_FLAGS` in records)."""

    def set_account_flags(self, account: bytes, flags: int) -> None:
        """Replace the flags of an account."""

    def holding(self, asset: str, account: bytes) -> Balance:
        """Return what an account has of an asset, what is held of it, and the holder's flags."""

    def set_holding_flags(self, asset: str, account: bytes, flags: int) -> None:
        """Replace the flags of an account's balance; not of the native asset, which has none."""

    @property
    def entitlements(self) -> Entitlements:
        """Who may sign for accounts beside their key: signers, session keys, sponsorships."""

    def set_signers(self, account: bytes, signers: Signers | None) -> None:
        """Let signers sign for an account in place of its key, or (None) its key again."""

    def mint(self, asset: str, target: bytes, amount: int) -> None:
        """Create value: supply rises with it."""

    def burn(self, asset: str, source: bytes, amount: int) -> None:
        """Destroy value: supply falls with it."""

    def create_asset(self, asset: str) -> None:
        """Let an asset have supply; refused if it has already."""

    def open_account(self, account: bytes) -> None:
        """Open an account, charging the opening deposit to who wants it."""

    def key_of(self, account: bytes) -> bytes | None:
        """Return the key that may sign for an account (None: no key may)."""

    def set_key(self, account: bytes, key: bytes | None) -> None:
        """Replace the key that may sign for an account; None: no key may."""

    @property
    def authorities(self) -> AuthoritySet:
        """The authorities of this block's height: who may vote on the network's affairs."""

    @property
    def next_authorities(self) -> AuthoritySet:
        """The authorities of the next height: what a change is made of."""

    def change_authorities(self, authorities: AuthoritySet) -> None:
        """Let a set be in force from two heights on (R29); refused if one changes then already."""

    @property
    def authorities_change(self) -> bool:
        """Whether this block has changed the authorities already: one change a height."""

    @property
    def next_params(self) -> Params:
        """The parameters of the next height: what a change is made of."""

    def change_params(self, params: Params) -> None:
        """Let parameters be in force from the next height on."""

    def has_role(self, account: bytes, role: str) -> bool:
        """Tell whether an account holds a role."""

    def grant_role(self, account: bytes, role: str, by: bytes) -> None:
        """Give an account a role, in the name of `by`; it holds it from now on.

        Every module's `on_role` is told first and may refuse it.
        """

    def revoke_role(self, account: bytes, role: str, by: bytes, reason: str) -> None:
        """Take a role from an account, as `grant_role` gives it."""

    def set_permission(self, action: str, role: str | None) -> None:
        """Let only holders of a role perform an action of this chain; None lets everybody."""

    def attempt(self, deed: Callable[[], None]) -> Refused | None:
        """Do what may be refused: all of it, or nothing; returns what refused it."""

    def ordered(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` (key, value) of the module's own tree by key.

        `prefix` begins with `INDEX_PREFIX`: keys that begin so are listed in order.
        """

    def schedule(self, time_ms: int, creator: bytes, payload: Sequence[Wire]) -> bytes:
        """Run the module's `on_due` at the first block at or after `time_ms`; returns its id.

        Counts against `creator`, who must be an account, until it ran or was cancelled.
        """

    def new_id(self) -> bytes:
        """Return a 32-byte id that nothing else has: made of the transaction's and a number."""

    def cancel_due(self, time_ms: int, due_id: bytes) -> None:
        """Take back what the module scheduled; `time_ms` as it was given. A `Bug` if it ran."""

    def emit(self, kind: str, accounts: Sequence[bytes], *data: Wire) -> None:
        """Add an event; `accounts` are those in whose history it appears."""


Handler = Callable[[Context, Sequence[Any]], None]
TransferHook = Callable[[Context, Movement], Verdict]
DueHandler = Callable[[Context, Sequence[Wire]], None]
EvidenceHandler = Callable[[Context, DoubleSign], None]
RoleHandler = Callable[[Context, RoleChange], None]
HoldHandler = Callable[[Context, HoldEnd], None]
Query = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Module:
    """An on-chain module, declared once in its `chain.py`.

    `version` is its state's version, part of genesis. `rules` are its refusals, `events` its
    kinds of event with the names of their data fields. `genesis` writes its first state;
    `on_evidence` records a double sign before the block's transactions; what it refuses makes
    the block invalid. `on_role` is told of every role that is given or taken, and may refuse
    it; `on_hold_end` of all value that is no longer set apart, whoever set it apart.
    `invariants` return a problem's description for full checks (`db check`),
    never during blocks.
    """

    name: str
    version: int
    actions: tuple[ActionType, ...]
    handlers: Mapping[str, Handler]
    on_transfer: TransferHook | None = None
    on_due: DueHandler | None = None
    on_evidence: EvidenceHandler | None = None
    on_role: RoleHandler | None = None
    on_hold_end: HoldHandler | None = None
    queries: Mapping[str, Query] = field(default_factory=dict)
    invariants: tuple[Callable[[StateReader], str | None], ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    events: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    genesis: Callable[[Context, Genesis], None] | None = None


class Registry:
    """The on-chain modules of a network, in consensus order. Immutable once built."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules: Final = tuple(modules)
        self.by_name: Final = {module.name: module for module in self.modules}
        self.actions: Final = {a.name: a for module in self.modules for a in module.actions}
        self.handlers: Final = {
            name: (module.name, handler)
            for module in self.modules
            for name, handler in module.handlers.items()
        }
        self.transfer_hooks: Final = tuple(
            (module.name, module.on_transfer)
            for module in self.modules
            if module.on_transfer is not None
        )
        self.evidence_hooks: Final = tuple(
            (module.name, module.on_evidence)
            for module in self.modules
            if module.on_evidence is not None
        )
        self.role_hooks: Final = tuple(
            (module.name, module.on_role) for module in self.modules if module.on_role is not None
        )
        self.hold_hooks: Final = tuple(
            (module.name, module.on_hold_end)
            for module in self.modules
            if module.on_hold_end is not None
        )
        rules, events = dict(KERNEL_RULES), dict(KERNEL_EVENTS)
        for module in self.modules:
            rules.update(module.rules)
            events.update(module.events)
        self.rules: Final[Mapping[str, Rule]] = rules
        self.events: Final[Mapping[str, tuple[str, ...]]] = events
        self.module_accounts: Final = frozenset(module_account(name) for name in self.by_name)
        if len(self.by_name) != len(self.modules) or KERNEL in self.by_name:
            raise Bug("two on-chain modules have one name")
        if set(self.actions) != set(self.handlers):
            raise Bug("an action has no handler, or a handler no action")
        for module in self.modules:
            _check_names(module)

    @property
    def trees(self) -> tuple[tuple[str, int], ...]:
        """(name, version) of each state tree, the kernel's first: the order of the state root."""
        return ((KERNEL, 1), *((module.name, module.version) for module in self.modules))

    def read_action(self, action: RawAction) -> tuple[ActionType, tuple[Any, ...]]:
        """Parse one action. Raises `Malformed`, or `Refused` for a name this chain lacks."""
        found = self.actions.get(action.name)
        if found is None:
            raise refuse("kernel.action", action.name)
        return found, found.read(action.fields)

    def answers(self, name: str) -> bool:
        """Tell whether a module of this chain answers a query (`module.noun`)."""
        module, _, noun = name.partition(".")
        return module in self.by_name and noun in self.by_name[module].queries

    def query(self, reader: StateReader, name: str, *args: object) -> Any:
        """Answer a module's query (`module.noun`). Raises `Bug` if there is no such query."""
        module, _, noun = name.partition(".")
        found = self.by_name.get(module)
        if found is None or noun not in found.queries:
            raise Bug(f"there is no query {name}")
        return found.queries[noun](reader, *args)


def _check_names(module: Module) -> None:
    """Refuse names that receipts and bodies could not carry, or that are another module's."""
    names = [action.name for action in module.actions]
    if len(set(names)) != len(names):
        raise Bug(f"module {module.name} declares an action twice")
    for name in (*names, *module.rules, *module.events):
        if not name.startswith(f"{module.name}.") or len(name) > ACTION_NAME_CHARS_MAX:
            raise Bug(f"module {module.name} declares {name}, which is not a name of its own")
