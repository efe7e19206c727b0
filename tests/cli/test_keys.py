"""Keys by command: what is printed, what never is, and how one gets back in."""

from __future__ import annotations

import json
from pathlib import Path

from clawpurse.ledger.address import account_text
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import PASSPHRASE, Cli
from tests.cli.fakenode import FakeNode


def test_without_a_terminal_words_go_into_a_file_or_nowhere(
    cli: Cli, home: Path, tmp_path: Path, passphrase_file: str
) -> None:
    """A log must never hold the words; a script that wants them says where to."""
    done = cli("keys", "add", "alice", "--passphrase-file", passphrase_file, "--json")
    document = json.loads(done.out)
    assert list(document) == ["name", "account", "path"]
    assert document["path"] == str(home / "keys/alice.json")
    assert done.err == "! The words were not shown. Write them down: clawpurse keys backup alice\n"
    words_file = tmp_path / "words"
    done = cli("keys", "backup", "alice", "--passphrase-file", passphrase_file, "--json",
               "--mnemonic-file", str(words_file))  # fmt: skip
    assert done.code == 0
    assert words_file.stat().st_mode & 0o777 == 0o600
    words = words_file.read_text().split()
    assert len(words) == 24
    assert not any(word in done.out + done.err for word in (" ".join(words[:2]), words[5] + " "))
    again = cli("keys", "import", "alice-again", "--passphrase-file", passphrase_file, "--json",
                "--mnemonic-file", str(words_file))  # fmt: skip
    assert json.loads(again.out)["account"] == document["account"]
    second = tmp_path / "second"
    made = cli("keys", "add", "bob", "--passphrase-file", passphrase_file, "--mnemonic-file",
               str(second), "--words", "12")  # fmt: skip
    assert made.out.startswith("✓ bob claw1")
    assert made.err == "Next: clawpurse faucet bob\n"
    assert len(second.read_text().split()) == 12


def test_what_is_there_is_never_overwritten(
    cli: Cli, tmp_path: Path, passphrase_file: str, wallet: Keystore
) -> None:
    """A key or a file of words that is gone is money that is gone."""
    before = (wallet.directory / "alice.json").read_bytes()
    done = cli("keys", "add", "alice", "--passphrase-file", passphrase_file)
    assert (done.code, done.err) == (
        1,
        "A key is named alice already. It was not touched. → clawpurse keys show alice\n",
    )
    assert (wallet.directory / "alice.json").read_bytes() == before
    words = tmp_path / "words"
    words.write_text("precious")
    done = cli("keys", "add", "carol", "--passphrase-file", passphrase_file, "--mnemonic-file",
               str(words))  # fmt: skip
    assert done.code == 2
    assert words.read_text() == "precious"
    assert not wallet.has("carol")


def test_without_terminal_and_file_there_is_no_passphrase(cli: Cli) -> None:
    """Waiting for input that never comes hangs scripts."""
    done = cli("keys", "add", "alice")
    assert (done.code, done.err) == (
        2,
        "No terminal to ask for the passphrase. → add --passphrase-file FILE\n",
    )


def test_a_short_passphrase_is_refused(cli: Cli, tmp_path: Path) -> None:
    """Fifteen characters stand between a stolen file and the money."""
    short = tmp_path / "short"
    short.write_text("only fourteen!\n")
    done = cli("keys", "add", "alice", "--passphrase-file", str(short))
    assert done.code == 2
    assert done.err == "passphrase has 14 characters, at least 15 are needed.\n"


def test_keys_are_listed_and_shown(cli: Cli, wallet: Keystore, node: FakeNode) -> None:
    """Names to addresses, whole; nothing secret."""
    account = account_text(node.chain.alice.account)
    assert cli("keys", "list").out.splitlines()[0] == f"alice\t{account}"
    shown = json.loads(cli("keys", "show", "alice", "--json").out)
    assert list(shown) == ["name", "account", "path", "publicKey", "watchOnly", "label"]
    assert shown["account"] == account
    assert cli("address", "alice").out == account + "\n"
    assert cli("receive", "alice", "--json").out == (
        json.dumps({"name": "alice", "account": account, "uri": f"clawpurse:{account}"}) + "\n"
    )
    (wallet.directory / "bob.json").write_text("{}")
    damaged = cli("keys", "list", "--json")
    assert [one["name"] for one in json.loads(damaged.out)["keys"]] == ["alice"]
    assert "bob.json is damaged" in damaged.err


def test_a_key_moves_as_a_sealed_file(
    cli: Cli, wallet: Keystore, tmp_path: Path, passphrase_file: str
) -> None:
    """An exported file opens with its passphrase, elsewhere, and with nothing else."""
    out = tmp_path / "alice.key.json"
    done = cli("keys", "export", "alice", "--out", str(out))
    assert done.code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert PASSPHRASE not in out.read_text()
    assert cli("keys", "export", "alice", "--out", str(out)).code == 2
    account = account_text(wallet.show("alice").account)
    moved = cli("keys", "import", "again", "--key-file", str(out), "--passphrase-file",
                passphrase_file, "--json")  # fmt: skip
    assert json.loads(moved.out)["account"] == account
    renamed = cli("keys", "rename", "again", "third", "--passphrase-file", passphrase_file)
    assert renamed.code == 0
    assert not wallet.has("again")
    assert account_text(wallet.show("third").account) == account


def test_deleting_wants_the_name_and_keeps_a_copy(
    cli: Cli, wallet: Keystore, home: Path, passphrase_file: str
) -> None:
    """The last line before money is gone for good."""
    asked = cli("keys", "delete", "bob")
    assert asked.code == 2
    assert "add --yes --i-understand bob" in asked.err
    assert cli("keys", "delete", "bob", "--yes").code == 2
    assert cli("keys", "delete", "bob", "--yes", "--i-understand", "alice").code == 2
    assert wallet.has("bob")
    done = cli("keys", "delete", "bob", "--yes", "--i-understand", "bob", "--json")
    copy = json.loads(done.out)["copy"]
    assert not wallet.has("bob")
    assert Path(copy).parent == home / "deleted"
    back = cli("keys", "import", "bob", "--key-file", copy, "--passphrase-file", passphrase_file)
    assert back.code == 0
    assert wallet.has("bob")


def test_the_words_are_the_way_to_a_new_passphrase(
    cli: Cli, tmp_path: Path, passphrase_file: str
) -> None:
    """Who forgot the passphrase but has the paper gets in again, as the error says."""
    words = tmp_path / "words"
    cli("keys", "add", "alice", "--passphrase-file", passphrase_file, "--mnemonic-file", str(words))
    new = tmp_path / "new"
    new.write_text("another horse battery\n")
    done = cli("keys", "import", "alice", "--mnemonic-file", str(words), "--passphrase-file",
               str(new))  # fmt: skip
    assert done.code == 0, done.err
    copy = tmp_path / "copy"
    shown = cli("keys", "backup", "alice", "--passphrase-file", str(new), "--mnemonic-file",
                str(copy))  # fmt: skip
    assert shown.code == 0
    assert copy.read_text() == words.read_text()
