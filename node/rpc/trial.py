"""A transaction judged before it is sent, by the very execution that blocks go through.

tx_simulate and compliance_check stand on it, so that what they say is what consensus would do.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.kernel.witness import keys_up_to
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.transactions import Body, Role, WitnessEntry, encode_transaction
from clawpurse.ledger.transition import Execution, Prepared, prepare
from clawpurse.node.rpc.services import Services

# Scheduled work that a trial performs before what it is about: some microseconds a piece; what
# waits beyond it changes the answer rarely.
DUE_BEFORE_MAX: Final = 64


class Outcome(NamedTuple):
    """What would become of a transaction: its receipt and its events."""

    receipt: Receipt
    events: tuple[Event, ...]


def next_block(services: Services) -> BlockEnv:
    """Return height, time and parameters of the block that would come next."""
    chain = services.chain
    now_ms = max(services.clock.now_ms(), chain.tip.time_ms + 1)
    return BlockEnv(chain.height + 1, now_ms, chain.params)


def begin_trial(services: Services, env: BlockEnv) -> Execution:
    """Return an execution over the newest state, what is due before it performed.

    Nothing may wait between this and `conclude`: the state must not move meanwhile.
    """
    execution = Execution(services.chain.reader, services.chain.registry, env)
    for _ in islice(execution.begin_in_steps(), DUE_BEFORE_MAX):
        pass
    return execution


def conclude(execution: Execution, prepared: Prepared) -> Outcome:
    """Apply what the trial is about. Raises `Refused` when no block may hold it."""
    receipt = execution.apply(prepared)
    result = execution.finish()
    last = receipt.first_event + receipt.event_count
    return Outcome(receipt, result.events[receipt.first_event : last])


def state_when_due(services: Services, env: BlockEnv) -> StateReader:
    """Return the state that the first transaction of the next block would meet."""
    overlay = Overlay(services.chain.reader)
    for (tree, key), value in begin_trial(services, env).finish().changes.items():
        overlay.put(tree, key, value)
    return overlay


def as_if_signed(
    reader: StateReader,
    registry: Registry,
    body: Body,
    *,
    session: bytes | None = None,
    sponsored: bool = False,
) -> Prepared:
    """Prepare an unsigned body as if all had signed whose signature it needs.

    `session` is the key that would sign for its sender; `sponsored` says that its payer would
    not, having promised before.
    """
    entries = _entries(reader, Role.SENDER, body.sender, session)
    if body.payer is not None and not sponsored:
        entries += _entries(reader, Role.PAYER, body.payer)
    approvals: list[tuple[bytes, bytes]] = []
    for raw in body.actions:
        action, values = registry.read_action(raw)
        if action.approvers is not None:
            approvals.extend(action.approvers(values, body))
    entries.extend(
        WitnessEntry(Role.APPROVER, account, key, bytes(SIGNATURE_BYTES))
        for account, key in sorted(set(approvals))
    )
    return prepare(encode_transaction(body.pack(), entries), registry)


def _entries(
    reader: StateReader, role: Role, account: bytes, session: bytes | None = None
) -> list[WitnessEntry]:
    """Return entries by a session key, else by the account's key or enough of its signers."""
    books = Books(Overlay(reader))
    record, signers = books.account(account), books.entitlements.signers(account)
    if session is not None:
        keys = [session]
    elif signers is not None:
        keys = keys_up_to(books, signers)
    else:
        keys = [account if record is None or record.key is None else record.key]
    return [WitnessEntry(role, account, key, bytes(SIGNATURE_BYTES)) for key in sorted(keys)]
