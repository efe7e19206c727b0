"""R22: a log of inputs rebuilds the machine, says nothing new, and loses nothing."""

from __future__ import annotations

import pytest

from clawpurse.consensus.effects import (
    AppendWal,
    Broadcast,
    Decide,
    Effect,
    FetchBody,
    RequestBlock,
    ScheduleTimeout,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import Input, Signed, Validity, VoteReceived
from clawpurse.consensus.machine import Machine, replay
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.consensus.wal_records import decode, encode
from clawpurse.ledger.agreement.signbytes import Kind
from tests.consensus.rig import Rig, only
from tests.simulation.values import DOMAIN, signed, verify


def replayed(log: list[Input]) -> tuple[Machine, list[tuple[Effect, ...]]]:
    """Build a machine from the bytes of a log."""
    machine = Machine(DOMAIN, verify=verify)
    inputs: list[Input] = []
    for record in log:
        read_back = decode(encode(record))
        assert read_back == record
        inputs.append(read_back)
    return machine, replay(machine, inputs)


def busy_rig() -> Rig:
    """Two failed rounds, a lock, an equivocator, a re-proposal and a decision in sight."""
    rig = Rig(own=1)
    block = rig.block()
    rig.propose(block)
    rig.prevotes([0, 2], block)
    rig.precommits([0, 2, 3], None)
    rig.elapse(TimeoutKind.PRECOMMIT)
    rig.prevotes([0], None, 1)
    rig.prevotes([0], block, 1)
    rig.to_round(3)
    rig.propose(block, 3, 0)
    rig.prevotes([0, 2], block, 3)
    rig.precommits([0], block, 3)
    return rig


def test_identical_effects_and_state_at_every_point() -> None:
    """A node that comes back from a crash is the node that went down."""
    rig = busy_rig()
    for length in range(len(rig.log) + 1):
        machine, outputs = replayed(rig.log[:length])
        assert outputs == rig.outputs[:length]
    assert machine.state == rig.machine.state


def test_the_own_votes_come_from_the_log_and_are_sent_again() -> None:
    """X#4275, autonity#177: a node without its own votes halts a chain of four."""
    rig = busy_rig()
    machine, _ = replayed(rig.log)
    assert machine.own_messages == rig.machine.own_messages
    assert [b.message for b in only(machine.outstanding(), Broadcast)] == list(
        rig.machine.own_messages
    )


def test_an_unanswered_signature_is_asked_for_again() -> None:
    """The crash came between the signer's disk and ours: the same bytes, the same signature."""
    rig = Rig()
    rig.signs = False
    rig.propose(rig.block())
    machine, _ = replayed(rig.log)
    (asked,) = only(machine.outstanding(), Sign)
    assert asked.message.block_id == rig.block().block_id
    assert only(machine.step(Signed(signed(asked.message))), Broadcast) != []


def test_an_unanswered_request_for_a_block_is_made_again() -> None:
    rig = Rig(own=0)
    machine, _ = replayed(rig.log)
    assert only(machine.outstanding(), RequestBlock) == [RequestBlock(1, 0)]


def test_a_block_that_was_built_is_never_asked_for_again() -> None:
    """M#864: the log has the first one, and a second would be equivocation."""
    rig = Rig(own=0)
    rig.signs = False
    rig.build()
    machine, _ = replayed(rig.log)
    assert only(machine.outstanding(), RequestBlock) == []
    assert len(only(machine.outstanding(), Sign)) == 1


def test_an_unfinished_execution_is_asked_for_again() -> None:
    rig = Rig()
    block = rig.block()
    rig.propose(block, ok=None)
    machine, _ = replayed(rig.log)
    assert only(machine.outstanding(), Validate) == [Validate(block)]
    rig.feed(Validity(block.block_id, True))
    machine, _ = replayed(rig.log)
    assert only(machine.outstanding(), Validate) == []


def test_an_unfinished_fetch_is_asked_for_again() -> None:
    rig = Rig()
    rig.precommits([0, 2, 3], rig.block())
    machine, _ = replayed(rig.log)
    assert only(machine.outstanding(), FetchBody) == [FetchBody(1, 0, rig.block().block_id)]


def test_timers_are_armed_again() -> None:
    """Or a node that restarts in a round without messages waits for ever."""
    rig = Rig()
    rig.to_round(2)
    machine, _ = replayed(rig.log)
    armed = only(machine.outstanding(), ScheduleTimeout)
    assert [(t.kind, t.round) for t in armed] == [
        (TimeoutKind.PROPOSE, 2),
        (TimeoutKind.REBROADCAST, 2),
    ]


def test_a_decision_that_was_not_committed_is_repeated() -> None:
    rig = Rig()
    block = rig.block()
    rig.propose(block)
    rig.precommits([0, 2, 3], block)
    machine, _ = replayed(rig.log)
    (decision,) = machine.outstanding()
    assert isinstance(decision, Decide)
    assert decision.header == block


def test_a_halted_machine_stays_halted() -> None:
    rig = Rig()
    block = rig.block()
    rig.propose(block, ok=False)
    rig.precommits([0, 2, 3], block)
    machine, _ = replayed(rig.log)
    assert machine.step_name == "halted"
    assert len(machine.outstanding()) == 1


@pytest.mark.parametrize("kind", [Kind.PREVOTE, Kind.PRECOMMIT])
def test_replay_goes_on_live(kind: Kind) -> None:
    """Live input after a replay has the effects that it would have had without the crash."""
    rig = busy_rig()
    machine, _ = replayed(rig.log)
    following = rig.vote(kind, 3, rig.block(), 3)
    event = VoteReceived(following)
    assert machine.step(event) == rig.machine.step(event)


def test_nothing_but_the_first_effect_asks_for_a_log_record() -> None:
    rig = busy_rig()
    for effects in rig.outputs:
        assert isinstance(effects[0], AppendWal)
        assert only(effects[1:], AppendWal) == []
