"""What `receive` and `address` do, and what a request asks of `send`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.cli.acting import run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import own_or_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import replace_private
from clawpurse.wallet.uri import PaymentRequest, format_uri, parse_uri

_NOTHING: Final = "Nothing was sent."


class Request(NamedTuple):
    """What shall be asked for, as it was typed; None is left to the payer."""

    amount: str | None = None
    asset: str | None = None
    memo: str = ""
    chain_id: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the address is told."""
        return self == Request()


def receive(
    session: Session,
    name: str | None,
    request: Request,
    *,
    png: Path | None = None,
    light: bool = False,
) -> None:
    """Show an address to be paid at, or a request as a URI; at a terminal as a picture too.

    `png` is a file for the picture. `light` says that a terminal without colours is a light one.
    """
    named = own_or_named(session, name, "clawpurse wallet receive ")
    uri = _uri(named.account, request)
    text = account_text(named.account)
    if png is not None:
        _save(uri, png)
    if session.json_mode:
        document = {"name": named.label, "account": text, "uri": uri}
        session.out.emit(document if png is None else {**document, "png": str(png)})
        return
    session.out.line(text if request.is_empty else uri)
    if session.out.live:
        _draw(session, uri, light=light)
    if png is not None:
        session.out.tick(f"{shown(png)} is its picture")
    session.out.note(f"Next: clawpurse wallet history {named.label or text}")


def _uri(account: bytes, request: Request) -> str:
    try:
        return format_uri(
            PaymentRequest(account, request.asset, request.amount, request.memo, request.chain_id)
        )
    except Malformed as err:
        what = err.field.removeprefix("uri.")
        raise UsageFault(
            f"The {what} {err.problem}.", "", "clawpurse wallet receive --help"
        ) from err


def _draw(session: Session, uri: str, *, light: bool) -> None:
    # segno takes 50 ms that no other command needs.
    from clawpurse.wallet.pictures import COLUMNS, code_of, terminal_lines

    columns = min(COLUMNS, session.out.columns)
    lines = terminal_lines(code_of(uri), colour=session.out.colour, light=light, columns=columns)
    if lines is None:
        session.out.note(f"The picture is wider than {columns} columns: add --png FILE.")
        return
    for line in lines:
        session.out.line(line)


def _save(uri: str, path: Path) -> None:
    from clawpurse.wallet.pictures import code_of, png_of

    if path.exists():
        raise UsageFault(f"{path} exists already.", "Nothing was written.", "name another file")
    replace_private(path, png_of(code_of(uri)))


def address(session: Session, name: str | None) -> None:
    """Print an address and nothing else."""
    named = own_or_named(session, name, "clawpurse address ")
    if session.json_mode:
        session.out.emit({"name": named.label, "account": account_text(named.account)})
        return
    session.out.line(account_text(named.account))


def asked_by(
    session: Session, uri: str, amount: str | None, asset: str | None, memo: str
) -> tuple[str, str, str, str]:
    """Return (account, amount, asset, memo) to pay by a request; what was typed beside it counts
    where the request leaves it open.

    Raises `UsageFault` for no request, a contradiction or a missing amount, `Rejected` for
    another network.
    """
    try:
        request = parse_uri(uri)
    except Malformed as err:
        raise UsageFault(f"The request's {err}.", _NOTHING, "ask for it again") from err
    both = {
        "amount": (amount, request.amount),
        "asset": (asset, request.asset),
        "memo": (memo or None, request.memo or None),
    }
    for name, (typed, asked) in both.items():
        if typed is not None and asked is not None and typed != asked:
            raise UsageFault(
                f"The request asks for another {name}: {asked}.", _NOTHING, f"leave out the {name}"
            )
    wanted = request.amount or amount
    if wanted is None:
        raise UsageFault("The request names no amount.", _NOTHING, "add it after the request")
    if request.network is not None:
        _check_network(session, request.network)
    account = account_text(request.account)
    return account, wanted, request.asset or asset or NATIVE_ASSET, request.memo or memo


def _check_network(session: Session, wanted: str) -> None:
    async def work(node: NodeClient) -> str:
        return (await node.terms()).chain_id

    runs = run_with_node(session, work)
    if runs != wanted:
        raise Rejected(
            f"The request is for {wanted}, node runs {runs}.",
            _NOTHING,
            "add --rpc URL",
            code=Code.WRONG_CHAIN,
        )
