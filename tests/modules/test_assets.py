"""Paying: what leaves one account arrives at the other, in every asset, up to the last unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, Code, Malformed
from clawpurse.ledger.genesis import GenesisAccount, GenesisAsset
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, balance_key, supply_key
from clawpurse.ledger.module_api import KERNEL, Words
from clawpurse.ledger.transition import genesis_changes
from clawpurse.modules.assets.records import asset_key, get_asset, list_assets
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    DictState,
    Sandbox,
    make_genesis,
    registry_with,
    transfer,
)

U64_MAX = 2**64 - 1
THREE = (
    GenesisAsset("CLAW", 6, "Claw"),
    GenesisAsset("EUR", 2, "Euro"),
    GenesisAsset("X.0", 0, "X"),
)


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
def test_a_transfer_moves_exactly_its_amount(asset: str) -> None:
    chain = Sandbox()
    had = chain.balance(ALICE, asset), chain.balance(BOB, asset)
    result = chain.pay(ALICE, transfer(BOB, 1_234, asset))
    assert result.receipts[0].code == 0
    assert (chain.balance(ALICE, asset), chain.balance(BOB, asset)) == (
        had[0] - 1_234,
        had[1] + 1_234,
    )
    assert result.events == (
        (0, "assets.transferred", (ALICE.account, BOB.account), (asset, 1_234)),
    )


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
def test_a_balance_can_go_to_the_last_unit_and_not_beyond(asset: str) -> None:
    chain = Sandbox()
    had = chain.balance(ALICE, asset)
    receipt = chain.pay(ALICE, transfer(DAVE, had + 1, asset)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "kernel.balance")
    assert receipt.facts == (ALICE.account, had, had + 1, asset)
    assert chain.pay(ALICE, transfer(DAVE, had, asset)).receipts[0].code == 0
    assert (chain.balance(ALICE, asset), chain.balance(DAVE, asset)) == (0, had)


def test_a_balance_of_nothing_leaves_no_record() -> None:
    chain = Sandbox()
    chain.pay(CAROL, transfer(DAVE, 7, "EUR"))
    assert (KERNEL, balance_key(CAROL.account, "EUR")) not in chain.state.records
    assert (KERNEL, balance_key(DAVE.account, "EUR")) in chain.state.records


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
def test_paying_oneself_changes_nothing(asset: str) -> None:
    chain = Sandbox()
    had = chain.balance(ALICE, asset)
    assert chain.pay(ALICE, transfer(ALICE, had, asset)).receipts[0].code == 0
    assert chain.balance(ALICE, asset) == had
    assert chain.pay(ALICE, transfer(ALICE, had + 1, asset)).receipts[0].code != 0


@pytest.mark.parametrize("asset", ["GBP", "CLAWS", "C", "EUR.2"])
def test_an_asset_that_is_not_there_cannot_be_paid(asset: str) -> None:
    chain = Sandbox()
    receipt = chain.pay(ALICE, transfer(BOB, 1, asset)).receipts[0]
    assert (receipt.code, receipt.rule, receipt.facts) == (Code.NOT_FOUND, "kernel.asset", (asset,))
    receipt = chain.pay(ALICE, transfer(ERIN, 1, asset)).receipts[0]
    assert receipt.rule == "kernel.asset" and chain.books.account(ERIN.account) is None


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
def test_nothing_wraps_at_64_bits(asset: str) -> None:
    chain = Sandbox(opening={ALICE: {asset: U64_MAX}, BOB: {}, CAROL: {}})
    assert chain.pay(ALICE, transfer(BOB, U64_MAX, asset)).receipts[0].code == 0
    assert (chain.balance(ALICE, asset), chain.balance(BOB, asset)) == (0, U64_MAX)
    assert chain.pay(BOB, transfer(BOB, U64_MAX, asset)).receipts[0].code == 0
    assert chain.pay(BOB, transfer(CAROL, 1, asset)).receipts[0].code == 0
    assert chain.pay(CAROL, transfer(BOB, U64_MAX, asset)).receipts[0].rule == "kernel.balance"
    assert chain.books.supply(asset) == U64_MAX


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
def test_a_credit_beyond_64_bits_is_refused_even_if_supply_were_wrong(asset: str) -> None:
    chain = Sandbox(opening={ALICE: {asset: U64_MAX}, BOB: {}})
    books = chain.books
    books._credit(asset, BOB.account, 5)
    with pytest.raises(Exception, match="cannot hold that much"):
        books.move(asset, ALICE.account, BOB.account, U64_MAX)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ALICE, BOB, CAROL]),
            st.sampled_from([ALICE, BOB, DAVE]),
            st.integers(1, 3_000),
            st.sampled_from(["CLAW", "EUR"]),
        ),
        max_size=12,
    )
)
def test_no_sequence_of_transfers_makes_or_loses_money(moves: list[tuple]) -> None:  # type: ignore[type-arg]
    chain = Sandbox()
    for source, target, amount, asset in moves:
        before = chain.balance(source, asset), chain.balance(target, asset)
        ok = chain.pay(source, transfer(target, amount, asset)).receipts[0].code == 0
        assert ok == (before[0] >= amount)
        if source is not target and ok:
            assert chain.balance(source, asset) == before[0] - amount
            assert chain.balance(target, asset) == before[1] + amount
        else:
            assert (chain.balance(source, asset), chain.balance(target, asset)) == before
    for asset, total in (("CLAW", 1_001_000), ("EUR", 50_007)):
        assert sum(chain.balance(key, asset) for key in (ALICE, BOB, CAROL, DAVE)) == total


# -- the assets themselves


def test_genesis_fixes_names_decimals_titles_and_supply() -> None:
    chain = Sandbox(assets=THREE, opening={ALICE: {"CLAW": 5, "X.0": 9}, BOB: {"CLAW": 6}})
    found = list_assets(chain.state, 0, 10)
    assert [(a.name, a.decimals, a.title, a.issuer, a.flags) for a in found] == [
        ("CLAW", 6, "Claw", None, 0),
        ("EUR", 2, "Euro", None, 0),
        ("X.0", 0, "X", None, 0),
    ]
    assert [chain.books.supply(asset.name) for asset in found] == [11, 0, 9]
    assert chain.registry.query(chain.state, "assets.get", "EUR") == found[1]
    assert get_asset(chain.state, "GBP") is None


def test_assets_are_listed_in_pages() -> None:
    chain = Sandbox(assets=THREE, opening={})
    pages = [[asset.name for asset in list_assets(chain.state, at, 2)] for at in (0, 2, 4)]
    assert pages == [["CLAW", "EUR"], ["X.0"], []]
    assert chain.registry.query(chain.state, "assets.list", 1, 1)[0].name == "EUR"
    assert list_assets(DictState({}), 0, 10) == []


def test_damaged_records_of_ours_are_a_bug() -> None:
    chain = Sandbox()
    chain.state.records["assets", asset_key("EUR")] = b"\x91\x01"
    with pytest.raises(Bug):
        get_asset(chain.state, "EUR")
    del chain.state.records["assets", asset_key("EUR")]
    with pytest.raises(Bug, match="no record"):
        list_assets(chain.state, 0, 10)
    del chain.state.records["assets", b"n" + bytes(4)]
    with pytest.raises(Bug, match="hole"):
        list_assets(chain.state, 0, 10)
    del chain.state.records[KERNEL, supply_key("EUR")]
    with pytest.raises(Exception, match="no asset EUR"):
        chain.books.supply("EUR")


def test_an_asset_created_twice_is_a_bug() -> None:
    books = Sandbox().books
    with pytest.raises(Bug, match="created twice"):
        books.create_asset("EUR")


def test_genesis_with_other_modules_than_this_software_has_is_refused() -> None:
    registry = registry_with()
    for modules in ((), (("assets", 1), ("accounts", 1)), (("accounts", 2), ("assets", 1))):
        with pytest.raises(Malformed, match=r"genesis\.modules"):
            genesis_changes(make_genesis(registry, modules=modules), registry)


def test_the_fee_account_cannot_be_somebody_s_from_the_start() -> None:
    registry = registry_with()
    genesis = make_genesis(registry, accounts=(GenesisAccount(FEE_ACCOUNT, ()),))
    with pytest.raises(Malformed, match="is an account already"):
        genesis_changes(genesis, registry)


def test_a_transfer_says_in_words_what_it_does() -> None:
    action = Sandbox().registry.actions["assets.transfer"]
    words = Words(account=lambda account: "BOB", amount=lambda asset, n: f"{n / 100:.2f} {asset}")
    assert action.words(action.named(("EUR", BOB.account, 1250)), words) == "Pay 12.50 EUR to BOB."
