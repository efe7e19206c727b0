"""The records of the tree `assets`, and what can be read from them.

a‖name → asset · m‖name → metadata · r‖name → last attested reserve · n‖index (4) → name, in
order of creation · c → how many · i‖issuer → how many are its · xi‖issuer‖name → its list ·
xf‖name‖0‖account → freeze of a holder

Balances, supply and the list of holders are the kernel's; what a holder may do stands in the
flags of its balance (`FREEZE_MASK`, `LEVEL_MASK`), so that a payment reads no further record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Malformed
from clawpurse.ledger.kernel.records import (
    INDEX_PREFIX,
    Balance,
    balance_key,
    holders_prefix,
    supply_key,
    unpack_supply,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import NATIVE_ASSET, asset_name

TREE: Final = "assets"
RECORD_VERSION: Final = 2
COUNT_KEY: Final = b"c"
# Who holds it may create assets, and mint what it created.
ISSUER_ROLE: Final = "issuer"
# What one issuer offers; each has a handful of records and, at most, five roles.
ASSETS_PER_ISSUER_MAX: Final = 100
METADATA_CHARS_MAX: Final = 256

# Flags of an asset.
AUTHORISATION_REQUIRED: Final = 1
FREEZABLE: Final = 2
CLAWBACK: Final = 4
TRANSFERABLE: Final = 8
IMMUTABLE: Final = 16
RESERVE: Final = 32
FLAG_NAMES: Final = (
    "authorisationRequired",
    "freezable",
    "clawback",
    "transferable",
    "immutable",
    "reserve",
)
FLAGS_ALL: Final = (1 << len(FLAG_NAMES)) - 1
# Once units exist, an issuer can give these powers up, and not take them.
POWERS: Final = AUTHORISATION_REQUIRED | FREEZABLE | CLAWBACK
# Once units exist, an issuer can promise these, and not take them back.
PROMISES: Final = TRANSFERABLE | RESERVE

# Flags of a balance: bits 0–1 the holder's freeze, bits 2–3 its authorisation.
FREEZE_MASK: Final = 0b0011
LEVEL_MASK: Final = 0b1100
_LEVEL_SHIFT: Final = 2
FREEZE_NAMES: Final = ("none", "freeze", "deep")
FROZEN: Final = 1
DEEP: Final = 2
LEVEL_NAMES: Final = ("none", "limited", "full")
NOT_AUTHORISED: Final = 0
LIMITED: Final = 1
FULL: Final = 2

# Names of roles have small letters, names of assets capitals; neither has any beyond ASCII.
_CAPITALS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SMALL: Final = "abcdefghijklmnopqrstuvwxyz"
_TO_LOWER: Final[Mapping[int, int]] = str.maketrans(_CAPITALS, _SMALL)
_TO_UPPER: Final[Mapping[int, int]] = str.maketrans(_SMALL, _CAPITALS)
# What agents of an issuer can be appointed to, each with one asset.
DUTIES: Final = ("mint", "freeze", "authorise", "clawback", "reserve")


class Asset(NamedTuple):
    """What an asset is. `issuer` is None for those of genesis, which nobody controls.

    `cap` bounds the supply, in minor units; `frozen` is 1 while all of it is frozen; `issued` is
    1 once units were ever minted.
    """

    name: str
    decimals: int
    title: str
    issuer: bytes | None
    flags: int
    cap: int | None = None
    frozen: int = 0
    issued: int = 0

    def has(self, flag: int) -> bool:
        """Tell whether it was issued with a flag that was not given up."""
        return bool(self.flags & flag)


class Metadata(NamedTuple):
    """What an issuer says of its asset: a text, such as an address, and a document's hash."""

    text: str
    hash: bytes | None


class Reserve(NamedTuple):
    """What backs an asset: `amount` in its minor units as of a time, believed until another.

    `document` is the hash of the report; `by` attested it in block `height`.
    """

    amount: int
    as_of_ms: int
    document: bytes
    valid_until_ms: int
    by: bytes
    height: int


class Freeze(NamedTuple):
    """That a holder is frozen: how (`FREEZE_NAMES`), since which block, by whom, and why."""

    level: int
    height: int
    by: bytes
    reason: str | None


def asset_key(name: str) -> bytes:
    """Return the state key of an asset's record."""
    return b"a" + name.encode("ascii")


def metadata_key(name: str) -> bytes:
    """Return the state key of what an issuer says of its asset."""
    return b"m" + name.encode("ascii")


def reserve_key(name: str) -> bytes:
    """Return the state key of the reserve that was attested last."""
    return b"r" + name.encode("ascii")


def index_key(index: int) -> bytes:
    """Return the state key of the name of the asset that was created as number `index`."""
    return b"n" + index.to_bytes(4, "big")


def issued_count_key(issuer: bytes) -> bytes:
    """Return the state key of how many assets an issuer created."""
    return b"i" + issuer


def issued_prefix(issuer: bytes) -> bytes:
    """Return how the keys begin that list an issuer's assets; the name follows."""
    return INDEX_PREFIX + b"i" + issuer


def freezes_prefix(name: str) -> bytes:
    """Return how the keys begin that list an asset's frozen holders; the account follows."""
    return INDEX_PREFIX + b"f" + name.encode("ascii") + b"\0"


def freeze_of(flags: int) -> int:
    """Return how the flags of a balance say that its holder is frozen."""
    return flags & FREEZE_MASK


def level_of(flags: int) -> int:
    """Return how the flags of a balance say that its holder is authorised."""
    return (flags & LEVEL_MASK) >> _LEVEL_SHIFT


def with_freeze(flags: int, freeze: int) -> int:
    """Return the flags of a balance with another freeze."""
    return flags & ~FREEZE_MASK | freeze


def with_level(flags: int, level: int) -> int:
    """Return the flags of a balance with another authorisation."""
    return flags & ~LEVEL_MASK | level << _LEVEL_SHIFT


def flag_names(flags: int) -> list[str]:
    """Return an asset's flags by name, in their order."""
    return [name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1]


def role_of(name: str, duty: str) -> str:
    """Return the role that an agent with a duty over an asset holds."""
    return f"{name.translate(_TO_LOWER)}.{duty}"


def duty_of(role: str) -> tuple[str, str] | None:
    """Return (asset's name, duty) if a role is named as a duty is, whether or not it exists."""
    head, _, duty = role.rpartition(".")
    if duty not in DUTIES:
        return None
    try:
        return asset_name(head.translate(_TO_UPPER), "role"), duty
    except Malformed:
        return None


def pack(*values: Wire) -> bytes:
    """Return a record's bytes."""
    return codec.pack([RECORD_VERSION, *values])


def unpack(data: bytes, length: int) -> list[Any]:
    """Return the values of a record that we wrote."""
    wire = codec.unpack_own(data)
    if len(wire) != length + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of assets has another format than this software writes")
    return wire[1:]


# -- queries


def get_asset(reader: StateReader, name: str) -> Asset | None:
    """Return an asset, or None if there is none of that name."""
    data = reader.get(TREE, asset_key(name))
    return None if data is None else Asset(*unpack(data, 8))


def list_assets(reader: StateReader, start: int, limit: int) -> list[Asset]:
    """Return up to `limit` assets in order of creation, from index `start`."""
    found: list[Asset] = []
    for index in range(start, min(count_assets(reader), start + limit)):
        data = reader.get(TREE, index_key(index))
        if data is None:
            raise Bug(f"the asset index has a hole at {index}")
        asset = get_asset(reader, unpack(data, 1)[0])
        if asset is None:
            raise Bug(f"the asset index names an asset at {index} that has no record")
        found.append(asset)
    return found


def count_assets(reader: StateReader) -> int:
    """Return how many assets there are."""
    data = reader.get(TREE, COUNT_KEY)
    return 0 if data is None else codec.integer(unpack(data, 1)[0], "assets.count")


def count_issued(reader: StateReader, issuer: bytes) -> int:
    """Return how many assets an account created."""
    data = reader.get(TREE, issued_count_key(issuer))
    return 0 if data is None else codec.integer(unpack(data, 1)[0], "assets.issued")


def list_issued(reader: StateReader, issuer: bytes) -> list[str]:
    """Return the names of all assets that an account created, in alphabetical order."""
    prefix = issued_prefix(issuer)
    rows = reader.ordered(TREE, prefix, ASSETS_PER_ISSUER_MAX)
    return [key[len(prefix) :].decode("ascii") for key, _ in rows]


def get_supply(reader: StateReader, name: str) -> int:
    """Return what exists of an asset, in minor units. Raises `Bug` if there is no such asset."""
    data = reader.get(KERNEL, supply_key(name))
    if data is None:
        raise Bug(f"the asset {name} has no supply record")
    return unpack_supply(data)


def get_metadata(reader: StateReader, name: str) -> Metadata:
    """Return what an issuer says of its asset; nothing for assets of genesis."""
    data = reader.get(TREE, metadata_key(name))
    return Metadata("", None) if data is None else Metadata(*unpack(data, 2))


def get_reserve(reader: StateReader, name: str) -> Reserve | None:
    """Return the reserve that was attested last, expired or not."""
    data = reader.get(TREE, reserve_key(name))
    return None if data is None else Reserve(*unpack(data, 6))


def get_freeze(reader: StateReader, name: str, account: bytes) -> Freeze | None:
    """Return how a holder is frozen, None if it is not."""
    data = reader.get(TREE, freezes_prefix(name) + account)
    return None if data is None else Freeze(*unpack(data, 4))


def get_holding(reader: StateReader, name: str, account: bytes) -> Balance:
    """Return what an account has of an asset other than the native one, and its flags."""
    data = reader.get(KERNEL, balance_key(account, name))
    return Balance(0, 0, 0) if data is None else Balance.unpack(data)


def list_freezes(
    reader: StateReader, name: str, limit: int, after: bytes = b""
) -> list[tuple[bytes, Freeze]]:
    """Return up to `limit` frozen holders of an asset, ascending, from above account `after`."""
    prefix = freezes_prefix(name)
    rows = reader.ordered(TREE, prefix, limit, prefix + after if after else b"")
    return [(key[len(prefix) :], Freeze(*unpack(data, 4))) for key, data in rows]


def list_holders(
    reader: StateReader, name: str, limit: int, after: bytes = b""
) -> list[tuple[bytes, Balance]]:
    """Return up to `limit` (account, balance) of an asset, ascending, from above `after`.

    Also who has none of it but is authorised or frozen. Not for the native asset, whose balances
    stand in account records; what a block did is listed once it is final.
    """
    if name == NATIVE_ASSET:
        raise Bug("holders of the native asset are not listed")
    prefix = holders_prefix(name)
    rows = reader.ordered(KERNEL, prefix, limit, prefix + after if after else b"")
    found = []
    for key, _ in rows:
        account = key[len(prefix) :]
        if reader.get(KERNEL, balance_key(account, name)) is None:
            raise Bug(f"the list of holders of {name} names one without a balance")
        found.append((account, get_holding(reader, name, account)))
    return found


# -- invariants


def assets_hold(reader: StateReader) -> str | None:
    """Check each asset against its supply, its holders and the lists that name it."""
    for asset in list_assets(reader, 0, count_assets(reader)):
        supply = get_supply(reader, asset.name)
        if asset.cap is not None and supply > asset.cap:
            return f"{asset.name} has a supply of {supply}, above its cap of {asset.cap}"
        if asset.issuer is None:
            if asset.flags or asset.frozen or asset.cap is not None:
                return f"{asset.name} has no issuer, and controls of one"
        elif asset.name not in list_issued(reader, asset.issuer):
            return f"{asset.name} is missing in its issuer's list"
        elif not asset.issued and supply:
            return f"{asset.name} has a supply, and says that it was never minted"
        elif count_issued(reader, asset.issuer) != len(list_issued(reader, asset.issuer)):
            return f"the issuer of {asset.name} has a list of another length than it says"
        problem = None if asset.name == NATIVE_ASSET else _holders_hold(reader, asset, supply)
        if problem is not None:
            return problem
    return None


# Holders that are read at once during a check.
_PAGE: Final = 256


def _holders_hold(reader: StateReader, asset: Asset, supply: int) -> str | None:
    total, frozen, after = 0, 0, b""
    while page := list_holders(reader, asset.name, _PAGE, after):
        after = page[-1][0]
        for account, balance in page:
            total += balance.amount + balance.held
            freeze, level = freeze_of(balance.flags), level_of(balance.flags)
            record = get_freeze(reader, asset.name, account)
            if balance.flags != with_level(with_freeze(0, freeze), level):
                return f"a balance of {asset.name} has flags of an unknown kind"
            if freeze > DEEP or level > FULL or (asset.issuer is None and balance.flags):
                return f"a balance of {asset.name} has flags that nobody could give it"
            if freeze != (0 if record is None else record.level):
                return f"a holder of {asset.name} and the list of freezes differ"
            frozen += record is not None
    if total != supply:
        return f"the holders of {asset.name} have {total} together, its supply is {supply}"
    if frozen != len(list_freezes(reader, asset.name, frozen + 1)):
        return f"the list of freezes of {asset.name} names one who is no holder"
    return None
