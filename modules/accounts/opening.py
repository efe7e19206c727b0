"""Opening accounts, and letting one key sign for an account in place of its key or signers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Handler, Query, Words
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import Body
from clawpurse.modules.accounts.signers import unlist


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
    session=True,
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
    account = context.sender
    signers = context.entitlements.signers(account)
    if signers is not None:
        # They decided, up to their threshold, that one key signs in their place.
        context.set_signers(account, None)
        unlist(context, account, signers)
    elif context.key_of(account) == new_key:
        raise context.refuse("accounts.sameKey", account)
    context.set_key(account, new_key)
    context.emit("accounts.keyChanged", (account,), new_key)


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
