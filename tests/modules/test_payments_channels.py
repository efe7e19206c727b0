"""Channels: the payee gets what the newest voucher says, the payer the rest, whoever hurries.

If these failed, an old voucher could beat a newer one, or a stranger's promise could be cashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.value import SUSPENDED_MS
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from clawpurse.modules.payments import channels
from clawpurse.modules.payments.channels import CHALLENGE_BLOCKS_MAX, CHALLENGE_MS_MAX
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, FRANK, START_MS, Key, change_key
from tests.modules.payments_world import (
    HELD_THEN_PAID,
    HOUR_MS,
    OPENING,
    World,
    act,
    named,
    told,
)

EXPIRES = START_MS + DAY_MS
CHALLENGE_MS, CHALLENGE_BLOCKS = 60_000, 3
SIGNER = Key("voucher signer")


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "recipient": BOB,
        "amount": 1_000,
        "challenge_ms": CHALLENGE_MS,
        "challenge_blocks": CHALLENGE_BLOCKS,
        "expires": EXPIRES,
        "key": SIGNER.public,
        "reference": b"api",
        "travel": None,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def opened(world: World, **changes: Any) -> bytes:
    result = world.do(ALICE, "openChannel", *terms(**changes))
    return bytes(named(told(result, "payments.channelOpened"))["channelId"])


def voucher(
    world: World,
    channel_id: bytes,
    amount: int,
    signer: Key = SIGNER,
    payee: Key = BOB,
    asset: str = "CLAW",
) -> list[Any]:
    """Fields of a claim."""
    promise = Terms(world.genesis.hash, channel_id, asset, payee.account)
    return [channel_id, amount, crypto.sign(signer.seed, voucher_bytes(promise, amount))]


def claim(world: World, channel_id: bytes, amount: int, key: Key = BOB, **how: Any) -> Any:
    result = world.do(key, "claimChannel", *voucher(world, channel_id, amount, **how))
    return named(told(result, "payments.channelClaimed"))


def ended(result: Any) -> tuple[str, int]:
    data = named(told(result, "payments.channelEnded"))
    return data["outcome"], data["returned"]


def left(world: World, channel_id: bytes) -> int:
    channel = world.query("payments.channel", channel_id)
    return int(world.query("payments.channelLeft", channel))


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0
    assert world.held(ALICE).held == 0


@pytest.fixture
def world() -> World:
    return World()


def test_a_thousand_vouchers_are_one_claim(world: World) -> None:
    channel_id = opened(world)
    assert (world.balance(ALICE), world.held(ALICE).held) == (999_000, 1_000)
    made = [voucher(world, channel_id, amount) for amount in range(1, 1_001)]
    result = world.do(BOB, "claimChannel", *made[699])
    assert named(told(result, "payments.channelClaimed"))["amount"] == 700
    assert (world.balance(BOB), left(world, channel_id)) == (10_700, 300)
    for older in (made[0], made[698], made[699]):
        receipt = world.refused(BOB, "claimChannel", *older)
        assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.voucherPaid")
    assert claim(world, channel_id, 1_000)["amount"] == 300
    assert world.balance(BOB) == 11_000 and left(world, channel_id) == 0


def test_a_payer_who_closes_early_pays_what_it_promised(world: World) -> None:
    """The race: the payer closes with nothing claimed; the newest voucher still counts."""
    channel_id = opened(world)
    claim(world, channel_id, 100)  # An old voucher, brought by the payer itself.
    result = world.do(ALICE, "closeChannel", channel_id)
    data = named(told(result, "payments.channelClosing"))
    assert data["finalTime"] == world.time_ms + CHALLENGE_MS
    assert data["finalHeight"] == world.height + CHALLENGE_BLOCKS
    assert claim(world, channel_id, 1_000)["amount"] == 900
    world.block()
    result = world.wait_until(data["finalTime"])
    assert ended(result) == ("finalised", 0)
    assert world.balance(BOB) == 11_000
    nothing_left(world)


def test_a_voucher_counts_until_the_end_is_executed_however_late(world: World) -> None:
    channel_id = opened(world, challenge_blocks=50)
    final_ms = named(told(world.do(ALICE, "closeChannel", channel_id), "payments.channelClosing"))
    world.wait_until(final_ms["finalTime"] + HOUR_MS)  # Long after, but too few blocks.
    assert claim(world, channel_id, 40)["amount"] == 40
    receipt = world.refused(ALICE, "finaliseChannel", channel_id)
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "payments.channelEarly")
    while world.height < final_ms["finalHeight"] - 2:
        world.block(after_ms=200)
    claim(world, channel_id, 41)
    assert ended(world.do(CAROL, "finaliseChannel", channel_id)) == ("finalised", 959)
    nothing_left(world)


def test_blocks_without_time_do_not_end_it_either(world: World) -> None:
    channel_id = opened(world)
    world.do(ALICE, "closeChannel", channel_id)
    for _ in range(2 * CHALLENGE_BLOCKS):
        world.block()
    receipt = world.refused(ALICE, "finaliseChannel", channel_id)
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "payments.early")


def test_the_queue_ends_it_by_itself_on_a_slow_chain(world: World) -> None:
    channel_id = opened(world, challenge_blocks=40)
    world.do(ALICE, "closeChannel", channel_id)
    looked = 0
    for _ in range(200):
        before = world.query("payments.channel", channel_id)
        world.block(after_ms=30_000)
        after = world.query("payments.channel", channel_id)
        if after is None:
            break
        looked += before.due != after.due
    assert after is None and world.height > 40, "after the last block of its challenge"
    assert looked < 20
    nothing_left(world)


def test_the_payee_closes_at_once(world: World) -> None:
    channel_id = opened(world)
    claim(world, channel_id, 250)
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 750)
    assert world.balance(ALICE) == 999_750
    nothing_left(world)
    receipt = world.refused(BOB, "claimChannel", *voucher(world, channel_id, 300))
    assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "payments.missing")


def test_the_payee_closes_at_once_while_the_payer_waits(world: World) -> None:
    channel_id = opened(world)
    world.do(ALICE, "closeChannel", channel_id)
    receipt = world.refused(ALICE, "closeChannel", channel_id)
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.channelClosing")
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 1_000)
    nothing_left(world)


def test_at_its_time_it_closes_by_itself_with_a_challenge(world: World) -> None:
    channel_id = opened(world)
    result = world.wait_until(EXPIRES)
    assert named(told(result, "payments.channelClosing"))["finalTime"] == EXPIRES + CHALLENGE_MS
    receipt = world.refused(ALICE, "topUpChannel", channel_id, 1)
    assert receipt.rule == "payments.channelClosing"
    assert claim(world, channel_id, 10)["amount"] == 10
    for _ in range(CHALLENGE_BLOCKS):
        world.block()
    assert ended(world.wait_until(EXPIRES + CHALLENGE_MS)) == ("finalised", 990)
    nothing_left(world)


def test_anybody_brings_a_voucher_and_only_the_payee_is_paid(world: World) -> None:
    channel_id = opened(world)
    claim(world, channel_id, 5, key=CAROL)
    assert (world.balance(BOB), world.balance(CAROL)) == (10_005, 10_000)


def test_a_voucher_is_no_good_elsewhere(world: World) -> None:
    """Replay: of another channel, asset, payee, network, amount, key."""
    channel_id, other = opened(world), opened(world, asset="EUR", recipient=CAROL)
    good = voucher(world, channel_id, 10)
    wrong = [
        [other, 10, good[2]],
        [channel_id, 11, good[2]],
        voucher(world, channel_id, 10, signer=ALICE),
        voucher(world, channel_id, 10, signer=BOB),
        voucher(world, channel_id, 10, payee=CAROL),
        voucher(world, channel_id, 10, asset="EUR"),
        [channel_id, 10, bytes(64)],
    ]
    foreign = Terms(b"another network of this name".ljust(32), channel_id, "CLAW", BOB.account)
    wrong.append([channel_id, 10, crypto.sign(SIGNER.seed, voucher_bytes(foreign, 10))])
    for values in wrong:
        receipt = world.refused(BOB, "claimChannel", *values)
        assert (receipt.code, receipt.rule) == (Code.BAD_SIGNATURE, "payments.voucher")
    assert world.do(BOB, "claimChannel", *good)


def test_two_channels_of_one_pair_are_two(world: World) -> None:
    first, second = opened(world), opened(world)
    assert first != second
    receipt = world.refused(BOB, "claimChannel", second, *voucher(world, first, 10)[1:])
    assert receipt.rule == "payments.voucher"


def test_the_signer_that_was_named_stays_when_the_key_changes(world: World) -> None:
    channel_id = opened(world, key=None)
    assert world.query("payments.channel", channel_id).key == ALICE.public
    new = Key("alice's next key")
    raw = world.tx(ALICE, change_key(new), approvers=[(new, ALICE.account)])
    assert world.block(raw).receipts[0].code == 0
    assert claim(world, channel_id, 5, signer=ALICE)["amount"] == 5
    receipt = world.refused(BOB, "claimChannel", *voucher(world, channel_id, 6, signer=new))
    assert receipt.rule == "payments.voucher"


def test_more_can_be_set_apart(world: World) -> None:
    channel_id = opened(world)
    world.do(ALICE, "topUpChannel", channel_id, 200)
    assert left(world, channel_id) == 1_200
    assert claim(world, channel_id, 1_200)["amount"] == 1_200
    assert left(world, channel_id) == 0
    world.do(ALICE, "topUpChannel", channel_id, 50)  # It was empty: a hold of its own.
    assert claim(world, channel_id, 1_250)["amount"] == 50
    world.do(ALICE, "closeChannel", channel_id)
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 0)
    nothing_left(world)


def test_a_promise_beyond_what_is_there_pays_what_is_there(world: World) -> None:
    channel_id = opened(world)
    data = claim(world, channel_id, U64_MAX)
    assert (data["amount"], data["left"], data["cumulative"]) == (1_000, 0, U64_MAX)
    receipt = world.refused(BOB, "claimChannel", *voucher(world, channel_id, U64_MAX))
    assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "payments.channelEmpty")
    world.do(ALICE, "topUpChannel", channel_id, 30)
    assert claim(world, channel_id, 1_001)["amount"] == 30, "it was promised already"


def test_from_a_clawed_back_channel_claims_pay_what_is_left(world: World) -> None:
    channel_id = opened(world)
    world.seize(ALICE, 950, channel_id)
    assert claim(world, channel_id, 600)["amount"] == 50
    world.do(ALICE, "closeChannel", channel_id)
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 0)
    nothing_left(world)


def test_of_a_channel_that_was_clawed_back_entirely_nothing_is_left(world: World) -> None:
    channel_id = opened(world)
    world.seize(ALICE, 1_000, channel_id)
    receipt = world.refused(BOB, "claimChannel", *voucher(world, channel_id, 1))
    assert receipt.rule == "payments.channelEmpty"
    assert (world.balance(FRANK), left(world, channel_id)) == (1_000, 0)
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 0)
    nothing_left(world)


def test_a_claim_that_a_freeze_stops_is_not_lost(world: World) -> None:
    channel_id = opened(world)
    world.freeze(BOB)
    data = claim(world, channel_id, 700, key=CAROL)
    assert (data["amount"], data["rule"], data["left"]) == (0, "warden.frozen", 1_000)
    world.freeze(BOB, 0)
    assert claim(world, channel_id, 700)["amount"] == 700
    world.freeze(BOB)
    claim(world, channel_id, 900, key=CAROL)
    final = named(told(world.do(ALICE, "closeChannel", channel_id), "payments.channelClosing"))
    for _ in range(CHALLENGE_BLOCKS - 1):
        world.block()
    result = world.wait_until(final["finalTime"])
    assert ended(result) == ("finalised", 100), "the rest goes back, not what is owed"
    hold = world.books.find_hold(channel_id)
    assert hold is not None and (hold.amount, hold.module) == (200, "kernel")
    world.freeze(BOB, 0)
    world.do(DAVE, "voteHold", channel_id, 1, "cleared")
    assert world.balance(BOB) == 10_900
    assert world.time_ms < final["finalTime"] + SUSPENDED_MS
    nothing_left(world)


@pytest.mark.parametrize("taken", [0, 20, 50])
def test_what_was_set_apart_again_ends_as_what_was_first(world: World, taken: int) -> None:
    channel_id = opened(world)
    claim(world, channel_id, 1_000)
    world.do(ALICE, "topUpChannel", channel_id, 50)
    hold_id = world.query("payments.channel", channel_id).hold_id
    assert hold_id != channel_id
    if taken:
        world.seize(ALICE, taken, hold_id)
    world.freeze(BOB)
    if taken < 50:
        claim(world, channel_id, 1_010, key=CAROL)
    owed = 10 if taken < 50 else 0
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 50 - taken - owed)
    assert world.tree() == {}
    if owed:
        world.do(DAVE, "voteHold", hold_id, 0, "suspect")
    nothing_left(world)


def test_what_is_owed_is_paid_when_it_ends(world: World) -> None:
    channel_id = opened(world)
    world.freeze(BOB)
    claim(world, channel_id, 700, key=CAROL)
    world.freeze(BOB, 0)
    assert ended(world.do(BOB, "closeChannel", channel_id)) == ("closed", 300)
    assert world.balance(BOB) == 10_700
    nothing_left(world)


# -- who may, and what is refused


@pytest.mark.parametrize(
    ("name", "rest"), [("closeChannel", ()), ("topUpChannel", (1,)), ("finaliseChannel", ())]
)
def test_strangers_have_no_say(world: World, name: str, rest: tuple[Any, ...]) -> None:
    channel_id = opened(world)
    receipt = world.refused(CAROL, name, channel_id, *rest)
    assert receipt.rule == (
        "payments.channelOpen" if name == "finaliseChannel" else "payments.party"
    )
    assert world.refused(CAROL, name, b"?" * 32, *rest).rule == "payments.missing"


def test_the_payee_cannot_top_up(world: World) -> None:
    assert world.refused(BOB, "topUpChannel", opened(world), 1).rule == "payments.party"


@pytest.mark.parametrize(
    ("changes", "rule", "code"),
    [
        ({"recipient": ALICE}, "payments.self", Code.MALFORMED),
        ({"expires": START_MS}, "payments.span", Code.MALFORMED),
        ({"expires": START_MS + 367 * DAY_MS}, "payments.span", Code.MALFORMED),
        ({"amount": 2_000_000}, "kernel.balance", Code.INSUFFICIENT_FUNDS),
        ({"asset": "GBP"}, "kernel.asset", Code.NOT_FOUND),
        ({"amount": HELD_THEN_PAID}, "kernel.hold", Code.POLICY_REJECTED),
    ],
)
def test_a_channel_is_refused(world: World, changes: dict[str, Any], rule: str, code: Code) -> None:
    receipt = world.refused(ALICE, "openChannel", *terms(**changes))
    assert (receipt.rule, receipt.code) == (rule, code)


def test_a_top_up_is_judged_like_a_payment(world: World) -> None:
    channel_id = opened(world)
    assert world.refused(ALICE, "topUpChannel", channel_id, 10**6).rule == "kernel.balance"
    assert world.refused(ALICE, "topUpChannel", channel_id, HELD_THEN_PAID).rule == "kernel.hold"
    world.freeze(BOB)
    assert world.refused(ALICE, "topUpChannel", channel_id, 1).code == Code.FROZEN


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (terms(amount=0), "amount"),
        (terms(challenge_ms=999), "challengeMs"),
        (terms(challenge_ms=CHALLENGE_MS_MAX + 1), "challengeMs"),
        (terms(challenge_blocks=0), "challengeBlocks"),
        (terms(challenge_blocks=CHALLENGE_BLOCKS_MAX + 1), "challengeBlocks"),
        (terms(key=b"x"), "voucherKey"),
        (terms(reference=b"x" * 65), "reference"),
        (terms(travel=b"x"), "travelHash"),
        (terms()[:-1], "openChannel"),
    ],
)
def test_what_no_channel_can_be_is_malformed(values: Sequence[Any], field: str) -> None:
    wire = [one.account if isinstance(one, Key) else one for one in values]
    with pytest.raises(Malformed) as caught:
        channels.OPEN.read(wire)
    assert field in caught.value.field


@pytest.mark.parametrize("values", [[b"c" * 32, 0, bytes(64)], [b"c" * 32, 1, bytes(63)]])
def test_what_no_claim_can_be_is_malformed(values: list[Any]) -> None:
    with pytest.raises(Malformed):
        channels.CLAIM.read(values)


def test_an_account_that_no_key_signs_for_names_one(world: World) -> None:
    members = [[key.account, 1] for key in sorted((ALICE, CAROL), key=lambda key: key.account)]
    result = world.pay(ALICE, act("accounts.createMultisig", 1, members, b"s" * 32))
    assert result.receipts[0].code == 0
    firm = next(one for one in result.events if one.kind == "accounts.opened").accounts[0]
    world.do(ALICE, "assets.transfer", "CLAW", firm, 5_000)
    for key, refused in ((None, True), (SIGNER.public, False)):
        action = act("openChannel", *terms(key=key))
        proposal = world.do(
            ALICE,
            "accounts.propose",
            firm,
            world.time_ms + HOUR_MS,
            [[action.name, action.fields]],
            b"",
        )
        proposal_id = proposal.events[0].data[0]
        (receipt,) = world.pay(ALICE, act("accounts.execute", proposal_id, 500)).receipts
        assert (receipt.rule == "payments.channelKey") == refused
        assert bool(receipt.code) == refused


def test_its_payer_s_queue_is_full_and_it_still_ends() -> None:
    world = World(params={"due_per_creator_max": 2}, opening=OPENING)
    channel_id, other = opened(world), opened(world)
    assert world.refused(ALICE, "openChannel", *terms()).rule == "kernel.dueFull"
    for one in (channel_id, other):
        world.do(ALICE, "closeChannel", one)
    for _ in range(CHALLENGE_BLOCKS):
        world.block()
    world.wait_until(world.time_ms + CHALLENGE_MS)
    nothing_left(world)


def test_sentences_say_what_is_at_stake() -> None:
    words = Words(lambda account: account[:2].hex(), lambda asset, amount: f"{amount} {asset}")
    wire = [one.account if isinstance(one, Key) else one for one in terms()]
    said = channels.OPEN.words(channels.OPEN.named(channels.OPEN.read(wire)), words)
    assert "1000 CLAW" in said and "60 s and 3 blocks" in said and '"api"' in said
    cases: Any = (
        (channels.TOP_UP, [b"i" * 32, 3]),
        (channels.CLAIM, [b"i" * 32, 3, bytes(64)]),
        (channels.CLOSE, [b"i" * 32]),
        (channels.FINALISE, [b"i" * 32]),
    )
    for action, values in cases:
        assert "69" * 32 in action.words(action.named(action.read(values)), words)
