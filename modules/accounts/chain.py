"""On-chain half of the module `accounts`: opening accounts and changing their keys.

Account records themselves belong to the kernel, which holds lanes, quota and native balance
together so that a payment touches one key a side; this module is how users change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import Context, Module
from clawpurse.ledger.rules import Rule
from clawpurse.modules.accounts.actions import ACTIONS, CHANGE_KEY, OPEN


def _open(context: Context, values: Sequence[Any]) -> None:
    context.open_account(values[0])


def _change_key(context: Context, values: Sequence[Any]) -> None:
    new_key: bytes = values[0]
    if context.key_of(context.sender) == new_key:
        raise context.refuse("accounts.sameKey", context.sender)
    context.set_key(context.sender, new_key)
    context.emit("accounts.keyChanged", (context.sender,), new_key)


def _genesis(context: Context, genesis: Genesis) -> None:
    for entry in genesis.accounts:
        context.open_account(entry.account)


RULES: Final = {
    "accounts.sameKey": Rule(Code.DUPLICATE, "That key signs for {0:account} already."),
}
EVENTS: Final = {
    "accounts.opened": ("deposit",),
    "accounts.keyChanged": ("newKey",),
}
MODULE: Final = Module(
    name="accounts",
    version=1,
    actions=ACTIONS,
    handlers={OPEN.name: _open, CHANGE_KEY.name: _change_key},
    rules=RULES,
    events=EVENTS,
    genesis=_genesis,
)
