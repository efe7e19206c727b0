"""Freezes, authorisation and clawback: what a holder may still do, and what an issuer may do to it.

If these failed, stolen money would move on, or an honest holder would be locked out of its own.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, Balance, balance_key, holder_key
from clawpurse.ledger.module_api import ALLOW, KERNEL, RELEASE, Context, Movement
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.assets.judging import on_transfer
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    CLAWBACK,
    FREEZABLE,
    TRANSFERABLE,
    Asset,
    Freeze,
    assets_hold,
    freezes_prefix,
    pack,
    with_freeze,
    with_level,
)
from tests.ledger.sandbox import ALICE, BOB, ERIN, Key, transfer
from tests.modules.council import event
from tests.modules.issuance import AGENT, CONTROLS, ISSUER, Issuance, act, mint, pay

GUARDED = CONTROLS | AUTHORISATION_REQUIRED


def freeze(who: Key, level: int = 1) -> RawAction:
    return act("freeze", "EURX", who, level, None)


def unfreeze(who: Key) -> RawAction:
    return act("unfreeze", "EURX", who, None)


def authorise(who: Key, level: int = 2) -> RawAction:
    return act("authorise", "EURX", who, level)


def claw(who: Key, amount: int, to: Key, hold_id: bytes | None = None) -> RawAction:
    return act("clawback", "EURX", who, amount, to, "theft", hold_id)


FREEZE_ALL, UNFREEZE_ALL = act("freezeAll", "EURX", None), act("unfreezeAll", "EURX", None)

# State, then what is refused of: Alice pays Bob, Alice returns to the issuer, the issuer pays
# Alice, the issuer mints to Alice, Bob pays Alice.
FROZEN_TABLE = [
    ((), "", "", "", "", ""),
    ((freeze(ALICE),), "assets.frozen", "", "", "", ""),
    ((freeze(ALICE, 2),), *["assets.deepFrozen"] * 5),
    ((freeze(BOB, 2),), "assets.deepFrozen", "", "", "", "assets.deepFrozen"),
    ((FREEZE_ALL,), "assets.allFrozen", "", "", "", "assets.allFrozen"),
    ((FREEZE_ALL, freeze(ALICE, 2)), *["assets.deepFrozen"] * 5),
    ((FREEZE_ALL, UNFREEZE_ALL), "", "", "", "", ""),
    ((freeze(ALICE, 2), freeze(ALICE)), "assets.frozen", "", "", "", ""),
    ((freeze(ALICE, 2), unfreeze(ALICE)), "", "", "", "", ""),
]
LEVEL_TABLE = [
    ((), "", "", "", "", ""),
    ((authorise(ALICE, 1),), "assets.limited", "", *["assets.limited"] * 3),
    ((authorise(ALICE, 0),), *["assets.notAuthorised"] * 5),
    ((authorise(BOB, 0),), "assets.notAuthorised", "", "", "", "assets.notAuthorised"),
    ((authorise(BOB, 1),), "assets.limited", "", "", "", "assets.limited"),
]


def ready(flags: int) -> Issuance:
    """Alice and Bob have 100 EURX each, the issuer too, and whoever needs it is authorised."""
    chain = Issuance(flags)
    if flags & AUTHORISATION_REQUIRED:
        chain.done(ISSUER, authorise(ALICE), authorise(BOB))
    chain.hand_out(alice=100, bob=100)
    chain.done(ISSUER, mint(ISSUER, 100))
    return chain


ATTEMPTS = (
    (ALICE, pay(BOB, 1)),
    (ALICE, pay(ISSUER, 1)),
    (ISSUER, pay(ALICE, 1)),
    (ISSUER, mint(ALICE, 1)),
    (BOB, pay(ALICE, 1)),
)


@pytest.mark.parametrize("row", [*((CONTROLS, row) for row in FROZEN_TABLE),
                                 *((GUARDED, row) for row in LEVEL_TABLE)])  # fmt: skip
def test_what_each_state_lets_holders_do(row: tuple[int, tuple]) -> None:  # type: ignore[type-arg]
    flags, (actions, *rules) = row
    chain = ready(flags)
    for action in actions:
        chain.done(ISSUER, action)
    for (who, attempt), rule in zip(ATTEMPTS, rules, strict=True):
        if rule:
            receipt = chain.refused(who, attempt)
            assert receipt.rule == rule
            code = Code.FROZEN if "rozen" in rule else Code.NOT_AUTHORISED
            assert receipt.code == code
            assert receipt.trace == ((rule, 1, 2),)
        else:
            assert chain.done(who, attempt).trace == ()


def test_without_the_flag_it_goes_only_to_and_from_its_issuer() -> None:
    chain = ready(CONTROLS & ~TRANSFERABLE)
    receipt = chain.refused(ALICE, pay(BOB, 1))
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "assets.notTransferable")
    chain.done(ALICE, pay(ISSUER, 1))
    chain.done(ISSUER, pay(BOB, 1))
    chain.done(ISSUER, act("setFlags", "EURX", CONTROLS))
    chain.done(ALICE, pay(BOB, 1))


def test_nobody_pays_with_what_was_never_authorised_and_a_new_account_is_not() -> None:
    chain = ready(GUARDED)
    assert chain.refused(ALICE, pay(ERIN, 1)).rule == "assets.notAuthorised"
    assert chain.refused(ISSUER, mint(AGENT, 1)).rule == "assets.notAuthorised"


def test_genesis_assets_and_the_native_one_are_nobody_s_to_control() -> None:
    chain = ready(GUARDED)
    for action in (freeze(ALICE, 2), authorise(ALICE, 0), FREEZE_ALL):
        chain.done(ISSUER, action)
    assert chain.done(ALICE, transfer(BOB, 5, "EUR")).trace == ()
    assert chain.done(ALICE, transfer(BOB, 5)).trace == ()


def test_a_freeze_is_told_listed_and_kept_though_there_is_no_balance() -> None:
    chain = Issuance()
    result = chain.pay(ISSUER, act("freeze", "EURX", BOB, 2, "court-order"))
    assert event(result, "assets.frozen")[2:] == (
        (BOB.account, ISSUER.account), ("EURX", 2, "court-order"),
    )  # fmt: skip
    assert chain.query("assets.freezes", "EURX", 5) == [
        (BOB.account, Freeze(2, chain.height, ISSUER.account, "court-order"))
    ]
    assert chain.held(BOB, "EURX") == (0, 0, 2)
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "assets.deepFrozen"
    chain.done(ISSUER, unfreeze(BOB))
    assert chain.query("assets.freezes", "EURX", 5) == []
    assert chain.state.get(KERNEL, balance_key(BOB.account, "EURX")) is None


def test_a_state_outlives_a_balance_that_went_to_nothing() -> None:
    chain = ready(GUARDED)
    chain.done(ALICE, pay(BOB, 100))
    chain.done(BOB, pay(ALICE, 1))


@pytest.mark.parametrize(
    ("flags", "actions", "action", "rule"),
    [
        (TRANSFERABLE, (), freeze(BOB), "assets.lacksFlag"),
        (TRANSFERABLE, (), FREEZE_ALL, "assets.lacksFlag"),
        (TRANSFERABLE, (), authorise(BOB), "assets.lacksFlag"),
        (TRANSFERABLE, (), claw(BOB, 1, ALICE), "assets.lacksFlag"),
        (GUARDED, (), freeze(ISSUER), "assets.issuerHolder"),
        (GUARDED, (), authorise(ISSUER), "assets.issuerHolder"),
        (GUARDED, (), claw(ISSUER, 1, ALICE), "assets.issuerHolder"),
        (GUARDED, (), freeze(ERIN), "kernel.sender"),
        (GUARDED, (), authorise(ERIN), "kernel.sender"),
        (GUARDED, (freeze(BOB),), freeze(BOB), "assets.holderUnchanged"),
        (GUARDED, (), unfreeze(BOB), "assets.notFrozen"),
        (GUARDED, (FREEZE_ALL,), FREEZE_ALL, "assets.unchanged"),
        (GUARDED, (), UNFREEZE_ALL, "assets.unchanged"),
        (GUARDED, (), authorise(BOB), "assets.holderUnchanged"),
        (GUARDED, (), claw(BOB, 101, ALICE), "kernel.balance"),
        (GUARDED, (), claw(BOB, 1, BOB), "assets.sameParty"),
        (GUARDED, (), claw(BOB, 1, AGENT), "assets.notAuthorised"),
        (GUARDED, (freeze(ALICE, 2),), claw(BOB, 1, ALICE), "assets.deepFrozen"),
        (GUARDED, (), claw(BOB, 1, ALICE, bytes(32)), "kernel.holdMissing"),
    ],
)
def test_controls_that_are_refused(
    flags: int, actions: tuple[RawAction, ...], action: RawAction, rule: str
) -> None:
    chain = ready(flags)
    for one in actions:
        chain.done(ISSUER, one)
    assert chain.refused(ISSUER, action).rule == rule


def test_giving_up_a_power_ends_what_it_did_for_good() -> None:
    chain = ready(GUARDED)
    chain.done(ISSUER, freeze(ALICE, 2), FREEZE_ALL, authorise(BOB, 0))
    chain.done(ISSUER, act("setFlags", "EURX", TRANSFERABLE))
    chain.done(ALICE, pay(BOB, 1))
    assert chain.asset().frozen == 0
    assert chain.refused(ISSUER, claw(BOB, 1, ALICE)).rule == "assets.lacksFlag"
    chain.done(ISSUER, unfreeze(ALICE))  # The list can still be cleared.
    assert chain.query("assets.freezes", "EURX", 5) == []


# -- clawback


def test_a_clawback_takes_from_a_frozen_holder_and_says_why() -> None:
    chain = ready(CONTROLS)
    chain.done(ISSUER, freeze(ALICE, 2), act("appoint", "EURX", "clawback", AGENT))
    result = chain.pay(AGENT, claw(ALICE, 100, BOB))
    assert event(result, "assets.clawedBack")[2:] == (
        (ALICE.account, BOB.account, AGENT.account), ("EURX", 100, "theft", None),
    )  # fmt: skip
    assert (chain.balance(ALICE, "EURX"), chain.balance(BOB, "EURX")) == (0, 200)
    assert chain.held(ALICE, "EURX").flags == 2


def apart(to: Key, amount: int) -> RawAction:
    return RawAction("stall.set", ["EURX", to.account, amount])


def step(what: str, amount: int) -> RawAction:
    return RawAction("stall.step", [what, amount])


def held_id(chain: Issuance) -> bytes:
    found = chain.state.get("stall", b"h")
    assert found is not None
    return found


def test_a_clawback_reaches_what_is_set_apart() -> None:
    chain = ready(CONTROLS)
    chain.done(ALICE, apart(BOB, 60))
    hold_id = held_id(chain)
    assert chain.refused(ISSUER, claw(ALICE, 41, ISSUER)).rule == "kernel.balance"
    assert chain.refused(ISSUER, claw(BOB, 1, ISSUER, hold_id)).rule == "kernel.holdMissing"
    assert chain.refused(ISSUER, claw(ALICE, 61, ISSUER, hold_id)).code != 0
    chain.done(ISSUER, claw(ALICE, 20, ISSUER, hold_id))
    assert chain.held(ALICE, "EURX") == (40, 40, 0)
    chain.done(BOB, step("pay", 10))
    chain.done(ISSUER, claw(ALICE, 30, ISSUER, hold_id))
    assert chain.held(ALICE, "EURX") == (40, 0, 0)
    assert chain.refused(BOB, step("pay", 1)).rule == "kernel.holdMissing"


@pytest.mark.parametrize(
    ("flags", "action", "rule"),
    [
        (CONTROLS, freeze(ALICE), "assets.frozen"),
        (CONTROLS, freeze(ALICE, 2), "assets.deepFrozen"),
        (CONTROLS, freeze(BOB), ""),
        (CONTROLS, freeze(BOB, 2), "assets.deepFrozen"),
        (CONTROLS, FREEZE_ALL, "assets.allFrozen"),
        (GUARDED, authorise(ALICE, 0), "assets.notAuthorised"),
        (GUARDED, authorise(BOB, 0), "assets.notAuthorised"),
        (GUARDED, authorise(ALICE, 1), ""),
        (GUARDED, authorise(BOB, 1), ""),
    ],
)
def test_a_freeze_reaches_what_is_set_apart_and_its_owner_gets_it_back(
    flags: int, action: RawAction, rule: str
) -> None:
    chain = ready(flags)
    chain.done(ALICE, apart(BOB, 60))
    chain.done(ISSUER, action)
    if not rule:
        chain.done(BOB, step("pay", 20))
        assert chain.balance(BOB, "EURX") == 120
    else:
        assert chain.refused(BOB, step("pay", 20)).rule == rule
        chain.done(BOB, step("back", 60))
        assert chain.held(ALICE, "EURX")[:2] == (100, 0)


def test_nothing_is_set_apart_for_or_by_who_may_not_have_it() -> None:
    chain = ready(GUARDED)
    assert chain.refused(ALICE, apart(AGENT, 1)).rule == "assets.notAuthorised"
    chain.done(ISSUER, freeze(ALICE))
    assert chain.refused(ALICE, apart(BOB, 1)).rule == "assets.frozen"


def test_what_is_owed_to_the_issuer_is_paid_though_all_is_frozen() -> None:
    chain = ready(CONTROLS)
    chain.done(ALICE, apart(ISSUER, 10))
    chain.done(ISSUER, FREEZE_ALL, freeze(ALICE))
    chain.done(ISSUER, step("pay", 10))


# -- invariants


def test_a_check_finds_holders_that_contradict_the_supply_or_the_lists() -> None:
    def broken(key: bytes, value: bytes | None, tree: str = KERNEL) -> str:
        chain = ready(CONTROLS)
        chain.done(ISSUER, freeze(BOB))
        assert assets_hold(chain.state) is None
        if value is None:
            del chain.state.records[tree, key]
        else:
            chain.state.records[tree, key] = value
        return assets_hold(chain.state) or ""

    own = balance_key(BOB.account, "EURX")
    assert "have 299 together" in broken(own, Balance(99, 0, 1).pack())
    assert "differ" in broken(own, Balance(100, 0, 2).pack())
    assert "nobody could give" in broken(own, Balance(100, 0, 12).pack())
    assert "unknown kind" in broken(own, Balance(100, 0, 17).pack())
    assert "have 200 together" in broken(holder_key("EURX", BOB.account), None)
    place = freezes_prefix("EURX")
    assert "differ" in broken(place + BOB.account, None, "assets")
    entry = pack(1, 1, ISSUER.account, None)
    assert "names one who is no holder" in broken(place + FEE_ACCOUNT, entry, "assets")
    assert "nobody could give" in broken(
        balance_key(ALICE.account, "EUR"), Balance(50_000, 0, 1).pack()
    )


def test_powers_are_what_the_asset_was_issued_with() -> None:
    chain = ready(FREEZABLE | TRANSFERABLE)
    chain.done(ISSUER, act("appoint", "EURX", "freeze", AGENT))
    chain.done(AGENT, freeze(BOB))
    assert chain.refused(BOB, pay(ALICE, 1)).rule == "assets.frozen"
    assert not chain.asset().has(CLAWBACK)


# -- the rules said once more, in another way


class Eyes:
    """What the hook sees: an asset and two balances."""

    def __init__(self, asset: Asset, flags: dict[bytes, int]) -> None:
        self._record = pack(*asset)
        self._flags = flags

    def get(self, _key: bytes) -> bytes:
        return self._record

    def holding(self, _asset: str, account: bytes) -> Balance:
        return Balance(5, 0, self._flags.get(account, 0))


def expected(asset: Asset, states: dict[bytes, tuple[int, int]], movement: Movement) -> bool:
    """Whether a movement is allowed, from docs/modules/assets.md alone."""
    owed = movement.purpose == RELEASE
    home = ISSUER.account in (movement.source, movement.target)
    for account in (movement.source, movement.target):
        if account == ISSUER.account:
            continue
        sends = account == movement.source
        freeze, level = states[account]
        if asset.flags & FREEZABLE and (freeze == 2 or (freeze == 1 and sends and not home)):
            return False
        if asset.flags & AUTHORISATION_REQUIRED:
            settles = owed or (sends and home)
            if level == 0 or (level == 1 and not settles):
                return False
    if home:
        return True
    return bool(asset.flags & TRANSFERABLE) and not (asset.frozen and asset.flags & FREEZABLE)


@pytest.mark.parametrize("flags", [f | t for f in (0, 1, 2, 3) for t in (0, TRANSFERABLE)])
@pytest.mark.parametrize("frozen", [0, 1])
def test_every_state_of_two_holders_is_judged_as_the_page_says(flags: int, frozen: int) -> None:
    alice, bob, issuer = ALICE.account, BOB.account, ISSUER.account
    pairs = ((alice, bob), (bob, alice), (alice, issuer), (issuer, alice))
    asset = Asset("EURX", 2, "t", issuer, flags, None, frozen, 1)
    for freezes, levels in product(product(range(3), repeat=2), product(range(3), repeat=2)):
        states = {alice: (freezes[0], levels[0]), bob: (freezes[1], levels[1])}
        bits = {who: with_level(with_freeze(0, f), level) for who, (f, level) in states.items()}
        eyes = cast("Context", Eyes(asset, bits))
        for (source, target), purpose in product(pairs, ("payments", RELEASE)):
            movement = Movement("EURX", source, target, 1, purpose)
            verdict = on_transfer(eyes, movement)
            assert (verdict == ALLOW) == expected(asset, states, movement), (states, movement)
