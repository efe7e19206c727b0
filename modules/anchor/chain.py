"""On-chain half of the module `anchor`: documents that were there, and logs that only grow.

A document's commitment is kept with who anchored it and when; it says nothing to whoever lacks
the key. A log is kept as its newest size and root; the next anchor must prove that it is the same
log, only longer (`ledger/rfc6962.py`), so a rewritten log is refused by every node. `breaks` has
the one way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.module_api import Context, Module
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rfc6962 import EMPTY_ROOT, verify_consistency
from clawpurse.ledger.rules import Rule
from clawpurse.modules.anchor.actions import (
    ACTIONS,
    APPROVE_BREAK,
    BREAK,
    DOCUMENT,
    LOG,
    OPEN_LOG,
    SET_WRITER,
)
from clawpurse.modules.anchor.breaks import approve, may_write, propose, require_log
from clawpurse.modules.anchor.records import (
    COMMITMENT_PREFIX,
    LOG_PREFIX,
    OWNER_PREFIX,
    TREE,
    Document,
    Log,
    break_key,
    count_at,
    count_key,
    document_at,
    document_key,
    find_document,
    find_log,
    get_of,
    list_anchorers,
    list_breaks,
    list_logs,
    list_logs_of,
    list_proposals,
    log_id,
    log_key,
    name_key,
    owned_at,
    owned_key,
    pack,
    place_key,
    value_of,
)

# More than anybody anchors in years at one a minute; who has more anchors a log of them.
DOCUMENTS_MAX: Final = 1_000_000
# One for each system of a firm that keeps records.
LOGS_MAX: Final = 64
# Records read at once by a full check.
_CHECK_SLICE: Final = 256


# -- actions


def _document(context: Context, values: Sequence[Any]) -> None:
    commitment, kind = values
    sender, get = context.sender, context.get
    known = document_at(get, sender, commitment)
    if known is not None:
        raise context.refuse("anchor.documentKnown", sender, commitment, known.height)
    owned = owned_at(get, sender)
    if owned.documents >= DOCUMENTS_MAX:
        raise context.refuse("anchor.documentsFull", sender, owned.documents)
    number = count_at(get, commitment)
    record = Document(kind, context.height, context.time_ms, number)
    context.put(document_key(sender, commitment), record.pack())
    context.put(place_key(commitment, number), pack(sender))
    context.put(count_key(commitment), pack(number + 1))
    context.put(owned_key(sender), owned._replace(documents=owned.documents + 1).pack())
    context.emit("anchor.documented", (sender,), commitment, kind, number)


def _open_log(context: Context, values: Sequence[Any]) -> None:
    name, writer, writer_role, breakers = values
    owner = context.sender
    identity = log_id(owner, name)
    if context.get(log_key(identity)) is not None:
        raise context.refuse("anchor.logKnown", owner, name)
    _check_writer(context, writer, writer_role)
    owned = owned_at(context.get, owner)
    if owned.logs >= LOGS_MAX:
        raise context.refuse("anchor.logsFull", owner, owned.logs)
    height, now_ms = context.height, context.time_ms
    log = Log(
        owner, name, writer, writer_role or "", breakers, height, now_ms,
        0, 0, EMPTY_ROOT, height, now_ms, 0, 0,
    )  # fmt: skip
    context.put(log_key(identity), log.pack())
    context.put(name_key(owner, name), pack(identity))
    context.put(owned_key(owner), owned._replace(logs=owned.logs + 1).pack())
    context.emit("anchor.logOpened", _told(owner, writer), identity, name, writer_role, breakers)


def _set_writer(context: Context, values: Sequence[Any]) -> None:
    identity, writer, writer_role = values
    log = require_log(context, identity)
    if context.sender != log.owner:
        raise context.refuse("anchor.notOwner", context.sender, identity)
    _check_writer(context, writer, writer_role)
    if (writer, writer_role or "") == (log.writer, log.writer_role):
        raise context.refuse("anchor.writerKnown", identity)
    after = log._replace(writer=writer, writer_role=writer_role or "")
    context.put(log_key(identity), after.pack())
    context.emit("anchor.writerSet", _told(log.owner, log.writer, writer), identity, writer_role)


def _check_writer(context: Context, writer: bytes | None, writer_role: str | None) -> None:
    if (writer is None) == (writer_role is None):
        raise context.refuse("anchor.oneWriter")
    if writer is not None:
        context.key_of(writer)  # A writer that is no account yet is a mistyped one.


def _log(context: Context, values: Sequence[Any]) -> None:
    """Anchor a log: it never falls, and whatever was anchored stays its beginning."""
    identity, size, root, proof = values
    log = require_log(context, identity)
    if not may_write(context, log, context.sender):
        raise context.refuse("anchor.notWriter", context.sender, identity)
    if size < log.size:
        raise context.refuse("anchor.falls", identity, size, log.size)
    if not verify_consistency(log.size, log.root, size, root, proof):
        if size == log.size and root != log.root:
            raise context.refuse("anchor.otherRoot", identity, size, log.root)
        raise context.refuse("anchor.inconsistent", identity, log.size, size)
    after = log._replace(
        anchors=log.anchors + 1,
        size=size,
        root=root,
        height=context.height,
        time_ms=context.time_ms,
    )
    context.put(log_key(identity), after.pack())
    context.emit("anchor.logged", _told(context.sender, log.owner), identity, size, root)


def _told(*accounts: bytes | None) -> tuple[bytes, ...]:
    """Return in whose history an event appears, each once, ascending."""
    return tuple(sorted({one: None for one in accounts if one is not None}))


# -- invariants


def logs_hold(reader: StateReader) -> str | None:
    """Check that logs, their names and their breaks say the same."""
    get, counted, after = get_of(reader), 0, b""
    while rows := reader.ordered(TREE, LOG_PREFIX, _CHECK_SLICE, after):
        for key, data in rows:
            problem = _log_problem(reader, key[len(LOG_PREFIX) :], Log.unpack(data))
            if problem is not None:
                return problem
        counted, after = counted + len(rows), rows[-1][0]
    named, after = 0, b""
    while rows := reader.ordered(TREE, OWNER_PREFIX, _CHECK_SLICE, after):
        for key, data in rows:
            if get(log_key(value_of(data))) is None:
                return f"a name of 0x{key[len(OWNER_PREFIX) :][:32].hex()} is that of no log"
        named, after = named + len(rows), rows[-1][0]
    return None if named == counted else f"{counted} logs have {named} names"


def _log_problem(reader: StateReader, identity: bytes, log: Log) -> str | None:
    get, which = get_of(reader), f"the log 0x{identity.hex()}"
    if identity != log_id(log.owner, log.name):
        return f"{which} has another id than its name"
    if get(name_key(log.owner, log.name)) != pack(identity):
        return f"{which} is not listed under its owner"
    if (log.writer is None) == (not log.writer_role):
        return f"{which} has no writer, or two"
    if log.size == 0 and log.root != EMPTY_ROOT:
        return f"{which} is empty, and its root is not"
    if (log.anchors == 0 and log.size) or log.breaks > log.proposals:
        return f"{which} has more than was ever anchored or proposed"
    if log.breaks and get(break_key(identity, log.breaks - 1)) is None:
        return f"{which} lacks its last break"
    if get(break_key(identity, log.breaks)) is not None:
        return f"{which} has a break more than it counts"
    return None


def documents_hold(reader: StateReader) -> str | None:
    """Check that whoever is listed for a commitment anchored it, under that number, and counts."""
    get, after = get_of(reader), b""
    while rows := reader.ordered(TREE, COMMITMENT_PREFIX, _CHECK_SLICE, after):
        for key, data in rows:
            commitment = key[len(COMMITMENT_PREFIX) : len(COMMITMENT_PREFIX) + 32]
            number = int.from_bytes(key[-8:], "big")
            document = document_at(get, value_of(data), commitment)
            if document is None or document.number != number:
                return f"number {number} of 0x{commitment.hex()} is listed and did not anchor it"
            if number >= count_at(get, commitment):
                return f"0x{commitment.hex()} was anchored more often than it counts"
        after = rows[-1][0]
    return None


RULES: Final = {
    "anchor.documentKnown": Rule(
        Code.DUPLICATE, "{0:account} anchored {1:hash} in block {2:number} already."
    ),
    "anchor.documentsFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} anchored {1:number} documents, the most allowed."
    ),
    "anchor.logKnown": Rule(Code.DUPLICATE, "{0:account} has a log {1:text} already."),
    "anchor.logsFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} logs, the most allowed."
    ),
    "anchor.oneWriter": Rule(Code.MALFORMED, "A log is written by an account or by a role."),
    "anchor.unknown": Rule(Code.NOT_FOUND, "There is no log {0:hash}."),
    "anchor.notOwner": Rule(Code.NOT_AUTHORISED, "{0:account} did not open the log {1:hash}."),
    "anchor.writerKnown": Rule(Code.DUPLICATE, "The log {0:hash} has that writer already."),
    "anchor.notWriter": Rule(Code.NOT_AUTHORISED, "{0:account} does not write the log {1:hash}."),
    "anchor.falls": Rule(
        Code.POLICY_REJECTED,
        "The log {0:hash} is anchored at {2:number} entries and cannot fall to {1:number};"
        " officers can break it.",
    ),
    "anchor.otherRoot": Rule(
        Code.POLICY_REJECTED,
        "The log {0:hash} was rewritten: its {1:number} entries are anchored with the root"
        " {2:hash}.",
    ),
    "anchor.inconsistent": Rule(
        Code.POLICY_REJECTED,
        "The proof does not show that the log {0:hash} at {2:number} entries begins with the"
        " {1:number} that are anchored.",
    ),
    "anchor.span": Rule(
        Code.MALFORMED,
        "Officers decide from {1:time}, the block's time, for at most 14 days; not until {0:time}.",
    ),
    "anchor.notBehind": Rule(
        Code.MALFORMED, "{0:number} entries are not behind the {1:number} that are anchored."
    ),
    "anchor.emptyRoot": Rule(Code.MALFORMED, "{0:hash} is not the root of an empty log."),
    "anchor.breaksFull": Rule(
        Code.LIMIT_EXCEEDED, "It was broken {0:number} times, the most allowed."
    ),
    "anchor.noProposal": Rule(
        Code.NOT_FOUND, "{0:account} has no proposal {1:number} that says so of the log {2:hash}."
    ),
    "anchor.late": Rule(Code.EXPIRED, "Proposal {0:number} was open until {1:time}."),
    "anchor.moved": Rule(
        Code.EXPIRED,
        "The log {0:hash} is anchored at {1:number} entries; the proposal is about {2:number}.",
    ),
    "anchor.ownProposal": Rule(
        Code.NOT_AUTHORISED, "{0:account} cannot approve what {1:account} proposes: one subject."
    ),
    "anchor.samePerson": Rule(
        Code.DUPLICATE, "{0:account} and {1:account}, who approved, are one subject."
    ),
    "anchor.approved": Rule(Code.DUPLICATE, "{0:account} approved proposal {1:number} already."),
    "anchor.approvalsFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:number} accounts approved, the most that are kept."
    ),
}
EVENTS: Final = {
    "anchor.documented": ("commitment", "kind", "number"),
    "anchor.logOpened": ("log", "name", "writerRole", "breakers"),
    "anchor.writerSet": ("log", "writerRole"),
    "anchor.logged": ("log", "size", "root"),
    "anchor.breakProposed": ("log", "number", "size", "root", "reason", "expires"),
    "anchor.breakApproved": ("log", "number", "approvals", "needed"),
    "anchor.broken": ("log", "breaks", "fromSize", "size", "root", "reason"),
}
MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=ACTIONS,
    handlers={
        DOCUMENT.name: _document,
        OPEN_LOG.name: _open_log,
        SET_WRITER.name: _set_writer,
        LOG.name: _log,
        BREAK.name: propose,
        APPROVE_BREAK.name: approve,
    },
    queries={
        "document": find_document,
        "anchorers": list_anchorers,
        "log": find_log,
        "logs": list_logs,
        "logsOf": list_logs_of,
        "proposals": list_proposals,
        "breaks": list_breaks,
    },
    invariants=(logs_hold, documents_hold),
    rules=RULES,
    events=EVENTS,
)
