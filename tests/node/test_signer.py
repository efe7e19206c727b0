"""The signing guard: one answer per position, whatever crashes, restarts and disks do.

An authority that signs twice for one position can split the chain; this file is what stops it.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.signbytes import Kind, parse, proposal_bytes, vote_bytes
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault
from clawpurse.node.files import MemoryFiles
from clawpurse.node.signer import (
    SLOT_BYTES,
    DoubleSignRefused,
    FileSigner,
    create_sign_state,
    set_floor,
    state_name,
)
from clawpurse.node.workers import InlineLane

GENESIS = b"\x11" * 32
DOMAIN = Domain("acme", GENESIS, 0)
SEED = b"\x05" * 32
KEY = crypto.public_key_of(SEED)
NAME = state_name(GENESIS, KEY)
BLOCK, OTHER = b"\xaa" * 32, b"\xbb" * 32


def vote(height: int, round_: int, kind: Kind = Kind.PREVOTE, block: bytes | None = BLOCK) -> bytes:
    return vote_bytes(DOMAIN, kind, height, round_, block)


def fresh() -> MemoryFiles:
    files = MemoryFiles()
    create_sign_state(files, GENESIS, KEY)
    return files


def opened(files: MemoryFiles) -> FileSigner:
    return FileSigner(SEED, GENESIS, files, InlineLane())


def sign(signer: FileSigner, data: bytes) -> bytes:
    return trio.run(signer.sign, data)


def test_what_is_signed_verifies_and_is_remembered_before_it_leaves() -> None:
    files = fresh()
    signer = opened(files)
    before = files.contents[NAME]
    signature = sign(signer, vote(1, 0))
    assert crypto.verify(KEY, vote(1, 0), signature)
    assert files.contents[NAME] != before
    assert opened(files).watermark == signer.watermark


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_bytes_get_the_same_signature_again(restarted: bool) -> None:
    """A crash before the log knew of it must not make the vote unrepeatable."""
    files = fresh()
    signer = opened(files)
    signature = sign(signer, vote(3, 1))
    again = opened(files) if restarted else signer
    assert sign(again, vote(3, 1)) == signature
    assert again.watermark.counter == 1


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        vote(5, 2, Kind.PREVOTE, OTHER),
        vote(5, 2, Kind.PREVOTE, None),
        vote(5, 1, Kind.PRECOMMIT),
        vote(4, 9, Kind.PRECOMMIT),
        proposal_bytes(DOMAIN, 5, 2, -1, BLOCK),
        # What was signed before the newest is refused too, even with its own bytes.
        vote(5, 0),
    ],
)
def test_a_lower_or_equal_position_with_other_bytes_is_refused(
    asked: bytes, restarted: bool
) -> None:
    files = fresh()
    signer = opened(files)
    sign(signer, vote(5, 0))
    sign(signer, vote(5, 2))
    signer = opened(files) if restarted else signer
    with pytest.raises(DoubleSignRefused) as caught:
        sign(signer, asked)
    assert caught.value.watermark == (5, 2, int(Kind.PREVOTE))
    assert caught.value.asked == parse(asked).order
    assert signer.refusal_count == 1


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.booleans())))
def test_no_order_of_requests_yields_two_answers_for_one_position(
    asked: list[tuple[int, int, bool, bool]],
) -> None:
    files = fresh()
    signer = opened(files)
    released: dict[tuple[int, int, int], bytes] = {}
    for height, round_, is_precommit, is_other in asked:
        kind = Kind.PRECOMMIT if is_precommit else Kind.PREVOTE
        data = vote(height, round_, kind, OTHER if is_other else BLOCK)
        if is_other:
            signer = opened(files)
        try:
            sign(signer, data)
        except DoubleSignRefused:
            continue
        position = parse(data).order
        assert released.setdefault(position, data) == data
        assert position == max(released)


class TornFiles(MemoryFiles):
    """The next slot write stops after some bytes, as a power cut does."""

    cut: int | None = None

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        if self.cut is None:
            super().write_slot(name, offset, data)
            return
        super().write_slot(name, offset, data[: self.cut])
        raise StorageFault("The power went.")


def test_a_write_torn_at_any_byte_leaves_the_position_before_or_after_it() -> None:
    """Never neither, never an older one: then it could sign what it signed already."""
    for cut in range(SLOT_BYTES + 1):
        files = TornFiles()
        create_sign_state(files, GENESIS, KEY)
        signer = opened(files)
        for height in (1, 2):
            sign(signer, vote(height, 0))
        files.cut = cut
        with pytest.raises(StorageFault):
            sign(signer, vote(3, 0))
        files.cut = None
        again = opened(files)
        assert again.watermark.order in ((2, 0, 2), (3, 0, 2))
        if again.watermark.order == (2, 0, 2):
            # Its signature had not left, so other bytes may be signed there now.
            sign(again, vote(3, 0, Kind.PREVOTE, OTHER))
        else:
            with pytest.raises(DoubleSignRefused):
                sign(again, vote(3, 0, Kind.PREVOTE, OTHER))
        with pytest.raises(DoubleSignRefused):
            sign(again, vote(2, 0, Kind.PREVOTE, OTHER))


def test_a_signature_whose_write_failed_never_leaves_without_one() -> None:
    """Also when the same process asks again: first the disk, then the signature."""
    files = TornFiles()
    create_sign_state(files, GENESIS, KEY)
    signer = opened(files)
    files.cut = 10
    for _ in range(3):
        with pytest.raises(StorageFault):
            sign(signer, vote(1, 0))
    with pytest.raises(DoubleSignRefused):
        sign(signer, vote(1, 0, Kind.PREVOTE, OTHER))
    files.cut = None
    signature = sign(signer, vote(1, 0))
    assert opened(files).watermark.signature == signature


@given(st.integers(0, 2 * SLOT_BYTES - 1), st.integers(0, 7))
def test_a_flipped_bit_never_lowers_the_guard_by_more_than_the_newest(place: int, bit: int) -> None:
    files = fresh()
    signer = opened(files)
    for height in range(1, 5):
        sign(signer, vote(height, 0))
    data = bytearray(files.contents[NAME])
    data[place] ^= 1 << bit
    files.contents[NAME] = bytes(data)
    assert opened(files).watermark.order >= (3, 0, 2)


@pytest.mark.parametrize("data", [b"", bytes(2 * SLOT_BYTES), b"\xff" * 700, bytes(3)])
def test_a_state_that_cannot_be_read_stops_the_node(data: bytes) -> None:
    files = fresh()
    files.contents[NAME] = data
    with pytest.raises(OperatorError, match="--signer-floor"):
        opened(files)


def test_a_missing_state_stops_the_node() -> None:
    """A key that was copied without its state might have signed elsewhere."""
    with pytest.raises(OperatorError, match="missing"):
        opened(MemoryFiles())
    other = MemoryFiles()
    create_sign_state(other, b"\x22" * 32, KEY)
    with pytest.raises(OperatorError, match="missing"):
        opened(other)


def test_a_state_is_never_made_twice() -> None:
    files = fresh()
    with pytest.raises(OperatorError, match="already"):
        create_sign_state(files, GENESIS, KEY)


@pytest.mark.parametrize(
    "data",
    [
        vote_bytes(Domain("acme", b"\x22" * 32, 0), Kind.PREVOTE, 9, 0, BLOCK),
        b"",
        b"pay mallory",
        vote(9, 0)[:-1],
        vote(9, 0) + b"\0",
        bytes(len(vote(9, 0))),
    ],
)
def test_only_sign_bytes_of_this_network_are_signed(data: bytes) -> None:
    """The key signs nothing else, so it cannot be tricked into signing money away."""
    signer = opened(fresh())
    with pytest.raises(Malformed):
        sign(signer, data)
    assert signer.watermark.counter == 0


def test_a_floor_makes_raises_and_never_lowers() -> None:
    """The operator's word after a loss: nothing below it is ever signed."""
    files = MemoryFiles()
    set_floor(files, GENESIS, KEY, 10)
    signer = opened(files)
    with pytest.raises(DoubleSignRefused):
        sign(signer, vote(9, 5, Kind.PRECOMMIT))
    sign(signer, proposal_bytes(DOMAIN, 10, 0, -1, BLOCK))
    set_floor(files, GENESIS, KEY, 7)
    assert opened(files).watermark.order == (10, 0, 1)
    set_floor(files, GENESIS, KEY, 20)
    with pytest.raises(DoubleSignRefused):
        sign(opened(files), vote(19, 0))
    sign(opened(files), vote(20, 0))
    files.contents[NAME] = bytes(2 * SLOT_BYTES)
    set_floor(files, GENESIS, KEY, 30)
    assert opened(files).watermark.order == (30, 0, 0)


def test_the_slots_are_written_in_turn() -> None:
    """Else a torn write could damage the only whole one."""
    files = fresh()
    signer = opened(files)
    for height in range(1, 8):
        before = files.contents[NAME]
        sign(signer, vote(height, 0))
        after = files.contents[NAME]
        halves: list[Any] = [
            before[place : place + SLOT_BYTES] == after[place : place + SLOT_BYTES]
            for place in (0, SLOT_BYTES)
        ]
        assert sorted(halves) == [False, True]
        assert halves.index(False) == height % 2
