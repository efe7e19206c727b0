"""What the ledger does with evidence: one record, one event, one draft; nobody is removed by code.

If a record could be made twice, one crime would be told twice; if code removed anybody, a stolen
key would be enough to shrink a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.crypto import sign
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.transition import Execution, ExecutionResult
from clawpurse.modules.governance import changes
from clawpurse.modules.governance.evidence import (
    TREE,
    count_evidence,
    get_evidence,
    list_evidence,
    record_key,
)
from tests.ledger.sandbox import Key
from tests.modules.council import AUTHORITIES, Council, event, kinds

A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32


class Court(Council):
    """A council whose blocks may carry evidence."""

    def proof(
        self,
        of: Key,
        height: int = 1,
        round_: int = 0,
        kind: Kind = Kind.PREVOTE,
        blocks: tuple[bytes, bytes] = (A, B),
    ) -> DoubleSign:
        domain = Domain(self.genesis.chain_id, self.genesis.hash)
        unsigned = [Vote(kind, height, round_, block, of.public) for block in blocks]
        one, other = (
            vote._replace(signature=sign(of.seed, vote.sign_bytes(domain))) for vote in unsigned
        )
        return DoubleSign.of(one, other)

    def judge(self, *proofs: DoubleSign) -> ExecutionResult:
        """A block that records these and nothing else."""
        env = BlockEnv(self.height + 1, self.time_ms + 1_000, self.params)
        execution = Execution(self.state, self.registry, env)
        execution.begin(proofs)
        result = execution.finish()
        self.state.apply(result.changes)
        self.height, self.time_ms = env.height, env.time_ms
        return result

    def said(self, count: int = 100, start: int = 0) -> Sequence[tuple[int, bytes]]:
        found = list_evidence(self.state, start, count)
        return [(one.number, one.proof.authority) for one in found]


def test_a_record_says_who_where_and_which_two_and_can_be_proven() -> None:
    court = Court()
    court.block()
    proof = court.proof(AUTHORITIES[3], 1, 2, Kind.PRECOMMIT)
    result = court.judge(proof)
    found = get_evidence(court.state, proof.slot)
    assert found is not None
    assert (found.number, found.committed_height, found.proof) == (0, 2, proof)
    said = event(result, "governance.evidence")
    assert said.transaction is None
    assert said.data == (AUTHORITIES[3].public, 1, 2, "precommit", 0, found.draft)
    data = court.state.get(TREE, record_key(0))
    assert data is not None and proof.pack() in data


def test_it_opens_a_draft_that_waits_for_votes_and_removes_nobody() -> None:
    court = Court()
    court.judge(court.proof(AUTHORITIES[3]))
    found = list_evidence(court.state, 0, 1)[0]
    assert found.draft is not None
    draft = court.proposal(found.draft)
    assert draft.change == changes.Change(changes.Kind.REMOVE, (AUTHORITIES[3].public,))
    assert (draft.opener, draft.votes) == (None, ())
    assert "height 1" in draft.reason
    assert AUTHORITIES[3].public in court.seats(court.height + 2)
    for voter in AUTHORITIES[:3]:
        assert court.say("vote", voter, found.draft).code == 0
    assert AUTHORITIES[3].public not in court.seats(court.height + 2)


def test_many_records_about_one_key_open_one_draft() -> None:
    """Or a stolen key could bury the authorities in drafts."""
    court = Court()
    result = court.judge(*(court.proof(AUTHORITIES[3], 1, round_) for round_ in range(4)))
    assert kinds(result).count("governance.proposed") == 1
    court.judge(court.proof(AUTHORITIES[3], 1, 9))
    drafts = {one.draft for one in list_evidence(court.state, 0, 10)}
    assert len(drafts) == 1 and None not in drafts


def test_the_same_slot_is_recorded_once_whatever_the_two_statements() -> None:
    court = Court()
    court.judge(court.proof(AUTHORITIES[3], blocks=(A, B)))
    before = dict(court.state.records)
    with pytest.raises(Refused) as caught:
        court.judge(court.proof(AUTHORITIES[3], blocks=(A, C)))
    assert caught.value.rule == "governance.evidenceKnown"
    assert caught.value.wire_facts == (1,)
    assert court.state.records == before
    with pytest.raises(Refused):
        court.judge(court.proof(AUTHORITIES[2]), court.proof(AUTHORITIES[2], blocks=(B, C)))


def test_another_round_kind_height_or_key_is_another_record() -> None:
    court = Court()
    proofs = [
        court.proof(AUTHORITIES[0]),
        court.proof(AUTHORITIES[1]),
        court.proof(AUTHORITIES[0], 1, 1),
        court.proof(AUTHORITIES[0], 1, 0, Kind.PRECOMMIT),
        court.proof(AUTHORITIES[0], 2),
    ]
    for proof in proofs:
        court.judge(proof)
    assert count_evidence(court.state) == len(proofs)
    assert court.said() == [(n, proof.authority) for n, proof in enumerate(proofs)]
    assert court.said(2, 3) == [(n, proofs[n].authority) for n in (3, 4)]
    assert court.said(2, 9) == []


def test_evidence_against_one_who_has_left_is_recorded_without_a_draft() -> None:
    """It was an authority then; there is nobody left to remove."""
    court = Court()
    remove = court.change(changes.Kind.REMOVE, AUTHORITIES[3])
    court.decide(remove, AUTHORITIES[:3])
    court.block()
    court.block()
    result = court.judge(court.proof(AUTHORITIES[3]))
    assert kinds(result) == ["governance.evidence"]
    assert list_evidence(court.state, 0, 1)[0].draft is None


def test_the_last_authority_is_recorded_without_a_draft() -> None:
    court = Court(seats=1)
    court.judge(court.proof(AUTHORITIES[0]))
    assert list_evidence(court.state, 0, 1)[0].draft is None
