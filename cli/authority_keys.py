"""What `authority move-out|move-in|rotate-key|retire-key` do with an authority's keys."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.processes import ask, node_config, rpc_url
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import config_text, load_config, read_toml, validate
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.moving import load_bundle
from clawpurse.node.moving import move_in as install
from clawpurse.node.moving import move_out as seal_and_write
from clawpurse.node.signer import create_sign_state
from clawpurse.p2p.address import parse_node_id
from clawpurse.wallet.durable import make_private_directory, move_private, replace_private
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost

# How many sets in a row must be without the old key before it is put away: a rollback or a
# restore of a day's last blocks may need it again, a year's may not.
SETS_OUTSIDE_MIN: Final = 20
RETIRED: Final = "retired"


@contextmanager
def _locked(home: NodeHome) -> Iterator[None]:
    """Hold a node's folder, so that nothing signs with what is moved meanwhile."""
    descriptor = home.take_lock()
    try:
        yield
    finally:
        os.close(descriptor)


def set_config(home: NodeHome, **changes: Any) -> None:
    """Set values of a node's configuration, the others kept."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_toml(home.config).items()
    }
    values.update(changes)
    validate(values, home.config)
    replace_private(home.config, config_text(values).encode())


def move_out(
    session: Session,
    root: Path,
    destination: str,
    target: Path,
    passphrase_file: Path | None,
    *,
    yes: bool,
    understood: str | None,
    cost: KdfCost = KDF_DEFAULT,
) -> None:
    """Ask, seal the folder, write the bundle, remove the key."""
    out, home = session.out, NodeHome(root)
    genesis, node_id = home.read_genesis(), parse_node_id(destination)
    with _locked(home):
        key = authority_text(public_key_of(home.read_seed(home.authority_key)))
        warning = (
            f"Moves {key}",
            f"  out of   {shown(root)}: it never signs here again, whatever is typed",
            f"  for      node {destination}",
            f"  into     {target}: then the only place where this key is",
        )
        prompts.confirm_by_name(
            out,
            warning,
            genesis.chain_id,
            yes=yes,
            understood=understood,
            nothing="Nothing was moved.",
        )
        passphrase = prompts.new_passphrase(out, passphrase_file)
        facts = seal_and_write(home, node_id, passphrase, target, cost)
        set_config(home, authority=bool(load_config(root, {}).signer_address))
    if session.json_mode:
        out.emit(
            {
                "authority": key,
                "bundle": str(target.absolute()),
                "destination": destination,
                "move": facts.number,
                "height": facts.watermark.order[0],
            }
        )
        return
    out.tick(f"{key} is in {target}, for node {destination[:16]}… only")
    out.note("Carry the bundle there; it opens with this passphrase. Then, on that machine:")
    out.note(f"Next: clawpurse authority move-in {target.name} --home DIR")


def move_in(session: Session, root: Path, bundle_path: Path, passphrase_file: Path | None) -> None:
    """Open the bundle, raise the watermark, install the key."""
    out, home = session.out, NodeHome(root)
    home.read_genesis()
    with _locked(home):
        bundle = load_bundle(bundle_path)
        question = f"Passphrase of {bundle_path}: "
        passphrase = prompts.passphrase(out, passphrase_file, question)
        key = authority_text(install(home, bundle, passphrase))
        set_config(home, authority=True)
    height = bundle.facts.watermark.order[0]
    if session.json_mode:
        out.emit({"authority": key, "home": str(root.absolute()), "height": height})
        return
    out.tick(f"{key} signs in {shown(root)} from now on, above block {height}")
    out.note(f"Delete the bundle: rm {bundle_path}")
    out.note(f"Next: clawpurse start --home {shown(root)}")


def rotate_key(session: Session, root: Path) -> None:
    """Make the next key, its signing state first; show it again when it is there."""
    out, home = session.out, NodeHome(root)
    genesis = home.read_genesis()
    old = authority_text(public_key_of(home.read_seed(home.authority_key)))
    if not home.next_authority_key.exists():
        seed = secrets.token_bytes(32)
        # A key that never signed: its state is there before it is, so that none ever lacks it.
        create_sign_state(DiskFiles(home.signer), genesis.hash, public_key_of(seed))
        home.create_key(home.next_authority_key, seed)
    new = authority_text(public_key_of(home.read_seed(home.next_authority_key)))
    runs = home.lock_holder() is not None
    if session.json_mode:
        out.emit({"old": old, "new": new, "home": str(root.absolute()), "running": runs})
        return
    place = shown(root)
    out.tick("The next key; it signs from the block on at which the authorities change")
    out.fields([("Now", old), ("Next", new), ("File", shown(home.next_authority_key))])
    config = load_config(root, {})
    if config.signer_client:
        out.note(f"In the node's folder: clawpurse config set signer_authorities {old},{new}")
    if runs:
        out.note(f"Load it: clawpurse stop --home {place} && clawpurse start --home {place}")
    else:
        out.note(f"Load it: clawpurse start --home {place}")
    out.note(
        f"Then propose: clawpurse authority propose replace {old} {new} --authority-home {place}"
    )
    out.note("The others vote: clawpurse authority vote ID")
    out.note(f"Next: clawpurse authority retire-key --home {place}, some blocks after the change")


def retire_key(session: Session, root: Path, *, yes: bool, understood: str | None) -> None:
    """Make the next key the key, the old one put aside, if it is out of force for long enough."""
    out, home = session.out, NodeHome(root)
    genesis = home.read_genesis()
    if not home.next_authority_key.exists():
        raise UsageFault(
            f"{shown(root)} has no next key.", "Nothing was put away.", "clawpurse authority show"
        )
    new = authority_text(public_key_of(home.read_seed(home.next_authority_key)))
    old = None
    if home.authority_key.exists():
        key = public_key_of(home.read_seed(home.authority_key))
        old = authority_text(key)
        _require_out_of_force(session, home, old, new)
        prompts.confirm_by_name(
            out,
            (f"Puts away {old};", f"  {new} stays.", f"  It is kept in {RETIRED}/, and unused."),
            genesis.chain_id,
            yes=yes,
            understood=understood,
            nothing="Nothing was put away.",
        )
        make_private_directory(root / RETIRED)
        move_private(home.authority_key, root / RETIRED / f"{old}.key")
    # A crash between the two leaves the next key alone, which is loaded as well as the other.
    move_private(home.next_authority_key, home.authority_key)
    if session.json_mode:
        out.emit({"retired": old, "authority": new, "home": str(root.absolute())})
        return
    out.tick(f"{new} is the authority's key")
    if old is not None:
        out.note(f"The old one is in {shown(root / RETIRED)}; destroy it when nobody asks for it.")
    out.note("A node that runs forgets it at its next start.")


def _require_out_of_force(session: Session, home: NodeHome, old: str, new: str) -> None:
    """Ask the node whether the old key left the set long ago and the next key is in it."""
    url = session.rpc or rpc_url(node_config(home))

    async def look() -> dict[str, Any] | None:
        return await ask(url, "consensus_getSignerMetrics")

    answer = trio.run(look)
    if answer is None:
        raise OperatorError(
            f"No node answers at {url}.",
            "Only a node that has both keys knows whether the old one is out of force.",
            f"clawpurse start --home {shown(home.root)}, or add --rpc URL",
        )
    keys = {entry["authority"]: entry for entry in answer["keys"]}
    if old not in keys or new not in keys:
        raise OperatorError(
            f"The node at {url} does not have both keys.",
            "Nothing was put away.",
            f"clawpurse stop and start it with --home {shown(home.root)}",
        )
    if keys[new]["state"] == "outside":
        raise OperatorError(
            f"{new} is no authority yet.",
            "Without the old key this node would decide nothing.",
            f"clawpurse authority propose replace {old} {new}",
        )
    if keys[old]["outsideFor"] < SETS_OUTSIDE_MIN:
        raise OperatorError(
            f"{old} left the authorities {counted(keys[old]['outsideFor'], 'block')} ago.",
            f"It is kept for {SETS_OUTSIDE_MIN}.",
            "try again some blocks later",
        )
