"""The handshake: who is at the other end, on which network, said in bytes that cannot be bent.

If it failed silently, a stranger could speak as a node, or a node could take the blocks of
another network for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Bug, Malformed, ProtocolViolation, WrongNetwork
from clawpurse.p2p.handshake import (
    AGENT_CHARS_MAX,
    MAGIC,
    MESSAGE_BYTES_MAX,
    PREFACE_BYTES,
    Handshake,
    Identity,
    signed_bytes,
)
from clawpurse.p2p.noise import NoiseXX

GENESIS = b"\x11" * 32


def identity(number: int, **changes: object) -> Identity:
    fields: dict[str, object] = {
        "chain_id": "acme",
        "genesis_hash": GENESIS,
        "node_seed": bytes((number,)) * 32,
        "static_secret": bytes((number + 100,)) * 32,
        "agent": f"node/{number}",
        **changes,
    }
    return Identity(**fields)  # type: ignore[arg-type]


def sides(one: Identity, other: Identity) -> tuple[Handshake, Handshake]:
    return (
        Handshake(one, initiator=True, ephemeral_secret=b"\xa1" * 32),
        Handshake(other, initiator=False, ephemeral_secret=b"\xa2" * 32),
    )


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def meet(
    first: Handshake, second: Handshake, pieces: Callable[[bytes], Iterator[bytes]] = whole
) -> None:
    """Carry bytes to and fro until nobody has any."""
    waiting = [(second, first, first.start())]
    while waiting:
        to, back, data = waiting.pop(0)
        answer = b""
        for piece in pieces(data):
            to.feed(piece)
            while to.ready:
                answer += to.advance()
        if answer:
            waiting.append((back, to, answer))


def test_both_sides_learn_who_the_other_is_and_share_keys() -> None:
    first, second = sides(identity(1), identity(2))
    meet(first, second)
    assert first.secured is not None and second.secured is not None
    assert first.secured.node_id == identity(2).node_id
    assert second.secured.node_id == identity(1).node_id
    assert (first.secured.agent, second.secured.agent) == ("node/2", "node/1")
    assert first.secured.send_key == second.secured.receive_key
    assert first.secured.receive_key == second.secured.send_key
    assert first.secured.session == second.secured.session
    assert first.refusal is None and second.refusal is None


@given(st.integers(1, 7))
def test_bytes_may_arrive_in_any_pieces(size: int) -> None:
    """TCP keeps no borders: a handshake that needs whole messages would fail on real networks."""

    def cut(data: bytes) -> Iterator[bytes]:
        for place in range(0, len(data), size):
            yield data[place : place + size]

    first, second = sides(identity(1), identity(2))
    meet(first, second, cut)
    assert first.secured is not None and second.secured is not None


def test_bytes_behind_the_last_message_are_kept() -> None:
    """The first records may share a packet with the handshake: dropping them would cut the link."""
    first, second = sides(identity(1), identity(2))
    second.feed(first.start())
    first.feed(second.advance())
    second.feed(first.advance() + b"first record")
    assert second.advance() == b""
    assert second.leftover == b"first record"


@pytest.mark.parametrize(
    ("change", "what"),
    [({"chain_id": "other"}, "chain id"), ({"genesis_hash": b"\x22" * 32}, "genesis hash")],
)
def test_a_node_of_another_network_is_told_so_on_both_sides(
    change: dict[str, object], what: str
) -> None:
    """An operator with the wrong genesis file must read that, not "connection closed"."""
    first, second = sides(identity(1), identity(2, **change))
    meet(first, second)
    for side in (first, second):
        assert side.refusal is not None
        assert side.refusal.what == what
        assert side.refusal.ours != side.refusal.theirs


def test_another_protocol_version_is_named() -> None:
    first, second = sides(identity(1, version=2), identity(2))
    with pytest.raises(WrongNetwork, match="protocol version is 2 there and 1 here"):
        second.feed(first.start())


@given(st.binary(min_size=1, max_size=64))
def test_other_protocols_are_refused_on_the_first_differing_byte(data: bytes) -> None:
    """A web crawler at the peer port must cost nothing."""
    second = Handshake(identity(2), initiator=False, ephemeral_secret=b"\xa2" * 32)
    if MAGIC.startswith(data[: len(MAGIC)]):
        return
    with pytest.raises(ProtocolViolation, match="not this protocol"):
        second.feed(data)


@pytest.mark.parametrize("claim", [0, 31, 33, MESSAGE_BYTES_MAX + 1, 65_535])
def test_the_first_length_is_judged_before_anything_is_collected(claim: int) -> None:
    """Else a stranger could make us buffer 64 KiB a connection for nothing."""
    second = Handshake(identity(2), initiator=False, ephemeral_secret=b"\xa2" * 32)
    with pytest.raises(ProtocolViolation, match="claims"):
        second.feed(identity(1).preface + claim.to_bytes(2, "big"))


def test_later_lengths_are_bounded_too() -> None:
    first, second = sides(identity(1), identity(2))
    first.start()
    with pytest.raises(ProtocolViolation, match="claims"):
        first.feed(second._identity.preface + (MESSAGE_BYTES_MAX + 1).to_bytes(2, "big"))


@given(st.data())
def test_no_changed_byte_survives(data: st.DataObject) -> None:
    """Whoever sits between two nodes can break the handshake, never bend it."""
    first, second = sides(identity(1), identity(2))
    one = first.start()
    turn = data.draw(st.integers(0, 2))

    def bend(wire: bytes, now: int) -> bytes:
        if now != turn:
            return wire
        place = data.draw(st.integers(0, len(wire) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        return wire[:place] + bytes((wire[place] ^ bit,)) + wire[place + 1 :]

    with pytest.raises((ProtocolViolation, WrongNetwork)):
        second.feed(bend(one, 0))
        # A changed length may make us wait for bytes that never come; the deadline ends that.
        if not second.ready:
            raise ProtocolViolation("waits")
        first.feed(bend(second.advance(), 1))
        if not first.ready:
            raise ProtocolViolation("waits")
        second.feed(bend(first.advance(), 2))
        if not second.ready:
            raise ProtocolViolation("waits")
        second.advance()


class Forger:
    """An initiator that signs and says what it likes in message 3."""

    def __init__(self, say: Callable[[bytes, bytes], bytes]) -> None:
        self.noise = NoiseXX(
            initiator=True,
            prologue=identity(1).preface,
            static_secret=b"\x09" * 32,
            ephemeral_secret=b"\x08" * 32,
        )
        self.say = say

    def attack(self, victim: Handshake) -> None:
        wire = self.noise.write(b"")
        victim.feed(identity(1).preface + len(wire).to_bytes(2, "big") + wire)
        answer = victim.advance()
        self.noise.read(answer[PREFACE_BYTES + 2 :])
        wire = self.noise.write(lambda seen: self.say(seen, self.noise.static_public))
        victim.feed(len(wire).to_bytes(2, "big") + wire)
        victim.advance()


def claim(seed: bytes, node_id: bytes, message: bytes, *extra: object) -> bytes:
    signature = crypto.sign(seed, message)
    return codec.pack([1, "acme", GENESIS, node_id, signature, "agent", *extra])


SEED = b"\x05" * 32
KEY = crypto.public_key_of(SEED)


@pytest.mark.parametrize(
    ("say", "problem"),
    [
        # Signed for another session: what was recorded elsewhere proves nothing here.
        (
            lambda seen, static: claim(
                SEED, KEY, signed_bytes("acme", GENESIS, b"\0" * 32, static)
            ),
            "signature",
        ),
        # Signed for another Noise key: a middleman's.
        (
            lambda seen, static: claim(SEED, KEY, signed_bytes("acme", GENESIS, seen, b"\0" * 32)),
            "signature",
        ),
        # Signed for another network of the same name.
        (
            lambda seen, static: claim(SEED, KEY, signed_bytes("acme", b"\0" * 32, seen, static)),
            "signature",
        ),
        # In somebody else's name.
        (
            lambda seen, static: claim(
                SEED, identity(2).node_id, signed_bytes("acme", GENESIS, seen, static)
            ),
            "signature",
        ),
        (
            lambda seen, static: claim(SEED, KEY, signed_bytes("acme", GENESIS, seen, static), 1),
            "6 are required",
        ),
        (lambda seen, static: b"", "identity"),
        (lambda seen, static: codec.pack([2, "acme", GENESIS, KEY, bytes(64), "a"]), "version"),
        (lambda seen, static: codec.pack([1, "a\n", GENESIS, KEY, bytes(64), "a"]), "ASCII"),
        (
            lambda seen, static: codec.pack(
                [1, "acme", GENESIS, KEY, bytes(64), "a" * (AGENT_CHARS_MAX + 1)]
            ),
            "agent",
        ),
    ],
)
def test_a_false_claim_of_identity_is_refused(
    say: Callable[[bytes, bytes], bytes], problem: str
) -> None:
    """Else a stranger could take an authority's place in the mesh."""
    victim = Handshake(identity(2), initiator=False, ephemeral_secret=b"\xa2" * 32)
    with pytest.raises(ProtocolViolation, match=problem):
        Forger(say).attack(victim)
    assert victim.secured is None


def test_a_true_claim_by_the_same_means_is_believed() -> None:
    """Shows that the refusals above are not an accident of the forger."""
    victim = Handshake(identity(2), initiator=False, ephemeral_secret=b"\xa2" * 32)
    Forger(
        lambda seen, static: claim(SEED, KEY, signed_bytes("acme", GENESIS, seen, static))
    ).attack(victim)
    assert victim.secured is not None and victim.secured.node_id == KEY


def test_a_first_message_with_a_payload_is_refused() -> None:
    victim = Handshake(identity(2), initiator=False, ephemeral_secret=b"\xa2" * 32)
    with pytest.raises(ProtocolViolation, match="claims 37"):
        victim.feed(identity(1).preface + (37).to_bytes(2, "big") + bytes(37))


def test_secrets_do_not_show_in_what_is_printed() -> None:
    """A traceback or log line must not carry a node's key."""
    first, second = sides(identity(1), identity(2))
    meet(first, second)
    assert first.secured is not None
    shown = repr(identity(1)) + repr(first.secured)
    for secret in (
        identity(1).node_seed,
        identity(1).static_secret,
        first.secured.send_key,
        first.secured.receive_key,
    ):
        assert secret.hex() not in shown and repr(secret) not in shown


def test_a_handshake_driven_wrongly_says_so() -> None:
    first, second = sides(identity(1), identity(2))
    with pytest.raises(Bug):
        second.start()
    with pytest.raises(Bug):
        first.advance()
    with pytest.raises(Malformed):
        identity(1, chain_id="x" * 65)
