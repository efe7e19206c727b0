"""What `audit export|verify` do: write a story with its proofs, and check one offline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import trio

from clawpurse.cli.audit_logs import verify_log
from clawpurse.cli.failures import Exit, UsageFault
from clawpurse.cli.output import FAILED, OK, WARNING, counted
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import account_named, labels_of
from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import HASH_BYTES
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.ledger.params import asset_name
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.audit_logs import is_log_bundle
from clawpurse.wallet.bundle_claims import Claims, asset_reader, claims_of
from clawpurse.wallet.bundle_source import BundleSource, Wanted
from clawpurse.wallet.bundle_story import Telling
from clawpurse.wallet.bundles import (
    ACCOUNTS_MAX,
    BUNDLE_BYTES_MAX,
    IDS_MAX,
    STATE_KEY_BYTES_MAX,
    Scope,
    Story,
    check_bundle,
)
from clawpurse.wallet.durable import read_private, writing_private

# A genesis file spells out what its bytes pack.
_GENESIS_FILE_BYTES_MAX: Final = 4 * GENESIS_BYTES_MAX
_HELP: Final = "clawpurse audit export --help"


class Asked(NamedTuple):
    """What was asked for, as it was typed."""

    accounts: tuple[str, ...]
    asset: str | None
    heights: str | None
    tx_ids: tuple[str, ...]
    from_height: int
    to_height: int | None
    keys: tuple[str, ...]


def export(session: Session, asked: Asked, genesis_file: Path | None, out: Path) -> None:
    """Gather a bundle from the node, check it, and keep it as a new file."""
    wanted = _wanted(session, asked)
    genesis = None if genesis_file is None else _genesis(genesis_file)
    if out.exists():
        raise UsageFault(f"{out} is there already.", "Nothing was written.", "choose another --out")
    registry = build_registry()

    async def run() -> tuple[Story, int, list[str]]:
        async with session.node() as node, waiting(session.out, "exporting"):
            genesis_hash = (await node.terms()).genesis_hash
            source = BundleSource(node, registry, wanted)
            with writing_private(out) as file:
                size = await _write(file, await source.head(genesis_hash, genesis), source.blocks())
                file.seek(0)
                try:
                    story = check_bundle(
                        json.loads(file.read()), genesis_hash, asset_reader(registry)
                    )
                except Malformed as err:
                    raise BadAnswer(f"what it says does not hold ({err})") from err
            return story, size, source.notes

    story, size, notes = trio.run(run)
    claims = claims_of(story, registry, account_text)
    count = len(story.transactions)
    if session.json_mode:
        session.out.emit(
            {
                "file": str(out),
                "bytes": size,
                "genesisHash": f"0x{story.genesis.hash.hex()}",
                "blocks": len(story.blocks),
                "transactions": count,
                "due": sum(len(block.due) for block in story.blocks),
                "lastHeight": story.blocks[-1].header.height,
                "notes": notes,
                "completeness": {"proven": claims.proven, "notProven": claims.unproven},
            }
        )
        return
    session.out.line(
        f"{session.out.mark(OK)} {counted(count, 'transaction')} of "
        f"{counted(len(story.blocks), 'block')}, "
        f"{size:,} bytes, checked: {shown(out)}"
    )
    for note in notes:
        session.out.warn(note)
    session.out.note(
        f"Next: clawpurse audit verify {shown(out)} --genesis-hash 0x{story.genesis.hash.hex()}"
    )


async def _write(
    file: BinaryIO, head: Mapping[str, Any], blocks: AsyncIterator[dict[str, Any]]
) -> int:
    """Write a bundle block by block; return its size. Raises `OperatorError` when it is large."""
    begun = json.dumps(head)
    size = file.write(f'{begun[:-1]}, "blocks": [\n'.encode())
    separator = b""
    async for block in blocks:
        size += file.write(separator + json.dumps(block).encode())
        separator = b",\n"
        if size > BUNDLE_BYTES_MAX:
            raise OperatorError(
                f"The bundle would be larger than {BUNDLE_BYTES_MAX:,} bytes.",
                "Nothing was written.",
                "export a part: --from-height, --to-height or --heights",
            )
    return size + file.write(b"\n]}\n")


def verify(session: Session, bundle: Path, genesis_hash: str) -> int:
    """Check a bundle, tell its story and what it proves; 0 when all of it holds, 4 when not."""
    trusted = _octets(genesis_hash, "--genesis-hash", HASH_BYTES)
    document = _document(bundle)
    if is_log_bundle(document):
        return verify_log(session, document, trusted)
    registry = build_registry()

    def progress(done: int, count: int) -> None:
        if session.out.live and not session.json_mode and done % 64 == 0:
            session.out.replace_line(f"  block {done} of {count} …")

    try:
        story = check_bundle(document, trusted, asset_reader(registry), progress)
    except Malformed as err:
        session.out.end_line()
        return _tell_not(session, err)
    session.out.end_line()
    telling = Telling(story, registry, _label_of(session))
    claims = claims_of(story, registry, telling.name)
    if session.json_mode:
        session.out.emit({"valid": True, "reason": "", **telling.as_json(claims)})
    else:
        _tell(session, story, claims, telling)
    return Exit.DONE


def _tell_not(session: Session, err: Malformed) -> int:
    if session.json_mode:
        session.out.emit({"valid": False, "step": err.field, "reason": err.problem})
    else:
        session.out.line(
            f"{session.out.mark(FAILED)} Not valid. {err.field}: {err.problem}. "
            "Nothing in this file is to be relied on."
        )
    return Exit.REJECTED


def _tell(session: Session, story: Story, claims: Claims, telling: Telling) -> None:
    out = session.out
    rows = [
        (str(row.height), row.time[:19].replace("T", " "), row.who, row.what, row.result)
        for row in telling.rows()
    ]
    if rows:
        out.table(("block>", "time", "who", "what", "result"), rows)
    for one in story.state:
        out.line(telling.state_words(one))
    out.line(
        f"{out.mark(OK)} Valid for {story.genesis.chain_id}: everything above is final, decided by "
        "a quorum of its authorities."
    )
    for said in claims.proven:
        out.line(f"{out.mark(OK)} Proven: {said}")
    for said in claims.unproven:
        out.line(f"{out.mark(WARNING)} Not proven: {said}")


# -- what was meant


def _wanted(session: Session, asked: Asked) -> Wanted:
    kinds = (asked.accounts, asked.asset, asked.heights, asked.tx_ids)
    if sum(bool(kind) for kind in kinds) != 1:
        raise UsageFault(
            "Name one of --account, --asset, --heights and --tx.", "Nothing was written.", _HELP
        )
    keys = tuple(_state_key(text) for text in asked.keys)
    return Wanted(_scope(session, asked), asked.from_height, asked.to_height, keys)


def _scope(session: Session, asked: Asked) -> Scope:
    if asked.accounts:
        accounts = sorted({account_named(session, name).account for name in asked.accounts})
        _bounded(len(accounts), ACCOUNTS_MAX, "accounts")
        return Scope("accounts", accounts=tuple(accounts))
    if asked.asset is not None:
        return Scope("asset", asset=asset_name(asked.asset, "--asset"))
    if asked.heights is not None:
        first, _, last = asked.heights.partition(":")
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise UsageFault("--heights is not FIRST:LAST.", "Nothing was written.", _HELP)
        if not 1 <= int(first) <= int(last) < 2**64:
            raise UsageFault("--heights is no range of blocks.", "Nothing was written.", _HELP)
        return Scope("heights", heights=(int(first), int(last)))
    ids = sorted({_octets(text, "--tx", HASH_BYTES) for text in asked.tx_ids})
    _bounded(len(ids), IDS_MAX, "transactions")
    return Scope("transactions", ids=tuple(ids))


def _bounded(count: int, most: int, what: str) -> None:
    if count > most:
        raise UsageFault(f"At most {most} {what} fit a bundle.", "Nothing was written.", _HELP)


def _state_key(text: str) -> tuple[str, bytes]:
    module, colon, key = text.partition(":")
    octets = _octets(key, "--key", None) if colon else b""
    if not module or not 1 <= len(octets) <= STATE_KEY_BYTES_MAX:
        raise UsageFault(f"--key {text!r} is not MODULE:HEX.", "Nothing was written.", _HELP)
    return module, octets


def _octets(text: str, name: str, size: int | None) -> bytes:
    try:
        octets = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        octets = None
    if octets is None or size not in (None, len(octets)):
        digits = "hex digits" if size is None else f"{2 * size} hex digits"
        raise UsageFault(f"{name} is not 0x and {digits}.", "", "check that it is whole")
    return octets


def _genesis(path: Path) -> bytes:
    try:
        return Genesis.from_json(read_private(path, _GENESIS_FILE_BYTES_MAX)).packed
    except FileNotFoundError:
        raise UsageFault(f"{path} is not there.", "", "check --genesis") from None


def _document(path: Path) -> object:
    try:
        with open(path, "rb") as file:
            data = file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as err:
        raise UsageFault(f"{path} cannot be read: {err.strerror}.", "", "check the name") from err
    if len(data) > BUNDLE_BYTES_MAX:
        raise OperatorError(f"{path} is larger than {BUNDLE_BYTES_MAX:,} bytes.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UsageFault(
            f"{path} is not JSON.", "", "clawpurse audit export writes what is read here"
        ) from None


def _label_of(session: Session) -> Callable[[bytes], str | None]:
    """Return how the client names accounts: its own keys and contacts."""
    labels = labels_of(session)
    return lambda account: labels.get(account_text(account))
