"""The set of equal authorities of one height: membership, thresholds, whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from clawpurse.ledger import codec
from clawpurse.ledger.crypto import authorities_hash_of
from clawpurse.ledger.errors import Malformed

# Tests go to 100 and a certificate of 100 signatures still fits one small message.
AUTHORITIES_MAX: Final = 100
AUTHORITIES_BYTES_MAX: Final = 4096


class AuthoritySet:
    """1…100 authorities, sorted by public key, one vote each. Immutable; compares by keys.

    Tolerates f Byzantine members when it has 3f + 1. At n = 6 its quorum (5) tolerates a single
    crash, so networks use n = 4, 7, 10, ….
    """

    __slots__ = ("_places", "hash", "honest_size", "keys", "quorum_size")

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Take public keys in any order. Raises `Malformed` on none, too many or a repeated key."""
        ordered = tuple(sorted(codec.digest(key, "authorities[]") for key in keys))
        if not 1 <= len(ordered) <= AUTHORITIES_MAX:
            raise Malformed("authorities", f"are {len(ordered)}, 1…{AUTHORITIES_MAX} are allowed")
        places = {key: place for place, key in enumerate(ordered)}
        if len(places) != len(ordered):
            raise Malformed("authorities", "name one key twice")
        self.keys: Final = ordered
        self._places: Final = places
        #: The smallest number of members with 3·count > 2·n.
        self.quorum_size: Final = 2 * len(ordered) // 3 + 1
        #: The smallest number of members with 3·count > n: one of them at least is honest.
        self.honest_size: Final = len(ordered) // 3 + 1
        #: 32 bytes, as headers carry it.
        self.hash: Final = authorities_hash_of(self.pack())

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AuthoritySet) and self.keys == other.keys

    def __hash__(self) -> int:
        return hash(self.keys)

    def __repr__(self) -> str:
        return f"AuthoritySet({len(self.keys)} keys, hash 0x{self.hash.hex()[:16]}…)"

    def place(self, key: bytes) -> int:
        """Return where `key` stands in the sorted set, or −1 when it is no member."""
        return self._places.get(key, -1)

    def quorum(self, count: int) -> bool:
        """Tell whether `count` distinct members are a quorum: 3·count > 2·n."""
        return 3 * count > 2 * len(self.keys)

    def honest(self, count: int) -> bool:
        """Tell whether `count` distinct members include an honest one: 3·count > n."""
        return 3 * count > len(self.keys)

    def proposer(self, height: int, round_: int) -> bytes:
        """Return whose turn it is: sorted[(height − 1 + round) mod n], stateless (R18)."""
        return self.keys[(height - 1 + round_) % len(self.keys)]

    def bitmap(self, members: Iterable[bytes]) -> bytes:
        """Return ceil(n / 8) bytes: member i sets bit i mod 8, lowest first, of byte i div 8."""
        bits = bytearray((len(self.keys) + 7) // 8)
        for key in members:
            place = self._places[key]
            bits[place >> 3] |= 1 << (place & 7)
        return bytes(bits)

    def signers(self, bitmap: bytes) -> tuple[bytes, ...] | None:
        """Return the members that a bitmap names, in set order.

        None unless its length is exact and all bits beyond the last member are zero.
        """
        if len(bitmap) != (len(self.keys) + 7) // 8:
            return None
        number = int.from_bytes(bitmap, "little")
        if number >> len(self.keys):
            return None
        return tuple(key for place, key in enumerate(self.keys) if number >> place & 1)

    def pack(self) -> bytes:
        """Return the canonical bytes: the keys, ascending."""
        return codec.pack(self.keys)

    @classmethod
    def unpack(cls, data: bytes) -> AuthoritySet:
        """Read canonical bytes. Raises `Malformed`, also when the keys do not ascend."""
        wire = codec.unpack(data, size_max=AUTHORITIES_BYTES_MAX, field="authorities")
        keys = [codec.digest(item, "authorities[]") for item in wire]
        authorities = cls(keys)
        if list(authorities.keys) != keys:
            raise Malformed("authorities", "are not in ascending order")
        return authorities
