"""The transition function: committed state and a block's transactions → changes and receipts.

One transaction at a time, so that a host can yield between them. Bytes and signatures are
checked before (`prepare`, and a verifier); everything that depends on state is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.errors import BadSignature, Bug, Malformed, Refused
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.books import Audit, Books
from clawpurse.ledger.kernel.context import KernelContext
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    DUE_PREFIX,
    EXPIRY_PREFIX,
    FEE_ACCOUNT,
    NETWORK_KEY,
    PARAMS_KEY,
    RECORD_VERSION,
    Account,
    Due,
    IdempotencyRecord,
    Membership,
    Network,
    expiring_record,
    expiry_key,
    idempotency_key,
    module_account,
    queue_time_ms,
)
from clawpurse.ledger.kernel.scene import BlockEnv, Scene, genesis_scene
from clawpurse.ledger.kernel.witness import (
    SESSION_SHARE,
    Entitled,
    SessionMeter,
    judge_witness,
)
from clawpurse.ledger.module_api import KERNEL, ActionType, Registry
from clawpurse.ledger.overlay import EmptyState, Overlay, StateKey, StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transactions import Role, Transaction, decode_transaction

# Static cost, in units of about one µs on the slowest supported machine (R17): a signature,
# the fixed work of any transaction, and every 16 bytes of it.
COST_SIGNATURE: Final = 60
COST_BASE: Final = 40
COST_BYTES_SHIFT: Final = 4
# Idempotency records forgotten in a block, for each transaction that a block may hold: more
# than one, so that records expire faster than they are made, whatever the load.
EXPIRIES_PER_TRANSACTION: Final = 2
# Records encoded and audited between two places where `finish_in_steps` lets the host go on.
FINISH_SLICE: Final = 64
# Plain numbers: looking a member up in an enumeration costs as much as the comparison.
_SENDER: Final = int(Role.SENDER)
_APPROVER: Final = int(Role.APPROVER)
_EXPIRY_RECORD: Final = codec.pack([RECORD_VERSION])


class Prepared(NamedTuple):
    """A decoded transaction whose actions are parsed and whose static cost is known."""

    transaction: Transaction
    actions: tuple[tuple[ActionType, tuple[Any, ...]], ...]
    cost: int


class ExecutionResult(NamedTuple):
    """What a block did: changed records, receipts in order, events in order, cost used."""

    changes: dict[StateKey, bytes | None]
    receipts: tuple[Receipt, ...]
    events: tuple[Event, ...]
    cost_used: int


def prepare(raw: bytes, registry: Registry) -> Prepared:
    """Decode a signed transaction and parse its actions; needs no state.

    Raises `Malformed`, `BadSignature` (entries out of order) or `Refused` (unknown action).
    """
    transaction = decode_transaction(raw)
    actions = tuple([registry.read_action(action) for action in transaction.body.actions])
    cost = COST_BASE + (len(raw) >> COST_BYTES_SHIFT) + COST_SIGNATURE * len(transaction.witness)
    for action, values in actions:
        cost += action.cost_with(values)
    _check_witness(transaction, actions)
    return Prepared(transaction, actions, cost)


def _check_witness(
    transaction: Transaction, actions: tuple[tuple[ActionType, tuple[Any, ...]], ...]
) -> None:
    """Check that each required signature is there and none is superfluous, but for keys.

    Which keys may sign for an account is state, and whether a payer said before that it would
    pay; so that is judged in `authorise`.
    """
    body = transaction.body
    if body.payer == body.sender:
        raise Malformed("body.payer", "is the sender; leave it out")
    required: list[tuple[bytes, bytes]] = []
    for action, values in actions:
        if action.approvers is not None:
            required.extend(action.approvers(values, body))
    found: list[tuple[bytes, bytes]] = []
    sender_signs = False
    for entry in transaction.witness:
        role = entry.role
        if role == _APPROVER:
            found.append((entry.account, entry.public_key))
        elif entry.account != (body.sender if role == _SENDER else body.payer):
            raise BadSignature("a witness entry signs for an account that has no part in it")
        elif role == _SENDER:
            sender_signs = True
    if not sender_signs:
        raise BadSignature("the sender's signature is missing")
    if (found or required) and found != sorted(set(required)):
        raise BadSignature("the approvers' signatures are not exactly those that it needs")


class Execution:
    """Applies a block's transactions over committed state. Not reusable after an error but
    `Refused` from `apply`, which leaves it as it was.
    """

    def __init__(self, reader: StateReader, registry: Registry, env: BlockEnv) -> None:
        self._books = Books(Overlay(reader))
        self._registry = registry
        self._env = env
        self._receipts: list[Receipt] = []
        self._events: list[Event] = []
        self._cost = 0

    @property
    def cost_used(self) -> int:
        """The static cost of what was applied so far."""
        return self._cost

    @property
    def count(self) -> int:
        """How many transactions were applied so far."""
        return len(self._receipts)

    def begin(self, evidence: Sequence[DoubleSign] = ()) -> int:
        """Record the block's evidence, perform the work that is due at its time, capped.

        Returns how many pieces; once, before the first transaction. The evidence was verified
        before. Raises `Refused` when the ledger has it already.
        """
        return sum(1 for _ in self.begin_in_steps(evidence))

    def begin_in_steps(self, evidence: Sequence[DoubleSign] = ()) -> Iterator[None]:
        """As `begin`, letting the host go on after each piece of due work."""
        params, overlay = self._env.params, self._books.overlay
        for proof in evidence:
            self._record_evidence(proof)
            overlay.forget_marks()
            yield
        for key, data in self._due(DUE_PREFIX, params.due_per_block_max):
            if overlay.get(KERNEL, key) is None:
                continue  # What was performed before it in this block cancelled it.
            overlay.put(KERNEL, key, None)
            self._perform_due(key, Due.unpack(data))
            overlay.forget_marks()
            yield
        cap = EXPIRIES_PER_TRANSACTION * params.block_transactions_max
        for key, _ in self._due(EXPIRY_PREFIX, cap):
            overlay.put(KERNEL, key, None)
            self._forget_idempotency(*expiring_record(key))
            overlay.forget_marks()
            yield

    def _record_evidence(self, proof: DoubleSign) -> None:
        for module, hook in self._registry.evidence_hooks:
            own = module_account(module)
            scene = Scene(message_hash_of(proof.pack()), own, own, b"", None, single=False)
            hook(self._context(scene, module), proof)
            self._events.extend(scene.events)

    def _due(self, prefix: bytes, cap: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of a queue that are due, at most `cap`, earliest first."""
        reader, now_ms = self._books.overlay, self._env.time_ms
        first = reader.ordered(KERNEL, prefix, 1)
        if not first or queue_time_ms(first[0][0]) > now_ms:
            return []  # As nearly always; so the whole cap is not read for nothing.
        return [
            entry
            for entry in reader.ordered(KERNEL, prefix, cap)
            if queue_time_ms(entry[0]) <= now_ms
        ]

    def _perform_due(self, key: bytes, due: Due) -> None:
        """Perform one piece of due work; what it refuses changes nothing but the queue."""
        books, due_id = self._books, key[9:]
        creator = books.account(due.creator)
        if creator is None:
            raise Bug("due work has a creator that is not an account")
        books.set_account(due.creator, creator._replace(due_count=creator.due_count - 1))
        sender = module_account(due.module)
        scene = Scene(due_id, sender, due.creator, b"", None, single=True)
        mark = books.overlay.mark()
        try:
            if due.module == KERNEL:
                hold_id = codec.digest(due.payload[0], "due.hold")
                self._context(scene, KERNEL).expire(hold_id)
            else:
                module = self._registry.by_name[due.module]
                if module.on_due is None:
                    raise Bug(f"module {due.module} has due work but no handler for it")
                module.on_due(self._context(scene, due.module), due.payload)
        except Refused as err:
            books.overlay.rollback(mark)
            data = (due.module, due_id, int(err.code), err.rule)
            scene.events = [Event(None, "kernel.dueFailed", (due.creator,), data)]
        self._events.extend(scene.events)

    def _forget_idempotency(self, account: bytes, record_key: bytes) -> None:
        books = self._books
        creator = books.account(account)
        if creator is None:
            raise Bug("an idempotency record has no account")
        books.overlay.put(KERNEL, record_key, None)
        count = creator.idempotency_count - 1
        books.set_account(account, creator._replace(idempotency_count=count))

    def _context(self, scene: Scene, module: str) -> KernelContext:
        return KernelContext(self._books, self._registry, self._env, scene, module)

    def apply(self, prepared: Prepared) -> Receipt:
        """Apply one transaction and return its receipt.

        Raises `Refused` when it may not be in this block; nothing has changed then. Its
        signatures must have been verified by the caller.
        """
        limit = self._env.params.block_cost_max
        if self._cost + prepared.cost > limit:
            if prepared.cost > limit:
                raise refuse("kernel.cost", prepared.cost, limit)
            raise refuse("kernel.blockFull", prepared.cost, limit - self._cost)
        entitled = authorise(self._books, prepared, self._env)
        body, books = prepared.transaction.body, self._books
        place, problem = None, None
        if body.idempotency_key is not None:
            place = idempotency_key(body.sender, body.idempotency_key)
            problem = self._key_problem(entitled, body.sender, place)
        keeps_key = place is not None and problem is None
        self._charge(prepared, entitled, keeps_key)
        receipt, events = self._act(prepared, problem, entitled.meter)
        if place is not None and keeps_key:
            record = IdempotencyRecord(receipt.tx_id, self._env.height, receipt.code)
            books.overlay.put(KERNEL, place, record.pack())
            expiry_ms = self._env.time_ms + self._env.params.idempotency_keep_ms
            expiry = expiry_key(min(expiry_ms, codec.U64_MAX), place)
            books.overlay.put(KERNEL, expiry, _EXPIRY_RECORD)
        self._receipts.append(receipt)
        self._events.extend(events)
        self._cost += prepared.cost
        books.overlay.forget_marks()
        return receipt

    def _key_problem(self, entitled: Entitled, account: bytes, place: bytes) -> Refused | None:
        """Return why an idempotency key cannot be used: it was, or the sender has too many."""
        data = self._books.overlay.get(KERNEL, place)
        if data is not None:
            record = IdempotencyRecord.unpack(data)
            return refuse("kernel.duplicateKey", record.tx_id, record.height)
        share = SESSION_SHARE if entitled.meter else 1
        count = entitled.sender.idempotency_count
        if count >= self._env.params.idempotency_per_sender_max // share:
            return refuse("kernel.keysFull", account, count)
        return None

    def _charge(self, prepared: Prepared, entitled: Entitled, keeps_key: bool) -> None:
        """Write fee, sequence, quota and key count: they stay, whatever becomes of the actions."""
        body, books = prepared.transaction.body, self._books
        sender, payer, meter, sponsorship = entitled
        window = self._env.time_ms // self._env.params.quota_window_ms
        used = sender.quota_used if sender.quota_window == window else 0
        own_fee = body.fee if body.payer is None else 0
        charged = Account(
            sender.key,
            sender.balance - own_fee,
            sender.held,
            sender.lanes_with(body.lane, body.sequence + 1),
            window,
            used + prepared.cost,
            sender.idempotency_count + keeps_key,
            sender.due_count,
            sender.flags,
            sender.policy,
        )
        books.set_account(body.sender, charged)
        if sponsorship is not None and body.payer is not None:
            books.entitlements.set_sponsorship(body.payer, body.sender, sponsorship)
        if body.fee:
            if body.payer is None and meter is not None:
                meter.charge(NATIVE_ASSET, body.fee, None)
            if body.payer is not None:
                books.set_account(body.payer, payer.with_balance(payer.balance - body.fee))
            fees = books.account(FEE_ACCOUNT)
            if fees is None or fees.balance + body.fee > codec.U64_MAX:
                raise Bug("there is no fee account, or it holds more than the supply")
            books.set_account(FEE_ACCOUNT, fees.with_balance(fees.balance + body.fee))

    def _act(
        self, prepared: Prepared, problem: Refused | None, meter: SessionMeter | None
    ) -> tuple[Receipt, list[Event]]:
        """Perform the actions, all or nothing; none if a problem is known already."""
        transaction, overlay = prepared.transaction, self._books.overlay
        body, actions = transaction.body, prepared.actions
        sender = body.sender
        scene = Scene(
            transaction.tx_id,
            sender,
            sender,
            body.memo,
            len(self._receipts),
            len(actions) == 1,
            transaction,
            meter,
        )
        code, rule, facts = 0, "", ()
        mark = overlay.mark()
        try:
            if problem is not None:
                raise problem
            for action, values in actions:
                name = action.name
                if name in self._books.permissions:
                    self._require_role(sender, name)
                module, handler = self._registry.handlers[name]
                handler(self._context(scene, module), values)
        except Refused as err:
            overlay.rollback(mark)
            code, rule, facts = int(err.code), err.rule, err.wire_facts
            scene.events = []
        events = scene.events
        receipt = Receipt(
            transaction.tx_id,
            code,
            rule,
            facts,
            body.fee,
            prepared.cost,
            len(self._events),
            len(events),
            tuple(scene.trace),
        )
        return receipt, events

    def _require_role(self, sender: bytes, action: str) -> None:
        role = self._books.permissions[action]
        if self._books.role(sender, role) is None:
            raise refuse("kernel.role", sender, role, action)

    def finish(self) -> ExecutionResult:
        """Return what the block did, after the books were audited. Raises `Bug`."""
        changes: dict[StateKey, bytes | None] = {}
        for _ in self.finish_in_steps(changes):
            pass
        return self.result(changes)

    def finish_in_steps(self, changes: dict[StateKey, bytes | None]) -> Iterator[None]:
        """Fill `changes` and audit them, letting the host go on every `FINISH_SLICE` records.

        To be run to its end, then `result(changes)` is what `finish` returns. Raises `Bug`.
        """
        audit = Audit()
        for number, (place, before, after) in enumerate(self._books.changed_records(), 1):
            changes[place] = after
            audit.add(place, before, after)
            if number % FINISH_SLICE == 0:
                yield
        audit.close()

    def result(self, changes: dict[StateKey, bytes | None]) -> ExecutionResult:
        """Return the block's result with the changes that `finish_in_steps` collected."""
        return ExecutionResult(changes, tuple(self._receipts), tuple(self._events), self._cost)


def authorise(books: Books, prepared: Prepared, env: BlockEnv, ahead_max: int = 0) -> Entitled:
    """Judge whether a transaction may be in a block now; returns who sends and who pays.

    Network, terms, keys, sequence, quota, fee. Raises `Refused`; changes nothing. A mempool lets
    the sequence be ahead by `ahead_max`, for what waits until a gap is filled.
    """
    body = prepared.transaction.body
    params = env.params
    network = books.network
    if body.genesis_hash != network.genesis_hash or body.chain_id != network.chain_id:
        raise refuse("kernel.chain", body.chain_id)
    if body.valid_until_ms < env.time_ms:
        raise refuse("kernel.expired", body.valid_until_ms, env.time_ms)
    if body.height_max is not None and body.height_max < env.height:
        raise refuse("kernel.height", body.height_max, env.height)
    if body.valid_until_ms > env.time_ms + params.valid_for_max_ms:
        raise refuse("kernel.validity", body.valid_until_ms, env.time_ms)
    entitled = judge_witness(books, prepared.transaction, env.time_ms)
    sender, payer = entitled.sender, entitled.payer
    expected = sender.sequence(body.lane)
    if body.sequence < expected:
        raise refuse("kernel.sequenceLow", body.sequence, expected)
    if body.sequence > expected + ahead_max:
        raise refuse("kernel.sequenceGap", body.sequence, expected)
    window = env.time_ms // params.quota_window_ms
    used = sender.quota_used if sender.quota_window == window else 0
    quota = params.quota_cost_max // (SESSION_SHARE if entitled.meter else 1)
    if used + prepared.cost > quota:
        raise refuse("kernel.quota", prepared.cost, max(0, quota - used))
    if body.fee < params.fee_min:
        raise refuse("kernel.fee", body.fee, params.fee_min, NATIVE_ASSET)
    if payer.balance < body.fee:
        raise refuse("kernel.feeFunds", body.fee_account, payer.balance, body.fee, NATIVE_ASSET)
    return entitled


def find_idempotency(reader: StateReader, sender: bytes, key: bytes) -> IdempotencyRecord | None:
    """Return what a sender's idempotency key was used for, while it is kept."""
    data = reader.get(KERNEL, idempotency_key(sender, key))
    return None if data is None else IdempotencyRecord.unpack(data)


def genesis_changes(genesis: Genesis, registry: Registry) -> dict[StateKey, bytes | None]:
    """Return the state of height 0. Raises `Malformed` naming what cannot be in it."""
    declared = tuple((module.name, module.version) for module in registry.modules)
    if genesis.modules != declared:
        raise Malformed("genesis.modules", f"are {genesis.modules}, this software has {declared}")
    books = Books(Overlay(EmptyState()))
    env = BlockEnv(0, genesis.time_ms, genesis.params)
    network = Network(genesis.chain_id, genesis.hash)
    authorities = AuthoritySet(genesis.authorities)
    books.overlay.put(KERNEL, NETWORK_KEY, network.pack())
    books.overlay.put(KERNEL, PARAMS_KEY, genesis.params.pack())
    books.overlay.put(KERNEL, AUTHORITIES_KEY, Membership(authorities, 0, authorities).pack())
    books.open_account(FEE_ACCOUNT, None)
    for module in registry.modules:
        if module.genesis is not None:
            context = KernelContext(books, registry, env, genesis_scene(module.name), module.name)
            try:
                module.genesis(context, genesis)
            except Refused as err:
                raise Malformed(f"genesis, module {module.name}", err.reason) from None
    audit, changes = Audit(), {}
    for place, before, after in books.changed_records():
        changes[place] = after
        audit.add(place, before, after)
    audit.close()
    return changes
