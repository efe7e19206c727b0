"""Our Noise against published vectors and against another implementation.

If it differed in one bit, nodes written by others could never connect; if it differed in what
it refuses, somebody could sit between two nodes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from clawpurse.ledger.errors import Bug, ProtocolViolation
from clawpurse.p2p import noise
from clawpurse.p2p.noise import NoiseXX, decrypt, encrypt, public_of, rekeyed

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "noise_xx.json").read_text("utf-8")
)["vectors"]
SECRET = st.binary(min_size=32, max_size=32)
# RFC 7748 and the curve's arithmetic: the points whose multiples by a clamped secret are zero.
SMALL_ORDER = (
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
)


def pair(
    prologues: tuple[bytes, bytes] = (b"p", b"p"), secrets: tuple[bytes, ...] = ()
) -> tuple[NoiseXX, NoiseXX]:
    chosen = secrets or tuple(bytes((number,)) * 32 for number in range(1, 5))
    return (
        NoiseXX(
            initiator=True,
            prologue=prologues[0],
            static_secret=chosen[0],
            ephemeral_secret=chosen[1],
        ),
        NoiseXX(
            initiator=False,
            prologue=prologues[1],
            static_secret=chosen[2],
            ephemeral_secret=chosen[3],
        ),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"].split()[0])
def test_published_vectors_are_met_byte_for_byte(vector: dict[str, Any]) -> None:
    """Without this, a node in another language would never complete a handshake with ours."""
    hexed = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if name not in ("source", "messages")
    }
    assert hexed["init_prologue"] == hexed["resp_prologue"]
    sides = pair(
        (hexed["init_prologue"], hexed["resp_prologue"]),
        (
            hexed["init_static"],
            hexed["init_ephemeral"],
            hexed["resp_static"],
            hexed["resp_ephemeral"],
        ),
    )
    messages = [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in vector["messages"]]
    for turn, (payload, wire) in enumerate(messages[:3]):
        writer, reader = sides[turn % 2], sides[1 - turn % 2]
        assert writer.write(payload) == wire
        assert reader.read(wire)[0] == payload
    assert sides[0].remote_static == public_of(hexed["resp_static"])
    assert sides[1].remote_static == public_of(hexed["init_static"])
    if "handshake_hash" in hexed:
        assert sides[0].handshake_hash == hexed["handshake_hash"]
    (there, back), (back_too, there_too) = sides[0].split(), sides[1].split()
    assert (there, back) == (there_too, back_too)
    # Transport messages go on alternating; message 4 is the responder's first.
    counters = {there: 0, back: 0}
    for turn, (payload, wire) in enumerate(messages[3:], 3):
        key = there if turn % 2 == 0 else back
        assert encrypt(key, counters[key], b"", payload) == wire
        assert decrypt(key, counters[key], b"", wire) == payload
        counters[key] += 1


def oracle(initiator: bool, prologue: bytes, static: bytes) -> NoiseConnection:
    connection = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    connection.set_prologue(prologue)
    connection.set_keypair_from_private_bytes(Keypair.STATIC, static)
    connection.start_handshake()
    return connection


@given(
    st.binary(max_size=40),
    st.tuples(SECRET, SECRET, SECRET, SECRET),
    st.lists(st.binary(max_size=60), min_size=3, max_size=3),
    st.booleans(),
)
def test_the_other_implementation_understands_us_in_either_role(
    prologue: bytes, secrets: tuple[bytes, ...], payloads: list[bytes], we_start: bool
) -> None:
    ours = pair((prologue, prologue), secrets)[0 if we_start else 1]
    theirs = oracle(not we_start, prologue, secrets[2 if we_start else 0])
    for turn, payload in enumerate(payloads):
        if (turn % 2 == 0) == we_start:
            assert bytes(theirs.read_message(ours.write(payload))) == payload
        else:
            assert ours.read(bytes(theirs.write_message(payload)))[0] == payload
    assert ours.handshake_hash == bytes(theirs.get_handshake_hash())
    sending, receiving = ours.split()
    assert bytes(theirs.decrypt(encrypt(sending, 0, b"", b"hello"))) == b"hello"
    assert decrypt(receiving, 0, b"", bytes(theirs.encrypt(b"there"))) == b"there"


def test_rekeying_agrees_with_the_other_implementation() -> None:
    """Both ends of a connection rekey by count: one wrong byte would cut it after a million."""
    ours, _ = pair()
    theirs = oracle(False, b"p", b"\3" * 32)
    theirs.read_message(ours.write(b""))
    ours.read(bytes(theirs.write_message(b"")))
    theirs.read_message(ours.write(b""))
    sending, _ = ours.split()
    theirs.rekey_inbound_cipher()
    assert bytes(theirs.decrypt(encrypt(rekeyed(sending), 0, b"", b"after"))) == b"after"


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("high_bit", [0, 128])
def test_a_key_that_forces_a_known_secret_is_refused(point: bytes, high_bit: int) -> None:
    """Small-order points would make the shared secret zero for whoever listens."""
    twisted = point[:31] + bytes((point[31] | high_bit,))
    with pytest.raises(ProtocolViolation, match="small order"):
        noise.diffie_hellman(b"\7" * 32, twisted)
    ours, _ = pair()
    ours.write(b"")
    with pytest.raises(ProtocolViolation):
        ours.read(twisted + bytes(96))


@given(st.data())
def test_one_changed_byte_anywhere_ends_the_handshake(data: st.DataObject) -> None:
    """Message 1 is in the clear, and a change in it is found out with message 2."""
    turn = data.draw(st.integers(0, 2))
    sides = pair()
    for now in range(3):
        writer, reader = sides[now % 2], sides[1 - now % 2]
        wire = bytearray(writer.write(b"who I am"))
        if now == turn:
            place = data.draw(st.integers(0, len(wire) - 1))
            wire[place] ^= 1 << data.draw(st.integers(0, 7))
        try:
            payload, _ = reader.read(bytes(wire))
        except ProtocolViolation:
            return
        if now == turn > 0:
            raise AssertionError(f"message {now + 1} was changed and accepted: {payload!r}")
    raise AssertionError("a changed handshake was completed")


def test_two_prologues_never_meet() -> None:
    """The prologue carries the protocol version: nobody can downgrade it unseen."""
    ours, theirs = pair((b"v1", b"v2"))
    theirs.read(ours.write(b""))
    with pytest.raises(ProtocolViolation):
        ours.read(theirs.write(b""))


@pytest.mark.parametrize("size", [0, 31, 32, 79, 95])
def test_a_message_cut_short_is_refused(size: int) -> None:
    ours, theirs = pair()
    theirs.read(ours.write(b""))
    with pytest.raises(ProtocolViolation):
        ours.read(theirs.write(b"")[:size])


def test_steps_out_of_order_are_our_own_mistake() -> None:
    """A handshake driven wrongly must never yield keys."""
    ours, theirs = pair()
    with pytest.raises(Bug):
        theirs.write(b"")
    with pytest.raises(Bug):
        ours.split()
    ours.write(b"")
    with pytest.raises(Bug):
        ours.write(b"")
