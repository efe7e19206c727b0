"""Accounts of one phrase, accounts that are only looked at, labels, new passphrases, aged files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import (
    Malformed,
    OperatorError,
    StorageFault,
    WatchOnly,
    WrongPassphrase,
)
from clawpurse.wallet import keyfile
from clawpurse.wallet.home import ClientHome
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost, renewed_cost
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.watched import LABEL_CHARS_MAX, decode_label, decode_watched, encode_watched

STRANGER = bytes(range(32))
STRONGER = KdfCost(2, 16 * 2**20)


def test_accounts_of_one_phrase_count_up_and_come_back_from_paper(
    keys: Keystore, passphrase: str
) -> None:
    """24 words on paper are all accounts made from them, each at its index."""
    first, words = keys.add("alice", passphrase)
    second = keys.derive("savings", "alice", passphrase)
    third = keys.derive("rent", "savings", passphrase, new_passphrase="another passphrase 2")
    assert [one.path for one in (first, second, third)] == [
        f"m/44'/7333'/0'/0'/{index}'" for index in range(3)
    ]
    assert len({one.account for one in (first, second, third)}) == 3
    assert keys.unlock("rent", "another passphrase 2").reveal_words() == words
    again = keys.import_words("paper", passphrase, " ".join(words), index=1)
    assert again.account == second.account
    far = keys.derive("far", "alice", passphrase, index=9)
    assert far.path == "m/44'/7333'/0'/0'/9'"
    assert keys.derive("after", "alice", passphrase).path == "m/44'/7333'/0'/0'/10'"


def test_an_index_is_never_given_out_twice(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    keys.derive("savings", "alice", passphrase)
    with pytest.raises(OperatorError, match="savings is account 1 of that phrase already"):
        keys.derive("other", "alice", passphrase, index=1)
    with pytest.raises(OperatorError, match="Another key is named savings"):
        keys.derive("savings", "alice", passphrase)
    with pytest.raises(OperatorError, match="Another key is named alice"):
        keys.derive("alice", "savings", passphrase)
    # A stranger's phrase here has indexes of its own.
    keys.add("bob", passphrase)
    assert keys.derive("bob2", "bob", passphrase).path == "m/44'/7333'/0'/0'/1'"
    assert not keys.has("other")


def test_deriving_needs_words_and_the_passphrase(keys: Keystore, passphrase: str) -> None:
    keys.import_seed("raw", passphrase, b"\x07" * 32)
    with pytest.raises(OperatorError, match="raw has no words"):
        keys.derive("x", "raw", passphrase)
    keys.add("alice", passphrase)
    with pytest.raises(WrongPassphrase):
        keys.derive("x", "alice", "wrong wrong wrong")
    with pytest.raises(Malformed):
        keys.derive("../x", "alice", passphrase)
    assert keys.names() == ["alice", "raw"]


def test_a_watched_account_is_seen_and_signs_nothing(
    keys: Keystore, passphrase: str, clock: Callable[[], int]
) -> None:
    """A bookkeeper sees the treasury; taking her machine takes nothing."""
    info = keys.watch("treasury", STRANGER)
    assert info.watch_only and info.account == STRANGER and info.path is None
    assert info.file.stat().st_mode & 0o777 == 0o600
    assert keys.show("treasury") == info and keys.has("treasury")
    keys.add("alice", passphrase)
    assert keys.names() == ["alice", "treasury"] and keys.signing_names() == ["alice"]
    for refused in (
        lambda: keys.unlock("treasury", passphrase),
        lambda: keys.export_file("treasury"),
        lambda: keys.change_passphrase("treasury", passphrase, "another passphrase 2"),
        lambda: keys.derive("x", "treasury", passphrase),
        lambda: keys.show("treasury").public_key,
    ):
        with pytest.raises(WatchOnly, match="treasury is watch-only: its key is not in this"):
            refused()
    home = ClientHome(keys.directory.parent)
    assert not home.resolve("treasury", keys).is_own_key
    assert home.label_of(STRANGER, keys) == (STRANGER, "treasury", False)
    for taken in (
        lambda: keys.watch("treasury", bytes(32)),
        lambda: keys.watch("alice", bytes(32)),
        lambda: keys.add("treasury", passphrase),
        lambda: keys.import_seed("treasury", passphrase, bytes(32)),
    ):
        with pytest.raises(OperatorError, match="Another key is named"):
            taken()
    keys.delete("treasury")
    assert keys.names() == ["alice"]


def test_a_watched_account_gets_its_key_when_its_words_come(
    keys: Keystore, passphrase: str
) -> None:
    info, words = keys.add("alice", passphrase)
    keys.delete("alice")
    keys.watch("alice", info.account)
    keys.set_label("alice", "rent")
    back = keys.import_words("alice", passphrase, " ".join(words))
    assert not back.watch_only and back.label == "rent"
    assert keys.unlock("alice", passphrase).account == info.account
    assert not (keys.directory / "alice.watch").exists()


@given(st.data())
def test_a_changed_byte_of_a_watch_file_never_shows_another_account(data: st.DataObject) -> None:
    """The address carries a checksum: what is damaged is refused, never another account."""
    good = encode_watched("treasury", STRANGER)
    place = data.draw(st.integers(0, len(good) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda value: value != good[place]))
    try:
        account = decode_watched(good[:place] + bytes([octet]) + good[place + 1 :], "treasury")
    except Malformed:
        return
    assert account == STRANGER


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version":1}', "null", "[" * 900, "x" * 5000])
def test_damaged_files_beside_keys_are_typed_errors(keys: Keystore, text: str) -> None:
    keys.watch("treasury", STRANGER)
    keys.set_label("treasury", "ours")
    (keys.directory / ".treasury.label").write_text(text)
    with pytest.raises(StorageFault):
        keys.show("treasury")
    (keys.directory / ".treasury.label").unlink()
    (keys.directory / "treasury.watch").write_text(text)
    with pytest.raises(StorageFault):
        keys.show("treasury")


def test_labels_say_what_an_account_is_for(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    assert keys.set_label("alice", "Miete & Essen 家賃").label == "Miete & Essen 家賃"
    assert keys.show("alice").label == "Miete & Essen 家賃"
    assert keys.set_label("alice", "").label == ""
    for wrong in ("x" * (LABEL_CHARS_MAX + 1), "a\x1b[31m", "a\u202eb", "a\nb"):
        with pytest.raises(Malformed, match="label"):
            keys.set_label("alice", wrong)
    with pytest.raises(OperatorError, match="No key is named bob"):
        keys.set_label("bob", "x")
    with pytest.raises(Malformed):
        decode_label(b'{"version":1,"label":7}')


def test_a_new_name_takes_everything_along(keys: Keystore, passphrase: str) -> None:
    info, words = keys.add("alice", passphrase)
    keys.set_label("alice", "rent")
    moved = keys.rename("alice", "anna", passphrase)
    assert (moved.account, moved.label, moved.path) == (info.account, "rent", info.path)
    assert keys.unlock("anna", passphrase).reveal_words() == words
    keys.watch("treasury", STRANGER)
    assert keys.rename("treasury", "vault", None).account == STRANGER
    with pytest.raises(WrongPassphrase):
        keys.rename("anna", "alice", "wrong wrong wrong")
    with pytest.raises(OperatorError, match="Another key is named vault"):
        keys.rename("anna", "vault", passphrase)
    assert keys.names() == ["anna", "vault"]
    assert not [entry for entry in os.listdir(keys.directory) if "alice" in entry]


def test_a_passphrase_is_changed_without_the_words(keys: Keystore, passphrase: str) -> None:
    info, words = keys.add("alice", passphrase)
    before = info.file.read_bytes()
    assert keys.change_passphrase("alice", passphrase, "another passphrase 2") == info
    assert keys.unlock("alice", "another passphrase 2").reveal_words() == words
    old, new = keyfile.decode(before), keyfile.decode(info.file.read_bytes())
    assert old.salt != new.salt and old.nonce != new.nonce
    with pytest.raises(WrongPassphrase):
        keys.change_passphrase("alice", passphrase, "one more passphrase 3")
    for weak in ("short", "a" * 20):
        with pytest.raises(Malformed, match="passphrase"):
            keys.change_passphrase("alice", "another passphrase 2", weak)


@pytest.mark.parametrize(
    ("stored", "today", "renewed"),
    [
        (KdfCost(1, 8 * 2**20), KDF_DEFAULT, KDF_DEFAULT),
        (KdfCost(2, 128 * 2**20), KDF_DEFAULT, KDF_DEFAULT),
        (KdfCost(16, 64 * 2**20), KDF_DEFAULT, KdfCost(16, 128 * 2**20)),
        (KdfCost(4, 64 * 2**20), KDF_DEFAULT, KDF_DEFAULT),
        (KDF_DEFAULT, KDF_DEFAULT, None),
        (KdfCost(1, 512 * 2**20), KDF_DEFAULT, None),
        (KdfCost(1, 256 * 2**20), KDF_DEFAULT, KdfCost(3, 256 * 2**20)),
        (KdfCost(4, 128 * 2**20), KDF_DEFAULT, None),
    ],
)
def test_what_a_guess_costs_only_ever_rises(
    stored: KdfCost, today: KdfCost, renewed: KdfCost | None
) -> None:
    assert renewed_cost(stored, today) == renewed
    if renewed is not None:
        assert renewed.memory_bytes >= max(stored.memory_bytes, today.memory_bytes)
        assert renewed.work_bytes >= max(stored.work_bytes, today.work_bytes)
        assert renewed_cost(renewed, today) is None


def test_an_aged_file_is_sealed_anew_when_it_is_opened_and_that_is_told_once(
    keys: Keystore, passphrase: str, clock: Callable[[], int]
) -> None:
    """Keys of years ago get today's protection without anybody doing anything."""
    told: list[tuple[str, object]] = []
    info, words = keys.add("alice", passphrase)
    later = Keystore(
        keys.directory, now_ms=clock, cost=STRONGER, on_renewed=lambda *what: told.append(what)
    )
    with pytest.raises(WrongPassphrase):
        later.unlock("alice", "wrong wrong wrong")
    assert keyfile.decode(info.file.read_bytes()).cost == KdfCost(1, 8 * 2**20)
    clock.time_ms += 4_000  # type: ignore[attr-defined]
    assert later.unlock("alice", passphrase).reveal_words() == words
    assert json.loads(info.file.read_text())["kdf"]["memoryBytes"] == STRONGER.memory_bytes
    assert later.unlock("alice", passphrase).account == info.account
    assert told == [("alice", None)]
    # A wallet with lower defaults leaves it as it is.
    keys.unlock("alice", passphrase)
    assert keyfile.decode(info.file.read_bytes()).cost == STRONGER


def test_a_full_disk_does_not_keep_an_aged_key_shut(
    keys: Keystore, passphrase: str, clock: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    info, _ = keys.add("alice", passphrase)
    before = info.file.read_bytes()
    later = Keystore(
        keys.directory, now_ms=clock, cost=STRONGER, on_renewed=lambda *what: told.append(what)
    )

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        assert later.unlock("alice", passphrase).account == info.account
    assert info.file.read_bytes() == before
    assert told[0][0] == "alice" and "No space left" in str(told[0][1])
    assert later.unlock("alice", passphrase).account == info.account
    assert told[1:] == [("alice", None)]
    assert not [entry for entry in os.listdir(keys.directory) if "unfinished" in entry]


def test_a_home_without_keys_can_still_watch(tmp_path: Path, clock: Callable[[], int]) -> None:
    keys = Keystore(tmp_path / "new" / "keys", now_ms=clock)
    assert keys.watch("treasury", STRANGER).account == STRANGER
    assert keys.directory.stat().st_mode & 0o777 == 0o700
