"""The one path on which value moves, for a module within a scene.

Amount, asset, accounts, deposit, the session key's caps, every module's hook, then the books.
Deposits and fees are outside what hooks judge, so that no policy blocks its own repair. Value
that is set apart stays its source's until it is paid out, so that freezes and clawbacks reach
it by its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.blocks import Event
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, Balance, Due, Hold, due_key
from clawpurse.ledger.kernel.scene import BlockEnv, Scene
from clawpurse.ledger.kernel.witness import SESSION_SHARE
from clawpurse.ledger.module_api import (
    ALLOW,
    KERNEL,
    OFFICER_ROLE,
    RELEASE,
    HoldEnd,
    Movement,
    Registry,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.ledger.rules import refuse

# How long officers have for a payout that was refused when it came due, before it goes back.
SUSPENDED_MS: Final = 30 * DAY_MS


class ValuePath:
    """What `module_api.Context` says of value, performed on the books."""

    __slots__ = ("_books", "_env", "_module", "_registry", "_scene")

    def __init__(
        self, books: Books, registry: Registry, env: BlockEnv, scene: Scene, module: str
    ) -> None:
        self._books = books
        self._registry = registry
        self._env = env
        self._scene = scene
        self._module = module

    def _inside(self, module: str) -> Any:
        """Return the same scene's context for another module."""
        return type(self)(self._books, self._registry, self._env, self._scene, module)

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
        """Move value: the one path. A hook may refuse it, or hold it whole."""
        scene, books = self._scene, self._books
        self._begin_move(amount)
        self._prepare(asset, target)
        scene.charge(source, asset, amount, target)
        if self._registry.transfer_hooks:
            movement = Movement(asset, source, target, amount, self._module, travel_hash)
            verdict = self._ask(movement)
            if verdict is not None:
                if not (holdable and scene.single) or scene.moved:
                    raise refuse("kernel.hold")
                return self._hold(movement, verdict)
        scene.moved = True
        books.move(asset, source, target, amount)
        self.emit("assets.transferred", (source, target), asset, amount)
        return None

    def _begin_move(self, amount: int) -> None:
        """Refuse what no movement of value may be; a held transaction has no second one."""
        scene = self._scene
        if scene.asking:
            raise Bug(f"a transfer hook of module {self._module} moves value")
        if amount < 1:
            raise refuse("kernel.amount")
        if scene.held:
            raise refuse("kernel.hold")

    def _prepare(self, asset: str, target: bytes) -> None:
        self._books.require_asset(asset)
        if self._books.account(target) is None:
            self.open_account(target)

    def _ask(self, movement: Movement) -> Verdict | None:
        """Ask every module's hook; the first that holds, if any. A denial by any is raised."""
        scene, first_hold = self._scene, None
        scene.asking = True
        try:
            for module, hook in self._registry.transfer_hooks:
                verdict = hook(self._inside(module), movement)
                if verdict is ALLOW:
                    continue  # As nearly always.
                if verdict.rule:
                    scene.note(verdict.rule, verdict.version, verdict.kind)
                if verdict.kind is VerdictKind.DENY:
                    rule = verdict.rule or "kernel.policy"
                    raise refuse(rule, *verdict.facts, table=self._registry.rules)
                if verdict.kind is VerdictKind.HOLD and first_hold is None:
                    first_hold = verdict
        finally:
            scene.asking = False
        return first_hold

    def _hold(self, movement: Movement, verdict: Verdict) -> bytes:
        """Hold a whole transaction; half-held ones do not exist (they are refused instead)."""
        self._scene.held = True
        hold_id = self._scene.next_id()
        self._open_hold(
            hold_id,
            Hold(
                movement.asset,
                movement.source,
                movement.target,
                movement.amount,
                verdict.rule,
                verdict.version,
                verdict.expires_ms,
                int(verdict.release_at_expiry),
                KERNEL,
                verdict.officers,
                verdict.needed,
                self._scene.sender,
                made_ms=self._env.time_ms,
            ),
        )
        return hold_id

    def _open_hold(self, hold_id: bytes, hold: Hold) -> None:
        """Write a hold of a rule, which ends by itself if nobody decides."""
        due = self._schedule(KERNEL, hold.expires_ms, hold.source, [hold_id])
        self._books.hold(hold_id, hold._replace(due=due))
        parties = (hold.source, hold.target)
        self.emit("kernel.held", parties, hold.asset, hold.amount, hold_id, hold.rule)

    # -- value that is set apart

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
        """Set value apart for a payment to come; returns the hold's id."""
        self._begin_apart(asset, source, target, amount, travel_hash)
        hold_id = self._scene.next_id()
        made_ms = self._env.time_ms
        hold = Hold(asset, source, target, amount, rule, 0, 0, 0, self._module, made_ms=made_ms)
        self._books.hold(hold_id, hold)
        self.emit("kernel.setApart", (source, target), asset, amount, hold_id, rule)
        return hold_id

    def add_apart(self, hold_id: bytes, amount: int) -> None:
        """Set more apart under a hold of this module."""
        hold = self._own_hold(hold_id)
        if amount > codec.U64_MAX - hold.amount:
            raise refuse("kernel.overflow", hold.source, hold.asset)
        self._begin_apart(hold.asset, hold.source, hold.target, amount, None)
        self._books.set_hold(hold_id, hold._replace(amount=hold.amount + amount))
        parties = (hold.source, hold.target)
        self.emit("kernel.setApart", parties, hold.asset, amount, hold_id, hold.rule)

    def _begin_apart(
        self, asset: str, source: bytes, target: bytes, amount: int, travel_hash: bytes | None
    ) -> None:
        self._begin_move(amount)
        self._prepare(asset, target)
        self._scene.charge(source, asset, amount, target)
        movement = Movement(asset, source, target, amount, self._module, travel_hash)
        if self._ask(movement) is not None:
            raise refuse("kernel.hold")
        self._scene.moved = True

    def hold(self, hold_id: bytes) -> Hold | None:
        """Return a hold of any module, None once nothing is left in it."""
        return self._books.find_hold(hold_id)

    def _own_hold(self, hold_id: bytes) -> Hold:
        hold = self._books.find_hold(hold_id)
        if hold is None:
            raise refuse("kernel.holdMissing", hold_id)
        if hold.module != self._module:
            raise Bug(f"module {self._module} decides on a hold of {hold.module}")
        return hold

    def pay_apart(self, hold_id: bytes, amount: int) -> None:
        """Pay to its target what a hold of this module set apart."""
        self._begin_move(amount)
        own = self._own_hold(hold_id)
        # Whoever set it apart: what a session key lets out of an account is charged to it.
        self._scene.charge(own.source, own.asset, amount, own.target)
        hold = self._books.take(hold_id, amount)
        self._release(hold, amount)
        self._scene.moved = True
        self._tell_hold(HoldEnd(hold_id, hold, amount, paid=True))

    def _release(self, hold: Hold, amount: int) -> None:
        """Move on what a hold gave back. A hook may refuse it; none may hold it again."""
        asset, source, target = hold[:3]
        self._ask(Movement(asset, source, target, amount, RELEASE))
        self._books.move(asset, source, target, amount)
        self.emit("assets.transferred", (source, target), asset, amount)

    def give_back(self, hold_id: bytes, amount: int) -> None:
        """Give back to its source what a hold of this module set apart; asks nobody."""
        self._begin_move(amount)
        self._own_hold(hold_id)
        hold = self._books.take(hold_id, amount)
        self._scene.moved = True
        parties = (hold.source, hold.target)
        self.emit("kernel.givenBack", parties, hold.asset, amount, hold_id, hold.rule)
        self._tell_hold(HoldEnd(hold_id, hold, amount, paid=False))

    def suspend(self, hold_id: bytes, refusal: Refused) -> None:
        """Let officers decide on a payout that was refused: the hold becomes one of a rule."""
        hold, expires_ms = self._own_hold(hold_id), self._env.time_ms + SUSPENDED_MS
        due = self._schedule(KERNEL, expires_ms, hold.source, [hold_id], counted=False)
        changed = hold._replace(
            rule=refusal.rule,
            expires_ms=expires_ms,
            module=KERNEL,
            officers=OFFICER_ROLE,
            needed=1,
            initiator=hold.source,
            due=due,
        )
        self._books.set_hold(hold_id, changed)
        parties = (hold.source, hold.target)
        self.emit("kernel.held", parties, hold.asset, hold.amount, hold_id, refusal.rule)

    def settle(self, hold_id: bytes, *, release: bool) -> None:
        """End a hold that a rule made: pay it out, or give it back."""
        hold = self._books.find_hold(hold_id)
        if hold is None:
            raise refuse("kernel.holdMissing", hold_id)
        if hold.module != KERNEL:
            raise Bug(f"a hold of {hold.module} is settled as a rule's")
        self._begin_move(hold.amount)
        self._books.take(hold_id, hold.amount)
        self._cancel(hold.expires_ms, hold.due)
        if release:
            self._release(hold, hold.amount)
        self._scene.moved = True
        self._end_hold(hold_id, hold, release, "")

    def expire(self, hold_id: bytes) -> None:
        """Carry out or give back a hold of a rule that nobody ended before its time."""
        hold = self._books.find_hold(hold_id)
        if hold is None:
            return  # A clawback took all of it.
        self._books.take(hold_id, hold.amount)
        refusal = None
        if hold.release_at_expiry:
            # Refused, the value goes back to its source: kept in the hold, nobody could reach it.
            refusal = self.attempt(lambda: self._release(hold, hold.amount))
        released = bool(hold.release_at_expiry) and refusal is None
        self._end_hold(hold_id, hold, released, "" if refusal is None else refusal.rule)

    def _end_hold(self, hold_id: bytes, hold: Hold, released: bool, rule: str) -> None:
        parties, done = (hold.source, hold.target), int(released)
        self.emit("kernel.holdEnded", parties, hold.asset, hold.amount, hold_id, done, rule)
        self._tell_hold(HoldEnd(hold_id, hold, hold.amount, paid=released))

    def _tell_hold(self, end: HoldEnd) -> None:
        for module, hook in self._registry.hold_hooks:
            hook(self._inside(module), end)

    def seize(
        self, asset: str, source: bytes, target: bytes, amount: int, hold_id: bytes | None = None
    ) -> None:
        """Move value against its holder's will, from a balance or out of a hold."""
        self._begin_move(amount)
        self._prepare(asset, target)
        hold = None
        if hold_id is not None:
            hold = self._books.find_hold(hold_id)
            if hold is None or (hold.asset, hold.source) != (asset, source):
                raise refuse("kernel.holdMissing", hold_id)
            self._books.take(hold_id, amount)
            if hold.amount == amount and hold.due:
                self._cancel(hold.expires_ms, hold.due)
        self._scene.moved = True
        self._books.move(asset, source, target, amount)
        self.emit("kernel.seized", (source, target), asset, amount, hold_id)
        if hold is not None and hold_id is not None:
            self._tell_hold(HoldEnd(hold_id, hold, amount, paid=False))

    # -- supply

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
        self._scene.charge(source, asset, amount, None)
        self._scene.moved = True
        self._books.burn(asset, source, amount)
        self.emit("assets.burned", (source,), asset, amount)

    def create_asset(self, asset: str) -> None:
        """Let an asset have supply."""
        self._books.create_asset(asset)

    def holding(self, asset: str, account: bytes) -> Balance:
        """Return what an account has of an asset."""
        return self._books.balance(asset, account)

    def set_holding_flags(self, asset: str, account: bytes, flags: int) -> None:
        """Replace the flags of an account's balance."""
        self._books.set_holding_flags(asset, account, flags)

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
            scene.charge(scene.depositor, NATIVE_ASSET, deposit, None)
            self._books.move(NATIVE_ASSET, scene.depositor, FEE_ACCOUNT, deposit)
        self.emit("accounts.opened", (account, scene.depositor), deposit)

    # -- what the path needs of the scene

    def attempt(self, deed: Callable[[], None]) -> Refused | None:
        """Do what may be refused: all of it, or nothing."""
        scene, mark = self._scene, self._books.overlay.mark()
        before = len(scene.events), scene.held, scene.moved
        taken = None if scene.meter is None else scene.meter.mark()
        try:
            deed()
        except Refused as err:
            self._books.overlay.rollback(mark)
            count, scene.held, scene.moved = before
            del scene.events[count:]
            if scene.meter is not None and taken is not None:
                scene.meter.rollback(taken)
            return err
        return None

    def schedule(self, time_ms: int, creator: bytes, payload: Sequence[Wire]) -> bytes:
        """Run the module's `on_due` at the first block at or after `time_ms`."""
        return self._schedule(self._module, time_ms, creator, payload)

    def _schedule(
        self,
        module: str,
        time_ms: int,
        creator: bytes,
        payload: Sequence[Wire],
        *,
        counted: bool = True,
    ) -> bytes:
        record = self._books.account(creator)
        if record is None:
            raise refuse("kernel.sender", creator)
        if not 0 <= time_ms <= codec.U64_MAX:
            raise refuse("kernel.dueTime")
        limit = self._env.params.due_per_creator_max // (SESSION_SHARE if self._scene.meter else 1)
        if counted and record.due_count >= limit:
            raise refuse("kernel.dueFull", creator, record.due_count)
        self._books.set_account(creator, record._replace(due_count=record.due_count + 1))
        entry_id = self._scene.next_id()
        due = Due(module, creator, list(payload))
        self._books.overlay.put(KERNEL, due_key(time_ms, entry_id), due.pack())
        return entry_id

    def cancel_due(self, time_ms: int, due_id: bytes) -> None:
        """Take back what the module scheduled."""
        self._cancel(time_ms, due_id)

    def _cancel(self, time_ms: int, due_id: bytes) -> None:
        key = due_key(time_ms, due_id)
        data = self._books.overlay.get(KERNEL, key)
        if data is None:
            raise Bug("due work is cancelled that is not in the queue")
        creator = Due.unpack(data).creator
        record = self._books.account(creator)
        if record is None:
            raise Bug("due work has a creator that is not an account")
        self._books.overlay.put(KERNEL, key, None)
        self._books.set_account(creator, record._replace(due_count=record.due_count - 1))

    def new_id(self) -> bytes:
        """Return a fresh 32-byte id."""
        return self._scene.next_id()

    def emit(self, kind: str, accounts: Sequence[bytes], *data: Wire) -> None:
        """Add an event to the scene."""
        self._scene.events.append(Event(self._scene.transaction, kind, tuple(accounts), data))
