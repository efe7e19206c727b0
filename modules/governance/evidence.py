"""What the ledger keeps of authorities that signed twice for one position (R27).

Tree `governance`: E‖slot → number of the record · e‖number (8 bytes) → record, in order of
commitment · E → how many there are. A slot is height 8 ‖ round 4 ‖ kind 1 ‖ authority 32.

Each new record opens a draft to remove its author, unless one is open: authorities judge, code
never removes anybody.

Records stay for ever. They are few: an authority that signs correctly has none, one that does not
is removed by vote, and a block takes sixteen. And whoever would let them expire must be sure
that what expired can never be committed again; a change of `evidence_age_max_ms` breaks that.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.evidence import DOUBLE_SIGN_BYTES_MAX, DoubleSign
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.module_api import Context
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.governance.changes import Change
from clawpurse.modules.governance.changes import Kind as ChangeKind
from clawpurse.modules.governance.proposals import open_draft

TREE: Final = "governance"
RECORD_VERSION: Final = 1
KIND_NAMES: Final = {
    Kind.PROPOSAL: "proposal",
    Kind.PREVOTE: "prevote",
    Kind.PRECOMMIT: "precommit",
}
_COUNT_KEY: Final = b"E"

EVIDENCE_RULES: Final = {
    "governance.evidenceKnown": Rule(
        Code.DUPLICATE, "That double signing is recorded since height {0:number}."
    ),
}
EVIDENCE_EVENTS: Final = {
    "governance.evidence": ("authority", "height", "round", "kind", "number", "draft"),
}


class Recorded(NamedTuple):
    """A committed record: its place in the list, and in which block it was.

    `draft` is the id of the proposal to remove the author, None where none could be opened.
    """

    number: int
    committed_height: int
    draft: bytes | None
    proof: DoubleSign


def mark_key(slot: bytes) -> bytes:
    """Return the state key that says which record there is about a slot."""
    return b"E" + slot


def record_key(number: int) -> bytes:
    """Return the state key of a record."""
    return b"e" + number.to_bytes(8, "big")


def on_evidence(context: Context, proof: DoubleSign) -> None:
    """Write down a double sign, say so in an event, and open the draft to remove its author.

    Refuses what is recorded already, whichever two statements it shows this time.
    """
    known = context.get(mark_key(proof.slot))
    if known is not None:
        data = context.get(record_key(_number(known)))
        if data is None:
            raise Bug("evidence is marked that has no record")
        raise context.refuse("governance.evidenceKnown", _read(0, data).committed_height)
    count = context.get(_COUNT_KEY)
    number = 0 if count is None else _number(count)
    kind = KIND_NAMES[proof.kind]
    reason = f"two {kind}s signed for height {proof.height}, round {proof.round}"
    draft = open_draft(context, Change(ChangeKind.REMOVE, (proof.authority,)), reason)
    context.put(_COUNT_KEY, codec.pack([RECORD_VERSION, number + 1]))
    context.put(mark_key(proof.slot), codec.pack([RECORD_VERSION, number]))
    entry = [RECORD_VERSION, context.height, draft, proof.pack()]
    context.put(record_key(number), codec.pack(entry))
    facts = proof.authority, proof.height, proof.round, kind, number, draft
    context.emit("governance.evidence", (), *facts)


def get_evidence(reader: StateReader, slot: bytes) -> Recorded | None:
    """Return the record about a slot, None if there is none."""
    mark = reader.get(TREE, mark_key(slot))
    return None if mark is None else _at(reader, _number(mark))


def count_evidence(reader: StateReader) -> int:
    """Return how many records there are."""
    data = reader.get(TREE, _COUNT_KEY)
    return 0 if data is None else _number(data)


def list_evidence(reader: StateReader, start: int, limit: int) -> list[Recorded]:
    """Return up to `limit` records in order of commitment, from number `start`."""
    stop = min(count_evidence(reader), start + limit)
    return [_at(reader, number) for number in range(start, stop)]


def _at(reader: StateReader, number: int) -> Recorded:
    data = reader.get(TREE, record_key(number))
    if data is None:
        raise Bug(f"the list of evidence has a hole at {number}")
    return _read(number, data)


def _read(number: int, data: bytes) -> Recorded:
    wire = _own(data, 4)
    height = codec.integer(wire[1], "evidence.height")
    draft = codec.optional_digest(wire[2], "evidence.draft")
    packed = codec.binary(wire[3], "evidence.proof", DOUBLE_SIGN_BYTES_MAX)
    return Recorded(number, height, draft, DoubleSign.unpack(packed))


def _number(data: bytes) -> int:
    return codec.integer(_own(data, 2)[1], "evidence.number")


def _own(data: bytes, length: int) -> list[Wire]:
    wire = codec.unpack_own(data)
    if len(wire) != length or wire[0] != RECORD_VERSION:
        raise Bug("a record of evidence has another format than this software writes")
    return wire
