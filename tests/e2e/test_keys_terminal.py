"""Keys at a real terminal, without any node: what is asked, what is shown, what is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.mnemonic import words_of
from tests.e2e.conftest import PASSPHRASE
from tests.e2e.test_terminal import ALTERNATE, NORMAL, Terminal, words_on

pytestmark = pytest.mark.real


@pytest.fixture
def client(tmp_path: Path) -> Path:
    return tmp_path / "client"


def outside_the_alternate_screen(said: str) -> str:
    """What stays on a terminal when the screens that it forgets are gone."""
    return re.sub(re.escape(ALTERNATE) + ".*?" + re.escape(NORMAL), "", said, flags=re.DOTALL)


def test_a_mistyped_word_is_asked_again_with_those_it_looks_like(client: Path) -> None:
    """One slip in 24 words must not cost the other 23, nor leave words on the screen."""
    words = words_of(bytes(range(32)))
    typed = [*words[:6], "slihgt", *words[7:]]
    with Terminal(client, "keys", "import", "paper") as at:
        at.until("The words, separated by blanks: ")
        at.type(" ".join(typed) + "\n")
        near = at.until("Word 7: ")
        assert "Word 7 is not in the english list; nearest: " in near
        at.type(f"{words[6]}\n")
        at.until("Passphrase (15 or more characters): ")
        at.type(f"{PASSPHRASE}\n")
        code, rest = at.end()
    assert code == 0, rest
    assert "✓ paper claw1" in re.sub("\x1b\\[[0-9;]*m", "", rest)
    assert not any(word in outside_the_alternate_screen(at.said).split() for word in words)


@pytest.fixture
def alice(client: Path) -> Keystore:
    """A home with a key whose words are known to the test."""
    keys = Keystore(client / "keys", now_ms=lambda: 1_800_000_000_000)
    keys.import_words("alice", PASSPHRASE, " ".join(words_of(bytes(range(32)))))
    return keys


def test_a_backup_is_one_when_the_paper_gives_the_account_back(
    client: Path, alice: Keystore
) -> None:
    """What a person wrote down wrongly is found out while the key is still there."""
    with Terminal(client, "keys", "backup", "alice") as at:
        at.until("Passphrase for alice: ")
        at.type(f"{PASSPHRASE}\n")
        shown = at.until("they are on paper. ")
        words = words_on(shown[shown.index(ALTERNATE) :])
        assert words == words_of(bytes(range(32)))
        at.type("\n")
        at.until("Now from the paper, all 24 words, separated by blanks: ")
        at.type(" ".join(words_of(bytes(32))) + "\n")
        at.until("These words give another account.")
        at.until("they are on paper. ")
        at.type("\n")
        at.until("Now from the paper, all 24 words, separated by blanks: ")
        at.type(" ".join(words) + "\n")
        at.until("the words of alice are backed up: a trial restore gave the same account")
        code, _ = at.end()
    assert code == 0
    assert not (client / ".restore").exists()
    left = outside_the_alternate_screen(at.said)
    assert PASSPHRASE not in left
    assert not {word for word in words if len(word) > 6} & set(left.split())


def test_three_wrong_papers_are_no_backup(client: Path, alice: Keystore) -> None:
    with Terminal(client, "keys", "backup", "alice") as at:
        at.until("Passphrase for alice: ")
        at.type(f"{PASSPHRASE}\n")
        for _ in range(3):
            at.until("they are on paper. ")
            at.type("\n")
            at.until("separated by blanks: ")
            at.type("only three words\n")
        code, rest = at.end()
    assert code == 1
    assert "What is on the paper is no backup yet. → clawpurse keys backup alice" in rest


def test_a_passphrase_is_changed_by_hand_and_weak_ones_are_told_why(
    client: Path, alice: Keystore
) -> None:
    with Terminal(client, "keys", "passphrase", "alice") as at:
        at.until("Passphrase for alice: ")
        at.type(f"{PASSPHRASE}\n")
        at.until("New passphrase (15 or more characters): ")
        at.type("alice alice alice\n")
        at.until("It is easy to guess: it repeats itself")
        at.until("New passphrase (15 or more characters): ")
        at.type("kettle sunday orbit\n")
        at.until("alice has its new passphrase")
        code, _ = at.end()
    assert code == 0
    assert alice.unlock("alice", "kettle sunday orbit").name == "alice"


def test_a_bare_secret_never_comes_to_a_terminal(client: Path, alice: Keystore) -> None:
    """A scrollback is read by whoever sits down next."""
    with Terminal(client, "keys", "export", "alice", "--secret", "--out", "-") as at:
        code, rest = at.end()
    assert code == 2
    assert "A terminal would keep the secret. Nothing was written." in rest
    target = client / "alice.pem"
    with Terminal(client, "keys", "export", "alice", "--secret", "--out", str(target)) as at:
        at.until("Whoever reads it has the money.")
        at.until("Type alice to go on: ")
        at.type("yes\n")
        code, rest = at.end()
    assert code == 2
    assert "That is not its name. Nothing was written." in rest
    assert not target.exists()
    with Terminal(client, "keys", "export", "alice", "--secret", "--out", str(target)) as at:
        at.until("Type alice to go on: ")
        at.type("alice\n")
        at.until("Passphrase for alice: ")
        at.type(f"{PASSPHRASE}\n")
        at.until("the secret of alice to ")
        code, _ = at.end()
    assert code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert alice.unlock("alice", PASSPHRASE).signer.reveal_seed().hex() not in at.said
