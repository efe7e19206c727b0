"""Algorithm 1, line by line: each rule fires when the paper says so, and never else.

Four authorities, numbered 0…3; proposer of round r of height 1 is r mod 4; the machine is 1
unless said otherwise, so it does not propose before round 1.
"""

from __future__ import annotations

import pytest

from clawpurse.consensus.effects import (
    CancelTimeouts,
    FetchBody,
    Halt,
    Validate,
)
from clawpurse.consensus.inputs import (
    BlockReady,
    HeaderFetched,
    Validity,
)
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.ledger.agreement.certificates import PolkaCertificate, RoundCertificate
from clawpurse.ledger.agreement.messages import Proposal
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import Bug
from tests.consensus.rig import (
    Rig,
    decided,
    messages,
    only,
    proposals,
    requests,
    said,
    timers,
)
from tests.simulation.values import DOMAIN, verify

PREVOTE, PRECOMMIT = Kind.PREVOTE, Kind.PRECOMMIT


def locked_rig(*, own: int = 1) -> tuple[Rig, bytes]:
    """A machine that locked a block in round 0 and went on to round 1."""
    rig = Rig(own=own)
    block = rig.block()
    rig.propose(block)
    rig.prevotes([n for n in range(4) if n != own][:2], block)
    assert rig.lock() == (block.block_id, 0)
    rig.precommits([n for n in range(4) if n != own][:2], None)
    rig.elapse(TimeoutKind.PRECOMMIT)
    assert rig.machine.round == 1
    return rig, block.block_id


class TestP11StartRound:
    def test_p14_p18_the_proposer_asks_for_a_new_block_and_proposes_it(self) -> None:
        rig = Rig(own=0)
        assert rig.place == (0, "propose")
        effects = rig.build()
        (proposal,) = proposals(effects)
        assert (proposal.round, proposal.valid_round) == (0, -1)
        assert said(effects, PREVOTE) == [proposal.block_id]

    def test_p18_a_block_is_asked_for_once_per_round(self) -> None:
        """A second block for one turn would be equivocation (M#864)."""
        rig = Rig(own=0, begin=False)
        assert requests(rig.begin()) == [(1, 0)]
        rig.build(salt=9)
        assert rig.build(salt=10) == []
        assert len(rig.machine.own_messages) == 2

    def test_p18_a_block_that_comes_after_the_turn_is_not_proposed(self) -> None:
        rig = Rig(own=0)
        rig.elapse(TimeoutKind.PROPOSE)
        assert rig.place == (0, "prevote")
        assert rig.build() == []

    def test_p18_a_host_that_cannot_build_lets_the_round_pass(self) -> None:
        rig = Rig(own=0)
        assert rig.feed(BlockReady(1, 0, None)) == []
        assert rig.build() == []
        assert said(rig.elapse(TimeoutKind.PROPOSE), PREVOTE) == [None]

    def test_p18_a_block_of_another_turn_is_the_hosts_bug(self) -> None:
        rig = Rig(own=0)
        with pytest.raises(Bug, match="not for its turn"):
            rig.feed(BlockReady(1, 0, rig.block(1, proposer=0)))

    def test_p16_a_proposer_with_a_valid_value_proposes_it_with_its_round(self) -> None:
        rig, locked = locked_rig()
        (proposal,) = [m for m in rig.machine.own_messages if isinstance(m, Proposal)]
        assert (proposal.block_id, proposal.valid_round) == (locked, 0)
        assert rig.lines["P16"] == 1
        assert rig.lines["P18"] == 0

    def test_p20_everyone_waits_for_the_proposal_also_its_proposer(self) -> None:
        for own in (0, 1):
            rig = Rig(own=own, begin=False)
            assert (TimeoutKind.PROPOSE, 0, 1_000) in timers(rig.begin())


class TestP22NewProposal:
    def test_p24_a_timely_valid_block_is_prevoted(self) -> None:
        rig = Rig()
        block = rig.block()
        assert said(rig.propose(block), PREVOTE) == [block.block_id]
        assert rig.place == (0, "prevote")

    def test_nothing_is_voted_before_the_own_execution_has_judged(self) -> None:
        """R8: a prevote says that the state root is right; nobody may say so unseen."""
        rig = Rig()
        block = rig.block()
        effects = rig.propose(block, ok=None)
        assert [v.header for v in only(effects, Validate)] == [block]
        assert rig.place == (0, "propose")
        assert said(rig.feed(Validity(block.block_id, True)), PREVOTE) == [block.block_id]

    def test_p26_an_invalid_block_gets_nil(self) -> None:
        rig = Rig()
        assert said(rig.propose(rig.block(), ok=False), PREVOTE) == [None]
        assert rig.lines["P26:invalid"] == 1

    def test_p26_an_untimely_block_gets_nil_at_once(self) -> None:
        """R20: a proposer whose clock is off fails its round, not the chain."""
        rig = Rig()
        assert said(rig.propose(rig.block(), timely=False), PREVOTE) == [None]

    def test_p26_a_locked_node_gives_another_block_nil(self) -> None:
        rig, locked = locked_rig(own=2)
        assert said(rig.propose(rig.block(1, salt=5), 1), PREVOTE) == [None]
        assert rig.lock() == (locked, 0)

    def test_p23_a_locked_node_prevotes_its_own_block_again(self) -> None:
        """The same block as a new proposal: its header names the wrong round, so nil (R21)."""
        rig, _ = locked_rig(own=2)
        effects = rig.propose(rig.block(0), 1)
        assert said(effects, PREVOTE) == [None]
        assert rig.lines["P26:invalid"] == 1
        assert rig.lines["P26:locked"] == 0

    def test_r21_a_new_block_must_be_first_proposed_in_this_round(self) -> None:
        rig = Rig()
        rig.to_round(2)
        assert said(rig.propose(rig.block(1), 2), PREVOTE) == [None]

    def test_r21_a_block_must_name_the_proposer_of_its_first_round(self) -> None:
        rig = Rig()
        assert said(rig.propose(rig.block(0, proposer=3)), PREVOTE) == [None]

    def test_a_second_proposal_of_a_round_is_not_executed_without_a_polka(self) -> None:
        """R17: a proposer that sends a hundred blocks must not cost a hundred executions."""
        rig = Rig()
        first, second = rig.block(salt=1), rig.block(salt=2)
        assert len(only(rig.propose(first, ok=None), Validate)) == 1
        assert only(rig.propose(second, ok=None), Validate) == []


class TestP28Reproposal:
    def test_p30_a_block_with_a_polka_in_its_valid_round_is_prevoted(self) -> None:
        rig = Rig()
        rig.to_round(2)
        block = rig.block(0)
        rig.prevotes([0, 2, 3], block, 0)
        assert said(rig.propose(block, 2, 0), PREVOTE) == [block.block_id]

    def test_without_the_polka_nothing_happens_and_the_timer_runs_on(self) -> None:
        """M#862, M#850: a proposer that claims a polka must neither win nor stop the clock."""
        rig = Rig()
        rig.to_round(2)
        effects = rig.propose(rig.block(0), 2, 0, ok=None)
        assert effects == []
        assert only(effects, CancelTimeouts) == []
        assert rig.place == (2, "propose")
        assert said(rig.elapse(TimeoutKind.PROPOSE, 2), PREVOTE) == [None]

    def test_the_polka_may_come_after_the_proposal(self) -> None:
        rig = Rig()
        rig.to_round(2)
        block = rig.block(0)
        rig.propose(block, 2, 0)
        effects = rig.certify(rig.polka([0, 2, 3], block))
        assert said(effects + rig.validate(effects, True), PREVOTE) == [block.block_id]

    def test_a_polka_for_another_block_does_not_count(self) -> None:
        rig = Rig()
        rig.to_round(2)
        rig.prevotes([0, 2, 3], rig.block(0, salt=7), 0)
        assert rig.propose(rig.block(0, salt=1), 2, 0, ok=None) == []

    def test_p29_a_later_polka_unlocks(self) -> None:
        rig, _ = locked_rig(own=3)
        other = rig.block(1, salt=5)
        rig.to_round(2)
        rig.certify(rig.polka([0, 1, 2], other, 1))
        assert said(rig.propose(other, 2, 1), PREVOTE) == [other.block_id]

    def test_p32_an_earlier_polka_does_not_unlock(self) -> None:
        """Otherwise two different blocks could be decided."""
        rig = Rig(own=3)
        rig.to_round(1)
        block, older = rig.block(1), rig.block(0, salt=8)
        rig.propose(block, 1)
        rig.prevotes([0, 1], block, 1)
        assert rig.lock() == (block.block_id, 1)
        rig.to_round(2)
        rig.certify(rig.polka([0, 1, 2], older, 0))
        assert said(rig.propose(older, 2, 0), PREVOTE) == [None]
        assert rig.lines["P32:locked"] == 1

    def test_p29_the_locked_block_passes_with_an_earlier_polka(self) -> None:
        rig = Rig(own=3)
        block = rig.block(0)
        rig.certify(rig.polka([0, 1, 2], block, 0))
        rig.to_round(1)
        rig.propose(block, 1, 0)
        rig.prevotes([0, 1], block, 1)
        assert rig.lock() == (block.block_id, 1)
        rig.to_round(2)
        assert said(rig.propose(block, 2, 0), PREVOTE) == [block.block_id]

    def test_p32_an_invalid_block_gets_nil_whatever_polka_it_has(self) -> None:
        rig = Rig()
        rig.to_round(2)
        block = rig.block(0)
        rig.certify(rig.polka([0, 2, 3], block))
        assert said(rig.propose(block, 2, 0, ok=False), PREVOTE) == [None]
        assert rig.lines["P32:invalid"] == 1

    def test_r21_the_first_round_is_not_after_the_valid_round(self) -> None:
        rig = Rig()
        rig.to_round(2)
        block = rig.block(1)
        rig.certify(rig.polka([0, 2, 3], block, 0))
        assert said(rig.propose(block, 2, 0), PREVOTE) == [None]

    def test_untimeliness_of_an_old_block_does_not_matter(self) -> None:
        """R20: a re-proposed block carries old time."""
        rig = Rig()
        rig.to_round(2)
        block = rig.block(0)
        rig.certify(rig.polka([0, 2, 3], block))
        assert said(rig.propose(block, 2, 0, timely=False), PREVOTE) == [block.block_id]


class TestP34AnyPrevotes:
    def test_p35_a_quorum_of_any_prevotes_starts_the_timer_once(self) -> None:
        rig = Rig()
        rig.propose(rig.block())
        assert timers(rig.prevotes([0], None)) == []
        assert timers(rig.prevotes([2], None)) == [(TimeoutKind.PREVOTE, 0, 500)]
        assert timers(rig.prevotes([3], None)) == []

    def test_not_in_step_propose(self) -> None:
        """The guard is step = prevote, not step ≥ prevote: before, there is nothing to time."""
        rig = Rig()
        assert timers(rig.prevotes([0, 2, 3], b"\x01" * 32)) == []
        effects = rig.elapse(TimeoutKind.PROPOSE)
        assert (TimeoutKind.PREVOTE, 0, 500) in timers(effects)

    def test_not_in_step_precommit(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.certify(rig.polka([0, 2, 3], block))
        assert rig.place == (0, "precommit")
        assert timers(rig.prevotes([0, 2, 3], block)) == []


class TestP36Polka:
    def test_p38_a_polka_locks_and_precommits(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        effects = rig.prevotes([0, 2], block)
        assert said(effects, PRECOMMIT) == [block.block_id]
        assert rig.lock() == rig.valid() == (block.block_id, 0)
        assert rig.place == (0, "precommit")

    def test_r16_who_locks_shows_the_polka_and_the_proposal(self) -> None:
        """M#997: or its lock is hidden and starves the others."""
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        sent = messages(rig.prevotes([0, 2], block))
        assert [type(m) for m in sent if isinstance(m, PolkaCertificate)] == [PolkaCertificate]
        assert [p.block_id for p in proposals(rig.outputs[-2])] == [block.block_id]

    def test_not_before_the_own_prevote(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.prevotes([0, 2, 3], block)
        rig.propose(block, ok=None)
        assert rig.place == (0, "propose")
        assert rig.lock() == (None, -1)

    def test_not_before_the_own_execution(self) -> None:
        """R8: a node that precommits what it has not executed vouches for a root unseen."""
        rig = Rig()
        block = rig.block()
        rig.propose(block, ok=None)
        rig.elapse(TimeoutKind.PROPOSE)
        assert said(rig.prevotes([0, 2, 3], block), PRECOMMIT) == []
        assert said(rig.feed(Validity(block.block_id, True)), PRECOMMIT) == [block.block_id]

    def test_never_for_an_invalid_block(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block, ok=False)
        assert said(rig.prevotes([0, 2, 3], block), PRECOMMIT) == []
        assert rig.valid() == (None, -1)

    def test_not_without_the_proposal(self) -> None:
        rig = Rig()
        rig.elapse(TimeoutKind.PROPOSE)
        assert said(rig.prevotes([0, 2, 3], b"\x31" * 32), PRECOMMIT) == []

    def test_p42_after_the_precommit_only_the_valid_value_changes(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 3], None)
        rig.elapse(TimeoutKind.PREVOTE)
        assert rig.place == (0, "precommit")
        effects = rig.certify(rig.polka([0, 2, 3], block))
        assert said(effects, PRECOMMIT) == []
        assert rig.valid() == (block.block_id, 0)
        assert rig.lock() == (None, -1)

    def test_the_second_of_two_proposals_locks_if_it_has_the_polka(self) -> None:
        """M#956: a faulty proposer's other block must not be lost on us."""
        rig = Rig()
        first, second = rig.block(salt=1), rig.block(salt=2)
        rig.propose(first)
        rig.propose(second, ok=None)
        effects = rig.prevotes([0, 2, 3], second)
        effects += rig.validate(effects, True)
        assert said(effects, PRECOMMIT) == [second.block_id]

    def test_a_third_proposal_is_kept_if_it_has_the_polka(self) -> None:
        rig = Rig()
        for salt in (1, 2):
            rig.propose(rig.block(salt=salt))
        third = rig.block(salt=3)
        rig.prevotes([0, 2, 3], third)
        assert said(rig.propose(third), PRECOMMIT) == [third.block_id]

    def test_ours_an_earlier_rounds_polka_renews_the_valid_value(self) -> None:
        """A lock that shows late frees the network at the next turn, not at its holder's."""
        rig = Rig()
        rig.to_round(2)
        block = rig.block(0)
        rig.propose(block, 0, ok=None)
        effects = rig.certify(rig.polka([0, 2, 3], block))
        rig.validate(effects, True)
        assert rig.valid() == (block.block_id, 0)
        assert rig.lock() == (None, -1)
        assert rig.lines["P42:older"] == 1

    def test_ours_an_older_polka_never_replaces_a_newer_one(self) -> None:
        rig = Rig()
        rig.to_round(1)
        newer, older = rig.block(1), rig.block(0, salt=4)
        rig.feed(BlockReady(1, 1, newer))
        rig.prevotes([0, 2], newer, 1)
        rig.to_round(2)
        rig.propose(older, 0, ok=None)
        rig.validate(rig.certify(rig.polka([0, 2, 3], older, 0)), True)
        assert rig.valid() == (newer.block_id, 1)


class TestP44PolkaForNil:
    def test_p45_a_polka_for_nil_precommits_nil(self) -> None:
        rig = Rig()
        rig.propose(rig.block(), ok=False)
        assert said(rig.prevotes([0, 2], None), PRECOMMIT) == [None]
        assert rig.place == (0, "precommit")

    def test_not_in_step_propose(self) -> None:
        rig = Rig()
        assert said(rig.prevotes([0, 2, 3], None), PRECOMMIT) == []
        assert rig.place == (0, "propose")

    def test_not_in_step_precommit(self) -> None:
        """Or a node that precommitted a block would precommit nil as well."""
        rig = Rig(count=7)
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2, 3, 4], block)
        assert rig.place == (0, "precommit")
        assert said(rig.prevotes([0, 2, 3, 4, 5, 6], None), PRECOMMIT) == []

    def test_not_with_other_prevotes_in_the_quorum(self) -> None:
        rig = Rig()
        rig.propose(rig.block(), ok=False)
        assert said(rig.prevotes([0], None), PRECOMMIT) == []
        assert said(rig.prevotes([2], b"\x02" * 32), PRECOMMIT) == []


class TestP47AnyPrecommits:
    def test_p48_a_quorum_of_any_precommits_starts_the_timer_once(self) -> None:
        rig = Rig()
        assert timers(rig.precommits([0, 2], None)) == []
        assert timers(rig.precommits([3], b"\x01" * 32)) == [(TimeoutKind.PRECOMMIT, 0, 500)]
        rig.elapse(TimeoutKind.PROPOSE)
        assert (TimeoutKind.PRECOMMIT, 0, 500) not in timers(rig.prevotes([0, 2, 3], None))

    def test_only_of_the_own_round(self) -> None:
        rig = Rig()
        rig.to_round(2)
        assert timers(rig.precommits([0, 2, 3], None, 0)) == []


class TestP49Decision:
    def test_p51_a_quorum_of_precommits_decides(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        (decision,) = decided(rig.precommits([0, 2], block))
        assert decision.header == block
        assert decision.certificate.round == 0
        assert rig.place == (0, "decided")

    def test_of_an_old_round(self) -> None:
        """The votes that were missing come when everyone is rounds ahead."""
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        rig.to_round(5)
        (decision,) = decided(rig.precommits([0, 2, 3], block, 0))
        assert decision.certificate.round == 0

    def test_in_step_propose(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.precommits([0, 2, 3], block)
        assert decided(rig.propose(block)) != []

    def test_of_a_higher_round_at_once_when_the_block_is_known(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        (decision,) = decided(rig.certify(rig.certificate([0, 2, 3], block, 4)))
        assert decision.certificate.round == 4

    def test_without_the_proposal_the_block_is_fetched(self) -> None:
        """R11: certificate and body decide; a proposal that we never got must not block us."""
        rig = Rig()
        block = rig.block()
        effects = rig.precommits([0, 2, 3], block)
        assert only(effects, FetchBody) == [FetchBody(1, 0, block.block_id)]
        effects = rig.feed(HeaderFetched(block))
        assert [v.header for v in only(effects, Validate)] == [block]
        assert decided(rig.validate(effects, True)) != []

    def test_not_before_the_own_execution(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block, ok=None)
        assert decided(rig.precommits([0, 2, 3], block)) == []
        assert decided(rig.feed(Validity(block.block_id, True))) != []

    def test_p50_a_quorum_for_a_block_that_i_find_invalid_halts_me(self) -> None:
        """Going on would commit a state that is believed wrong."""
        rig = Rig()
        block = rig.block()
        rig.propose(block, ok=None)
        rig.feed(Validity(block.block_id, False, "accounts: key 0x07"))
        (halt,) = only(rig.precommits([0, 2, 3], block), Halt)
        assert halt == Halt(1, 0, block.block_id, "accounts: key 0x07")
        assert rig.place == (0, "halted")
        assert rig.elapse(TimeoutKind.PREVOTE) == []
        assert rig.propose(block, 1, 0) == []

    def test_a_quorum_for_nil_decides_nothing(self) -> None:
        rig = Rig()
        rig.propose(rig.block())
        assert decided(rig.precommits([0, 2, 3], None)) == []

    def test_a_decision_outranks_a_timeout(self) -> None:
        """B#1734: a timer that runs out at the same moment must not lead elsewhere."""
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        rig.precommits([0, 2], block)
        assert rig.elapse(TimeoutKind.PRECOMMIT) == []
        assert rig.place == (0, "decided")

    def test_a_decision_outranks_a_skip(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        effects = rig.certify(rig.certificate([0, 2, 3], block, 3))
        assert decided(effects) != []
        assert rig.machine.round == 0

    def test_nothing_is_decided_twice(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.precommits([0, 2, 3], block)
        assert rig.prevotes([0, 2, 3], block) == []
        assert rig.certify(rig.certificate([0, 1, 2], block)) == []


class TestP55Skip:
    def test_f_plus_1_in_a_higher_round_pull_us_there(self) -> None:
        rig = Rig()
        rig.prevotes([0], None, 3)
        assert rig.machine.round == 0
        rig.prevotes([2], None, 3)
        assert rig.place == (3, "propose")

    def test_prevotes_and_precommits_count_together(self) -> None:
        rig = Rig()
        rig.prevotes([0], None, 3)
        rig.precommits([2], None, 3)
        assert rig.machine.round == 3

    def test_one_sender_counts_once(self) -> None:
        """One faulty authority must not drag anybody anywhere."""
        rig = Rig()
        rig.prevotes([0], None, 3)
        rig.precommits([0], None, 3)
        rig.prevotes([0], None, 4)
        rig.prevotes([0], None, 1_000_000)
        assert rig.machine.round == 0

    def test_to_the_highest_round_that_f_plus_1_have_reached(self) -> None:
        """R12: one of the senders is in round 7, but only one; two are at 5 or above."""
        rig = Rig(count=4)
        rig.prevotes([0], None, 7)
        rig.prevotes([2], None, 5)
        assert rig.machine.round == 5

    def test_on_a_quorum_of_precommits_of_a_higher_round(self) -> None:
        rig = Rig()
        rig.certify(rig.certificate([0, 2, 3], rig.block(4), 4))
        assert rig.machine.round == 4

    def test_the_timers_of_older_rounds_are_called_off(self) -> None:
        rig = Rig()
        assert only(rig.to_round(2), CancelTimeouts) == [CancelTimeouts(1, 2)]

    def test_r16_the_way_in_is_shown_to_others(self) -> None:
        rig = Rig()
        (entry,) = [m for m in messages(rig.to_round(2)) if isinstance(m, RoundCertificate)]
        assert entry.round == 2
        entry.verify(DOMAIN, rig.authorities, verify)

    def test_never_backwards(self) -> None:
        rig = Rig()
        rig.to_round(3)
        rig.prevotes([0, 2, 3], None, 1)
        assert rig.machine.round == 3


class TestP57Timeouts:
    def test_p59_no_proposal_in_time_gets_nil(self) -> None:
        rig = Rig()
        assert said(rig.elapse(TimeoutKind.PROPOSE), PREVOTE) == [None]

    def test_p58_too_late_does_nothing(self) -> None:
        rig = Rig()
        rig.propose(rig.block())
        assert rig.elapse(TimeoutKind.PROPOSE) == []

    def test_p58_of_another_round_does_nothing(self) -> None:
        rig = Rig()
        rig.to_round(2)
        assert rig.elapse(TimeoutKind.PROPOSE, 0) == []
        assert rig.place == (2, "propose")

    def test_p63_no_polka_in_time_precommits_nil(self) -> None:
        rig = Rig()
        rig.propose(rig.block())
        rig.prevotes([0, 2], None)
        assert said(rig.elapse(TimeoutKind.PREVOTE), PRECOMMIT) == [None]
        assert rig.lock() == (None, -1)

    def test_p62_after_a_lock_does_nothing(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        assert rig.elapse(TimeoutKind.PREVOTE) == []
        assert rig.lines["P62:stale"] == 1

    def test_p67_no_decision_in_time_starts_the_next_round(self) -> None:
        rig = Rig(own=2)
        rig.precommits([0, 1, 3], None)
        effects = rig.elapse(TimeoutKind.PRECOMMIT)
        assert rig.place == (1, "propose")
        (entry,) = [m for m in messages(effects) if isinstance(m, RoundCertificate)]
        entry.verify(DOMAIN, rig.authorities, verify)

    def test_p66_of_a_round_that_is_over_does_nothing(self) -> None:
        rig = Rig()
        rig.to_round(2)
        assert rig.elapse(TimeoutKind.PRECOMMIT, 1) == []
        assert rig.machine.round == 2

    def test_the_lock_outlives_the_round(self) -> None:
        rig, locked = locked_rig(own=2)
        assert rig.lock() == (locked, 0)
