"""What `anchor log create|append|show|list|verify|writer|break|approve` do: logs that only grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.output import FAILED, OK, counted
from clawpurse.cli.promising import account_of, id_of, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.rfc6962 import consistency_proof, root_of
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.anchor.actions import APPROVE_BREAK, BREAK, LOG, OPEN_LOG, SET_WRITER
from clawpurse.modules.anchor.records import log_id
from clawpurse.wallet.anchoring import LogFile, read_log
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]
NOT_VALID = 4


class Writer(NamedTuple):
    """Who shall write a log, as typed: an account or a role."""

    account: str | None
    role: str | None


class Point(NamedTuple):
    """From where a log shall go on: a size, and the root there or the file that has it."""

    size: int
    root: str | None
    file: Path | None


def create(session: Session, name: str, writer: Writer, breakers: int, terms: Terms) -> None:
    """Open a log under a name of the sender's."""
    owner = account_named(session, _who(session, terms, "anchor log create NAME"), NOTHING).account
    action = RawAction(OPEN_LOG.name, [_name(name, "name"), *_writer(session, writer), breakers])
    identity = f"0x{log_id(owner, name).hex()}"
    _act(session, action, terms, f"the log {name} is open: {identity}.", log=identity)


def set_writer(session: Session, log: str, writer: Writer, terms: Terms) -> None:
    """Let somebody else write a log."""
    identity = identity_of(session, log, terms)
    action = RawAction(SET_WRITER.name, [identity, *_writer(session, writer)])
    _act(session, action, terms, f"the log {log} has another writer.")


def append(session: Session, log: str, file: Path, terms: Terms) -> None:
    """Anchor a log's file as it is now, with the proof that it only grew."""
    identity, entries = identity_of(session, log, terms), _read(file)

    async def work(node: NodeClient) -> Json:
        known = await _known(node, identity)
        _refuse_rewritten(file, entries.leaves, known)
        size = len(entries.leaves)
        proof: list[Wire] = [*consistency_proof(entries.leaves, known["size"])]
        fields: list[Wire] = [identity, size, root_of(entries.leaves), proof]
        return await perform(session, node, Deed((RawAction(LOG.name, fields),)), terms)

    if entries.unfinished and not session.json_mode:
        session.out.note("  The last line has no end yet; it is left out.")
    done = run_with_node(session, work)
    count = len(entries.leaves)
    verb = "is" if count == 1 else "are"
    tell(session, done, f"{counted(count, 'entry')} of the log {log} {verb} anchored.")


def verify(session: Session, log: str, file: Path) -> int:
    """Check a log's file against its anchor; 0 if what is anchored is its beginning, 4 if not."""
    identity, entries = identity_of(session, log, None), _read(file)

    async def work(node: NodeClient) -> Json:
        return await _known(node, identity)

    known = run_with_node(session, work)
    problem = _rewritten(file, entries.leaves, known)
    newer = len(entries.leaves) - known["size"]
    reason = problem or (
        f"The first {known['size']} entries of {file} are as anchored in block {known['height']}; "
        f"{newer} are newer."
    )
    if session.json_mode:
        session.out.emit(
            {
                "valid": problem is None,
                "reason": reason,
                "log": known["log"],
                "anchored": known["size"],
                "entries": len(entries.leaves),
                "breaks": known["breaks"],
            }
        )
    else:
        session.out.line(f"{session.out.mark(FAILED if problem else OK)} {reason}")
        for one in known["breaks"]:
            session.out.note(f"  {_break_text(one)}")
    return NOT_VALID if problem else 0


def show(session: Session, log: str) -> None:
    """Tell where a log stands."""
    identity = identity_of(session, log, None)

    async def work(node: NodeClient) -> Json:
        return await _known(node, identity)

    known = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(known)
        return
    out = session.out
    writer = known["writer"] or f"holders of the role {known['writerRole']}"
    out.line(known["sentence"])
    out.table(
        ("what", "value"),
        [
            ("log", known["log"]),
            ("owner", known["owner"]),
            ("writer", writer),
            ("size", str(known["size"])),
            ("root", known["root"]),
            ("anchors", str(known["anchors"])),
            ("officers for a break", str(known["breakers"])),
        ],
    )
    for one in known["breaks"]:
        out.line(_break_text(one))
    for one in known["proposals"]:
        if one["open"]:
            out.line(
                f"Proposal {one['number']} of {one['proposer']}: go on from "
                f"{counted(one['size'], 'entry')}, until {one['expires']}. Reason: "
                f"{one['reason']}. {len(one['approvals'])} of {known['breakers']} approved."
            )
            out.note(f"  clawpurse anchor log approve {log} {one['proposer']} --from OFFICER")


def listed(session: Session, account: str | None) -> None:
    """List all logs, or an account's."""
    params: Json = {"limit": 500}
    if account is not None:
        params["account"] = account_text(account_of(session, account))

    async def work(node: NodeClient) -> Json:
        answer: Json = await node.call("anchor_listLogs", params)
        return answer

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["name"], str(one["size"]), str(one["height"]), str(one["breakCount"]), one["log"])
        for one in answer["logs"]
    ]
    session.out.table(("log", "entries>", "block>", "breaks>", "id"), rows)


def propose_break(
    session: Session, log: str, point: Point, reason: str, expires: str, terms: Terms
) -> None:
    """Propose that a log goes on from behind its anchor."""
    identity = identity_of(session, log, terms)
    if point.root is not None:
        root = id_of(point.root, "root")
    else:
        assert point.file is not None
        leaves = _read(point.file).leaves
        if len(leaves) < point.size:
            what = f"{point.file} has {counted(len(leaves), 'entry')}, not {point.size}."
            raise UsageFault(what, NOTHING, "")
        root = root_of(leaves[: point.size])
    expires_ms = time_of(expires, session.now_ms())
    action = RawAction(BREAK.name, [identity, point.size, root, reason, expires_ms])
    start = counted(point.size, "entry")
    said = f"it is proposed that {log} goes on from {start}; officers approve."
    _act(session, action, terms, said)


def approve_break(session: Session, log: str, proposer: str, terms: Terms) -> None:
    """Approve the open proposal of an account, as it is shown before the question."""
    identity, account = identity_of(session, log, terms), account_of(session, proposer)

    async def work(node: NodeClient) -> Json:
        known = await _known(node, identity)
        named = account_text(account)
        found = [one for one in known["proposals"] if one["proposer"] == named and one["open"]]
        if not found:
            what = f"{proposer} has no open proposal for {log}."
            raise UsageFault(what, NOTHING, f"clawpurse anchor log show {log}")
        one = found[0]
        session.out.note(f"  Reason given: {one['reason']}")
        root = bytes.fromhex(one["root"][2:])
        fields: list[Wire] = [identity, account, one["number"], one["size"], root]
        danger = f"What was anchored after entry {one['size']} of {log} is given up for ever."
        deed = Deed((RawAction(APPROVE_BREAK.name, fields),), (), danger)
        return await perform(session, node, deed, terms)

    done = run_with_node(session, work)
    kinds = [one["kind"] for one in done["receipt"]["events"]]
    said = (
        f"{log} goes on from there." if "anchor.broken" in kinds else "approved; others must too."
    )
    tell(session, done, said)


def identity_of(session: Session, log: str, terms: Terms | None) -> bytes:
    """Return the id of a log: `0x…`, `OWNER/NAME`, or a NAME of one's own."""
    if log.startswith("0x"):
        return id_of(log, "log")
    owner, separator, name = log.rpartition("/")
    if not separator:
        owner = _who(session, terms, "… --from ")
    return log_id(account_of(session, owner), _name(name, "log"))


def _who(session: Session, terms: Terms | None, command: str) -> str:
    if terms is not None and (terms.owner or terms.sender):
        return terms.owner or terms.sender or ""
    return own_key(session, command)


def _name(text: str, what: str) -> str:
    try:
        return plain_name(text, what)
    except Malformed as err:
        raise UsageFault(f"The {what} {text!r} {err.problem}.", NOTHING, "") from err


def _writer(session: Session, writer: Writer) -> Sequence[Wire]:
    if (writer.account is None) == (writer.role is None):
        raise UsageFault("Name --writer ACCOUNT or --writer-role ROLE.", NOTHING, "")
    account = None if writer.account is None else account_of(session, writer.account)
    return account, None if writer.role is None else _name(writer.role, "role")


def _read(file: Path) -> LogFile:
    try:
        return read_log(file)
    except OSError as err:
        raise UsageFault(f"{file}: {err.strerror}.", NOTHING, "") from err
    except Malformed as err:
        raise UsageFault(f"{file} {err.problem}.", NOTHING, "") from err


async def _known(node: NodeClient, identity: bytes) -> Json:
    known: Json = await node.call("anchor_getLog", {"log": f"0x{identity.hex()}"})
    return known


def _rewritten(file: Path, leaves: Sequence[bytes], known: Json) -> str | None:
    """Return how a file differs from what is anchored, None if that is its beginning."""
    size = known["size"]
    if len(leaves) < size:
        return f"{file} has {counted(len(leaves), 'entry')}, {size} are anchored: some are missing."
    if f"0x{root_of(leaves[:size]).hex()}" != known["root"]:
        return f"{file} was rewritten: its first {size} entries are not those that are anchored."
    return None


def _refuse_rewritten(file: Path, leaves: Sequence[bytes], known: Json) -> None:
    """Say here what every node would say: this log is not the one that is anchored."""
    problem = _rewritten(file, leaves, known)
    if problem is not None:
        next_command = (
            f"clawpurse anchor log break {known['log']} --size N --file {file} --reason …"
        )
        raise Rejected(problem, NOTHING, next_command, code=Code.POLICY_REJECTED)


def _break_text(one: Json) -> str:
    return (
        f"Broken in block {one['height']}: went on from {counted(one['size'], 'entry')} though "
        f"{one['fromSize']} were anchored. Reason: {one['reason']}."
    )


def _act(session: Session, action: RawAction, terms: Terms, said: str, **shown: Any) -> None:
    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    tell(session, {**run_with_node(session, work), **shown}, said)
