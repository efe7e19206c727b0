"""Actions of the module `anchor`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
from clawpurse.ledger.rfc6962 import PROOF_HASHES_MAX, SIZE_MAX
from clawpurse.ledger.rules import time_text

# One officer alone breaks nothing; more than these no network has awake at once.
BREAKERS_MIN: Final = 2
BREAKERS_MAX: Final = 16
# A sentence: why a log goes on from behind its anchor. Public for ever, so no names in it.
REASON_CHARS_MAX: Final = 200
# One hash of a proof is at most two hashings of 65 bytes, 1 µs each, and its decoding.
_COST_PER_HASH: Final = 5


def _id_text(identity: bytes) -> str:
    return f"0x{identity.hex()}"


def _document_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Anchor the commitment {_id_text(fields['commitment'])} ({fields['kind']}) for ever."


def _writer_text(fields: Mapping[str, Any], words: Words) -> str:
    if fields["writer"] is not None:
        return words.account(fields["writer"])
    return f"holders of the role {fields['writerRole']}"


def _open_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Open the log {fields['name']}, written by {_writer_text(fields, words)}; "
        f"{fields['breakers']} officers can let it go on from behind what is anchored."
    )


def _writer_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Let {_writer_text(fields, words)} write the log {_id_text(fields['log'])}."


def _log_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Anchor the log {_id_text(fields['log'])} at {fields['size']} entries with the root "
        f"{_id_text(fields['root'])}."
    )


def _break_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Propose that the log {_id_text(fields['log'])} goes on from {fields['size']} entries "
        f"with the root {_id_text(fields['root'])}, though more were anchored. Reason: "
        f"{fields['reason']}. Officers decide until {time_text(fields['expires'])}."
    )


def _approve_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Approve proposal {fields['number']} of {words.account(fields['proposer'])}: the log "
        f"{_id_text(fields['log'])} goes on from {fields['size']} entries with the root "
        f"{_id_text(fields['root'])}, though more were anchored."
    )


def _log_cost(values: Sequence[Any]) -> int:
    return _COST_PER_HASH * len(values[3])


_LOG: Final = Field("log", FieldType.HASH, "which log: hash of its owner and name")
_WRITER: Final = Field(
    "writer", FieldType.ACCOUNT, "who alone anchors it; nil: see writerRole", optional=True
)
_WRITER_ROLE: Final = Field(
    "writerRole", FieldType.NAME, "whose holders anchor it; nil: see writer", optional=True
)
_SIZE: Final = Field("size", FieldType.INTEGER, "entries from its beginning", high=SIZE_MAX)
_ROOT: Final = Field("root", FieldType.HASH, "their root: RFC 6962 with SHA-256")

DOCUMENT: Final = ActionType(
    name="anchor.document",
    fields=(
        Field("commitment", FieldType.HASH, "of the document; says nothing without its key"),
        Field("kind", FieldType.NAME, "what it is, in one plain word"),
    ),
    # Four keys; nothing else is computed.
    cost=200,
    words=_document_words,
    session=True,
)
OPEN_LOG: Final = ActionType(
    name="anchor.openLog",
    fields=(
        Field("name", FieldType.NAME, "a name, once for each owner"),
        _WRITER,
        _WRITER_ROLE,
        Field(
            "breakers",
            FieldType.INTEGER,
            "how many holders of the role compliance a break takes",
            low=BREAKERS_MIN,
            high=BREAKERS_MAX,
        ),
    ),
    cost=200,
    words=_open_words,
)
SET_WRITER: Final = ActionType(
    name="anchor.setWriter",
    fields=(_LOG, _WRITER, _WRITER_ROLE),
    cost=150,
    words=_writer_words,
)
LOG: Final = ActionType(
    name="anchor.log",
    fields=(
        _LOG,
        _SIZE,
        _ROOT,
        Field(
            "proof",
            FieldType.LIST,
            "that it only grew since the newest anchor: RFC 9162 §2.1.4",
            PROOF_HASHES_MAX,
            items=(Field("hash", FieldType.HASH, "root of a subtree"),),
        ),
    ),
    cost=150,
    words=_log_words,
    cost_of=_log_cost,
    session=True,
)
BREAK: Final = ActionType(
    name="anchor.break",
    fields=(
        _LOG,
        _SIZE,
        _ROOT,
        Field(
            "reason",
            FieldType.TEXT,
            "why it is behind its anchor; public for ever",
            REASON_CHARS_MAX,
            size_min=1,
        ),
        Field("expires", FieldType.TIME, "until when officers decide, at most 14 days ahead"),
    ),
    cost=200,
    words=_break_words,
)
APPROVE_BREAK: Final = ActionType(
    name="anchor.approveBreak",
    fields=(
        _LOG,
        Field("proposer", FieldType.ACCOUNT, "whose proposal it is"),
        Field("number", FieldType.INTEGER, "which one: each has a number of its own", low=1),
        _SIZE,
        _ROOT,
    ),
    # All who approved are asked for their role and subject again, at most 64.
    cost=500,
    words=_approve_words,
)
ACTIONS: Final = (DOCUMENT, OPEN_LOG, SET_WRITER, LOG, BREAK, APPROVE_BREAK)
