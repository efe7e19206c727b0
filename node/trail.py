"""The trail of a node's privileged calls: on its disk before the caller is answered, then told to
an audit log, in order, each once.

Kept is who called what, when, from where, and with which result; parameters are not, they may be
about persons. What was told is forgotten here: the log has it, and its own numbers stay without
gaps. While the log is away calls wait on the disk, up to a bound at which privileged calls are
refused: what nobody could write down is not done.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.service.shipping import kept_number
from clawpurse.modules.kit.service.trail import DONE, FAILED, REFUSED
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    LIMIT_EXCEEDED,
    UNAUTHENTICATED,
    RpcError,
    Unreachable,
    as_rpc_error,
)
from clawpurse.modules.kit.web.guard import ADMIN, OPERATOR
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.modules.kit.webhooks.database import Database, Lane, open_database
from clawpurse.node.alerts import Condition

LOG: Final = logging.getLogger("clawpurse.node")
FILE: Final = "calls.db"
PAGE: Final = 100
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
WAITING_MAX: Final = 100_000
"""Of calls that were not told yet: some 30 MB, and years of what operators do by hand."""

WORDS_MAX: Final = 128
"""Characters of who and from where, as an audit log takes them."""

_READS: Final = ("get", "list")
_VERSION: Final = 1
# AUTOINCREMENT: a number is never given twice, though what was told is deleted.
_SCHEMA: Final = (
    "CREATE TABLE calls (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL);"
)


class NodeTrail:
    """Made by `open_trail`. `watched` gives methods that write themselves down, `run` tells."""

    def __init__(self, database: Database, service: str, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._service = service
        self._now_ms = now_ms
        self._news = trio.Event()
        #: What keeps it from telling the log, for people; empty when nothing does.
        self.problem = ""

    def watched(self, method: Method) -> Method:
        """Return the method, writing down each call of it if it is privileged."""
        verb = method.name.partition("_")[2]
        reads = method.role == OPERATOR and verb.startswith(_READS)
        if method.role not in (ADMIN, OPERATOR) or reads:
            return method
        handler: Callable[[Any, Context], Any] = method.handler

        async def watching(params: Any, context: Context) -> Any:
            await self._room()
            try:
                answer = handler(params, context)
                if isinstance(answer, Awaitable):
                    answer = await answer
            except Exception as error:
                told = as_rpc_error(error)
                refused = told is not None and told.code in (FORBIDDEN, UNAUTHENTICATED)
                await self._note(method.name, REFUSED if refused else FAILED, context)
                raise
            await self._note(method.name, DONE, context)
            return answer

        return dataclasses.replace(method, handler=watching)

    def conditions(self) -> Iterator[Condition]:
        """Yield what keeps it from telling the log."""
        if self.problem:
            said = f"Privileged calls wait for the audit log: {self.problem}."
            yield Condition("ModuleWaits", "node", said, {"problem": self.problem})

    async def run(self, connect: Callable[[], AbstractAsyncContextManager[Node]]) -> None:
        """Tell the log until cancelled."""
        wait_s = PAUSE_S_MIN
        async with connect() as target:
            while True:
                self._news = trio.Event()
                try:
                    while await self.step(target):
                        wait_s = PAUSE_S_MIN
                    self.problem = ""
                except (RpcError, Unreachable, PeerError) as error:
                    if self.problem != str(error):
                        LOG.warning("the audit log waits", extra={"problem": str(error)})
                    self.problem = str(error)
                    await trio.sleep(wait_s)
                    wait_s = min(2 * wait_s, PAUSE_S_MAX)
                    continue
                await self._news.wait()

    async def step(self, target: Node) -> bool:
        """Tell one page; True when there was anything.

        Raises `RpcError`, `Unreachable`, `PeerError`; what was not told stays for the next time.
        """
        page = await self._database.read(_page)
        if not page:
            return False
        entries = [{"number": number, "text": text} for number, text in page]
        asked = {"source": f"{self._service}/calls", "entries": entries}
        answer = await target.call("audit_append", asked)
        if kept_number(answer) < page[-1][0]:
            raise PeerError("the audit log did not keep what it was told")
        await self._database.write(
            lambda db: db.execute("DELETE FROM calls WHERE number <= ?", (page[-1][0],))
        )
        return True

    async def _room(self) -> None:
        waiting = await self._database.read(
            lambda db: int(db.execute("SELECT count(*) FROM calls").fetchone()[0])
        )
        if waiting >= WAITING_MAX:
            raise RpcError(
                LIMIT_EXCEEDED,
                f"{waiting} privileged calls wait for the audit log, and no more are written down",
                hint="bring the audit log of modules_audit back, or name another and restart",
            )

    async def _note(self, what: str, result: str, context: Context) -> None:
        grant = context.grant
        entry = {
            "service": self._service,
            "at_ms": self._now_ms(),
            "actor": ("nobody" if grant is None else grant.name or grant.ident)[:WORDS_MAX],
            "origin": f"{'' if grant is None else grant.ident}@{context.client}"[:WORDS_MAX],
            "what": what,
            "result": result,
            "object": "",
        }

        def write(db: sqlite3.Connection) -> None:
            row = db.execute("INSERT INTO calls (text) VALUES ('')")
            text = canonical({**entry, "number": row.lastrowid})
            db.execute("UPDATE calls SET text = ? WHERE number = ?", (text, row.lastrowid))

        # What was done is written down, also when the caller has gone.
        with trio.CancelScope(shield=True):
            await self._database.write(write)
        self._news.set()


def open_trail(folder: Path, node_id: bytes, lane: Lane, now_ms: Callable[[], int]) -> NodeTrail:
    """Open or make the trail in a folder that is there. Raises `StorageFault`."""
    database = open_database(folder / FILE, lane, _SCHEMA, _VERSION)
    return NodeTrail(database, f"node-{node_id.hex()[:16]}", now_ms)


def _page(db: sqlite3.Connection) -> list[tuple[int, str]]:
    rows = db.execute("SELECT number, text FROM calls ORDER BY number LIMIT ?", (PAGE,))
    return [(int(row["number"]), str(row["text"])) for row in rows]
