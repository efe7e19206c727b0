"""What `audit verify` says of a bundle of the audit log: what it proves, what was done to it."""

from __future__ import annotations

from typing import Any, Final

from clawpurse.cli.failures import Exit
from clawpurse.cli.output import FAILED, OK, WARNING, counted
from clawpurse.cli.session import Session
from clawpurse.ledger.address import account_text
from clawpurse.ledger.rules import time_text
from clawpurse.wallet.audit_logs import LogFault, LogStory, ProvenEntry, check_log_bundle

Json = dict[str, Any]
WHAT_IT_MEANS: Final = {
    "row": "A row of the log's database was changed",
    "truncated": "The log was cut off",
    "forked": "The log was given another past",
    "anchor": "The anchor was rewritten",
    "signature": "The checkpoint is not the log's own",
    "genesis": "This is another network",
    "bundle": "The file is no bundle",
}


def verify_log(session: Session, document: object, genesis_hash: bytes) -> int:
    """Check a bundle of a log, tell what it proves; 0 when all of it holds, 4 when not."""
    try:
        story = check_log_bundle(document, genesis_hash)
    except LogFault as fault:
        return _tell_not(session, fault)
    if session.json_mode:
        session.out.emit({"valid": True, "reason": "", **as_json(story)})
    else:
        _tell(session, story)
    return Exit.DONE


def as_json(story: LogStory) -> Json:
    """Return what a bundle proves."""
    newest = story.newest
    return {
        "kind": "log",
        "chainId": story.genesis.chain_id,
        "genesisHash": _hexed(story.genesis.hash),
        "log": _hexed(story.identity),
        "owner": account_text(newest.log.owner),
        "name": newest.log.name,
        "size": story.head.size,
        "root": _hexed(story.head.root),
        "anchors": [
            {
                "size": one.log.size,
                "height": one.since_height,
                "time": time_text(one.since_ms),
                "asOfHeight": one.height,
                "asOfTime": time_text(one.time_ms),
                "signers": one.signers,
                "authorities": one.authorities,
                "breaks": one.log.breaks,
                "setBack": one.set_back,
            }
            for one in story.anchors
        ],
        "entries": [_entry_json(story, one) for one in story.entries],
        "unanchored": _unanchored(story),
        "redacted": sum(one.told is None for one in story.entries),
        "proven": proven(story),
        "notProven": not_proven(story),
    }


def proven(story: LogStory) -> list[str]:
    """Return in sentences what follows from a bundle."""
    first, last = story.entries[0].place, story.entries[-1].place
    newest = story.newest
    shown = [
        f"These are all entries from {first} to {last} of the log {newest.log.name} of "
        f"{account_text(newest.log.owner)}, in their order; none is missing between them.",
        f"The ledger had {newest.log.size} entries of it after block {newest.height} "
        f"({time_text(newest.time_ms)}), signed by {newest.signers} of {newest.authorities} "
        "authorities.",
    ]
    covering = story.anchored_by(last)
    if covering is not None:
        shown.append(
            f"All of these were there by block {covering.since_height} "
            f"({time_text(covering.since_ms)})."
        )
    return shown


def not_proven(story: LogStory) -> list[str]:
    """Return in sentences what does not follow."""
    newest, shown = story.newest, []
    shown.append(
        f"What was anchored after block {newest.height}, and what was never told to the log."
    )
    if late := _unanchored(story):
        shown.append(
            f"That the last {counted(late, 'entry')} cannot be rewritten: signed, not anchored yet."
        )
    if newest.log.breaks:
        shown.append(
            f"What was lost when officers set the log back ({newest.log.breaks} times): "
            "clawpurse anchor log show tells why."
        )
    if any(one.told is None for one in story.entries):
        shown.append("What redacted entries say.")
    return shown


def _unanchored(story: LogStory) -> int:
    return sum(one.place >= story.newest.log.size for one in story.entries)


def _entry_json(story: LogStory, one: ProvenEntry) -> Json:
    told, anchor = one.told, story.anchored_by(one.place)
    return {
        "place": one.place,
        "leaf": _hexed(one.leaf),
        "anchoredBy": None if anchor is None else anchor.since_height,
        "text": None if told is None else told.text,
    }


def _tell(session: Session, story: LogStory) -> None:
    out = session.out
    rows = []
    for one in story.entries:
        told, anchor = one.told, story.anchored_by(one.place)
        block = "-" if anchor is None else str(anchor.since_height)
        if told is None:
            rows.append((str(one.place), "", "redacted", "", "", "", block))
            continue
        time = time_text(told.at_ms)[:19].replace("T", " ")
        rows.append((str(one.place), time, told.who, told.what, told.object, told.result, block))
    out.table(("place>", "time", "who", "what", "object", "result", "anchored>"), rows)
    out.line(f"{out.mark(OK)} Valid for {story.genesis.chain_id}.")
    for said in proven(story):
        out.line(f"{out.mark(OK)} Proven: {said}")
    for said in not_proven(story):
        out.line(f"{out.mark(WARNING)} Not proven: {said}")


def _tell_not(session: Session, fault: LogFault) -> int:
    if session.json_mode:
        session.out.emit(
            {"valid": False, "kind": "log", "finding": fault.finding, "reason": fault.problem}
        )
    else:
        session.out.line(
            f"{session.out.mark(FAILED)} Not valid. {WHAT_IT_MEANS[fault.finding]}: "
            f"{fault.problem}. Nothing in this file is to be relied on."
        )
    return Exit.REJECTED


def _hexed(data: bytes) -> str:
    return f"0x{data.hex()}"
