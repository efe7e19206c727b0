"""What a payer signs to pay over a channel, off the ledger: the exact bytes, and their check.

Fixed width, tagged, big-endian, no msgpack, so that a stranger can make them:

    tag 16 ("clawpurse/vouch", zero-padded) ‖ genesis hash 32 ‖ channel id 32
    ‖ asset 16, zero-padded ‖ payee 32 ‖ cumulative amount u64

A voucher is good for one network, one channel, one payee. Amounts are cumulative: the newest
voucher is worth all that was ever promised, so that a payee keeps one and may lose the others.
The tag and the length are those of no other message that a key of this network signs.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import ASSET_CHARS_MAX, asset_name

TAG: Final = b"clawpurse/vouch".ljust(16, b"\0")
_PREFIX: Final = struct.Struct(f">16s32s32s{ASSET_CHARS_MAX}s32s")
_AMOUNT: Final = struct.Struct(">Q")
PREFIX_BYTES: Final = _PREFIX.size
VOUCHER_BYTES: Final = PREFIX_BYTES + _AMOUNT.size


class Terms(NamedTuple):
    """What all vouchers of one channel have in common."""

    genesis_hash: bytes
    channel_id: bytes
    asset: str
    payee: bytes

    @property
    def prefix(self) -> bytes:
        """The bytes that open every voucher of the channel. Raises `Malformed`."""
        return _PREFIX.pack(
            TAG,
            codec.digest(self.genesis_hash, "voucher.genesisHash"),
            codec.digest(self.channel_id, "voucher.channel"),
            asset_name(self.asset, "voucher.asset").encode("ascii"),
            codec.digest(self.payee, "voucher.payee"),
        )


def voucher_bytes(terms: Terms, amount: int) -> bytes:
    """Return what is signed for `amount` minor units in all, from 1. Raises `Malformed`."""
    return terms.prefix + _AMOUNT.pack(codec.integer(amount, "voucher.amount", 1))


def parse(data: bytes) -> tuple[Terms, int]:
    """Read (terms, cumulative amount) back from what was signed. Raises `Malformed`."""
    if len(data) != VOUCHER_BYTES:
        raise Malformed("voucher", f"is {len(data)} bytes, {VOUCHER_BYTES} are required")
    tag, genesis_hash, channel_id, padded, payee = _PREFIX.unpack(data[:PREFIX_BYTES])
    if tag != TAG:
        raise Malformed("voucher", "carries a tag of another use")
    name = padded.rstrip(b"\0").decode("ascii", errors="replace")
    terms = Terms(genesis_hash, channel_id, asset_name(name, "voucher.asset"), payee)
    amount: int = _AMOUNT.unpack(data[PREFIX_BYTES:])[0]
    if voucher_bytes(terms, amount) != data:
        raise Malformed("voucher", "is not in its one form")
    return terms, amount


def verify(key: bytes, terms: Terms, amount: int, signature: bytes) -> bool:
    """Tell whether `key` signed a voucher for `amount` in all. Raises `Malformed`, see above."""
    return crypto.verify(key, voucher_bytes(terms, amount), signature)
