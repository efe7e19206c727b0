"""From one module's tree to the state root, and proofs over both.

The state root is the RFC 6962 root, in registry order, over one leaf per module:

    msgpack array [name, version, tree root]

A state proof is the msgpack array

    [1, module version, index of the module, number of modules, [sibling…], tree proof]

where the siblings (32 bytes each, lowest first) are the RFC 6962 path of the module's leaf and
the tree proof is `proof`'s. So it binds module name and version, key and value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.statetree.proof import PROOF_BYTES_MAX, proof_root

STATE_PROOF_VERSION: Final = 1
# Far above the modules any registry will list; bounds the path in a proof to 16 hashes.
MODULES_MAX: Final = 1 << 16
_PATH_MAX: Final = 16
STATE_PROOF_BYTES_MAX: Final = PROOF_BYTES_MAX + 1024
_VERSION_MAX: Final = codec.U32_MAX


def module_leaf(name: str, version: int, tree_root: bytes) -> bytes:
    """Return a module's leaf in the state root."""
    return codec.pack([name, version, tree_root])


def state_root_of(modules: Sequence[tuple[str, int, bytes]]) -> bytes:
    """Return the state root over (name, version, tree root) in registry order."""
    return crypto.state_list_root(module_leaf(*module) for module in modules)


def encode_state_proof(
    modules: Sequence[tuple[str, int, bytes]], index: int, tree_proof: bytes
) -> bytes:
    """Return the proof that joins `tree_proof` of module `index` to the state root."""
    leaves = [module_leaf(*module) for module in modules]
    path = crypto.state_list_path(leaves, index)
    version = modules[index][1]
    return codec.pack([STATE_PROOF_VERSION, version, index, len(leaves), path, tree_proof])


def verify_state_proof(
    state_root: bytes, tree: str, key: bytes, value: bytes | None, proof: bytes
) -> bool:
    """Tell whether `proof` shows that `key` of module `tree` has `value` (None: no value).

    Needs nothing but its arguments. Never raises on input of any shape.
    """
    if type(state_root) is not bytes or type(tree) is not str or type(proof) is not bytes:
        return False
    try:
        fields = codec.array(codec.unpack(proof, size_max=STATE_PROOF_BYTES_MAX), "proof", 6)
        codec.version(fields[0], "proof.version", (STATE_PROOF_VERSION,))
        version = codec.integer(fields[1], "proof.moduleVersion", 0, _VERSION_MAX)
        size = codec.integer(fields[3], "proof.modules", 1, MODULES_MAX)
        index = codec.integer(fields[2], "proof.index", 0, size - 1)
        siblings = codec.items(fields[4], "proof.path", _PATH_MAX)
        path = [codec.digest(sibling, "proof.path") for sibling in siblings]
        tree_proof = codec.binary(fields[5], "proof.tree", PROOF_BYTES_MAX)
        codec.ascii_text(tree, "tree", 64)
    except Malformed:
        return False
    root = proof_root(key, value, tree_proof)
    if root is None:
        return False
    leaf = module_leaf(tree, version, root)
    return crypto.state_root_from_path(leaf, index, size, path) == state_root
