"""What the machine lets in, keeps, refuses, repeats and reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawpurse.consensus.effects import (
    AppendWal,
    Broadcast,
    EvidenceFound,
    FetchBody,
    Halt,
    Rejected,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import (
    CertificateReceived,
    HeaderFetched,
    Input,
    ProposalReceived,
    Signed,
    SignRefused,
    StartHeight,
    SyncedBlock,
    TimeoutElapsed,
    Validity,
    VoteReceived,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.ledger.agreement.certificates import Certificate, RoundCertificate
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import Bug
from tests.consensus.rig import EAGER, Rig, decided, messages, only, proposals, said, timers
from tests.simulation.values import (
    DOMAIN,
    authorities_of,
    header_of,
    key_of,
    sign,
    signed,
    signed_vote,
    verify,
)

GARBAGE = b"\x01" * 64


class TestAdmission:
    def test_a_forged_vote_does_not_shadow_the_true_one(self) -> None:
        """R14: the slot is marked after verification, or anybody could silence anybody."""
        rig = Rig()
        true = rig.vote(Kind.PREVOTE, 0, None)
        (rejected,) = rig.feed(VoteReceived(true._replace(signature=GARBAGE)))
        assert isinstance(rejected, Rejected)
        rig.feed(VoteReceived(true))
        assert rig.machine.votes is not None
        assert rig.machine.votes.tally(Kind.PREVOTE, 0).first[key_of(0)] == true

    def test_a_known_vote_costs_no_verification_and_no_log(self) -> None:
        rig = Rig()
        vote = VoteReceived(rig.vote(Kind.PREVOTE, 0, None))
        assert rig.machine.step(vote)[0] == AppendWal(vote)
        rig.machine._verify = lambda *_: pytest.fail("verified again")
        assert rig.machine.step(vote) == ()

    def test_a_forged_copy_of_a_known_vote_costs_no_verification(self) -> None:
        rig = Rig()
        vote = rig.vote(Kind.PREVOTE, 0, None)
        rig.feed(VoteReceived(vote))
        assert rig.feed(VoteReceived(vote._replace(signature=GARBAGE))) == []

    def test_strangers_are_refused(self) -> None:
        rig = Rig()
        (rejected,) = rig.feed(VoteReceived(rig.vote(Kind.PREVOTE, 77, None)))
        assert isinstance(rejected, Rejected)

    def test_a_proposal_out_of_turn_is_refused(self) -> None:
        rig = Rig()
        out_of_turn = Proposal(0, -1, rig.block(), key_of(3))
        received = ProposalReceived(signed(out_of_turn), True)  # type: ignore[arg-type]
        (rejected,) = rig.feed(received)
        assert rejected == Rejected(received, "its sender is not its round's proposer")

    def test_a_forged_proposal_is_refused_and_shadows_nothing(self) -> None:
        rig = Rig()
        block = rig.block()
        forged = rig.proposal(rig.block(salt=2))._replace(signature=GARBAGE)
        (rejected,) = rig.feed(ProposalReceived(forged, True))
        assert isinstance(rejected, Rejected)
        assert said(rig.propose(block), Kind.PREVOTE) == [block.block_id]

    def test_old_heights_are_ignored(self) -> None:
        rig = Rig(height=5)
        late = Vote(Kind.PRECOMMIT, 4, 0, None, key_of(0))
        assert rig.feed(VoteReceived(signed_vote(late))) == []

    def test_a_signature_of_another_network_is_worth_nothing(self) -> None:
        """R1: a second network of the same name has another genesis hash."""
        rig = Rig()
        vote = Vote(Kind.PREVOTE, 1, 0, None, key_of(0))
        elsewhere = replace(DOMAIN, genesis_hash=b"\x66" * 32)
        foreign = vote._replace(signature=sign(key_of(0), vote.sign_bytes(elsewhere)))
        (rejected,) = rig.feed(VoteReceived(foreign))
        assert isinstance(rejected, Rejected)

    def test_before_the_first_height_everything_is_ignored(self) -> None:
        machine = Machine(DOMAIN, verify=verify)
        assert machine.step(TimeoutElapsed(TimeoutKind.PROPOSE, 1, 0)) == ()
        assert machine.outstanding() == ()
        assert (machine.height, machine.round, machine.step_name) == (0, 0, "start")
        assert machine.state.proposer is None

    def test_heights_follow_each_other(self) -> None:
        rig = Rig()
        with pytest.raises(Bug, match="not decided"):
            rig.begin()


class TestBuffers:
    def test_a_flood_of_far_rounds_keeps_one_vote_per_sender_and_kind(self) -> None:
        """R14, property 13: memory per height is bounded whatever one authority sends."""
        rig = Rig()
        for round_ in range(2, 500):
            rig.prevotes([0], None, round_)
        rig.prevotes([0], None, 7)
        votes = rig.machine.votes
        assert votes is not None
        assert [vote.round for vote in votes] == [17]
        assert len(rig.log) == 1 + 16

    def test_a_flood_of_far_proposals_is_bounded_too(self) -> None:
        rig = Rig()
        for round_ in range(4, 400, 4):
            rig.propose(rig.block(round_), round_)
        assert len(rig.log) == 1 + 16

    def test_a_new_round_lets_senders_speak_again(self) -> None:
        """The bound must not keep anybody behind for good."""
        rig = Rig()
        for round_ in range(2, 40):
            rig.prevotes([0], None, round_)
        rig.prevotes([2], None, 40)
        assert rig.machine.round == 17
        rig.prevotes([0], None, 40)
        assert rig.machine.round == 40

    def test_a_way_into_a_round_that_brings_nothing_new_costs_nothing(self) -> None:
        rig = Rig()
        votes = tuple(rig.vote(Kind.PRECOMMIT, n, None, 3) for n in (0, 2, 3))
        rig.feed(CertificateReceived(RoundCertificate(1, 4, votes)))
        rig.machine._verify = lambda *_: pytest.fail("verified again")
        assert rig.machine.step(CertificateReceived(RoundCertificate(1, 4, votes))) == ()

    def test_far_votes_count_when_their_round_comes(self) -> None:
        rig = Rig()
        rig.prevotes([0], None, 4)
        rig.prevotes([2], None, 4)
        assert rig.machine.round == 4
        rig.elapse(TimeoutKind.PROPOSE, 4)
        assert rig.place == (4, "precommit")

    def test_far_proposals_count_when_their_round_comes(self) -> None:
        rig = Rig()
        block = rig.block(4)
        assert rig.propose(block, 4) == []
        effects = rig.to_round(4)
        assert said(effects + rig.validate(effects, True), Kind.PREVOTE) == [block.block_id]

    def test_the_next_height_is_kept_and_taken_when_it_starts(self) -> None:
        """Or a node that is a moment behind waits for retransmissions at each height."""
        rig = Rig(own=1)
        after = header_of(2, proposer=key_of(1), salt=8)
        early: list[Input] = [
            ProposalReceived(_proposal(after), timely=True),
            *(VoteReceived(_vote(Kind.PREVOTE, 2, after.block_id, n)) for n in (0, 2, 3)),
        ]
        for event in early:
            assert rig.machine.step(event) == ()
        block = rig.block()
        rig.propose(block)
        rig.precommits([0, 2, 3], block)
        start = StartHeight(2, rig.authorities, rig.authorities, key_of(0), EAGER)
        effects = rig.machine.step(start)
        assert [e.record for e in only(effects, AppendWal)] == [start, *early]
        assert [v.header for v in only(effects, Validate)] == [after]

    def test_early_messages_are_verified_before_they_are_kept(self) -> None:
        rig = Rig()
        forged = _vote(Kind.PREVOTE, 2, None, 0)._replace(signature=GARBAGE)
        (rejected,) = rig.machine.step(VoteReceived(forged))
        assert isinstance(rejected, Rejected)

    def test_beyond_the_next_height_nothing_is_kept(self) -> None:
        rig = Rig()
        assert rig.machine.step(VoteReceived(_vote(Kind.PREVOTE, 3, None, 0))) == ()

    def test_early_messages_are_judged_by_the_next_set(self) -> None:
        rig = Rig(begin=False)
        larger = authorities_of(5)
        rig.feed(StartHeight(1, rig.authorities, larger, key_of(1), EAGER))
        assert rig.machine.step(VoteReceived(_vote(Kind.PREVOTE, 2, None, 4))) == ()
        block = rig.block()
        rig.propose(block)
        rig.precommits([0, 2, 3], block)
        effects = rig.machine.step(StartHeight(2, larger, larger, key_of(1), EAGER))
        assert len(only(effects, AppendWal)) == 2


class TestEvidence:
    def test_two_votes_for_one_position_are_reported_once(self) -> None:
        rig = Rig()
        rig.prevotes([0], None)
        (found,) = rig.prevotes([0], b"\x05" * 32)
        assert isinstance(found, EvidenceFound)
        found.evidence.verify(DOMAIN, rig.authorities, verify)
        assert found.evidence.authority == key_of(0)
        assert rig.prevotes([0], b"\x06" * 32) == []

    def test_two_proposals_of_one_turn_are_reported(self) -> None:
        rig = Rig()
        rig.propose(rig.block(salt=1))
        (found,) = only(rig.propose(rig.block(salt=2)), EvidenceFound)
        found.evidence.verify(DOMAIN, rig.authorities, verify)

    def test_one_block_with_two_valid_rounds_is_reported(self) -> None:
        """R27: the block is the same, the sign bytes are not."""
        rig = Rig()
        rig.to_round(3)
        rig.propose(rig.block(0), 3, 0, ok=None)
        (found,) = only(rig.propose(rig.block(0), 3, 1, ok=None), EvidenceFound)
        found.evidence.verify(DOMAIN, rig.authorities, verify)

    def test_an_equivocators_votes_count_for_both_values(self) -> None:
        """Thresholds count distinct senders per value, as in the paper."""
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0], None)
        rig.prevotes([0], block)
        assert said(rig.prevotes([2], block), Kind.PRECOMMIT) == [block.block_id]

    def test_repeating_oneself_is_no_crime(self) -> None:
        rig = Rig()
        effects = rig.prevotes([0], None) + rig.prevotes([0], None)
        assert only(effects, EvidenceFound) == []


class TestCertificates:
    def test_signers_that_are_no_quorum_prove_nothing(self) -> None:
        rig = Rig()
        (rejected,) = rig.certify(rig.certificate([0, 2], rig.block()))
        assert isinstance(rejected, Rejected)
        assert "no quorum" in rejected.problem

    def test_one_bad_signature_spoils_the_whole(self) -> None:
        """M#1570: a certificate is believed whole or not at all."""
        rig = Rig()
        good = rig.certificate([0, 2, 3], rig.block())
        bad = Certificate(
            good.height, good.round, good.block_id, good.signers, (*good.signatures[:2], GARBAGE)
        )
        (rejected,) = rig.certify(bad)
        assert isinstance(rejected, Rejected)
        assert rig.machine.votes is not None
        assert list(rig.machine.votes) == []

    def test_a_polka_counts_beside_two_other_votes_of_an_equivocator(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        for other in (None, b"\x05" * 32):
            rig.prevotes([0], other)
        effects = rig.certify(rig.polka([0, 2, 3], block))
        assert said(effects, Kind.PRECOMMIT) == [block.block_id]

    def test_a_way_into_a_round_is_followed(self) -> None:
        rig = Rig()
        votes = tuple(rig.vote(Kind.PRECOMMIT, n, None, 3) for n in (0, 2, 3))
        rig.feed(CertificateReceived(RoundCertificate(1, 4, votes)))
        assert rig.place == (3, "propose")
        rig.elapse(TimeoutKind.PRECOMMIT, 3)
        assert rig.machine.round == 4

    def test_a_way_into_a_round_that_is_over_is_ignored(self) -> None:
        rig = Rig()
        rig.to_round(4)
        votes = tuple(rig.vote(Kind.PRECOMMIT, n, None, 3) for n in (0, 2, 3))
        assert rig.feed(CertificateReceived(RoundCertificate(1, 4, votes))) == []

    def test_a_known_quorum_is_not_verified_again(self) -> None:
        rig = Rig()
        block = rig.block()
        polka = rig.polka([0, 2, 3], block)
        rig.certify(polka)
        rig.machine._verify = lambda *_: pytest.fail("verified again")
        assert rig.certify(polka) == []

    def test_of_another_height_is_ignored(self) -> None:
        rig = Rig()
        other = Rig(height=2)
        assert rig.certify(other.certificate([0, 2, 3], other.block())) == []

    def test_two_certificates_for_one_height_halt_the_node(self) -> None:
        """More than f are faulty; whatever one does next could be the wrong side of a fork."""
        rig = Rig()
        rig.certify(rig.certificate([0, 2, 3], rig.block(salt=1)))
        (halt,) = only(rig.certify(rig.certificate([0, 2, 3], rig.block(salt=2), 1)), Halt)
        assert halt.is_fork and "quorum of precommits" in halt.problem


class TestSync:
    def test_r28_a_synced_block_is_decided_by_the_same_rule(self) -> None:
        rig = Rig(own=None)
        block = rig.block()
        certificate = rig.certificate([0, 2, 3], block)
        effects = rig.feed(SyncedBlock(block, certificate))
        assert [v.header for v in only(effects, Validate)] == [block]
        (decision,) = decided(rig.validate(effects, True))
        assert decision.certificate == certificate

    def test_a_forged_certificate_moves_nothing(self) -> None:
        rig = Rig(own=None)
        block = rig.block()
        forged = Certificate(1, 0, block.block_id, b"\x07", (GARBAGE,) * 3)
        (rejected,) = rig.feed(SyncedBlock(block, forged))
        assert isinstance(rejected, Rejected)
        assert rig.machine.live_blocks == ()

    def test_a_certificate_of_another_block_is_refused(self) -> None:
        rig = Rig(own=None)
        other = rig.certificate([0, 2, 3], rig.block(salt=2))
        (rejected,) = rig.feed(SyncedBlock(rig.block(), other))
        assert isinstance(rejected, Rejected)

    def test_an_invalid_synced_block_halts_the_node(self) -> None:
        rig = Rig(own=None)
        block = rig.block()
        effects = rig.feed(SyncedBlock(block, rig.certificate([0, 2, 3], block)))
        assert only(rig.validate(effects, False), Halt) != []

    def test_a_header_that_was_not_asked_for_is_refused(self) -> None:
        rig = Rig()
        assert rig.feed(HeaderFetched(rig.block())) == []
        rig.precommits([0, 2, 3], rig.block())
        (rejected,) = rig.feed(HeaderFetched(rig.block(salt=2)))
        assert isinstance(rejected, Rejected)

    def test_a_synced_block_answers_a_fetch(self) -> None:
        rig = Rig()
        block = rig.block()
        certificate = rig.certificate([0, 2, 3], block)
        assert only(rig.certify(certificate), FetchBody) != []
        effects = rig.feed(SyncedBlock(block, certificate))
        assert decided(rig.validate(effects, True)) != []


class TestSigning:
    def test_r22_the_own_message_is_logged_before_it_is_sent(self) -> None:
        rig = Rig()
        rig.signs = False
        block = rig.block()
        (sign_effect,) = only(rig.propose(block), Sign)
        answer = Signed(signed(sign_effect.message))
        effects = rig.machine.step(answer)
        assert effects[:2] == (AppendWal(answer), Broadcast(answer.message))

    def test_one_signature_at_a_time(self) -> None:
        """R22: else a crash puts the watermark past a vote that no log holds."""
        rig = Rig()
        rig.signs = False
        block = rig.block()
        rig.prevotes([0, 2, 3], block)
        (first,) = only(rig.propose(block), Sign)
        assert rig.place == (0, "precommit")
        (second,) = only(rig.machine.step(Signed(signed(first.message))), Sign)
        assert [m.message.kind for m in (first, second)] == [Kind.PREVOTE, Kind.PRECOMMIT]  # type: ignore[union-attr]

    def test_a_refused_signature_leaves_the_node_mute_and_alive(self) -> None:
        """R24: the guard knows of a vote that this log does not; the others decide."""
        rig = Rig()
        rig.signs = False
        block = rig.block()
        rig.prevotes([0, 2, 3], block)
        rig.propose(block)
        assert rig.feed(SignRefused(Kind.PRECOMMIT, 1, 0)) == []
        (following,) = only(rig.feed(SignRefused(Kind.PREVOTE, 1, 0)), Sign)
        assert following.message.round == 0
        assert decided(rig.precommits([0, 2, 3], block)) != []

    def test_an_answer_to_no_question_is_ignored(self) -> None:
        rig = Rig()
        assert rig.machine.step(Signed(rig.vote(Kind.PREVOTE, 1, None))) == ()

    def test_a_backlog_of_old_rounds_is_dropped(self) -> None:
        """A signer that was away for ten rounds is not asked to sign them all."""
        rig = Rig()
        rig.signs = False
        for round_ in range(2, 12):
            rig.to_round(round_)
            rig.elapse(TimeoutKind.PROPOSE, round_)
        (first,) = only(rig.machine.outstanding(), Sign)
        (second,) = only(rig.machine.step(Signed(signed(first.message))), Sign)
        assert (first.message.round, second.message.round) == (2, 11)


class TestLiveness:
    def test_m1032_a_round_that_lasts_repeats_what_could_end_it(self) -> None:
        rig = Rig()
        rig.to_round(2)
        rig.elapse(TimeoutKind.PROPOSE, 2)
        effects = rig.elapse(TimeoutKind.REBROADCAST, 2)
        sent = messages(effects)
        assert [m.round for m in sent if isinstance(m, Vote)] == [2]
        assert [m.round for m in sent if isinstance(m, RoundCertificate)] == [2]
        assert timers(effects) == [(TimeoutKind.REBROADCAST, 2, 2_000 + 1_000 + 1_000)]

    def test_repeating_is_not_logged(self) -> None:
        rig = Rig()
        before = len(rig.log)
        rig.elapse(TimeoutKind.REBROADCAST)
        assert len(rig.log) == before

    def test_a_locked_node_shows_its_polka_in_each_round(self) -> None:
        rig = Rig(own=3)
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        effects = rig.to_round(1)
        assert rig.polka([0, 2, 3], block) in messages(effects)
        assert [p.block_id for p in proposals(effects)] == [block.block_id]

    def test_votes_that_a_peer_lacks_can_be_told(self) -> None:
        rig = Rig()
        rig.prevotes([0, 2, 3], None)
        votes = rig.machine.votes
        assert votes is not None
        theirs = rig.authorities.bitmap([key_of(0)])
        lacking = votes.lacking(Kind.PREVOTE, 0, theirs)
        assert [vote.authority for vote in lacking] == [key_of(2), key_of(3)]
        assert votes.bitmap(Kind.PREVOTE, 0) == b"\x0d"
        assert votes.lacking(Kind.PREVOTE, 0, b"\xff") == tuple(
            votes.tally(Kind.PREVOTE, 0).first.values()
        )


class TestReading:
    def test_the_state_can_be_read_at_any_time(self) -> None:
        rig = Rig()
        block = rig.block()
        rig.propose(block)
        rig.prevotes([0, 2], block)
        state = rig.machine.state
        assert (state.height, state.round, state.step_name) == (1, 0, "precommit")
        assert (state.locked_value, state.locked_round) == (block.block_id, 0)
        assert (state.valid_value, state.valid_round) == (block.block_id, 0)
        assert state.proposer == key_of(0)
        assert state.votes == ((0, b"\x07", b"\x02"),)
        assert rig.machine.live_blocks == (block.block_id,)
        assert rig.machine.authorities == rig.authorities

    def test_a_verdict_that_was_not_asked_for_is_ignored(self) -> None:
        rig = Rig()
        assert rig.feed(Validity(b"\x01" * 32, True)) == []


def _vote(kind: Kind, height: int, block_id: bytes | None, sender: int) -> Vote:
    return signed_vote(Vote(kind, height, 0, block_id, key_of(sender)))


def _proposal(header: object) -> Proposal:
    message = Proposal(0, -1, header, key_of(1))  # type: ignore[arg-type]
    return signed(message)  # type: ignore[return-value]
