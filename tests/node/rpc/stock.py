"""One of everything that methods can be asked about, on a small network's ledger."""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.wallet.builder import Signing, sign_body_for
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, NodeWorld, Running, hexed, text_of

#: What the network's genesis must give, so that everything can be made.
ROLES = (("compliance", "alice"),)


async def stocked(world: NodeWorld, node: Running, agent: SigningKey) -> dict[str, list[Any]]:
    """Make one of everything for alice; return what parameters can name of it.

    `agent` is a key that becomes a session of hers.
    """
    alice, carol = world.alice.account, world.carol.account
    later = world.clock.now_ms() + HOUR_MS
    made: dict[str, list[Any]] = {}

    async def do(name: str, *fields: Any, cosigner: SigningKey | None = None) -> dict[str, Any]:
        body = world.body(world.alice, RawAction(name, list(fields)))
        signings = [Signing(Role.SENDER, alice, world.alice)]
        if cosigner is not None:
            signings.append(Signing(Role.APPROVER, alice, cosigner))
        (outcome,) = await world.final(node, sign_body_for(body, signings))
        receipt = outcome["receipt"]
        assert receipt["code"] == "ok", receipt
        found: dict[str, Any] = {}
        for event in receipt["events"]:
            found.update(event["data"])
            found[event["kind"]] = event["accounts"]
        return found

    async def keep(parameter: str, field: str, name: str, *fields: Any) -> None:
        made.setdefault(parameter, []).append((await do(name, *fields))[field])

    paid = await do("payments.pay", "CLAW", carol, 1, b"", None, 30, [])
    made["payment"] = [value for name, value in paid.items() if name == "paymentId"]
    escrow = ["CLAW", carol, 1, None, later, None, world.bob.account, b"", None]
    await keep("escrow", "escrowId", "payments.createEscrow", *escrow)
    hold = ["CLAW", carol, 1, "test", later, 0, 1, [], 0, b"", None]
    await keep("hold", "holdId", "payments.placeHold", *hold)
    await keep("scheduled", "scheduledId", "payments.schedule", "CLAW", carol, 1, later, b"", None)
    batch = ["CLAW", [[carol, 1, b""]], 1, [carol], later, b"", None]
    await keep("batch", "batchId", "payments.proposeBatch", *batch)
    invoice = ["CLAW", 1, None, None, b"", later, 1]
    await keep("invoice", "invoiceId", "payments.createInvoice", *invoice)
    channel = ["CLAW", carol, 1, 60_000, 10, later, None, b"", None]
    await keep("channel", "channelId", "payments.openChannel", *channel)
    made["signature"] = [hexed(bytes(64))]
    members = sorted([[alice, 1], [carol, 1]])
    opened = await do("accounts.createMultisig", 2, members, bytes(32))
    firm = next(one for one in opened["accounts.opened"] if one != text_of(world.alice))
    raw = account_from_text(firm)
    pay = [["assets.transfer", ["CLAW", carol, 1]]]
    await keep("proposal", "proposal", "accounts.propose", raw, later, pay, b"")
    rules = [["never", "deny", "no", 0, None, 0, 0, []]]
    policy = ["limits", "EUR", "nothing moves", 60_000, rules]
    await keep("proposal", "proposal", "compliance.proposePolicy", *policy)
    session = [
        agent.public_key, "", later, [1], ["assets.transfer"], [["CLAW", 5, 9]], [], b"", 0
    ]  # fmt: skip
    await do("accounts.grantSession", *session, cosigner=agent)
    made["key"] = [hexed(agent.public_key)]
    await do("anchor.document", bytes(32), "paper")
    made["commitment"] = [hexed(bytes(32))]
    await keep("log", "log", "anchor.openLog", "journal", alice, None, 2)
    return made
