"""Moving an authority's key to another machine so that it can sign on one of them only.

A bundle is made for one node, named by its id, and numbered: each move of a key has the next
number, wherever it is made. Moving out seals the folder first and writes the bundle then; moving
in raises the watermark first and installs the key then. A crash in between leaves a key that
signs nowhere, and the same command again finishes. A bundle is refused by any other node, by a
folder that the key has left since, and where the key has signed since.

    {"format", "version", "chainId", "genesisHash", "destination", "move",
     "watermark": {height, round, kind, signBytes, signature}, "key": a sealed key file}

The sealed key's name carries a hash of everything else, and its seal covers that name: nobody
changes a bundle without the passphrase.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault, WrongPassphrase
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import (
    MoveRecord,
    Watermark,
    install_watermark,
    move_name,
    read_move,
    read_watermark,
)
from clawpurse.wallet import keyfile
from clawpurse.wallet.durable import (
    create_private,
    read_private,
    remove_private,
    replace_private,
)
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost, KeyRecord, Secret
from clawpurse.wallet.passphrase import check_new_passphrase

FORMAT: Final = "clawpurse-authority-move"
BUNDLE_VERSION: Final = 1
# A key file is under 1 KiB, the rest is less.
BUNDLE_BYTES_MAX: Final = 32_768
# Of the hash of a bundle's facts: what fits into a key's name, 2^92 guesses for another bundle.
_FACTS_DIGITS: Final = 23


class Facts(NamedTuple):
    """What a bundle says openly."""

    chain_id: str
    genesis_hash: bytes
    destination: bytes
    number: int
    watermark: Watermark

    @property
    def key_name(self) -> str:
        """The name of the sealed key that belongs to these facts."""
        mark = self.watermark
        wire = [
            FORMAT,
            BUNDLE_VERSION,
            self.chain_id,
            self.genesis_hash,
            self.destination,
            self.number,
            list(mark.order),
            mark.sign_bytes,
            mark.signature,
        ]
        digest = crypto.message_hash_of(codec.pack(wire)).hex()
        return f"move-{digest[:_FACTS_DIGITS]}"


class Bundle(NamedTuple):
    """A bundle, read and checked for form; its key still sealed."""

    facts: Facts
    sealed: KeyRecord

    def open(self, passphrase: str) -> bytes:
        """Return the authority's seed. Raises `WrongPassphrase`."""
        opened = keyfile.unseal(self.sealed, passphrase)
        if opened is None:
            raise WrongPassphrase("the bundle", 0)
        return opened.signer.reveal_seed()


def pack_bundle(
    facts: Facts,
    seed: bytes,
    passphrase: str,
    random_bytes: Callable[[int], bytes] = os.urandom,
    cost: KdfCost = KDF_DEFAULT,
) -> bytes:
    """Return the bytes of a bundle. Takes a quarter of a second. Raises `Malformed`."""
    check_new_passphrase(passphrase)
    key = crypto.public_key_of(seed)
    salt, nonce = random_bytes(keyfile.SALT_BYTES), random_bytes(keyfile.NONCE_BYTES)
    blank = KeyRecord(facts.key_name, key, key, None, cost, salt, nonce)
    sealed = keyfile.seal(blank, Secret(None, seed), passphrase)
    height, round_, kind = facts.watermark.order
    document = {
        "format": FORMAT,
        "version": BUNDLE_VERSION,
        "chainId": facts.chain_id,
        "genesisHash": facts.genesis_hash.hex(),
        "destination": facts.destination.hex(),
        "move": facts.number,
        "watermark": {
            "height": height,
            "round": round_,
            "kind": kind,
            "signBytes": facts.watermark.sign_bytes.hex(),
            "signature": facts.watermark.signature.hex(),
        },
        "key": json.loads(keyfile.encode(sealed)),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read_bundle(data: bytes) -> Bundle:
    """Read a bundle strictly. Raises `Malformed`."""
    try:
        document: Any = json.loads(data)
        mark = document["watermark"]
        facts = Facts(
            codec.ascii_text(document["chainId"], "chainId", 64),
            _octets(document["genesisHash"], "genesisHash", 32, 32),
            _octets(document["destination"], "destination", 32, 32),
            codec.integer(document["move"], "move", 1),
            Watermark(
                0,
                (
                    codec.integer(mark["height"], "watermark.height"),
                    codec.integer(mark["round"], "watermark.round"),
                    codec.integer(mark["kind"], "watermark.kind"),
                ),
                _octets(mark["signBytes"], "watermark.signBytes", 0, 256),
                _octets(mark["signature"], "watermark.signature", 0, 64),
            ),
        )
        if document["format"] != FORMAT:
            raise Malformed("format", f"is not {FORMAT}")
        codec.version(document["version"], "version", (BUNDLE_VERSION,))
        sealed = keyfile.decode(json.dumps(document["key"]).encode())
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed("bundle", "is not one that authority move-out wrote") from None
    if sealed.name != facts.key_name:
        raise Malformed("bundle", "was changed after it was made")
    return Bundle(facts, sealed)


def _octets(value: object, field: str, size_min: int, size_max: int) -> bytes:
    text = codec.ascii_text(value, field, 2 * size_max, 0)
    octets = bytes.fromhex(text)
    if not size_min <= len(octets) <= size_max:
        raise Malformed(field, f"is {len(octets)} bytes, {size_min}…{size_max} are allowed")
    return octets


def move_out(
    home: NodeHome, destination: bytes, passphrase: str, target: Path, cost: KdfCost = KDF_DEFAULT
) -> Facts:
    """Seal this folder, write the bundle for the node `destination`, remove the key here.

    The caller holds the folder's lock. Each step is durable before the next: after a crash the
    same call finishes. Raises `OperatorError`; nothing is sealed unless the key can be moved.
    """
    genesis, files = home.read_genesis(), DiskFiles(home.signer)
    if target.exists() and not home.authority_key.exists():
        raise OperatorError("The key has left this folder already.", f"{target} has it.", "")
    seed = home.read_seed(home.authority_key)
    key = crypto.public_key_of(seed)
    if home.next_authority_key.exists():
        raise OperatorError(
            "The key of this authority is being changed.",
            "Both keys would have to move.",
            "clawpurse authority retire-key, when the next key is in force",
        )
    record = read_move(files, genesis.hash, key)
    number = 1 if record is None else record.number if record.is_out else record.number + 1
    if record is not None and record.is_out and record.destination != destination:
        raise OperatorError(
            "This key was moved out for another node already.",
            f"A bundle for node {record.destination.hex()} may be in use.",
            "move it in there, and out again from there",
        )
    if destination == crypto.public_key_of(home.read_seed(home.node_key)):
        raise OperatorError("That is this node itself.", "Nothing was moved.", "")
    watermark = read_watermark(files, genesis.hash, key)
    if watermark is None:
        raise OperatorError(
            "The signing state of this key is missing.",
            "Without it nobody knows what the key signed.",
            "restore it, or start once with --signer-floor HEIGHT",
        )
    check_new_passphrase(passphrase)
    facts = Facts(genesis.chain_id, genesis.hash, destination, number, watermark)
    sealed = MoveRecord(number, True, destination)
    replace_private(home.signer / move_name(genesis.hash, key), sealed.pack())
    if not target.exists():
        create_private(target, pack_bundle(facts, seed, passphrase, cost=cost))
    _require_same(target, facts, seed, passphrase)
    remove_private(home.authority_key)
    return facts


def _require_same(target: Path, facts: Facts, seed: bytes, passphrase: str) -> None:
    """Read a bundle back: the key here is removed only when it is safe there."""
    bundle = load_bundle(target)
    if bundle.facts._replace(watermark=facts.watermark) != facts:
        raise StorageFault(f"{target} is another bundle.", "It was not touched.", "choose --out")
    same_mark = bundle.facts.watermark.order == facts.watermark.order
    if not same_mark or bundle.open(passphrase) != seed:
        raise StorageFault(f"{target} does not read back.", "The key is still here.", "")


def load_bundle(path: Path) -> Bundle:
    """Read a bundle's file. Raises `OperatorError` or `Malformed`."""
    try:
        return read_bundle(read_private(path, BUNDLE_BYTES_MAX))
    except FileNotFoundError:
        raise OperatorError(f"{path} is not there.", "Nothing was moved.", "") from None


def move_in(home: NodeHome, bundle: Bundle, passphrase: str) -> bytes:
    """Install a bundle's key and watermark; returns the public key.

    The caller holds the folder's lock. Each step is durable before the next, and the key comes
    last: after a crash the same call finishes. Raises `OperatorError` for a bundle that is not
    for this node, or was overtaken.
    """
    genesis, files, facts = home.read_genesis(), DiskFiles(home.signer), bundle.facts
    key = bundle.sealed.public_key
    node_id = crypto.public_key_of(home.read_seed(home.node_key))
    if facts.genesis_hash != genesis.hash:
        raise OperatorError(
            f"The bundle is for {facts.chain_id}, this node is of {genesis.chain_id}.", "", ""
        )
    if facts.destination != node_id:
        raise OperatorError(
            f"The bundle was made for node {facts.destination.hex()}.",
            f"This one is {node_id.hex()}: two nodes with one key would sign twice.",
            "move it in there, and out again for this node",
        )
    seed = bundle.open(passphrase)
    held = [home.read_seed(path) for path in home.authority_keys]
    if any(other != seed for other in held):
        raise OperatorError("This node has an authority key of its own.", "It was kept.", "")
    _require_newest(files, facts, key)
    install_watermark(files, genesis.hash, key, facts.watermark)
    record = MoveRecord(facts.number, False, node_id)
    replace_private(home.signer / move_name(genesis.hash, key), record.pack())
    if not held:
        home.create_key(home.authority_key, seed)
    return key


def _require_newest(files: DiskFiles, facts: Facts, key: bytes) -> None:
    """Refuse a bundle that the key's later life has overtaken, as far as this folder knows."""
    record = read_move(files, facts.genesis_hash, key)
    left_since = record is not None and record.is_out and record.number >= facts.number
    if left_since or (record is not None and record.number > facts.number):
        raise OperatorError(
            "The key has been moved on since this bundle was made.",
            "It may be signing elsewhere.",
            "use the bundle of its last move",
        )
    local = read_watermark(files, facts.genesis_hash, key)
    if local is not None and local.order > facts.watermark.order:
        raise OperatorError(
            "The key has signed here since this bundle was made: it was used before.",
            f"It signed block {local.order[0]}, the bundle knows block {facts.watermark.order[0]}.",
            "clawpurse doctor; if the key is here, there is nothing to move in",
        )
