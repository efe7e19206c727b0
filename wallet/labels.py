"""How a home calls accounts: its keys, its contacts, and the ledger's own accounts."""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, module_account
from clawpurse.ledger.module_api import KERNEL
from clawpurse.wallet.contacts import Contacts
from clawpurse.wallet.keystore import Keystore

# Accounts that nobody has a key of, in whose names the ledger itself acts.
LEDGER_NAMES: Final = (
    (FEE_ACCOUNT, "the fees"),
    (module_account(KERNEL), "the ledger"),
    (module_account("governance"), "the authorities"),
)


def labels_in(contacts: Contacts, keystore: Keystore) -> dict[str, str]:
    """Return names by address, read once for many accounts.

    A key's name stands before a contact's. Those of the ledger have a blank, which nobody else's
    can have. Raises `StorageFault` when the contacts are damaged.
    """
    labels = {account_text(account): name for account, name in LEDGER_NAMES}
    labels |= {account_text(one.account): one.name for one in contacts.all()}
    for name in keystore.names():
        try:
            labels[account_text(keystore.show(name).account)] = name
        except OperatorError:
            # A damaged key file is reported when that key is asked for.
            continue
    return labels
