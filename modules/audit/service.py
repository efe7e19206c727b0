"""Service `audit`: the log of what every other one does, signed, anchored, searched, proven.

Sources tell with `audit_append`; what the ledger says of roles and of changes to the network is
taken in from its events. In the background: checkpoints and anchors, the daily review, retention.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import trio
from pydantic import Field

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.audit import answers, shapes
from clawpurse.modules.audit.anchoring import (
    ANCHOR_ACTION,
    ANCHOR_TREE,
    Terms,
    notarise,
    note_refusal,
    read_answer,
    record_key,
)
from clawpurse.modules.audit.checkpoints import Cadence
from clawpurse.modules.audit.entries import CHAIN as CHAIN_SOURCE
from clawpurse.modules.audit.entries import (
    DONE,
    Fork,
    append,
    checked_source,
    keep,
    next_number,
    note_fork,
    read_entry,
)
from clawpurse.modules.audit.retention import KEEP_DAYS_MIN, drop_old
from clawpurse.modules.audit.review import keep_report, next_report
from clawpurse.modules.audit.tables import AuditTables, declare
from clawpurse.modules.kit.records.answers import refusals
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import CHAIN, TIME
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import (
    ChainEvent,
    Host,
    Sent,
    Service,
    Settings,
    on,
    rpc,
)
from clawpurse.modules.kit.web.errors import (
    CONFLICT,
    FORBIDDEN,
    RpcError,
    Unreachable,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method

LOG: Final = logging.getLogger("clawpurse.modules")
READERS: Final = "auditor compliance admin"
WRITERS: Final = "audit.source"
DATA_CHARS_MAX: Final = 64 * 1024
"""What an event says is kept whole up to there; of more, its hash: the ledger has it anyway."""

APPEND_COST: Final = 50
PROVE_COST: Final = 20
EXPORT_COST: Final = 200
CHORE_S: Final = 60.0
"""Between looks for a day that is over and for texts that were kept long enough."""


class AuditSettings(Settings):
    """The configuration of the audit log."""

    log: str = Field(
        default="",
        pattern="^(0x[0-9a-f]{64})?$",
        description="The id of its log on the ledger; empty: nothing is signed and anchored yet",
    )
    checkpoint_blocks: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="A checkpoint after so many blocks, if anything is new",
    )
    checkpoint_entries: int = Field(
        default=1_000, ge=1, le=1_000_000, description="A checkpoint after so many entries"
    )
    look_s: int = Field(default=5, ge=1, le=3_600, description="Seconds between looks")
    keep_days: int = Field(
        default=400, ge=KEEP_DAYS_MIN, le=36_500, description="How long texts are kept; leaves stay"
    )


class AuditService(Service):
    """See the module."""

    name = "audit"
    title = "Audit log"
    settings = AuditSettings
    roles = (WRITERS, *READERS.split())
    quiet = ("append", "getStatus")
    permissions = (ANCHOR_ACTION,)

    def tables(self, metadata: sa.MetaData) -> None:
        """Describe the log's tables."""
        declare(metadata)

    # -- what is told

    def methods(self, host: Host) -> Sequence[Method]:
        """Return audit_append, which writes down what it refuses."""

        async def told(params: shapes.AppendParams, context: Context) -> Any:
            actor = await host.actor_of(context)

            def run(work: Work) -> Any:
                work.require(WRITERS, "Telling the audit log")
                texts = [(one.number, one.text) for one in params.entries]
                source, log = checked_source(params.source), tables_of(work)
                kept = append(work.connection, log, source, actor.subject, texts, work.now_ms)
                return {
                    "source": source,
                    "number": kept.number,
                    "size": kept.size,
                    "added": kept.added,
                }

            with refusals():
                try:
                    return await host.write(actor, run)
                except Fork as fork:
                    found = fork
                await host.write(
                    actor,
                    lambda work: note_fork(
                        work.connection, tables_of(work), found, actor.subject, work.now_ms
                    ),
                )
                raise found

        return [
            Method(
                "audit_append",
                "Keep what a source did: once for each number, in order, without gaps",
                told,
                shapes.AppendParams,
                shapes.Appended,
                errors=(CONFLICT, FORBIDDEN),
                cost=APPEND_COST,
                description=(
                    "What is kept already is compared, so the same call may be made again. Another "
                    "text under a kept number is a conflict: the source was rewritten. "
                    f"It needs the role {WRITERS}."
                ),
            )
        ]

    @on("roles.", "governance.", "anchor.broken")
    def take(self, work: Work, event: ChainEvent) -> None:
        """Keep what the ledger says of roles, of the network's rules, and of broken logs."""
        log, db = tables_of(work), work.connection
        number = next_number(db, log, CHAIN_SOURCE, CHAIN_SOURCE, work.now_ms)
        data = canonical(event.data)
        entry = {
            "service": CHAIN_SOURCE,
            "number": number,
            "at_ms": _time_ms(event.time),
            "actor": event.accounts[0] if event.accounts else CHAIN_SOURCE,
            "origin": CHAIN_SOURCE,
            "what": event.kind,
            "result": DONE,
            "object": event.tx_id or f"event/{event.cursor}",
            "cursor": event.cursor,
            "accounts": list(event.accounts),
            "data": dict(event.data) if len(data) <= DATA_CHARS_MAX else _digest(data),
        }
        told = read_entry(CHAIN_SOURCE, number, canonical(entry))
        keep(db, log, [told], work.now_ms)

    def settled(self, work: Work, sent: Sent) -> None:
        """Write down an anchor that the ledger refused."""
        if not sent.done:
            note_refusal(work.connection, tables_of(work), sent.code, sent.reason, work.now_ms)

    # -- what is asked

    @rpc(
        "search",
        "Entries by who, what, result, origin, object, source and time, the newest first",
        role=READERS,
        params=shapes.SearchParams,
        result=shapes.SearchPage,
        cost=50,
    )
    def search(self, work: Work, params: shapes.SearchParams) -> Any:
        """audit_search."""
        return answers.search_page(work.connection, tables_of(work), params)

    @rpc(
        "prove",
        "That an entry is in the log: leaf, path, signed checkpoint, and the anchor's own proof",
        role=f"{READERS} {WRITERS}",
        params=shapes.ProveParams,
        result=shapes.Proof,
        cost=PROVE_COST,
    )
    def prove(self, work: Work, params: shapes.ProveParams) -> Any:
        """audit_prove."""
        return answers.proof(work.connection, tables_of(work), params)

    @rpc(
        "consistency",
        "That the log of one size is the beginning of the log of another",
        role=READERS,
        params=shapes.ConsistencyParams,
        result=shapes.Consistency,
        cost=PROVE_COST,
    )
    def consistency(self, work: Work, params: shapes.ConsistencyParams) -> Any:
        """audit_consistency."""
        return answers.consistency(work.connection, tables_of(work), params)

    @rpc(
        "export",
        "A bundle of a range that is checked offline, from the genesis hash alone",
        role=READERS,
        params=shapes.ExportParams,
        cost=EXPORT_COST,
        description="Entries that are not looked for keep their leaf and lose their text.",
    )
    def export(self, work: Work, params: shapes.ExportParams) -> Any:
        """audit_export."""
        return answers.bundle(work.connection, tables_of(work), params)

    @rpc(
        "listCheckpoints",
        "Signed sizes and roots, the largest first",
        role=READERS,
        params=shapes.CheckpointsParams,
        result=shapes.CheckpointPage,
    )
    def list_checkpoints(self, work: Work, params: shapes.CheckpointsParams) -> Any:
        """audit_listCheckpoints."""
        return answers.checkpoint_page(work.connection, tables_of(work), params)

    @rpc(
        "getReview",
        "What was done with privilege on a day, what failed, and what is unusual",
        role=READERS,
        params=shapes.ReviewParams,
    )
    def get_review(self, work: Work, params: shapes.ReviewParams) -> Any:
        """audit_getReview."""
        return answers.review(work.connection, tables_of(work), params)

    @rpc(
        "getStatus",
        "How long the log is, what is signed and anchored, who tells, what is wrong",
        role=f"{READERS} {WRITERS}",
        result=shapes.Status,
    )
    def get_status(self, work: Work, _params: Any) -> Any:
        """audit_getStatus."""
        return answers.status(work.connection, tables_of(work))

    # -- what is done by itself

    async def run(self, host: Host) -> None:
        """Sign, anchor, review, drop, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notarise, host)
            nursery.start_soon(self._chores, host)

    async def _notarise(self, host: Host) -> None:
        problem = ""
        while True:
            settings = host.settings
            assert isinstance(settings, AuditSettings)
            try:
                await step(host, settings)
                problem = ""
            except (RpcError, Unreachable, PeerError) as error:
                if problem != str(error):
                    LOG.warning("anchors wait", extra={"service": self.name, "problem": str(error)})
                problem = str(error)
            await trio.sleep(settings.look_s)

    async def _chores(self, host: Host) -> None:
        while True:
            settings = host.settings
            assert isinstance(settings, AuditSettings)
            while await review_step(host):
                pass
            while await drop_step(host, settings.keep_days):
                pass
            await trio.sleep(CHORE_S)


async def step(host: Host, settings: AuditSettings) -> None:
    """Compare with the ledger, sign and send what is due; nothing before the log is configured."""
    if not settings.log:
        return
    log = bytes.fromhex(settings.log[2:])
    cadence = Cadence(settings.checkpoint_blocks, settings.checkpoint_entries)
    terms = Terms(host.network.genesis_hash, log, cadence)
    asked = {"module": ANCHOR_TREE, "path": f"0x{record_key(log).hex()}", "prove": True}
    height, anchored = read_answer(await host.call("chain_getProof", asked))

    def run(work: Work) -> None:
        answers.remember_terms(work.connection, tables_of(work), terms)
        _, action = notarise(
            work.connection, tables_of(work), host.keys, terms, height, anchored, work.now_ms
        )
        if action is not None:
            work.submit([action])

    await host.write(CHAIN, run)


async def review_step(host: Host) -> bool:
    """Review the oldest day that is over and was not; False when there is none."""
    report = await host.read(
        lambda work: next_report(work.connection, tables_of(work), work.now_ms)
    )
    if report is None:
        return False
    await host.write(
        TIME, lambda work: keep_report(work.connection, tables_of(work), report, work.now_ms)
    )
    return True


async def drop_step(host: Host, keep_days: int) -> bool:
    """Drop some texts that were kept long enough; False when there are none."""
    dropped = await host.write(
        TIME, lambda work: drop_old(work.connection, tables_of(work), keep_days, work.now_ms)
    )
    return bool(dropped)


def tables_of(work: Work) -> AuditTables:
    """Return the log's tables."""
    return AuditTables.of(work.tables.metadata)


def _time_ms(text: str) -> int:
    """Return the milliseconds of a time as the node writes it."""
    try:
        found = datetime.fromisoformat(text)
        epoch = datetime.fromisoformat("1970-01-01T00:00:00Z")
        return round((found - epoch).total_seconds() * 1000)
    except (ValueError, TypeError):
        raise PeerError("an event of the node has no time") from None


def _digest(text: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest()}
