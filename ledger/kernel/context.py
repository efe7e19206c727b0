"""What a module's handler gets: `module_api.Context`, performed on the books.

The one transfer path is here: amount, asset, accounts, deposit, every module's hook, then the
books. Deposits and fees are outside what hooks judge, so that no policy blocks its own repair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.blocks import TRACE_MAX, Event
from clawpurse.ledger.codec import U64_MAX, Wire
from clawpurse.ledger.errors import Bug, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    FEE_ACCOUNT,
    PARAMS_KEY,
    PERMISSIONS_KEY,
    PERMISSIONS_MAX,
    Due,
    Hold,
    Membership,
    Role,
    due_id,
    due_key,
    module_account,
    pack_permissions,
    role_key,
)
from clawpurse.ledger.module_api import (
    KERNEL,
    RELEASE,
    Movement,
    Registry,
    RoleChange,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.rules import refuse


class BlockEnv(NamedTuple):
    """What a block gives to execution: height, time (ms UTC), parameters in force."""

    height: int
    time_ms: int
    params: Params


class Scene:
    """One transaction (or piece of due work) being performed: who, what came of it so far.

    `id` makes ids of holds and due work unique; `depositor` pays for accounts that it opens;
    `single` tells whether it is one action, so that a hold may stop it whole. Events and trace
    are taken over by the transition when it succeeds.
    """

    __slots__ = (
        "_made",
        "asking",
        "depositor",
        "events",
        "held",
        "id",
        "memo",
        "moved",
        "sender",
        "single",
        "trace",
        "transaction",
    )

    def __init__(
        self,
        scene_id: bytes,
        sender: bytes,
        depositor: bytes,
        memo: bytes,
        transaction: int | None,
        single: bool,
    ) -> None:
        self.id = scene_id
        self.sender = sender
        self.depositor = depositor
        self.memo = memo
        self.transaction = transaction
        self.single = single
        self.asking = self.held = self.moved = False
        self.events: list[Event] = []
        self.trace: list[tuple[str, int, int]] = []
        self._made = 0

    def next_id(self) -> bytes:
        """Return a fresh 32-byte id, the same on every node."""
        self._made += 1
        return due_id(self.id, self._made)

    def note(self, verdict: Verdict) -> None:
        """Keep a rule's verdict for the receipt; of too many, the first ones and the last."""
        if len(self.trace) == TRACE_MAX:
            self.trace.pop()
        self.trace.append((verdict.rule, verdict.version, int(verdict.kind)))


class KernelContext:
    """`module_api.Context` for one module within one scene."""

    __slots__ = ("_books", "_env", "_module", "_registry", "_scene")

    def __init__(
        self, books: Books, registry: Registry, env: BlockEnv, scene: Scene, module: str
    ) -> None:
        self._books = books
        self._registry = registry
        self._env = env
        self._scene = scene
        self._module = module

    @property
    def height(self) -> int:
        """The block's height."""
        return self._env.height

    @property
    def time_ms(self) -> int:
        """The block's time."""
        return self._env.time_ms

    @property
    def params(self) -> Params:
        """The parameters in force."""
        return self._env.params

    @property
    def sender(self) -> bytes:
        """Who sent the transaction."""
        return self._scene.sender

    @property
    def memo(self) -> bytes:
        """The transaction's memo."""
        return self._scene.memo

    def get(self, key: bytes) -> bytes | None:
        """Read from the module's own tree."""
        return self._books.overlay.get(self._module, key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write to the module's own tree."""
        if not value:
            raise Bug(f"module {self._module} writes an empty value")
        self._books.overlay.put(self._module, key, value)

    def delete(self, key: bytes) -> None:
        """Remove from the module's own tree."""
        self._books.overlay.put(self._module, key, None)

    def query(self, name: str, *args: object) -> Any:
        """Ask another module about state as of this point."""
        return self._registry.query(self._books, name, *args)

    def refuse(self, rule: str, *facts: Wire) -> Refused:
        """Return a rule's error."""
        return refuse(rule, *facts, table=self._registry.rules)

    def transfer(
        self, asset: str, source: bytes, target: bytes, amount: int, *, holdable: bool = False
    ) -> None:
        """Move value: the one path. A hook may refuse it, or hold it whole."""
        scene, books = self._scene, self._books
        self._begin_move(amount)
        books.require_asset(asset)
        if books.account(target) is None:
            self.open_account(target)
        if self._registry.transfer_hooks:
            movement = Movement(asset, source, target, amount, self._module)
            verdict = self._ask(movement)
            if verdict is not None:
                if not (holdable and scene.single) or scene.moved:
                    raise refuse("kernel.hold")
                self._hold(movement, verdict)
                return
        scene.moved = True
        books.move(asset, source, target, amount)
        self.emit("assets.transferred", (source, target), asset, amount)

    def release(self, hold: Hold) -> None:
        """Move on what a hold gave back. A hook may refuse it; none may hold it again."""
        self._begin_move(hold.amount)
        asset, source, target, amount = hold[:4]
        self._ask(Movement(asset, source, target, amount, RELEASE))
        self._books.move(asset, source, target, amount)
        self.emit("assets.transferred", (source, target), asset, amount)

    def _begin_move(self, amount: int) -> None:
        """Refuse what no movement of value may be; a held transaction has no second one."""
        scene = self._scene
        if scene.asking:
            raise Bug(f"a transfer hook of module {self._module} moves value")
        if amount < 1:
            raise refuse("kernel.amount")
        if scene.held:
            raise refuse("kernel.hold")

    def _ask(self, movement: Movement) -> Verdict | None:
        """Ask every module's hook; the first that holds, if any. A denial by any is raised."""
        scene, first_hold = self._scene, None
        for module, hook in self._registry.transfer_hooks:
            inside = KernelContext(self._books, self._registry, self._env, scene, module)
            scene.asking = True
            try:
                verdict = hook(inside, movement)
            finally:
                scene.asking = False
            if verdict.rule:
                scene.note(verdict)
            if verdict.kind is VerdictKind.DENY:
                rule = verdict.rule or "kernel.policy"
                raise refuse(rule, *verdict.facts, table=self._registry.rules)
            if verdict.kind is VerdictKind.HOLD and first_hold is None:
                first_hold = verdict
        return first_hold

    def _hold(self, movement: Movement, verdict: Verdict) -> None:
        """Hold a whole transaction; half-held ones do not exist (they are refused instead)."""
        self._scene.held = True
        hold_id = self._scene.next_id()
        asset, source, target, amount, _ = movement
        self._books.hold(
            hold_id,
            Hold(
                asset,
                source,
                target,
                amount,
                verdict.rule,
                verdict.version,
                verdict.expires_ms,
                int(verdict.release_at_expiry),
            ),
        )
        self._schedule(KERNEL, verdict.expires_ms, source, [hold_id])
        self.emit("kernel.held", (source, target), asset, amount, hold_id, verdict.rule)

    def mint(self, asset: str, target: bytes, amount: int) -> None:
        """Create value."""
        self._begin_move(amount)
        if self._books.account(target) is None:
            self.open_account(target)
        self._scene.moved = True
        self._books.mint(asset, target, amount)
        self.emit("assets.minted", (target,), asset, amount)

    def burn(self, asset: str, source: bytes, amount: int) -> None:
        """Destroy value."""
        self._begin_move(amount)
        self._scene.moved = True
        self._books.burn(asset, source, amount)
        self.emit("assets.burned", (source,), asset, amount)

    def create_asset(self, asset: str) -> None:
        """Let an asset have supply."""
        self._books.create_asset(asset)

    def open_account(self, account: bytes) -> None:
        """Open an account; who wants it pays the opening deposit to the fee account."""
        scene = self._scene
        if scene.asking:
            raise Bug(f"a transfer hook of module {self._module} opens an account")
        key = None if account in self._registry.module_accounts else account
        self._books.open_account(account, key)
        # Genesis names its accounts and asks no deposit of them.
        deposit = self._env.params.opening_deposit if self._env.height else 0
        if deposit:
            self._books.move(NATIVE_ASSET, scene.depositor, FEE_ACCOUNT, deposit)
        self.emit("accounts.opened", (account, scene.depositor), deposit)

    def key_of(self, account: bytes) -> bytes | None:
        """Return the key that may sign for an account."""
        record = self._books.account(account)
        if record is None:
            raise refuse("kernel.sender", account)
        return record.key

    def set_key(self, account: bytes, key: bytes) -> None:
        """Replace the key that may sign for an account."""
        record = self._books.account(account)
        if record is None:
            raise refuse("kernel.sender", account)
        self._books.set_account(account, record._replace(key=key))

    @property
    def authorities(self) -> AuthoritySet:
        """The authorities of this block's height."""
        return self._books.sitting.at(self._env.height)

    @property
    def next_authorities(self) -> AuthoritySet:
        """The authorities of the next height."""
        return self._books.membership.at(self._env.height + 1)

    def change_authorities(self, authorities: AuthoritySet) -> None:
        """Let a set be in force from two heights on."""
        membership, height = self._books.membership, self._env.height + 2
        if membership.change_height >= height:
            raise refuse("kernel.oneChange", membership.change_height)
        changed = Membership(membership.at(height - 1), height, authorities)
        self._books.overlay.put(KERNEL, AUTHORITIES_KEY, changed.pack())

    @property
    def authorities_change(self) -> bool:
        """Whether this block has changed the authorities already."""
        return self._books.membership.change_height >= self._env.height + 2

    @property
    def next_params(self) -> Params:
        """The parameters of the next height."""
        data = self._books.overlay.get(KERNEL, PARAMS_KEY)
        if data is None:
            raise Bug("this state does not say what its parameters are")
        return Params.unpack(data)

    def change_params(self, params: Params) -> None:
        """Let parameters be in force from the next height on."""
        self._books.overlay.put(KERNEL, PARAMS_KEY, params.pack())

    def has_role(self, account: bytes, role: str) -> bool:
        """Tell whether an account holds a role."""
        return self._books.role(account, role) is not None

    def grant_role(self, account: bytes, role: str, by: bytes) -> None:
        """Give an account a role."""
        self._tell_role(RoleChange(account, role, True, by, ""))
        record = Role(self._env.height, by)
        self._books.overlay.put(KERNEL, role_key(account, role), record.pack())

    def revoke_role(self, account: bytes, role: str, by: bytes, reason: str) -> None:
        """Take a role from an account."""
        self._tell_role(RoleChange(account, role, False, by, reason))
        self._books.overlay.put(KERNEL, role_key(account, role), None)

    def _tell_role(self, change: RoleChange) -> None:
        for module, hook in self._registry.role_hooks:
            hook(KernelContext(self._books, self._registry, self._env, self._scene, module), change)

    def set_permission(self, action: str, role: str | None) -> None:
        """Let only holders of a role perform an action."""
        if action not in self._registry.actions:
            raise refuse("kernel.action", action)
        permissions = dict(self._books.permissions)
        permissions.pop(action, None)
        if role is not None:
            permissions[action] = role
        if len(permissions) > PERMISSIONS_MAX:
            raise refuse("kernel.permissionsFull", PERMISSIONS_MAX)
        record = pack_permissions(permissions) if permissions else None
        self._books.overlay.put(KERNEL, PERMISSIONS_KEY, record)

    def attempt(self, deed: Callable[[], None]) -> Refused | None:
        """Do what may be refused: all of it, or nothing."""
        scene, mark = self._scene, self._books.overlay.mark()
        before = len(scene.events), scene.held, scene.moved
        try:
            deed()
        except Refused as err:
            self._books.overlay.rollback(mark)
            count, scene.held, scene.moved = before
            del scene.events[count:]
            return err
        return None

    def schedule(self, time_ms: int, creator: bytes, payload: Sequence[Wire]) -> bytes:
        """Run the module's `on_due` at the first block at or after `time_ms`."""
        return self._schedule(self._module, time_ms, creator, payload)

    def _schedule(
        self, module: str, time_ms: int, creator: bytes, payload: Sequence[Wire]
    ) -> bytes:
        record = self._books.account(creator)
        if record is None:
            raise refuse("kernel.sender", creator)
        if not 0 <= time_ms <= U64_MAX:
            raise refuse("kernel.dueTime")
        if record.due_count >= self._env.params.due_per_creator_max:
            raise refuse("kernel.dueFull", creator, record.due_count)
        self._books.set_account(creator, record._replace(due_count=record.due_count + 1))
        entry_id = self._scene.next_id()
        due = Due(module, creator, list(payload))
        self._books.overlay.put(KERNEL, due_key(time_ms, entry_id), due.pack())
        return entry_id

    def emit(self, kind: str, accounts: Sequence[bytes], *data: Wire) -> None:
        """Add an event to the scene."""
        self._scene.events.append(Event(self._scene.transaction, kind, tuple(accounts), data))


def genesis_scene(module: str) -> Scene:
    """Return the scene in which a module writes its part of genesis."""
    own = module_account(module)
    return Scene(own, own, own, b"", None, single=False)
