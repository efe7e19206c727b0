"""A real network that anchors a real audit log, and what both had to say: made once a session."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.anchor.records import log_id, log_key
from clawpurse.modules.audit.anchoring import (
    Standing,
    Terms,
    anchor_action,
    keep_anchor,
    notarise,
    read_answer,
    record_key,
)
from clawpurse.modules.audit.bundles import Wanted, export
from clawpurse.modules.audit.checkpoints import Cadence, checkpoint
from clawpurse.wallet.builder import sign_body
from tests.modules.audit.auditworld import Log
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import Running

SOURCE = "auth/calls"
FIRST, SECOND, ALL = 21, 33, 40
"""How many entries were anchored first and then, and how many there are: one names the key."""


class Told(NamedTuple):
    """What was recorded: databases by their files' names, proofs as the node gave them."""

    databases: dict[str, bytes]
    genesis_hash: bytes
    terms: Terms
    bundle: Any
    newest_proof: Any
    refused: Any
    heights: tuple[int, int]
    status: Any
    parameters: Any


class Notarised:
    """A log whose account is Alice's, on a network."""

    def __init__(self, lab: Lab, node: Running, log: Log) -> None:
        self.lab, self.node, self.log = lab, node, log
        identity = log_id(lab.alice.account, "audit")
        assert log_key(identity) == record_key(identity)
        self.terms = Terms(lab.genesis.hash, identity, Cadence(1, 1))

    async def act(self, name: str, *fields: Wire) -> Any:
        return await self.submit(RawAction(name, list(fields)))

    async def submit(self, action: RawAction) -> Any:
        body = self.lab.body(self.lab.alice, action)
        (answer,) = await self.lab.final(
            self.node, sign_body(body, [(Role.SENDER, self.lab.alice)])
        )
        return answer

    async def ask(self) -> tuple[int, Any]:
        path = f"0x{record_key(self.terms.log).hex()}"
        answer = await self.node.call("chain_getProof", module="anchor", path=path, prove=True)
        return read_answer(answer)

    async def step(self) -> Standing:
        """What the service does every few seconds."""
        height, anchored = await self.ask()
        log = self.log
        standing, action = log.do(
            lambda db: notarise(db, log.tables, log.ring, self.terms, height, anchored, log.now_ms)
        )
        if action is not None:
            assert (await self.submit(action))["receipt"]["code"] == "ok"
        return standing


@cache
def recorded() -> Told:
    """Run four authorities and a log; return its database, an early and a forked one, and more."""
    with tempfile.TemporaryDirectory(prefix="logworld") as folder:
        told: Told = run_lab(lambda lab: _record(lab, Path(folder)))
        files = Path(folder).glob("*.db")
        return told._replace(databases={file.name: file.read_bytes() for file in files})


async def _record(lab: Lab, folder: Path) -> Told:
    await lab.authorities()
    node = lab.nodes["authority-1"]
    log = Log(folder / "log.db")
    made = Notarised(lab, node, log)
    await lab.final(node, lab.pay(lab.bob))
    assert await made.step() is Standing.UNOPENED
    await made.act("anchor.openLog", "audit", lab.alice.account, None, 2)
    log.tell(SOURCE, 1, FIRST - 1)
    assert await made.step() is Standing.GROWN
    assert await made.step() is Standing.GROWN
    _, first = await made.ask()
    log.database.close()
    shutil.copy(folder / "log.db", folder / "early.db")
    log = made.log = Log(folder / "log.db")
    log.tell(SOURCE, FIRST, SECOND - FIRST)
    await made.step()
    await made.step()
    _, second = await made.ask()
    assert (first.size, second.size) == (FIRST, SECOND)
    log.tell(SOURCE, SECOND, ALL - SECOND)
    log.do(
        lambda db: checkpoint(
            db, log.tables, log.ring, made.terms.origin, second.height, log.now_ms
        )
    )
    bundle = log.look(lambda db: export(db, log.tables, Wanted(0, ALL)))
    log.database.close()
    refused = await _fork(made, folder)
    path = f"0x{record_key(made.terms.log).hex()}"
    newest = await node.call("chain_getProof", module="anchor", path=path, prove=True)
    heights = (first.height, second.height)
    status = await node.call("chain_getStatus")
    parameters = await node.call("chain_getParameters")
    return Told(
        {},
        lab.genesis.hash,
        made.terms,
        bundle,
        newest["bundle"],
        refused,
        heights,
        status,
        parameters,
    )


async def _fork(made: Notarised, folder: Path) -> Any:
    """Give the log another past from entry 5 on, and try to anchor that."""
    shutil.copy(folder / "early.db", folder / "fork.db")
    fork = Log(folder / "fork.db")
    entries, nodes = fork.tables.entries, fork.tables.nodes

    def cut(db: Any) -> None:
        db.execute(entries.delete().where(entries.c.place >= 5))
        db.execute(nodes.delete().where(nodes.c.bin >= 7))
        db.execute(fork.tables.sources.update().values(number=5))
        db.execute(fork.tables.checkpoints.delete())
        db.execute(fork.tables.anchors.delete())

    fork.do(cut)
    fork.tell(SOURCE, 6, ALL - 5, actor="claw1mallory")
    key = made.terms.origin
    signed = fork.do(lambda db: checkpoint(db, fork.tables, fork.ring, key, 9, fork.now_ms))
    _, anchored = await made.ask()
    assert anchored is not None
    fork.do(lambda db: keep_anchor(db, fork.tables, anchored, fork.now_ms))
    standing, action = fork.do(
        lambda db: notarise(db, fork.tables, fork.ring, made.terms, 99, anchored, fork.now_ms)
    )
    assert (standing, action) == (Standing.FORKED, None), "an honest service sends nothing"
    action = fork.look(lambda db: anchor_action(db, fork.tables, made.terms.log, anchored, signed))
    answer = await made.submit(action)
    fork.database.close()
    return answer["receipt"]
