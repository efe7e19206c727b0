"""On-chain half of the module `assets`: which assets there are, and paying with them.

Tree `assets`: a‖name → asset record · n‖index (4 bytes) → name, in order of creation · c →
count. Balances and supply are the kernel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import Context, Module
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.assets.actions import ACTIONS, TRANSFER

TREE: Final = "assets"
RECORD_VERSION: Final = 1
_COUNT_KEY: Final = b"c"


class Asset(NamedTuple):
    """What is fixed of an asset. `issuer` and `flags` serve issuing by roles, later."""

    name: str
    decimals: int
    title: str
    issuer: bytes | None
    flags: int


def asset_key(name: str) -> bytes:
    """Return the state key of an asset's record in the tree `assets`."""
    return b"a" + name.encode("ascii")


def _index_key(index: int) -> bytes:
    return b"n" + index.to_bytes(4, "big")


def _transfer(context: Context, values: Sequence[Any]) -> None:
    asset, recipient, amount = values
    context.transfer(asset, context.sender, recipient, amount, holdable=True)


def _genesis(context: Context, genesis: Genesis) -> None:
    for index, asset in enumerate(genesis.assets):
        record = [RECORD_VERSION, asset.name, asset.decimals, asset.title, None, 0]
        context.put(asset_key(asset.name), codec.pack(record))
        context.put(_index_key(index), codec.pack([asset.name]))
        context.create_asset(asset.name)
    context.put(_COUNT_KEY, codec.pack([len(genesis.assets)]))
    for entry in genesis.accounts:
        for name, amount in entry.balances:
            context.mint(name, entry.account, amount)


def get_asset(reader: StateReader, name: str) -> Asset | None:
    """Return an asset, or None if there is none of that name."""
    data = reader.get(TREE, asset_key(name))
    if data is None:
        return None
    wire = codec.unpack_own(data)
    if len(wire) != 6 or wire[0] != RECORD_VERSION:
        raise Bug("an asset record has another format than this software writes")
    return Asset(*wire[1:])  # type: ignore[arg-type]


def list_assets(reader: StateReader, start: int, limit: int) -> list[Asset]:
    """Return up to `limit` assets in order of creation, from index `start`."""
    data = reader.get(TREE, _COUNT_KEY)
    count = 0 if data is None else codec.integer(codec.unpack_own(data)[0], "assets.count")
    found: list[Asset] = []
    for index in range(start, min(count, start + limit)):
        name_data = reader.get(TREE, _index_key(index))
        if name_data is None:
            raise Bug(f"the asset index has a hole at {index}")
        asset = get_asset(reader, codec.ascii_text(codec.unpack_own(name_data)[0], "name", 16))
        if asset is None:
            raise Bug(f"the asset index names an asset at {index} that has no record")
        found.append(asset)
    return found


MODULE: Final = Module(
    name="assets",
    version=1,
    actions=ACTIONS,
    handlers={TRANSFER.name: _transfer},
    queries={"get": get_asset, "list": list_assets},
    events={
        "assets.transferred": ("asset", "amount"),
        "assets.minted": ("asset", "amount"),
        "assets.burned": ("asset", "amount"),
    },
    genesis=_genesis,
)
