"""What `authority signer` does: prepare a signer's folder, pair it with a node, run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawpurse.cli import genesis as genesis_file
from clawpurse.cli.authority_keys import set_config
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.node import fetch_genesis, prepare_folder, take_office
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import Genesis
from clawpurse.node.config import load_config
from clawpurse.node.home import NodeHome
from clawpurse.wallet.durable import create_private

if TYPE_CHECKING:
    from clawpurse.node.signer_daemon import SignerFacts


def prepare(
    session: Session,
    root: Path,
    source: str | None,
    expected: str | None,
    client_key: str | None,
    listen: str | None,
) -> None:
    """Make or complete a signer's folder and print what the node is to be told.

    A new authority key is made when the folder has none; one that is to move here comes by
    `authority move-in` afterwards, and then none is made for it to collide with. Doing it again
    changes what is given and prints the same.
    """
    home = prepare_folder(root, None, None, authority=False)
    _take_genesis(home, source, expected)
    changes: dict[str, Any] = {}
    if client_key is not None:
        changes["signer_client"] = client_key
    if listen is not None:
        changes["signer_listen"] = listen
    has_key = bool(home.authority_keys)
    if has_key:
        take_office(home, home.read_genesis())
    set_config(home, authority=has_key, **changes)
    _tell(session, home)


def _take_genesis(home: NodeHome, source: str | None, expected: str | None) -> None:
    if home.genesis.exists() and source is None:
        return
    if source is None or expected is None:
        raise UsageFault("A signer signs for one network.", "", "add --genesis FILE --hash HASH")
    genesis = Genesis.from_json(data := fetch_genesis(source))
    genesis_file.require_hash(source, genesis, expected)
    if not home.genesis.exists():
        create_private(home.genesis, data)
    elif home.read_genesis().hash != genesis.hash:
        raise OperatorError(
            f"{shown(home.root)} is of {home.read_genesis().chain_id} already.",
            "It was not touched.",
            "choose another --home",
        )


def _tell(session: Session, home: NodeHome) -> None:
    out, config = session.out, load_config(home.root, {})
    signer_key = public_key_of(home.read_seed(home.node_key)).hex()
    keys = [authority_text(public_key_of(home.read_seed(path))) for path in home.authority_keys]
    if session.json_mode:
        out.emit(
            {
                "home": str(home.root.absolute()),
                "signerKey": signer_key,
                "clientKey": config.signer_client or None,
                "listen": config.signer_listen,
                "authorities": keys,
            }
        )
        return
    out.tick(f"A signer in {shown(home.root)}")
    out.fields(
        [
            ("Signer key", signer_key),
            ("Node key", config.signer_client or "none yet: --client-key NODE-ID"),
            ("Listens at", config.signer_listen),
            ("Authority", ", ".join(keys) or "no key here yet"),
        ]
    )
    if not keys:
        out.note("Where the key is now, with its node stopped:")
        out.note(f"  clawpurse authority move-out --to {signer_key} --out key.bundle --home DIR")
        out.note(f"Here: clawpurse authority move-in key.bundle --home {shown(home.root)}")
    names = ",".join(keys) or "clawval1…"
    out.note("In the folder of the node:")
    out.note(f"  clawpurse config set signer_address {config.signer_listen} --home DIR")
    out.note(f"  clawpurse config set signer_key {signer_key} --home DIR")
    out.note(f"  clawpurse config set signer_authorities {names} --home DIR")
    out.note("  clawpurse config set authority true --home DIR")
    out.note(f"Next: clawpurse authority signer --home {shown(home.root)}")


def run(
    session: Session,
    root: Path,
    client_key: str | None,
    listen: str | None,
    signer_floor: int | None,
) -> None:
    """Run the signer of a folder until it is told to stop."""
    from clawpurse.node.signer_daemon import run_signer

    flags = {"signer_client": client_key, "signer_listen": listen}
    home = NodeHome(root)
    home.read_genesis()
    config = load_config(root, os.environ, flags)

    def ready(facts: SignerFacts) -> None:
        if session.json_mode:
            session.out.emit(
                {
                    "home": facts.home,
                    "pid": facts.pid,
                    "listen": facts.listen,
                    "signerKey": facts.signer_key,
                    "clientKey": facts.client_key,
                    "authorities": facts.authorities,
                }
            )
            return
        session.out.tick(f"Signing at {facts.listen} for node {facts.client_key[:16]}…")
        session.out.fields([("Authority", ", ".join(facts.authorities))])

    run_signer(home, config, signer_floor=signer_floor, on_ready=ready)
