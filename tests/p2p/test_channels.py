"""Channels: votes overtake blocks, nothing starves, floods are measured without leaving debt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.p2p.channels import (
    MESSAGE_COST,
    POLICIES,
    TURN_BYTES_MAX,
    Channel,
    OutQueues,
    TokenBucket,
)
from clawpurse.p2p.records import FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Message, MessageReader


def drain(queues: OutQueues) -> list[list[Message]]:
    """All messages in the order in which they are complete, turn by turn."""
    reader = MessageReader(lambda channel, kind: 100_000_000)
    turns = []
    while queues:
        turns.append([m for frame in queues.turn() for m in reader.feed(frame)])
        for message in turns[-1]:
            if message.channel != Channel.CONTROL:
                cost = len(message.payload) + MESSAGE_COST
                assert queues.give_back(Channel(message.channel), cost)
    return turns


def test_a_vote_passes_a_block_that_is_being_sent() -> None:
    """Else every proposal would delay agreement by its own transmission."""
    queues = OutQueues()
    queues.put(Channel.SYNC, 1, bytes(2_000_000))
    queues.turn()
    queues.put(Channel.CONSENSUS, 1, b"vote")
    frames = queues.turn()
    assert frames[0][0] == Channel.CONSENSUS


def test_every_channel_that_has_something_gets_a_frame_each_turn() -> None:
    """The floor: a node that votes all day still tells others of its peers."""
    queues = OutQueues()
    for channel in Channel:
        for _ in range(16):
            queues.put(channel, 1, bytes(60_000 if channel is not Channel.CONTROL else 100))
    seen = {frame[0] for frame in queues.turn()}
    assert seen == set(Channel)


def test_a_turn_is_bounded() -> None:
    """One `send_all` of megabytes would make every later vote wait for it."""
    queues = OutQueues()
    for _ in range(20):
        queues.put(Channel.PROPOSALS, 1, bytes(1_000_000))
        queues.put(Channel.SYNC, 1, bytes(1_000_000))
    size = sum(map(len, queues.turn()))
    floor = len(Channel) * (FRAME_BYTES_MAX + FRAME_HEAD_BYTES)
    assert size <= TURN_BYTES_MAX + floor


@given(st.lists(st.tuples(st.sampled_from(list(Channel)), st.integers(0, 70_000)), max_size=12))
def test_each_channel_keeps_its_order_and_loses_nothing(sent: list[tuple[Channel, int]]) -> None:
    queues = OutQueues()
    kept = [(channel, size) for channel, size in sent if queues.put(channel, 1, bytes(size))]
    got = [(m.channel, len(m.payload)) for turn in drain(queues) for m in turn]
    for channel in Channel:
        assert [x for x in got if x[0] == channel] == [x for x in kept if x[0] == channel]
    assert queues.depth() == {}


@pytest.mark.parametrize("channel", list(Channel))
def test_a_full_queue_refuses_and_counts(channel: Channel) -> None:
    """A peer that does not read costs us a bounded queue and no more."""
    queues, policy = OutQueues(), POLICIES[channel]
    while queues.put(channel, 1, b""):
        pass
    assert queues.depth()[channel.name.lower()] == policy.queue_messages_max
    assert queues.dropped[channel] == 1
    others = [c for c in Channel if c is not channel]
    assert all(queues.put(c, 1, b"") for c in others)


@pytest.mark.parametrize("channel", list(Channel))
def test_a_queue_is_bounded_in_bytes_too_but_takes_one_message_of_any_size(
    channel: Channel,
) -> None:
    queues, policy = OutQueues(), POLICIES[channel]
    assert queues.put(channel, 1, bytes(policy.queue_bytes_max + 1))
    assert not queues.put(channel, 1, b"x")
    queues.turn()
    assert queues.put(channel, 1, b"x")


def test_only_what_can_be_had_again_is_ever_dropped() -> None:
    """A dropped vote could stall a round; a dropped transaction comes with its block."""
    kept = {c for c in Channel if not POLICIES[c].may_drop}
    assert kept == {Channel.CONTROL, Channel.CONSENSUS, Channel.PROPOSALS}


def test_a_bucket_lets_bursts_through_and_measures_floods() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert [bucket.take(10, 0.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    assert bucket.take(0, 2.0) == 0.0
    assert bucket.take(25, 100.0) == 0.5


def test_a_refused_flood_leaves_no_debt() -> None:
    """Else ten seconds of rubbish would shut the door to honest peers for minutes."""
    bucket = TokenBucket(10, 20, 0.0)
    granted = sum(bucket.allows(1, 0.0) for _ in range(10_000))
    assert granted == 20
    assert not bucket.allows(1, 0.05)
    assert bucket.allows(1, 0.2)
