"""What `light verify` does and prints: one sentence that says no more than was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli.failures import Exit, UsageFault
from clawpurse.cli.output import FAILED, OK, counted
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.light import Trusted
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.ledger.rules import time_text
from clawpurse.node.explanation import age_text
from clawpurse.wallet.durable import read_private
from clawpurse.wallet.home import check_rpc_url
from clawpurse.wallet.light import (
    Cause,
    Checkpoint,
    Forked,
    NotVerified,
    Outcome,
    Verified,
    follow_chain,
)
from clawpurse.wallet.light_compare import Report, Standing
from clawpurse.wallet.light_store import TrustedBlocks

# A genesis file spells out what its bytes pack.
_GENESIS_FILE_BYTES_MAX: Final = 4 * GENESIS_BYTES_MAX
_EXITS: Final[Mapping[Cause, Exit]] = {
    Cause.EXPIRED: Exit.REJECTED,
    Cause.CONTRADICTS: Exit.REJECTED,
    Cause.PRIMARY: Exit.REJECTED,
    Cause.HALTED: Exit.REJECTED,
    Cause.UNWITNESSED: Exit.REJECTED,
    Cause.NOT_YET: Exit.PENDING,
    Cause.UNREACHABLE: Exit.UNREACHABLE,
    Cause.BELOW: Exit.USAGE,
}


class Trust(NamedTuple):
    """What a person named as trusted, as it was typed."""

    height: int | None
    hash: str | None
    genesis_hash: str | None
    genesis_file: Path | None


def verify(
    session: Session,
    height: int | None,
    trust: Trust,
    primary: str | None,
    witnesses: Sequence[str],
) -> int:
    """Verify a block and say what came of it; returns the exit code."""
    primary, witnesses, pinned = _nodes(session, primary, witnesses)
    checkpoint = _checkpoint(trust)
    genesis = None if trust.genesis_file is None else _read_genesis(trust.genesis_file)
    genesis_hash = _genesis_hash(trust, genesis, pinned)
    if genesis_hash is None and checkpoint is None:
        raise UsageFault(
            "Nothing is trusted yet: name --genesis-hash, or --trusted-height and --trusted-hash.",
            "",
            "clawpurse light verify --help",
        )

    async def run() -> Outcome:
        async with waiting(session.out, "verifying"):
            return await follow_chain(
                primary,
                witnesses,
                session.now_ms,
                genesis_hash=genesis_hash,
                checkpoint=checkpoint,
                genesis=genesis,
                height=height,
                store=TrustedBlocks(session.client_home.light_directory),
                open_client=session.connect,
            )

    outcome = trio.run(run)
    match outcome:
        case Verified():
            return _tell_verified(session, outcome)
        case Forked():
            return _tell_fork(session, outcome)
        case NotVerified():
            return _tell_not(session, outcome)


# -- what was meant


def _nodes(
    session: Session, primary: str | None, witnesses: Sequence[str]
) -> tuple[str, tuple[str, ...], bytes | None]:
    """Return primary, witnesses, and the pinned genesis hash if they are the network's own."""
    network = session.network()
    chosen = check_rpc_url(primary or network.rpc_urls[0])
    is_own = chosen in network.rpc_urls
    named = tuple(check_rpc_url(url) for url in witnesses)
    if not named and is_own:
        named = tuple(url for url in network.rpc_urls if url != chosen)
    if not named:
        raise UsageFault(
            "A witness is required: a second node, best of somebody else.",
            "",
            "add --witness URL",
        )
    return chosen, named, network.genesis_hash if is_own else None


def _checkpoint(trust: Trust) -> Checkpoint | None:
    if (trust.height is None) != (trust.hash is None):
        raise UsageFault(
            "--trusted-height and --trusted-hash belong together.",
            "",
            "clawpurse light verify --help",
        )
    if trust.height is None or trust.hash is None:
        return None
    return Checkpoint(trust.height, _digest(trust.hash, "--trusted-hash"))


def _genesis_hash(trust: Trust, genesis: Genesis | None, pinned: bytes | None) -> bytes | None:
    given = None
    if trust.genesis_hash is not None:
        given = _digest(trust.genesis_hash, "--genesis-hash")
    if genesis is None:
        return given or pinned
    if given not in (None, genesis.hash):
        raise UsageFault(
            f"{trust.genesis_file} has the hash 0x{genesis.hash.hex()}, not the one named.",
            "",
            "ask for the right file",
        )
    return genesis.hash


def _read_genesis(path: Path) -> Genesis:
    try:
        return Genesis.from_json(read_private(path, _GENESIS_FILE_BYTES_MAX))
    except FileNotFoundError:
        raise UsageFault(f"{path} is not there.", "", "check --genesis") from None


def _digest(text: str, name: str) -> bytes:
    try:
        octets = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        octets = b""
    if len(octets) != 32:
        raise UsageFault(f"{name} is not 0x and 64 hex digits.", "", "check that it is whole")
    return octets


# -- what came of it


def _tell_verified(session: Session, found: Verified) -> int:
    out, block = session.out, found.block
    height, block_hash = block.height, f"0x{block.block_id.hex()}"
    steps = _counted(found.steps, "step")
    sentence = (
        f"Block {height}, {block_hash}, is verified: {steps} from {_root_text(found.root)}, "
        f"{found.agreed} of {_counted(len(found.witnesses), 'witness')} agree."
    )
    if out.json_mode:
        out.emit(
            {
                "verified": True,
                "status": "verified",
                "reason": sentence,
                "height": height,
                "hash": block_hash,
                "time": time_text(block.header.time_ms),
                "stateRoot": f"0x{block.header.state_root.hex()}",
                "steps": found.steps,
                "requests": found.requests,
                "root": {"height": found.root.height, "hash": f"0x{found.root.block_id.hex()}"},
                "witnesses": _witnesses_json(found.witnesses),
            }
        )
        return Exit.DONE
    out.line(f"{out.mark(OK)} {sentence}")
    age = age_text(session.now_ms() - block.header.time_ms)
    signed = len(block.certificate.signatures)
    out.fields(
        [
            ("Time", f"{time_text(block.header.time_ms)}, {age} ago"),
            ("Decided by", f"{signed} of {counted(len(block.authorities), 'authority')}"),
            ("State root", f"0x{block.header.state_root.hex()}"),
        ]
    )
    _warn_of(session, found.witnesses)
    return Exit.DONE


def _tell_fork(session: Session, found: Forked) -> int:
    fork, out = found.fork, session.out
    both = fork.signed_both
    where = "at" if fork.is_exact else "at or below"
    sentence = (
        f"Fork {where} block {fork.height}: two blocks are decided, "
        f"{_counted(len(both), 'authority')} signed both. Neither is followed."
    )
    assert found.path is not None
    if out.json_mode:
        out.emit(
            {
                "verified": False,
                "status": "fork",
                "reason": sentence,
                "height": fork.height,
                "evidenceFile": str(found.path),
                "evidence": fork.evidence(),
            }
        )
        return Exit.REJECTED
    out.line(f"{out.mark(FAILED)} {sentence}")
    sides = (fork.primary, fork.witness)
    out.fields([(side.url, f"0x{side.block.block_id.hex()}") for side in sides])
    for key in both:
        out.line(f"  signed both  {authority_text(key)}")
    out.line(f"  Evidence  {shown(found.path)}")
    out.note("Next: send it to those who run the network; then name the block that they vouch for")
    out.note("      with --trusted-height and --trusted-hash.")
    return Exit.REJECTED


def _tell_not(session: Session, found: NotVerified) -> int:
    out = session.out
    if found.cause is Cause.BELOW:
        raise UsageFault(found.problem, "", found.next_step)
    if out.json_mode:
        out.emit(
            {
                "verified": False,
                "status": str(found.cause),
                "reason": found.problem,
                "next": found.next_step,
                "witnesses": _witnesses_json(found.witnesses),
            }
        )
        return _EXITS[found.cause]
    out.line(f"{out.mark(FAILED)} Not verified. {found.problem}")
    _warn_of(session, found.witnesses)
    if found.next_step:
        out.note(f"Next: {found.next_step}")
    return _EXITS[found.cause]


def _witnesses_json(reports: Sequence[Report]) -> list[dict[str, Any]]:
    return [
        {"url": report.url, "standing": str(report.standing), "detail": report.detail}
        for report in reports
    ]


def _warn_of(session: Session, reports: Sequence[Report]) -> None:
    for report in reports:
        if report.standing is not Standing.AGREES:
            session.out.warn(f"{report.url} is {report.standing}. {report.detail}".rstrip())


def _root_text(root: Trusted) -> str:
    return "genesis" if root.height == 0 else f"block {root.height}"


def _counted(count: int, word: str) -> str:
    """`1 step`, `2 steps`, `2 witnesses`, `3 authorities`."""
    if count != 1:
        word = (
            word[:-1] + "ies" if word.endswith("y") else word + ("es" if word[-1] == "s" else "s")
        )
    return f"{count} {word}"
