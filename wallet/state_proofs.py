"""Proofs of state: what an account is and has, what stands under any key, or that nothing does.

They are made as proofs of payments (`proofs.py`) are, and share all steps but the last:

    genesis bytes      hash to the genesis hash that the checker trusts; name authority set 1
    authority changes  header (signed by a quorum of the set before) → hash of the set after
    blocks             one, or two for a statement: a header signed by a quorum of its set
    values             module, key and value (null: there is none), led to the header's state root

`kind` says what the values are, and a bundle holds exactly those: none is missing, none is extra.

    state      one value of any key
    account    the record of an account
    balances   of each asset its record, and the account's balance in it
    statement  the same of the blocks before and after a range; a range that begins with block 1
               opens with the genesis and has one block only

No state says what else an account has: a list of balances proves those that are in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.blocks import HEADER_BYTES_MAX, Header
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import account_key, balance_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.statetree.state_proof import STATE_PROOF_BYTES_MAX, verify_state_proof
from clawpurse.modules.assets.records import TREE as ASSETS
from clawpurse.modules.assets.records import asset_key
from clawpurse.wallet.proof_steps import (
    bounded_list,
    check_certificate,
    check_genesis,
    check_place,
    exact_members,
    hexed,
    octets,
    step,
)
from clawpurse.wallet.proofs import AuthorityChange, changes_json, follow_changes

STATE_PROOF_VERSION: Final = 1
STATE: Final = "state"
ACCOUNT: Final = "account"
BALANCES: Final = "balances"
STATEMENT: Final = "statement"
KINDS: Final = (STATE, ACCOUNT, BALANCES, STATEMENT)
# Blocks that a bundle of a kind has: a statement has two ends.
_BLOCKS_MAX: Final = {STATE: 1, ACCOUNT: 1, BALANCES: 1, STATEMENT: 2}
# Two records for each of the 256 assets that one answer lists at most, twice in a statement.
VALUES_MAX: Final = 1_024
# What a module's key and value may take; no record of today is near it.
STATE_KEY_BYTES_MAX: Final = 256
STATE_VALUE_BYTES_MAX: Final = 1_000_000
_MODULE_CHARS_MAX: Final = 32
_ACCOUNT_BYTES: Final = 32
_MEMBERS: Final = ("version", "kind", "genesis", "authorityChanges", "blocks")
_BLOCK: Final = ("header", "certificate", "values")
_VALUE: Final = ("module", "key", "value", "proof")


class StateKey(NamedTuple):
    """A key of a module's tree."""

    module: str
    key: bytes


class ProvableValue(NamedTuple):
    """What stands under a key (None: nothing) and the proof of it."""

    module: str
    key: bytes
    value: bytes | None
    proof: bytes


class ProvableBlock(NamedTuple):
    """A block's header and certificate as bytes, and values of the state after it."""

    header: bytes
    certificate: bytes
    values: Sequence[ProvableValue]


@dataclass(frozen=True)
class StateAfter:
    """What is proven of the state after a block; it answers for these keys and no others.

    `signers` of `authorities` signed the header. A `StateReader` for whoever decodes records.
    """

    header: Header
    signers: int
    authorities: int
    values: Mapping[StateKey, bytes | None]

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return a proven value, None where it is proven that there is none.

        Raises `Malformed` for a key that nothing was proven of.
        """
        try:
            return self.values[StateKey(tree, key)]
        except KeyError:
            raise Malformed("values", f"say nothing of {tree} 0x{key.hex()}") from None

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Refuse: what else there is under a prefix cannot be proven. Raises `Malformed`."""
        del limit, after
        raise Malformed("values", f"cannot list {tree} 0x{prefix.hex()}")


@dataclass(frozen=True)
class ProvenState:
    """What a bundle proves. `account` and `assets` (in their order) are empty for `state`."""

    kind: str
    genesis: Genesis
    blocks: tuple[StateAfter, ...]
    account: bytes = b""
    assets: tuple[str, ...] = ()

    @property
    def last(self) -> StateAfter:
        """The newest state that it speaks of."""
        return self.blocks[-1]


def keys_of_account(account: bytes) -> tuple[StateKey, ...]:
    """Return the keys that a bundle of kind `account` holds."""
    return (StateKey(KERNEL, account_key(account)),)


def keys_of_balances(account: bytes, assets: Sequence[str]) -> tuple[StateKey, ...]:
    """Return the keys that a block of kind `balances` or `statement` holds, in their order."""
    keys: list[StateKey] = []
    for name in assets:
        # The native balance stands in the account's own record.
        native = name == NATIVE_ASSET
        held = account_key(account) if native else balance_key(account, name)
        keys += [StateKey(ASSETS, asset_key(name)), StateKey(KERNEL, held)]
    return tuple(keys)


def build_state_proof(
    kind: str,
    *,
    genesis: bytes,
    changes: Sequence[AuthorityChange],
    blocks: Sequence[ProvableBlock],
) -> dict[str, Any]:
    """Return a bundle as a JSON object.

    `genesis` are canonical bytes, `changes` those of the authorities before the last block
    (ascending), `blocks` hold the values that `kind` asks for.
    """
    return {
        "version": STATE_PROOF_VERSION,
        "kind": kind,
        "genesis": hexed(genesis),
        "authorityChanges": changes_json(changes),
        "blocks": [
            {
                "header": hexed(block.header),
                "certificate": hexed(block.certificate),
                "values": [
                    {
                        "module": one.module,
                        "key": hexed(one.key),
                        "value": None if one.value is None else hexed(one.value),
                        "proof": hexed(one.proof),
                    }
                    for one in block.values
                ],
            }
            for block in blocks
        ],
    }


def check_state_proof(proof: object, genesis_hash: bytes) -> ProvenState:
    """Check a bundle against a trusted genesis hash and return what it proves.

    Raises `Malformed`, whose field names the first step that does not hold: `proof` (its form),
    `genesis`, `authorityChanges`, `header`, `certificate`, `values`.
    """
    with step("proof"):
        given = exact_members(proof, "proof", _MEMBERS)
        codec.version(given["version"], "proof.version", (STATE_PROOF_VERSION,))
        kind = given["kind"]
        if kind not in KINDS:
            raise Malformed("proof.kind", f"is none of {', '.join(KINDS)}")
        blocks = bounded_list(given["blocks"], "proof.blocks", _BLOCKS_MAX[kind])
        if not blocks:
            raise Malformed("proof.blocks", "are none")
    with step("genesis"):
        genesis = check_genesis(given["genesis"], genesis_hash)
    with step("authorityChanges"):
        sets = follow_changes(given["authorityChanges"], genesis)
    proven: list[StateAfter] = []
    for block in blocks:
        with step("proof"):
            parts = exact_members(block, "proof.blocks[]", _BLOCK)
        with step("header"):
            header = Header.unpack(octets(parts["header"], "header", HEADER_BYTES_MAX))
            if proven and header.height <= proven[-1].header.height:
                raise Malformed("header", f"is not after block {proven[-1].header.height}")
            if header.height < 1:
                raise Malformed("header", "is of no block that anybody decides")
            authorities = [one for since, one in sets if since < header.height][-1]
            check_place(header, genesis, authorities)
        with step("certificate"):
            signers = check_certificate(header, parts["certificate"], authorities)
        with step("values"):
            values = _values(parts["values"], header)
        proven.append(StateAfter(header, signers, len(authorities), values))
    with step("authorityChanges"):
        if sets[-1][0] >= proven[-1].header.height:
            raise Malformed("authorityChanges", "go on after the block that is proven")
    with step("values"):
        account, assets = _subject(kind, proven)
    return ProvenState(kind, genesis, tuple(proven), account, assets)


def _values(given: object, header: Header) -> dict[StateKey, bytes | None]:
    """Return the values of one block, each checked; no key twice."""
    found: dict[StateKey, bytes | None] = {}
    for item in bounded_list(given, "values", VALUES_MAX):
        parts = exact_members(item, "values[]", _VALUE)
        module = codec.ascii_text(parts["module"], "module", _MODULE_CHARS_MAX, 1)
        key = octets(parts["key"], "key", STATE_KEY_BYTES_MAX)
        value = parts["value"]
        if value is not None:
            value = octets(value, "value", STATE_VALUE_BYTES_MAX)
        proof = octets(parts["proof"], "proof", STATE_PROOF_BYTES_MAX)
        if not verify_state_proof(header.state_root, module, key, value, proof):
            raise Malformed("values", f"{module} 0x{key.hex()}: the proof does not show that value")
        place = StateKey(module, key)
        if place in found:
            raise Malformed("values", f"name {module} 0x{key.hex()} twice")
        found[place] = value
    return found


def _subject(kind: str, blocks: Sequence[StateAfter]) -> tuple[bytes, tuple[str, ...]]:
    """Return whose account and which assets a bundle is about: exactly their keys are in it."""
    first = tuple(blocks[0].values)
    if kind == STATE:
        if len(first) != 1:
            raise Malformed("values", f"are {len(first)}, a proof of state has one")
        return b"", ()
    if kind == ACCOUNT:
        account = _account_of(first[0]) if first else b""
        if first != keys_of_account(account):
            raise Malformed("values", "are not one account's record")
        if blocks[0].values[first[0]] is None:
            raise Malformed("values", "show that there is no such account")
        return account, ()
    assets = tuple(_asset_of(place) for place in first[::2])
    place = 2 * assets.index(NATIVE_ASSET) + 1 if NATIVE_ASSET in assets else len(first)
    if place >= len(first):
        raise Malformed("values", f"hold no balance of {NATIVE_ASSET}")
    account = _account_of(first[place])
    wanted = keys_of_balances(account, assets)
    for block in blocks:
        if tuple(block.values) != wanted:
            raise Malformed("values", "are not the balances of one account")
    return account, assets


def _account_of(place: StateKey) -> bytes:
    key = place.key
    if place.module != KERNEL or key[:1] != account_key(b"") or len(key) != 1 + _ACCOUNT_BYTES:
        raise Malformed("values", f"{place.module} 0x{key.hex()} is no account's record")
    return key[1:]


def _asset_of(place: StateKey) -> str:
    head = asset_key("")
    if place.module != ASSETS or not place.key.startswith(head):
        raise Malformed("values", f"{place.module} 0x{place.key.hex()} is no asset's record")
    try:
        return asset_name(place.key.removeprefix(head).decode("ascii"), "values")
    except UnicodeDecodeError:
        raise Malformed("values", "name an asset that is none") from None
