"""What `balance` does: what an account has of each asset, and what holds the held part."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from clawpurse.cli.outgoing import tell_left
from clawpurse.cli.session import Session
from clawpurse.cli.who import labels_of, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.wallet.amounts import amount_text, number_text
from clawpurse.wallet.client import Balance
from clawpurse.wallet.held import Held, held_of, unexplained

_KINDS = {"placed": "hold", "scheduled": "scheduled payment"}


def balance(session: Session, account: str | None, details: bool) -> None:
    """Show what an account has; at a terminal, or with `details`, also what holds a part of it."""
    named = own_or_named(session, account, "clawpurse wallet balance ")
    details = details or (session.out.live and not session.json_mode)

    async def ask() -> tuple[list[Balance], tuple[Held, ...], bytes]:
        async with session.node() as node:
            terms = await node.terms()
            found = await node.balances(named.account)
            asked = details and any(one.held for one in found)
            held = await held_of(node, named.account) if asked else ()
            return found, held, terms.genesis_hash

    balances, held, genesis_hash = trio.run(ask)
    text = account_text(named.account)
    if session.json_mode:
        entries = [
            {
                "asset": one.asset,
                "amount": str(one.amount),
                "held": str(one.held),
                "decimals": one.decimals,
            }
            for one in balances
        ]
        more = {"heldBy": [one.document() for one in held]} if details else {}
        session.out.emit({"account": text, "balances": entries, **more})
        return
    session.out.note(titled(named, text))
    rows = [
        (one.asset, number_text(one.amount, one.decimals), number_text(one.held, one.decimals))
        for one in balances
    ]
    session.out.table(("asset", "amount>", "held>"), rows)
    if details:
        _show_held(session, balances, held)
    tell_left(session, genesis_hash)


def _show_held(session: Session, balances: list[Balance], held: tuple[Held, ...]) -> None:
    out, labels = session.out, labels_of(session)
    decimals = {one.asset: one.decimals for one in balances}
    if held:
        out.note("Held, still of this account:")
    for one in held:
        out.line(f"  {_sentence(one, decimals, labels)}")
        out.line(f"    {one.command.text}")
    for asset, amount in unexplained(balances, held).items():
        value = amount_text(amount, decimals[asset], asset)
        out.warn(f"{value} held are in none of these: a block came between. Ask again.")


def _sentence(one: Held, decimals: Mapping[str, int], labels: Mapping[str, str]) -> str:
    value = amount_text(one.amount, decimals[one.asset], one.asset)
    kind = f"stopped by {one.rule}" if one.rule else _KINDS.get(one.kind, one.kind)
    end = ""
    if one.until is not None:
        when = f"{one.until[:16].replace('T', ' ')} UTC"
        end = f", {'paid' if one.then == 'paid' else 'comes back'} {when}"
    return f"{value}, {kind} to {labels.get(one.payee, one.payee)}{end}; {one.command.does}:"
