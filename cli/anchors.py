"""What `anchor document` and `anchor verify` do: a document that was there, and the proof of it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.output import FAILED, OK
from clawpurse.cli.promising import id_of, tell
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, OperatorError, WrongPassphrase
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.anchor.actions import DOCUMENT
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.wallet.anchoring import (
    KEY_BYTES,
    RECEIPT_BYTES_MAX,
    AnchorReceipt,
    commitment_of,
    digest_of,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import create_private, read_private, replace_private

Json = dict[str, Any]
# Beside the document, so that who copies the one sees the other.
RECEIPT_SUFFIX: Final = ".anchor.json"
# What `anchor verify` says when document, receipt and ledger do not fit: as `tx verify`.
NOT_VALID: Final = 4


class Wish(NamedTuple):
    """What `anchor document` was told: a file, or a commitment that somebody else made."""

    file: Path | None
    commitment: str | None
    kind: str
    receipt: Path | None


def document(session: Session, wish: Wish, terms: Terms) -> None:
    """Anchor a document or a ready commitment."""
    try:
        kind = plain_name(wish.kind, "kind")
    except Malformed as err:
        raise UsageFault(f"The kind {wish.kind!r} {err.problem}.", NOTHING, "") from err
    if wish.commitment is not None:
        commitment = id_of(wish.commitment, "commitment")
        action = RawAction(DOCUMENT.name, [commitment, kind])

        async def alone(node: NodeClient) -> Json:
            return await perform(session, node, Deed((action,)), terms)

        tell(session, run_with_node(session, alone), f"0x{commitment.hex()} is anchored.")
        return
    assert wish.file is not None
    _anchor_file(session, wish.file, kind, wish.receipt, terms)


def _anchor_file(
    session: Session, file: Path, kind: str, receipt_file: Path | None, terms: Terms
) -> None:
    """Keep the receipt first: whatever happens then, what was anchored can be shown."""
    name = terms.owner or terms.sender or own_key(session, "anchor document FILE --from ")
    account = account_named(session, name, NOTHING).account
    place = receipt_file or file.with_name(file.name + RECEIPT_SUFFIX)
    if place.exists():
        raise _taken(place)
    digest = _digest(file)

    async def work(node: NodeClient) -> tuple[AnchorReceipt, Json]:
        chain = await node.terms()
        key = secrets.token_bytes(KEY_BYTES)
        commitment = commitment_of(key, chain.genesis_hash, account, kind, digest)
        receipt = AnchorReceipt(
            chain.chain_id, chain.genesis_hash, account, kind, key, digest.size, commitment
        )
        try:
            create_private(place, receipt.pack())
        except FileExistsError:
            raise _taken(place) from None
        action = RawAction(DOCUMENT.name, [commitment, kind])
        try:
            done = await perform(session, node, Deed((action,)), terms)
        except OperatorError as err:
            # Refused, or not wanted: it will never be on the ledger, and the receipt is one of
            # nothing. In all other cases (pending, unreachable) it may be, and the receipt stays.
            if isinstance(err, UsageFault | Rejected | WrongPassphrase) or err.what == NOTHING:
                place.unlink(missing_ok=True)
            raise
        return receipt._replace(tx_id=done["txId"], height=done["height"]), done

    receipt, done = run_with_node(session, work)
    replace_private(place, receipt.pack())
    shown = {**done, "commitment": f"0x{receipt.commitment.hex()}", "receiptFile": str(place)}
    tell(session, shown, f"{file} is anchored.")
    if not session.json_mode:
        session.out.note(f"  Keep {place}: without it nobody can show what was anchored.")
        session.out.note(f"  clawpurse anchor verify {file} {place}")


def verify(session: Session, file: Path, receipt_file: Path) -> int:
    """Check a document against its receipt and the ledger; 0 if all fit, 4 if not."""
    digest = _digest(file)
    try:
        receipt = AnchorReceipt.unpack(read_private(receipt_file, RECEIPT_BYTES_MAX))
    except FileNotFoundError as err:
        raise UsageFault(f"There is no file {receipt_file}.", "", "") from err
    except Malformed as err:
        raise UsageFault(f"{receipt_file}: {err}.", "", "") from err
    fits = receipt.fits(digest)

    async def work(node: NodeClient) -> tuple[bytes, Json | None, Json | None]:
        genesis_hash = (await node.terms()).genesis_hash
        params: Json = {"commitment": f"0x{receipt.commitment.hex()}"}
        try:
            first = (await node.call("anchor_getDocument", {**params, "limit": 1}))["anchorings"]
            params["account"] = account_text(receipt.account)
            own = (await node.call("anchor_getDocument", params))["anchorings"]
        except RpcError as err:
            if err.code != NOT_FOUND:
                raise
            return genesis_hash, None, None
        return genesis_hash, own[0], first[0]

    own, first = None, None
    if fits:
        genesis_hash, own, first = run_with_node(session, work)
        if genesis_hash != receipt.genesis_hash:
            raise UsageFault(
                f"That receipt is of the network {receipt.chain_id}, this node is of another.",
                "",
                "add --rpc URL",
            )
    return _tell_verdict(session, file, receipt, fits, own, first)


def _tell_verdict(
    session: Session,
    file: Path,
    receipt: AnchorReceipt,
    fits: bool,
    own: Json | None,
    first: Json | None,
) -> int:
    """Say whether document, receipt and ledger fit, and who was first."""
    valid = fits and own is not None and own["kind"] == receipt.kind
    if not fits:
        reason = f"{file} is not the document of that receipt, or one of them was changed."
    elif own is None:
        reason = "The receipt fits, but nothing of it is on the ledger."
    elif not valid:
        reason = f"It is anchored as {own['kind']}, the receipt says {receipt.kind}."
    else:
        reason = (
            f"{account_text(receipt.account)} anchored {file} ({receipt.kind}) in block "
            f"{own['height']}, {own['time']}."
        )
    if session.json_mode:
        session.out.emit(
            {
                "valid": valid,
                "reason": reason,
                "commitment": f"0x{receipt.commitment.hex()}",
                "account": account_text(receipt.account),
                "anchored": own if fits else None,
                "first": first,
            }
        )
    else:
        session.out.line(f"{session.out.mark(OK if valid else FAILED)} {reason}")
        if first is not None and own is not None and first["account"] != own["account"]:
            session.out.note(f"  {first['account']} anchored the same commitment before it.")
    return 0 if valid else NOT_VALID


def _digest(file: Path) -> Any:
    try:
        return digest_of(file)
    except OSError as err:
        raise UsageFault(f"{file}: {err.strerror}.", NOTHING, "") from err


def _taken(place: Path) -> UsageFault:
    return UsageFault(f"There is a receipt {place} already.", NOTHING, "--receipt FILE")
