"""consensus_getEvidence: who signed twice, what waits for a block, what is final."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.governance.evidence import (
    Recorded,
    count_evidence,
    list_evidence,
    record_key,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import consensus_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Limit, double_sign_json, hex_of

Json = dict[str, Any]


class EvidenceParams(Params):
    """Parameters of consensus_getEvidence."""

    limit: Limit = Field(50, description="At most so many that are final")
    cursor: str | None = Field(None, max_length=20, description="nextCursor of the page before")


class EvidenceMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "consensus_getEvidence",
                "Authorities that signed twice for one position: what waits, then what is final",
                self.evidence,
                EvidenceParams,
                cost=5,
                result=consensus_shapes.Evidence,
                result_description=(
                    "evidence[{authority publicKey height round kind state first second raw "
                    "committedHeight number draft path}] nextCursor alarms[]; `state` is pending "
                    "(first page only) or committed, newest first; the last four are null while "
                    "pending. chain_getProof of module governance and `path` proves a record"
                ),
            )
        ]

    def evidence(self, params: EvidenceParams, _context: Context) -> Json:
        """consensus_getEvidence."""
        pool, reader = self._services.evidence, self._services.chain.reader
        stop, shown = count_evidence(reader), []
        if params.cursor is None:
            shown = [{**double_sign_json(proof), **_PENDING} for proof in pool.pending]
        else:
            stop = min(stop, _number(params.cursor))
        start = max(0, stop - params.limit)
        for recorded in reversed(list_evidence(reader, start, stop - start)):
            shown.append({**double_sign_json(recorded.proof), **_committed(recorded)})
        following = str(start) if start else None
        return {"evidence": shown, "nextCursor": following, "alarms": pool.alarms()}


_PENDING: Json = {
    "state": "pending",
    "committedHeight": None,
    "number": None,
    "draft": None,
    "path": None,
}


def _committed(recorded: Recorded) -> Json:
    return {
        "state": "committed",
        "committedHeight": recorded.committed_height,
        "number": recorded.number,
        "draft": None if recorded.draft is None else hex_of(recorded.draft),
        "path": hex_of(record_key(recorded.number)),
    }


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()):
        raise Malformed("cursor", "is not one that this API gave")
    return int(cursor)
