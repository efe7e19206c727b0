"""What a transaction pays: what it names by id is asked of a node, then told as limits judge it."""

from __future__ import annotations

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import PeerError
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transactions import Body
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.outflows import Paid, needs, outflows


async def outflows_of(node: NodeClient, body: Body, registry: Registry) -> tuple[Intent, ...]:
    """Return what a body pays; what it names by id is looked up on the ledger.

    Raises as `NodeClient.call` does (`NotFound` for an id that nothing has), `PeerError` for an
    answer that is none.
    """
    known: dict[bytes, Paid] = {}
    for ident, lookup in needs(body.actions, registry).items():
        answer = await node.call(lookup.method, {lookup.parameter: f"0x{ident.hex()}"})
        try:
            who = account_from_text(str(answer[lookup.recipient]))
            known[ident] = Paid(who, str(answer["asset"]))
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{lookup.method} answered what is none: {error}") from None
    return outflows(body, registry, known)
