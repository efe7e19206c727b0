"""All nodes of a network start from one file; one that is misread starts another network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.genesis import TIME_MS_MAX, Genesis, GenesisAccount, GenesisAsset
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    FEE_ACCOUNT,
    NETWORK_KEY,
    PARAMS_KEY,
    Network,
    account_key,
    new_account,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.params import Params
from clawpurse.ledger.transition import genesis_changes
from tests.ledger.sandbox import ALICE, AUTHORITY, BOB, make_genesis, registry_with

REGISTRY = registry_with()
GENESIS = make_genesis(REGISTRY, recovery_keys=(bytes(32), b"\x01" * 32), recovery_threshold=2)
DOCUMENT: dict[str, Any] = json.loads(GENESIS.to_json())

names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=4).filter(lambda n: n != "CLAW")
ids = st.binary(min_size=32, max_size=32)


@st.composite
def geneses(draw: st.DrawFn) -> Genesis:
    assets = sorted(draw(st.sets(names, max_size=3)) | {"CLAW"})
    balances = st.dictionaries(st.sampled_from(assets), st.integers(1, 2**62), max_size=3)
    accounts = draw(st.dictionaries(ids, balances, max_size=4))
    recovery = tuple(sorted(draw(st.sets(ids, max_size=3))))
    return Genesis(
        draw(st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=32)),
        draw(st.integers(0, TIME_MS_MAX)),
        tuple(sorted(draw(st.sets(ids, min_size=1, max_size=5)))),
        Params(fee_min=draw(st.integers(0, 2**64 - 1)), interval_ms=draw(st.integers(0, 10**6))),
        tuple(GenesisAsset(name, draw(st.integers(0, 18)), f"The {name}") for name in assets),
        tuple(
            GenesisAccount(account, tuple(sorted(accounts[account].items())))
            for account in sorted(accounts)
        ),
        (("accounts", 1), ("assets", draw(st.integers(1, 9)))),
        recovery,
        draw(st.integers(min(1, len(recovery)), len(recovery))),
        draw(st.booleans()),
    )


@given(geneses())
def test_file_and_bytes_both_bring_back_the_same_network(genesis: Genesis) -> None:
    for again in (Genesis.unpack(genesis.packed), Genesis.from_json(genesis.to_json())):
        assert again == genesis and again.hash == genesis.hash and again.packed == genesis.packed
    assert genesis.hash == crypto.genesis_hash_of(genesis.packed)


def test_order_in_the_file_does_not_matter_but_every_value_does() -> None:
    shuffled = {name: DOCUMENT[name] for name in reversed(DOCUMENT)}
    for name in ("authorities", "assets", "accounts", "recoveryKeys"):
        shuffled[name] = DOCUMENT[name][::-1]
    assert Genesis.from_json(json.dumps(shuffled)) == GENESIS
    seen = {GENESIS.hash}
    for name, value in {
        "chainId": "sandbox-2",
        "genesisTimeMs": GENESIS.time_ms + 1,
        "testNetwork": False,
        "authorities": [authority_text(BOB.public)],
        "parameters": {"fee_min": 1},
        "assets": [*DOCUMENT["assets"], {"asset": "USD", "decimals": 2, "title": "Dollar"}],
        "accounts": DOCUMENT["accounts"][1:],
        "modules": DOCUMENT["modules"][1:],
        "recoveryKeys": DOCUMENT["recoveryKeys"] + ["0x" + "02" * 32],
        "recoveryThreshold": 1,
    }.items():
        seen.add(Genesis.from_json(json.dumps({**DOCUMENT, name: value})).hash)
    assert len(seen) == 11


def test_what_may_be_left_out_has_safe_defaults() -> None:
    """A network that matters has no faucet unless its file says so."""
    needed = "format chainId genesisTimeMs authorities assets modules".split()
    small = {name: DOCUMENT[name] for name in needed}
    genesis = Genesis.from_json(json.dumps(small))
    assert genesis.params == Params() and genesis.accounts == () and not genesis.test_network
    assert genesis.recovery_keys == () and genesis.recovery_threshold == 0
    assert genesis.decimals == {"CLAW": 6, "EUR": 2}


AUTHORITY_TEXT = authority_text(AUTHORITY.public)
ONE_ASSET = {"asset": "CLAW", "decimals": 6, "title": "Claw"}
ALICE_TEXT = account_text(ALICE.account)
REFUSED: dict[str, tuple[str, Any]] = {
    "format of another version": ("format", 2),
    "format as text": ("format", "1"),
    "no chain id": ("chainId", None),
    "empty chain id": ("chainId", ""),
    "chain id with capitals": ("chainId", "Sandbox"),
    "chain id with a space": ("chainId", "a b"),
    "chain id too long": ("chainId", "a" * 33),
    "time as text": ("genesisTimeMs", "1"),
    "negative time": ("genesisTimeMs", -1),
    "time beyond year 9999": ("genesisTimeMs", TIME_MS_MAX + 1),
    "time as float": ("genesisTimeMs", 1.5),
    "test network as number": ("testNetwork", 1),
    "no authorities": ("authorities", []),
    "authorities not a list": ("authorities", {}),
    "authority twice": ("authorities", [AUTHORITY_TEXT, AUTHORITY_TEXT]),
    "an account as authority": ("authorities", [ALICE_TEXT]),
    "authority mistyped": ("authorities", [AUTHORITY_TEXT[:-1] + "q"]),
    "authority as number": ("authorities", [5]),
    "too many authorities": ("authorities", [authority_text(bytes([n]) * 32) for n in range(101)]),
    "unknown parameter": ("parameters", {"intervalMs": 5}),
    "parameter as text": ("parameters", {"interval_ms": "5"}),
    "parameter as bool": ("parameters", {"interval_ms": True}),
    "negative parameter": ("parameters", {"fee_min": -1}),
    "parameter that cannot run": ("parameters", {"block_cost_max": 0}),
    "parameters as list": ("parameters", []),
    "no assets": ("assets", []),
    "no native asset": ("assets", [{**ONE_ASSET, "asset": "EUR"}]),
    "asset twice": ("assets", [ONE_ASSET, {**ONE_ASSET, "decimals": 2}]),
    "asset in small letters": ("assets", [ONE_ASSET, {**ONE_ASSET, "asset": "eur"}]),
    "asset with too many decimals": ("assets", [{**ONE_ASSET, "decimals": 19}]),
    "asset without decimals": ("assets", [{"asset": "CLAW", "title": "Claw"}]),
    "asset without title": ("assets", [{"asset": "CLAW", "decimals": 6}]),
    "asset with an empty title": ("assets", [{**ONE_ASSET, "title": ""}]),
    "asset with another field": ("assets", [{**ONE_ASSET, "supply": "5"}]),
    "account twice": ("accounts", [{"account": ALICE_TEXT}] * 2),
    "account mistyped": ("accounts", [{"account": ALICE_TEXT[:-1]}]),
    "account missing": ("accounts", [{"balances": {}}]),
    "balance misnamed": ("accounts", [{"account": ALICE_TEXT, "balance": {"CLAW": "5"}}]),
    "balance as number": ("accounts", [{"account": ALICE_TEXT, "balances": {"CLAW": 5}}]),
    "balance with a point": ("accounts", [{"account": ALICE_TEXT, "balances": {"CLAW": "5.0"}}]),
    "balance with a sign": ("accounts", [{"account": ALICE_TEXT, "balances": {"CLAW": "+5"}}]),
    "balance of nothing": ("accounts", [{"account": ALICE_TEXT, "balances": {"CLAW": "0"}}]),
    "balance in other digits": ("accounts", [{"account": ALICE_TEXT, "balances": {"CLAW": "٥"}}]),
    "balance above 64 bits": (
        "accounts",
        [{"account": ALICE_TEXT, "balances": {"CLAW": str(2**64)}}],
    ),
    "balance in what is no asset": (
        "accounts",
        [{"account": ALICE_TEXT, "balances": {"GBP": "5"}}],
    ),
    "supply above 64 bits": (
        "accounts",
        [
            {"account": account_text(key.account), "balances": {"CLAW": str(2**63)}}
            for key in (ALICE, BOB)
        ],
    ),
    "accounts as object": ("accounts", {}),
    "an account as text": ("accounts", [ALICE_TEXT]),
    "no modules": ("modules", None),
    "module twice": ("modules", [{"name": "a", "version": 1}, {"name": "a", "version": 2}]),
    "module without version": ("modules", [{"name": "a"}]),
    "module of version 0": ("modules", [{"name": "a", "version": 0}]),
    "module with another field": ("modules", [{"name": "a", "version": 1, "x": 1}]),
    "recovery key too short": ("recoveryKeys", ["0x00"]),
    "recovery key not hex": ("recoveryKeys", ["zz" * 32]),
    "recovery key twice": ("recoveryKeys", ["0x" + "00" * 32] * 2),
    "threshold above the keys": ("recoveryThreshold", 3),
    "threshold of nobody": ("recoveryThreshold", 0),
    "a field that the format lacks": ("extra", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_with_a_mistake_starts_no_network(name: str) -> None:
    field, value = REFUSED[name]
    with pytest.raises(Malformed) as caught:
        Genesis.from_json(json.dumps({**DOCUMENT, field: value}))
    assert "genesis" in caught.value.field or "params" in caught.value.field


@pytest.mark.parametrize(
    "text",
    ["", "nope", "[]", "5", "null", '{"format": 1', "[" * 100_000, b"\xff", '{"a":1,"a":1}'],
)
def test_what_is_not_such_a_file_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Genesis.from_json(text)


def test_a_balance_given_twice_is_refused_since_one_of_them_would_vanish() -> None:
    text = GENESIS.to_json().replace('"CLAW": "1000000"', '"CLAW": "5", "CLAW": "1000000"')
    with pytest.raises(Malformed, match="twice"):
        Genesis.from_json(text)


BROKEN: list[Callable[[list[Any]], object]] = [
    lambda wire: wire.pop(),
    lambda wire: wire.append(None),
    lambda wire: wire.__setitem__(0, 2),
    lambda wire: wire.__setitem__(1, "UPPER"),
    lambda wire: wire.__setitem__(2, -1),
    lambda wire: wire.__setitem__(3, []),
    lambda wire: wire.__setitem__(3, [b"\x02" * 32, b"\x01" * 32]),
    lambda wire: wire.__setitem__(3, [b"\x02" * 32] * 2),
    lambda wire: wire[4].pop(),
    lambda wire: wire[4].__setitem__(0, 2),
    lambda wire: wire[5].reverse(),
    lambda wire: wire[5][0].append(1),
    lambda wire: wire[5][0].__setitem__(1, 19),
    lambda wire: wire[6].reverse(),
    lambda wire: wire[6][0].__setitem__(1, [["CLAW", 0]]),
    lambda wire: wire[6][0].__setitem__(1, [["EUR", 1], ["CLAW", 1]]),
    lambda wire: wire[6][0].__setitem__(0, bytes(31)),
    lambda wire: wire[7][0].__setitem__(1, 0),
    lambda wire: wire[7].append(["assets", 3]),
    lambda wire: wire.__setitem__(9, 3),
    lambda wire: wire.__setitem__(9, 0),
    lambda wire: wire.__setitem__(10, 2),
    lambda wire: wire.__setitem__(10, True),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_bytes_that_no_genesis_has_are_refused(number: int) -> None:
    wire = codec.unpack_own(GENESIS.packed)
    BROKEN[number](wire)
    with pytest.raises(Malformed):
        Genesis.unpack(codec.pack(wire))


@given(st.binary(max_size=300))
def test_hostile_bytes_are_malformed(data: bytes) -> None:
    for read in (Genesis.unpack, Genesis.from_json):
        with pytest.raises(Malformed):
            read(data)


def test_the_state_of_height_0_is_what_the_file_says() -> None:
    state = genesis_changes(GENESIS, REGISTRY)
    assert state[KERNEL, NETWORK_KEY] == Network("sandbox-1", GENESIS.hash).pack()
    assert state[KERNEL, PARAMS_KEY] == GENESIS.params.pack()
    assert state[KERNEL, AUTHORITIES_KEY] == codec.pack(
        [1, [AUTHORITY.public], 0, [AUTHORITY.public]]
    )
    assert state[KERNEL, account_key(FEE_ACCOUNT)] == new_account(None).pack()
    alice = new_account(ALICE.public).with_balance(1_000_000)
    assert state[KERNEL, account_key(ALICE.account)] == alice.pack()
    assert all(state.values()) and genesis_changes(GENESIS, REGISTRY) == state
    assert sorted({tree for tree, _ in state}) == ["assets", "kernel"]
