"""Issuing: who may create and destroy value, within which bounds, and what can still change.

If these failed, somebody could make money, or take from holders what they were promised.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.assets import issuing
from clawpurse.modules.assets.actions import ACTIONS
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    CLAWBACK,
    FREEZABLE,
    IMMUTABLE,
    RESERVE,
    TRANSFERABLE,
    Metadata,
    Reserve,
    asset_key,
    assets_hold,
    flag_names,
    list_holders,
    pack,
)
from tests.ledger.sandbox import ALICE, BOB, DAVE, ERIN, MINUTE_MS, START_MS, Key, transfer
from tests.modules.council import event, grant, kinds, revoke
from tests.modules.issuance import (
    AGENT,
    CONTROLS,
    EVERYTHING,
    ISSUER,
    Issuance,
    act,
    create,
    mint,
    pay,
)

U64_MAX = 2**64 - 1
DIGEST = bytes(range(32))


# -- creating


def test_an_issuer_creates_an_asset_that_says_what_it_is() -> None:
    chain = Issuance(None)
    result = chain.pay(
        ISSUER, create(flags=EVERYTHING, cap=10_000, text="https://eurx.example", digest=DIGEST)
    )
    assert event(result, "assets.created")[2:] == ((ISSUER.account,), ("EURX", 63, 10_000))
    asset = chain.asset()
    assert asset == ("EURX", 2, "Euro X", ISSUER.account, 63, 10_000, 0, 0)
    assert chain.query("assets.metadata", "EURX") == Metadata("https://eurx.example", DIGEST)
    assert chain.query("assets.supply", "EURX") == 0
    assert chain.query("assets.issued", ISSUER.account) == ["EURX"]
    assert [one.name for one in chain.query("assets.list", 0, 10)] == ["CLAW", "EUR", "EURX"]
    assert flag_names(63) == [
        "authorisationRequired", "freezable", "clawback", "transferable", "immutable", "reserve",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "action", "rule"),
    [
        (ALICE, create(), "kernel.role"),
        (ISSUER, create("EUR"), "assets.exists"),
        (ISSUER, create("CLAW"), "assets.exists"),
        (ISSUER, create("EURX"), "assets.exists"),
    ],
)
def test_creating_is_refused(key: Key, action: RawAction, rule: str) -> None:
    assert Issuance().refused(key, action).rule == rule


def test_an_issuer_creates_so_many_assets_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuing, "ASSETS_PER_ISSUER_MAX", 2)
    chain = Issuance()
    chain.done(ISSUER, create("B"))
    assert chain.refused(ISSUER, create("C")).rule == "assets.issuerFull"
    assert chain.query("assets.issued", ISSUER.account) == ["B", "EURX"]


BAD_CREATIONS: list[list[Any]] = [
    ["eurx", 2, "t", 0, None, "", None],
    ["", 2, "t", 0, None, "", None],
    ["E" * 17, 2, "t", 0, None, "", None],
    ["1E", 2, "t", 0, None, "", None],
    ["EURX", 19, "t", 0, None, "", None],
    ["EURX", -1, "t", 0, None, "", None],
    ["EURX", 2, "", 0, None, "", None],
    ["EURX", 2, "t" * 65, 0, None, "", None],
    ["EURX", 2, "é", 0, None, "", None],
    ["EURX", 2, "t", 64, None, "", None],
    ["EURX", 2, "t", 0, -1, "", None],
    ["EURX", 2, "t", 0, U64_MAX + 1, "", None],
    ["EURX", 2, "t", 0, None, "m" * 257, None],
    ["EURX", 2, "t", 0, None, "\n", None],
    ["EURX", 2, "t", 0, None, "", bytes(31)],
    ["EURX", 2, "t", 0, None, ""],
]


@pytest.mark.parametrize("fields", BAD_CREATIONS)
def test_malformed_creations(fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Issuance(None).registry.read_action(RawAction("assets.create", fields))


ACCOUNT = ALICE.account
BAD_FIELDS: list[tuple[str, list[Any]]] = [
    ("mint", ["EURX", ACCOUNT, 0]),
    ("mint", ["EURX", ACCOUNT]),
    ("burn", ["EURX", 0]),
    ("setFlags", ["EURX", 64]),
    ("setCap", ["EURX", "1"]),
    ("setMetadata", ["EURX", None, None]),
    ("freeze", ["EURX", ACCOUNT, 0, None]),
    ("freeze", ["EURX", ACCOUNT, 3, None]),
    ("freeze", ["EURX", ACCOUNT, 1, "No spaces"]),
    ("unfreeze", ["EURX", bytes(5), None]),
    ("freezeAll", ["EURX"]),
    ("unfreezeAll", ["EURX", 4]),
    ("authorise", ["EURX", ACCOUNT, 3]),
    ("clawback", ["EURX", ACCOUNT, 0, ACCOUNT, "theft", None]),
    ("clawback", ["EURX", ACCOUNT, 1, ACCOUNT, None, None]),
    ("clawback", ["EURX", ACCOUNT, 1, ACCOUNT, "theft", b"short"]),
    ("appoint", ["EURX", "burn", ACCOUNT]),
    ("appoint", ["EURX", "mint"]),
    ("dismiss", ["EURX", "", ACCOUNT]),
    ("attestReserve", ["EURX", 1, 2, bytes(32)]),
    ("attestReserve", ["EURX", 1, 2, bytes(3), 4]),
]


@pytest.mark.parametrize(("verb", "fields"), BAD_FIELDS)
def test_malformed_actions(verb: str, fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Issuance(None).registry.read_action(RawAction(f"assets.{verb}", fields))


@pytest.mark.parametrize("action", [action for action in ACTIONS if action.name.count(".") == 1])
def test_nobody_acts_on_an_asset_that_is_not_there_or_has_no_issuer(action: Any) -> None:
    values: dict[str, list[Any]] = {
        "mint": [BOB, 1], "burn": [1], "setMetadata": ["x", None], "setFlags": [1],
        "setCap": [5], "freeze": [BOB, 1, None], "unfreeze": [BOB, None], "freezeAll": [None],
        "unfreezeAll": [None], "authorise": [BOB, 2], "clawback": [BOB, 1, ALICE, "theft", None],
        "appoint": ["mint", BOB], "dismiss": ["mint", BOB],
        "attestReserve": [1, START_MS, DIGEST, START_MS + 10**9],
    }  # fmt: skip
    verb = action.name.partition(".")[2]
    if verb in ("transfer", "create"):
        return
    chain = Issuance(EVERYTHING & ~IMMUTABLE)
    assert chain.refused(ISSUER, act(verb, "NONE", *values[verb])).rule == "kernel.asset"
    for name in ("EUR", "CLAW"):
        assert chain.refused(ISSUER, act(verb, name, *values[verb])).rule == "assets.noIssuer"
    strangers = chain.refused(ALICE, act(verb, "EURX", *values[verb]))
    assert strangers.rule in ("kernel.role", "assets.issuerOnly")
    assert strangers.code == Code.NOT_AUTHORISED


# -- minting and burning


def test_minting_creates_value_and_burning_destroys_it() -> None:
    chain = Issuance(cap=100)
    result = chain.pay(ISSUER, mint(BOB, 60))
    assert kinds(result) == ["assets.minted", "assets.transferred"]
    assert (chain.balance(BOB, "EURX"), chain.balance(ISSUER, "EURX")) == (60, 0)
    assert chain.asset().issued == 1
    assert kinds(chain.pay(ISSUER, mint(ISSUER, 40))) == ["assets.minted"]
    assert chain.query("assets.supply", "EURX") == 100
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "assets.cap"
    chain.done(BOB, pay(ISSUER, 10))  # Redeemed.
    chain.done(ISSUER, act("burn", "EURX", 50))
    assert chain.refused(ISSUER, act("burn", "EURX", 1)).rule == "kernel.balance"
    assert chain.query("assets.supply", "EURX") == 50
    chain.done(ISSUER, mint(BOB, 50))


def test_minting_opens_an_account_that_is_new() -> None:
    chain = Issuance()
    chain.done(ISSUER, mint(ERIN, 5))
    assert chain.balance(ERIN, "EURX") == 5


def test_a_supply_can_reach_64_bits_and_not_beyond() -> None:
    chain = Issuance()
    chain.done(ISSUER, mint(BOB, U64_MAX))
    receipt = chain.refused(ISSUER, mint(ISSUER, 1))
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "kernel.overflow")


def test_an_issuer_without_its_licence_creates_no_more_but_can_still_end_what_exists() -> None:
    chain = Issuance()
    chain.hand_out(bob=10)
    chain.done(ALICE, revoke("issuer", ISSUER))
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "kernel.role"
    assert chain.refused(ISSUER, create("NEXT")).rule == "kernel.role"
    chain.done(BOB, pay(ISSUER, 10))
    chain.done(ISSUER, act("burn", "EURX", 10))


# -- what may change


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (TRANSFERABLE, TRANSFERABLE, "assets.unchanged"),
        (TRANSFERABLE, TRANSFERABLE | FREEZABLE, "assets.powerTaken"),
        (TRANSFERABLE, TRANSFERABLE | CLAWBACK, "assets.powerTaken"),
        (TRANSFERABLE, TRANSFERABLE | AUTHORISATION_REQUIRED, "assets.powerTaken"),
        (TRANSFERABLE, 0, "assets.promiseBroken"),
        (RESERVE, 0, "assets.promiseBroken"),
        (IMMUTABLE | FREEZABLE, IMMUTABLE, "assets.immutable"),
        (FREEZABLE, 0, ""),
        (CLAWBACK, 0, ""),
        (AUTHORISATION_REQUIRED, 0, ""),
        (0, TRANSFERABLE | RESERVE | IMMUTABLE, ""),
    ],
)
@pytest.mark.parametrize("issued", [True, False])
def test_flags_once_units_exist_change_only_for_the_good_of_holders(
    before: int, after: int, rule: str, *, issued: bool
) -> None:
    chain = Issuance(before)
    if issued:
        if before & RESERVE:
            chain.done(
                ISSUER, act("attestReserve", "EURX", 9, START_MS, DIGEST, START_MS + MINUTE_MS)
            )
        chain.done(ISSUER, mint(ISSUER, 5))
        chain.done(ISSUER, act("burn", "EURX", 5))  # Units that did exist count.
    only_once_issued = ("assets.powerTaken", "assets.promiseBroken")
    if rule and (issued or rule not in only_once_issued):
        assert chain.refused(ISSUER, act("setFlags", "EURX", after)).rule == rule
        assert chain.asset().flags == before
    else:
        result = chain.pay(ISSUER, act("setFlags", "EURX", after))
        assert event(result, "assets.flagsSet")[3] == ("EURX", before, after)
        assert chain.asset().flags == after


def test_a_cap_changes_but_never_below_what_exists() -> None:
    chain = Issuance(cap=10)
    chain.done(ISSUER, mint(BOB, 8))
    receipt = chain.refused(ISSUER, act("setCap", "EURX", 7))
    assert (receipt.rule, receipt.facts) == ("assets.cap", (8, 7, "EURX"))
    assert chain.refused(ISSUER, act("setCap", "EURX", 10)).rule == "assets.unchanged"
    chain.done(ISSUER, act("setCap", "EURX", 8))
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "assets.cap"
    chain.done(ISSUER, act("setCap", "EURX", None))
    chain.done(ISSUER, mint(BOB, 1_000))


def test_metadata_can_be_replaced_and_removed() -> None:
    chain = Issuance()
    assert chain.query("assets.metadata", "EURX") == Metadata("", None)
    assert chain.refused(ISSUER, act("setMetadata", "EURX", "", None)).rule == "assets.unchanged"
    chain.done(ISSUER, act("setMetadata", "EURX", "see x", DIGEST))
    assert chain.query("assets.metadata", "EURX") == Metadata("see x", DIGEST)
    chain.done(ISSUER, act("setMetadata", "EURX", "", None))
    assert chain.query("assets.metadata", "EURX") == Metadata("", None)


@pytest.mark.parametrize(
    "action",
    [
        act("setFlags", "EURX", 0),
        act("setCap", "EURX", 5),
        act("setMetadata", "EURX", "x", None),
    ],
)
def test_what_was_issued_as_immutable_stays_as_it_is(action: RawAction) -> None:
    assert Issuance(IMMUTABLE).refused(ISSUER, action).rule == "assets.immutable"


# -- agents


def test_an_agent_does_what_it_is_appointed_to_until_it_is_dismissed() -> None:
    chain = Issuance()
    assert chain.refused(AGENT, mint(BOB, 1)).facts == (AGENT.account, "eurx.mint", "assets.mint")
    result = chain.pay(ISSUER, act("appoint", "EURX", "mint", AGENT))
    assert kinds(result) == ["roles.granted", "assets.appointed"]
    chain.done(AGENT, mint(BOB, 1))
    chain.done(AGENT, mint(ISSUER, 5))
    chain.done(AGENT, act("burn", "EURX", 5))
    assert chain.refused(AGENT, act("freezeAll", "EURX", None)).rule == "kernel.role"
    chain.done(ISSUER, act("dismiss", "EURX", "mint", AGENT))
    assert chain.refused(AGENT, mint(BOB, 1)).rule == "kernel.role"


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (act("appoint", "EURX", "mint", AGENT), "assets.appointed"),
        (act("appoint", "EURX", "mint", ISSUER), "assets.issuerHolder"),
        (act("appoint", "EURX", "mint", ERIN), "kernel.sender"),
        (act("dismiss", "EURX", "mint", BOB), "assets.notAppointed"),
    ],
)
def test_appointments_that_are_refused(action: RawAction, rule: str) -> None:
    chain = Issuance()
    chain.done(ISSUER, act("appoint", "EURX", "mint", AGENT))
    assert chain.refused(ISSUER, action).rule == rule


def test_not_even_an_administrator_appoints_to_somebody_s_asset_but_it_can_stop_an_agent() -> None:
    chain = Issuance()
    for role in ("eurx.mint", "eur.clawback", "later.freeze"):
        assert chain.refused(ALICE, grant(role, DAVE)).rule == "assets.dutyRole"
    chain.done(ALICE, grant("desk.cashier", DAVE))
    chain.done(ALICE, grant("a-b.mint", DAVE))  # No asset can have that name.
    chain.done(ISSUER, act("appoint", "EURX", "freeze", DAVE))
    chain.done(ALICE, revoke("eurx.freeze", DAVE))
    assert chain.refused(DAVE, act("freezeAll", "EURX", None)).rule == "kernel.role"


def test_genesis_appoints_nobody_to_an_asset() -> None:
    with pytest.raises(Malformed, match="is a duty over"):
        Issuance(None, roles=(GenesisRole("eur.mint", ALICE.account),))


# -- reserves


def attest(amount: int, as_of_ms: int, valid_until_ms: int) -> RawAction:
    return act("attestReserve", "EURX", amount, as_of_ms, DIGEST, valid_until_ms)


def test_nothing_is_minted_beyond_the_last_reserve_that_is_valid() -> None:
    chain = Issuance(CONTROLS | RESERVE)
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "assets.reserveMissing"
    chain.done(ISSUER, act("appoint", "EURX", "reserve", AGENT))
    until = START_MS + 10 * MINUTE_MS
    result = chain.pay(AGENT, attest(100, START_MS, until))
    assert event(result, "assets.reserveAttested")[3] == ("EURX", 100, START_MS, DIGEST, until)
    assert chain.query("assets.reserve", "EURX") == Reserve(
        100, START_MS, DIGEST, until, AGENT.account, chain.height
    )
    chain.done(ISSUER, mint(BOB, 100))
    receipt = chain.refused(ISSUER, mint(BOB, 1))
    assert (receipt.rule, receipt.facts) == ("assets.reserveShort", (101, 100, "EURX"))
    chain.done(AGENT, attest(50, START_MS + 1, until))  # What exists stays, no more comes.
    chain.done(BOB, pay(ISSUER, 60))
    chain.done(ISSUER, act("burn", "EURX", 60))
    chain.done(ISSUER, mint(BOB, 10))
    assert chain.refused(ISSUER, mint(BOB, 1)).rule == "assets.reserveShort"


def test_a_reserve_counts_up_to_its_last_millisecond() -> None:
    chain = Issuance(RESERVE)
    until = chain.time_ms + 2_000
    chain.done(ISSUER, attest(9, START_MS, until))
    chain.done(ISSUER, mint(ISSUER, 1))
    assert chain.time_ms == until
    assert chain.refused(ISSUER, mint(ISSUER, 1)).rule == "assets.reserveMissing"


def test_reserves_that_cannot_be_attested() -> None:
    chain = Issuance(RESERVE)
    now, far = chain.time_ms + 1_000, 457 * 86_400_000
    later = attest(9, START_MS, now + far)
    assert chain.refused(ISSUER, later).rule == "assets.reserveTime"
    chain.done(ISSUER, attest(9, START_MS, START_MS + 10 * MINUTE_MS))
    for wrong, rule in (
        (attest(9, chain.time_ms + 5_000, chain.time_ms + MINUTE_MS), "assets.reserveTime"),
        (attest(9, START_MS, START_MS + 1), "assets.reserveTime"),
        (attest(8, START_MS, START_MS + 10 * MINUTE_MS), "assets.reserveOlder"),
        (attest(8, START_MS - 1, START_MS + 10 * MINUTE_MS), "assets.reserveOlder"),
    ):
        assert chain.refused(ISSUER, wrong).rule == rule
    plain = Issuance(CONTROLS)
    lacking = plain.refused(ISSUER, attest(9, START_MS, START_MS + MINUTE_MS))
    assert (lacking.rule, lacking.facts) == ("assets.lacksFlag", ("EURX", "reserve"))


# -- invariants and words


def test_a_check_finds_records_that_contradict_each_other() -> None:
    def problem_of(**changes: Any) -> str:
        chain = Issuance(cap=100)
        chain.hand_out(bob=10)
        assert assets_hold(chain.state) is None
        fields = chain.asset()._replace(**changes)
        chain.state.records["assets", asset_key("EURX")] = pack(*fields)
        found = assets_hold(chain.state)
        assert found is not None
        return found

    assert "above its cap" in problem_of(cap=9)
    assert "never minted" in problem_of(issued=0)
    assert "missing in its issuer's list" in problem_of(issuer=BOB.account)
    assert "no issuer" in problem_of(issuer=None)


def test_every_action_says_what_it_does() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    said: list[tuple[str, Any, str]] = [
        ("create", ["EURX", 2, "Euro X", 11, None, "x", DIGEST],
         'Create the asset EURX ("Euro X") with 2 decimals, without a cap. Flags: '
         'authorisationRequired, freezable, transferable. Metadata "x". Document 0x'
         + DIGEST.hex() + "."),
        ("create", ["EURX", 2, "Euro X", 0, 1_000, "", None],
         'Create the asset EURX ("Euro X") with 2 decimals, of which at most 10.00 '
         "may exist. Flags: none."),
        ("mint", ["EURX", BOB.account, 5], "Create 5 EURX for bob."),
        ("burn", ["EURX", 5], "Destroy 5 EURX that the issuer has."),
        ("setMetadata", ["EURX", "", None],
         "Replace what is said of EURX. Nothing is said of it any more."),
        ("setFlags", ["EURX", 8], "From now on the flags of EURX are: transferable."),
        ("setCap", ["EURX", None], "From now on any amount of EURX may exist."),
        ("setCap", ["EURX", 7], "From now on at most 7 EURX may exist."),
        ("freeze", ["EURX", BOB.account, 1, "court-order"],
         "Freeze bob: it sends EURX to nobody but its issuer. Reason: court-order."),
        ("freeze", ["EURX", BOB.account, 2, None],
         "Freeze bob: it neither sends nor receives EURX."),
        ("unfreeze", ["EURX", BOB.account, None], "End the freeze of bob in EURX."),
        ("freezeAll", ["EURX", None], "Freeze all EURX: it moves only to and from its issuer."),
        ("unfreezeAll", ["EURX", None], "End the freeze of all EURX."),
        ("authorise", ["EURX", BOB.account, 2], "Let bob have, send and receive EURX."),
        ("authorise", ["EURX", BOB.account, 1],
         "Let bob keep EURX and return it to its issuer, and no more."),
        ("authorise", ["EURX", BOB.account, 0], "Let bob neither send nor receive EURX."),
        ("clawback", ["EURX", BOB.account, 5, BOB.account, "theft", None],
         "Take 5 EURX from bob, against its will, and give it to bob. Reason: theft."),
        ("appoint", ["EURX", "mint", BOB.account], "Let bob act for the issuer of EURX: mint."),
        ("dismiss", ["EURX", "mint", BOB.account],
         "No longer let bob act for the issuer of EURX: mint."),
        ("attestReserve", ["EURX", 5, 0, DIGEST, 86_400_000],
         "Attest that the reserve of EURX is worth 5 EURX as of 1970-01-01T00:00:00.000Z, valid "
         "until 1970-01-02T00:00:00.000Z. Document 0x" + DIGEST.hex() + "."),
    ]  # fmt: skip
    registry = Issuance(None).registry
    for verb, fields, sentence in said:
        action, values = registry.read_action(RawAction(f"assets.{verb}", fields))
        assert action.words(action.named(values), words) == sentence
    assert {f"assets.{verb}" for verb, _, _ in said} | {"assets.transfer"} == {
        action.name for action in ACTIONS
    }


def test_holders_are_those_with_a_balance_or_a_state() -> None:
    """The list is kept by the kernel for every way in which a balance comes and goes."""
    chain = Issuance()
    assert [who for who, _ in list_holders(chain.state, "EUR", 10)] == sorted(
        [ALICE.account, ISSUER.account]
    )
    chain.hand_out(alice=5, bob=5)
    chain.done(BOB, transfer(ALICE, 5, "EURX"))
    assert [who for who, _ in list_holders(chain.state, "EURX", 10)] == [ALICE.account]
    chain.done(ISSUER, act("freeze", "EURX", BOB, 1, None))
    both = sorted([ALICE.account, BOB.account])
    assert [who for who, _ in list_holders(chain.state, "EURX", 10)] == both
    assert [who for who, _ in list_holders(chain.state, "EURX", 1, both[0])] == both[1:]
    chain.done(ISSUER, act("unfreeze", "EURX", BOB, None))
    chain.done(ALICE, pay(ISSUER, 10))
    chain.done(ISSUER, act("burn", "EURX", 10))
    assert list_holders(chain.state, "EURX", 10) == []
