"""A node's folder: what lies where, who may open it, and its keys.

config.toml  genesis.json        what the operator sets, and the network
node.key  authority.key          0600; authority.key only where this node is an authority
authority-next.key               0600; while the authority's key is being changed
admin.token                      0600; who may call everything over JSON-RPC
token.key  tokens.json           0600; what signs callers' tokens, and the list of them all
signer/                          the signing watermark, kept out of backups of data/
modules/                         services in this process: records, keys, tokens of each
webhooks/                        receivers, their keys, and what is still to be sent
data/                            the chain (LevelDB), consensus logs, journal, address book
node.lock                        held while the node runs
node.log                         what a detached node says
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Final

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.wallet.durable import create_private, make_private_directory, read_private

KEY_FILE_BYTES_MAX: Final = 4_096


class NodeHome:
    """Paths within a node's folder, and the files whose format belongs to the node."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self.config: Final = root / "config.toml"
        self.genesis: Final = root / "genesis.json"
        self.node_key: Final = root / "node.key"
        self.authority_key: Final = root / "authority.key"
        self.next_authority_key: Final = root / "authority-next.key"
        self.admin_token: Final = root / "admin.token"
        self.token_key: Final = root / "token.key"
        self.tokens: Final = root / "tokens.json"
        self.signer: Final = root / "signer"
        self.data: Final = root / "data"
        self.chain: Final = self.data / "chain"
        self.wal: Final = self.data / "wal"
        self.journal: Final = self.data / "journal"
        self.peers: Final = self.data / "peers.json"
        self.webhooks: Final = root / "webhooks"
        self.modules: Final = root / "modules"
        self.lock: Final = root / "node.lock"
        self.log: Final = root / "node.log"

    def make(self) -> None:
        """Make the folder and its parts, 0700."""
        for folder in (self.root, self.signer, self.data, self.wal, self.journal):
            make_private_directory(folder)

    @property
    def authority_keys(self) -> list[Path]:
        """The files of authority keys that are there: the one in force and the next one."""
        return [path for path in (self.authority_key, self.next_authority_key) if path.exists()]

    def read_genesis(self) -> Genesis:
        """Return the network's genesis. Raises `OperatorError`."""
        try:
            data = self.genesis.read_bytes()
        except FileNotFoundError:
            raise OperatorError(
                f"There is no node in {self.root} (no genesis.json).",
                "",
                "clawpurse init --home DIR, or clawpurse join GENESIS --hash H --home DIR",
            ) from None
        except OSError as err:
            raise OperatorError(f"{self.genesis} cannot be read: {err}.", "", "") from err
        if len(data) > GENESIS_BYTES_MAX:
            raise OperatorError(f"{self.genesis} is too large for a genesis file.", "", "")
        try:
            return Genesis.from_json(data)
        except Malformed as err:
            raise OperatorError(
                f"{self.genesis} is not a genesis: {err}.", "", "clawpurse genesis verify"
            ) from None

    def read_seed(self, path: Path) -> bytes:
        """Return the 32-byte seed in a key file. Raises `OperatorError`."""
        try:
            document = json.loads(read_private(path, KEY_FILE_BYTES_MAX))
            seed = bytes.fromhex(document["seed"])
        except FileNotFoundError:
            raise OperatorError(f"{path} is missing.", "", "clawpurse doctor") from None
        except (ValueError, KeyError, TypeError):
            raise OperatorError(f"{path} is not a key file.", "", "clawpurse doctor") from None
        if len(seed) != 32 or document.get("publicKey") != public_key_of(seed).hex():
            raise OperatorError(
                f"{path} is damaged: its two halves do not match.", "", "clawpurse doctor"
            )
        if path.stat().st_mode & 0o077:
            raise OperatorError(
                f"{path} can be read by others.", "It is a secret.", f"chmod 600 {path}"
            )
        return seed

    def create_key(self, path: Path, seed: bytes | None = None) -> bytes:
        """Make a key file (0600) with a fresh seed, or `seed`; returns the public key."""
        chosen = secrets.token_bytes(32) if seed is None else seed
        public_key = public_key_of(chosen)
        text = json.dumps({"publicKey": public_key.hex(), "seed": chosen.hex()})
        create_private(path, text.encode() + b"\n")
        return public_key

    def read_or_create_token(self) -> str:
        """Return the token for admin_* calls, making it at first use."""
        try:
            return read_private(self.admin_token, 256).decode("ascii").strip()
        except FileNotFoundError:
            token = secrets.token_urlsafe(32)
            create_private(self.admin_token, token.encode("ascii") + b"\n")
            return token

    def read_or_create_token_key(self) -> bytes:
        """Return the seed of the key that signs tokens, making it at first use."""
        if not self.token_key.exists():
            # Another process may make it in this moment; theirs is as good.
            with contextlib.suppress(FileExistsError):
                self.create_key(self.token_key)
        return self.read_seed(self.token_key)

    def take_lock(self) -> int:
        """Hold the folder for this process; returns the descriptor that holds it.

        Raises `OperatorError` naming the process that has it.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise OperatorError(
                f"The node in {self.root} is running already (process {holder}).",
                "",
                f"clawpurse stop --home {self.root}",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode("ascii"))
        return descriptor

    def lock_holder(self) -> int | None:
        """Return the process that runs this node, or None when nobody does."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 32).decode("ascii", "replace").strip()
            return int(text) if text.isdecimal() else 0
        else:
            return None
        finally:
            os.close(descriptor)
