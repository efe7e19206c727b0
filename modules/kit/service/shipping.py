"""Ships a service's history and its trail of calls to an audit log, entry by entry, in order.

Both are numbered without gaps and hashed as the log hashes them, so there is nothing to agree on
but numbers: the log says how far it has a source, and takes the same entry twice as one. A log
that is away is a problem that people are shown; nothing of the service waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.kit.records.history import entry_text
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.service.trail import calls_since
from clawpurse.modules.kit.web.errors import RpcError, Unreachable

LOG: Final = logging.getLogger("clawpurse.modules")
PAGE: Final = 100
PAGE_BYTES_MAX: Final = 256 * 1024
"""Of one call; an entry has some 500 bytes, a long text twenty thousand."""

PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0


class Shipper:
    """The one shipper of a service to the audit log that `target` answers for."""

    def __init__(self, records: Transactions, target: Node) -> None:
        self._records = records
        self._target = target
        self._news = trio.Event()
        self._place: dict[str, int] = {}
        self._sources: dict[str, Callable[[Work, int], list[tuple[int, str]]]] = {
            records.service: self._history,
            f"{records.service}/calls": self._calls,
        }
        #: What keeps it from shipping, for people; empty when nothing does.
        self.problem = ""

    def wake(self) -> None:
        """Look now: something was written."""
        self._news.set()

    async def run(self) -> None:
        """Ship until cancelled."""
        wait_s = PAUSE_S_MIN
        while True:
            self._news = trio.Event()
            try:
                while await self.step():
                    wait_s = PAUSE_S_MIN
                self.problem = ""
            except (RpcError, Unreachable, PeerError) as error:
                if self.problem != str(error):
                    LOG.warning(
                        "the audit log waits",
                        extra={"service": self._records.service, "problem": str(error)},
                    )
                self.problem = f"the audit log: {error}"
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, PAUSE_S_MAX)
                continue
            await self._news.wait()

    async def step(self) -> bool:
        """Ship one page of each source; True when there was anything.

        Raises `RpcError` (a fork is one, and stays one), `Unreachable`, `PeerError`.
        """
        shipped = False
        for source, read in self._sources.items():
            after = await self._shipped(source)
            found = await self._records.read(partial(_read, read, after))
            page = _page(found)
            if not page:
                continue
            entries = [{"number": number, "text": text} for number, text in page]
            answer = await self._target.call("audit_append", {"source": source, "entries": entries})
            kept = kept_number(answer)
            if kept < page[-1][0]:
                raise PeerError(f"the audit log kept {source} up to {kept} only")
            await self._note(source, page[-1][0])
            shipped = True
        return shipped

    async def inclusion(self, number: int) -> dict[str, Any]:
        """Return where the log has an entry of the history, with what proves it.

        While there is no checkpoint that covers it, or the log is away: `pending`, and why.
        """
        asked = {"source": self._records.service, "number": number}
        try:
            answer = await self._target.call("audit_prove", asked)
        except (RpcError, Unreachable, PeerError) as error:
            return {"pending": True, "reason": str(error)}
        return {"pending": False, "proof": answer}

    async def _shipped(self, source: str) -> int:
        if source not in self._place:

            def look(work: Work) -> int:
                found = work.mark(_mark_of(source))
                return int(found or 0)

            self._place[source] = await self._records.read(look)
        return self._place[source]

    async def _note(self, source: str, number: int) -> None:
        def write(work: Work) -> None:
            work.set_mark(_mark_of(source), str(number))

        # Not through `Transactions.write`: that wakes whoever waits for something to ship.
        now_ms = self._records.now_ms()
        await self._records.database.write(lambda db: write(self._records.work(db, CHAIN, now_ms)))
        self._place[source] = number

    def _calls(self, work: Work, after: int) -> list[tuple[int, str]]:
        return calls_since(work, after, PAGE)

    def _history(self, work: Work, after: int) -> list[tuple[int, str]]:
        service = self._records.service
        found = work.history.since(after, PAGE)
        return [(one.number, entry_text(service, one)) for one in found]


def _read(
    read: Callable[[Work, int], list[tuple[int, str]]], after: int, work: Work
) -> list[tuple[int, str]]:
    return read(work, after)


def _mark_of(source: str) -> str:
    return "shipped_" + source.rpartition("/")[2]


def _page(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return as many as fit into one call, at least one."""
    size = 0
    page: list[tuple[int, str]] = []
    for number, text in found:
        size += len(text.encode())
        if page and size > PAGE_BYTES_MAX:
            break
        page.append((number, text))
    return page


def kept_number(answer: Any) -> int:
    """Return how far a log says that it has a source. Raises `PeerError`."""
    try:
        return int(answer["number"])
    except (KeyError, TypeError, ValueError):
        raise PeerError("the audit log does not tell how far it has come") from None
