"""The directory of key files: one 0600 file a key, guarded against loss, races and guessing.

`alice.json` is the key; `.alice.lock` is held while something is done with it; `.alice.guesses`
counts wrong passphrases and makes the next try wait. The wait stops a script at this machine,
not a thief with a copy of the file; against him stand Argon2id and the length of passphrases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault, WrongPassphrase
from clawpurse.wallet import keyfile, mnemonic
from clawpurse.wallet.durable import (
    create_private,
    locked,
    make_private_directory,
    move_private,
    read_private,
    remove_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost, KeyRecord, Secret, UnlockedKey
from clawpurse.wallet.keys import SigningKey, account_path
from clawpurse.wallet.names import check_name
from clawpurse.wallet.passphrase import check_new_passphrase, passphrase_bytes

# One more wrong passphrase doubles the wait: 4, 8, 16 … seconds. Five minutes at most: a longer
# one would let any program of this user shut the owner out.
FIRST_WAIT_MS: Final = 4_000
WAIT_MS_MAX: Final = 300_000
_GUESSES_BYTES_MAX: Final = 256
# A directory with more keys than this is not one that a person keeps.
KEYS_MAX: Final = 10_000
# Damaged files put aside under one name; more of them is a broken disk, not bad luck.
_DAMAGED_MAX: Final = 100


class KeyInfo(NamedTuple):
    """What is known of a key without its passphrase. `file` is where it lies."""

    name: str
    account: bytes
    public_key: bytes
    path: str | None
    file: Path


class Keystore:
    """The keys of one user. Safe to use from several threads and processes at once.

    `now_ms` is the wall clock in ms UTC, for the wait after wrong passphrases; `random_bytes`
    gives n unguessable bytes. Calls block for disk and, where a passphrase is involved, for one
    Argon2id run (a quarter of a second): asynchronous callers use a worker thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        cost: KdfCost = KDF_DEFAULT,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.directory = directory
        self._now_ms = now_ms
        self._cost = cost
        self._random_bytes = random_bytes

    def names(self) -> list[str]:
        """Return the names of all keys, sorted; files that are not ours are not listed."""
        if not self.directory.is_dir():
            return []
        found = []
        for entry in self.directory.iterdir():
            name = entry.name.removesuffix(".json")
            if name != entry.name and _is_name(name):
                found.append(name)
            if len(found) > KEYS_MAX:
                raise StorageFault(f"{self.directory} holds more than {KEYS_MAX} keys.", "", "")
        return sorted(found)

    def has(self, name: str) -> bool:
        """Tell whether a key of that name is here, readable or not."""
        return _is_name(name) and self._file(name).exists()

    def show(self, name: str) -> KeyInfo:
        """Return what is known of a key without its passphrase.

        Raises `OperatorError` when there is none, `StorageFault` when its file is damaged.
        """
        return self._info(self._read(name))

    def add(
        self,
        name: str,
        passphrase: str,
        *,
        word_count: int = mnemonic.WORD_COUNT_DEFAULT,
        language: str = "english",
    ) -> tuple[KeyInfo, list[str]]:
        """Make a new key from fresh randomness; return it and its words, durably saved.

        Never overwrites another key: raises `OperatorError` if the name is taken. `Malformed`
        on a name, word count, language or passphrase that is not allowed.
        """
        if word_count not in mnemonic.ENTROPY_BYTES_OF_WORDS:
            raise Malformed("words", f"are {word_count}; 12, 15, 18, 21 or 24 are possible")
        entropy = self._random_bytes(mnemonic.ENTROPY_BYTES_OF_WORDS[word_count])
        words = mnemonic.words_of(entropy, language)
        return self._save(name, passphrase, Secret(language, entropy), account_path()), words

    def import_words(
        self,
        name: str,
        passphrase: str,
        words: str,
        *,
        index: int = 0,
        account: bytes | None = None,
    ) -> KeyInfo:
        """Save the key that typed `words` stand for, at account `index` of the phrase.

        `account` names the account when its key was changed to this one. If `name` holds this
        very key, it gets the new passphrase; a damaged file of that name is put aside. Raises
        as `add` does, and `Malformed` naming what is wrong with the words.
        """
        split, language = mnemonic.read_words(words)
        secret = Secret(language, mnemonic.entropy_of(split, language))
        return self._save(name, passphrase, secret, account_path(index), account)

    def import_seed(
        self, name: str, passphrase: str, seed: bytes, *, account: bytes | None = None
    ) -> KeyInfo:
        """Save a bare 32-byte Ed25519 seed; such a key has no words. Raises as `add` does."""
        if len(seed) != crypto.KEY_BYTES:
            raise Malformed("seed", f"is {len(seed)} bytes, {crypto.KEY_BYTES} are required")
        return self._save(name, passphrase, Secret(None, seed), None, account)

    def import_file(self, name: str, passphrase: str, data: bytes) -> KeyInfo:
        """Save the key of a key file (from an export or a backup) under `name`.

        It opens with, and keeps, the passphrase of the file. Raises `Malformed` when the file
        is damaged, `WrongPassphrase`, and as `add` does.
        """
        record = keyfile.decode(data)
        opened = keyfile.unseal(record, passphrase)
        if opened is None:
            raise WrongPassphrase(name, 0)
        return self._save(name, passphrase, opened.secret, record.path, record.account)

    def export_file(self, name: str) -> bytes:
        """Return the bytes of the key file, still sealed by its passphrase, checked to be whole."""
        return keyfile.encode(self._read(name))

    def unlock(self, name: str, passphrase: str) -> UnlockedKey:
        """Open a key.

        Raises `WrongPassphrase` (with the wait until the next try; also, without trying, when
        that wait is not over), `StorageFault` when the file is damaged, `OperatorError` when
        there is no such key.
        """
        self._read(name)
        passphrase_bytes(passphrase)
        with self._locked(name):
            record = self._read(name)
            failures = self._refuse_early(name)
            try:
                opened = keyfile.unseal(record, passphrase)
            except Malformed as err:
                raise self._damaged(name, err) from err
            if opened is None:
                raise WrongPassphrase(name, self._count_failure(name, failures + 1))
            if failures:
                remove_private(self._guesses_file(name))
            return opened

    def delete(self, name: str) -> None:
        """Remove a key and its guess counter. Who may ask for that is the caller's question."""
        self._file(check_name(name))
        with self._locked(name):
            remove_private(self._file(name))
            remove_private(self._guesses_file(name))
            remove_private(self._lock_file(name))

    def _save(
        self,
        name: str,
        passphrase: str,
        secret: Secret,
        path: str | None,
        account: bytes | None = None,
    ) -> KeyInfo:
        check_name(name)
        check_new_passphrase(passphrase)
        make_private_directory(self.directory)
        signer = keyfile.signing_key_of(secret, path, account)
        self._refuse_other_key(name, signer)
        salt = self._random_bytes(keyfile.SALT_BYTES)
        nonce = self._random_bytes(keyfile.NONCE_BYTES)
        blank = KeyRecord(name, signer.account, signer.public_key, path, self._cost, salt, nonce)
        record = keyfile.seal(blank, secret, passphrase)
        data = keyfile.encode(record)
        if keyfile.decode(data) != record:
            raise StorageFault(f"The file of {name} would not read back.", "Nothing was saved.")
        with self._locked(name):
            remove_unfinished(self._file(name))
            if self._refuse_other_key(name, signer):
                replace_private(self._file(name), data)
            else:
                self._put_damaged_aside(name)
                create_private(self._file(name), data)
            remove_private(self._guesses_file(name))
        return self._info(record)

    def _refuse_other_key(self, name: str, signer: SigningKey) -> bool:
        """Tell whether `name` holds this very key already; raise if it holds another one.

        The same key may be saved again: that is how words give a lost passphrase a successor.
        A damaged file is no key; it is put aside, never overwritten.
        """
        try:
            record = self._decode_file(name)
        except (FileNotFoundError, Malformed):
            return False
        if (record.account, record.public_key) == (signer.account, signer.public_key):
            return True
        raise OperatorError(
            f"Another key is named {name}.", "It was not touched.", "choose another name"
        )

    def _put_damaged_aside(self, name: str) -> None:
        file = self._file(name)
        if not file.exists():
            return
        for number in range(1, _DAMAGED_MAX + 1):
            try:
                move_private(file, file.with_name(f"{name}.damaged-{number}"))
            except FileExistsError:
                continue
            return
        raise StorageFault(f"{_DAMAGED_MAX} damaged files of {name} lie here.", "", f"rm {file}")

    def _read(self, name: str) -> KeyRecord:
        check_name(name)
        try:
            return self._decode_file(name)
        except FileNotFoundError:
            raise OperatorError(
                f"No key is named {name}.", "", f"clawpurse keys add {name}"
            ) from None
        except Malformed as err:
            raise self._damaged(name, err) from err

    def _decode_file(self, name: str) -> KeyRecord:
        record = keyfile.decode(read_private(self._file(name), keyfile.FILE_BYTES_MAX))
        if record.name != name:
            raise Malformed("name", f"is {record.name!r}")
        return record

    def _damaged(self, name: str, err: Malformed) -> StorageFault:
        return StorageFault(
            f"The key file {self._file(name)} is damaged ({err.field} {err.problem}).",
            "Nothing was changed.",
            f"clawpurse keys import {name}",
        )

    def _refuse_early(self, name: str) -> int:
        """Return how many passphrases were wrong in a row; raise while the wait is not over."""
        failures, last_ms = self._read_guesses(name)
        wait_ms, now_ms = _wait_ms(failures), self._now_ms()
        if failures and now_ms < last_ms:
            # The clock was set back. Without a new start the wait would last until it has
            # caught up, which may be years.
            left_ms = self._count_failure(name, failures)
        else:
            left_ms = last_ms + wait_ms - now_ms
        if left_ms > 0:
            raise WrongPassphrase(name, left_ms, tried=False)
        return failures

    def _count_failure(self, name: str, failures: int) -> int:
        document = {"version": 1, "failures": failures, "lastFailureMs": self._now_ms()}
        replace_private(self._guesses_file(name), json.dumps(document).encode() + b"\n")
        return _wait_ms(failures)

    def _read_guesses(self, name: str) -> tuple[int, int]:
        file = self._guesses_file(name)
        try:
            document = json.loads(read_private(file, _GUESSES_BYTES_MAX))
            codec.version(document["version"], "version", (1,))
            failures = codec.integer(document["failures"], "failures", 1, codec.U32_MAX - 1)
            return failures, codec.integer(document["lastFailureMs"], "lastFailureMs")
        except FileNotFoundError:
            return 0, 0
        except (ValueError, KeyError, TypeError, RecursionError, Malformed) as err:
            raise StorageFault(
                f"The count of wrong passphrases {file} is damaged.",
                "Nothing was unlocked.",
                f"rm {file}",
            ) from err

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        busy = f"{name} is in use by another clawpurse."
        with locked(self._lock_file(name), busy):
            yield

    def _info(self, record: KeyRecord) -> KeyInfo:
        file = self._file(record.name)
        return KeyInfo(record.name, record.account, record.public_key, record.path, file)

    def _file(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _lock_file(self, name: str) -> Path:
        return self.directory / f".{name}.lock"

    def _guesses_file(self, name: str) -> Path:
        return self.directory / f".{name}.guesses"


def _wait_ms(failures: int) -> int:
    if failures == 0:
        return 0
    # Twenty doublings are far above the cap; more would only grow the integer.
    return min(FIRST_WAIT_MS << min(failures - 1, 20), WAIT_MS_MAX)


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except Malformed:
        return False
    return True
