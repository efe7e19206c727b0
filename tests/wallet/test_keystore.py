"""Keys survive crashes, races, damage and guessing; nobody gets them without the passphrase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault, WrongPassphrase
from clawpurse.wallet import keyfile
from clawpurse.wallet.keyfile import KdfCost, KeyRecord, Secret
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.mnemonic import words_of

ROOT = Path(__file__).resolve().parent.parent.parent
FROZEN_PASSPHRASE = "frozen in a test vector"
FROZEN_WORDS = words_of(bytes(range(1, 33)))


def files(keys: Keystore) -> list[str]:
    return sorted(entry.name for entry in keys.directory.iterdir())


def test_a_new_key_opens_again_and_its_words_bring_it_back(keys: Keystore, passphrase: str) -> None:
    info, words = keys.add("alice", passphrase)
    assert len(words) == 24 and info.path == "m/44'/7333'/0'/0'/0'"
    assert info.account == info.public_key
    assert info.file.stat().st_mode & 0o777 == 0o600
    assert keys.directory.stat().st_mode & 0o777 == 0o700
    assert keys.names() == ["alice"] and keys.has("alice") and keys.show("alice") == info
    opened = keys.unlock("alice", passphrase)
    assert opened.account == info.account and opened.signer.public_key == info.public_key
    assert opened.reveal_words() == words
    again = keys.import_words("alice2", passphrase, " ".join(words))
    assert (again.account, again.public_key) == (info.account, info.public_key)


@pytest.mark.parametrize("count", [12, 15, 18, 21, 24])
def test_every_length_of_words_is_offered(keys: Keystore, passphrase: str, count: int) -> None:
    info, words = keys.add("k", passphrase, word_count=count, language="japanese")
    assert len(words) == count
    assert keys.unlock("k", passphrase).reveal_words() == words
    assert keys.import_words("other", passphrase, "\u3000".join(words)).account == info.account


def test_a_seed_without_words_is_kept_too(keys: Keystore, passphrase: str) -> None:
    info = keys.import_seed("raw", passphrase, b"\x07" * 32, account=b"\x09" * 32)
    opened = keys.unlock("raw", passphrase)
    assert info.path is None and info.account == b"\x09" * 32
    assert opened.reveal_words() is None and opened.language is None
    assert opened.signer.reveal_seed() == b"\x07" * 32


def test_an_exported_file_opens_elsewhere_with_its_passphrase(
    keys: Keystore, passphrase: str, tmp_path: Path, clock: Callable[[], int], cheap: KdfCost
) -> None:
    info, words = keys.add("alice", passphrase)
    data = keys.export_file("alice")
    other = Keystore(tmp_path / "other", now_ms=clock, cost=cheap)
    with pytest.raises(WrongPassphrase):
        other.import_file("a", passphrase + "!", data)
    assert other.import_file("a", passphrase, data).account == info.account
    assert other.unlock("a", passphrase).reveal_words() == words


def test_another_key_of_that_name_is_never_overwritten(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    before = keys.export_file("alice")
    for attempt in (
        lambda: keys.add("alice", passphrase),
        lambda: keys.import_words("alice", passphrase, " ".join(FROZEN_WORDS)),
        lambda: keys.import_seed("alice", passphrase, bytes(32)),
    ):
        with pytest.raises(OperatorError, match=r"Another key is named alice\. It was not touched"):
            attempt()
    assert keys.export_file("alice") == before


def test_whoever_lost_the_passphrase_sets_a_new_one_with_the_words(
    keys: Keystore, passphrase: str
) -> None:
    """`Wrong passphrase … → clawpurse keys import alice` must lead somewhere."""
    info, words = keys.add("alice", passphrase)
    with pytest.raises(WrongPassphrase) as caught:
        keys.unlock("alice", "something else entirely")
    assert caught.value.next_command == "clawpurse keys import alice"
    assert keys.import_words("alice", "a brand new passphrase", " ".join(words)) == info
    assert keys.unlock("alice", "a brand new passphrase").account == info.account


@pytest.mark.parametrize(
    "name", ["", "Alice", "../a", "a/b", ".a", "-a", "a" * 33, "claw1x", "clawval1", "é", "a b"]
)
def test_names_that_could_escape_or_confuse_are_refused(
    keys: Keystore, passphrase: str, name: str
) -> None:
    for act in (
        lambda: keys.add(name, passphrase),
        lambda: keys.show(name),
        lambda: keys.unlock(name, passphrase),
        lambda: keys.delete(name),
    ):
        with pytest.raises(Malformed, match="name"):
            act()
    assert not keys.has(name)


def test_passphrases_below_fifteen_characters_are_refused_for_new_keys(keys: Keystore) -> None:
    with pytest.raises(Malformed, match="has 14 characters, at least 15"):
        keys.add("alice", "x" * 14)
    assert not keys.has("alice")
    keys.add("alice", "é un passphrase")


def test_one_passphrase_typed_on_two_keyboards_opens_the_key(keys: Keystore) -> None:
    keys.add("alice", "caf\u00e9 \ufb01ve fifty \u2460")
    assert keys.unlock("alice", "cafe\u0301 five fifty 1").name == "alice"


def test_wrong_passphrases_wait_longer_and_longer(
    keys: Keystore, passphrase: str, clock: Any, tmp_path: Path, cheap: KdfCost
) -> None:
    keys.add("alice", passphrase)
    for wait_s in (4, 8, 16, 32, 64, 128, 256, 300, 300):
        with pytest.raises(WrongPassphrase) as caught:
            keys.unlock("alice", "wrong wrong wrong")
        line = f"Wrong passphrase for alice. Next try in {wait_s} s. → clawpurse keys import alice"
        assert str(caught.value) == line and caught.value.tried
        clock.time_ms += wait_s * 1000 - 1
        # The wait is kept on disk: a new process does not start afresh.
        fresh = Keystore(keys.directory, now_ms=clock, cost=cheap)
        with pytest.raises(WrongPassphrase, match="Next try in 1 s") as early:
            fresh.unlock("alice", passphrase)
        assert not early.value.tried and early.value.wait_ms == 1
        clock.time_ms += 1
    keys.unlock("alice", passphrase)
    assert ".alice.guesses" not in files(keys)
    with pytest.raises(WrongPassphrase, match="Next try in 4 s"):
        keys.unlock("alice", "wrong wrong wrong")


def test_a_short_guess_counts_like_any_other(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    with pytest.raises(WrongPassphrase, match="Next try in 4 s"):
        keys.unlock("alice", "x")


def test_a_clock_set_back_does_not_lock_the_owner_out(
    keys: Keystore, passphrase: str, clock: Any
) -> None:
    keys.add("alice", passphrase)
    with pytest.raises(WrongPassphrase):
        keys.unlock("alice", "wrong wrong wrong")
    clock.time_ms -= 10**9
    with pytest.raises(WrongPassphrase) as caught:
        keys.unlock("alice", passphrase)
    assert caught.value.wait_ms == 4000 and not caught.value.tried
    clock.time_ms += 4000
    assert keys.unlock("alice", passphrase).name == "alice"


@pytest.mark.parametrize("text", ["", "{}", "[", "null", '{"version":1,"failures":0}', "x" * 999])
def test_a_damaged_guess_count_is_not_taken_as_zero(
    keys: Keystore, passphrase: str, text: str
) -> None:
    keys.add("alice", passphrase)
    (keys.directory / ".alice.guesses").write_text(text)
    with pytest.raises(StorageFault):
        keys.unlock("alice", passphrase)


def test_a_missing_key_names_the_command_that_makes_one(keys: Keystore, passphrase: str) -> None:
    with pytest.raises(OperatorError, match=r"No key is named bob\..*→ clawpurse keys add bob"):
        keys.unlock("bob", passphrase)
    assert keys.names() == [] and not keys.directory.exists()


def test_a_renamed_file_does_not_pass_as_another_key(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    keys.show("alice").file.rename(keys.directory / "bob.json")
    with pytest.raises(StorageFault, match=r"damaged .name is 'alice'.*keys import bob"):
        keys.unlock("bob", passphrase)


def test_a_damaged_file_is_told_apart_from_a_wrong_passphrase_and_replaced_by_import(
    keys: Keystore, passphrase: str
) -> None:
    info, words = keys.add("alice", passphrase)
    broken = info.file.read_bytes().replace(b'"passes": 1', b'"passes": 2')
    info.file.write_bytes(broken)
    for act in (lambda: keys.unlock("alice", passphrase), lambda: keys.show("alice")):
        with pytest.raises(StorageFault, match=r"damaged .checksum.*→ clawpurse keys import alice"):
            act()
    assert keys.names() == ["alice"]
    assert keys.import_words("alice", passphrase, " ".join(words)) == info
    assert keys.unlock("alice", passphrase).account == info.account
    # What lay there is kept: it may be the only copy of something.
    assert (keys.directory / "alice.damaged-1").read_bytes() == broken


def test_deleting_leaves_nothing_behind(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    with pytest.raises(WrongPassphrase):
        keys.unlock("alice", "wrong wrong wrong")
    keys.delete("alice")
    assert files(keys) == []


def test_secrets_do_not_show_in_prints_errors_or_files(keys: Keystore, passphrase: str) -> None:
    info, words = keys.add("alice", passphrase)
    opened = keys.unlock("alice", passphrase)
    seed = opened.signer.reveal_seed()
    entropy = opened.secret.data
    shown = [repr(opened), str(opened), repr(opened.secret), f"{opened.signer}", repr(keys)]
    shown.append(info.file.read_text())
    with pytest.raises(WrongPassphrase) as caught:
        keys.unlock("alice", "my secret guess 1")
    shown += [repr(caught.value), str(caught.value), repr(caught.value.__dict__)]
    for text in shown:
        assert seed.hex() not in text and entropy.hex() not in text
        assert words[0] + " " + words[1] not in text and "my secret guess" not in text
        assert passphrase not in text


def change(document: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        document = document[parent]
    if value is ...:
        del document[last]
    else:
        document[last] = value


HOSTILE = [
    ("kdf.memoryBytes", 64 * 2**30),
    ("kdf.memoryBytes", 2**30 + 1),
    ("kdf.memoryBytes", 8192),
    ("kdf.memoryBytes", -1),
    ("kdf.memoryBytes", True),
    ("kdf.memoryBytes", "134217728"),
    ("kdf.memoryBytes", 1e9),
    ("kdf.passes", 0),
    ("kdf.passes", 2**31),
    ("kdf.passes", 17),
    ("kdf.algorithm", "argon2i"),
    ("kdf.salt", "0x00"),
    ("kdf.salt", "0x" + "00" * 17),
    ("kdf.salt", ...),
    ("kdf.extra", 1),
    ("kdf", []),
    ("cipher.algorithm", "aes"),
    ("cipher.nonce", "0x" + "0g" * 24),
    ("cipher.nonce", "0X" + "00" * 24),
    ("cipher.sealed", "0x" + "00" * 257),
    ("cipher.sealed", "0x"),
    ("cipher.sealed", "0x 00" + "00" * 20),
    ("format", "something"),
    ("version", 2),
    ("version", True),
    ("name", "../../etc/passwd"),
    ("name", "bob"),
    ("name", 7),
    ("account", "claw1qqqq"),
    ("account", None),
    ("publicKey", "0x" + "11" * 31),
    ("publicKey", "0x" + "11" * 32),
    ("path", "m/44/0"),
    ("path", "m/44'/7333'/0'/0'/1'"),
    ("path", None),
    ("path", 5),
    ("checksum", "0x" + "00" * 32),
    ("checksum", ...),
    ("unknown", 1),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE)
def test_hostile_fields_are_refused_before_any_work_is_done(
    keys: Keystore, passphrase: str, path: str, value: object
) -> None:
    info, _ = keys.add("alice", passphrase)
    document = json.loads(info.file.read_text())
    change(document, path, value)
    info.file.write_text(json.dumps(document))
    started = time.process_time()
    with pytest.raises(StorageFault, match="is damaged"):
        keys.unlock("alice", passphrase)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("passes_mib", [(5, 1024), (16, 512)])
def test_a_file_may_not_ask_for_minutes_of_work(
    keys: Keystore, passphrase: str, passes_mib: tuple[int, int]
) -> None:
    info, _ = keys.add("alice", passphrase)
    document = json.loads(info.file.read_text())
    document["kdf"]["passes"], document["kdf"]["memoryBytes"] = passes_mib[0], passes_mib[1] << 20
    info.file.write_text(json.dumps(document))
    with pytest.raises(StorageFault, match="asks for more work"):
        keys.show("alice")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 16000,
        b"{}",
        b"null",
        b'{"format":"x","format":"y"}',
        b"x" * 20000,
        b"[1.5]",
        b"NaN",
        b"[Infinity]",
        b'{"a":' * 3000,
    ],
)
def test_any_bytes_in_place_of_a_key_file_are_a_typed_error(
    keys: Keystore, passphrase: str, data: bytes
) -> None:
    info, _ = keys.add("alice", passphrase)
    info.file.write_bytes(data)
    with pytest.raises(StorageFault):
        keys.unlock("alice", passphrase)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "mallory"),
        ("account", b"\x01" * 32),
        ("public_key", b"\x02" * 32),
        ("path", "m/44'/7333'/0'/0'/9'"),
        ("path", None),
        ("cost", KdfCost(2, 8 * 2**20)),
        ("salt", b"\x03" * 16),
        ("nonce", b"\x04" * 24),
        ("sealed", b"\x05" * 60),
    ],
)
def test_every_header_field_is_bound_to_the_secret(cheap: KdfCost, field: str, value: Any) -> None:
    """A thief with write access, who mends the checksum, still cannot redirect a payment."""
    record = sealed_record(cheap)
    forged = KeyRecord(**{**record.__dict__, field: value})
    assert keyfile.decode(keyfile.encode(forged)) == forged
    assert keyfile.unseal(record, FROZEN_PASSPHRASE) is not None
    assert keyfile.unseal(forged, FROZEN_PASSPHRASE) is None


def sealed_record(cost: KdfCost, name: str = "frozen") -> KeyRecord:
    secret = Secret("english", bytes(range(1, 33)))
    path = "m/44'/7333'/0'/0'/0'"
    signer = keyfile.signing_key_of(secret, path, None)
    salt, nonce = bytes(range(16)), bytes(range(24))
    blank = KeyRecord(name, signer.account, signer.public_key, path, cost, salt, nonce)
    return keyfile.seal(blank, secret, FROZEN_PASSPHRASE)


def test_a_seal_whose_content_does_not_fit_its_header_is_refused(cheap: KdfCost) -> None:
    secret = Secret("english", bytes(range(1, 33)))
    blank = KeyRecord(
        "x", bytes(32), bytes(32), "m/44'/7333'/0'/0'/0'", cheap, bytes(16), bytes(24)
    )
    record = keyfile.seal(blank, secret, FROZEN_PASSPHRASE)
    with pytest.raises(Malformed, match="not the secret of this public key"):
        keyfile.unseal(record, FROZEN_PASSPHRASE)


@settings(max_examples=50)
@given(st.data())
def test_a_changed_byte_anywhere_is_never_a_silent_success(data: st.DataObject) -> None:
    record = sealed_record(KdfCost(1, 8 * 2**20))
    good = keyfile.encode(record)
    place = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda octet: octet != good[place]))
    changed = good[:place] + bytes([value]) + good[place + 1 :]
    try:
        read = keyfile.decode(changed)
    except Malformed:
        return
    # Only white space and the case of nothing may differ.
    assert read == record


def test_a_full_disk_while_saving_a_new_passphrase_keeps_the_old_file(
    keys: Keystore, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, words = keys.add("alice", passphrase)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(StorageFault, match="No space left"):
            keys.import_words("alice", "another passphrase 2", " ".join(words))
        with pytest.raises(StorageFault, match="No space left"):
            keys.add("bob", passphrase)
    assert keys.unlock("alice", passphrase).account == info.account
    assert keys.names() == ["alice"]


PRELUDE = """
import importlib.machinery, importlib.util, sys
spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
spec.submodule_search_locations = [sys.argv[1]]
sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)
from pathlib import Path
from clawpurse.ledger.errors import ClawPurseError
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.keyfile import KdfCost
keys = Keystore(Path(sys.argv[2]), now_ms=lambda: 10**12, cost=KdfCost(1, 8 * 2**20))
"""


def process(code: str, keys: Keystore, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(ROOT), str(keys.directory), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.real
def test_of_processes_that_add_one_name_exactly_one_wins(keys: Keystore, passphrase: str) -> None:
    code = """
try:
    print(keys.add("alice", "correct horse battery")[0].account.hex())
except ClawPurseError as err:
    print("refused", err)
"""
    racers = [process(code, keys) for _ in range(4)]
    outcomes = [racer.communicate(timeout=120) for racer in racers]
    won = [out for out, _ in outcomes if not out.startswith("refused")]
    assert len(won) == 1, outcomes
    assert keys.unlock("alice", passphrase).account.hex() == won[0].strip()
    assert all("Another key is named alice" in out for out, _ in outcomes if out not in won)


@pytest.mark.real
def test_processes_that_guess_at_once_do_not_share_one_try(keys: Keystore, passphrase: str) -> None:
    keys.add("alice", passphrase)
    code = """
try:
    keys.unlock("alice", "wrong wrong wrong")
except ClawPurseError as err:
    print("tried" if err.tried else "early")
"""
    racers = [process(code, keys) for _ in range(4)]
    outcomes = sorted(racer.communicate(timeout=120)[0].strip() for racer in racers)
    assert outcomes == ["early", "early", "early", "tried"]


@pytest.mark.real
def test_kill_9_while_resealing_leaves_a_key_that_opens(keys: Keystore, passphrase: str) -> None:
    """Whatever instant the process dies at, the old or the new passphrase opens the key."""
    info, words = keys.add("alice", passphrase)
    code = """
print("ready", flush=True)
for number in range(10_000):
    keys.import_words("alice", f"passphrase number {number % 2}", sys.argv[3])
"""
    for _ in range(4):
        running = process(code, keys, " ".join(words))
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == "ready\n"
        before = info.file.stat().st_ino
        deadline = time.monotonic() + 60
        while info.file.stat().st_ino == before and time.monotonic() < deadline:
            pass
        os.kill(running.pid, signal.SIGKILL)
        running.wait(timeout=30)
        running.stdout.close()
        running.stderr.close()
        record = keyfile.decode(info.file.read_bytes())
        opened = [keyfile.unseal(record, f"passphrase number {n}") for n in (0, 1)]
        assert any(key is not None and key.account == info.account for key in opened)
    keys.import_words("alice", passphrase, " ".join(words))
    assert [name for name in files(keys) if "unfinished" in name] == []


def test_threads_that_unlock_one_key_all_get_it(keys: Keystore, passphrase: str) -> None:
    info, _ = keys.add("alice", passphrase)
    opened: list[bytes] = []

    def unlock() -> None:
        opened.append(keys.unlock("alice", passphrase).account)

    threads = [threading.Thread(target=unlock) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert opened == [info.account] * 6


@pytest.mark.real
def test_an_unlock_with_the_default_cost_takes_a_person_s_patience_not_more(
    tmp_path: Path, clock: Callable[[], int]
) -> None:
    keys = Keystore(tmp_path / "keys", now_ms=clock)
    keys.add("alice", "correct horse battery")
    started = time.process_time()
    keys.unlock("alice", "correct horse battery")
    assert 0.05 < time.process_time() - started < 10
