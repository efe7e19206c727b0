"""The vote keeper: counts what is there, once per authority and value, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clawpurse.consensus.votes import DecidedValue, VoteKeeper
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from tests.simulation.values import DOMAIN, authorities_of, key_of, signed_vote, verify

PREVOTE, PRECOMMIT = Kind.PREVOTE, Kind.PRECOMMIT
A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32


def vote(sender: int, block_id: bytes | None = A, round_: int = 0, kind: Kind = PREVOTE) -> Vote:
    return signed_vote(Vote(kind, 1, round_, block_id, key_of(sender)))


def keeper(count: int = 4, round_: int = 0) -> VoteKeeper:
    return VoteKeeper(authorities_of(count), round_)


def test_a_repeated_vote_counts_once() -> None:
    votes = keeper()
    assert votes.is_new(vote(0))
    assert votes.add(vote(0)) is None
    assert not votes.is_new(vote(0))
    votes.add(vote(0))
    assert votes.tally(PREVOTE, 0).count(A) == 1


def test_the_second_value_of_a_slot_is_kept_and_the_third_is_not() -> None:
    votes = keeper()
    votes.add(vote(0, A))
    assert votes.add(vote(0, B)) == vote(0, A)
    assert not votes.is_new(vote(0, C))
    assert votes.add(vote(0, C)) is None
    assert [votes.tally(PREVOTE, 0).count(v) for v in (A, B, C)] == [1, 1, 0]


def test_a_proven_third_value_is_kept() -> None:
    votes = keeper()
    for value in (A, B):
        votes.add(vote(0, value))
    votes.add(vote(0, C), proven=True)
    assert votes.tally(PREVOTE, 0).count(C) == 1


def test_an_equivocator_is_one_sender_of_any_value() -> None:
    votes = keeper()
    for sender, value in ((0, A), (0, B), (1, A)):
        votes.add(vote(sender, value))
    assert not votes.has_quorum_of_any(PREVOTE, 0)
    votes.add(vote(2, None))
    assert votes.has_quorum_of_any(PREVOTE, 0)
    assert not votes.has_quorum(PREVOTE, 0, A)


def test_prevotes_and_precommits_are_counted_apart() -> None:
    votes = keeper()
    for sender, kind in ((0, PREVOTE), (1, PREVOTE), (2, PRECOMMIT)):
        votes.add(vote(sender, A, kind=kind))
    assert not votes.has_quorum_of_any(PREVOTE, 0)
    assert votes.voters(0) == 3
    votes.add(vote(0, A, kind=PRECOMMIT))
    assert votes.voters(0) == 3


def test_rounds_are_counted_apart() -> None:
    votes = keeper()
    for sender, round_ in ((0, 0), (1, 0), (2, 1)):
        votes.add(vote(sender, A, round_))
    assert not votes.has_quorum(PREVOTE, 0, A)
    assert votes.rounds() == (0, 1)


def test_polkas_and_decisions_show_as_soon_as_they_are_there() -> None:
    votes = keeper()
    for sender in (0, 1, 2):
        assert votes.polkas == {}
        votes.add(vote(sender))
    assert votes.polkas == {0: A}
    for sender in (1, 2, 3):
        assert votes.decided is None
        votes.add(vote(sender, B, kind=PRECOMMIT))
    assert votes.decided == DecidedValue(0, B)


def test_a_polka_for_nil_is_no_polka_for_a_block() -> None:
    votes = keeper()
    for sender in range(4):
        votes.add(vote(sender, None))
        votes.add(vote(sender, None, kind=PRECOMMIT))
    assert votes.polkas == {}
    assert votes.decided is None
    assert votes.has_quorum(PREVOTE, 0, None)
    assert votes.polka_certificate(0) is None


def test_certificates_hold_what_they_say() -> None:
    votes = keeper()
    for sender in (0, 2, 3):
        votes.add(vote(sender))
        votes.add(vote(sender, A, kind=PRECOMMIT))
    votes.add(vote(1, B))
    authorities = votes.authorities
    polka = votes.polka_certificate(0)
    assert polka is not None
    polka.verify(DOMAIN, authorities, verify)
    assert votes.decided is not None
    certificate = votes.certificate(votes.decided)
    certificate.verify(DOMAIN, authorities, verify)
    assert authorities.signers(certificate.signers) == (key_of(0), key_of(2), key_of(3))


def test_the_way_into_a_round_is_shown_by_the_round_before_or_by_skippers() -> None:
    votes = keeper()
    assert votes.round_certificate(1, 1) is None
    for sender in (0, 1, 2):
        votes.add(vote(sender, None, kind=PRECOMMIT))
    after = votes.round_certificate(1, 1)
    assert after is not None
    after.verify(DOMAIN, votes.authorities, verify)
    votes.add(vote(0, None, 6))
    assert votes.round_certificate(1, 5) is None
    votes.add(vote(3, None, 5, PRECOMMIT))
    skipped = votes.round_certificate(1, 5)
    assert skipped is not None
    skipped.verify(DOMAIN, votes.authorities, verify)


def test_far_votes_are_the_highest_of_each_sender_and_kind() -> None:
    votes = keeper()
    for round_ in (5, 9, 7):
        votes.add(vote(0, A, round_))
        votes.add(vote(0, A, round_, PRECOMMIT))
    assert [v.round for v in votes] == [9, 9]
    votes.advance(8)
    assert votes.tally(PREVOTE, 9).count(A) == 1


def test_a_proven_quorum_of_a_far_round_is_kept_fully() -> None:
    """A decision of round 50 must not get lost because its senders have moved on to 60."""
    votes = keeper()
    for sender in (0, 1, 2):
        votes.add(vote(sender, None, 60))
    for sender in (0, 1, 2):
        votes.add(vote(sender, A, 50, PRECOMMIT), proven=True)
    assert votes.decided == DecidedValue(50, A)


def test_what_a_peer_lacks_includes_second_votes() -> None:
    votes = keeper()
    votes.add(vote(0, A))
    votes.add(vote(0, B))
    votes.add(vote(1, A))
    lacking = votes.lacking(PREVOTE, 0, votes.authorities.bitmap([key_of(1)]))
    assert lacking == (vote(0, A), vote(0, B))
    assert votes.bitmap(PREVOTE, 0) == b"\x03"
    assert votes.bitmap(PREVOTE, 44) == b"\x00"


SENT = st.tuples(
    st.integers(0, 6), st.sampled_from([A, B, None]), st.integers(0, 6), st.sampled_from(Kind)
)


@given(st.lists(SENT.filter(lambda sent: sent[3] is not Kind.PROPOSAL), max_size=60))
def test_counts_equal_a_plain_recount(sent: list[tuple[int, bytes | None, int, Kind]]) -> None:
    """Whatever arrives in whatever order: a threshold is met exactly when it is."""
    votes = keeper(7)
    taken: dict[tuple[int, Kind, int], list[bytes | None]] = {}
    for sender, value, round_, kind in sent:
        votes.advance(round_)
        message = vote(sender, value, round_, kind)
        values = taken.setdefault((round_, kind, sender), [])
        assert votes.is_new(message) == (value not in values and len(values) < 2)
        if value not in values and len(values) < 2:
            values.append(value)
            contradicted = votes.add(message)
            assert (contradicted is not None) == (len(values) == 2)
    for round_ in range(7):
        for kind in (PREVOTE, PRECOMMIT):
            of_round = [v for (r, k, _), v in taken.items() if (r, k) == (round_, kind)]
            assert votes.has_quorum_of_any(kind, round_) == (3 * len(of_round) > 14)
            for value in (A, B, None):
                count = sum(value in values for values in of_round)
                assert votes.tally(kind, round_).count(value) == count
                assert votes.has_quorum(kind, round_, value) == (3 * count > 14)


def test_a_far_vote_that_a_certificate_contradicts_convicts_when_its_round_comes() -> None:
    """Two of one sender met only then; without this its crime would be forgotten."""
    votes = keeper()
    votes.add(vote(0, A, round_=5))
    assert votes.add(vote(0, B, round_=5), proven=True) is None
    assert votes.advance(3) == []
    assert votes.advance(4) == [(vote(0, B, round_=5), vote(0, A, round_=5))]
    assert votes.advance(5) == []
