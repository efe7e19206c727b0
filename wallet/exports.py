"""An account's history into a file, CSV or JSON, however long: one page in memory at a time.

Until all is written the file is `NAME.part`, and `NAME.part.json` says up to where it is whole and
where the node's list goes on. Whatever ends an export, a full disk or a kill, the next one of the
same question goes on behind the last whole page; a file under its own name is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError, StorageFault
from clawpurse.wallet.amounts import number_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import (
    FILE_MODE,
    locked,
    move_private,
    read_private,
    remove_private,
    replace_private,
)
from clawpurse.wallet.history import Wanted, meant_by, pages
from clawpurse.wallet.tables import Number, csv_line

COLUMNS: Final = (
    "time_utc", "height", "transaction", "result", "what", "asset", "amount", "amount_minor",
    "decimals", "counterparty", "counterparty_label", "memo",
)  # fmt: skip
_VERSION: Final = 1
_STATE_BYTES_MAX: Final = 65_536
# Decimals are asked once an asset; an account that met more of them asks again.
_ASSETS_KEPT_MAX: Final = 4_096
Json = dict[str, Any]


class Progress(NamedTuple):
    """How much of an export is written: `first` and `last` block, None while there is none.

    `looked` counts the transactions that were gone through, `rows` what stands in the file.
    """

    looked: int = 0
    transactions: int = 0
    rows: int = 0
    first: int | None = None
    last: int | None = None


class Question(NamedTuple):
    """What is exported: whose history, what of it (None: all), of which network, from where on."""

    account: bytes
    genesis_hash: bytes
    wanted: Wanted | None = None
    cursor: str | None = None

    def document(self) -> Json:
        """Return it as JSON: what tells one export from another."""
        return {
            "account": account_text(self.account),
            "genesisHash": f"0x{self.genesis_hash.hex()}",
            "wanted": None if self.wanted is None else self.wanted._asdict(),
            "cursor": self.cursor,
        }


class Form(Protocol):
    """How an export is written. All pieces one after another are the file."""

    def head(self, question: Question) -> str:
        """Return what comes before the first transaction."""

    def entry(self, entry: Mapping[str, Any], account: bytes, is_first: bool) -> tuple[str, int]:
        """Return a transaction, and how many rows that is."""

    def foot(self, progress: Progress) -> str:
        """Return what comes after the last one."""


class CsvForm:
    """One row a movement (RFC 4180), the fee as one of its own; safe in spreadsheets."""

    def __init__(self, decimals: Mapping[str, int], labels: Mapping[str, str]) -> None:
        self._decimals = decimals
        self._labels = labels

    def head(self, question: Question) -> str:
        """Return the names of the columns."""
        del question
        return csv_line(COLUMNS)

    def entry(self, entry: Mapping[str, Any], account: bytes, is_first: bool) -> tuple[str, int]:
        """Return a row for each movement, one without amount where nothing moved."""
        del is_first
        receipt = entry["receipt"]
        start = (str(receipt["time"]), int(entry["height"]), str(entry["txId"]))
        result, memo = str(receipt["code"]), str(entry.get("memoText") or "")
        rows: list[Sequence[str | int]] = []
        for one in meant_by(entry, account):
            places, other = self._decimals[one.asset], one.counterparty or ""
            amount = Number(number_text(one.amount, places, marks=False))
            rows.append(
                (*start, result, one.what, one.asset, amount, one.amount, places,
                 other, self._labels.get(other, ""), memo)
            )  # fmt: skip
        if not rows:
            names = " ".join(str(action.get("name")) for action in entry.get("actions", ()))
            rows.append((*start, result, names, "", "", "", "", "", "", memo))
        return "".join(csv_line(row) for row in rows), len(rows)

    def foot(self, progress: Progress) -> str:
        """Return nothing: a CSV ends with its last row."""
        del progress
        return ""


class JsonForm:
    """One object: the account, its transactions as a node shows them, and how many they are."""

    def head(self, question: Question) -> str:
        """Return the beginning, up to the list."""
        named = question.document()
        shown = {name: named[name] for name in ("account", "genesisHash")}
        return f'{json.dumps(shown)[:-1]}, "transactions": [\n'

    def entry(self, entry: Mapping[str, Any], account: bytes, is_first: bool) -> tuple[str, int]:
        """Return a transaction on a line of its own."""
        del account
        text = json.dumps(entry, ensure_ascii=False)
        return (text if is_first else f",\n{text}"), 1

    def foot(self, progress: Progress) -> str:
        """Return how many they are and between which blocks: a file without it was cut."""
        told = {
            "count": progress.transactions,
            "fromHeight": progress.first,
            "toHeight": progress.last,
        }
        return f"\n], {json.dumps(told)[1:]}\n"


async def export_history(
    node: NodeClient,
    question: Question,
    target: Path,
    labels: Mapping[str, str],
    tell: Callable[[Progress], None],
) -> Progress:
    """Write what a question asks for into `target` (`.csv`, else JSON), the newest first.

    Goes on where an earlier export of the same question ended; `tell` hears of each page that is
    on disk. Raises `OperatorError` when another question's is unfinished there or `target` exists,
    `StorageFault` when the disk does not take it, and what `NodeClient` raises; the pages that
    were written are then kept. Cancellation does the same.
    """
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock, f"{target} is being written by another clawpurse."):
        try:
            return await _Writer(node, question, target, labels).run(tell)
        finally:
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def part_of(target: Path) -> Path:
    """Return where an export is kept until it is complete."""
    return target.with_name(f"{target.name}.part")


class _Writer:
    """One run of an export."""

    def __init__(
        self, node: NodeClient, question: Question, target: Path, labels: Mapping[str, str]
    ) -> None:
        self._node = node
        self._question = question
        self._target = target
        self._labels = labels
        self._part = part_of(target)
        self._note = self._part.with_name(f"{self._part.name}.json")
        self._decimals: dict[str, int] = {}
        self._form: Form = (
            CsvForm(self._decimals, labels) if target.suffix == ".csv" else JsonForm()
        )

    async def run(self, tell: Callable[[Progress], None]) -> Progress:
        if self._target.exists():
            raise OperatorError(
                f"{self._target} exists already.", "Nothing was written.", "name another file"
            )
        size, cursor, progress = self._begun()
        try:
            with self._opened(size) as file:
                progress = await self._pages(file, cursor, progress, tell)
                file.write(self._form.foot(progress).encode())
                await trio.to_thread.run_sync(_sync, file)
            move_private(self._part, self._target)
        except FileExistsError as err:
            raise OperatorError(f"{self._target} exists already.", "", "move it away") from err
        except OSError as err:
            raise StorageFault(
                f"Could not write {self._part}: {err.strerror or type(err).__name__}.",
                "What was written is kept.",
                "free some space and repeat the command",
            ) from err
        remove_private(self._note)
        return progress

    async def _pages(
        self,
        file: BinaryIO,
        cursor: str | None,
        progress: Progress,
        tell: Callable[[Progress], None],
    ) -> Progress:
        account, wanted = self._question.account, self._question.wanted
        async with aclosing(pages(self._node, account, cursor)) as found:
            async for page in found:
                await self._learn(page.entries)
                for entry in page.entries:
                    progress = progress._replace(looked=progress.looked + 1)
                    if wanted is not None and not wanted.matches(entry, account, self._labels):
                        continue
                    text, rows = self._form.entry(entry, account, not progress.transactions)
                    file.write(text.encode())
                    height = int(entry["height"])
                    progress = progress._replace(
                        transactions=progress.transactions + 1,
                        rows=progress.rows + rows,
                        first=height,
                        last=height if progress.last is None else progress.last,
                    )
                over = (
                    wanted is not None and bool(page.entries) and wanted.is_before(page.entries[-1])
                )
                if page.next_cursor is None or over:
                    break
                await trio.to_thread.run_sync(_sync, file)
                self._remember(file.tell(), page.next_cursor, progress)
                tell(progress)
        return progress

    @contextmanager
    def _opened(self, size: int) -> Iterator[BinaryIO]:
        """Give the file behind its first `size` bytes, begun if there are none."""
        with open(self._part, "ab", opener=_private) as file:
            file.truncate(size)
            if not size:
                file.write(self._form.head(self._question).encode())
            yield file

    async def _learn(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Have the decimals of all assets that a page names."""
        moved = {one.asset for entry in entries for one in meant_by(entry, self._question.account)}
        if len(self._decimals) > _ASSETS_KEPT_MAX:
            self._decimals.clear()
        for asset in sorted(moved - self._decimals.keys()):
            self._decimals[asset] = (await self._node.asset(asset)).decimals

    def _begun(self) -> tuple[int, str | None, Progress]:
        """Return up to where an earlier run of the same question came, else the beginning."""
        try:
            kept = json.loads(read_private(self._note, _STATE_BYTES_MAX))
            size, cursor, progress = kept["bytes"], kept["cursor"], Progress(*kept["progress"])
            same = kept["version"] == _VERSION and kept["question"] == self._question.document()
        except FileNotFoundError:
            if self._part.exists():
                # Killed within the first page: nothing of it is known to be whole.
                remove_private(self._part)
            return 0, self._question.cursor, Progress()
        except (ValueError, KeyError, TypeError):
            same = False
        if not same or not self._part.exists() or self._part.stat().st_size < size:
            raise OperatorError(
                f"{self._part} is of another export that is unfinished.",
                "Nothing was written.",
                f"remove {self._part} and {self._note}, or name another file",
            )
        return size, cursor, progress

    def _remember(self, size: int, cursor: str, progress: Progress) -> None:
        kept = {
            "version": _VERSION,
            "question": self._question.document(),
            "bytes": size,
            "cursor": cursor,
            "progress": list(progress),
        }
        replace_private(self._note, json.dumps(kept).encode())


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
