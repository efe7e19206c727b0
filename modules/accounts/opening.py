"""Opening accounts, and replacing the one key of an account by another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Handler, Query, Words
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import Body


def _open_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Open the account {words.account(fields['account'])}."


def _change_key_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"From now on only the key 0x{fields['newKey'].hex()} may sign for this account."


def _new_key_approves(values: Sequence[Any], body: Body) -> tuple[tuple[bytes, bytes], ...]:
    """The new key signs too, so that nobody hands an account to a key that nobody has."""
    return ((body.sender, values[0]),)


OPEN: Final = ActionType(
    name="accounts.open",
    fields=(Field("account", FieldType.ACCOUNT, "the account to open; its id is its first key"),),
    cost=60,
    words=_open_words,
)
CHANGE_KEY: Final = ActionType(
    name="accounts.changeKey",
    fields=(Field("newKey", FieldType.KEY, "the Ed25519 key that may sign from now on"),),
    cost=60,
    words=_change_key_words,
    approvers=_new_key_approves,
)


def _open(context: Context, values: Sequence[Any]) -> None:
    context.open_account(values[0])


def _change_key(context: Context, values: Sequence[Any]) -> None:
    new_key: bytes = values[0]
    if context.key_of(context.sender) == new_key:
        raise context.refuse("accounts.sameKey", context.sender)
    context.set_key(context.sender, new_key)
    context.emit("accounts.keyChanged", (context.sender,), new_key)


def genesis(context: Context, genesis: Genesis) -> None:
    """Open the accounts that genesis names."""
    for entry in genesis.accounts:
        context.open_account(entry.account)


ACTIONS: Final = (OPEN, CHANGE_KEY)
HANDLERS: Final[Mapping[str, Handler]] = {OPEN.name: _open, CHANGE_KEY.name: _change_key}
RULES: Final = {
    "accounts.sameKey": Rule(Code.DUPLICATE, "That key signs for {0:account} already."),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.opened": ("deposit",),
    "accounts.keyChanged": ("newKey",),
}
QUERIES: Final[Mapping[str, Query]] = {}
