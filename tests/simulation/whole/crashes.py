"""Every place at which a node of the simulation can be told to die.

The names follow the rules: R22 1 to 5 for each output, the arrows of R23 for each commit; then
the journal's promise, and a restart that is interrupted in turn. `wire` looks into a node that
is built and not running yet, and says to its medium what each durable step is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clawpurse.consensus.inputs import Input, Signed
from clawpurse.consensus.wal_records import _DECIDED, _SIGNED
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.node.bodies import Body
from tests.simulation.whole.media import Medium

if TYPE_CHECKING:
    from tests.node.rpc.nodeworld import Running

INPUTS, WATERMARK, OWN_MESSAGE = "R22.1 inputs", "R22.2 watermark", "R22.3 own message"
OWN_VOTE, SEND = "R22.4 own vote", "R22.5 send"
DECISION, BATCH = "R23.1 decision", "R23.2 batch"
NEW_LOG, OLD_LOG, ANNOUNCE = "R23.3 new log", "R23.3 old log", "R23.4 announce"
GENESIS, FIRST_LOG = "start: genesis", "start: first log"
REPLAY, RESUME, TORN_TAIL = "start: replay", "start: finish a decision", "start: torn tail"
JOURNAL, JOURNAL_FILE = "journal append", "start: journal"

DURABLE = ("before", "torn", "after")
#: Steps whose place in the rules shows by the file alone.
NAMES = {
    "signer slot": WATERMARK,
    "log remove": OLD_LOG,
    "store write": GENESIS,
    "journal create": JOURNAL_FILE,
}
#: How a process can die at each place.
HOWS: dict[str, tuple[str, ...]] = {
    INPUTS: DURABLE,
    WATERMARK: DURABLE,
    OWN_MESSAGE: DURABLE,
    OWN_VOTE: ("before", "after"),
    SEND: ("before", "torn", "after"),
    DECISION: DURABLE,
    BATCH: DURABLE,
    NEW_LOG: DURABLE,
    OLD_LOG: DURABLE,
    ANNOUNCE: ("before", "after"),
    GENESIS: DURABLE,
    FIRST_LOG: DURABLE,
    REPLAY: ("before",),
    RESUME: ("before", "after"),
    TORN_TAIL: DURABLE,
    JOURNAL: DURABLE,
    JOURNAL_FILE: DURABLE,
}
#: All of them, as the coverage names them.
CRASH_POINTS = tuple(f"{point}: {how}" for point, hows in HOWS.items() for how in hows)
#: Those that a node passes while it runs; the others belong to its start.
LIVE = tuple(point for point in HOWS if not point.startswith("start"))
AT_START = tuple(point for point in HOWS if point.startswith("start"))
#: What an interrupted start can be interrupted in again, by how the process ended before.
LEFT_TO_DO = {
    f"{INPUTS}: torn": TORN_TAIL,
    f"{OWN_MESSAGE}: torn": TORN_TAIL,
    f"{DECISION}: torn": TORN_TAIL,
    f"{DECISION}: after": RESUME,
    f"{BATCH}: before": RESUME,
    f"{BATCH}: torn": RESUME,
}


def wire(
    running: Running, medium: Medium, dies_sending: Callable[[], None], is_authority: bool
) -> None:
    """Look into a node that is built, from its medium.

    `dies_sending` is called when the node is to die with some of what it sent on its way.
    """
    node = running.node
    engine, host, wal = node.engine, node.host, node.engine._wal
    purpose = medium.purpose

    append, create, open_ = wal.append, wal.create, wal.open

    async def appending(payloads: list[bytes]) -> None:
        kinds = {payload[1] for payload in payloads}
        purpose["log"] = (
            DECISION if _DECIDED in kinds else OWN_MESSAGE if _SIGNED in kinds else INPUTS
        )
        await append(payloads)

    def creating(height: int) -> None:
        # The files of a log that is rolled are removed after it was made; a first one has none.
        purpose["log"] = FIRST_LOG if wal.height == 0 else NEW_LOG
        create(height)

    def opening(height: int) -> None:
        purpose["log"] = TORN_TAIL
        open_(height)
        purpose.pop("log", None)

    wal.append = appending  # type: ignore[method-assign]
    wal.create = creating  # type: ignore[method-assign]
    wal.open = opening  # type: ignore[method-assign]
    _wire_steps(engine, medium)
    if is_authority:
        _wire_sending(engine, medium, dies_sending)
    _wire_commits(host, medium)


def _wire_steps(engine: Any, medium: Medium) -> None:
    """Own votes fed back, and each record of a replay."""
    machine = engine.machine
    step = machine.step
    replay = engine._replay
    replaying = False

    def stepping(event: Input) -> Any:
        if replaying:
            medium.point(REPLAY, "before")
            return step(event)
        if not isinstance(event, Signed):
            return step(event)
        medium.point(OWN_VOTE, "before")
        effects = step(event)
        medium.point(OWN_VOTE, "after")
        return effects

    def replay_all() -> None:
        nonlocal replaying
        replaying = True
        replay()
        replaying = False

    machine.step = stepping
    engine._replay = replay_all


def _wire_sending(engine: Any, medium: Medium, dies_sending: Callable[[], None]) -> None:
    broadcast = engine._broadcast

    def sending(message: Message) -> None:
        medium.point(SEND, "before")
        broadcast(message)
        if medium._burns(SEND, "torn") or medium._burns(SEND, "after"):
            # What was handed to the operating system leaves although the process is dead.
            dies_sending()

    engine._broadcast = sending


def _wire_commits(host: Any, medium: Medium) -> None:
    commit, announce = host.commit, host.announce

    async def committing(body: Body, certificate: Certificate) -> None:
        purpose = medium.purpose
        finishes = host._proposing.executed(body.block.header.block_id) is None
        if finishes:
            medium.point(RESUME, "before")
        purpose["store"] = BATCH
        await commit(body, certificate)
        if finishes:
            medium.point(RESUME, "after")

    async def announcing() -> None:
        medium.point(ANNOUNCE, "before")
        await announce()
        medium.point(ANNOUNCE, "after")

    host.commit = committing
    host.announce = announcing
