"""Blocks that a light client verified, so that its next run begins there: `light/0x….json`.

One file for each network, named by its genesis hash (0600). It keeps the newest few verified
blocks, and that a fork was seen: then nothing is followed until a person decides by a checkpoint
which history is the true one. Evidence of a fork lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger.agreement.light import LIGHT_BLOCK_BYTES_MAX, LightBlock, check_sets
from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_unfinished,
    replace_private,
)

STORE_VERSION: Final = 1
# A client that looks once a day has two trusting periods of them; 25 KiB each at the very most.
BLOCKS_MAX: Final = 32
_FILE_BYTES_MAX: Final = BLOCKS_MAX * (2 * LIGHT_BLOCK_BYTES_MAX + 8) + 4_096


class SeenFork(NamedTuple):
    """That two histories were seen: the height where they part, and the file that shows it."""

    height: int
    evidence: str


class Kept(NamedTuple):
    """What is kept of one network: verified blocks, ascending, and a fork if one was seen."""

    blocks: tuple[LightBlock, ...] = ()
    fork: SeenFork | None = None


class TrustedBlocks:
    """The verified blocks of all networks, in one folder. Nothing is made before one is kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def file_of(self, genesis_hash: bytes) -> Path:
        """Return where the blocks of a network are kept."""
        return self.directory / f"0x{genesis_hash.hex()}.json"

    def load(self, genesis_hash: bytes) -> Kept:
        """Return what is kept of a network. Raises `StorageFault` when the file is damaged."""
        path = self.file_of(genesis_hash)
        try:
            data = read_private(path, _FILE_BYTES_MAX)
        except FileNotFoundError:
            return Kept()
        try:
            return _read(data, genesis_hash)
        except Malformed as err:
            raise StorageFault(
                f"{path} is damaged ({err}).",
                "What was verified before is not known any more.",
                "move it away, then name what you trust: --trusted-height, --trusted-hash",
            ) from err

    def keep(
        self, genesis_hash: bytes, *blocks: LightBlock, from_checkpoint: int | None = None
    ) -> None:
        """Add verified blocks; the newest `BLOCKS_MAX` stay. Durable when it returns.

        `from_checkpoint` is the height of a checkpoint by which a person has decided: it ends a
        fork seen at or below it, and what was kept before goes, whichever side it was of.
        """
        with self._locked(genesis_hash):
            kept = self.load(genesis_hash)
            fork, old = kept.fork, kept.blocks
            if fork is not None and from_checkpoint is not None and from_checkpoint >= fork.height:
                old, fork = (), None
            by_height = {block.height: block for block in (*old, *blocks)}
            newest = sorted(by_height)[-BLOCKS_MAX:]
            self._write(genesis_hash, Kept(tuple(by_height[at] for at in newest), fork))

    def keep_fork(self, genesis_hash: bytes, height: int, evidence: Mapping[str, Any]) -> Path:
        """Keep that a fork was seen and its evidence; returns the evidence's file. Durable."""
        name = f"fork-{genesis_hash.hex()[:12]}-{height}.json"
        with self._locked(genesis_hash):
            path = self.directory / name
            # The evidence first: a mark that names no file would help nobody.
            replace_private(path, json.dumps(evidence, indent=1).encode() + b"\n")
            kept, seen = self.load(genesis_hash), SeenFork(height, name)
            if kept.fork is not None and kept.fork.height < height:
                seen = kept.fork
            self._write(genesis_hash, kept._replace(fork=seen))
        return path

    def _locked(self, genesis_hash: bytes) -> AbstractContextManager[None]:
        make_private_directory(self.directory)
        path = self.file_of(genesis_hash)
        return locked(path.with_suffix(".lock"), f"{path} is in use.")

    def _write(self, genesis_hash: bytes, kept: Kept) -> None:
        path = self.file_of(genesis_hash)
        remove_unfinished(path)
        fork = None if kept.fork is None else list(kept.fork)
        document = {
            "version": STORE_VERSION,
            "genesisHash": f"0x{genesis_hash.hex()}",
            "fork": fork,
            "blocks": [f"0x{block.pack().hex()}" for block in kept.blocks],
        }
        replace_private(path, json.dumps(document, indent=1).encode() + b"\n")


def _read(data: bytes, genesis_hash: bytes) -> Kept:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("file", "is not JSON") from None
    if type(document) is not dict or document.get("version") != STORE_VERSION:
        raise Malformed("version", f"is not {STORE_VERSION}")
    if document.get("genesisHash") != f"0x{genesis_hash.hex()}":
        raise Malformed("genesisHash", "is another network's")
    listed = document.get("blocks")
    if type(listed) is not list or len(listed) > BLOCKS_MAX:
        raise Malformed("blocks", f"are not a list of at most {BLOCKS_MAX}")
    blocks = tuple(_block(text, genesis_hash) for text in listed)
    heights = [block.height for block in blocks]
    if heights != sorted(set(heights)):
        raise Malformed("blocks", "are not in ascending order")
    return Kept(blocks, _fork(document.get("fork")))


def _block(text: object, genesis_hash: bytes) -> LightBlock:
    try:
        block = LightBlock.unpack(bytes.fromhex(str(text)[2:]))
    except ValueError:
        raise Malformed("blocks[]", "is not 0x and hex digits") from None
    # Not the signatures: whoever can write here can as well replace this program. But a bit that
    # a disk turned must not become a set of authorities.
    problem = check_sets(block)
    if problem is not None or block.block_id != block.certificate.block_id:
        raise Malformed("blocks[]", "does not belong together")
    if block.header.genesis_hash != genesis_hash:
        raise Malformed("blocks[]", "is another network's")
    return block


def _fork(value: object) -> SeenFork | None:
    if value is None:
        return None
    if type(value) is list and len(value) == 2 and [type(one) for one in value] == [int, str]:
        return SeenFork(value[0], value[1])
    raise Malformed("fork", "is not [height, file]")
