"""Paying: what a person sees before and after, and every way in which nothing is sent."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import SYNCING, RpcError, Unreachable
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.private_database import PrivateDatabase
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode
from tests.wallet.test_state_proofs import Proving

pytestmark = pytest.mark.usefixtures("wallet")
NEW = account_text(b"\x77" * 32)


def pay(passphrase_file: str, *more: str) -> list[str]:
    command = ["wallet", "send", "bob", "12.5", "--from", "alice", "--passphrase-file"]
    return [*command, passphrase_file, "--yes", *more]


def test_a_payment_is_shown_made_proved_and_kept(
    cli: Cli, node: FakeNode, home: Path, passphrase_file: str
) -> None:
    """Whoever pays sees to whom, how much, what is left, and has a receipt afterwards."""
    done = cli(*pay(passphrase_file))
    assert done.code == 0, done.err
    bob = account_text(node.chain.bob.account)
    assert done.err.splitlines() == [
        f"  To          bob {bob}",
        "  Amount      12.50 CLAW, fee 0.01, left 987.49",
        "  Limits      ✓ 12.51 of 5,000.00 today",
        "Next: clawpurse wallet history alice",
    ]
    first, tx, receipt = done.out.splitlines()
    assert first.startswith("✓ Paid. Final in block 1 after ")
    assert first.endswith(" s. Proof checked.")
    file = Path(receipt.split()[1])
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent == home / "receipts"
    assert json.loads(file.read_text())["txId"] == tx.split()[1]


def test_json_is_what_verify_reads(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """A program gets one object, and a stranger can check it from the genesis hash alone."""
    done = cli(*pay(passphrase_file, "--json"))
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["txId", "status", "height", "index", "fee", "receipt", "proof"]
    assert (document["status"], document["fee"]) == ("final", "1")
    file = Path(passphrase_file).with_name("payment.json")
    file.write_text(done.out)
    genesis_hash = f"0x{node.chain.genesis.hash.hex()}"
    verified = cli("tx", "verify", str(file), "--genesis-hash", genesis_hash, "--json")
    assert verified.code == 0
    verdict = json.loads(verified.out)
    assert list(verdict) == ["valid", "kind", "txId", "height", "reason", "proved"]
    assert verdict["kind"] == "payment"
    assert verdict["valid"] is True
    refused = cli("tx", "verify", str(file), "--genesis-hash", "0x" + "00" * 32)
    assert refused.code == 4
    assert refused.out.startswith("✗ Not valid. genesis: ")


def test_state_is_verified_as_payments_are(cli: Cli, tmp_path: Path) -> None:
    """Balances that a node proved are checked offline and told in words; lies end with 4."""
    proving = Proving()
    file, genesis_hash = tmp_path / "balances.json", f"0x{proving.chain.genesis.hash.hex()}"
    answer = proving.answer("balances")
    file.write_text(json.dumps(answer))
    verify = ("tx", "verify", str(file), "--genesis-hash", genesis_hash)
    done = cli(*verify, "--json")
    verdict = json.loads(done.out)
    assert (done.code, verdict["valid"], verdict["kind"], verdict["height"]) == (
        0,
        True,
        "balances",
        2,
    )
    assert list(verdict) == ["valid", "kind", "height", "reason", "proved"]
    told = cli(*verify)
    assert told.out.startswith("✓ Valid. Balances of claw1") and "987.48 CLAW" in told.out
    answer["balances"][0]["amount"] = "1"
    file.write_text(json.dumps(answer))
    told = cli(*verify)
    assert told.code == 4 and told.out.startswith("✗ Not valid. document: balances ")
    verdict = json.loads(cli(*verify, "--json").out)
    assert (verdict["valid"], verdict["kind"], verdict["proved"]) == (False, "balances", [])


def test_an_edited_receipt_is_not_valid(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """A receipt that somebody improved must not pass."""
    document = json.loads(cli(*pay(passphrase_file, "--json")).out)
    document["receipt"]["events"][0]["data"]["amount"] = "125000"
    file = Path(passphrase_file).with_name("payment.json")
    file.write_text(json.dumps(document))
    done = cli("tx", "verify", str(file), "--genesis-hash", f"0x{node.chain.genesis.hash.hex()}")
    assert done.code == 4


def test_someone_who_never_received_is_pointed_out(cli: Cli, passphrase_file: str) -> None:
    """A wrong but well-formed address is as a rule one that nobody has."""
    command = ["wallet", "send", NEW, "1", "--from", "alice", "--passphrase-file", passphrase_file]
    done = cli(*command, "--yes")
    assert f"  To          {NEW}   ! first payment to this account" in done.err
    other = account_text(b"\x78" * 32)
    done = cli(*command[:2], other, *command[3:], "--yes", "--allow-new-recipient")
    assert "first payment" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["bob", "2000"],
            4,
            "alice has 1,000.00 CLAW, needs 2,000.01. Nothing was sent. → clawpurse faucet alice",
        ),
        (
            ["bob", "600", "--asset", "EUR"],
            4,
            "alice has 500.000 EUR, needs 600.000. Nothing was sent. "
            "→ clawpurse wallet receive alice",
        ),
        (
            ["bob", "12.345"],
            2,
            "12.345 has 3 decimals, CLAW has 2. Nothing was sent. → use 12.34 or 12.35",
        ),
        (
            [NEW[:-1] + ("q" if NEW[-1] != "q" else "p"), "1"],
            2,
            f"{NEW[:8]}… is mistyped (checksum). Nothing was sent. → clawpurse wallet contacts",
        ),
        (
            ["carol", "1"],
            2,
            "No key or contact is named carol. Nothing was sent. → clawpurse wallet contacts",
        ),
        (
            ["bob", "1", "--asset", "GOLD"],
            2,
            "There is no asset GOLD here. Nothing was sent. → clawpurse rpc asset_list",
        ),
        (
            ["bob", "1", "--fee", "5"],
            2,
            "A fee of 5.00 CLAW is unusual; 0.01 CLAW is enough. Nothing was sent. "
            "→ leave out --fee, or add --override",
        ),
        (
            ["bob", "1", "--fee", "0"],
            4,
            "The least fee is 0.01 CLAW. Nothing was sent. → --fee 0.01",
        ),
        (
            ["bob", "1", "--idempotency-key", "0xzz"],
            2,
            "The idempotency key is not 1…64 bytes in hex. Nothing was sent.",
        ),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    cli: Cli, node: FakeNode, passphrase_file: str, arguments: list[str], code: int, line: str
) -> None:
    """One line: what, that no money moved, and the command that comes next."""
    common = ["--from", "alice", "--passphrase-file", passphrase_file, "--yes"]
    done = cli("wallet", "send", *arguments, *common)
    assert (done.code, done.out, done.err) == (code, "", line + "\n")
    assert not node.final


def test_a_wrong_passphrase_waits(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """A guesser is slowed down, an owner is told how to get back in."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not the right one at all\n")
    done = cli(*pay(str(wrong)))
    assert (done.code, done.err) == (
        1,
        "Wrong passphrase for alice. Next try in 4 s. → clawpurse keys import alice\n",
    )
    assert not node.final


def test_a_node_of_another_network_is_refused(
    cli: Cli, node: FakeNode, home: Path, passphrase_file: str
) -> None:
    """A test network on the port of the real one must not get real payments, or the reverse."""
    (home / "config.toml").write_text(
        'network = "main"\n[networks.main]\nrpc = "http://127.0.0.1:9641"\n'
        f'chain_id = "acme-main"\ngenesis_hash = "0x{"11" * 32}"\n'
    )
    done = cli(*pay(passphrase_file))
    assert (done.code, done.err) == (
        4,
        "Signed for acme-main, node runs acme-test. Nothing was sent. → add --rpc URL\n",
    )
    assert cli(*pay(passphrase_file, "--rpc", "http://127.0.0.1:9641")).code == 0
    assert len(node.final) == 1


def test_no_node_no_payment(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """The commonest first mistake: nothing runs yet."""
    node.down = True
    done = cli(*pay(passphrase_file))
    assert (done.code, done.err) == (
        3,
        "No node answers at 127.0.0.1:9641. → make run, or add --rpc URL\n",
    )
    asked = cli(*pay(passphrase_file, "--json"))
    error = json.loads(asked.out)["error"]
    assert asked.code == 3
    assert set(error) == {"code", "name", "reason", "class", "retryable", "hint", "next"}
    assert error["retryable"] is True


def test_without_a_terminal_nobody_is_asked(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """A script that forgot --yes must not hang, nor pay."""
    arguments = pay(passphrase_file)
    arguments.remove("--yes")
    done = cli(*arguments)
    assert done.code == 2
    assert done.err.splitlines()[-1] == "No terminal to ask at. Nothing was done. → add --yes"
    done = cli("wallet", "send", "bob", "1", "--from", "alice", "--yes")
    assert done.code == 2
    assert "add --passphrase-file FILE" in done.err
    assert not node.final


def test_a_silent_node_after_sending_means_pending(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """Saying "failed" here would make people pay twice."""
    node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
    done = cli(*pay(passphrase_file, "--timeout", "1"))
    assert done.code == 5
    (tx_id,) = node.final
    assert done.err.splitlines()[-1] == (
        f"Pending after 1 s; may still be final. Do not resend. → clawpurse tx wait {tx_id}"
    )
    del node.overrides["tx_wait"]
    again = cli("tx", "wait", tx_id)
    assert again.code == 0
    assert again.out.startswith("✓ Final in block 1. Proof checked.")


def test_a_node_that_goes_away_while_it_is_told_means_pending(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """It may have taken the payment before it went."""

    def gone(_params: object) -> BaseException:
        node.overrides["tx_wait"] = lambda _: Unreachable("http://x", "refused", sent=False)
        return Unreachable("http://x", "connection lost", sent=True)

    node.overrides["tx_submit"] = gone
    done = cli(*pay(passphrase_file, "--timeout", "1"))
    assert done.code == 5
    assert "Do not resend." in done.err


def test_a_sequence_that_another_wallet_took_is_taken_anew(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """Two terminals of one person must both get through, each once."""
    answers = [RpcError(Code.SEQUENCE_LOW.rpc_code, "sequence 0 is used")]
    real = node.tx_submit
    node.overrides["tx_submit"] = lambda params: answers.pop() if answers else real(params)
    done = cli(*pay(passphrase_file))
    assert done.code == 0
    keys = {params["tx"] for method, params in node.calls if method == "tx_submit"}
    assert len(node.final) == 1
    assert keys


def test_what_the_node_refuses_is_one_line(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """The node's reason and hint reach the person."""
    node.refuse("tx_submit", Code.QUOTA_EXCEEDED, "the quota of this window is used up")
    done = cli(*pay(passphrase_file))
    assert done.code == 4
    assert done.err.splitlines()[-1] == (
        "The quota of this window is used up. Nothing was sent. → wait for the next quota window"
    )
    asked = json.loads(cli(*pay(passphrase_file, "--json")).out)["error"]
    assert (asked["code"], asked["name"]) == (-32023, "quotaExceeded")


def test_a_node_that_is_syncing_has_judged_nothing(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """The person waits or asks another node, instead of reading that a rule refused."""
    node.overrides["tx_submit"] = lambda _: RpcError(SYNCING, "syncing 10/100 (90 behind)")
    done = cli(*pay(passphrase_file))
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        "syncing 10/100 (90 behind). → wait until the node has caught up, or ask another"
    )
    asked = json.loads(cli(*pay(passphrase_file, "--json")).out)["error"]
    assert (asked["code"], asked["name"], asked["retryable"]) == (-32003, "syncing", True)


def test_rules_are_asked_before_the_person(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """Nobody confirms what will not happen."""
    node.overrides["tx_simulate"] = lambda _: {
        "code": "frozen",
        "reason": "bob's account is frozen.",
        "rule": "controls.freeze",
        "fee": "1",
        "feeMin": "1",
        "cost": 200,
        "trace": [],
    }
    done = cli(*pay(passphrase_file))
    assert done.code == 4
    assert done.err == (
        "bob's account is frozen. Nothing was sent. → clawpurse wallet balance alice\n"
    )


def test_a_proof_that_does_not_hold_is_not_believed(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """A node that says "final" without a quorum must not be printed as "Paid"."""

    def forged(params: dict[str, str]) -> object:
        proof = node.final[params["txId"]].proof()
        certificate = proof["certificate"]
        proof["certificate"] = certificate[:-2] + ("00" if certificate[-2:] != "00" else "01")
        return {"proof": proof}

    node.overrides["tx_getReceipt"] = forged
    done = cli(*pay(passphrase_file))
    assert done.code == 1
    assert "Paid" not in done.out
    assert "the proof of the receipt does not hold" in done.err


def test_the_only_key_pays_when_none_is_named(
    cli: Cli, wallet: Keystore, node: FakeNode, passphrase_file: str
) -> None:
    """With one key there is nothing to choose; with two the command says which there are."""
    arguments = ["wallet", "send", account_text(node.chain.bob.account), "1", "--yes"]
    arguments += ["--passphrase-file", passphrase_file]
    done = cli(*arguments)
    assert done.code == 2
    assert done.err.startswith("Which account? There are alice, bob. → ")
    wallet.delete("bob")
    assert cli(*arguments).code == 0


def test_on_a_full_disk_nothing_is_signed_and_afterwards_all_is_well(
    cli: Cli, node: FakeNode, passphrase_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment that was sent and not written down would be paid again by the next command."""
    assert cli(*pay(passphrase_file)).code == 0
    prepare, sent = PrivateDatabase._prepare, node.chain.height

    def full(self: PrivateDatabase, db: sqlite3.Connection) -> None:
        prepare(self, db)
        # Not one page more than there is: what SQLite says then is what it says of a full disk.
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")

    with monkeypatch.context() as crowded:
        crowded.setattr(PrivateDatabase, "_prepare", full)
        for number in range(40):
            refused = cli(*pay(passphrase_file, "--memo", f"{number} " + "x" * 200))
            if refused.code != 0:
                break
            sent += 1
    assert refused.code == 1, refused.err
    assert "disk is full" in refused.err and "Nothing was signed" in refused.err
    assert node.chain.height == sent
    assert cli(*pay(passphrase_file)).code == 0
