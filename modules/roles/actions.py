"""Actions of the module `roles`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
from clawpurse.ledger.names import NAME_CHARS_MAX, plain_name
from clawpurse.ledger.transactions import ACTION_NAME_CHARS_MAX

# A sentence: why somebody no longer may. It stays in the ledger for ever, so no names in it.
REASON_CHARS_MAX: Final = 128


def _grant_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Give {words.account(fields['account'])} the role {fields['role']}."


def _revoke_words(fields: Mapping[str, Any], words: Words) -> str:
    why = f" Reason: {fields['reason']}." if fields["reason"] else ""
    return f"Take the role {fields['role']} from {words.account(fields['account'])}.{why}"


def _permission_words(fields: Mapping[str, Any], words: Words) -> str:
    if fields["role"] is None:
        return f"From now on everybody may perform {fields['action']}."
    return f"From now on only holders of the role {fields['role']} may perform {fields['action']}."


def _read(wire: Sequence[Wire], count: int, name: str) -> None:
    if len(wire) != count:
        raise Malformed(name, f"has {len(wire)} fields, {count} are required")


def _read_grant(wire: Sequence[Wire], name: str) -> tuple[Any, ...]:
    _read(wire, 2, name)
    return plain_name(wire[0], f"{name}.role"), codec.digest(wire[1], f"{name}.account")


def _read_revoke(wire: Sequence[Wire], name: str) -> tuple[Any, ...]:
    _read(wire, 3, name)
    return (
        plain_name(wire[0], f"{name}.role"),
        codec.digest(wire[1], f"{name}.account"),
        codec.ascii_text(wire[2], f"{name}.reason", REASON_CHARS_MAX, 0),
    )


def _read_permission(wire: Sequence[Wire], name: str) -> tuple[Any, ...]:
    _read(wire, 2, name)
    return (
        codec.ascii_text(wire[0], f"{name}.action", ACTION_NAME_CHARS_MAX),
        None if wire[1] is None else plain_name(wire[1], f"{name}.role"),
    )


_ROLE: Final = Field("role", FieldType.TEXT, "1–32 of a–z, 0–9, dot, hyphen", NAME_CHARS_MAX)
GRANT: Final = ActionType(
    name="roles.grant",
    fields=(_ROLE, Field("account", FieldType.ACCOUNT, "who shall hold it")),
    cost=400,
    words=_grant_words,
    parse=_read_grant,
)
REVOKE: Final = ActionType(
    name="roles.revoke",
    fields=(
        _ROLE,
        Field("account", FieldType.ACCOUNT, "who holds it"),
        Field("reason", FieldType.TEXT, "why; public for ever", REASON_CHARS_MAX),
    ),
    cost=400,
    words=_revoke_words,
    parse=_read_revoke,
)
SET_PERMISSION: Final = ActionType(
    name="roles.setPermission",
    fields=(
        Field("action", FieldType.TEXT, "name of an action", ACTION_NAME_CHARS_MAX),
        Field(
            "role",
            FieldType.TEXT,
            "who alone may perform it; nil: everybody",
            NAME_CHARS_MAX,
            optional=True,
        ),
    ),
    # All of them stand in one record, which is packed and read again.
    cost=300,
    words=_permission_words,
    parse=_read_permission,
)
ACTIONS: Final = (GRANT, REVOKE, SET_PERMISSION)
