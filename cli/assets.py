"""What `asset create|mint|burn|freeze|…|show|list|holders` do: assets, for issuers and holders."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    amount_of,
    optional_id,
    parsed,
    tell,
    time_of,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.params import asset_name
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.assets import actions
from clawpurse.modules.assets.records import (
    DEEP,
    FLAG_NAMES,
    FROZEN,
    LEVEL_NAMES,
    TRANSFERABLE,
    flag_names,
)
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]
# A report or prospectus; more is a mistyped path, such as a disk's.
DOCUMENT_BYTES_MAX: Final = 1 << 30
_CHUNK_BYTES: Final = 1 << 20
_ISSUER_HINT: Final = "Only the issuer can set its flags; they bind it from then on."


class Wish(NamedTuple):
    """An asset that a person wants to create, as typed."""

    name: str
    title: str
    decimals: int
    flags: tuple[str, ...]
    not_transferable: bool
    cap: str | None
    metadata: str
    document: Path | None
    document_hash: str | None


class Claw(NamedTuple):
    """A clawback, as typed."""

    name: str
    account: str
    amount: str
    target: str
    reason: str
    hold_id: str | None


class Report(NamedTuple):
    """A reserve that is attested, as typed."""

    name: str
    amount: str
    as_of: str
    valid_until: str
    document: Path | None
    document_hash: str | None


# -- what issuers and their agents do


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Create an asset."""
    name = _name(wish.name)
    bits = _bits(wish.flags)
    if not wish.not_transferable:
        bits |= TRANSFERABLE
    elif bits & TRANSFERABLE:
        raise UsageFault("An asset is transferable, or it is not.", NOTHING, "")
    limit = None if wish.cap is None else parsed(wish.cap, name, wish.decimals, low=0)
    digest = document_digest(wish.document, wish.document_hash)
    fields: list[Wire] = [name, wish.decimals, wish.title, bits, limit, wish.metadata, digest]
    _do(session, actions.CREATE.name, fields, f"{name} exists; nothing of it was minted yet", terms)


def mint(session: Session, name: str, account: str, amount: str, terms: Terms) -> None:
    """Create value."""
    whom = account_named(session, account, NOTHING)
    said = f"{amount} {name} created for {titled(whom, account_text(whom.account))}"

    async def fields(node: NodeClient) -> list[Wire]:
        return [_name(name), whom.account, await amount_of(node, amount, name)]

    _perform(session, actions.MINT.name, fields, said, terms)


def burn(session: Session, name: str, amount: str, terms: Terms) -> None:
    """Destroy value that the issuer has."""

    async def fields(node: NodeClient) -> list[Wire]:
        return [_name(name), await amount_of(node, amount, name)]

    _perform(session, actions.BURN.name, fields, f"{amount} {name} destroyed", terms)


def one_or_all(account: str | None, everybody: bool) -> str | None:
    """Return whom it is about, None for everybody. Raises `UsageFault` unless one is named."""
    if everybody == (account is not None):
        raise UsageFault("Name an account, or say --all.", NOTHING, "")
    return account


def freeze(
    session: Session, name: str, account: str | None, deep: bool, reason: str | None, terms: Terms
) -> None:
    """Freeze one holder, or all."""
    why = _reason(reason)
    if account is None:
        if deep:
            raise UsageFault("Only one account can be frozen deeply.", NOTHING, "")
        _do(session, actions.FREEZE_ALL.name, [_name(name), why], f"all {name} is frozen", terms)
        return
    whom = account_named(session, account, NOTHING)
    fields: list[Wire] = [_name(name), whom.account, DEEP if deep else FROZEN, why]
    said = f"{titled(whom, account_text(whom.account))} is frozen in {name}"
    _do(session, actions.FREEZE.name, fields, said, terms)


def unfreeze(
    session: Session, name: str, account: str | None, reason: str | None, terms: Terms
) -> None:
    """End a freeze."""
    why = _reason(reason)
    if account is None:
        said = f"{name} moves again, but for who is frozen itself"
        _do(session, actions.UNFREEZE_ALL.name, [_name(name), why], said, terms)
        return
    whom = account_named(session, account, NOTHING)
    said = f"{titled(whom, account_text(whom.account))} is no longer frozen in {name}"
    _do(session, actions.UNFREEZE.name, [_name(name), whom.account, why], said, terms)


def clawback(session: Session, claw: Claw, terms: Terms) -> None:
    """Take value against its holder's will."""
    whom = account_named(session, claw.account, NOTHING)
    target = account_of(session, claw.target)
    why, hold_id = _reason(claw.reason), optional_id(claw.hold_id, "hold")

    async def fields(node: NodeClient) -> list[Wire]:
        minor = await amount_of(node, claw.amount, claw.name)
        return [_name(claw.name), whom.account, minor, target, why, hold_id]

    holder = titled(whom, account_text(whom.account))
    said = f"{claw.amount} {claw.name} taken from {holder}"
    _perform(session, actions.CLAWBACK.name, fields, said, terms)


def authorise(session: Session, name: str, account: str, level: str, terms: Terms) -> None:
    """Say what a holder may do."""
    whom = account_named(session, account, NOTHING)
    fields: list[Wire] = [_name(name), whom.account, LEVEL_NAMES.index(level)]
    said = f"the authorisation of {titled(whom, account_text(whom.account))} in {name} is {level}"
    _do(session, actions.AUTHORISE.name, fields, said, terms)


def flags(
    session: Session, name: str, add: Sequence[str], give_up: Sequence[str], terms: Terms
) -> None:
    """Change flags, or show them."""
    if not add and not give_up:
        show(session, name)
        return
    added, lost = _bits(add), _bits(give_up)
    if added & lost:
        raise UsageFault("A flag is added, or given up.", NOTHING, "")
    asset = _name(name)

    async def fields(node: NodeClient) -> list[Wire]:
        found = await node.call("asset_get", {"asset": asset})
        old = sum(1 << FLAG_NAMES.index(flag) for flag in found["flags"])
        return [asset, (old | added) & ~lost]

    said = f"flags of {asset}: {_changes_text(added, lost)}"
    danger = f"{asset}: {_changes_text(added, lost)}. {_ISSUER_HINT}"
    _perform(session, actions.SET_FLAGS.name, fields, said, terms, danger)


def _changes_text(added: int, lost: int) -> str:
    parts = [f"with {flag}" for flag in flag_names(added)]
    return ", ".join(parts + [f"without {flag}" for flag in flag_names(lost)])


def cap(session: Session, name: str, amount: str | None, unbounded: bool, terms: Terms) -> None:
    """Change the most that may exist."""
    if unbounded == (amount is not None):
        raise UsageFault("Say an amount, or --none.", NOTHING, "")

    async def fields(node: NodeClient) -> list[Wire]:
        return [_name(name), None if amount is None else await amount_of(node, amount, name)]

    said = f"{name} has no cap" if amount is None else f"the cap of {name} is {amount}"
    _perform(session, actions.SET_CAP.name, fields, said, terms)


def metadata(session: Session, name: str, text: str, digest: bytes | None, terms: Terms) -> None:
    """Replace what is said of an asset."""
    fields: list[Wire] = [_name(name), text, digest]
    _do(session, actions.SET_METADATA.name, fields, f"what is said of {name} was replaced", terms)


def appoint(session: Session, name: str, duty: str, account: str, terms: Terms) -> None:
    """Let an account act for the issuer."""
    _duty(session, actions.APPOINT.name, name, duty, account, "acts", terms)


def dismiss(session: Session, name: str, duty: str, account: str, terms: Terms) -> None:
    """Let an account no longer act for the issuer."""
    _duty(session, actions.DISMISS.name, name, duty, account, "no longer acts", terms)


def _duty(
    session: Session, action: str, name: str, duty: str, account: str, does: str, terms: Terms
) -> None:
    whom = account_named(session, account, NOTHING)
    who = titled(whom, account_text(whom.account))
    said = f"{who} {does} for the issuer of {name}: {duty}"
    _do(session, action, [_name(name), duty, whom.account], said, terms)


def reserve(session: Session, report: Report, terms: Terms) -> None:
    """Attest a reserve."""
    digest = document_digest(report.document, report.document_hash)
    if digest is None:
        what = "A reserve is attested by a report."
        raise UsageFault(what, NOTHING, "--document FILE, or --document-hash 0x…")
    now_ms = session.now_ms()
    as_of_ms, until_ms = time_of(report.as_of, now_ms), time_of(report.valid_until, now_ms)

    async def fields(node: NodeClient) -> list[Wire]:
        minor = await amount_of(node, report.amount, report.name)
        return [_name(report.name), minor, as_of_ms, digest, until_ms]

    said = f"the reserve of {report.name} is attested as {report.amount}"
    _perform(session, actions.ATTEST_RESERVE.name, fields, said, terms)


# -- how an action is made of what was typed


def _name(text: str) -> str:
    try:
        return asset_name(text, "asset")
    except Malformed as err:
        raise UsageFault(f"The asset {text!r} {err.problem}.", NOTHING, "") from err


def _reason(text: str | None) -> str | None:
    try:
        return None if text is None else plain_name(text, "reason")
    except Malformed as err:
        raise UsageFault(f"The reason {text!r} {err.problem}.", NOTHING, "") from err


def _bits(names: Sequence[str]) -> int:
    """Return flags by the names of the command line (`authorisation-required`)."""
    typed = {"authorisation-required": FLAG_NAMES[0]}
    # A flag that is named twice counts once.
    return sum({1 << FLAG_NAMES.index(typed.get(name, name)) for name in names})


def document_digest(document: Path | None, typed: str | None) -> bytes | None:
    """Return the hash of a file, or the one that was typed. Raises `UsageFault` for both."""
    if document is None:
        return optional_id(typed, "hash")
    if typed is not None:
        raise UsageFault("Name a document, or its hash.", NOTHING, "")
    digest, size = hashlib.sha256(), 0
    try:
        with document.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > DOCUMENT_BYTES_MAX:
                    raise UsageFault(f"{document} is no document: too long.", NOTHING, "")
                digest.update(chunk)
    except OSError as err:
        raise OperatorError(f"{document} cannot be read.", str(err), "") from err
    return digest.digest()


def _do(session: Session, action: str, fields: list[Wire], said: str, terms: Terms) -> None:
    async def given(_node: NodeClient) -> list[Wire]:
        return fields

    _perform(session, action, given, said, terms)


def _perform(
    session: Session,
    action: str,
    fields: Callable[[NodeClient], Awaitable[list[Wire]]],
    said: str,
    terms: Terms,
    danger: str = "",
) -> None:
    async def work(node: NodeClient) -> Json:
        deed = Deed((RawAction(action, await fields(node)),), (), danger)
        return await perform(session, node, deed, terms)

    tell(session, run_with_node(session, work), f"{said}.")


# -- looking


def show(session: Session, name: str) -> None:
    """Show one asset."""
    answer = _ask(session, "asset_get", {"asset": _name(name)})
    if session.json_mode:
        session.out.emit(answer)
        return
    decimals = answer["decimals"]
    rows = [
        ("Asset", f"{answer['asset']} ({answer['title']}), {counted(decimals, 'decimal')}"),
        ("Issuer", answer["issuer"] or "none: it is from genesis"),
        ("Supply", _amount(answer["supply"], answer)),
        ("Cap", "none" if answer["cap"] is None else _amount(answer["cap"], answer)),
        ("Flags", ", ".join(answer["flags"]) or "none"),
        ("Frozen", "all of it" if answer["frozen"] else "no"),
    ]
    if answer["metadata"]:
        rows.append(("Metadata", answer["metadata"]))
    if answer["metadataHash"] is not None:
        rows.append(("Document", answer["metadataHash"]))
    backing = answer["reserve"]
    if backing is not None:
        state = "valid until" if backing["valid"] else "EXPIRED at"
        worth = _amount(backing["amount"], answer)
        until = f"{state} {backing['validUntil']}"
        rows.append(("Reserve", f"{worth} as of {backing['asOf']}, {until}, by {backing['by']}"))
    rows += [(agents["duty"], one) for agents in answer["agents"] for one in agents["accounts"]]
    session.out.fields(rows)


def listed(session: Session, issuer: str | None) -> None:
    """List assets."""
    params: Json = {"limit": LISTED_MAX}
    if issuer is not None:
        params["issuer"] = account_text(account_of(session, issuer))
    answer = _ask(session, "asset_list", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["asset"], one["title"], _amount(one["supply"], one), one["issuer"] or "")
        for one in answer["assets"]
    ]
    session.out.table(("asset", "title", "supply>", "issuer"), rows)


def holders(
    session: Session, name: str, account: str | None, frozen: bool, cursor: str | None
) -> None:
    """List holders, or show one."""
    params: Json = {"asset": _name(name)}
    if account is not None:
        if frozen or cursor is not None:
            raise UsageFault("One account, or a list.", "", "")
        params["account"] = account_text(account_of(session, account))
        answer = _ask(session, "asset_getHolding", params)
        shown = [answer]
    else:
        params |= {"limit": LISTED_MAX, "frozen": frozen}
        if cursor is not None:
            params["cursor"] = cursor
        answer = _ask(session, "asset_getHolders", params)
        shown = answer["holders"]
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (
            one["account"],
            _amount(one["amount"], answer),
            _amount(one["held"], answer),
            _state_text(one),
        )
        for one in shown
    ]
    session.out.table(("account", "amount>", "held>", "state"), rows)
    following = answer.get("nextCursor")
    if following is not None:
        session.out.note(f"There are more: --cursor {following}")


def _state_text(holder: Mapping[str, Any]) -> str:
    parts = []
    if holder["frozenBy"] is not None:
        why = holder["frozenBy"]["reason"]
        kind = "frozen deeply" if holder["freeze"] == "deep" else "frozen"
        parts.append(kind if why is None else f"{kind}: {why}")
    if holder["authorisation"] is not None:
        parts.append(f"authorisation {holder['authorisation']}")
    return ", ".join(parts)


def _amount(minor: str, asset: Mapping[str, Any]) -> str:
    return amount_text(int(minor), asset["decimals"], asset["asset"])


def _ask(session: Session, method: str, params: Json) -> Json:
    async def work(node: NodeClient) -> Any:
        return await node.call(method, params)

    found: Json = run_with_node(session, work)
    return found
