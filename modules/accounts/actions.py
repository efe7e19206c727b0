"""Actions of the module `accounts`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
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
ACTIONS: Final = (OPEN, CHANGE_KEY)
