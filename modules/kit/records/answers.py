"""How records answer over JSON-RPC: values that are for the caller, entries, refusals, cursors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.entities.clocks import Reading
from clawpurse.modules.kit.entities.flows import Why
from clawpurse.modules.kit.entities.kinds import INTEGER_MAX, Kind
from clawpurse.modules.kit.records.model import Conflict, Entry, MoveRefused, NotPermitted
from clawpurse.modules.kit.records.shapes import Json
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, RpcError


def shown_values(kind: Kind, values: Mapping[str, Any], hidden: frozenset[str]) -> Json:
    """Return values by wire name; those that are not for the caller are null."""
    return {
        kind.fields[name].wire_name: None if name in hidden else value
        for name, value in values.items()
    }


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what records refuse into what a caller is told."""
    try:
        yield
    except NotPermitted as error:
        raise RpcError(FORBIDDEN, str(error), facts={"roles": list(error.roles)}) from None
    except (MoveRefused, Conflict) as error:
        raise refusal(error) from None


def refusal(error: MoveRefused | Conflict) -> RpcError:
    """Return what a caller is told: who lacks a role is forbidden, everything else a conflict."""
    if isinstance(error, Conflict):
        return RpcError(CONFLICT, str(error))
    found = error.found
    code = FORBIDDEN if found.why is Why.ROLE else CONFLICT
    facts = {"why": found.why.value, "fields": list(found.fields)}
    return RpcError(code, found.sentence, facts=facts)


def entry_json(entry: Entry) -> Json:
    """Return an entry of a history; personal values are commitments."""
    return {
        "number": entry.number,
        "version": entry.version,
        "time": time_text(entry.at_ms),
        "actor": entry.actor,
        "origin": entry.origin,
        "move": entry.move,
        "state": entry.state,
        "changes": dict(entry.changes),
        "leaf": "0x" + entry.leaf.hex(),
        "chain": "0x" + entry.chain.hex(),
    }


def clock_json(reading: Reading) -> Json:
    """Return how a clock stands; `leftMs` is counted time, below 0 by how much it is over."""
    return {
        "name": reading.name,
        "standing": reading.standing.value,
        "targetMs": reading.target_ms,
        "leftMs": reading.left_ms,
        "due": None if reading.due_ms is None else time_text(reading.due_ms),
    }


def number_of(cursor: str | None) -> int:
    """Return the number behind which a page begins. Raises `Malformed`."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > INTEGER_MAX:
        raise Malformed("cursor", "is none of this list")
    return int(cursor)


def given_values(kind: Kind, params: Any) -> Json:
    """Return the values of the kind's fields that came with a call."""
    return {name: getattr(params, name) for name in params.model_fields_set if name in kind.fields}
