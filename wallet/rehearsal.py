"""A backup is one only if it restores: words become a key in a scratch folder, which then goes.

The restored key must be the one that was backed up, open with its passphrase, and sign.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import StorageFault
from clawpurse.wallet.durable import locked, make_private_directory
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost
from clawpurse.wallet.keys import parse_path
from clawpurse.wallet.keystore import KeyInfo, Keystore

_FOLDER = ".restore"
_MESSAGE = b"clawpurse: a key that was restored from its backup can sign"


def restores(
    info: KeyInfo,
    words: Sequence[str],
    passphrase: str,
    *,
    beside: Path,
    now_ms: Callable[[], int],
    cost: KdfCost = KDF_DEFAULT,
) -> bool:
    """Restore `words` into a scratch folder below `beside`; tell whether `info`'s key came back.

    Nothing of it remains, nor of an earlier try that was killed. Blocks for two Argon2id runs.
    Raises `Malformed` when the words are none, and `StorageFault` when the folder cannot be
    written or removed.
    """
    folder = beside / _FOLDER
    make_private_directory(beside)
    with locked(beside / f"{_FOLDER}.lock", "Another backup is being tried here."):
        _remove(folder)
        try:
            scratch = Keystore(folder, now_ms=now_ms, cost=cost)
            index = 0 if info.path is None else parse_path(info.path)[-1]
            changed = None if info.account == info.public_key else info.account
            found = scratch.import_words(
                info.name, passphrase, " ".join(words), index=index, account=changed
            )
            if (found.account, found.public_key) != (info.account, info.public_key):
                return False
            signer = scratch.unlock(info.name, passphrase).signer
            return crypto.verify(info.public_key, _MESSAGE, signer.sign(_MESSAGE))
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as err:
        why = err.strerror or type(err).__name__
        raise StorageFault(f"Could not remove {folder}:", f"{why}.", f"rm -r {folder}") from err
