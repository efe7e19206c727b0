"""The faucet's key on a test network: everybody can work it out, so its money is worthless.

    seed = BLAKE2b-256(person "claw.faucet", chain id ‖ 0 ‖ genesis time in ms, u64 big-endian)

So every node of a test network can serve the faucet without a shared secret, and nobody can take
such money for real. A genesis that is not marked as a test network has no faucet at all.
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.crypto import hasher, public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import Genesis

PERSON_FAUCET: Final = b"claw.faucet"
_digest: Final = hasher(PERSON_FAUCET)


def faucet_seed(chain_id: str, time_ms: int) -> bytes:
    """Return the 32-byte Ed25519 seed of the faucet. `time_ms` is genesis time, ms UTC."""
    return _digest(chain_id.encode("ascii") + b"\0" + time_ms.to_bytes(8, "big"))


def faucet_account(genesis: Genesis) -> bytes:
    """Return the faucet's account id.

    Raises `OperatorError` when `genesis` is not of a test network: anyone could spend there.
    """
    if not genesis.test_network:
        raise OperatorError(
            f"{genesis.chain_id} is no test network; it has no faucet.", "", "clawpurse status"
        )
    return public_key_of(faucet_seed(genesis.chain_id, genesis.time_ms))
