"""What `tx build|sign|combine` do: a transaction as a file that several machines sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.acting import run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.multisig import file_actions, payment_of
from clawpurse.cli.output import WARNING
from clawpurse.cli.promising import account_of, decimals_of, parsed, time_of
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import account_named, own_or_named
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Code, Malformed, OperatorError
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import Body, Role
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import number_text
from clawpurse.wallet.builder import Slot, build_body, new_idempotency_key
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.describe import Line, assets_named, describe_body, words_for
from clawpurse.wallet.durable import create_private
from clawpurse.wallet.offline import (
    FILE_BYTES_MAX,
    Claims,
    OfflineFile,
    Signer,
    accounts_in,
    combine,
    from_text,
    refuse_unreadable,
    to_text,
)

_NOTHING_SIGNED: Final = "Nothing was signed."
_NOTHING_WRITTEN: Final = "Nothing was written."
ROLES: Final = {"sender": Role.SENDER, "payer": Role.PAYER, "approver": Role.APPROVER}
Json = dict[str, Any]


class Plan(NamedTuple):
    """What shall be built, as it was typed. `sender` is a key, a contact or an address."""

    sender: str | None
    pays: tuple[tuple[str, str, str], ...]
    files: tuple[Path, ...]
    memo: str
    fee: str | None
    payer: str | None
    lane: int
    expires: str
    height_max: int | None
    unchecked: bool


# -- build


def build(session: Session, plan: Plan, out: Path) -> None:
    """Write an unsigned transaction with all that a machine without network needs to show it."""
    sender = own_or_named(session, plan.sender, "add --from ").account
    valid_until_ms = time_of(plan.expires, session.now_ms())
    from_files = [one for path in plan.files for one in file_actions(session, path)]
    payer = None if plan.payer is None else account_of(session, plan.payer)
    registry = build_registry()

    async def work(node: NodeClient) -> OfflineFile:
        terms = await node.terms()
        actions = [await payment_of(session, node, pay) for pay in plan.pays] + from_files
        if not actions:
            raise UsageFault(
                "Build what?", _NOTHING_WRITTEN, "add --pay TO AMOUNT ASSET or --action FILE"
            )
        native = await decimals_of(node, NATIVE_ASSET)
        body = build_body(
            terms,
            registry,
            sender,
            Slot(plan.lane, (await node.next_sequence(sender, plan.lane)).sequence),
            actions,
            valid_until_ms=valid_until_ms,
            fee=await _fee(node, plan.fee, native),
            payer=payer,
            height_max=plan.height_max,
            memo=plan.memo,
            idempotency_key=new_idempotency_key(),
        )
        if not plan.unchecked:
            await _simulate(node, body)
        named = assets_named(actions, registry)
        decimals = {asset: await decimals_of(node, asset) for asset in named}
        signers, threshold = await _signers(node, sender)
        claims = Claims(
            {**decimals, NATIVE_ASSET: native}, _labels(session, body), signers, threshold
        )
        return OfflineFile(body.pack(), claims=claims)

    file = run_with_node(session, work)
    _write(file, out)
    if session.json_mode:
        session.out.emit({"txId": f"0x{file.tx_id.hex()}", "file": str(out)})
        return
    _show(session, file, decimals=file.claims.decimals)
    session.out.tick(f"{shown(out)}: not signed yet")
    session.out.note(f"Next, where the key is: clawpurse tx sign {out} --from NAME --out signed.tx")


async def _fee(node: NodeClient, text: str | None, decimals: int) -> int:
    answer = await node.call("chain_getParameters")
    least = int(answer["parameters"]["fee_min"])
    return least if text is None else parsed(text, NATIVE_ASSET, decimals, low=least)


async def _simulate(node: NodeClient, body: Body) -> None:
    outcome = await node.simulate(body.pack(), sponsored=body.payer is not None)
    if outcome.code != "ok":
        code = next((one for one in Code if one.label == outcome.code), Code.POLICY_REJECTED)
        raise Rejected(
            outcome.reason or f"Refused ({outcome.code}).",
            _NOTHING_WRITTEN,
            "add --unchecked if that will change before it is sent",
            code=code,
        )


async def _signers(node: NodeClient, account: bytes) -> tuple[tuple[Signer, ...], int]:
    try:
        found = await node.call("account_getSigners", {"account": account_text(account)})
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
        return (), 0
    if found["threshold"] is None:
        return (), 0
    listed = [
        Signer(account_from_text(one["account"]), bytes.fromhex(one["key"][2:]), int(one["weight"]))
        for one in found["signers"]
        if one["key"] is not None
    ]
    return tuple(listed), int(found["threshold"])


def _labels(session: Session, body: Body) -> Mapping[bytes, str]:
    named = {who: _label(session, who) for who in accounts_in(body, build_registry())}
    return {who: name for who, name in named.items() if name is not None}


def _label(session: Session, account: bytes) -> str | None:
    return session.client_home.label_of(account, session.keystore).label


# -- sign


def sign(
    session: Session,
    source: Path,
    name: str,
    out: Path,
    *,
    role: str | None,
    owner: str | None,
    genesis: Path | None,
    passphrase_file: Path | None,
    yes: bool,
) -> None:
    """Show every field of a file and, after a yes, sign it with a key of this home.

    No network is used. Raises `Malformed` for what cannot be shown in words, `Rejected` for a
    file of another network than the one that is pinned here.
    """
    file, registry = read(source), build_registry()
    body = file.body
    refuse_unreadable(body.actions, registry)
    account_named(session, name, _NOTHING_SIGNED)
    info = session.keystore.show(name)
    part, account = _part(session, file, info.account, info.public_key, role, owner)
    _check_network(session, body)
    if out.exists():
        raise UsageFault(f"{out} exists already.", _NOTHING_SIGNED, "name another file")
    known = _known_decimals(genesis, body)
    _show(session, file, decimals={**file.claims.decimals, **known}, verified=frozenset(known))
    whom = _label(session, account)
    title = account_text(account) if whom is None else f"{whom} {account_text(account)}"
    session.out.note(f"  You sign as {_role_words(part)} for {title}, by the key {name}.")
    if body.valid_until_ms <= session.now_ms():
        raise Rejected(
            f"It was valid until {time_text(body.valid_until_ms)}, by the clock here.",
            _NOTHING_SIGNED,
            "clawpurse tx build …",
            code=Code.EXPIRED,
        )
    if not yes and not prompts.confirm(session.out, "  Sign exactly this?", "--yes"):
        raise OperatorError(_NOTHING_SIGNED)
    passphrase = prompts.passphrase(session.out, passphrase_file, f"  Passphrase for {name}: ")
    key = session.keystore.unlock(name, passphrase).signer
    entry = key.sign_body(part, body.genesis_hash, file.body_bytes, account)
    signed = file.with_signature(entry)
    _write(signed, out)
    _tell_signed(session, signed, out)


def _part(
    session: Session,
    file: OfflineFile,
    own: bytes,
    key: bytes,
    role: str | None,
    owner: str | None,
) -> tuple[Role, bytes]:
    """Return in which role, for which account, a key signs: what it can only be, or was told."""
    body = file.body
    if owner is not None:
        account = account_of(session, owner)
    elif role == "sender" or (role is None and own not in (body.sender, body.payer)):
        account = body.sender
    else:
        account = own
    if role is not None:
        return ROLES[role], account
    if account == body.sender:
        claimed = [one.key for one in file.claims.signers]
        if own != body.sender and owner is None and key not in claimed:
            raise UsageFault(
                "That key has no part in this transaction that is known here.",
                _NOTHING_SIGNED,
                "add --as sender|payer|approver, and --for ACCOUNT",
            )
        return Role.SENDER, account
    return (Role.PAYER if account == body.payer else Role.APPROVER), account


def _role_words(role: Role) -> str:
    return {Role.SENDER: "the sender", Role.PAYER: "who pays the fee"}.get(role, "an approver")


def _check_network(session: Session, body: Body) -> None:
    chosen = session.config.chosen
    if chosen is None or chosen.genesis_hash is None:
        session.out.note(
            f"{WARNING} No network is pinned here: compare the genesis hash with one you trust."
        )
        return
    if chosen.genesis_hash != body.genesis_hash:
        raise Rejected(
            f"It is for {body.chain_id}, not for {chosen.name}, the network of this home.",
            _NOTHING_SIGNED,
            "clawpurse config show",
            code=Code.WRONG_CHAIN,
        )


def _known_decimals(path: Path | None, body: Body) -> Mapping[str, int]:
    if path is None:
        return {}
    from clawpurse.cli.genesis import read as read_genesis
    from clawpurse.cli.genesis import require_hash

    genesis = read_genesis(path)
    require_hash(path, genesis, body.genesis_hash.hex())
    return genesis.decimals


def _tell_signed(session: Session, file: OfflineFile, out: Path) -> None:
    missing = _missing(file)
    if session.json_mode:
        document: Json = {"txId": f"0x{file.tx_id.hex()}", "file": str(out)}
        document |= {"signatures": len(file.signatures), "missing": missing or None}
        session.out.emit(document)
        return
    session.out.tick(f"{shown(out)}: {len(file.signatures)} signed")
    if missing:
        session.out.line(f"  {missing}")
        session.out.note(f"Next: clawpurse tx combine {out} OTHER… --out all.tx")
    else:
        session.out.note(f"Next, with a network: clawpurse tx submit {out}")


def _missing(file: OfflineFile) -> str:
    """Return what the file lacks as far as it claims to know, or nothing."""
    body, weight = file.body, file.weight_signed()
    roles = {one.role for one in file.signatures}
    if weight is not None and weight < file.claims.threshold:
        signed = {one.public_key for one in file.signatures}
        left = ", ".join(
            file.claims.labels.get(one.account) or account_text(one.account)
            for one in file.claims.signers
            if one.key not in signed
        )
        return f"A weight of {file.claims.threshold - weight} is missing; not signed by {left}."
    if Role.SENDER not in roles:
        return "The sender has not signed."
    if body.payer is not None and Role.PAYER not in roles:
        return "Who pays the fee has not signed; without that it must sponsor the sender."
    return ""


# -- combine


def combined(session: Session, sources: Sequence[Path], out: Path) -> None:
    """Write one file with the signatures of all, after checking each of them."""
    files = []
    for path in sources:
        files.append((str(path), read(path)))
    try:
        merged, remarks = combine(files)
    except Malformed as err:
        raise UsageFault(f"{err.field} {err.problem}.", _NOTHING_WRITTEN, "") from err
    claimed = {one.key for one in merged.claims.signers}
    for entry in merged.signatures:
        if claimed and entry.role == Role.SENDER and entry.public_key not in claimed:
            remarks.append(f"0x{entry.public_key.hex()} is none of the signers named.")
    for remark in remarks:
        session.out.warn(remark)
    _write(merged, out)
    _tell_signed(session, merged, out)


# -- files and words


def read(path: Path) -> OfflineFile:
    """Read a file. Raises `UsageFault` in one line for whatever is wrong with it."""
    try:
        with path.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as err:
        raise UsageFault(f"{path} cannot be read ({err.strerror}).", "", "check the name") from err
    try:
        return from_text(data)
    except Malformed as err:
        raise UsageFault(
            f"{path} is no transaction to sign: {err.field} {err.problem}.",
            _NOTHING_SIGNED,
            "ask for the file again",
        ) from err


def _write(file: OfflineFile, out: Path) -> None:
    try:
        create_private(out, to_text(file).encode())
    except FileExistsError:
        raise UsageFault(f"{out} exists already.", _NOTHING_WRITTEN, "name another file") from None


def _show(
    session: Session,
    file: OfflineFile,
    *,
    decimals: Mapping[str, int],
    verified: frozenset[str] = frozenset(),
) -> None:
    """Say every field, what is claimed beside it, and the hash to compare."""

    def label_of(account: bytes) -> str | None:
        own = _label(session, account)
        claimed = file.claims.labels.get(account)
        if own is not None or claimed is None:
            return own
        return f"“{claimed}” as the file claims, unknown here:"

    registry = build_registry()
    lines = describe_body(file.body, registry, words_for(decimals, label_of))
    for asset in sorted({NATIVE_ASSET, *assets_named(file.body.actions, registry)}):
        lines.append(_precision(asset, decimals.get(asset), asset in verified))
    for entry in file.signatures:
        whose = _label(session, entry.account) or account_text(entry.account)
        text = f"valid, as {_role_words(Role(entry.role))} for {whose}, 0x{entry.public_key.hex()}"
        lines.append(Line("Signed", text))
    if session.json_mode:
        return
    width = max(len(line.label) for line in lines)
    for line in lines:
        mark = f"{WARNING} " if line.warning else "  "
        session.out.note(f"{mark}{line.label:<{width}}  {line.text}")


def _precision(asset: str, decimals: int | None, verified: bool) -> Line:
    if decimals is None:
        return Line("Precision", f"{asset}: not known, amounts are minor units", warning=True)
    one = number_text(10**decimals, decimals)
    said = f"{asset}: {one} is {10**decimals:,} minor units"
    if verified:
        return Line("Precision", f"{said}, by the genesis file")
    return Line("Precision", f"{said}, as the file claims; --genesis FILE proves it", warning=True)
