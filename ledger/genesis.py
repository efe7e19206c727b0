"""Genesis: what all nodes of a network agree on before the first block.

A JSON file for people, canonical bytes for the hash that is in every signature. Pure: reading
the file is the caller's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

from clawpurse.ledger import codec
from clawpurse.ledger.address import (
    account_from_text,
    account_text,
    authority_from_text,
    authority_text,
)
from clawpurse.ledger.crypto import genesis_hash_of
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.params import DECIMALS_MAX, NATIVE_ASSET, Params, asset_name
from clawpurse.ledger.transactions import CHAIN_ID_CHARS_MAX

GENESIS_VERSION: Final = 1
# A consortium's opening balances; larger networks open accounts after the start.
GENESIS_BYTES_MAX: Final = 64_000_000
AUTHORITIES_MAX: Final = 100
ASSETS_MAX: Final = 256
GENESIS_ACCOUNTS_MAX: Final = 2_000_000
RECOVERY_KEYS_MAX: Final = 32
# Who may do what from the start: a few administrators, and what they need on the first day.
GENESIS_ROLES_MAX: Final = 1_024
ASSET_TITLE_CHARS_MAX: Final = 64
_COUNT_MAX: Final = GENESIS_ACCOUNTS_MAX
# The end of the year 9999, the last that RFC 3339 can write.
TIME_MS_MAX: Final = 253_402_300_799_999


class GenesisAsset(NamedTuple):
    """An asset from the start: its name, decimals (0–18) and title for people."""

    name: str
    decimals: int
    title: str


class GenesisRole(NamedTuple):
    """A role that an account of genesis holds from the start."""

    role: str
    account: bytes


class GenesisAccount(NamedTuple):
    """An account from the start with (asset, minor units), ascending by asset."""

    account: bytes
    balances: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genesis:
    """The validated content of a genesis file.

    `authorities` are Ed25519 public keys, ascending. `modules` are (name, version) in consensus
    order. `test_network` allows a faucet, never on a network that matters. `recovery_keys` and
    `recovery_threshold` serve the ceremony after a lost quorum. `roles` are held from the start,
    ascending by role and account.
    """

    chain_id: str
    time_ms: int
    authorities: tuple[bytes, ...]
    params: Params
    assets: tuple[GenesisAsset, ...]
    accounts: tuple[GenesisAccount, ...]
    modules: tuple[tuple[str, int], ...]
    recovery_keys: tuple[bytes, ...] = ()
    recovery_threshold: int = 0
    test_network: bool = False
    roles: tuple[GenesisRole, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not run. Raises `Malformed` naming the field."""
        _check_chain_id(self.chain_id)
        codec.integer(self.time_ms, "genesis.time", 0, TIME_MS_MAX)
        _check_ascending(self.authorities, "genesis.authorities", AUTHORITIES_MAX)
        if not self.authorities:
            raise Malformed("genesis.authorities", "is empty")
        _check_ascending(tuple(a.name for a in self.assets), "genesis.assets", ASSETS_MAX)
        decimals = {asset.name: asset.decimals for asset in self.assets}
        if NATIVE_ASSET not in decimals:
            raise Malformed("genesis.assets", f"lacks the native asset {NATIVE_ASSET}")
        _check_ascending(
            tuple(a.account for a in self.accounts), "genesis.accounts", GENESIS_ACCOUNTS_MAX
        )
        self._check_balances(dict.fromkeys(decimals, 0))
        if len({name for name, _ in self.modules}) != len(self.modules):
            raise Malformed("genesis.modules", "names a module twice")
        _check_ascending(self.recovery_keys, "genesis.recoveryKeys", RECOVERY_KEYS_MAX)
        keys = len(self.recovery_keys)
        codec.integer(self.recovery_threshold, "genesis.recoveryThreshold", min(1, keys), keys)
        _check_ascending(self.roles, "genesis.roles", GENESIS_ROLES_MAX)
        opened = {entry.account for entry in self.accounts}
        for role, account in self.roles:
            plain_name(role, "genesis.roles[].role")
            if account not in opened:
                problem = f"{account_text(account)} is not among genesis.accounts"
                raise Malformed("genesis.roles[].account", problem)

    def _check_balances(self, supply: dict[str, int]) -> None:
        """Refuse balances in what is no asset, and a supply above what 64 bits hold."""
        for entry in self.accounts:
            field = "genesis.accounts[].balances"
            _check_ascending(tuple(name for name, _ in entry.balances), field, ASSETS_MAX)
            for name, amount in entry.balances:
                if name not in supply:
                    raise Malformed(field, f"{name} is not an asset")
                supply[name] += codec.integer(amount, f"{field}.{name}", 1)
        for name, amount in supply.items():
            codec.integer(amount, f"genesis.accounts: the supply of {name}")

    @cached_property
    def packed(self) -> bytes:
        """The canonical bytes."""
        return codec.pack(
            [
                GENESIS_VERSION,
                self.chain_id,
                self.time_ms,
                self.authorities,
                self.params.to_wire(),
                self.assets,
                self.accounts,
                self.modules,
                self.recovery_keys,
                self.recovery_threshold,
                int(self.test_network),
                self.roles,
            ]
        )

    @cached_property
    def hash(self) -> bytes:
        """The 32-byte genesis hash, parent of block 1 and part of every signature."""
        return genesis_hash_of(self.packed)

    @property
    def decimals(self) -> dict[str, int]:
        """Decimals by asset."""
        return {asset.name: asset.decimals for asset in self.assets}

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical genesis bytes. Raises `Malformed` naming the field."""
        wire = codec.unpack(data, size_max=GENESIS_BYTES_MAX, field="genesis", count_max=_COUNT_MAX)
        codec.array(wire, "genesis", 12)
        codec.version(wire[0], "genesis.version", (GENESIS_VERSION,))
        return cls(
            codec.ascii_text(wire[1], "genesis.chainId", CHAIN_ID_CHARS_MAX),
            codec.integer(wire[2], "genesis.time"),
            _digests(wire[3], "genesis.authorities", AUTHORITIES_MAX),
            Params.from_wire(wire[4]),
            tuple(
                _asset(*codec.array(item, "genesis.assets[]", 3))
                for item in codec.items(wire[5], "genesis.assets", ASSETS_MAX)
            ),
            tuple(
                _account(*codec.array(item, "genesis.accounts[]", 2))
                for item in codec.items(wire[6], "genesis.accounts", GENESIS_ACCOUNTS_MAX)
            ),
            tuple(
                _module(*codec.array(item, "genesis.modules[]", 2))
                for item in codec.items(wire[7], "genesis.modules", 64)
            ),
            _digests(wire[8], "genesis.recoveryKeys", RECOVERY_KEYS_MAX),
            codec.integer(wire[9], "genesis.recoveryThreshold", 0, RECOVERY_KEYS_MAX),
            bool(codec.integer(wire[10], "genesis.testNetwork", 0, 1)),
            tuple(
                _role(*codec.array(item, "genesis.roles[]", 2))
                for item in codec.items(wire[11], "genesis.roles", GENESIS_ROLES_MAX)
            ),
        )

    def to_json(self) -> str:
        """Return the file for people: indented JSON with amounts as strings of minor units."""
        document = {
            "format": GENESIS_VERSION,
            "chainId": self.chain_id,
            "genesisTimeMs": self.time_ms,
            "testNetwork": self.test_network,
            "authorities": [authority_text(key) for key in self.authorities],
            "parameters": {f.name: getattr(self.params, f.name) for f in fields(Params)},
            "assets": [
                {"asset": a.name, "decimals": a.decimals, "title": a.title} for a in self.assets
            ],
            "accounts": [
                {
                    "account": account_text(a.account),
                    "balances": {name: str(amount) for name, amount in a.balances},
                }
                for a in self.accounts
            ],
            "roles": [
                {"role": role, "account": account_text(account)} for role, account in self.roles
            ],
            "modules": [{"name": name, "version": version} for name, version in self.modules],
            "recoveryKeys": ["0x" + key.hex() for key in self.recovery_keys],
            "recoveryThreshold": self.recovery_threshold,
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a genesis file. Lists may stand in any order. Raises `Malformed`."""
        try:
            document = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as err:
            raise Malformed("genesis", f"is not JSON ({err})") from None
        document = _object(
            document,
            "genesis",
            "format chainId genesisTimeMs testNetwork authorities parameters assets accounts "
            "roles modules recoveryKeys recoveryThreshold",
        )
        codec.version(document.get("format"), "genesis.format", (GENESIS_VERSION,))
        parameters = _object(document.get("parameters", {}), "genesis.parameters")
        return cls(
            _check_chain_id(document.get("chainId")),
            codec.integer(document.get("genesisTimeMs"), "genesis.genesisTimeMs"),
            tuple(
                sorted(
                    authority_from_text(
                        _text(item, "genesis.authorities[]"), "genesis.authorities[]"
                    )
                    for item in _list(document.get("authorities"), "genesis.authorities")
                )
            ),
            Params().with_values(
                {k: codec.integer(v, f"genesis.parameters.{k}") for k, v in parameters.items()}
            ),
            _json_assets(document.get("assets")),
            _json_accounts(document.get("accounts", [])),
            tuple(
                _module(item.get("name"), item.get("version"))
                for item in _objects(document.get("modules"), "genesis.modules", "name version")
            ),
            tuple(
                sorted(
                    _hex_digest(item, "genesis.recoveryKeys[]")
                    for item in _list(document.get("recoveryKeys", []), "genesis.recoveryKeys")
                )
            ),
            codec.integer(document.get("recoveryThreshold", 0), "genesis.recoveryThreshold"),
            _flag(document.get("testNetwork", False), "genesis.testNetwork"),
            _json_roles(document.get("roles", [])),
        )


def _check_chain_id(value: object) -> str:
    chain_id = codec.ascii_text(value, "genesis.chainId", CHAIN_ID_CHARS_MAX)
    if not all("a" <= c <= "z" or "0" <= c <= "9" or c in "-." for c in chain_id):
        raise Malformed("genesis.chainId", "has a character other than a–z, 0–9, - and .")
    return chain_id


def _check_ascending(values: Sequence[Any], field: str, count_max: int) -> None:
    if len(values) > count_max:
        raise Malformed(field, f"has {len(values)} items, at most {count_max} are allowed")
    for before, after in itertools.pairwise(values):
        if before >= after:
            raise Malformed(field, "is not strictly ascending (a duplicate, or out of order)")


def _asset(name: object, decimals: object, title: object) -> GenesisAsset:
    return GenesisAsset(
        asset_name(name, "genesis.assets[].asset"),
        codec.integer(decimals, "genesis.assets[].decimals", 0, DECIMALS_MAX),
        codec.ascii_text(title, "genesis.assets[].title", ASSET_TITLE_CHARS_MAX),
    )


def _account(account: object, balances: object) -> GenesisAccount:
    pairs = []
    for item in codec.items(balances, "genesis.accounts[].balances", ASSETS_MAX):
        name, amount = codec.array(item, "genesis.accounts[].balances[]", 2)
        pairs.append(
            (
                asset_name(name, "genesis.accounts[].balances[]"),
                codec.integer(amount, "genesis.accounts[].balances[]", 1),
            )
        )
    return GenesisAccount(codec.digest(account, "genesis.accounts[].account"), tuple(pairs))


def _role(role: object, account: object) -> GenesisRole:
    return GenesisRole(
        plain_name(role, "genesis.roles[].role"),
        codec.digest(account, "genesis.roles[].account"),
    )


def _module(name: object, version: object) -> tuple[str, int]:
    return (
        codec.ascii_text(name, "genesis.modules[].name", 32),
        codec.integer(version, "genesis.modules[].version", 1, codec.U32_MAX),
    )


def _digests(value: object, field: str, count_max: int) -> tuple[bytes, ...]:
    return tuple(codec.digest(item, f"{field}[]") for item in codec.items(value, field, count_max))


def _text(value: object, field: str) -> str:
    if type(value) is not str:
        raise Malformed(field, "is not a string")
    return value


def _flag(value: object, field: str) -> bool:
    if type(value) is not bool:
        raise Malformed(field, "is not true or false")
    return value


def _list(value: object, field: str) -> list[Any]:
    if type(value) is not list:
        raise Malformed(field, "is not a list")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; a name given twice would silently lose the first, so refuse it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("genesis", f"names a field twice in one object ({', '.join(found)})")
    return found


def _object(value: object, field: str, known: str | None = None) -> Mapping[str, Any]:
    """Return an object with no names but the `known` ones (separated by spaces; None: any)."""
    if type(value) is not dict:
        raise Malformed(field, "is not an object")
    if known is not None:
        for name in value:
            if name not in known.split():
                raise Malformed(f"{field}.{name}", "is not a field of this format")
    return value


def _objects(value: object, field: str, known: str) -> list[Mapping[str, Any]]:
    return [_object(item, f"{field}[]", known) for item in _list(value, field)]


def _hex_digest(value: object, field: str) -> bytes:
    text = _text(value, field)
    try:
        return codec.digest(bytes.fromhex(text.removeprefix("0x")), field)
    except ValueError:
        raise Malformed(field, "is not hexadecimal") from None


def _json_assets(value: object) -> tuple[GenesisAsset, ...]:
    return tuple(
        sorted(
            _asset(item.get("asset"), item.get("decimals"), item.get("title"))
            for item in _objects(value, "genesis.assets", "asset decimals title")
        )
    )


def _json_accounts(value: object) -> tuple[GenesisAccount, ...]:
    found = []
    for item in _objects(value, "genesis.accounts", "account balances"):
        field = "genesis.accounts[].account"
        account = account_from_text(_text(item.get("account"), field), field)
        balances = _object(item.get("balances", {}), "genesis.accounts[].balances")
        pairs = sorted((name, _amount(text)) for name, text in balances.items())
        found.append(_account(account, [[name, amount] for name, amount in pairs]))
    return tuple(sorted(found))


def _json_roles(value: object) -> tuple[GenesisRole, ...]:
    field = "genesis.roles[].account"
    return tuple(
        sorted(
            _role(item.get("role"), account_from_text(_text(item.get("account"), field), field))
            for item in _objects(value, "genesis.roles", "role account")
        )
    )


def _amount(value: object) -> int:
    text = _text(value, "genesis.accounts[].balances")
    if not text or len(text) > 20 or not all("0" <= char <= "9" for char in text):
        raise Malformed("genesis.accounts[].balances", "is not a string of digits (minor units)")
    return int(text)
