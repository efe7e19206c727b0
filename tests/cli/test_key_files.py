"""Keys in and out of files by command: other software's, bare secrets, backups that restore."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.wallet.imports import pkcs8_pem
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.mnemonic import words_of
from tests.cli.conftest import PASSPHRASE, Cli

VECTORS = Path(__file__).parent.parent / "vectors"
SEED = bytes(range(200, 232))
STRANGER = account_text(bytes(range(32)))


def file_with(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text", [SEED.hex(), f"0x{SEED.hex()}\n", pkcs8_pem(SEED)], ids=["hex", "0x", "pem"]
)
def test_a_bare_secret_comes_in_and_its_file_is_not_forgotten(
    cli: Cli, tmp_path: Path, passphrase_file: str, text: str
) -> None:
    """Whoever moves from other software is told that the open copy still lies there."""
    bare = file_with(tmp_path / "bare", text)
    done = cli("keys", "import", "old", "--key-file", bare, "--passphrase-file", passphrase_file,
               "--label", "from before")  # fmt: skip
    assert done.code == 0, done.err
    assert "still holds the bare secret" in done.err
    shown = json.loads(cli("keys", "show", "old", "--json").out)
    assert shown["account"] == account_text(public_key_of(SEED))
    assert shown["label"] == "from before"
    assert SEED.hex() not in done.out + done.err


def test_a_bare_secret_comes_in_through_a_pipe(
    cli: Cli, passphrase_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Piped:
        buffer = io.BytesIO(SEED.hex().encode() + b"\n")

        @staticmethod
        def isatty() -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Piped())
    done = cli("keys", "import", "old", "--key-file", "-", "--passphrase-file", passphrase_file,
               "--json")  # fmt: skip
    assert json.loads(done.out)["account"] == account_text(public_key_of(SEED))


def test_the_older_wallet_s_keystore_brings_its_words(
    cli: Cli, tmp_path: Path, passphrase_file: str
) -> None:
    """Its users keep their 24 words, and are told that the address is another chain's."""
    older = str(VECTORS / "clawpurse2_keystore.json")
    old_passphrase = file_with(tmp_path / "old", "an older passwörd\n")
    wrong = cli("keys", "import", "moved", "--key-file", older,
                "--passphrase-file", passphrase_file)  # fmt: skip
    assert wrong.code == 1
    assert "Wrong passphrase for" in wrong.err
    done = cli("keys", "import", "moved", "--key-file", older,
               "--old-passphrase-file", old_passphrase,
               "--passphrase-file", passphrase_file)  # fmt: skip
    assert done.code == 0, done.err
    assert "its funds stay there" in done.err
    words = tmp_path / "words"
    cli("keys", "backup", "moved", "--passphrase-file", passphrase_file,
        "--mnemonic-file", str(words))  # fmt: skip
    assert words.read_text().split() == words_of(bytes(range(64, 96)))


def test_damaged_and_foreign_files_are_one_line_of_error(
    cli: Cli, tmp_path: Path, passphrase_file: str
) -> None:
    for number, text in enumerate(("{", "{}", "hello", '{"encryptedMnemonic":1}', "")):
        bad = file_with(tmp_path / f"bad{number}", text)
        done = cli("keys", "import", "bad", "--key-file", bad, "--passphrase-file", passphrase_file)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
    gone = cli("keys", "import", "bad", "--key-file", str(tmp_path / "gone"))
    assert gone.code == 2 and "is not there" in gone.err


def test_the_bare_secret_leaves_only_by_its_name_and_into_a_file(
    cli: Cli, wallet: Keystore, tmp_path: Path, passphrase_file: str
) -> None:
    """No slip of the fingers puts a secret on a screen or into a log."""
    seed = wallet.unlock("alice", PASSPHRASE).signer.reveal_seed()
    out = tmp_path / "alice.pem"
    base = ("keys", "export", "alice", "--secret", "--passphrase-file", passphrase_file)
    named = ("--yes", "--i-understand", "alice")
    assert "add --out FILE" in cli(*base, *named).err
    asked = cli(*base, "--out", str(out))
    assert asked.code == 2 and "Nothing was written. → add --yes --i-understand alice" in asked.err
    for wrong in (("--yes",), ("--yes", "--i-understand", "bob"), ("--i-understand", "alice")):
        assert cli(*base, "--out", str(out), *wrong).code == 2
    assert not out.exists()
    done = cli(*base, "--out", str(out), *named, "--json")
    assert done.code == 0, done.err
    assert out.read_text() == pkcs8_pem(seed)
    assert out.stat().st_mode & 0o777 == 0o600
    assert seed.hex() not in done.out + done.err
    assert cli(*base, "--out", str(out), *named).code == 2
    for form in ("hex", "base64"):
        target = tmp_path / form
        assert cli(*base, "--out", str(target), "--format", form, *named).code == 0
        again = cli("keys", "import", f"a-{form}", "--key-file", str(target),
                    "--passphrase-file", passphrase_file, "--json")  # fmt: skip
        assert json.loads(again.out)["account"] == account_text(wallet.show("alice").account)
    assert cli(*base, "--out", "-", *named, "--json").code == 2


def test_a_backup_ends_with_a_restore_from_the_file(
    cli: Cli,
    home: Path,
    tmp_path: Path,
    passphrase_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of words that does not give the account back is not called a backup."""
    cli("keys", "add", "alice", "--passphrase-file", passphrase_file)
    done = cli("keys", "backup", "alice", "--passphrase-file", passphrase_file,
               "--mnemonic-file", str(tmp_path / "good"), "--json")  # fmt: skip
    assert json.loads(done.out)["restored"] is True
    assert not (home / ".restore").exists()

    def badly(path: Path, words: list[str], name: str) -> None:
        path.write_text(" ".join(words_of(bytes(32))))

    monkeypatch.setattr("clawpurse.cli.key_files.write_words", badly)
    done = cli("keys", "backup", "alice", "--passphrase-file", passphrase_file,
               "--mnemonic-file", str(tmp_path / "bad"))  # fmt: skip
    assert done.code == 1 and "It is no backup." in done.err
    assert not (home / ".restore").exists()


def test_accounts_of_one_phrase_and_accounts_to_look_at(
    cli: Cli, wallet: Keystore, passphrase_file: str
) -> None:
    """One paper, several accounts; and one that is only looked at says so in every list."""
    cli("keys", "add", "carol", "--passphrase-file", passphrase_file)
    done = cli("keys", "add", "savings", "--from-phrase-of", "carol",
               "--passphrase-file", passphrase_file, "--label", "for later")  # fmt: skip
    assert done.code == 0, done.err
    assert "The words and the passphrase of carol are those of savings too." in done.err
    watched = cli("keys", "add", "treasury", "--watch", STRANGER, "--json")
    assert json.loads(watched.out)["account"] == STRANGER
    rows = [line.split("\t") for line in cli("keys", "list").out.splitlines()]
    assert {row[0]: row[2:] for row in rows} == {
        "alice": ["key", ""],
        "bob": ["key", ""],
        "carol": ["key", ""],
        "savings": ["key", "for later"],
        "treasury": ["watch-only", ""],
    }
    listed = json.loads(cli("keys", "list", "--json").out)["keys"]
    assert [one["name"] for one in listed if one["watchOnly"]] == ["treasury"]
    assert json.loads(cli("keys", "show", "treasury", "--json").out)["publicKey"] is None
    assert json.loads(cli("keys", "label", "treasury", "ours", "--json").out)["label"] == "ours"
    assert "watch-only: its key is not here" in cli("keys", "show", "treasury").out
    refused = cli("wallet", "send", "bob", "1", "--from", "treasury",
                  "--passphrase-file", passphrase_file, "--yes")  # fmt: skip
    assert refused.code != 0
    exported = cli("keys", "export", "treasury")
    assert exported.code == 1
    assert exported.err == (
        "treasury is watch-only: its key is not in this wallet. → clawpurse keys import treasury\n"
    )
    assert cli("keys", "rename", "treasury", "vault").code == 0
    gone = cli("keys", "delete", "vault", "--yes", "--i-understand", "vault", "--json")
    assert json.loads(gone.out) == {"deleted": "vault", "copy": None}


def test_options_that_mean_nothing_together_are_refused(cli: Cli, tmp_path: Path) -> None:
    for wrong in (
        ("--watch", STRANGER, "--from-phrase-of", "alice"),
        ("--index", "3"),
        ("--watch", STRANGER, "--mnemonic-file", str(tmp_path / "w")),
    ):
        assert cli("keys", "add", "x", *wrong).code == 2
    assert cli("keys", "add", "x", "--watch", STRANGER[:-1] + "q").code == 2
    assert cli("keys", "add", "x", "--watch", STRANGER, "--label", "a\x1bb").code == 2


def test_a_passphrase_is_changed_and_the_old_one_is_asked_for(
    cli: Cli, wallet: Keystore, tmp_path: Path, passphrase_file: str
) -> None:
    new = file_with(tmp_path / "new", "another horse battery\n")
    lacking = cli("keys", "passphrase", "alice", "--passphrase-file", passphrase_file)
    assert lacking.code == 2 and "--new-passphrase-file" in lacking.err
    done = cli("keys", "passphrase", "alice", "--passphrase-file", passphrase_file,
               "--new-passphrase-file", new)  # fmt: skip
    assert done.code == 0, done.err
    assert wallet.unlock("alice", "another horse battery").name == "alice"
    weak = file_with(tmp_path / "weak", "passwordpassword\n")
    refused = cli("keys", "passphrase", "alice", "--passphrase-file", new,
                  "--new-passphrase-file", weak)  # fmt: skip
    assert refused.code == 2
    assert "is easy to guess: it repeats itself" in refused.err


def test_a_passphrase_comes_through_a_descriptor(cli: Cli, passphrase_file: str) -> None:
    """Nothing on disk, nothing in `ps`: what a service manager hands over."""
    reader, writer = os.pipe()
    os.write(writer, PASSPHRASE.encode() + b"\n")
    os.close(writer)
    done = cli("keys", "add", "alice", "--passphrase-fd", str(reader), "--json")
    os.close(reader)
    assert done.code == 0, done.err
    both = cli("keys", "add", "bob", "--passphrase-fd", "3", "--passphrase-file", passphrase_file)
    assert both.code == 2 and "exclude each other" in both.err
    closed = cli("keys", "add", "bob", "--passphrase-fd", "987")
    assert closed.code == 1 and "Cannot read the passphrase file /dev/fd/987" in closed.err


def test_an_aged_file_says_once_that_it_was_sealed_anew(
    cli: Cli, wallet: Keystore, tmp_path: Path, passphrase_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base = ("keys", "export", "alice", "--secret", "--passphrase-file", passphrase_file,
            "--yes", "--i-understand", "alice", "--out")  # fmt: skip

    def stronger(*arguments: object, **named: object) -> Keystore:
        return Keystore(*arguments, **{**named, "cost": KdfCost(2, 16 * 2**20)})  # type: ignore[arg-type]

    monkeypatch.setattr("clawpurse.wallet.home.Keystore", stronger)
    told = [cli(*base, str(tmp_path / f"out{number}")).err for number in range(2)]
    assert "The file of alice was sealed anew: a guess costs more now." in told[0]
    assert "sealed anew" not in told[1]
