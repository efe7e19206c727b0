"""On-chain half of the module `accounts`: whose accounts there are, and who may act for them.

Account records, signers, session keys and sponsorships belong to the kernel, which holds lanes,
quota and native balance together so that a payment touches one key a side; this module is how
users change them. Its own tree holds proposals, who may pay whom, and lists.

A part that has due work exposes `DUE`: the kind that begins its payloads, and what performs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.module_api import Context, DueHandler, Module
from clawpurse.modules.accounts import (
    deposits,
    opening,
    proposals,
    sessions,
    signers,
    sponsorship,
)
from clawpurse.modules.accounts.actions import ACTIONS
from clawpurse.modules.accounts.objects import list_objects

_DUE: Final[Mapping[str, DueHandler]] = {
    **proposals.DUE,
    **sessions.DUE,
    **sponsorship.DUE,
}


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """Let the part whose due work this is perform it; the first item of a payload is its kind."""
    handler = _DUE.get(payload[0])
    if handler is None:
        raise Bug(f"the due work {payload[0]} belongs to no part of the module accounts")
    handler(context, payload)


MODULE: Final = Module(
    name="accounts",
    version=2,
    actions=ACTIONS,
    handlers={
        **opening.HANDLERS,
        **signers.HANDLERS,
        **proposals.HANDLERS,
        **deposits.HANDLERS,
        **sessions.HANDLERS,
        **sponsorship.HANDLERS,
    },
    on_transfer=deposits.on_transfer,
    on_due=_on_due,
    queries={
        **opening.QUERIES,
        **signers.QUERIES,
        **proposals.QUERIES,
        **deposits.QUERIES,
        "objects": list_objects,
        **sessions.QUERIES,
        **sponsorship.QUERIES,
    },
    invariants=(
        *signers.INVARIANTS,
        *proposals.INVARIANTS,
        *deposits.INVARIANTS,
        *sessions.INVARIANTS,
        *sponsorship.INVARIANTS,
    ),
    rules={
        **opening.RULES,
        **signers.RULES,
        **proposals.RULES,
        **deposits.RULES,
        **sessions.RULES,
        **sponsorship.RULES,
    },
    events={
        **opening.EVENTS,
        **signers.EVENTS,
        **proposals.EVENTS,
        **deposits.EVENTS,
        **sessions.EVENTS,
        **sponsorship.EVENTS,
    },
    genesis=opening.genesis,
)
