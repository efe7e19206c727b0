"""Tells services elsewhere whom this one erased, one after the other, until each has done it.

Services of one process erase together; one in a process of its own is told by JSON-RPC, with a
token whose account holds that service's privacy role. How far it was told is kept in the database:
after a kill the newest message is told again, which changes nothing.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

import sqlalchemy as sa
import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.kit.records.model import TIME
from clawpurse.modules.kit.records.persons import TO_HOLDERS, erasure_of
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError, Unreachable

LOG: Final = logging.getLogger("clawpurse.modules")
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0


class Teller:
    """Tells one service, called `name`, which `target` answers for."""

    def __init__(self, records: Transactions, name: str, target: Node) -> None:
        self._records = records
        self._name = name
        self._target = target
        self._news = trio.Event()
        #: What keeps it from telling, for people; empty when nothing does.
        self.problem = ""

    def wake(self) -> None:
        """Look now: something was written."""
        self._news.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        wait_s = PAUSE_S_MIN
        while True:
            self._news = trio.Event()
            try:
                while await self.step():
                    wait_s = PAUSE_S_MIN
                self.problem = ""
            except (RpcError, Unreachable, PeerError) as error:
                said = f"{self._name} is not told whom to erase: {error}"
                if self.problem != said:
                    LOG.warning("erasures wait", extra={"service": self._name, "problem": said})
                self.problem = said
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, PAUSE_S_MAX)
                continue
            await self._news.wait()

    async def step(self) -> bool:
        """Tell one message; True when there was one.

        Raises `RpcError`, `Unreachable`, `PeerError`; then it is told again.
        """
        found = await self._records.read(partial(_next, mark=self._mark))
        if found is None:
            return False
        number, payload = found
        said, service = erasure_of(payload), self._records.service
        if said["type"] == "subject.erased" and "." not in said["subject"].partition("/")[0]:
            asked = {"subject": f"{service}.{said['subject']}", "reason": f"erased by {service}"}
            try:
                await self._target.call(f"{self._name}_eraseSubject", asked)
            except RpcError as error:
                # Who is not known there has nothing there to erase.
                if error.code != NOT_FOUND:
                    raise
        await self._records.write(TIME, lambda work: work.set_mark(self._mark, str(number)))
        return True

    @property
    def _mark(self) -> str:
        return f"told.{self._name}"


def _next(work: Work, mark: str) -> tuple[int, bytes] | None:
    table, after = work.tables.outbox, int(work.mark(mark) or 0)
    row = work.connection.execute(
        sa.select(table.c.number, table.c.payload)
        .where((table.c.target == TO_HOLDERS) & (table.c.number > after))
        .order_by(table.c.number)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.number, row.payload)
