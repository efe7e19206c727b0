"""What a module's handler gets: `module_api.Context`, performed on the books.

The one transfer path is here: amount, accounts, deposit, every module's hook, then the books.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clawpurse.ledger.blocks import Event
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import (
    FEE_ACCOUNT,
    Due,
    Hold,
    due_hash,
    due_key,
    module_account,
)
from clawpurse.ledger.module_api import (
    KERNEL,
    Movement,
    Registry,
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

    `id` makes ids of holds and due work unique; `single` tells whether a hold may stop it
    whole. Events and trace are taken over by the transition when it succeeds.
    """

    __slots__ = ("_made", "events", "id", "memo", "sender", "single", "trace", "transaction")

    def __init__(
        self, scene_id: bytes, sender: bytes, memo: bytes, transaction: int | None, single: bool
    ) -> None:
        self.id = scene_id
        self.sender = sender
        self.memo = memo
        self.transaction = transaction
        self.single = single
        self.events: list[Event] = []
        self.trace: list[tuple[str, int, int]] = []
        self._made = 0

    def next_id(self) -> bytes:
        """Return a fresh 32-byte id, the same on every node."""
        self._made += 1
        return due_hash(self.id + self._made.to_bytes(4, "big"))


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
        return self._registry.query(self._books.overlay, name, *args)

    def refuse(self, rule: str, *facts: Wire) -> Refused:
        """Return a rule's error."""
        return refuse(rule, *facts, table=self._registry.rules)

    def transfer(self, asset: str, source: bytes, target: bytes, amount: int) -> None:
        """Move value: the one path. A hook may refuse it, or hold it whole."""
        if amount < 1:
            raise refuse("kernel.amount")
        self._books.supply(asset)
        if self._books.account(target) is None:
            self.open_account(target)
        for module, hook in self._registry.transfer_hooks:
            movement = Movement(asset, source, target, amount, self._module)
            verdict = hook(self._inside(module), movement)
            if verdict.rule:
                self._scene.trace.append((verdict.rule, verdict.version, int(verdict.kind)))
            if verdict.kind is VerdictKind.DENY:
                raise refuse(
                    verdict.rule or "kernel.policy", *verdict.facts, table=self._registry.rules
                )
            if verdict.kind is VerdictKind.HOLD:
                self._hold(movement, verdict)
                return
        self._books.move(asset, source, target, amount)
        self.emit("assets.transferred", (source, target), asset, amount)

    def _inside(self, module: str) -> KernelContext:
        return KernelContext(self._books, self._registry, self._env, self._scene, module)

    def _hold(self, movement: Movement, verdict: Verdict) -> None:
        """Hold a whole transaction; half-held ones do not exist (they are refused instead)."""
        if not self._scene.single:
            raise refuse("kernel.hold")
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
        self._schedule(KERNEL, verdict.expires_ms, source, ["hold", hold_id])
        self.emit("kernel.held", (source, target), asset, amount, hold_id, verdict.rule)

    def mint(self, asset: str, target: bytes, amount: int) -> None:
        """Create value."""
        if amount < 1:
            raise refuse("kernel.amount")
        if self._books.account(target) is None:
            self.open_account(target)
        self._books.mint(asset, target, amount)
        self.emit("assets.minted", (target,), asset, amount)

    def burn(self, asset: str, source: bytes, amount: int) -> None:
        """Destroy value."""
        if amount < 1:
            raise refuse("kernel.amount")
        self._books.burn(asset, source, amount)
        self.emit("assets.burned", (source,), asset, amount)

    def create_asset(self, asset: str) -> None:
        """Let an asset have supply."""
        self._books.create_asset(asset)

    def open_account(self, account: bytes) -> None:
        """Open an account; the sender pays the opening deposit to the fee account."""
        self._books.open_account(account, account)
        deposit = self._env.params.opening_deposit
        if deposit and self._env.height:
            if self._books.account(FEE_ACCOUNT) is None:
                self._books.open_account(FEE_ACCOUNT, None)
            self._books.move(NATIVE_ASSET, self._scene.sender, FEE_ACCOUNT, deposit)
        self.emit("accounts.opened", (account, self._scene.sender), deposit)

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

    def schedule(self, time_ms: int, creator: bytes, payload: Sequence[Wire]) -> bytes:
        """Run the module's `on_due` at the first block at or after `time_ms`."""
        return self._schedule(self._module, time_ms, creator, payload)

    def _schedule(
        self, module: str, time_ms: int, creator: bytes, payload: Sequence[Wire]
    ) -> bytes:
        record = self._books.account(creator)
        if record is None:
            raise refuse("kernel.sender", creator)
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
    return Scene(bytes(32), module_account(module), b"", None, single=False)
