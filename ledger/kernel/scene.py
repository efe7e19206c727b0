"""One transaction, or piece of due work, being performed: who, and what came of it so far."""

from __future__ import annotations

from typing import NamedTuple

from clawpurse.ledger.blocks import TRACE_MAX, Event
from clawpurse.ledger.kernel.records import due_id, module_account
from clawpurse.ledger.kernel.witness import SessionMeter
from clawpurse.ledger.module_api import VerdictKind
from clawpurse.ledger.params import Params
from clawpurse.ledger.transactions import Transaction


class BlockEnv(NamedTuple):
    """What a block gives to execution: height, time (ms UTC), parameters in force."""

    height: int
    time_ms: int
    params: Params


class Scene:
    """One transaction (or piece of due work) being performed: who, what came of it so far.

    `id` makes ids of holds and due work unique; `depositor` pays for accounts that it opens;
    `single` tells whether it is one action, so that a hold may stop it whole. `meter` charges
    what a session key takes; `signed` is the transaction, None in due work. `endorsed` are those
    who approved on the ledger before what is performed now. Events and trace are taken over by
    the transition when it succeeds.
    """

    __slots__ = (
        "_made",
        "asking",
        "depositor",
        "endorsed",
        "events",
        "held",
        "id",
        "memo",
        "meter",
        "moved",
        "performing",
        "sender",
        "signed",
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
        signed: Transaction | None = None,
        meter: SessionMeter | None = None,
    ) -> None:
        self.id = scene_id
        self.sender = sender
        self.depositor = depositor
        self.memo = memo
        self.transaction = transaction
        self.single = single
        self.signed = signed
        self.meter = meter
        self.asking = self.held = self.moved = self.performing = False
        self.endorsed: tuple[bytes, ...] = ()
        self.events: list[Event] = []
        self.trace: list[tuple[str, int, int]] = []
        self._made = 0

    def next_id(self) -> bytes:
        """Return a fresh 32-byte id, the same on every node."""
        self._made += 1
        return due_id(self.id, self._made)

    def note(self, rule: str, version: int, kind: VerdictKind) -> None:
        """Keep a rule's verdict for the receipt; of too many, the first ones and the last."""
        if len(self.trace) == TRACE_MAX:
            self.trace.pop()
        self.trace.append((rule, version, int(kind)))

    def charge(self, account: bytes, asset: str, amount: int, recipient: bytes | None) -> None:
        """Charge a session key for what leaves the account that it signs for."""
        if self.meter is not None and account == self.meter.account:
            self.meter.charge(asset, amount, recipient)


def genesis_scene(module: str) -> Scene:
    """Return the scene in which a module writes its part of genesis."""
    own = module_account(module)
    return Scene(own, own, own, b"", None, single=False)
