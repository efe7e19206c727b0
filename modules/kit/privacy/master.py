"""Where the master key of an installation comes from: a file, a passphrase, or a command.

It is read once at the start and held in memory only. A file must be its owner's alone; a
passphrase is stretched with Argon2id (RFC 9106) over a salt that lies beside the database; a
command prints the key (a secrets service, a hardware module), and its output goes nowhere else.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Final

from nacl import pwhash

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.privacy.sealing import KEY_BYTES, MasterKey, new_key

COMMAND_SECONDS_MAX: Final = 30
"""A person may have to touch a token; more than that is a command that hangs."""

OUTPUT_BYTES_MAX: Final = 4_096
SALT_BYTES: Final = pwhash.argon2id.SALTBYTES
PASSPHRASE_CHARS_MIN: Final = 15
_HEX_KEY: Final = re.compile(rb"[0-9a-fA-F]{64}")
_NEXT: Final = "name another file, or have a key made"


def from_file(path: Path) -> MasterKey:
    """The key in `path`: 64 hexadecimal digits, mode 0600. Raises `OperatorError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise OperatorError(f"There is no master key in {path}.", "", _NEXT) from None
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}.", "", _NEXT) from None
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise OperatorError(
                f"{path} can be read by others.", "It opens everything.", f"chmod 600 {path}"
            )
        return _parsed(file.read(OUTPUT_BYTES_MAX), str(path))


def from_command(command: str) -> MasterKey:
    """The key that `command` prints. It is run without a shell. Raises `OperatorError`."""
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
    except (OSError, ValueError, IndexError):
        done = None
    except subprocess.TimeoutExpired:
        raise OperatorError(
            "The command for the master key did not end.",
            f"It had {COMMAND_SECONDS_MAX} s.",
            "clawpurse config get modules.master_key_command",
        ) from None
    if done is None or done.returncode != 0:
        # Neither its output nor its arguments: either may hold what nobody should read.
        raise OperatorError(
            "The command for the master key failed.",
            "" if done is None else f"It ended with {done.returncode}.",
            "clawpurse config get modules.master_key_command",
        )
    return _parsed(done.stdout[:OUTPUT_BYTES_MAX], "the command for the master key")


def from_passphrase(passphrase: str, salt: bytes) -> MasterKey:
    """The key stretched from a passphrase: Argon2id, 256 MiB and 3 passes, about a second.

    Raises `OperatorError` for a passphrase below 15 characters: whoever has the database can try
    as often as they like.
    """
    if len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise OperatorError(
            f"The passphrase has {len(passphrase)} characters, needs {PASSPHRASE_CHARS_MIN}.",
            "",
            "choose a longer one",
        )
    key = pwhash.argon2id.kdf(
        KEY_BYTES,
        passphrase.encode(),
        salt,
        opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
        memlimit=pwhash.argon2id.MEMLIMIT_MODERATE,
    )
    return MasterKey(key)


def salt_in(path: Path) -> bytes:
    """The salt in `path`, made there (0600, synced) when there is none. Raises `OperatorError`.

    It is no secret; without it the same passphrase gives another key.
    """
    if not path.exists():
        create_file(path)
    try:
        text = path.read_bytes().strip()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}.", "", _NEXT) from None
    if not _HEX_KEY.fullmatch(text):
        raise OperatorError(f"{path} holds no salt.", "", "restore it from a backup")
    return bytes.fromhex(text.decode())[:SALT_BYTES]


def create_file(path: Path) -> None:
    """Write a new random key to `path`, 0600, synced. Raises `OperatorError` if one is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise OperatorError(
            f"{path} holds a key already.", "What it sealed needs it.", "keep it"
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(new_key().hex().encode() + b"\n")
        file.flush()
        os.fsync(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parsed(text: bytes, place: str) -> MasterKey:
    found = text.strip()
    if not _HEX_KEY.fullmatch(found):
        raise OperatorError(
            f"What {place} gives is no master key.", "One is 64 hexadecimal digits.", _NEXT
        )
    return MasterKey(bytes.fromhex(found.decode()))
