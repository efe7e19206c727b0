"""What `escrow create|finish|cancel|decide|show|list` do."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, Terms
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    amount_of,
    ask,
    ended_text,
    event_of,
    id_of,
    optional_id,
    reference_of,
    reference_text,
    time_of,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_or_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.escrows import (
    CANCEL,
    CREATE,
    DECIDE,
    FINISH,
    PREIMAGE_BYTES_MAX,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import create_private, read_private

SECRET_BYTES: Final = 32
# What it takes to look at goods after the day on which they may be paid for.
CANCEL_DEFAULT_MS: Final = 365 * DAY_MS
_FILE_BYTES_MAX: Final = 2 * PREIMAGE_BYTES_MAX + 8
Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    to: str
    amount: str
    asset: str
    finish_after: str | None
    cancel_after: str | None
    condition: str | None
    secret_file: Path | None
    arbiter: str | None
    reference: str
    travel_hash: str | None


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Set money apart."""
    now_ms = session.now_ms()
    finish_ms = None if wish.finish_after is None else time_of(wish.finish_after, now_ms)
    if wish.condition is not None and wish.secret_file is not None:
        raise UsageFault("A condition is given, or made of a new secret.", NOTHING, "")
    if wish.cancel_after is None:
        cancel_ms = (finish_ms or now_ms // 1_000 * 1_000) + CANCEL_DEFAULT_MS
    else:
        cancel_ms = time_of(wish.cancel_after, now_ms)
    condition = optional_id(wish.condition, "condition")
    fields: list[Wire] = [
        finish_ms,
        cancel_ms,
        condition,
        None if wish.arbiter is None else account_of(session, wish.arbiter),
        reference_of(wish.reference),
        optional_id(wish.travel_hash, "travel hash"),
    ]
    recipient = account_of(session, wish.to)
    if wish.secret_file is not None:
        fields[2] = hashlib.sha256(_new_secret(wish.secret_file)).digest()

    async def prepare(node: NodeClient) -> RawAction:
        amount = await amount_of(node, wish.amount, wish.asset)
        action = RawAction(CREATE.name, [wish.asset, recipient, amount, *fields])
        try:
            CREATE.read(action.fields)
        except Malformed as err:
            raise UsageFault(f"The escrow {err.problem}.", NOTHING, "") from err
        return action

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.escrowCreated")
        secret = "" if wish.secret_file is None else f" Its secret is in {wish.secret_file}."
        return (
            f"{value_text(data, decimals)} is set apart until {time_text(cancel_ms)}.{secret}\n"
            f"  Escrow {data['escrowId']}"
        )

    act(session, terms, prepare, told)


def _new_secret(path: Path) -> bytes:
    """Make a secret that only this file has; never over one that is there."""
    secret = secrets.token_bytes(SECRET_BYTES)
    if path.exists():
        raise UsageFault(f"{path} is there already.", NOTHING, "choose another --secret-file")
    create_private(path, f"0x{secret.hex()}\n".encode("ascii"))
    return secret


def _read_secret(path: Path) -> bytes:
    text = read_private(path, _FILE_BYTES_MAX).decode("ascii", "replace").strip()
    try:
        secret = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        secret = b""
    if not 0 < len(secret) <= PREIMAGE_BYTES_MAX:
        raise UsageFault(f"{path} holds no secret, 0x….", NOTHING, "")
    return secret


def finish(session: Session, escrow_id: str, secret_file: Path | None, terms: Terms) -> None:
    """Have it paid."""
    secret = None if secret_file is None else _read_secret(secret_file)
    _end(session, RawAction(FINISH.name, [id_of(escrow_id, "escrow"), secret]), terms)


def cancel(session: Session, escrow_id: str, terms: Terms) -> None:
    """Have it given back."""
    _end(session, RawAction(CANCEL.name, [id_of(escrow_id, "escrow")]), terms)


def decide(session: Session, escrow_id: str, outcome: str, reason: str, terms: Terms) -> None:
    """Decide as its arbiter."""
    fields: list[Wire] = [id_of(escrow_id, "escrow"), int(outcome == "release"), reason_of(reason)]
    _end(session, RawAction(DECIDE.name, fields), terms)


def reason_of(text: str) -> str:
    """Return a reason's code. Raises `UsageFault`."""
    try:
        return plain_name(text, "reason")
    except Malformed as err:
        raise UsageFault(f"The reason {text!r} {err.problem}.", NOTHING, "") from err


def _end(session: Session, action: RawAction, terms: Terms) -> None:
    async def prepare(_node: NodeClient) -> RawAction:
        return action

    def told(document: Json, decimals: int) -> str:
        return ended_text(document, "payments.escrowEnded", decimals)

    act(session, terms, prepare, told)


def show(session: Session, escrow_id: str) -> None:
    """Show one."""
    asked = f"0x{id_of(escrow_id, 'escrow').hex()}"
    answer, decimals = ask(session, "payment_getEscrow", {"escrow": asked})
    if session.json_mode:
        session.out.emit(answer)
        return
    secret = "" if answer["condition"] is None else f"whose SHA-256 is {answer['condition']}"
    rows = [
        ("Escrow", answer["escrowId"]),
        ("Amount", value_text(answer, decimals[answer["asset"]])),
        ("From", answer["payer"]),
        ("To", answer["payee"]),
        ("Not before", answer["finishAfter"] or "any time"),
        ("Paid", "by itself" if answer["paidByItself"] else "on somebody's word"),
        ("Comes back", "never by itself" if answer["paidByItself"] else answer["cancelAfter"]),
        ("Secret", secret),
        ("Arbiter", answer["arbiter"] or ""),
        ("Reference", reference_text(answer)),
    ]
    session.out.fields([row for row in rows if row[1]])


def listed(session: Session, account: str | None) -> None:
    """List those of an account."""
    whose = account_text(own_or_named(session, account, "clawpurse escrow list ").account)
    params = {"account": whose, "kind": "escrow", "limit": LISTED_MAX}
    answer, decimals = ask(session, "payment_listObjects", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["id"], value_text(one, decimals[one["asset"]]), _side(one, whose), one["cancelAfter"])
        for one in answer["objects"]
    ]
    session.out.table(("escrow", "amount>", "as", "until"), rows)


def _side(shown: Json, account: str) -> str:
    if shown["payer"] == account:
        return f"payer, to {shown['payee']}"
    if shown["payee"] == account:
        return f"payee, from {shown['payer']}"
    return "arbiter"
