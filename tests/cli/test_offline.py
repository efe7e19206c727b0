"""`tx build|sign|combine|submit`: machines without a network, signers who sit apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.transactions import Role
from clawpurse.wallet.offline import FILE_BYTES_MAX, Claims, OfflineFile, from_text, to_text
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.cli.signernode import teach

pytestmark = pytest.mark.usefixtures("wallet")


@pytest.fixture
def build(cli: Cli, node: FakeNode, tmp_path: Path) -> Callable[..., Path]:
    teach(node)
    count = iter(range(100))

    def call(*more: str, by: str = "alice", pay: bool = True) -> Path:
        out = tmp_path / f"built-{next(count)}.tx"
        what = ("--pay", "bob", "12.5", "CLAW") if pay else ()
        done = cli("tx", "build", *what, "--from", by, "--out", str(out), *more)
        assert done.code == 0, done.err
        return out

    return call


@pytest.fixture
def sign(cli: Cli, node: FakeNode, tmp_path: Path, passphrase_file: str) -> Callable[..., Done]:
    def call(file: Path, out: str, *more: str, by: str = "alice") -> Done:
        before = len(node.calls)
        done = cli("tx", "sign", str(file), "--from", by, "--out", str(tmp_path / out), "--yes",
                   "--passphrase-file", passphrase_file, *more)  # fmt: skip
        assert len(node.calls) == before, "signing asked a node"
        return done

    return call


def test_what_one_machine_builds_another_signs_and_the_first_sends(
    cli: Cli, node: FakeNode, build: Any, sign: Any, tmp_path: Path
) -> None:
    """A key that never saw a network pays; every field was read first."""
    file = build("--memo", "rent", "--fee", "0.05")
    done = sign(file, "signed.tx")
    assert done.code == 0, done.err
    bob, said = account_text(node.chain.bob.account), done.err
    for words in (
        "acme-test, genesis 0x", f"12.50 CLAW to bob ({bob})", "0.05 CLAW, paid by the sender",
        "“rent”", "lane 0, sequence 0", "Valid until", "Idempotency", "Transaction   0x",
        "CLAW: 1.00 is 100 minor units, as the file claims", "No network is pinned here",
        "You sign as the sender for alice",
    ):  # fmt: skip
        assert words in said, words
    assert "1 signed" in done.out and "tx submit" in done.err
    sent = cli("tx", "submit", str(tmp_path / "signed.tx"))
    assert sent.code == 0, sent.err
    assert "Final in block" in sent.out
    shown = cli("tx", "decode", str(tmp_path / "signed.tx"))
    assert "valid, by key" in shown.out
    assert "1,250 minor units" in cli("tx", "decode", str(file)).out


def test_a_file_without_a_signature_is_not_sent(cli: Cli, build: Any) -> None:
    """It would be refused by every node; the next step is said instead."""
    file = build()
    done = cli("tx", "submit", str(file))
    assert done.code == 2 and "Nobody has signed it" in done.err


def test_a_sponsor_and_a_sender_sign_apart(cli: Cli, build: Any, sign: Any, tmp_path: Path) -> None:
    """Two people in two places make one payment; a file passed round twice counts once."""
    file = build("--payer", "bob")
    first = sign(file, "a.tx")
    assert first.code == 0 and "Who pays the fee has not signed" in first.out
    second = sign(file, "b.tx", by="bob")
    assert second.code == 0 and "as who pays the fee for bob" in second.err
    assert "The sender has not signed" in second.out
    a, b, out = (str(tmp_path / name) for name in ("a.tx", "b.tx", "all.tx"))
    done = cli("tx", "combine", a, b, a, "--out", out)
    assert done.code == 0, done.err
    assert "2 signed" in done.out and done.err.count("kept once") == 1
    assert cli("tx", "submit", out).code == 0
    again = sign(Path(a), "c.tx")
    assert again.code == 2 or "in the file already" in again.err


def test_signers_of_one_account_sign_apart(
    cli: Cli, node: FakeNode, build: Any, sign: Any, tmp_path: Path, passphrase_file: str
) -> None:
    """Who is missing is said by name, and the account pays when enough signed."""
    as_alice = ["--from", "alice", "--yes", "--passphrase-file", passphrase_file]
    made = cli("multisig", "create", "2", "alice", "bob", *as_alice, "--json")
    firm = json.loads(made.out)["account"]
    cli("wallet", "contacts", "add", "firm", firm)
    paid = cli("wallet", "send", "firm", "100", *as_alice, "--allow-new-recipient")
    assert paid.code == 0, paid.err
    file = build(by="firm")
    first = sign(file, "a.tx")
    assert first.code == 0, first.err
    assert "You sign as the sender for firm" in first.err
    assert "A weight of 1 is missing; not signed by bob." in first.out
    assert sign(file, "b.tx", by="bob").code == 0
    names = [str(tmp_path / name) for name in ("a.tx", "b.tx")]
    done = cli("tx", "combine", *names, "--out", str(tmp_path / "all.tx"))
    assert done.code == 0 and "2 signed" in done.out and "missing" not in done.out
    sent = cli("tx", "submit", str(tmp_path / "all.tx"))
    assert sent.code == 0, sent.err


def test_other_transactions_and_foreign_signatures_are_found(
    cli: Cli, node: FakeNode, build: Any, sign: Any, tmp_path: Path
) -> None:
    """A swapped file would make two people sign two different payments."""
    one, other = build(), build("--memo", "else")
    assert sign(one, "a.tx").code == 0 and sign(other, "b.tx").code == 0
    a, b = tmp_path / "a.tx", tmp_path / "b.tx"
    done = cli("tx", "combine", str(a), str(b), "--out", str(tmp_path / "x.tx"))
    assert done.code == 2 and "b.tx is another transaction" in done.err and "memo" in done.err
    first, second = from_text(a.read_bytes()), from_text(b.read_bytes())
    grafted = OfflineFile(first.body_bytes, second.signatures, first.claims)
    b.write_text(to_text(grafted))
    done = cli("tx", "combine", str(a), str(b), "--out", str(tmp_path / "x.tx"))
    assert done.code == 2 and "foreign" in done.err and done.err.count("\n") == 1
    stranger = node.chain.bob
    entry = stranger.sign_body(Role.PAYER, first.body.genesis_hash, first.body_bytes)
    b.write_text(to_text(OfflineFile(first.body_bytes, (entry,), first.claims)))
    done = cli("tx", "combine", str(a), str(b), "--out", str(tmp_path / "x.tx"))
    assert done.code == 2 and "no such part" in done.err


def test_hostile_files_give_one_line(cli: Cli, build: Any, sign: Any, tmp_path: Path) -> None:
    """Whoever hands over a stick must not choose what is signed, nor crash the signer."""
    file = build("--memo", "rent")
    data = file.read_bytes()
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 1
        with pytest.raises(Exception) as caught:
            found = from_text(bytes(broken))
            assert found == from_text(data), "read as something else"
            raise ValueError("the same")
        assert type(caught.value).__name__ in ("Malformed", "ValueError"), (place, caught.value)
    wrong = tmp_path / "wrong.tx"
    for content in (
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 5_000, b"[" * 90_000, b"1" * 5_000,
        b'"' + b"a" * FILE_BYTES_MAX, data.replace(b'"version": 1', b'"version": true'),
        data.replace(b'"version": 1', b'"version": 2'), data[:-9],
        data.replace(b'"signatures": []', b'"signatures": {}'),
        data.replace(b'"format"', b'"txId": "", "format"'),
    ):  # fmt: skip
        wrong.write_bytes(content)
        done = sign(wrong, "never.tx")
        assert done.code == 2, content[:40]
        assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert sign(tmp_path / "none.tx", "never.tx").code == 2
    assert not (tmp_path / "never.tx").exists()


def test_a_wrong_precision_is_called_a_claim(
    cli: Cli, node: FakeNode, build: Any, sign: Any, tmp_path: Path
) -> None:
    """The machine with the network could show 12.50 as 0.1250; the genesis file settles it."""
    file = build()
    honest = from_text(file.read_bytes())
    lie = Claims({"CLAW": 4}, {node.chain.bob.account: "mallory"})
    file.write_text(to_text(OfflineFile(honest.body_bytes, (), lie)))
    done = sign(file, "a.tx")
    assert "0.1250 CLAW to bob" in done.err and "as the file claims" in done.err
    assert "mallory" not in done.err, "the own label counts"
    genesis = tmp_path / "genesis.json"
    genesis.write_text(node.chain.genesis.to_json())
    genesis.chmod(0o600)
    done = sign(file, "b.tx", "--genesis", str(genesis))
    assert done.code == 0, done.err
    assert "12.50 CLAW to bob" in done.err and "by the genesis file" in done.err


def test_nothing_unreadable_is_signed(cli: Cli, build: Any, sign: Any, node: FakeNode) -> None:
    """An action that cannot be said in words could be anything."""
    file = build()
    honest = from_text(file.read_bytes())
    action = honest.body.actions[0]._replace(name="assets.transmute")
    body = honest.body._replace(actions=(action,), memo="pay \u202egnihton\x1b[2J".encode())
    file.write_text(to_text(OfflineFile(body.pack())))
    done = sign(file, "a.tx")
    assert done.code != 0 and "what cannot be read is not signed" in done.err
    body = honest.body._replace(memo="pay \u202egnihton\x1b[2J".encode())
    file.write_text(to_text(OfflineFile(body.pack(), (), honest.claims)))
    done = sign(file, "b.tx")
    assert done.code == 0, done.err
    assert "\\u202egnihton\\x1b[2J" in done.err and "\x1b" not in done.err


def test_another_network_is_refused_where_one_is_pinned(
    cli: Cli, build: Any, sign: Any, tmp_path: Path
) -> None:
    """A test payment must not become one on the network that matters."""
    file = build()
    for key, value in (("rpc", "http://127.0.0.1:1"), ("genesis_hash", "0x" + "11" * 32)):
        assert cli("config", "set", f"networks.main.{key}", value).code == 0
    assert cli("config", "set", "network", "main").code == 0
    done = sign(file, "a.tx")
    assert done.code == 4 and "not for main" in done.err


def test_keys_without_part_expired_files_and_taken_names(
    cli: Cli, build: Any, sign: Any, clock: Any, tmp_path: Path
) -> None:
    """Each is said before a passphrase is asked."""
    file = build()
    done = sign(file, "a.tx", by="bob")
    assert done.code == 2 and "no part" in done.err
    done = sign(file, "bob.tx", "--as", "approver", by="bob")
    assert done.code == 0 and "You sign as an approver for bob" in done.err
    assert sign(file, "bob.tx").code == 2
    clock.time_ms += 90_000_000
    assert sign(file, "late.tx").code == 4
    done = cli("tx", "build", "--from", "alice", "--out", str(tmp_path / "n.tx"))
    assert done.code == 2 and "Build what?" in done.err
