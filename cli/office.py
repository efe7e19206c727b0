"""What `authority init-key` does: a node that follows a network gets a key to decide blocks with.

The key is new, so nothing was ever signed with it: its signing state is made beside it. It signs
from the height on at which the authorities have voted it in; until then the node follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import config_text, read_toml, validate
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import create_sign_state
from clawpurse.wallet.durable import replace_private


def init_key(session: Session, root: Path) -> None:
    """Make the key, its signing state, and say so in the configuration.

    Raises `UsageFault` when there is a key already (it may have signed), `OperatorError` while
    the node runs or where there is none.
    """
    home = NodeHome(root)
    genesis = home.read_genesis()
    if home.authority_keys:
        key = authority_text(public_key_of(home.read_seed(home.authority_keys[0])))
        raise UsageFault(
            f"{shown(root)} has the authority key {key}.",
            "Nothing was made.",
            f"clawpurse authority show, or clawpurse start --home {shown(root)}",
        )
    if home.lock_holder() is not None:
        raise OperatorError(
            f"The node in {shown(root)} runs.",
            "It reads its keys when it starts.",
            f"clawpurse stop --home {shown(root)}",
        )
    key_bytes = home.create_key(home.authority_key)
    create_sign_state(DiskFiles(home.signer), genesis.hash, key_bytes)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_toml(home.config).items()
    }
    values["authority"] = True
    validate(values, home.config)
    replace_private(home.config, config_text(values).encode())
    text = authority_text(key_bytes)
    if session.json_mode:
        session.out.emit({"home": str(root.absolute()), "authority": text})
        return
    session.out.tick("A key to decide blocks with; it has never signed")
    session.out.fields([("Authority", text), ("File", shown(home.authority_key))])
    session.out.note(f"Next: clawpurse start --home {shown(root)}")
    session.out.note(f"Then, a quorum of the authorities: clawpurse authority propose add {text}")
