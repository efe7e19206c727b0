"""A client that keeps no chain follows the real one, and nothing else that anybody can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement import light
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.bisection import Bisection
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.light import (
    NOT_ENOUGH_TRUST,
    SUCCESS,
    Invalid,
    LightBlock,
    Reason,
    Rules,
    Trusted,
    Verdict,
    check_alone,
    contradiction,
    verify,
)
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import Malformed
from tests.ledger.lightworld import (
    BLOCK_MS,
    DAY_MS,
    START_MS,
    LightWorld,
    certify,
    certify_by,
    keys_of,
    sign_vote,
)

PERIOD_MS = 14 * DAY_MS


@pytest.fixture(scope="module")
def world() -> LightWorld:
    """Ten blocks of one set of seven: a quorum is five, an honest third is three."""
    return LightWorld({1: range(7)}, 10)


def trust(world: LightWorld, height: int) -> Trusted:
    return Trusted.of(world.blocks[height]) if height else world.root


def reason_of(verdict: Verdict) -> Reason:
    assert isinstance(verdict, Invalid), verdict
    assert verdict.detail
    return verdict.reason


# -- what is followed


def test_every_block_is_followed_from_every_earlier_one(world: LightWorld) -> None:
    for base in range(10):
        for target in range(base + 1, 11):
            verdict = verify(trust(world, base), world.blocks[target], world.now_ms)
            assert verdict is SUCCESS


def test_a_light_block_survives_its_bytes(world: LightWorld) -> None:
    for block in world.blocks.values():
        assert LightBlock.unpack(block.pack()) == block
    packed = world.blocks[3].pack()
    for broken in (packed[:-1], packed + b"\0", b"", b"\x93" + packed[1:]):
        with pytest.raises(Malformed):
            LightBlock.unpack(broken)


def test_who_stays_is_enough_and_who_left_is_not() -> None:
    """Skipping counts signers of the trusted *next* set: more than a third of it, not a third."""
    # Of the set 0…5, a third is two: with two that stay, a skip is not trusted, with three it is.
    for stay, expected in ((1, NOT_ENOUGH_TRUST), (2, NOT_ENOUGH_TRUST), (3, SUCCESS)):
        later = [*range(stay), *range(6, 12 - stay)]
        world = LightWorld({1: range(6), 3: later}, 6)
        block = world.make(5, signers=world.members(5).keys)
        assert verify(trust(world, 1), block, world.now_ms) is expected, stay
        # The next set of block 2 is the new one already.
        assert verify(trust(world, 2), block, world.now_ms) is SUCCESS


def test_members_that_did_not_sign_lend_no_trust() -> None:
    """Membership alone is no signature: a quorum of newcomers cannot borrow the others' names."""
    world = LightWorld({1: range(4), 3: [0, 1, *range(4, 9)]}, 6)
    members = world.members(5)
    known = keys_of([0, 1]).keys
    newcomers = [key for key in members if key not in known]
    assert len(newcomers) == members.quorum_size
    block = world.make(5, signers=newcomers)
    assert verify(trust(world, 1), block, world.now_ms) is NOT_ENOUGH_TRUST
    both = world.make(5, signers=[*newcomers[1:], *known])
    assert verify(trust(world, 1), both, world.now_ms) is SUCCESS


# -- what is refused, one reason each


def test_trust_ends_with_its_period_to_the_millisecond(world: LightWorld) -> None:
    """R32: keys of long ago may be anybody's now; only a checkpoint helps then."""
    base, block = trust(world, 3), world.blocks[5]
    end = base.time_ms + PERIOD_MS
    assert verify(base, block, end - 1) is SUCCESS
    assert reason_of(verify(base, block, end)) is Reason.EXPIRED
    short = Rules(trusting_period_ms=5_000)
    assert verify(base, block, base.time_ms + 4_999, short) is SUCCESS
    assert reason_of(verify(base, block, base.time_ms + 5_000, short)) is Reason.EXPIRED


def test_a_block_from_the_future_is_refused_to_the_millisecond(world: LightWorld) -> None:
    base, block = trust(world, 3), world.blocks[5]
    edge = block.header.time_ms - 10_000
    assert reason_of(verify(base, block, edge)) is Reason.FUTURE
    assert verify(base, block, edge + 1) is SUCCESS
    assert reason_of(verify(base, block, edge + 1, Rules(clock_drift_ms=9_999))) is Reason.FUTURE


def signed(world: LightWorld, height: int, **changed: Any) -> LightBlock:
    """A block that a quorum really signed, however wrong it is."""
    return world.make(height, **changed)


# What a block of height 5 has wrong, and why it is refused: from block 4, then from block 2.
WRONG: Mapping[str, tuple[Callable[[LightWorld], LightBlock], Reason, Reason]] = {
    "another chain": (
        lambda w: signed(w, 5, chain_id="light-tesu"), Reason.NETWORK, Reason.NETWORK
    ),
    "another genesis": (
        lambda w: signed(w, 5, genesis_hash=b"\1" * 32), Reason.NETWORK, Reason.NETWORK
    ),
    "a later recovery epoch": (
        lambda w: signed(w, 5, recovery_epoch=1), Reason.EPOCH, Reason.EPOCH
    ),
    "the height of the trusted": (
        lambda w: signed(w, 2), Reason.HEIGHT, Reason.HEIGHT
    ),
    "a lower height": (
        lambda w: signed(w, 1), Reason.HEIGHT, Reason.HEIGHT
    ),
    "the time of the trusted": (
        lambda w: signed(w, 5, time_ms=START_MS + 2 * BLOCK_MS), Reason.TIME, Reason.TIME
    ),
    "an earlier time": (
        lambda w: signed(w, 5, time_ms=START_MS), Reason.TIME, Reason.TIME
    ),
    "a time to come": (
        lambda w: signed(w, 5, time_ms=w.now_ms + 10_000), Reason.FUTURE, Reason.FUTURE
    ),
    "a set that its header does not name": (
        lambda w: replace(w.blocks[5], authorities=keys_of(range(1, 8))),
        Reason.AUTHORITIES, Reason.AUTHORITIES,
    ),
    "a next set that its header does not name": (
        lambda w: replace(w.blocks[5], next_authorities=keys_of(range(1, 8))),
        Reason.NEXT_AUTHORITIES, Reason.NEXT_AUTHORITIES,
    ),
    "a certificate of another height": (
        lambda w: replace(w.blocks[5], certificate=w.blocks[6].certificate),
        Reason.CERTIFICATE, Reason.CERTIFICATE,
    ),
    "a certificate of another block": (
        lambda w: replace(
            w.blocks[5], certificate=signed(w, 5, state_root=b"\2" * 32).certificate
        ),
        Reason.CERTIFICATE, Reason.CERTIFICATE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_block_is_named(world: LightWorld, name: str) -> None:
    make, adjacent, skipping = WRONG[name]
    block = make(world)
    assert reason_of(verify(trust(world, 4), block, world.now_ms)) is adjacent
    assert reason_of(verify(trust(world, 2), block, world.now_ms)) is skipping


def test_the_next_block_must_follow_the_trusted_one(world: LightWorld) -> None:
    """Without the parent's id a second history could be appended to the first."""
    stranger = signed(world, 5, parent_id=b"\3" * 32)
    assert reason_of(verify(trust(world, 4), stranger, world.now_ms)) is Reason.PARENT
    first = signed(world, 1, parent_id=b"\3" * 32)
    assert reason_of(verify(world.root, first, world.now_ms)) is Reason.PARENT


def test_the_next_block_is_decided_by_the_set_that_the_trusted_one_names() -> None:
    """A set of the liar's own making may sign whatever it likes."""
    world = LightWorld({1: range(4)}, 5)
    liars = keys_of(range(10, 14))
    header = replace(world.header(4), authorities_hash=liars.hash)
    block = LightBlock(header, certify(header, liars), liars, world.members(5))
    assert check_alone(block) is None
    assert reason_of(verify(trust(world, 3), block, world.now_ms)) is Reason.SUCCESSION
    assert verify(trust(world, 2), block, world.now_ms) is NOT_ENOUGH_TRUST
    assert verify(world.root, block, world.now_ms) is NOT_ENOUGH_TRUST


def test_the_first_block_is_decided_by_the_genesis_set() -> None:
    world = LightWorld({1: range(4), 2: range(4, 8)}, 3)
    assert verify(world.root, world.blocks[1], world.now_ms) is SUCCESS
    other = LightWorld({1: range(4, 8)}, 1)
    header = replace(other.header(1), genesis_hash=world.genesis.hash, parent_id=world.genesis.hash)
    block = LightBlock(
        header, certify(header, other.members(1)), other.members(1), other.members(1)
    )
    assert reason_of(verify(world.root, block, world.now_ms)) is Reason.SUCCESSION


def bent(certificate: Certificate, **changed: Any) -> Certificate:
    return replace(certificate, **changed)


def _flip(signature: bytes) -> bytes:
    return signature[:40] + bytes([signature[40] ^ 1]) + signature[41:]


# Every way in which a certificate of seven (bitmap 0x1f: the first five) can be short of a proof.
FORGED: Mapping[str, Callable[[Certificate], Certificate]] = {
    "one signature less than it names": lambda c: bent(c, signatures=c.signatures[:-1]),
    "one signature more than it names": lambda c: bent(
        c, signatures=(*c.signatures, c.signatures[0])
    ),
    "no signature at all": lambda c: bent(c, signatures=(), signers=b"\0"),
    "a quorum less one": lambda c: bent(c, signers=b"\x0f", signatures=c.signatures[:4]),
    "one signature for two places": lambda c: bent(
        c, signatures=(*c.signatures[:4], c.signatures[0])
    ),
    "signatures in another order": lambda c: bent(c, signatures=c.signatures[::-1]),
    "a bitmap of two bytes": lambda c: bent(c, signers=c.signers + b"\0"),
    "an empty bitmap": lambda c: bent(c, signers=b""),
    "a member who is not there": lambda c: bent(c, signers=b"\x8f"),
    "another member's name": lambda c: bent(c, signers=b"\x2f"),
    "another round": lambda c: bent(c, round=1),
    "the first signature bent": lambda c: bent(
        c, signatures=(_flip(c.signatures[0]), *c.signatures[1:])
    ),
    "the last signature bent": lambda c: bent(
        c, signatures=(*c.signatures[:-1], _flip(c.signatures[-1]))
    ),
    "zeros for a signature": lambda c: bent(c, signatures=(*c.signatures[:-1], bytes(64))),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("base", [4, 1, 0])
def test_a_certificate_is_whole_or_nothing(world: LightWorld, name: str, base: int) -> None:
    block = replace(world.blocks[5], certificate=FORGED[name](world.blocks[5].certificate))
    assert reason_of(verify(trust(world, base), block, world.now_ms)) is Reason.CERTIFICATE
    alone = check_alone(block)
    assert alone is not None
    assert alone.reason is Reason.CERTIFICATE


def test_prevotes_decide_nothing(world: LightWorld) -> None:
    """A polka is what a liar gets for the asking: honest authorities prevote two blocks."""
    block = world.blocks[5]
    votes = [sign_vote(Kind.PREVOTE, block.header, key) for key in world.members(5).keys[:5]]
    signatures = tuple(vote.signature for vote in votes)
    forged = replace(block, certificate=bent(block.certificate, signatures=signatures))
    assert reason_of(verify(trust(world, 4), forged, world.now_ms)) is Reason.CERTIFICATE


def test_signatures_of_another_network_or_epoch_decide_nothing(world: LightWorld) -> None:
    """R1: a network of the same name and the same authorities can be replayed nowhere."""
    twin = LightWorld({1: range(7)}, 5, fee_min=1)
    replayed = replace(world.blocks[5], certificate=twin.blocks[5].certificate)
    assert reason_of(verify(trust(world, 4), replayed, world.now_ms)) is Reason.CERTIFICATE
    later = certify(replace(world.blocks[5].header, recovery_epoch=1), world.members(5))
    relabelled = bent(later, block_id=world.blocks[5].block_id)
    forged = replace(world.blocks[5], certificate=relabelled)
    assert reason_of(verify(trust(world, 4), forged, world.now_ms)) is Reason.CERTIFICATE


def test_a_forged_block_is_invalid_and_not_merely_far(world: LightWorld) -> None:
    """Whoever answered a forgery with "not enough trust" would be led on by it."""
    changed = LightWorld({1: range(4), 3: range(10, 14)}, 6)
    far = changed.blocks[6]
    assert verify(trust(changed, 1), far, changed.now_ms) is NOT_ENOUGH_TRUST
    forged = replace(far, certificate=FORGED["the last signature bent"](far.certificate))
    assert reason_of(verify(trust(changed, 1), forged, changed.now_ms)) is Reason.CERTIFICATE


def test_cheap_rules_come_before_signatures(world: LightWorld) -> None:
    """A peer that sends nonsense must not cost a hundred verifications."""
    asked = []

    def counting(key: bytes, message: bytes, signature: bytes) -> bool:
        asked.append(key)
        return crypto.verify(key, message, signature)

    for make, _, _ in WRONG.values():
        verify(trust(world, 4), make(world), world.now_ms, signature_holds=counting)
    assert asked == []
    verify(trust(world, 4), world.blocks[5], world.now_ms, signature_holds=counting)
    assert len(asked) == 5


# -- whatever the chain, whatever the lie


@st.composite
def chains(draw: st.DrawFn) -> LightWorld:
    """Up to 30 blocks; at most heights one authority comes, goes or is replaced."""
    height = draw(st.integers(2, 30))
    members = list(range(draw(st.integers(1, 7))))
    plan, fresh = {1: tuple(members)}, 50
    for at in sorted(draw(st.sets(st.integers(2, height + 1), max_size=12))):
        kind = draw(st.sampled_from(["add", "remove", "replace"]))
        if kind != "add" and len(members) > (1 if kind == "remove" else 0):
            members.pop(draw(st.integers(0, len(members) - 1)))
        if kind != "remove":
            members.append(fresh)
            fresh += 1
        plan[at] = tuple(members)
    return LightWorld(plan, height)


def drive(machine: Bisection, blocks: Mapping[int, LightBlock]) -> int:
    """Give the machine what it wants; returns how many blocks that were."""
    fetched = 0
    while machine.wanted is not None:
        machine.supply(blocks[machine.wanted])
        fetched += 1
    return fetched


@settings(max_examples=60)
@given(chains(), st.data())
def test_bisection_reaches_every_block_of_every_chain(world: LightWorld, data: Any) -> None:
    """Property 3: a light client accepts all honest heads, however the authorities changed."""
    base = data.draw(st.integers(0, world.height - 1))
    target = data.draw(st.integers(base + 1, world.height))
    machine = Bisection(trust(world, base), world.blocks[target], world.now_ms)
    fetched = drive(machine, world.blocks)
    assert machine.failure is None
    assert machine.done
    heights = [block.height for block in machine.trace]
    assert heights == sorted(set(heights))
    assert heights[-1] == target
    assert fetched == len(heights) - 1 < target - base
    # Each step stands on the one before it.
    trusted = trust(world, base)
    for block in machine.trace:
        assert verify(trusted, block, world.now_ms) is SUCCESS
        trusted = Trusted.of(block)
    # Nothing nearer than a third of trust was skipped: what it accepted, it was allowed to.
    assert machine.trusted == Trusted.of(world.blocks[target])


def forged_chain(
    world: LightWorld, first: int, bought: set[bytes], data: Any
) -> dict[int, LightBlock]:
    """What a liar can make: a linked chain from block `first` on, of sets that it invents.

    It signs with keys of its own and the `bought` ones, names whom it likes as members, and calls
    itself the next set of the last honest block.
    """
    blocks = {at: block for at, block in world.blocks.items() if at < first}
    own = keys_of(range(100, 100 + data.draw(st.integers(1, 6)))).keys
    everyone = sorted({key for at in range(1, world.height + 2) for key in world.members(at)})
    parent = blocks[first - 1].block_id if first > 1 else world.genesis.hash
    for height in range(first, world.height + 1):
        named = data.draw(st.lists(st.sampled_from(everyone), unique=True, max_size=8))
        members = AuthoritySet([*own, *named])
        header = replace(
            world.header(height),
            parent_id=parent,
            state_root=b"\x0e" * 32,
            authorities_hash=members.hash,
            next_authorities_hash=members.hash,
        )
        signers = [key for key in members if key in own or key in bought]
        blocks[height] = LightBlock(header, certify_by(header, members, signers), members, members)
        parent = header.block_id
    return blocks


@settings(max_examples=60)
@given(chains(), st.data())
def test_no_chain_of_a_liar_s_own_making_is_followed(world: LightWorld, data: Any) -> None:
    """Property 3, the other half: with a third of every honest set bought, and honest blocks
    served wherever they help, no forged block is reached from a trusted one.
    """
    base = data.draw(st.integers(0, world.height - 1))
    first = data.draw(st.integers(base + 1, world.height))
    bought: set[bytes] = set()
    for at in range(base + 1, world.height + 2):
        members = world.members(at)
        for key in members:
            with_it = {*bought, key}
            if not any(
                world.members(h).honest(len(with_it & set(world.members(h).keys)))
                for h in range(1, world.height + 2)
            ):
                bought = with_it
    lies = forged_chain(world, first, bought, data)
    target = data.draw(st.integers(first, world.height))
    machine = Bisection(trust(world, base), lies[target], world.now_ms)
    drive(machine, lies)
    assert not machine.done
    assert machine.failure is not None
    assert machine.failure.reason in (Reason.SUCCESSION, Reason.CERTIFICATE)
    assert all(block.height < first for block in machine.trace)


BENDABLE = [
    "height", "time_ms", "parent_id", "state_root", "receipts_root", "authorities_hash",
    "next_authorities_hash", "chain_id", "genesis_hash", "recovery_epoch", "cost_used",
]  # fmt: skip


@settings(max_examples=120)
@given(field=st.sampled_from(BENDABLE), base=st.integers(0, 4), data=st.data())
def test_a_header_bent_after_signing_is_never_followed(
    world: LightWorld, field: str, base: int, data: Any
) -> None:
    """One bit anywhere in what was signed, and nothing is left of the proof."""
    block = world.blocks[5]
    value = getattr(block.header, field)
    if isinstance(value, int):
        new: Any = data.draw(st.integers(0, 2**32 - 1).filter(lambda n: n != value))
    elif isinstance(value, str):
        new = value + "x"
    else:
        place = data.draw(st.integers(0, 255))
        new = bytearray(value)
        new[place // 8] ^= 1 << place % 8
        new = bytes(new)
    bad = replace(block, header=replace(block.header, **{field: new}))
    assert isinstance(verify(trust(world, base), bad, world.now_ms), Invalid)


@settings(max_examples=120)
@given(base=st.integers(0, 4), data=st.data())
def test_a_bent_byte_in_a_light_block_is_never_followed(
    world: LightWorld, base: int, data: Any
) -> None:
    packed = bytearray(world.blocks[5].pack())
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    try:
        block = LightBlock.unpack(bytes(packed))
    except Malformed:
        return
    # The proposer's round lies outside of what is signed only in one place: the certificate's.
    assert isinstance(verify(trust(world, base), block, world.now_ms), Invalid)


# -- the bisection machine


def test_without_changes_of_the_set_one_step_is_enough() -> None:
    world = LightWorld(height=200)
    machine = Bisection(world.root, world.blocks[200], world.now_ms)
    assert drive(machine, world.blocks) == 0
    assert [block.height for block in machine.trace] == [200]


def test_a_wholly_new_set_is_found_by_halving() -> None:
    """One change among a thousand blocks is found in ten questions, not a thousand."""
    world = LightWorld({1: range(4), 701: range(10, 14)}, 1_000)
    machine = Bisection(world.root, world.blocks[1_000], world.now_ms)
    assert drive(machine, world.blocks) <= 20
    assert machine.done
    assert 700 in [block.height for block in machine.trace]


def test_a_source_that_answers_with_another_block_is_refused() -> None:
    world = LightWorld({1: range(4), 5: range(10, 14)}, 10)
    machine = Bisection(world.root, world.blocks[10], world.now_ms)
    before = machine.wanted
    assert before == 5
    machine.supply(world.blocks[4])
    assert machine.failure == Invalid(Reason.HEIGHT, "asked for block 5, got block 4")
    after = machine.wanted
    assert after is None
    assert not machine.done


def test_a_refused_block_ends_the_search() -> None:
    world = LightWorld({1: range(4), 5: range(10, 14)}, 10)
    machine = Bisection(world.root, world.blocks[10], world.now_ms)
    bad = replace(world.blocks[5], certificate=world.blocks[6].certificate)
    machine.supply(bad)
    assert machine.failure is not None
    assert machine.failure.reason is Reason.CERTIFICATE
    assert machine.wanted is None
    assert machine.trace == []


# -- whom a fork blames


def test_two_blocks_of_one_round_convict_each_who_signed_both(world: LightWorld) -> None:
    one = world.blocks[5]
    header = replace(one.header, state_root=b"\7" * 32)
    keys = world.members(5).keys
    other = LightBlock(
        header,
        certify_by(header, world.members(5), keys[2:]),
        one.authorities,
        one.next_authorities,
    )
    found = contradiction(one, other)
    assert found.signed_both == keys[2:5]
    assert [evidence.authority for evidence in found.double_signs] == list(keys[2:5])
    for evidence in found.double_signs:
        evidence.verify(world.root.domain, world.members(5), crypto.verify)
    assert contradiction(other, one) == found


def test_blocks_of_two_rounds_name_suspects_and_convict_nobody(world: LightWorld) -> None:
    """Signing in two rounds is allowed with a polka in between: two certificates prove no guilt."""
    one = world.blocks[5]
    other = world.make(5, state_root=b"\7" * 32, round_=1)
    found = contradiction(one, other)
    assert found.signed_both == world.members(5).keys[:5]
    assert found.double_signs == ()


# -- each rule is needed


def _without(name: str) -> Callable[..., Any]:
    return lambda *_args, **_options: None


@pytest.mark.parametrize(
    ("rule", "lie"),
    [
        ("_check_trust", lambda w: (w.blocks[5], w.blocks[3].header.time_ms + PERIOD_MS)),
        ("_check_network", lambda w: (signed(w, 5, chain_id="elsewhere"), w.now_ms)),
        ("_check_network", lambda w: (signed(w, 5, recovery_epoch=1), w.now_ms)),
        ("_check_place", lambda w: (signed(w, 3, state_root=b"\5" * 32), w.now_ms)),
        ("_check_place", lambda w: (signed(w, 5, time_ms=START_MS), w.now_ms)),
        ("_check_place", lambda w: (signed(w, 5, time_ms=w.now_ms + 20_000), w.now_ms)),
        ("_check_adjacent", lambda w: (signed(w, 4, parent_id=b"\5" * 32), w.now_ms)),
        ("check_sets", lambda w: (_foreign_set(w, 5), w.now_ms)),
        ("check_certificate", lambda w: (_forged(w, 5), w.now_ms)),
    ],
)
def test_a_client_without_this_rule_would_follow_a_lie(
    world: LightWorld,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    lie: Callable[[LightWorld], tuple[LightBlock, int]],
) -> None:
    """Mutants: with one rule taken out, the lie that it is there for gets through."""
    block, now_ms = lie(world)
    assert isinstance(verify(trust(world, 3), block, now_ms), Invalid)
    monkeypatch.setattr(light, rule, _without(rule))
    assert verify(trust(world, 3), block, now_ms) is SUCCESS


def _foreign_set(world: LightWorld, height: int) -> LightBlock:
    """A block whose next set is the liar's: whoever believes it follows the liar from there."""
    return replace(world.blocks[height], next_authorities=keys_of(range(20, 24)))


def _forged(world: LightWorld, height: int) -> LightBlock:
    block = world.blocks[height]
    return replace(block, certificate=FORGED["another round"](block.certificate))
