"""The on-chain modules of this software, in consensus order: the order of the state root.

Names and versions are part of genesis and change only by amendment, never by installation.
"""

from __future__ import annotations

from clawpurse.ledger.module_api import Registry
from clawpurse.modules.accounts import chain as accounts
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.assets import chain as assets
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.governance import chain as governance
from clawpurse.modules.payments import chain as payments
from clawpurse.modules.risk import chain as risk
from clawpurse.modules.roles import chain as roles


def build_registry() -> Registry:
    """Return the registry that every node of a network with these modules uses."""
    return Registry(
        (
            accounts.MODULE,
            assets.MODULE,
            roles.MODULE,
            governance.MODULE,
            payments.MODULE,
            compliance.MODULE,
            risk.MODULE,
            anchor.MODULE,
        )
    )
