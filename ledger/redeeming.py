"""Who may have what a paid invoice bought: the check that a shop or gateway makes, off the ledger.

Invoice ids, and that they are paid, are public; so knowing an id proves nothing. What a paid
invoice bought is handed to whoever shows the preimage of the hash that the invoice names, or,
where it names none, to whoever signs as the account that paid. The signature covers what it is
shown for (`request`: a hash of method, address, payee and a fresh number, say), so that it is of
no use for another request. Serving a request once is the shop's own record.

    tag 16 ("clawpurse/redeem") ‖ genesis hash 32 ‖ invoice id 32 ‖ request 32
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

from clawpurse.ledger import codec, crypto

TAG: Final = b"clawpurse/redeem"
_BYTES: Final = struct.Struct(">16s32s32s32s")
REDEMPTION_BYTES: Final = _BYTES.size
# More than any secret needs.
PREIMAGE_BYTES_MAX: Final = 256


class Claim(NamedTuple):
    """What is shown to have what an invoice bought: a preimage, or a signature for a request."""

    preimage: bytes | None = None
    request: bytes = crypto.ZERO_HASH
    signature: bytes | None = None


def redemption_bytes(genesis_hash: bytes, invoice_id: bytes, request: bytes) -> bytes:
    """Return what the account that paid signs for one request. Raises `Malformed`."""
    return _BYTES.pack(
        TAG,
        codec.digest(genesis_hash, "redemption.genesisHash"),
        codec.digest(invoice_id, "redemption.invoice"),
        codec.digest(request, "redemption.request"),
    )


def redeems(
    genesis_hash: bytes,
    invoice_id: bytes,
    preimage_hash: bytes | None,
    payer_key: bytes | None,
    claim: Claim,
) -> bool:
    """Tell whether a claim is good for an invoice that is paid.

    `preimage_hash` is the invoice's; `payer_key` is the key that may sign for the account that
    paid, None if none may alone. An invoice that names a hash is redeemed by its preimage only:
    who paid for another may not take it. Raises `Malformed` on a request that is no hash.
    """
    if preimage_hash is not None:
        shown = claim.preimage
        if shown is None or len(shown) > PREIMAGE_BYTES_MAX:
            return False
        return hashlib.sha256(shown).digest() == preimage_hash
    if payer_key is None or claim.signature is None:
        return False
    message = redemption_bytes(genesis_hash, invoice_id, claim.request)
    return crypto.verify(payer_key, message, claim.signature)
