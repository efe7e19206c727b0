"""Actions of the module `governance`: fields, limits, and what each does in words.

Every one is a vote of an authority, whose key signs as approver; the sender may be any account
that pays. A vote that nobody gave before opens the proposal, equal ones are for the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
from clawpurse.ledger.names import NAME_CHARS_MAX, plain_name
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import Body
from clawpurse.modules.governance.changes import (
    KIND_NAMES,
    PARAMETERS_CHARS_MAX,
    Change,
    Kind,
    change_words,
    read_parameters,
)

# A proposal of a dozen records, the set of authorities, and what it carries out.
COST_OPENING: Final = 900
COST_VOTE: Final = 700
COST_WITHDRAW: Final = 300

Reader = Callable[[Wire, str], Any]


def _authority_approves(values: Sequence[Any], body: Body) -> tuple[tuple[bytes, bytes], ...]:
    """The authority signs with its own key, for itself; whoever sends it only pays."""
    return ((values[0], values[0]),)


def _parameters(value: Wire, field: str) -> str:
    text = codec.ascii_text(value, field, PARAMETERS_CHARS_MAX)
    read_parameters(text, field)
    return text


def _time(value: Wire, field: str) -> int:
    return codec.integer(value, field)


def _height(value: Wire, field: str) -> int:
    return codec.integer(value, field, 1)


_AUTHORITY: Final = Field("authority", FieldType.KEY, "whose vote it is; its key signs too")
_EXPIRES: Final = Field("expires", FieldType.TIME, "block time at which the proposal ends")
_PROPOSAL: Final = Field("proposal", FieldType.BYTES, "id of the proposal")
_ROLE: Final = Field("role", FieldType.TEXT, "1–32 of a–z, 0–9, dot, hyphen", NAME_CHARS_MAX)
_ACCOUNT: Final = Field("account", FieldType.ACCOUNT, "who shall hold it, or no longer")
_NAME: Final = Field("name", FieldType.TEXT, "the amendment's name", NAME_CHARS_MAX)
_NEW: Final = Field("key", FieldType.KEY, "the consensus key that shall be an authority")
_OLD: Final = Field("oldKey", FieldType.KEY, "the consensus key that shall be none any more")
_VALUES: Final = Field(
    "values", FieldType.TEXT, "name=number,… ascending by name", PARAMETERS_CHARS_MAX
)
_HEIGHT: Final = Field("height", FieldType.INTEGER, "the first block under it")
_READERS: Final[Mapping[str, Reader]] = {
    "authority": codec.digest,
    "expires": _time,
    "proposal": codec.digest,
    "role": plain_name,
    "account": codec.digest,
    "name": plain_name,
    "key": codec.digest,
    "oldKey": codec.digest,
    "values": _parameters,
    "height": _height,
}


def _exactly(fields: tuple[Field, ...]) -> Callable[[Sequence[Wire], str], tuple[Any, ...]]:
    """Return what reads these fields, each by its own rule."""
    readers = tuple((field.name, _READERS[field.name]) for field in fields)

    def read(wire: Sequence[Wire], name: str) -> tuple[Any, ...]:
        if len(wire) != len(readers):
            raise Malformed(name, f"has {len(wire)} fields, {len(readers)} are required")
        pairs = zip(readers, wire, strict=True)
        return tuple([reader(value, f"{name}.{field}") for (field, reader), value in pairs])

    return read


def _opening(kind: Kind, *arguments: Field) -> ActionType:
    """Return the action that votes for a change by its contents."""
    fields = (_AUTHORITY, _EXPIRES, *arguments)

    def words(values: Mapping[str, Any], _words: Words) -> str:
        change = Change(kind, tuple(values[field.name] for field in arguments))
        voter, until = authority_text(values["authority"]), time_text(values["expires"])
        return (
            f"As authority {voter}, vote to {change_words(change)}; it needs a quorum by {until}."
        )

    return ActionType(
        name=f"governance.{KIND_NAMES[kind]}",
        fields=fields,
        cost=COST_OPENING,
        words=words,
        approvers=_authority_approves,
        parse=_exactly(fields),
    )


def _vote_words(fields: Mapping[str, Any], words: Words) -> str:
    voter, proposal = authority_text(fields["authority"]), fields["proposal"].hex()
    return f"As authority {voter}, vote for the proposal 0x{proposal}."


def _withdraw_words(fields: Mapping[str, Any], words: Words) -> str:
    voter, proposal = authority_text(fields["authority"]), fields["proposal"].hex()
    return f"As authority {voter}, take back the vote for the proposal 0x{proposal}."


OPENINGS: Final[Mapping[Kind, ActionType]] = {
    Kind.ADD: _opening(Kind.ADD, _NEW),
    Kind.REMOVE: _opening(Kind.REMOVE, _OLD),
    Kind.REPLACE: _opening(Kind.REPLACE, _OLD, _NEW),
    Kind.PARAMETERS: _opening(Kind.PARAMETERS, _VALUES),
    Kind.GRANT: _opening(Kind.GRANT, _ROLE, _ACCOUNT),
    Kind.REVOKE: _opening(Kind.REVOKE, _ROLE, _ACCOUNT),
    Kind.AMEND: _opening(Kind.AMEND, _NAME, _HEIGHT),
    Kind.CANCEL: _opening(Kind.CANCEL, _NAME),
}
VOTE: Final = ActionType(
    name="governance.vote",
    fields=(_AUTHORITY, _PROPOSAL),
    cost=COST_VOTE,
    words=_vote_words,
    approvers=_authority_approves,
    parse=_exactly((_AUTHORITY, _PROPOSAL)),
)
WITHDRAW: Final = ActionType(
    name="governance.withdraw",
    fields=(_AUTHORITY, _PROPOSAL),
    cost=COST_WITHDRAW,
    words=_withdraw_words,
    approvers=_authority_approves,
    parse=_exactly((_AUTHORITY, _PROPOSAL)),
)
ACTIONS: Final = (*OPENINGS.values(), VOTE, WITHDRAW)
