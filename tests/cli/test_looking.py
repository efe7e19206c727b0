"""Looking around: status, history, methods, decoding; a sentence before numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawpurse.cli.watching import Reading
from clawpurse.ledger.address import account_text
from clawpurse.ledger.transactions import Role
from clawpurse.wallet.builder import Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import REGISTRY, START_MS


def test_the_status_line_is_the_one_of_the_picture() -> None:
    """The line that people watch while the network runs."""
    reading = Reading(42, 1_000_000, 4, 4, 0, 4)
    assert reading.text(1_000_800) == "block 42, final 0.8 s ago, 4/4 signing, 0 pending"
    assert reading.text(1_130_000) == "block 42, final 2 min ago, 4/4 signing, 0 pending"


def test_status_is_one_screen(cli: Cli) -> None:
    """Network, block, pending, who I talk to."""
    done = cli("status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "✓ Ready. No block yet: the first payment makes one."
    assert "  Network      acme-test [TEST]" in lines
    assert "  Pending      2 transactions, 1 in gaps" in lines
    assert len(lines) <= 24
    assert json.loads(cli("status", "--json").out)["chainId"] == "acme-test"


@pytest.mark.usefixtures("wallet")
def test_history_shows_what_came_and_went(cli: Cli, node: FakeNode) -> None:
    """Signs and names instead of addresses where they are known."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))

    def entry(sender: str, recipient: str, code: str = "ok") -> dict[str, Any]:
        fields = {"asset": "CLAW", "recipient": recipient, "amount": "1250"}
        return {
            "txId": "0x" + "ab" * 32,
            "sender": sender,
            "height": 58,
            "memoText": "lunch",
            "actions": [{"name": "assets.transfer", "fields": fields}],
            "receipt": {"code": code, "time": "2026-11-22T17:48:06.387Z"},
        }

    node.overrides["account_getTransactions"] = lambda _: {
        "transactions": [entry(alice, bob), entry(bob, alice), entry(alice, bob, "frozen")],
        "nextCursor": "57.0",
    }
    done = cli("wallet", "history", "alice", "--limit", "3")
    tx_id = "0x" + "ab" * 32
    start = "2026-11-22 17:48:06\t58"
    assert done.out.splitlines() == [
        f"{start}\t✓\t−12.50\tCLAW\tbob\t{tx_id}\tlunch",
        f"{start}\t✓\t+12.50\tCLAW\tbob\t{tx_id}\tlunch",
        f"{start}\t✗\tfailed\tCLAW\tbob\t{tx_id}\tlunch",
    ]
    assert done.err == "More: clawpurse wallet history alice --cursor 57.0\n"
    (asked,) = [params for method, params in node.calls if method == "account_getTransactions"]
    assert asked == {"account": alice, "limit": 3}
    page = json.loads(cli("history", "alice", "--json").out)
    assert list(page) == ["account", "transactions", "nextCursor"]


@pytest.mark.usefixtures("wallet")
def test_history_shows_payouts_that_no_transfer_made(cli: Cli, node: FakeNode) -> None:
    """An escrow's payout comes by somebody else's transaction; a batch pays others, too."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    eve = account_text(b"\x05" * 32)

    def moved(source: str, target: str, amount: str) -> dict[str, Any]:
        data = {"asset": "CLAW", "amount": amount}
        return {"kind": "assets.transferred", "accounts": [source, target], "data": data}

    def entry(name: str, *events: dict[str, Any]) -> dict[str, Any]:
        return {
            "txId": "0x" + "ab" * 32,
            "sender": eve,
            "height": 58,
            "memoText": "",
            "actions": [{"name": name, "fields": {}}],
            "receipt": {"code": "ok", "time": "2026-11-22T17:48:06.387Z", "events": list(events)},
        }

    node.overrides["account_getTransactions"] = lambda _: {
        "transactions": [
            entry("payments.finishEscrow", moved(bob, alice, "1250")),
            entry("payments.executeBatch", moved(eve, bob, "7"), moved(eve, alice, "100")),
            entry("payments.voteHold"),
        ],
        "nextCursor": None,
    }
    rows = [line.split("\t")[3:6] for line in cli("wallet", "history", "alice").out.splitlines()]
    assert rows == [
        ["+12.50", "CLAW", "bob"],
        ["+1.00", "CLAW", eve],
        ["", "", "payments.voteHold"],
    ]


@pytest.mark.usefixtures("wallet")
def test_balances_are_minor_units_for_programs(cli: Cli, node: FakeNode) -> None:
    """Strings of digits: JavaScript must not round money."""
    done = cli("balance", "alice", "--json")
    assert json.loads(done.out) == {
        "account": account_text(node.chain.alice.account),
        "balances": [
            {"asset": "CLAW", "amount": "100000", "held": "0", "decimals": 2},
            {"asset": "EUR", "amount": "500000", "held": "0", "decimals": 3},
        ],
    }
    assert cli("balance", "alice").out == "CLAW\t1,000.00\t0.00\nEUR\t500.000\t0.000\n"


@pytest.mark.usefixtures("wallet")
def test_a_held_amount_is_told_with_what_ends_it(cli: Cli, node: FakeNode) -> None:
    """Less than one had is no riddle: what holds it, for whom, until when."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    hold_id = "0x" + "ab" * 32
    held = {"asset": "CLAW", "amount": "25000", "held": "2500", "decimals": 2}
    node.overrides["account_getBalances"] = lambda _: {"account": alice, "balances": [held]}
    node.overrides["payment_listObjects"] = lambda _: {"objects": [], "nextCursor": None}
    one = {
        "holdId": hold_id, "purpose": "rule", "asset": "CLAW", "amount": "2000", "payer": alice,
        "payee": bob, "rule": "compliance.large", "expires": "2027-01-18T08:00:00.000Z",
        "atExpiry": "return",
    }  # fmt: skip
    node.overrides["payment_listHolds"] = lambda _: {"holds": [one], "nextCursor": None}
    done = cli("wallet", "balance", "alice", "--held")
    assert done.out.splitlines() == [
        "CLAW\t250.00\t25.00",
        "  20.00 CLAW, stopped by compliance.large to bob, comes back 2027-01-18 08:00 UTC; "
        "says who decides:",
        f"    clawpurse hold show {hold_id}",
    ]
    assert "! 5.00 CLAW held are in none of these" in done.err
    document = json.loads(cli("wallet", "balance", "alice", "--held", "--json").out)
    assert document["heldBy"][0]["id"] == hold_id
    assert cli("wallet", "balance", "alice").out == "CLAW\t250.00\t25.00\n"


@pytest.mark.usefixtures("wallet")
def test_the_faucet_says_what_it_paid(cli: Cli, node: FakeNode) -> None:
    """The second command that everybody types."""
    done = cli("faucet", "alice")
    assert done.out.startswith("✓ 1,000.00 CLAW to alice, final in block 51 (")
    assert done.err == "Next: clawpurse wallet balance alice\n"
    document = json.loads(cli("faucet", "alice", "--json").out)
    assert list(document) == ["txId", "status", "height", "asset", "amount"]


def test_contacts_are_names_for_accounts(cli: Cli, wallet: Keystore, node: FakeNode) -> None:
    """`wallet contacts` alone lists them; it is what error lines name."""
    account = account_text(b"\x44" * 32)
    assert cli("wallet", "contacts").err.startswith("No contacts yet.")
    assert cli("wallet", "contacts", "add", "carol", account, "--note", "Milan").code == 0
    assert cli("wallet", "contacts").out == f"carol\t{account}\tMilan\n"
    listed = json.loads(cli("wallet", "contacts", "list", "--json").out)
    assert listed == {"contacts": [{"name": "carol", "account": account, "note": "Milan"}]}
    assert cli("address", "carol").out == account + "\n"
    taken = cli("wallet", "contacts", "add", "karla", account)
    assert taken.code == 1
    assert cli("wallet", "contacts", "remove", "carol").code == 0
    assert cli("address", "carol").code == 2


def test_contacts_go_to_another_wallet_and_come_back(
    cli: Cli, wallet: Keystore, tmp_path: Path
) -> None:
    """An address book that is typed again has slips in it."""
    account, other = (account_text(bytes([number]) * 32) for number in (0x44, 0x45))
    cli("wallet", "contacts", "add", "carol", account, "--note", "=Milan")
    for name in ("book.csv", "book.json"):
        file = tmp_path / name
        done = cli("wallet", "contacts", "export", str(file))
        assert done.out == f"✓ {file}: 1 contact\n"
        assert file.stat().st_mode & 0o777 == 0o600
        assert cli("wallet", "contacts", "export", str(file)).code == 2
        cli("wallet", "contacts", "remove", "carol")
        assert cli("wallet", "contacts", "import", str(file)).out == "✓ 1 contact imported\n"
        assert cli("wallet", "contacts").out == f"carol\t{account}\t=Milan\n"
    file = tmp_path / "book.csv"
    file.write_text(file.read_text() + f"dave,{other},\n")
    again = cli("wallet", "contacts", "import", str(file))
    assert (again.out, again.err) == ("✓ 1 contact imported\n", "1 was there already: carol\n")
    file.write_text(f"name,account\nerin,{account_text(bytes(32))}\nalice,{other[:-1]}q\n")
    wrong = cli("wallet", "contacts", "import", str(file))
    assert wrong.code == 1
    assert wrong.err.startswith("Line 3: account ") and "Nothing was imported." in wrong.err
    assert "erin" not in cli("wallet", "contacts").out
    assert cli("wallet", "contacts", "import", str(tmp_path / "none.csv")).code == 2


def test_rpc_speaks_plain_parameters(cli: Cli, wallet: Keystore, node: FakeNode) -> None:
    """`height=12` is a number, a name is an account, and a slip is answered with the nearest."""
    node.overrides["chain_getBlock"] = lambda params: {"asked": params}
    done = cli("rpc", "chain_getBlock", "height=12", "transactions=full", 'hash="0x1"', "--json")
    assert json.loads(done.out)["asked"] == {"height": 12, "transactions": "full", "hash": "0x1"}
    cli("rpc", "account_get", "account=alice")
    assert node.calls[-1] == ("account_get", {"account": account_text(node.chain.alice.account)})
    slip = cli("rpc", "chain_getBlok", "height=1")
    assert (slip.code, slip.err) == (
        2,
        "No method chain_getBlok; nearest: chain_getBlock. → clawpurse methods\n",
    )
    wrong = cli("rpc", "chain_getBlock", "12")
    assert (wrong.code, wrong.err) == (
        2,
        "'12' is not K=V. → clawpurse rpc chain_getBlock height=12\n",
    )
    assert cli("methods").out.splitlines()[0].startswith("chain_getBlock\t")


def _signed(node: FakeNode) -> bytes:
    alice = node.chain.alice
    action = transfer_action("CLAW", node.chain.bob.account, 1250)
    body = build_body(
        node.chain.terms,
        REGISTRY,
        alice.account,
        Slot(0, 0),
        [action],
        valid_until_ms=START_MS + 60_000,
        fee=1,
        memo="lunch",
        idempotency_key=b"\x01",
    )
    return sign_body(body, [(Role.SENDER, alice)]).raw


def test_decoding_shows_every_field_offline(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """Who is asked to sign or send something must be able to read it without trusting a node."""
    raw = _signed(node)
    node.down = True
    done = cli("tx", "decode", f"0x{raw.hex()}")
    assert done.code == 0
    for words in ("acme-test", "“lunch”", "lane 0, sequence 0", "valid, by key"):
        assert words in done.out
    file = tmp_path / "tx.bin"
    for content in (
        raw,
        f"0x{raw.hex()}\n".encode(),
        json.dumps({"tx": f"0x{raw.hex()}"}).encode(),
    ):
        file.write_bytes(content)
        document = json.loads(cli("tx", "decode", str(file), "--json").out)
        assert document["signed"] is True
    broken = cli("tx", "decode", "0x92ff")
    assert broken.code == 2
    assert "\n" not in broken.err.strip()


def test_a_signed_transaction_is_sent_and_followed(
    cli: Cli, node: FakeNode, tmp_path: Path
) -> None:
    """Signed elsewhere, sent here; sent twice it is paid once."""
    raw = _signed(node)
    file = tmp_path / "tx.bin"
    file.write_bytes(raw)
    done = cli("tx", "submit", str(file))
    assert done.code == 0, done.err
    assert done.out.startswith("✓ Final in block 1. Proof checked.")
    again = cli("tx", "submit", str(file))
    assert again.code == 4
    assert "Nothing was sent." in again.err


def test_one_for_another_chain_is_not_sent(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """The eighth of the commonest mistakes, for those who sign by themselves."""
    alice = node.chain.alice
    body = build_body(
        node.chain.terms._replace(chain_id="acme-main", genesis_hash=b"\x11" * 32),
        REGISTRY,
        alice.account,
        Slot(0, 0),
        [transfer_action("CLAW", node.chain.bob.account, 1)],
        valid_until_ms=START_MS + 60_000,
        fee=1,
        idempotency_key=b"\x01",
    )
    file = tmp_path / "tx.bin"
    file.write_bytes(sign_body(body, [(Role.SENDER, alice)]).raw)
    done = cli("tx", "submit", str(file))
    assert (done.code, done.err) == (
        4,
        "Signed for acme-main, node runs acme-test. Nothing was sent. → add --rpc URL\n",
    )
    assert not any(method == "tx_submit" for method, _ in node.calls)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("pending", 5, "Pending after 0 s; may still be final. Do not resend."),
        ("unknown", 1, "Not seen here; it may still arrive."),
        ("expired", 4, "Expired; it will never happen."),
        ("replaced", 4, "Replaced; it will never happen."),
    ],
)
def test_unknown_pending_and_failed_are_different_answers(
    cli: Cli, node: FakeNode, status: str, code: int, words: str
) -> None:
    """A valid id never gets "not found", and nobody is told to pay again."""
    tx_id = "0x" + "cd" * 32
    node.overrides["tx_wait"] = lambda _: {"txId": tx_id, "status": status}
    done = cli("tx", "wait", tx_id, "--timeout", "0")
    assert done.code == code
    assert words in done.out
    asked = cli("tx", "wait", tx_id, "--timeout", "0", "--json")
    assert json.loads(asked.out)["status"] == status
    assert asked.code == code


@pytest.mark.usefixtures("wallet")
def test_a_shortened_id_is_taken_back(cli: Cli, node: FakeNode) -> None:
    """What a table shows can be typed; where it is not clear, nothing is guessed."""
    one, two = "0x" + "ab" * 32, "0x" + "ab" * 31 + "cd"
    listed = [{"txId": one}]
    node.overrides["account_getTransactions"] = lambda _: {
        "transactions": listed,
        "nextCursor": None,
    }
    node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
    done = cli("tx", "wait", one[:14] + "…", "--timeout", "0", "--json")
    assert json.loads(done.out)["txId"] == one
    listed.append({"txId": two})
    unclear = cli("tx", "wait", one[:14], "--timeout", "0")
    assert (unclear.code, unclear.err) == (
        2,
        "2 of your transactions begin with 0xabababababab. Give the whole id. "
        "→ clawpurse wallet history\n",
    )
    assert cli("tx", "wait", "0x" + "99" * 6, "--timeout", "0").code == 2
    assert cli("tx", "wait", "0x9999", "--timeout", "0").code == 2


def test_wait_wants_an_id_or_a_key(cli: Cli) -> None:
    """Half a question gets no half answer."""
    assert cli("tx", "wait").code == 2
    assert cli("tx", "wait", "0x12").code == 2
    assert (
        cli("tx", "wait", "0x" + "12" * 32, "--sender", "alice", "--idempotency-key", "01").code
        == 2
    )


def test_verify_refuses_what_is_no_document(cli: Cli, tmp_path: Path) -> None:
    """A typo in a file name is usage, a forged file is a rejection."""
    right = "0x" + "00" * 32
    assert cli("tx", "verify", str(tmp_path / "none"), "--genesis-hash", right).code == 2
    file = tmp_path / "x.json"
    file.write_text("not json")
    assert cli("tx", "verify", str(file), "--genesis-hash", right).code == 2
    file.write_text("{}")
    assert cli("tx", "verify", str(file), "--genesis-hash", right).code == 4
    assert cli("tx", "verify", str(file), "--genesis-hash", "0x12").code == 2
