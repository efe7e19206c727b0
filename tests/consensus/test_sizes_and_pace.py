"""Around the rounds: waiting for work (R19), thresholds for every size, followers."""

from __future__ import annotations

import pytest

from clawpurse.consensus.effects import (
    FetchBody,
    RequestBlock,
    Sign,
)
from clawpurse.consensus.inputs import (
    ProposalReceived,
    WorkAvailable,
)
from clawpurse.consensus.timeouts import TimeoutKind, TimeoutParams
from clawpurse.ledger.agreement.signbytes import Kind
from tests.consensus.rig import (
    Rig,
    decided,
    only,
    requests,
    said,
    timers,
)
from tests.simulation.values import DOMAIN, verify

PREVOTE = Kind.PREVOTE


class TestR19Waiting:
    patient = TimeoutParams(interval_ms=200, heartbeat_ms=30_000)

    def test_an_idle_network_waits_without_timers_of_rounds(self) -> None:
        rig = Rig(own=0, timeouts=self.patient, begin=False)
        effects = rig.begin()
        assert timers(effects) == [(TimeoutKind.IDLE, 0, 30_000)]
        assert requests(effects) == []
        assert rig.machine.state.waiting

    def test_work_ends_the_wait_for_everyone(self) -> None:
        for own, asked in ((0, [(1, 0)]), (1, [])):
            rig = Rig(own=own, timeouts=self.patient)
            effects = rig.feed(WorkAvailable(1))
            assert (TimeoutKind.PROPOSE, 0, 1_000) in timers(effects)
            assert requests(effects) == asked
            assert rig.feed(WorkAvailable(1)) == []

    def test_a_proposal_ends_it(self) -> None:
        rig = Rig(timeouts=self.patient)
        block = rig.block()
        assert said(rig.propose(block), PREVOTE) == [block.block_id]

    def test_f_plus_1_votes_end_it(self) -> None:
        rig = Rig(timeouts=self.patient)
        rig.prevotes([0], None)
        assert rig.machine.state.waiting
        assert (TimeoutKind.PROPOSE, 0, 1_000) in timers(rig.prevotes([2], None))

    def test_the_heartbeat_ends_it(self) -> None:
        rig = Rig(own=0, timeouts=self.patient)
        assert requests(rig.elapse(TimeoutKind.IDLE)) == [(1, 0)]

    def test_a_round_above_0_never_waits(self) -> None:
        rig = Rig(own=2, timeouts=self.patient)
        assert requests(rig.to_round(2)) == [(1, 2)]

    def test_the_interval_comes_first_and_a_proposal_does_not_shorten_it(self) -> None:
        """Or a faulty proposer could set the pace of the network."""
        rig = Rig(timeouts=self.patient, begin=False)
        assert timers(rig.begin(pause_ms=150)) == [(TimeoutKind.START, 0, 150)]
        block = rig.block()
        assert rig.propose(block) == []
        assert rig.place == (0, "start")
        effects = rig.elapse(TimeoutKind.START)
        assert said(effects + rig.validate(effects, True), PREVOTE) == [block.block_id]

    def test_f_plus_1_votes_shorten_the_interval(self) -> None:
        rig = Rig(timeouts=self.patient, pause_ms=150)
        rig.prevotes([0, 2], None)
        assert rig.place == (0, "propose")

    def test_a_decision_does_not_wait_for_the_interval(self) -> None:
        rig = Rig(timeouts=self.patient, pause_ms=150)
        block = rig.block()
        rig.propose(block, ok=None)
        effects = rig.certify(rig.certificate([0, 2, 3], block))
        assert decided(rig.validate(effects, True)) != []

    def test_work_that_comes_during_the_interval_is_remembered(self) -> None:
        rig = Rig(own=0, timeouts=self.patient, pause_ms=150)
        assert rig.feed(WorkAvailable(1)) == []
        assert requests(rig.elapse(TimeoutKind.START)) == [(1, 0)]


class TestQuorums:
    @pytest.mark.parametrize(
        ("count", "quorum", "honest"),
        [
            (1, 1, 1),
            (2, 2, 1),
            (3, 3, 2),
            (4, 3, 2),
            (5, 4, 2),
            (6, 5, 3),
            (7, 5, 3),
            (100, 67, 34),
        ],
    )
    def test_one_vote_less_than_a_quorum_decides_nothing(
        self, count: int, quorum: int, honest: int
    ) -> None:
        rig = Rig(count=count, own=None)
        assert (rig.authorities.quorum_size, rig.authorities.honest_size) == (quorum, honest)
        block = rig.block()
        effects = rig.precommits(range(quorum - 1), block)
        assert only(effects, FetchBody) == []
        assert len(only(rig.precommits([quorum - 1], block), FetchBody)) == 1

    @pytest.mark.parametrize("count", [4, 5, 6, 7])
    def test_one_sender_less_than_f_plus_1_moves_nobody(self, count: int) -> None:
        rig = Rig(count=count, own=None)
        needed = rig.authorities.honest_size
        rig.prevotes(range(needed - 1), None, 2)
        assert rig.machine.round == 0
        rig.prevotes([needed - 1], None, 2)
        assert rig.machine.round == 2

    def test_one_authority_decides_alone(self) -> None:
        rig = Rig(count=1, own=0)
        effects = rig.build()
        (decision,) = decided(effects)
        decision.certificate.verify(DOMAIN, rig.authorities, verify)
        assert rig.machine.step_name == "decided"

    def test_a_follower_decides_and_stays_silent(self) -> None:
        rig = Rig(own=None)
        block = rig.block()
        effects = rig.propose(block) + rig.prevotes(range(4), block)
        assert effects == []
        effects = rig.precommits(range(3), block)
        assert decided(effects + rig.validate(effects, True)) != []
        assert timers(effects) == []
        assert [e for e in effects if isinstance(e, Sign | RequestBlock)] == []

    def test_a_key_outside_the_set_makes_a_follower(self) -> None:
        rig = Rig(count=4, own=9)
        assert rig.feed(ProposalReceived(rig.proposal(rig.block()), True)) == []
        assert rig.elapse(TimeoutKind.PROPOSE) == []
