"""`gateway pay`: one request to a gateway, paid by a key of this home."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_key
from clawpurse.ledger.params import asset_name
from clawpurse.modules.kit.web.errors import Unreachable
from clawpurse.wallet.amounts import parse_amount
from clawpurse.wallet.book import Wallet
from clawpurse.wallet.durable import replace_private
from clawpurse.wallet.paying_402 import Offer, PayingTransport

TIMEOUT_S = 60.0
MOST = (1 << 63) - 1


class Wish(NamedTuple):
    """What was typed."""

    url: str
    sender: str | None
    method: str
    body: str | None
    headers: tuple[str, ...]
    asset: str
    most: str | None
    yes: bool
    out: Path | None
    passphrase_file: Path | None


def pay(session: Session, wish: Wish) -> None:
    """Call, pay, print. Raises as `PayingTransport` does, `UsageFault`."""
    if wish.yes and wish.most is None:
        raise UsageFault("--yes pays whatever is asked.", "", "add --max AMOUNT")
    name = wish.sender or own_key(session, f"clawpurse gateway pay {wish.url} --from ")
    passphrase = prompts.passphrase(session.out, wish.passphrase_file, f"Passphrase for {name}: ")
    trio.run(_pay, session, wish, name, passphrase)


async def _pay(session: Session, wish: Wish, name: str, passphrase: str) -> None:
    out = session.out
    rpc = session.network().rpc_urls[0]
    async with Wallet.open(session.client_home.root, name, passphrase, rpc=rpc) as wallet:
        asset = asset_name(wish.asset, "--asset")
        most = MOST
        if wish.most is not None:
            most = parse_amount(wish.most, (await wallet.node.asset(asset)).decimals, asset)

        async def approve(offer: Offer) -> bool:
            out.note(f"  It costs {offer.shown}, paid to {offer.payee}")
            if wish.yes:
                return True
            return await trio.to_thread.run_sync(
                lambda: prompts.confirm(out, "  Pay? [y/N] ", "--max AMOUNT --yes")
            )

        transport = PayingTransport(wallet, most={asset: most}, approve=approve)
        async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S) as client:
            try:
                answer = await client.request(
                    wish.method.upper(), wish.url, headers=_headers(wish), content=_body(wish)
                )
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise UsageFault(
                    f"{wish.url} cannot be called: {error}.", "", "https://…"
                ) from None
            except httpx.HTTPError as error:
                raise Unreachable(wish.url, str(error) or type(error).__name__, sent=True) from None
        _tell(session, wish, transport, answer)


def _tell(session: Session, wish: Wish, transport: PayingTransport, answer: httpx.Response) -> None:
    paid: Any = None
    if transport.payment is not None and transport.offer is not None:
        paid = {
            "txId": f"0x{transport.payment.tx_id.hex()}",
            "asset": transport.offer.asset,
            "amount": str(transport.offer.amount),
            "payee": transport.offer.payee,
            "invoice": transport.offer.invoice,
        }
    if wish.out is not None:
        replace_private(wish.out.expanduser(), answer.content)
    if session.json_mode:
        text = None if wish.out is not None else answer.text
        session.out.emit({"status": answer.status_code, "paid": paid, "body": text})
        return
    if paid is not None and transport.offer is not None:
        session.out.note(f"✓ Paid {transport.offer.shown}. Transaction {paid['txId']}")
    session.out.note(f"HTTP {answer.status_code}")
    if wish.out is None:
        sys.stdout.buffer.write(answer.content)
        sys.stdout.buffer.flush()


def _headers(wish: Wish) -> list[tuple[str, str]]:
    found = []
    for one in wish.headers:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise UsageFault(f"{one} is no header.", "", "--header 'Accept: text/plain'")
        found.append((name.strip(), value.strip()))
    return found


def _body(wish: Wish) -> bytes | None:
    if wish.body is None:
        return None
    if wish.body.startswith("@"):
        return Path(wish.body[1:]).expanduser().read_bytes()
    return wish.body.encode()
