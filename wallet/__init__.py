"""The user's side of the line: keys, keystore, building, describing, signing, the RPC client.

For programs: `from clawpurse.wallet import Wallet` (docs/wallet-library.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clawpurse.wallet.book import Wallet

__all__ = ["Wallet"]


def __getattr__(name: str) -> Any:
    """Load the library when it is asked for: who wants one part of the wallet pays for one."""
    if name == "Wallet":
        from clawpurse.wallet.book import Wallet

        return Wallet
    raise AttributeError(name)
