"""`wallet statement`: shown, exported, refused when it does not add up."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

pytestmark = pytest.mark.usefixtures("wallet")
TIME = "2027-01-15T08:00:00.000Z"


@pytest.fixture
def answer(node: FakeNode) -> dict[str, Any]:
    """Alice paid Bob 12.50 and a fee of 0.01, with a memo that a spreadsheet would run."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    moved = {
        "kind": "assets.transferred",
        "accounts": [alice, bob],
        "data": {"asset": "CLAW", "amount": "1250"},
    }
    entry = {
        "txId": "0x" + "ab" * 32, "sender": alice, "payer": None, "height": 7,
        "memoText": "=cmd|' /C calc'!A0",
        "receipt": {"time": TIME, "fee": "1", "code": "ok", "events": [moved]},
    }  # fmt: skip
    row = {"asset": "CLAW", "decimals": 2, "opening": "10000", "openingHeld": "0",
           "closing": "8000", "closingHeld": "749"}  # fmt: skip
    found: dict[str, Any] = {
        "account": alice, "fromHeight": 5, "toHeight": 9, "balances": [row],
        "entries": [entry], "nextCursor": None,
    }  # fmt: skip
    node.overrides["account_getStatement"] = lambda _: found
    node.overrides["chain_findEvents"] = lambda _: {"places": [], "nextCursor": None}
    return found


@pytest.mark.usefixtures("answer")
def test_a_statement_is_shown_and_exported(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """Opening, movements, closing with what is held; tables that are safe to open."""
    table = tmp_path / "alice.csv"
    done = cli("wallet", "statement", "alice", "--from-height", "5", "--export", str(table))
    assert done.code == 0, done.err
    assert "Before block 5: 100.00 CLAW" in done.out
    assert "After block 9: 87.49 CLAW, 7.49 of it held" in done.out
    assert "The sums agree: 2 movements." in done.out
    bob = account_text(node.chain.bob.account)
    assert "\r\n" in table.read_bytes().decode()
    with table.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "time_utc": TIME, "height": "7", "transaction": "0x" + "ab" * 32,
        "what": "assets.transferred", "asset": "CLAW", "amount": "-12.50",
        "amount_minor": "-1250", "decimals": "2", "counterparty": bob,
        "counterparty_label": "bob", "memo": "'=cmd|' /C calc'!A0",
    }  # fmt: skip
    assert (second["what"], second["amount"]) == ("fee", "-0.01")
    other = tmp_path / "alice.json"
    done = cli("wallet", "statement", "alice", "--from-height", "5", "--json",
               "--export", str(other))  # fmt: skip
    assert json.loads(other.read_text()) == json.loads(done.out)
    assert cli("wallet", "statement", "alice", "--from-height", "5",
               "--export", str(other)).code == 2  # fmt: skip


def test_sums_that_do_not_agree_are_not_shown(
    cli: Cli, answer: dict[str, Any], tmp_path: Path
) -> None:
    """A node that leaves a payment out must not make the bookkeeper's evening."""
    answer["entries"] = []
    table = tmp_path / "alice.csv"
    done = cli("wallet", "statement", "alice", "--from-height", "5", "--export", str(table))
    assert done.code == 1 and "does not add up" in done.err and not done.out
    assert not table.exists()


@pytest.mark.usefixtures("answer")
def test_dates_choose_blocks(cli: Cli, node: FakeNode) -> None:
    """A month is what people ask for; the first block of it is found by halving."""
    day = 86_400_000
    start = 1_800_000_000_000 // day * day
    node.chain.height = 9
    node.overrides["chain_getBlock"] = lambda params: {
        "header": {"timeMs": start + params["height"] * day, "time": TIME}
    }
    node.overrides["chain_getStatus"] = lambda _: {
        **FakeNode.chain_getStatus(node, {}), "height": 9
    }  # fmt: skip
    done = cli("wallet", "statement", "alice", "--from-date", "2027-01-20")
    assert done.code == 0, done.err
    asked = [params for method, params in node.calls if method == "account_getStatement"]
    assert asked[0]["fromHeight"] == 5


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--from-height", "1", "--from-date", "2027-01-01"),
        ("--from-height", "1", "--to-height", "2", "--to-date", "2027-01-01"),
        ("--from-height", "1", "--export", "x.xls"),
        ("--from-date", "yesterday"),
    ],
)
@pytest.mark.usefixtures("answer")
def test_a_range_that_is_none_is_refused(cli: Cli, more: tuple[str, ...]) -> None:
    """Before anything is asked or written."""
    assert cli("wallet", "statement", "alice", *more).code == 2
