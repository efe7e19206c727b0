"""Assets from their creation on: paying with them, minting, burning, and what is said of them.

What an issuer may change and when is decided so that holders are never worse off than they knew:
powers over them can be given up and not taken, promises made and not taken back (decision 0028).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import Context, Handler
from clawpurse.ledger.rules import Rule
from clawpurse.modules.assets.actions import (
    BURN,
    CREATE,
    MINT,
    SET_CAP,
    SET_FLAGS,
    SET_METADATA,
    TRANSFER,
)
from clawpurse.modules.assets.records import (
    ASSETS_PER_ISSUER_MAX,
    COUNT_KEY,
    FREEZABLE,
    IMMUTABLE,
    ISSUER_ROLE,
    POWERS,
    PROMISES,
    RESERVE,
    Asset,
    asset_key,
    flag_names,
    index_key,
    issued_count_key,
    issued_prefix,
    metadata_key,
    pack,
    reserve_key,
    role_of,
    unpack,
)
from clawpurse.modules.assets.records import Reserve as ReserveRecord

RULES: Final[Mapping[str, Rule]] = {
    "assets.exists": Rule(Code.DUPLICATE, "There is an asset {0:asset} already."),
    "assets.issuerFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} created {1:number} assets, the most allowed."
    ),
    "assets.noIssuer": Rule(
        Code.NOT_AUTHORISED, "{0:asset} has no issuer; what it is was settled when it began."
    ),
    "assets.issuerOnly": Rule(
        Code.NOT_AUTHORISED, "Only {0:account}, the issuer of {1:asset}, can do that."
    ),
    "assets.immutable": Rule(
        Code.NOT_AUTHORISED, "{0:asset} was issued as immutable: this can never change."
    ),
    "assets.unchanged": Rule(Code.DUPLICATE, "That is so of {0:asset} already."),
    "assets.powerTaken": Rule(
        Code.POLICY_REJECTED,
        "{0:asset} has been issued without the flag {1:text}; holders cannot be put under it now.",
    ),
    "assets.promiseBroken": Rule(
        Code.POLICY_REJECTED,
        "{0:asset} has been issued with the flag {1:text}, which cannot be taken back.",
    ),
    "assets.cap": Rule(
        Code.LIMIT_EXCEEDED, "There would be {0:amount} {2:asset}; its cap is {1:amount}."
    ),
    "assets.reserveMissing": Rule(
        Code.POLICY_REJECTED, "No reserve of {0:asset} is attested for {1:time}."
    ),
    "assets.reserveShort": Rule(
        Code.POLICY_REJECTED,
        "There would be {0:amount} {2:asset}; the attested reserve is {1:amount}.",
    ),
}


# -- who may


def load(context: Context, name: str) -> Asset:
    """Return an asset that has an issuer; refused if there is none, or it has none."""
    data = context.get(asset_key(name))
    if data is None:
        raise context.refuse("kernel.asset", name)
    asset = Asset(*unpack(data, 8))
    if asset.issuer is None:
        raise context.refuse("assets.noIssuer", name)
    return asset


def store(context: Context, asset: Asset) -> None:
    """Replace an asset's record."""
    context.put(asset_key(asset.name), pack(*asset))


def load_for_issuer(context: Context, name: str) -> Asset:
    """Return an asset whose issuer is the sender; refused otherwise."""
    asset = load(context, name)
    if asset.issuer != context.sender:
        raise context.refuse("assets.issuerOnly", asset.issuer, name)
    return asset


def load_for_duty(context: Context, name: str, duty: str, action: str) -> Asset:
    """Return an asset for whose issuer the sender has a duty; the issuer itself has all."""
    asset = load(context, name)
    role = role_of(name, duty)
    if asset.issuer != context.sender and not context.has_role(context.sender, role):
        raise context.refuse("kernel.role", context.sender, role, action)
    return asset


def _require_licence(context: Context, account: bytes, action: str) -> None:
    if not context.has_role(account, ISSUER_ROLE):
        raise context.refuse("kernel.role", account, ISSUER_ROLE, action)


# -- handlers


def _transfer(context: Context, values: Sequence[Any]) -> None:
    asset, recipient, amount = values
    context.transfer(asset, context.sender, recipient, amount, holdable=True)


def _create(context: Context, values: Sequence[Any]) -> None:
    name, decimals, title, flags, cap, text, digest = values
    issuer = context.sender
    _require_licence(context, issuer, CREATE.name)
    if context.get(asset_key(name)) is not None:
        raise context.refuse("assets.exists", name)
    issued = _count(context, issued_count_key(issuer))
    if issued >= ASSETS_PER_ISSUER_MAX:
        raise context.refuse("assets.issuerFull", issuer, ASSETS_PER_ISSUER_MAX)
    _register(context, Asset(name, decimals, title, issuer, flags, cap))
    context.put(issued_count_key(issuer), pack(issued + 1))
    context.put(issued_prefix(issuer) + name.encode("ascii"), pack())
    if text or digest is not None:
        context.put(metadata_key(name), pack(text, digest))
    context.emit("assets.created", (issuer,), name, flags, cap)


def _register(context: Context, asset: Asset) -> None:
    """Write an asset's record and put it at the end of the list."""
    count = _count(context, COUNT_KEY)
    store(context, asset)
    context.put(index_key(count), pack(asset.name))
    context.put(COUNT_KEY, pack(count + 1))
    context.create_asset(asset.name)


def _count(context: Context, key: bytes) -> int:
    data = context.get(key)
    return 0 if data is None else int(unpack(data, 1)[0])


def _mint(context: Context, values: Sequence[Any]) -> None:
    """Create value at the issuer and pay it to the recipient, as any payment is judged."""
    name, recipient, amount = values
    asset = load_for_duty(context, name, "mint", MINT.name)
    issuer = asset.issuer
    assert issuer is not None
    # Who lost its licence creates no more; what exists can still be returned and burned.
    _require_licence(context, issuer, MINT.name)
    supply = context.query("assets.supply", name) + amount
    if asset.cap is not None and supply > asset.cap:
        raise context.refuse("assets.cap", supply, asset.cap, name)
    if asset.has(RESERVE):
        _require_reserve(context, name, supply)
    if not asset.issued:
        store(context, asset._replace(issued=1))
    context.mint(name, issuer, amount)
    if recipient != issuer:
        context.transfer(name, issuer, recipient, amount)


def _require_reserve(context: Context, name: str, supply: int) -> None:
    data = context.get(reserve_key(name))
    reserve = None if data is None else ReserveRecord(*unpack(data, 6))
    if reserve is None or reserve.valid_until_ms < context.time_ms:
        raise context.refuse("assets.reserveMissing", name, context.time_ms)
    if supply > reserve.amount:
        raise context.refuse("assets.reserveShort", supply, reserve.amount, name)


def _burn(context: Context, values: Sequence[Any]) -> None:
    name, amount = values
    asset = load_for_duty(context, name, "mint", BURN.name)
    assert asset.issuer is not None
    context.burn(name, asset.issuer, amount)


def _set_metadata(context: Context, values: Sequence[Any]) -> None:
    name, text, digest = values
    asset = _changeable(context, name)
    old = context.get(metadata_key(name))
    if (["", None] if old is None else unpack(old, 2)) == [text, digest]:
        raise context.refuse("assets.unchanged", name)
    if text or digest is not None:
        context.put(metadata_key(name), pack(text, digest))
    else:
        context.delete(metadata_key(name))
    context.emit("assets.metadataSet", (asset.issuer or b"",), name, text, digest)


def _changeable(context: Context, name: str) -> Asset:
    asset = load_for_issuer(context, name)
    if asset.has(IMMUTABLE):
        raise context.refuse("assets.immutable", name)
    return asset


def _set_flags(context: Context, values: Sequence[Any]) -> None:
    name, flags = values
    asset = _changeable(context, name)
    if flags == asset.flags:
        raise context.refuse("assets.unchanged", name)
    if asset.issued:
        taken = flag_names(flags & ~asset.flags & POWERS)
        if taken:
            raise context.refuse("assets.powerTaken", name, taken[0])
        broken = flag_names(asset.flags & ~flags & PROMISES)
        if broken:
            raise context.refuse("assets.promiseBroken", name, broken[0])
    # Without the power to freeze there is no freeze, and nobody who could end one.
    frozen = asset.frozen if flags & FREEZABLE else 0
    store(context, asset._replace(flags=flags, frozen=frozen))
    context.emit("assets.flagsSet", (context.sender,), name, asset.flags, flags)


def _set_cap(context: Context, values: Sequence[Any]) -> None:
    name, cap = values
    asset = _changeable(context, name)
    if cap == asset.cap:
        raise context.refuse("assets.unchanged", name)
    if cap is not None:
        supply = context.query("assets.supply", name)
        if supply > cap:
            raise context.refuse("assets.cap", supply, cap, name)
    store(context, asset._replace(cap=cap))
    context.emit("assets.capSet", (context.sender,), name, cap)


def write_genesis(context: Context, genesis: Genesis) -> None:
    """Create the assets of genesis, which have no issuer, and give everybody what it says."""
    for asset in genesis.assets:
        _register(context, Asset(asset.name, asset.decimals, asset.title, None, 0))
    for entry in genesis.accounts:
        for name, amount in entry.balances:
            context.mint(name, entry.account, amount)


HANDLERS: Final[Mapping[str, Handler]] = {
    TRANSFER.name: _transfer,
    CREATE.name: _create,
    MINT.name: _mint,
    BURN.name: _burn,
    SET_METADATA.name: _set_metadata,
    SET_FLAGS.name: _set_flags,
    SET_CAP.name: _set_cap,
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "assets.transferred": ("asset", "amount"),
    "assets.minted": ("asset", "amount"),
    "assets.burned": ("asset", "amount"),
    "assets.created": ("asset", "flags", "cap"),
    "assets.metadataSet": ("asset", "metadata", "metadataHash"),
    "assets.flagsSet": ("asset", "flagsBefore", "flags"),
    "assets.capSet": ("asset", "cap"),
}
