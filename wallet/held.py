"""What holds the held part of an account's balance: each promise, until when, what ends it.

All of it stands in holds of the kernel under the account; an escrow, a scheduled payment and a
channel say in records of their own until when. A channel goes by its own id, which is not that of
its hold once it was topped up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.wallet.client import Balance, NodeClient

PAGE: Final = 500
# 10,000 entries of each kind: nobody reads more, and what is not explained is told.
PAGES_MAX: Final = 20
_CHANNEL: Final = "channel"
Json = Mapping[str, Any]


class Command(NamedTuple):
    """What the account's owner can type about it, and what that does."""

    text: str
    does: str


class Held(NamedTuple):
    """Value of the account that waits for something, `amount` in minor units.

    `kind` is escrow, scheduled, placed, channel, or rule (then `rule` names it). At `until` (RFC
    3339 UTC) `then` happens by itself: it is `paid` or `returned`; None where nothing does.
    """

    kind: str
    id: str
    asset: str
    amount: int
    payee: str
    until: str | None
    then: str | None
    rule: str
    command: Command

    def document(self) -> dict[str, Any]:
        """Return it as JSON, amounts as strings of minor units."""
        shown = self._asdict()
        return {**shown, "amount": str(self.amount), "command": self.command.text}


async def held_of(node: NodeClient, account: bytes) -> tuple[Held, ...]:
    """Return what holds value of an account, what ends first in front.

    Raises what `NodeClient.call` raises.
    """
    me = account_text(account)
    found: list[Held] = []
    of_kind: dict[str, dict[str, Json]] = {}
    for kind in ("escrow", "scheduled", _CHANNEL):
        params = {"account": me, "kind": kind}
        async with aclosing(_all(node, "payment_listObjects", params, "objects")) as listed:
            of_kind[kind] = {one["id"]: one async for one in listed if one["payer"] == me}
    found += [_channel(one) for one in of_kind[_CHANNEL].values() if int(one["left"])]
    async with aclosing(_all(node, "payment_listHolds", {"account": me}, "holds")) as holds:
        async for one in holds:
            if one["payer"] == me and one["purpose"] != _CHANNEL:
                more = of_kind.get(one["purpose"], {}).get(one["holdId"])
                found.append(_promise(one, more or {}))
    return tuple(sorted(found, key=lambda one: (one.until is None, one.until, one.id)))


def unexplained(balances: Iterable[Balance], held: Iterable[Held]) -> dict[str, int]:
    """Return by asset what is held and by nothing that was found, in minor units.

    Empty, but when a block came between the two questions, or there is too much to list.
    """
    sums: dict[str, int] = {}
    for one in held:
        sums[one.asset] = sums.get(one.asset, 0) + one.amount
    left = {one.asset: one.held - sums.get(one.asset, 0) for one in balances}
    return {asset: amount for asset, amount in left.items() if amount}


async def _all(
    node: NodeClient, method: str, params: dict[str, Any], member: str
) -> AsyncGenerator[Json, None]:
    cursor: dict[str, str] = {}
    for _ in range(PAGES_MAX):
        answer = await node.call(method, {**params, "limit": PAGE, **cursor})
        for one in answer[member]:
            yield one
        if answer["nextCursor"] is None:
            return
        cursor = {"cursor": answer["nextCursor"]}


def _channel(one: Json) -> Held:
    closing = one["closing"]
    until = one["expires"] if closing is None else closing["finalTime"]
    command = (
        Command(f"clawpurse channel close {one['id']}", "ends it after the challenge")
        if closing is None
        else Command(f"clawpurse channel finalise {one['id']}", "returns the rest from then on")
    )
    left = int(one["left"])
    return Held(
        _CHANNEL, one["id"], one["asset"], left, one["payee"], until, "returned", "", command
    )


def _promise(hold: Json, more: Json) -> Held:
    """Return a hold in words; `more` is what its escrow or scheduled payment says."""
    kind, hold_id = str(hold["purpose"]), str(hold["holdId"])
    start = (kind, hold_id, str(hold["asset"]), int(hold["amount"]), str(hold["payee"]))
    if kind == "escrow" and more:
        finish = Command(f"clawpurse escrow finish {hold_id}", "pays it")
        if more["paidByItself"]:
            return Held(*start, more["finishAfter"], "paid", "", finish)
        return Held(*start, more["cancelAfter"], "returned", "", finish)
    if kind == "scheduled" and more:
        cancel = Command(f"clawpurse schedule cancel {hold_id}", "gives it back")
        return Held(*start, more["time"], "paid", "", cancel)
    ends = {"release": "paid", "return": "returned"}
    then = None if hold["expires"] is None else ends[hold["atExpiry"]]
    rule = str(hold["rule"]) if kind == "rule" else ""
    look = Command(f"clawpurse hold show {hold_id}", "says who decides")
    return Held(*start, hold["expires"], then, rule, look)
