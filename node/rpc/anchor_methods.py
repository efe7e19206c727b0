"""anchor_*: who anchored a document first, and where logs stand."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.rules import time_text
from clawpurse.modules.anchor import records
from clawpurse.modules.anchor.records import Break, Document, Log, Proposal
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import ledger_shapes
from clawpurse.node.rpc.governance_methods import start_of
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Hash, Limit, hex_of

Json = dict[str, Any]
# Open proposals and breaks that one answer shows; a log has few of either.
SHOWN_MAX = 100


class DocumentParams(Params):
    """Parameters of anchor_getDocument."""

    commitment: Hash = Field(description="32 bytes that a receipt names")
    account: Account | None = Field(None, description="Only whether this account anchored it")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=32, description="nextCursor of the page before")


class LogParams(Params):
    """Parameters of anchor_getLog."""

    log: Hash = Field(description="The log's id")


class LogsParams(Params):
    """Parameters of anchor_listLogs."""

    account: Account | None = Field(None, description="Only the logs that this account opened")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=66, description="nextCursor of the page before")


class AnchorMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "anchor_getDocument",
                "Who anchored a commitment, the first one first, in which block and when",
                self.document,
                DocumentParams,
                cost=5,
                errors=(NOT_FOUND,),
                result=ledger_shapes.Anchorings,
                result_description=(
                    "commitment anchorings[{account kind height time number}] nextCursor"
                ),
            ),
            Method(
                "anchor_getLog",
                "Where a log stands, who writes it, and what was ever broken",
                self.log,
                LogParams,
                cost=5,
                errors=(NOT_FOUND,),
                result=ledger_shapes.LogDetails,
                result_description=(
                    "log owner name writer|null writerRole|null breakers opened{height time} "
                    "anchors size root height time sentence breakCount "
                    "breaks[{fromSize fromRoot size root reason proposer approvals height time}] "
                    "proposals[{proposer number size root reason expires approvals open}]"
                ),
            ),
            Method(
                "anchor_listLogs",
                "All logs by id, or those of an account by name",
                self.logs,
                LogsParams,
                cost=5,
                result=ledger_shapes.Logs,
                result_description=(
                    "logs[{log owner name size root anchors breakCount height time}] nextCursor"
                ),
            ),
        ]

    def document(self, params: DocumentParams, _context: Context) -> Json:
        """anchor_getDocument."""
        reader, commitment = self._services.chain.reader, params.commitment
        if params.account is not None:
            one = records.find_document(reader, params.account, commitment)
            found = [] if one is None else [(params.account, one)]
            following = None
        else:
            start = start_of(params.cursor)
            found = records.list_anchorers(reader, commitment, start, params.limit + 1)
            more = len(found) > params.limit
            found, following = found[: params.limit], str(start + params.limit) if more else None
        if not found and params.cursor is None:
            raise NotFound(f"the commitment {hex_of(commitment)}")
        return {
            "commitment": hex_of(commitment),
            "anchorings": [_document_json(account, document) for account, document in found],
            "nextCursor": following,
        }

    def log(self, params: LogParams, _context: Context) -> Json:
        """anchor_getLog."""
        chain, identity = self._services.chain, params.log
        log = records.find_log(chain.reader, identity)
        if log is None:
            raise NotFound(f"the log {hex_of(identity)}")
        newest = max(0, log.breaks - SHOWN_MAX)
        breaks = records.list_breaks(chain.reader, identity, newest, SHOWN_MAX)
        proposals = records.list_proposals(chain.reader, identity, SHOWN_MAX)
        last = breaks[-1] if breaks else None
        return {
            **_log_json(identity, log),
            "writer": None if log.writer is None else account_text(log.writer),
            "writerRole": log.writer_role or None,
            "breakers": log.breakers,
            "opened": {"height": log.opened_height, "time": time_text(log.opened_ms)},
            "sentence": log_sentence(log),
            "breaks": [_break_json(one) for one in breaks],
            "proposals": [
                _proposal_json(account, proposal, proposal.live(log, chain.tip.time_ms, last))
                for account, proposal in proposals
            ],
        }

    def logs(self, params: LogsParams, _context: Context) -> Json:
        """anchor_listLogs."""
        reader, limit = self._services.chain.reader, params.limit
        if params.account is None:
            after = None if params.cursor is None else _id_of(params.cursor)
            found = records.list_logs(reader, limit + 1, after)
            last = hex_of(found[limit - 1][0]) if len(found) > limit else None
        else:
            name = None if params.cursor is None else plain_name(params.cursor, "cursor")
            found = records.list_logs_of(reader, params.account, limit + 1, name)
            last = found[limit - 1][1].name if len(found) > limit else None
        return {
            "logs": [_log_json(identity, log) for identity, log in found[:limit]],
            "nextCursor": last,
        }


def log_sentence(log: Log) -> str:
    """Return in plain words where a log stands."""
    if log.anchors == 0:
        return f"Nothing of the log {log.name} is anchored yet."
    said = (
        f"The first {log.size} entries of the log {log.name} are anchored, last in block "
        f"{log.height}: nobody can rewrite them unseen."
    )
    if log.breaks:
        times = "once" if log.breaks == 1 else f"{log.breaks} times"
        said += f" It was broken {times}: officers let it go on from behind its anchor."
    return said


def _id_of(cursor: str) -> bytes:
    try:
        data = bytes.fromhex(cursor.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32:
        raise Malformed("cursor", "is not one that this API gave")
    return data


def _document_json(account: bytes, document: Document) -> Json:
    return {
        "account": account_text(account),
        "kind": document.kind,
        "height": document.height,
        "time": time_text(document.time_ms),
        "number": document.number,
    }


def _log_json(identity: bytes, log: Log) -> Json:
    return {
        "log": hex_of(identity),
        "owner": account_text(log.owner),
        "name": log.name,
        "size": log.size,
        "root": hex_of(log.root),
        "anchors": log.anchors,
        "breakCount": log.breaks,
        "height": log.height,
        "time": time_text(log.time_ms),
    }


def _break_json(one: Break) -> Json:
    return {
        "fromSize": one.from_size,
        "fromRoot": hex_of(one.from_root),
        "size": one.size,
        "root": hex_of(one.root),
        "reason": one.reason,
        "proposer": account_text(one.proposer),
        "approvals": [account_text(account) for account in one.approvals],
        "height": one.height,
        "time": time_text(one.time_ms),
    }


def _proposal_json(proposer: bytes, proposal: Proposal, is_open: bool) -> Json:
    return {
        "proposer": account_text(proposer),
        "number": proposal.number,
        "size": proposal.size,
        "root": hex_of(proposal.root),
        "reason": proposal.reason,
        "expires": time_text(proposal.expires_ms),
        "approvals": [account_text(account) for account in proposal.approvals],
        "open": is_open,
    }
