"""An account's history, page by page: all of it in order, or a search that is resumed by cursor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.wallet.client import NodeClient, Page
from clawpurse.wallet.statement import FEE, Movement, movements_of

PAGE: Final = 200
# One search looks through 10,000 transactions; the next one goes on where it ended.
PAGES_MAX: Final = 50


class Wanted(NamedTuple):
    """What is looked for; None and empty want anything. Accounts as text, times RFC 3339 UTC.

    `low` and `high` are minor units of `asset`, both included, whichever way the amount went.
    """

    text: str = ""
    counterparty: str | None = None
    asset: str | None = None
    incoming: bool | None = None
    failed: bool = False
    since: str = ""
    until: str = ""
    low: int | None = None
    high: int | None = None

    def matches(self, entry: Mapping[str, Any], account: bytes, labels: Mapping[str, str]) -> bool:
        """Tell whether a final transaction is one that is looked for. `labels` by address."""
        receipt = entry["receipt"]
        time = str(receipt["time"])
        if (self.since and time < self.since) or (self.until and time >= self.until):
            return False
        if self.failed and receipt["code"] == "ok":
            return False
        moved = [one for one in meant_by(entry, account) if one.what != FEE]
        if self._of_movements:
            moved = [one for one in moved if self._fits(one)]
            if not moved:
                return False
        names = [labels.get(one.counterparty or "", "") for one in moved]
        told = [str(entry.get("memoText") or ""), str(entry["txId"]), *names]
        return any(self.text.lower() in one.lower() for one in told)

    def is_before(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether a transaction is older than everything that is looked for."""
        return bool(self.since) and str(entry["receipt"]["time"]) < self.since

    @property
    def _of_movements(self) -> bool:
        asked = (self.asset, self.counterparty, self.incoming, self.low, self.high)
        return any(one is not None for one in asked)

    def _fits(self, one: Movement) -> bool:
        size = abs(one.amount)
        return (
            self.asset in (None, one.asset)
            and self.counterparty in (None, one.counterparty)
            and self.incoming in (None, one.amount > 0)
            and (self.low is None or size >= self.low)
            and (self.high is None or size <= self.high)
        )


def meant_by(entry: Mapping[str, Any], account: bytes) -> list[Movement]:
    """Return what a final transaction changed for an account; of one that failed, what its
    transfers would have moved, and the fee that it took.
    """
    moved = movements_of(entry, account)
    if entry["receipt"]["code"] == "ok":
        return moved
    me, sender = account_text(account), str(entry["sender"])
    meant = []
    for action in entry.get("actions", ()):
        fields = action.get("fields") or {}
        parties = (sender, fields.get("recipient"))
        if action.get("name") != "assets.transfer" or me not in parties:
            continue
        amount = int(fields["amount"])
        went = sender == me
        other = str(fields["recipient"] if went else sender)
        meant.append(
            Movement(
                int(entry["height"]),
                str(entry["receipt"]["time"]),
                str(entry["txId"]),
                str(action["name"]),
                str(fields["asset"]),
                -amount if went else amount,
                other,
                str(entry.get("memoText") or ""),
            )
        )
    return [*meant, *moved]


async def pages(
    node: NodeClient, account: bytes, cursor: str | None = None
) -> AsyncGenerator[Page, None]:
    """Yield an account's whole history, the newest first, from a cursor or from now on.

    Raises `BadAnswer` for a node that goes back or in circles: each page is older than the one
    before, so that this ends with the first block.
    """
    before: tuple[int, int] | None = None
    while True:
        page = await node.history(account, limit=PAGE, cursor=cursor)
        for entry in page.entries:
            place = (int(entry["height"]), int(entry["index"]))
            if before is not None and place >= before:
                raise BadAnswer("the history is not in order: an entry is not older than the last")
            before = place
        if not page.entries and page.next_cursor is not None:
            raise BadAnswer("the history has an empty page before its end")
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


async def search(
    node: NodeClient,
    account: bytes,
    wanted: Wanted,
    labels: Mapping[str, str],
    *,
    limit: int,
    cursor: str | None = None,
) -> Page:
    """Return what matches, the newest first, and where to go on (None: all was looked through).

    Ends after the page with which `limit` is reached, so it may return some more, or after
    `PAGES_MAX` pages, so it may return none although there are older ones.
    """
    found: list[Mapping[str, Any]] = []
    for _ in range(PAGES_MAX):
        page = await node.history(account, limit=PAGE, cursor=cursor)
        found += [one for one in page.entries if wanted.matches(one, account, labels)]
        cursor = page.next_cursor
        if cursor is None or (page.entries and wanted.is_before(page.entries[-1])):
            return Page(found, None)
        if len(found) >= limit:
            break
    return Page(found, cursor)
