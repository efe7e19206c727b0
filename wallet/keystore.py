"""The directory of key files: one 0600 file a key, guarded against loss, races and guessing.

`alice.json` is the key, `treasury.watch` an account that is only looked at, `.alice.label` what
its owner calls it; `.alice.lock` is held while something is done with it; `.alice.guesses` counts
wrong passphrases and makes the next try wait. The wait stops a script at this machine, not a
thief with a copy of the file; against him stand Argon2id and the length of passphrases. A file
whose Argon2id costs less than a new one's is sealed anew when its passphrase opens it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import (
    Malformed,
    OperatorError,
    StorageFault,
    WatchOnly,
    WrongPassphrase,
)
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
from clawpurse.wallet.keys import SigningKey, account_path, derive, parse_path
from clawpurse.wallet.names import check_name
from clawpurse.wallet.passphrase import check_new_passphrase, passphrase_bytes
from clawpurse.wallet.watched import SideFiles, check_label

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
    """What is known of a key without its passphrase. `file` is where it lies.

    A watch-only account has no key here, and which key signs for it is not known.
    """

    name: str
    account: bytes
    key: bytes | None
    path: str | None
    file: Path
    label: str = ""

    @property
    def watch_only(self) -> bool:
        """Whether its key is elsewhere."""
        return self.key is None

    @property
    def public_key(self) -> bytes:
        """The public key. Raises `WatchOnly` where it is not known."""
        if self.key is None:
            raise WatchOnly(self.name)
        return self.key


# Told of a key that was sealed anew because its file had aged: its name, and what kept that from
# being saved, if something did (the key is open all the same).
OnRenewed = Callable[[str, OperatorError | None], None]


class Keystore:
    """The keys of one user. Safe to use from several threads and processes at once.

    `now_ms` is the wall clock in ms UTC, for the wait after wrong passphrases; `random_bytes`
    gives n unguessable bytes; `on_renewed` hears of aged files. Calls block for disk and, where a
    passphrase is involved, for one Argon2id run (a quarter of a second): asynchronous callers use
    a worker thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        cost: KdfCost = KDF_DEFAULT,
        random_bytes: Callable[[int], bytes] = os.urandom,
        on_renewed: OnRenewed | None = None,
    ) -> None:
        self.directory = directory
        self._beside = SideFiles(directory)
        self._on_renewed = on_renewed
        self._now_ms = now_ms
        self._cost = cost
        self._random_bytes = random_bytes

    def names(self) -> list[str]:
        """Return the names of all keys and watch-only accounts, sorted."""
        return self._names(("json", "watch"))

    def signing_names(self) -> list[str]:
        """Return the names of the keys that can sign, sorted."""
        return self._names(("json",))

    def _names(self, kinds: tuple[str, ...]) -> list[str]:
        """Files that are not ours are not listed."""
        if not self.directory.is_dir():
            return []
        found = set()
        for entry in self.directory.iterdir():
            name, _, kind = entry.name.rpartition(".")
            if kind in kinds and _is_name(name):
                found.add(name)
            if len(found) > KEYS_MAX:
                raise StorageFault(f"{self.directory} holds more than {KEYS_MAX} keys.", "", "")
        return sorted(found)

    def has(self, name: str) -> bool:
        """Tell whether a key or watch-only account of that name is here, readable or not."""
        return _is_name(name) and (
            self._file(name).exists() or self._beside.watch_file(name).exists()
        )

    def show(self, name: str) -> KeyInfo:
        """Return what is known of a key without its passphrase.

        Raises `OperatorError` when there is none, `StorageFault` when its file is damaged.
        """
        if self._file(check_name(name)).exists():
            return self._info(self._read(name))
        account = self._beside.watched(name)
        if account is None:
            return self._info(self._read(name))
        file = self._beside.watch_file(name)
        return KeyInfo(name, account, None, None, file, self._beside.label(name))

    def watch(self, name: str, account: bytes) -> KeyInfo:
        """Save an account to look at, without a key. Raises as `add` does."""
        check_name(name)
        make_private_directory(self.directory)
        with self._locked(name):
            if self.has(name):
                raise self._taken(name)
            self._beside.watch(name, account)
        return self.show(name)

    def set_label(self, name: str, label: str) -> KeyInfo:
        """Save what the owner calls an account, at most 120 characters; none with ""."""
        check_label(label)
        self.show(name)
        with self._locked(name):
            self._beside.set_label(name, label)
        return self.show(name)

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
        """Open a key; a file that has aged is sealed anew, at the cost of a new one.

        Raises `WrongPassphrase` (with the wait until the next try; also, without trying, when
        that wait is not over), `StorageFault` when the file is damaged, `WatchOnly`, or
        `OperatorError` when there is no such key.
        """
        self._read(name)
        passphrase_bytes(passphrase)
        with self._locked(name):
            record, opened = self._open(name, passphrase)
            cost = keyfile.renewed_cost(record.cost, self._cost)
            if cost is not None:
                self._renew(replace(record, cost=cost), opened, passphrase)
            return opened

    def change_passphrase(self, name: str, passphrase: str, new_passphrase: str) -> KeyInfo:
        """Seal a key under another passphrase, in one durable step. Raises as `unlock` and `add`.

        Copies of the file that were made before keep the old one.
        """
        self._read(name)
        passphrase_bytes(passphrase)
        check_new_passphrase(new_passphrase, [name])
        with self._locked(name):
            record, opened = self._open(name, passphrase)
            cost = keyfile.renewed_cost(record.cost, self._cost) or record.cost
            self._reseal(replace(record, cost=cost), opened.secret, new_passphrase)
        return self._info(record)

    def derive(
        self,
        name: str,
        phrase_of: str,
        passphrase: str,
        *,
        new_passphrase: str | None = None,
        index: int | None = None,
    ) -> KeyInfo:
        """Save another account of the phrase that the key `phrase_of` has, under `name`.

        At `index`, else at the one after the highest that is here. It gets the passphrase of
        `phrase_of` unless `new_passphrase` is given; whoever opens either has the whole phrase.
        Raises as `unlock` and `add` do, and `OperatorError` for a key without words.
        """
        check_name(name)
        opened = self.unlock(phrase_of, passphrase)
        words = opened.reveal_words()
        if words is None:
            raise OperatorError(
                f"{phrase_of} has no words to derive from.", "Nothing was made.", "choose another"
            )
        seed = mnemonic.seed_of(words)
        # Under this lock two derivations of one key never take the same index.
        with self._locked(phrase_of):
            taken = self._indexes_of(seed)
            if index is None:
                index = max(taken, default=-1) + 1
            elif index in taken:
                raise OperatorError(
                    f"{taken[index]} is account {index} of that phrase already.",
                    "Nothing was made.",
                    "choose another --index",
                )
            secret, path = opened.secret, account_path(index)
            return self._save(name, new_passphrase or passphrase, secret, path, is_new=True)

    def _indexes_of(self, seed: bytes) -> dict[int, str]:
        """Return which accounts of a phrase are here, by their index."""
        taken: dict[int, str] = {}
        for name in self.signing_names():
            info = self.show(name)
            if info.path is None:
                continue
            *_, index = (0, *parse_path(info.path))
            if info.path != account_path(index):
                continue
            if crypto.public_key_of(derive(seed, info.path).key) == info.key:
                taken[index] = name
        return taken

    def rename(self, name: str, new_name: str, passphrase: str | None) -> KeyInfo:
        """Give a key another name: it stands under the new one before the old one goes.

        A key is sealed with its name and so needs its passphrase; a watch-only account needs
        none. Raises as `unlock` and `add` do.
        """
        check_name(new_name)
        info = self.show(name)
        if self.has(new_name):
            raise self._taken(new_name)
        if info.watch_only:
            self.watch(new_name, info.account)
        else:
            opened = self.unlock(name, passphrase or "")
            self._save(
                new_name, passphrase or "", opened.secret, info.path, info.account, is_old=True
            )
        if info.label:
            self.set_label(new_name, info.label)
        self.delete(name)
        return self.show(new_name)

    def delete(self, name: str) -> None:
        """Remove a key, its label and guess counter. Who may ask for that is not asked here."""
        self._file(check_name(name))
        with self._locked(name):
            remove_private(self._file(name))
            self._beside.remove(name)
            remove_private(self._guesses_file(name))
            remove_private(self._lock_file(name))

    def _open(self, name: str, passphrase: str) -> tuple[KeyRecord, UnlockedKey]:
        """Open a key under its lock, counting wrong passphrases."""
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
        return record, opened

    def _renew(self, blank: KeyRecord, opened: UnlockedKey, passphrase: str) -> None:
        """Seal an aged file anew. A disk that is full or read-only must not keep a key shut."""
        problem: OperatorError | None = None
        try:
            self._reseal(blank, opened.secret, passphrase)
        except OperatorError as err:
            problem = err
        if self._on_renewed is not None:
            self._on_renewed(blank.name, problem)

    def _reseal(self, blank: KeyRecord, secret: Secret, passphrase: str) -> None:
        """Replace a key's file by one with fresh salt and nonce, under its lock."""
        salt = self._random_bytes(keyfile.SALT_BYTES)
        nonce = self._random_bytes(keyfile.NONCE_BYTES)
        data = self._sealed(replace(blank, salt=salt, nonce=nonce), secret, passphrase)
        remove_unfinished(self._file(blank.name))
        replace_private(self._file(blank.name), data)

    def _sealed(self, blank: KeyRecord, secret: Secret, passphrase: str) -> bytes:
        """Return the bytes of a key file that was read back, before anything is replaced."""
        record = keyfile.seal(blank, secret, passphrase)
        data = keyfile.encode(record)
        if keyfile.decode(data) != record:
            raise StorageFault(f"The file of {blank.name} would not read back.", "Nothing changed.")
        return data

    def _save(
        self,
        name: str,
        passphrase: str,
        secret: Secret,
        path: str | None,
        account: bytes | None = None,
        *,
        is_new: bool = False,
        is_old: bool = False,
    ) -> KeyInfo:
        """Seal a secret and save it. `is_new`: even this very key may not stand there.

        `is_old`: a passphrase that was good enough once is kept.
        """
        check_name(name)
        if not is_old:
            check_new_passphrase(passphrase, [name])
        make_private_directory(self.directory)
        signer = keyfile.signing_key_of(secret, path, account)
        if self._refuse_other_key(name, signer) and is_new:
            raise self._taken(name)
        salt = self._random_bytes(keyfile.SALT_BYTES)
        nonce = self._random_bytes(keyfile.NONCE_BYTES)
        blank = KeyRecord(name, signer.account, signer.public_key, path, self._cost, salt, nonce)
        data = self._sealed(blank, secret, passphrase)
        with self._locked(name):
            remove_unfinished(self._file(name))
            if self._refuse_other_key(name, signer):
                if is_new:
                    raise self._taken(name)
                replace_private(self._file(name), data)
            else:
                self._put_damaged_aside(name)
                create_private(self._file(name), data)
            remove_private(self._beside.watch_file(name))
            remove_private(self._guesses_file(name))
        return self._info(blank)

    def _refuse_other_key(self, name: str, signer: SigningKey) -> bool:
        """Tell whether `name` holds this very key already; raise if it holds another one.

        The same key may be saved again: that is how words give a lost passphrase a successor,
        and a watch-only account its key. A damaged file is no key; it is put aside, never
        overwritten.
        """
        try:
            record = self._decode_file(name)
        except (FileNotFoundError, Malformed):
            if self._beside.watched(name) not in (None, signer.account):
                raise self._taken(name) from None
            return False
        if (record.account, record.public_key) == (signer.account, signer.public_key):
            return True
        raise self._taken(name)

    def _taken(self, name: str) -> OperatorError:
        return OperatorError(
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
            if self._beside.watched(name) is not None:
                raise WatchOnly(name) from None
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
        label = self._beside.label(record.name)
        return KeyInfo(record.name, record.account, record.public_key, record.path, file, label)

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
