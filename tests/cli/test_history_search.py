"""`wallet history --search …`: found by what people remember, over pages, resumed by cursor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import RpcError
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode


def _entry(number: int, sender: str, to: str, memo: str, code: str = "ok") -> dict[str, Any]:
    data = {"asset": "CLAW", "amount": "1250"}
    event = {"kind": "assets.transferred", "accounts": [sender, to], "data": data}
    return {
        "txId": f"0x{number:064x}", "sender": sender, "height": number, "index": 0,
        "memoText": memo,
        "actions": [{"name": "assets.transfer", "fields": {**data, "recipient": to}}],
        "receipt": {"code": code, "time": f"2027-01-{number:02}T08:00:00.000Z", "fee": "1",
                    "events": [event] if code == "ok" else []},
    }  # fmt: skip


@pytest.mark.usefixtures("wallet")
def test_what_people_remember_finds_it(cli: Cli, node: FakeNode) -> None:
    """A payment from last month is on the third page, and only its memo is remembered."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    entry = _entry
    pages = [
        [entry(9, alice, bob, "Rent"), entry(8, bob, alice, "back")],
        [entry(7, alice, bob, "lunch"), entry(6, alice, bob, "rent", "frozen")],
    ]
    node.overrides["account_getTransactions"] = lambda params: {
        "transactions": pages[1 if "cursor" in params else 0],
        "nextCursor": None if "cursor" in params else "7.0",
    }

    def heights(*more: str) -> list[int]:
        done = cli("history", "alice", *more, "--json")
        assert done.code == 0, done.err
        return [one["height"] for one in json.loads(done.out)["transactions"]]

    assert heights("--search", "rent") == [9, 6]
    assert heights("--search", "bob", "--in") == [8]
    assert heights("--with", "bob", "--out") == [9, 7, 6]
    assert heights("--failed") == heights("--failed", "--with", "bob") == [6]
    assert heights("--min", "12.5", "--max", "12.5", "--in") == [8]
    assert heights("--min", "12.51") == heights("--max", "12.49") == []
    assert heights("--of", "EUR") == []
    assert heights("--since", "2027-01-07", "--until", "2027-01-09") == [8, 7]
    done = cli("history", "alice", "--search", "rent", "--limit", "1")
    assert "Rent" in done.out and "--cursor 7.0" in done.err
    assert "nothing like that" in cli("history", "alice", "--search", "zzz").err


@pytest.mark.usefixtures("wallet")
def test_an_export_says_how_much_it_wrote(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """Whoever gives the file away knows what is in it; one that was cut off says so."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    first, rest = [_entry(9, alice, bob, "=rent")], [_entry(8, bob, alice, "back")]
    broken = True

    def answer(params: dict[str, Any]) -> Any:
        if "cursor" not in params:
            return {"transactions": first, "nextCursor": "8.0"}
        return RpcError(-32002, "pruned") if broken else {"transactions": rest, "nextCursor": None}

    node.overrides["account_getTransactions"] = answer
    target = tmp_path / "alice.csv"
    cut = cli("wallet", "history", "alice", "--export", str(target))
    assert cut.code == 1
    assert f"! Not complete. In {target}.part: 1 transaction down to block 9. The same" in cut.err
    assert not target.exists()
    broken = False
    done = cli("wallet", "history", "alice", "--export", str(target))
    assert done.out == f"✓ {target}: 2 transactions, blocks 8 to 9\n"
    rows = target.read_text().splitlines()
    assert [row.split(",")[6] for row in rows] == ["amount", "-12.50", "-0.01", "12.50"]
    assert "'=rent" in rows[1]
    again = cli("wallet", "history", "alice", "--export", str(target))
    assert "exists already" in again.err and again.code == 1
    found = tmp_path / "found.json"
    told = cli("history", "alice", "--in", "--export", str(found), "--json")
    assert json.loads(told.out)["transactions"] == 1
    assert json.loads(found.read_text())["transactions"] == rest
    assert cli("history", "alice", "--export", "a.xls").code == 2
