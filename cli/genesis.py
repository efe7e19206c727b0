"""What `genesis create|add-account|add-authority|verify` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.session import Session, now_ms
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text, authority_from_text, authority_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.genesis import (
    GENESIS_BYTES_MAX,
    Genesis,
    GenesisAccount,
    GenesisAsset,
    GenesisRole,
)
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.params import NATIVE_ASSET, Params, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import amount_text, parse_amount
from clawpurse.wallet.durable import create_private, read_private, replace_private


def create(
    session: Session,
    file: Path,
    chain_id: str,
    authorities: Sequence[str],
    assets: Sequence[str],
    *,
    decimals: int,
    parameters: Sequence[str],
    test_network: bool,
) -> None:
    """Write a genesis; never over another one."""
    if not authorities:
        raise UsageFault(
            "A network needs authorities.",
            "Each one's `clawpurse init --authority` prints a clawval1….",
            "add --authority clawval1…",
        )
    listed = [GenesisAsset(NATIVE_ASSET, decimals, f"The money of {chain_id}")]
    listed += [_asset(text) for text in assets]
    keys = sorted({authority_from_text(text) for text in authorities})
    made = Genesis(
        chain_id=chain_id,
        time_ms=now_ms(),
        authorities=tuple(keys),
        params=_parameters(parameters),
        assets=tuple(sorted(listed)),
        accounts=(),
        modules=tuple((module.name, module.version) for module in build_registry().modules),
        test_network=test_network,
    )
    try:
        create_private(file, made.to_json().encode())
    except FileExistsError:
        raise UsageFault(
            f"{file} exists already.", "It was not touched.", "choose another file"
        ) from None
    _tell(session, file, made)
    session.out.note(f"Next: clawpurse genesis add-account {file} claw1… 1000000")


def add_account(session: Session, file: Path, account: str, amount: str, asset: str) -> None:
    """Add to the opening balance of an account."""
    old = read(file)
    key = account_named(session, account).account
    decimals = old.decimals.get(asset)
    if decimals is None:
        raise UsageFault(f"{file} has no asset {asset}; it has {', '.join(old.decimals)}.")
    minor = parse_amount(amount, decimals, asset)
    accounts = {entry.account: dict(entry.balances) for entry in old.accounts}
    balances = accounts.setdefault(key, {})
    balances[asset] = balances.get(asset, 0) + minor
    changed = replace(
        old,
        accounts=tuple(
            GenesisAccount(who, tuple(sorted(accounts[who].items()))) for who in sorted(accounts)
        ),
    )
    replace_private(file, changed.to_json().encode())
    _tell(session, file, changed)


def add_authority(session: Session, file: Path, authority: str) -> None:
    """Add an authority."""
    old = read(file)
    key = authority_from_text(authority)
    if key in old.authorities:
        raise UsageFault(f"{authority} is an authority already.", "", "")
    changed = replace(old, authorities=tuple(sorted((*old.authorities, key))))
    replace_private(file, changed.to_json().encode())
    _tell(session, file, changed)


def add_role(session: Session, file: Path, role: str, account: str) -> None:
    """Let an account hold a role from the start."""
    old = read(file)
    entry = GenesisRole(plain_name(role, "role"), account_named(session, account).account)
    if entry in old.roles:
        raise UsageFault(f"{account} holds the role {role} already.", "", "")
    if entry.account not in {one.account for one in old.accounts}:
        raise UsageFault(
            f"{account} is not an account of {file} yet.",
            "",
            f"clawpurse genesis add-account {file} {account} 1",
        )
    changed = replace(old, roles=tuple(sorted((*old.roles, entry))))
    replace_private(file, changed.to_json().encode())
    _tell(session, file, changed)


def verify(session: Session, file: Path, expected: str | None) -> None:
    """Check a file, and its hash if one is expected."""
    found = read(file)
    declared = tuple((module.name, module.version) for module in build_registry().modules)
    if found.modules != declared:
        raise OperatorError(
            f"{file} needs the modules {_names(found.modules)}; this software has "
            f"{_names(declared)}.",
            "",
            "clawpurse version",
        )
    require_hash(file, found, expected)
    _tell(session, file, found)


def read(file: Path) -> Genesis:
    """Read a genesis file. Raises `OperatorError`, or `Malformed` naming the field."""
    try:
        return Genesis.from_json(read_private(file, GENESIS_BYTES_MAX))
    except FileNotFoundError:
        raise UsageFault(f"{file} is not there.", "", "check the name") from None


def require_hash(place: object, found: Genesis, expected: str | None) -> None:
    """Refuse a genesis that has another hash than was expected. Raises `OperatorError`."""
    if expected is None:
        return
    text = expected.lower()
    if not text.startswith("0x"):
        text = f"0x{text}"
    if text != f"0x{found.hash.hex()}":
        raise OperatorError(
            f"{place} has the hash 0x{found.hash.hex()}, not {text}.",
            "It is another network, or was changed.",
            "ask whoever gave you the hash",
        )


def _names(modules: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in modules)


def _asset(text: str) -> GenesisAsset:
    name, _, rest = text.partition(":")
    decimals, _, title = rest.partition(":")
    if not decimals.isdecimal():
        raise UsageFault(f"{text!r} is not NAME:DECIMALS:TITLE.", "", "--asset EURX:2:Euro")
    return GenesisAsset(asset_name(name, "asset"), int(decimals), title or name)


def _parameters(given: Sequence[str]) -> Params:
    values: dict[str, int] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.isdecimal():
            raise UsageFault(f"{text!r} is not NAME=NUMBER.", "", "--parameter fee_min=1")
        values[name] = int(value)
    try:
        return Params().with_values(values)
    except Malformed as err:
        raise UsageFault(f"{err.field} {err.problem}.", "", "--parameter fee_min=1") from err


def _tell(session: Session, file: Path, found: Genesis) -> None:
    supply: dict[str, int] = dict.fromkeys(found.decimals, 0)
    for entry in found.accounts:
        for name, amount in entry.balances:
            supply[name] += amount
    if session.json_mode:
        document: dict[str, Any] = {
            "file": str(file.absolute()),
            "chainId": found.chain_id,
            "genesisHash": f"0x{found.hash.hex()}",
            "time": time_text(found.time_ms),
            "testNetwork": found.test_network,
            "authorities": [authority_text(key) for key in found.authorities],
            "assets": [
                {"asset": one.name, "decimals": one.decimals, "supply": str(supply[one.name])}
                for one in found.assets
            ],
            "accounts": len(found.accounts),
            "roles": [
                {"role": one.role, "account": account_text(one.account)} for one in found.roles
            ],
        }
        session.out.emit(document)
        return
    out = session.out
    kind = "test network" if found.test_network else "network"
    out.tick(f"{kind} {found.chain_id}, {counted(len(found.authorities), 'authority')}")
    pairs = [("Hash", out.style(f"0x{found.hash.hex()}", "bold")), ("File", str(file))]
    pairs.append(("Founded", time_text(found.time_ms)))
    pairs += [
        ("Asset", f"{amount_text(supply[one.name], one.decimals, one.name)}, {one.title}")
        for one in found.assets
    ]
    pairs += [("Authority", authority_text(key)) for key in found.authorities]
    pairs += [("Role", f"{one.role}: {account_text(one.account)}") for one in found.roles]
    out.fields(pairs)
