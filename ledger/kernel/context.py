"""What a module's handler gets: `module_api.Context`, performed on the books.

How value moves is in `value.py`; here is what else a handler may ask and do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Malformed, Refused
from clawpurse.ledger.kernel.entitlements import Entitlements, Signers
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    PARAMS_KEY,
    PERMISSIONS_KEY,
    PERMISSIONS_MAX,
    RECORD_VERSION,
    Membership,
    Role,
    pack_permissions,
    role_key,
    subject_key,
)
from clawpurse.ledger.kernel.value import ValuePath
from clawpurse.ledger.kernel.witness import subject_of
from clawpurse.ledger.module_api import KERNEL, ActionType, RoleChange, VerdictKind
from clawpurse.ledger.params import Params
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transactions import Role as SignerRole

_APPROVER: Final = int(SignerRole.APPROVER)


class KernelContext(ValuePath):
    """`module_api.Context` for one module within one scene."""

    __slots__ = ()

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
    def genesis_hash(self) -> bytes:
        """The hash of this network's genesis."""
        return self._books.network.genesis_hash

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

    def answers(self, name: str) -> bool:
        """Tell whether a module of this chain answers a query."""
        return self._registry.answers(name)

    def refuse(self, rule: str, *facts: Wire) -> Refused:
        """Return a rule's error."""
        return refuse(rule, *facts, table=self._registry.rules)

    def ordered(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first entries of the module's own index."""
        return self._books.ordered(self._module, prefix, limit)

    def note(self, rule: str, version: int, kind: VerdictKind) -> None:
        """Add a rule's verdict to the receipt's trace."""
        self._scene.note(rule, version, kind)

    # -- who signed, and who may

    @property
    def approvals(self) -> tuple[bytes, ...]:
        """Accounts for which an entitled key signed as approver."""
        signed, sender = self._scene.signed, self._scene.sender
        if signed is None:
            return ()
        found: dict[bytes, None] = {one: None for one in self._scene.endorsed if one != sender}
        for role, account, public_key, _ in signed.witness:
            if role == _APPROVER and account != sender:
                record = self._books.account(account)
                if record is not None and record.key == public_key:
                    found[account] = None
        return tuple(sorted(found)) if self._scene.endorsed else tuple(found)

    def subject_of(self, account: bytes) -> bytes:
        """Return who stands behind an account."""
        return subject_of(self._books, account)

    def set_subject(self, account: bytes, subject: bytes | None) -> None:
        """Say who stands behind an account."""
        record = None if subject is None else codec.pack([RECORD_VERSION, subject])
        self._books.overlay.put(KERNEL, subject_key(account), record)

    def account_flags(self, account: bytes) -> int:
        """Return the flags of an account's record."""
        record = self._books.account(account)
        return 0 if record is None else record.flags

    def set_account_flags(self, account: bytes, flags: int) -> None:
        """Replace the flags of an account."""
        record = self._books.account(account)
        if record is None:
            raise refuse("kernel.sender", account)
        self._books.set_account(account, record._replace(flags=flags))

    @property
    def entitlements(self) -> Entitlements:
        """Who may sign for accounts beside their key."""
        return self._books.entitlements

    def set_signers(self, account: bytes, signers: Signers | None) -> None:
        """Let signers sign for an account in place of its key, or its key again."""
        record = self._books.account(account)
        if record is None:
            raise refuse("kernel.sender", account)
        policy = None if signers is None else signers.hash
        self._books.entitlements.put_signers(account, signers)
        self._books.set_account(account, record._replace(policy=policy))

    def key_of(self, account: bytes) -> bytes | None:
        """Return the key that may sign for an account."""
        record = self._books.account(account)
        if record is None:
            raise refuse("kernel.sender", account)
        return record.key

    def set_key(self, account: bytes, key: bytes | None) -> None:
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

    # -- actions within actions

    def perform(self, account: bytes, actions: Sequence[RawAction]) -> None:
        """Perform actions as if `account` had sent them."""
        scene, books = self._scene, self._books
        if scene.performing:
            raise refuse("kernel.nested", "one performs others already")
        before = scene.sender, scene.depositor, scene.single
        scene.sender = scene.depositor = account
        scene.performing = True
        scene.single = scene.single and len(actions) == 1
        try:
            for raw in actions:
                action, values = self._read(raw)
                role = books.permissions.get(raw.name)
                if role is not None and books.role(account, role) is None:
                    raise refuse("kernel.role", account, role, raw.name)
                if action.approvers is not None and self._needs_signers(action, values, account):
                    raise refuse("kernel.nestedSigners", raw.name)
                module, handler = self._registry.handlers[raw.name]
                handler(self._inside(module), values)
        finally:
            scene.sender, scene.depositor, scene.single = before
            scene.performing = False

    def act_for(self, account: bytes, approvals: Sequence[bytes], deed: Callable[[], None]) -> None:
        """Do what an account wanted and others approved since."""
        scene = self._scene
        before = scene.sender, scene.depositor, scene.meter, scene.endorsed
        scene.sender = scene.depositor = account
        scene.meter, scene.endorsed = None, tuple(approvals)
        try:
            deed()
        finally:
            scene.sender, scene.depositor, scene.meter, scene.endorsed = before

    def _needs_signers(self, action: Any, values: Sequence[Any], account: bytes) -> bool:
        signed = self._scene.signed
        if signed is None:
            raise Bug("due work performs actions of others")
        return bool(action.approvers(values, signed.body._replace(sender=account)))

    def _read(self, raw: RawAction) -> tuple[Any, tuple[Any, ...]]:
        try:
            return self._registry.read_action(raw)
        except Malformed as err:
            raise refuse("kernel.nested", err.field) from None

    def action_type(self, name: str) -> ActionType:
        """Return an action of this chain."""
        found = self._registry.actions.get(name)
        if found is None:
            raise refuse("kernel.action", name)
        return found

    def actions_cost(self, actions: Sequence[RawAction]) -> int:
        """Return the static cost of actions within an action."""
        cost = 0
        for raw in actions:
            action, values = self._read(raw)
            # Who proposes it hears now what `perform` would say when all have approved.
            if action.approvers is not None and self._needs_signers(action, values, self.sender):
                raise refuse("kernel.nestedSigners", raw.name)
            cost += action.cost_with(values)
        return cost
