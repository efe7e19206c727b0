"""A history in a file: all of it or said to be unfinished, one page at a time, safe to open."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.wallet.client import AssetInfo, NodeClient, Page
from clawpurse.wallet.exports import COLUMNS, Progress, Question, export_history, part_of
from clawpurse.wallet.history import PAGE, Wanted

ME, OTHER = bytes(32), b"\x01" * 32
QUESTION = Question(ME, b"\x07" * 32)


class _Cut(Exception):
    """The connection, the process, the machine: whatever ends an export in its middle."""


class _History:
    """A node's answers over so many payments, in pages; after `cut_after` of them it fails."""

    def __init__(self, count: int, memo: str = "rent") -> None:
        self.count = count
        self.memo = memo
        self.pages = 0
        self.cut_after: int | None = None

    def entry(self, height: int) -> dict[str, Any]:
        """The payment in a block."""
        parties = [account_text(OTHER), account_text(ME)]
        data = {"asset": "CLAW", "amount": "1250"}
        event = {"kind": "assets.transferred", "accounts": parties, "data": data}
        receipt = {"code": "ok", "time": f"2027-01-01T00:{height:06}", "fee": "1"}
        return {
            "txId": f"0x{height:064x}", "sender": parties[0], "height": height, "index": 0,
            "memoText": self.memo, "actions": [], "receipt": {**receipt, "events": [event]},
        }  # fmt: skip

    async def history(self, _account: bytes, *, limit: int, cursor: str | None = None) -> Page:
        """As `NodeClient.history`."""
        if self.pages == self.cut_after:
            raise _Cut
        self.pages += 1
        top = self.count if cursor is None else int(cursor)
        entries: list[Mapping[str, Any]] = [
            self.entry(height) for height in range(top, max(0, top - limit), -1)
        ]
        left = top - len(entries)
        return Page(entries, str(left) if left else None)

    async def asset(self, asset: str) -> AssetInfo:
        """As `NodeClient.asset`."""
        return AssetInfo(asset, 2, asset, 0)


async def _export(node: Any, target: Path, question: Question = QUESTION) -> Progress:
    client: NodeClient = node
    labels = {account_text(OTHER): "bob"}
    return await export_history(client, question, target, labels, lambda _progress: None)


async def test_a_cut_export_goes_on_and_never_looks_complete(tmp_path: Path) -> None:
    """A file that silently ends in the middle makes wrong books."""
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    node = _History(5 * PAGE + 7)
    done = await _export(node, whole)
    assert (done.transactions, done.first, done.last) == (node.count, 1, node.count)
    assert whole.stat().st_mode & 0o777 == 0o600

    for pages in (0, 1, 2, 2):
        node.cut_after = node.pages + pages
        with pytest.raises(_Cut):
            await _export(node, resumed)
        assert not resumed.exists()
        with part_of(resumed).open("ab") as part:
            part.write(b"half a li")  # What a kill leaves behind the last whole page.
    asked = node.pages
    node.cut_after = None
    assert await _export(node, resumed) == done
    assert node.pages - asked == 1  # Only the last page was left to ask for.
    assert resumed.read_bytes() == whole.read_bytes()
    assert set(os.listdir(tmp_path)) == {"resumed.csv", "whole.csv"}
    with pytest.raises(OperatorError, match="exists already"):
        await _export(node, resumed)


async def test_another_question_does_not_go_on_in_that_file(tmp_path: Path) -> None:
    """Half of one search and half of another would be a file of nothing."""
    target, node = tmp_path / "a.json", _History(3 * PAGE)
    node.cut_after = 2
    with pytest.raises(_Cut):
        await _export(node, target)
    node.cut_after = None
    other = QUESTION._replace(wanted=Wanted(text="lunch"))
    with pytest.raises(OperatorError, match="another export that is unfinished"):
        await _export(node, target, other)
    await _export(node, target)
    document = json.loads(target.read_text())
    heights = [one["height"] for one in document["transactions"]]
    assert heights == list(range(3 * PAGE, 0, -1))
    assert (document["count"], document["fromHeight"], document["toHeight"]) == (
        3 * PAGE,
        1,
        3 * PAGE,
    )


async def test_nothing_found_is_a_whole_file_too(tmp_path: Path) -> None:
    """A program that reads it must not fall over an empty year."""
    question = QUESTION._replace(wanted=Wanted(text="zzz"))
    done = await _export(_History(PAGE + 1), tmp_path / "a.json", question)
    assert (done.transactions, done.looked) == (0, PAGE + 1)
    assert json.loads((tmp_path / "a.json").read_text())["transactions"] == []
    await _export(_History(3), tmp_path / "a.csv", question)
    assert (tmp_path / "a.csv").read_text().strip() == ",".join(COLUMNS)


@pytest.mark.parametrize("memo", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a "b", c\nd'])
async def test_a_memo_is_never_a_formula(tmp_path: Path, memo: str) -> None:
    """Somebody else wrote the memo that a bookkeeper opens."""
    target = tmp_path / "a.csv"
    await _export(_History(1, memo), target)
    raw = target.read_bytes().decode()
    assert raw.endswith("\r\n") and raw.count("\r\n") == 2
    rows = list(csv.DictReader(io.StringIO(raw, newline=""), strict=True))
    assert rows[0]["amount"] == "12.50" and rows[0]["counterparty_label"] == "bob"
    assert not rows[0]["memo"].startswith(("=", "+", "-", "@", "\t", "\r"))


async def test_a_node_that_goes_in_circles_is_found(tmp_path: Path) -> None:
    """A lying node could otherwise fill the disk."""

    class _Circle(_History):
        async def history(self, account: bytes, *, limit: int, cursor: str | None = None) -> Page:
            page = await super().history(account, limit=limit)
            return Page(page.entries, "again")

    with pytest.raises(BadAnswer, match="not in order"):
        await _export(_Circle(4), tmp_path / "a.csv")
