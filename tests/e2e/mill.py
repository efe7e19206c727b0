"""A module that gives one cent back for every payment: what comes in and goes out can be counted.

Its account is in the environment, so that no test has to configure it before it is killed.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from clawpurse.modules.kit.api import (
    ChainEvent,
    Entity,
    Flow,
    Line,
    Move,
    RawAction,
    Sent,
    Service,
    Whole,
    Work,
    account_from_text,
    entity,
    on,
    rpc,
)


@entity("sack", prefix="S", indexed=["payment", "number_sent"])
class Sack(Entity):
    """Sack"""

    payer: Line
    payment: Line
    amount: Whole
    number_sent: Whole | None = None
    outcome: Line | None = None

    flow: ClassVar[Flow] = Flow(
        "in", Move("send", "in -> out", sets=("number_sent",)), Move("end", "out -> done")
    )


class Mill(Service):
    """One cent back for every payment."""

    name = "mill"
    entities = (Sack,)
    permissions = ("assets.transfer",)

    @on("assets.transferred")
    def paid(self, work: Work, event: ChainEvent) -> None:
        """A payment to the mill: a sack, and a cent on its way."""
        payer, payee = event.accounts[:2]
        if payee != os.environ["MILL_ACCOUNT"] or event.tx_id is None:
            return
        amount = int(event.data["amount"])
        given = {"payer": payer, "payment": event.tx_id, "amount": amount}
        made = work.create(Sack.kind, given)
        back = RawAction("assets.transfer", ["CLAW", account_from_text(payer), 1])
        number = work.submit([back], about=made)
        work.move(Sack.kind, made.number, "send", {"number_sent": number})

    def settled(self, work: Work, sent: Sent) -> None:
        """The cent came back: the sack is done."""
        assert sent.done, sent
        [sack] = work.page(Sack.kind, {"number_sent": sent.number})
        work.move(Sack.kind, sack.number, "end")

    @rpc("count", "Sacks by state", result=dict[str, int])
    def count(self, work: Work, _params: Any) -> dict[str, int]:
        """For whoever waits."""
        flow = Sack.kind.flow
        return {state: len(work.page(Sack.kind, {"state": state})) for state in flow.states}
