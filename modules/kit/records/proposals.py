"""Moves that others must approve before they are done: who asked, who agreed, until when.

A proposal is for one version of its record. When anything but the approvals themselves changes
the record, nobody can tell any more what was agreed to: the proposal is stale.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from clawpurse.ledger.errors import Bug, NotFound
from clawpurse.modules.kit.entities.flows import Move
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import Conflict, Proposal, ProposalStatus, Record
from clawpurse.modules.kit.records.values import Values
from clawpurse.modules.kit.store.tables import Tables

PROPOSAL_MS: Final = 7 * 86_400_000
"""A week: whoever has not agreed by then is asked anew, with fresh facts."""
_SEALED: Final = "sealed"


class Proposals:
    """The proposals of one service, within a transaction at `now_ms`."""

    def __init__(self, connection: Connection, tables: Tables, values: Values, now_ms: int) -> None:
        self._connection = connection
        self._table = tables.proposals
        self._votes = tables.approvals
        self._records = tables.records
        self._values = values
        self._now_ms = now_ms

    def open(
        self, number: int, record: Record, move: Move, given: Mapping[str, Any], asked_by: str
    ) -> Proposal:
        """Write a proposal for the record as it is now."""
        self._connection.execute(
            self._table.insert(),
            {
                "number": number,
                "kind": record.kind.name,
                "record": record.number,
                "asked_version": record.version,
                "version": record.version,
                "move": move.name,
                "needed": move.approvals,
                "given": self._stored(record, given),
                "asked_by": asked_by,
                "asked_ms": self._now_ms,
                "expires_ms": self._now_ms + min(move.within_ms or PROPOSAL_MS, PROPOSAL_MS),
                "status": ProposalStatus.OPEN,
            },
        )
        return self.get(number)

    def get(self, number: int) -> Proposal:
        """Return a proposal as it stands. Raises `NotFound`."""
        row = self._row(self._table.c.number == number)
        if row is None:
            raise NotFound(f"proposal {number}")
        return self._proposal(row)

    def open_of(self, record: Record, move: str) -> Proposal | None:
        """Return the open proposal of a record's move, if there is one."""
        table = self._table
        rows = self._connection.execute(
            table.select().where(
                (table.c.kind == record.kind.name)
                & (table.c.record == record.number)
                & (table.c.move == move)
                & (table.c.status == ProposalStatus.OPEN)
            )
        ).all()
        found = [self._proposal(row) for row in rows]
        return next((one for one in found if one.status is ProposalStatus.OPEN), None)

    def waiting(self, kind: Kind, after: int, limit: int) -> list[Proposal]:
        """Return proposals of a kind above a number that are open, in order.

        What expired or went stale since it was written as open is passed over.
        """
        table, found = self._table, list[Proposal]()
        while len(found) < limit:
            rows = self._connection.execute(
                table.select()
                .where(
                    (table.c.kind == kind.name)
                    & (table.c.status == ProposalStatus.OPEN)
                    & (table.c.expires_ms > self._now_ms)
                    & (table.c.number > after)
                )
                .order_by(table.c.number)
                .limit(limit)
            ).all()
            page = [self._proposal(row) for row in rows]
            found += [one for one in page if one.status is ProposalStatus.OPEN]
            if len(rows) < limit:
                break
            after = page[-1].number
        return found[:limit]

    def asked_at(self, kind: Kind, record: int, version: int) -> Proposal | None:
        """Return the proposal that was made by the request which led to this version."""
        table = self._table
        row = self._row(
            (table.c.kind == kind.name)
            & (table.c.record == record)
            & (table.c.asked_version == version)
        )
        return None if row is None else self._proposal(row)

    def given(self, proposal: Proposal, record: Record) -> dict[str, Any]:
        """Return what an open proposal sets. Raises `Conflict` when it is not open any more."""
        if proposal.status is not ProposalStatus.OPEN:
            raise Conflict(f"proposal {proposal.number} is {proposal.status}")
        return self.asked(proposal, record)

    def asked(self, proposal: Proposal, record: Record) -> dict[str, Any]:
        """Return what a proposal would set, or set; None for what was about an erased person."""
        row = self._row(self._table.c.number == proposal.number)
        if row is None:
            raise Bug(f"proposal {proposal.number} is gone")
        stored: dict[str, Any] = json.loads(row.given)
        return {
            name: self._opened(record, name, value) if isinstance(value, dict) else value
            for name, value in stored.items()
        }

    def _opened(self, record: Record, name: str, value: Mapping[str, str]) -> Any:
        if name in record.erased:
            return None
        return self._values.unsealed(record, name, bytes.fromhex(value[_SEALED]))

    def vote(self, proposal: Proposal, subject: str, *, approve: bool, reason: str) -> None:
        """Count what one person says. Raises `Conflict` for the second time."""
        votes = self._votes
        said = (votes.c.proposal == proposal.number) & (votes.c.subject == subject)
        if self._connection.execute(votes.select().where(said)).one_or_none() is not None:
            raise Conflict(f"{subject} has decided on proposal {proposal.number} already")
        self._connection.execute(
            votes.insert(),
            {
                "proposal": proposal.number,
                "subject": subject,
                "verdict": "approve" if approve else "reject",
                "reason": reason,
                "at_ms": self._now_ms,
            },
        )

    def follow(self, number: int, version: int) -> None:
        """Note that the record's version changed by an approval alone."""
        table = self._table
        self._connection.execute(
            table.update().where(table.c.number == number).values(version=version)
        )

    def carry(self, record: Record) -> None:
        """Let the open proposals of a record hold for its next version, which changes nothing."""
        table = self._table
        mine = (table.c.kind == record.kind.name) & (table.c.record == record.number)
        current = (table.c.version == record.version) & (table.c.status == ProposalStatus.OPEN)
        self._connection.execute(
            table.update().where(mine & current).values(version=record.version + 1)
        )

    def strip(self, kind: Kind, record: int, fields: Collection[str]) -> None:
        """Let go of what proposals of a record say of these fields."""
        table = self._table
        rows = self._connection.execute(
            sa.select(table.c.number, table.c.given).where(
                (table.c.kind == kind.name) & (table.c.record == record)
            )
        ).all()
        for row in rows:
            given = json.loads(row.given)
            if given.keys() & set(fields):
                left = {name: None if name in fields else value for name, value in given.items()}
                self._connection.execute(
                    table.update().where(table.c.number == row.number).values(given=canonical(left))
                )

    def of_record(self, kind: Kind, record: int) -> list[Proposal]:
        """Return every proposal that was made about a record, in order."""
        table = self._table
        rows = self._connection.execute(
            table.select()
            .where((table.c.kind == kind.name) & (table.c.record == record))
            .order_by(table.c.number)
        ).all()
        return [self._proposal(row) for row in rows]

    def settle(self, number: int, status: ProposalStatus) -> Proposal:
        """Note how it ended."""
        table = self._table
        self._connection.execute(
            table.update().where(table.c.number == number).values(status=status)
        )
        return self.get(number)

    def _row(self, where: Any) -> Row[Any] | None:
        return self._connection.execute(self._table.select().where(where)).one_or_none()

    def _stored(self, record: Record, given: Mapping[str, Any]) -> str:
        values = {**record.values, **given}
        sealed = [name for name in given if record.kind.fields[name].personal is not None]
        columns = self._values.columns(record.kind, record.id, values, sealed)
        return canonical(
            {
                **given,
                **{name: {_SEALED: one.hex()} for name, one in columns.items() if one is not None},
            }
        )

    def _proposal(self, row: Row[Any]) -> Proposal:
        votes = self._votes
        approved = self._connection.execute(
            sa.select(votes.c.subject)
            .where((votes.c.proposal == row.number) & (votes.c.verdict == "approve"))
            .order_by(votes.c.at_ms, votes.c.subject)
        ).scalars()
        people = tuple(approved)
        return Proposal(
            row.number,
            row.kind,
            row.record,
            row.move,
            row.asked_by,
            row.asked_ms,
            row.expires_ms,
            self._status(row),
            people,
            max(row.needed - len(set(people) - {row.asked_by}), 0),
        )

    def _status(self, row: Row[Any]) -> ProposalStatus:
        status = ProposalStatus(row.status)
        if status is not ProposalStatus.OPEN:
            return status
        if self._now_ms >= row.expires_ms:
            return ProposalStatus.EXPIRED
        table = self._records[row.kind]
        version = self._connection.execute(
            sa.select(table.c.version).where(table.c.number == row.record)
        ).scalar_one_or_none()
        return ProposalStatus.OPEN if version == row.version else ProposalStatus.STALE
