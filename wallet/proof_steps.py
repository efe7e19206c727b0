"""The steps that every offline proof is made of: forms, certified headers, leaves of lists.

Payment proofs (`proofs.py`) and audit bundles (`bundles.py`) take the same steps; each raises
`Malformed` when it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import CERTIFICATE_BYTES_MAX, Header
from clawpurse.ledger.errors import InvalidCertificate, Malformed
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis

# A path in a list of 2^32 entries; longer ones are not paths.
PATH_MAX: Final = 32


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the step in the error, whatever field the inner decoder would have named."""
    try:
        yield
    except Malformed as err:
        inner = err.field.removeprefix(name).lstrip(".")
        raise Malformed(name, f"{inner} {err.problem}".lstrip()) from err
    except InvalidCertificate as err:
        raise Malformed(name, str(err)) from err


def check_genesis(value: object, genesis_hash: bytes) -> Genesis:
    """Return the genesis whose bytes hash to the one that is trusted."""
    packed = octets(value, "genesis", GENESIS_BYTES_MAX)
    found = crypto.genesis_hash_of(packed)
    if found != genesis_hash:
        raise Malformed("genesis", f"has the hash 0x{found.hex()}, not 0x{genesis_hash.hex()}")
    return Genesis.unpack(packed)


def check_place(header: Header, genesis: Genesis, authorities: AuthoritySet) -> None:
    """Check that a header is of this network and names `authorities` as those who decide it."""
    if (header.chain_id, header.genesis_hash) != (genesis.chain_id, genesis.hash):
        raise Malformed("header", "belongs to another network")
    if header.authorities_hash != authorities.hash:
        raise Malformed("header", f"block {header.height} was decided by another set than is known")


def check_certificate(header: Header, value: object, authorities: AuthoritySet) -> int:
    """Check that a quorum of `authorities` decided this header; return how many signed."""
    packed = octets(value, "certificate", CERTIFICATE_BYTES_MAX)
    certificate = Certificate.unpack(packed)
    if (certificate.height, certificate.decided_id) != (header.height, header.block_id):
        raise Malformed("certificate", f"is not for block {header.height} with this header")
    domain = Domain(header.chain_id, header.genesis_hash, header.recovery_epoch)
    certificate.verify(domain, authorities, crypto.verify)
    return len(certificate.signatures)


def leaf_in_list(value: object, field: str, size_max: int, root: bytes) -> tuple[bytes, str]:
    """Check a leaf's path to the root of a list; return the leaf's bytes and its sides."""
    leaf = members(value, field, ("leaf", "path"))
    data = octets(leaf["leaf"], field, size_max)
    return data, sides_in_list(data, leaf["path"], field, root)


def sides_in_list(leaf: bytes, path: object, field: str, root: bytes) -> str:
    """Check that `path` leads from a leaf to the root of a list.

    Returns the sides of its siblings, lowest first: `0` for one on the right (the leaf is left
    of it), `1` for one on the left. Reversed, they are ordered as the leaves are.
    """
    digest, sides = crypto.list_leaf_hash(leaf), ""
    for item in bounded_list(path, f"{field}.path", PATH_MAX):
        if type(item) is not list or len(item) != 2 or item[0] not in ("left", "right"):
            raise Malformed(f"{field}.path", 'holds something else than ["left"|"right", hash]')
        sibling = codec.digest(octets(item[1], f"{field}.path", crypto.HASH_BYTES), field)
        is_left = item[0] == "left"
        pair = [sibling, digest] if is_left else [digest, sibling]
        digest = crypto.list_root_of_hashes(pair)
        sides += "1" if is_left else "0"
    if digest != root:
        raise Malformed(field, "is not in the block (its path does not lead to the header)")
    return sides


def place_fits(index: int, sides: str) -> bool:
    """Tell whether a leaf with these sides can be number `index` of a list of some length.

    In a list of n leaves, level by level, a leaf has a sibling on the left where its index is
    odd, on the right where it is even and not the last; the last one of an odd level rises
    without. So the sides are the low bits of the index, then, from some level on, nothing but a
    `1` for each bit that is left. Within one list a leaf may also fit some earlier places, never
    a later one: a receipt's path and the paths of its events together leave no choice, because
    events of a transaction before it stand before its own, those of one after it behind.
    """
    for level in range(len(sides) + 1):
        rest = index >> level
        if sides[level:] == "1" * rest.bit_count():
            return True
        if level == len(sides) or sides[level] != "01"[rest & 1]:
            return False
    return False


def members(value: object, field: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return an object that has these members."""
    if type(value) is not dict:
        raise Malformed(field, "is not an object")
    missing = [name for name in names if name not in value]
    if missing:
        raise Malformed(f"{field}.{missing[0]}", "is missing")
    return value


def exact_members(value: object, field: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return an object that has these members and no others: nothing unchecked is shown."""
    if type(value) is not dict or sorted(map(str, value)) != sorted(names):
        raise Malformed(field, f"does not have exactly the members {', '.join(names)}")
    return value


def bounded_list(value: object, field: str, count_max: int) -> list[Any]:
    """Return a list of at most `count_max` items."""
    if type(value) is not list or len(value) > count_max:
        raise Malformed(field, f"is not a list of at most {count_max}")
    return value


def octets(value: object, field: str, size_max: int) -> bytes:
    """Return the bytes of `0x` and lower-case hex digits."""
    if type(value) is not str or not value.startswith("0x") or len(value) > 2 + 2 * size_max:
        raise Malformed(field, f"is not 0x and hex digits of at most {size_max} bytes")
    try:
        found = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed(field, "is not 0x and hex digits") from None
    if hexed(found) != value:
        raise Malformed(field, "is not 0x and lower-case hex digits")
    return found


def hexed(data: bytes) -> str:
    """Return bytes as proofs show them."""
    return "0x" + data.hex()
