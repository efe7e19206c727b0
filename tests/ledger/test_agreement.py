"""What authorities sign: one meaning per byte string, and certificates that cannot be bent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.envelope import Message, pack_message, unpack_message
from clawpurse.ledger.agreement.evidence import (
    EVIDENCE_PER_BLOCK_MAX,
    SLOT_BYTES,
    DoubleSign,
    double_signs,
    read_block_evidence,
)
from clawpurse.ledger.agreement.messages import Proposal, Vote, kind_of
from clawpurse.ledger.agreement.signbytes import (
    PROPOSAL_SIGN_BYTES,
    ROUND_MAX,
    VOTE_SIGN_BYTES,
    Kind,
    encode,
    parse,
    proposal_bytes,
    vote_bytes,
)
from clawpurse.ledger.errors import Bug, InvalidBlock, InvalidCertificate, Malformed
from tests.simulation.values import (
    DOMAIN,
    authorities_of,
    header_of,
    key_of,
    sign,
    signed_proposal,
    signed_vote,
    verify,
)

A, B = b"\x0a" * 32, b"\x0b" * 32
SEEDS = [bytes([n + 1]) * 32 for n in range(4)]


def vote(
    sender: int, block_id: bytes | None = A, kind: Kind = Kind.PRECOMMIT, round_: int = 2
) -> Vote:
    return signed_vote(Vote(kind, 5, round_, block_id, key_of(sender)))


def certificate(senders: list[int], count: int = 4) -> Certificate:
    return Certificate.of(authorities_of(count), {key_of(n): vote(n) for n in senders})


class TestSignBytes:
    def test_the_layout_is_the_documented_one(self) -> None:
        """A signer in another language must build the same bytes."""
        domain = Domain("claw-1", b"\x11" * 32, 3)
        data = vote_bytes(domain, Kind.PREVOTE, 258, 1, A)
        assert data == (
            b"clawpurse/vote\0\0"
            + b"claw-1".ljust(32, b"\0")
            + b"\x11" * 32
            + bytes([0, 0, 0, 3])
            + bytes([2])
            + bytes([0, 0, 0, 0, 0, 0, 1, 2])
            + bytes([0, 0, 0, 1])
            + bytes([1])
            + A
        )
        assert len(data) == VOTE_SIGN_BYTES == 130
        proposed = proposal_bytes(domain, 258, 1, -1, A)
        assert proposed[:16] == b"clawpurse/prop\0\0"
        assert proposed[84:] == (
            bytes([1]) + bytes([0] * 6 + [1, 2]) + bytes([0, 0, 0, 1]) + b"\xff" * 4 + b"\1" + A
        )
        assert len(proposed) == PROPOSAL_SIGN_BYTES == 134

    def test_nil_differs_from_a_block_of_zeros(self) -> None:
        nil = vote_bytes(DOMAIN, Kind.PREVOTE, 1, 0, None)
        assert nil != vote_bytes(DOMAIN, Kind.PREVOTE, 1, 0, bytes(32))

    def test_everything_that_has_meaning_changes_the_bytes(self) -> None:
        base = Vote(Kind.PREVOTE, 1, 0, A, key_of(0))
        others = [
            base._replace(kind=Kind.PRECOMMIT),
            base._replace(height=2),
            base._replace(round=1),
            base._replace(block_id=B),
            base._replace(block_id=None),
        ]
        seen = {base.sign_bytes(DOMAIN), *(other.sign_bytes(DOMAIN) for other in others)}
        for domain in (
            replace(DOMAIN, chain_id="simulatiom"),
            replace(DOMAIN, genesis_hash=A),
            replace(DOMAIN, recovery_epoch=1),
        ):
            seen.add(base.sign_bytes(domain))
        assert len(seen) == 9

    @given(
        st.sampled_from(Kind),
        st.integers(1, 2**64 - 1),
        st.integers(0, ROUND_MAX),
        st.integers(-1, ROUND_MAX),
        st.none() | st.binary(min_size=32, max_size=32),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32),
    )
    def test_a_signer_can_read_them_back(
        self,
        kind: Kind,
        height: int,
        round_: int,
        valid_round: int,
        block_id: bytes | None,
        chain_id: str,
    ) -> None:
        """R25: the signer judges the position itself, from nothing but the bytes."""
        domain = Domain(chain_id, b"\x42" * 32, 7)
        if kind is Kind.PROPOSAL:
            data = proposal_bytes(domain, height, round_, valid_round, block_id or A)
        else:
            data = vote_bytes(domain, kind, height, round_, block_id)
        position = parse(data)
        assert position.order == (height, round_, int(kind))
        assert position.domain == domain
        assert encode(position) == data

    @pytest.mark.parametrize(
        "bend",
        [
            lambda data: data[:-1],
            lambda data: data + b"\0",
            lambda data: b"clawpurse/prop\0\0" + data[16:],
            lambda data: b"x" + data[1:],
            lambda data: data[:84] + b"\x01" + data[85:],
            lambda data: data[:84] + b"\x07" + data[85:],
            lambda data: data[:97] + b"\x02" + data[98:],
            lambda data: data[:97] + b"\x00" + data[98:],
            lambda data: data[:16] + b"\x00" * 32 + data[48:],
            lambda data: data[:16] + b"a\x00b".ljust(32, b"\0") + data[48:],
        ],
    )
    def test_bent_bytes_are_refused(self, bend: object) -> None:
        """Two byte strings for one position would be two signatures for one position."""
        data = vote_bytes(DOMAIN, Kind.PREVOTE, 1, 0, A)
        assert callable(bend)
        with pytest.raises(Malformed):
            parse(bend(data))

    def test_a_chain_id_has_one_form(self) -> None:
        for chain_id in ("", "x" * 33, "chaîne", "a\x00b"):
            with pytest.raises(Malformed):
                Domain(chain_id, bytes(32))


class TestAuthoritySet:
    def test_order_and_hash_depend_on_members_only(self) -> None:
        keys = [key_of(n) for n in (3, 1, 2, 0)]
        one, other = AuthoritySet(keys), AuthoritySet(reversed(keys))
        assert one == other
        assert one.hash == other.hash
        assert hash(one) == hash(other)
        assert list(one) == sorted(keys)
        assert one != AuthoritySet(keys[:3])

    @pytest.mark.parametrize(
        "keys", [[], [key_of(1)] * 2, [b"short"], [key_of(n) for n in range(101)]]
    )
    def test_what_is_no_set_is_refused(self, keys: list[bytes]) -> None:
        with pytest.raises(Malformed):
            AuthoritySet(keys)

    @given(st.integers(1, 100), st.integers(0, 100))
    def test_thresholds_are_the_papers(self, count: int, votes: int) -> None:
        authorities = authorities_of(count)
        assert (
            authorities.quorum(votes)
            == (votes >= authorities.quorum_size)
            == (3 * votes > 2 * count)
        )
        assert (
            authorities.honest(votes) == (votes >= authorities.honest_size) == (3 * votes > count)
        )

    @given(st.integers(1, 100), st.data())
    def test_bitmaps_have_one_form(self, count: int, data: st.DataObject) -> None:
        authorities = authorities_of(count)
        members = data.draw(st.sets(st.sampled_from(authorities.keys)))
        bitmap = authorities.bitmap(members)
        assert authorities.signers(bitmap) == tuple(sorted(members))
        assert authorities.signers(bitmap + b"\0") is None
        if count % 8:
            spoiled = bitmap[:-1] + bytes([bitmap[-1] | 1 << (count % 8)])
            assert authorities.signers(spoiled) is None

    def test_bytes_read_back_and_must_ascend(self) -> None:
        authorities = authorities_of(7)
        assert AuthoritySet.unpack(authorities.pack()) == authorities
        with pytest.raises(Malformed, match="ascending"):
            AuthoritySet.unpack(codec.pack([key_of(1), key_of(0)]))

    def test_strangers_have_no_place(self) -> None:
        authorities = authorities_of(4)
        assert [authorities.place(key_of(n)) for n in (0, 3, 4)] == [0, 3, -1]
        assert key_of(4) not in authorities


class TestMessages:
    header = header_of(5, first_round=1, proposer=key_of(1), salt=3)

    def test_bytes_read_back(self) -> None:
        proposal = signed_proposal(Proposal(2, 1, self.header, key_of(2)))
        messages: list[Message] = [
            vote(1),
            vote(1, None, Kind.PREVOTE),
            proposal,
            certificate([0, 1, 3]),
            PolkaCertificate.of(
                authorities_of(4), {key_of(n): vote(n, None, Kind.PREVOTE) for n in range(3)}
            ),
            RoundCertificate(5, 3, tuple(vote(n) for n in range(3))),
        ]
        for message in messages:
            data = pack_message(message)
            read = unpack_message(data)
            assert type(read) is type(message)
            assert read == message
            assert pack_message(read) == data

    def test_message_hashes_cover_signatures(self) -> None:
        """R14: a copy with another signature is another message."""
        assert vote(0).message_hash != vote(0)._replace(signature=b"\1" * 64).message_hash
        proposal = signed_proposal(Proposal(2, 1, self.header, key_of(2)))
        assert proposal.message_hash != proposal._replace(signature=b"\1" * 64).message_hash
        assert kind_of(proposal) is Kind.PROPOSAL

    @pytest.mark.parametrize(
        "wire",
        [
            [1, 5, 0, A, key_of(0), b"\1" * 64],
            [4, 5, 0, A, key_of(0), b"\1" * 64],
            [2, 0, 0, A, key_of(0), b"\1" * 64],
            [2, 5, -1, A, key_of(0), b"\1" * 64],
            [2, 5, 2**31, A, key_of(0), b"\1" * 64],
            [2, 5, 0, A[:31], key_of(0), b"\1" * 64],
            [2, 5, 0, A, key_of(0), b""],
            [2, 5, 0, A, key_of(0), b"\1" * 65],
            [2, 5, 0, A, key_of(0)],
            [True, 5, 0, A, key_of(0), b"\1" * 64],
        ],
    )
    def test_malformed_votes_are_refused(self, wire: list[object]) -> None:
        with pytest.raises(Malformed):
            Vote.unpack(codec.pack(wire))

    @pytest.mark.parametrize(("round_", "valid_round"), [(2, 2), (2, 3), (0, 0), (2, -2)])
    def test_a_valid_round_is_before_its_proposal(self, round_: int, valid_round: int) -> None:
        data = codec.pack([round_, valid_round, self.header.pack(), key_of(2), b"\1" * 64])
        with pytest.raises(Malformed, match="validRound"):
            Proposal.unpack(data)

    def test_unknown_messages_are_refused(self) -> None:
        for wire in ([0, b""], [6, b""], ["1", b""], [1], [1, b"", b""]):
            with pytest.raises(Malformed):
                unpack_message(codec.pack(wire))

    def test_real_signatures_verify(self) -> None:
        """The machine's default is Ed25519 of libsodium, not the tests' stand-in."""
        key = crypto.public_key_of(SEEDS[0])
        unsigned = Vote(Kind.PREVOTE, 1, 0, A, key)
        good = unsigned._replace(signature=crypto.sign(SEEDS[0], unsigned.sign_bytes(DOMAIN)))
        assert good.verifies(DOMAIN, crypto.verify)
        assert not good._replace(round=1).verifies(DOMAIN, crypto.verify)
        assert not unsigned.verifies(DOMAIN, crypto.verify)


class TestCertificates:
    def test_a_quorum_proves(self) -> None:
        for senders in ([0, 1, 2], [1, 2, 3], [0, 1, 2, 3]):
            good = certificate(senders)
            good.verify(DOMAIN, authorities_of(4), verify)
            votes = good.verified_votes(DOMAIN, authorities_of(4), verify)
            assert votes == tuple(vote(n) for n in senders)

    def test_the_bytes_and_hash_depend_on_nothing_but_the_votes(self) -> None:
        votes = {key_of(n): vote(n) for n in (3, 0, 2)}
        shuffled = Certificate.of(authorities_of(4), votes)
        assert shuffled == certificate([0, 2, 3])
        assert shuffled.hash == certificate([0, 2, 3]).hash
        assert len(shuffled.hash) == 32

    @pytest.mark.parametrize(
        ("bend", "why"),
        [
            (lambda c: replace(c, signers=b"\x03", signatures=c.signatures[:2]), "no quorum"),
            (lambda c: replace(c, signers=b"\x07\x00"), "bitmap"),
            (lambda c: replace(c, signers=b"\x17"), "bitmap"),
            (lambda c: replace(c, signers=b"\x0f"), "names 4 signers and carries 3"),
            (lambda c: replace(c, signatures=(*c.signatures, c.signatures[0])), "carries 4"),
            (lambda c: replace(c, signatures=(c.signatures[0],) * 3), "does not verify"),
            (lambda c: replace(c, signatures=c.signatures[::-1]), "does not verify"),
            (lambda c: replace(c, round=3), "does not verify"),
            (lambda c: replace(c, height=6), "does not verify"),
            (lambda c: replace(c, block_id=B), "does not verify"),
            (lambda c: PolkaCertificate(5, 2, A, c.signers, c.signatures), "does not verify"),
        ],
    )
    def test_a_bent_certificate_proves_nothing(self, bend: object, why: str) -> None:
        """M#1036, M#1570, GHSA-r3r4, GHSA-hrhf: threshold, type, value, duplicates, members."""
        assert callable(bend)
        with pytest.raises(InvalidCertificate, match=why):
            bend(certificate([0, 1, 2])).verify(DOMAIN, authorities_of(4), verify)

    def test_of_another_set_or_network_proves_nothing(self) -> None:
        good = certificate([0, 1, 2])
        for authorities in (AuthoritySet([key_of(n) for n in (1, 2, 3, 4)]), authorities_of(5)):
            with pytest.raises(InvalidCertificate):
                good.verify(DOMAIN, authorities, verify)
        with pytest.raises(InvalidCertificate):
            good.verify(replace(DOMAIN, recovery_epoch=1), authorities_of(4), verify)

    def test_nothing_is_decided_by_a_quorum_for_nil(self) -> None:
        with pytest.raises(Malformed):
            Certificate(5, 2, None, b"\x07", (b"\1" * 64,) * 3)
        with pytest.raises(Malformed):
            Certificate.unpack(codec.pack([5, 2, None, b"\x07", [b"\1" * 64] * 3]))

    def test_the_largest_certificate_fits_its_cap(self) -> None:
        largest = Certificate(
            2**64 - 1,
            ROUND_MAX,
            A,
            authorities_of(100).bitmap(authorities_of(100)),
            (b"\1" * 64,) * 100,
        )
        assert Certificate.unpack(largest.pack()) == largest

    def test_the_largest_way_into_a_round_fits_its_cap(self) -> None:
        votes = [
            vote(n, A, kind, ROUND_MAX)
            for n in range(100)
            for kind in (Kind.PREVOTE, Kind.PRECOMMIT)
        ]
        largest = RoundCertificate(5, ROUND_MAX, tuple(votes))
        assert unpack_message(pack_message(largest)) == largest


class TestRoundCertificates:
    authorities = authorities_of(4)

    def check(self, round_: int, *votes: Vote) -> None:
        RoundCertificate(5, round_, votes).verify(DOMAIN, self.authorities, verify)

    def test_a_quorum_of_precommits_of_the_round_before_opens_a_round(self) -> None:
        self.check(3, vote(0), vote(1, None), vote(2, B))

    def test_f_plus_1_in_the_round_or_above_open_it(self) -> None:
        self.check(2, vote(0), vote(1, None, Kind.PREVOTE, 4))

    @pytest.mark.parametrize(
        ("round_", "votes", "why"),
        [
            (3, [vote(0), vote(1)], "do not allow"),
            (3, [vote(n, A, Kind.PREVOTE) for n in range(4)], "do not allow"),
            (4, [vote(n) for n in range(4)], "do not allow"),
            (2, [vote(0)], "do not allow"),
            (2, [vote(0), vote(0, A, Kind.PREVOTE)], "do not allow"),
            (2, [vote(0), vote(1, A, Kind.PREVOTE, 1)], "do not allow"),
            (3, [vote(0), vote(0), vote(1)], "votes twice"),
            (3, [vote(0), vote(1), vote(9)], "no authority"),
            (3, [vote(0), vote(1), vote(2)._replace(height=6)], "several heights"),
            (3, [vote(0), vote(1), vote(2)._replace(signature=b"\1" * 64)], "does not verify"),
        ],
    )
    def test_less_does_not(self, round_: int, votes: list[Vote], why: str) -> None:
        with pytest.raises(InvalidCertificate, match=why):
            self.check(round_, *votes)

    def test_an_empty_one_is_malformed(self) -> None:
        with pytest.raises(Malformed, match="empty"):
            RoundCertificate.unpack(codec.pack([5, 2, []]))


class TestDoubleSign:
    header = header_of(5, first_round=0, proposer=key_of(0), salt=3)

    def test_two_votes_convict_whoever_reports_them(self) -> None:
        one = DoubleSign.of(vote(1, A), vote(1, B))
        assert one == DoubleSign.of(vote(1, B), vote(1, A))
        one.verify(DOMAIN, authorities_of(4), verify)
        assert DoubleSign.unpack(one.pack()) == one

    def test_a_block_and_nil_convict(self) -> None:
        DoubleSign.of(vote(1, None), vote(1, B)).verify(DOMAIN, authorities_of(4), verify)

    def test_one_block_with_two_valid_rounds_convicts(self) -> None:
        one, other = (
            signed_proposal(Proposal(3, valid_round, self.header, key_of(3)))
            for valid_round in (0, 1)
        )
        evidence = DoubleSign.of(one, other)
        evidence.verify(DOMAIN, authorities_of(4), verify)
        assert DoubleSign.unpack(evidence.pack()) == evidence

    @pytest.mark.parametrize(
        "other",
        [vote(1), vote(2, B), vote(1, B, round_=3), vote(1, B, Kind.PREVOTE)],
        ids=["same", "sender", "round", "kind"],
    )
    def test_nobody_is_convicted_of_speaking_once_per_position(self, other: Vote) -> None:
        with pytest.raises(Bug):
            DoubleSign.of(vote(1), other)

    def test_a_forged_half_convicts_nobody(self) -> None:
        forged = vote(1, B)._replace(signature=sign(key_of(2), vote(1, B).sign_bytes(DOMAIN)))
        with pytest.raises(InvalidCertificate):
            DoubleSign.of(vote(1), forged).verify(DOMAIN, authorities_of(4), verify)

    def test_a_stranger_cannot_be_convicted(self) -> None:
        with pytest.raises(InvalidCertificate):
            DoubleSign.of(vote(9), vote(9, B)).verify(DOMAIN, authorities_of(4), verify)

    def test_two_certificates_of_one_round_convict_whoever_is_in_both(self) -> None:
        authorities = authorities_of(4)

        def certificate(block_id: bytes, *signers: int, round_: int = 2) -> Certificate:
            votes = {key_of(n): vote(n, block_id, round_=round_) for n in signers}
            return Certificate.of(authorities, votes)

        one, other = certificate(A, 0, 1, 2), certificate(B, 1, 2, 3)
        found = double_signs(one, other, authorities)
        assert [proof.authority for proof in found] == sorted((key_of(1), key_of(2)))
        for proof in found:
            proof.verify(DOMAIN, authorities, verify)
        assert double_signs(other, one, authorities) == found
        assert double_signs(one, one, authorities) == ()
        # A lock of an earlier round may have been released in between: that convicts nobody.
        assert double_signs(one, certificate(B, 1, 2, 3, round_=3), authorities) == ()

    def test_a_block_holds_evidence_in_one_order_and_not_too_much_of_it(self) -> None:
        proofs = sorted(
            (DoubleSign.of(vote(n, A), vote(n, B)) for n in range(4)), key=lambda p: p.slot
        )
        packed = [proof.pack() for proof in proofs]
        height = proofs[0].height
        assert read_block_evidence(packed, height) == tuple(proofs)
        assert read_block_evidence((), 1) == ()
        for bad in (packed[::-1], packed + packed[-1:], [b"x"], [packed[0], packed[0] + b"x"]):
            with pytest.raises(InvalidBlock):
                read_block_evidence(bad, height)
        with pytest.raises(InvalidBlock, match="after"):
            read_block_evidence(packed, height - 1)
        many = [
            DoubleSign.of(vote(1, A, round_=n), vote(1, B, round_=n)).pack()
            for n in range(EVIDENCE_PER_BLOCK_MAX + 1)
        ]
        assert len(read_block_evidence(many[:-1], height)) == EVIDENCE_PER_BLOCK_MAX
        with pytest.raises(InvalidBlock, match="allowed"):
            read_block_evidence(many, height)
        assert all(len(proof.slot) == SLOT_BYTES for proof in proofs)

    @pytest.mark.parametrize(
        "bend",
        [
            lambda w: [*w[:4], w[5], w[4]],
            lambda w: [*w[:4], w[4], w[4]],
            lambda w: [*w[:4], [0, *w[4][1:]], w[5]],
            lambda w: [1, *w[1:4], [-1, None, b"\1" * 64], w[5]],
            lambda w: [1, *w[1:4], w[4], [2, *w[5][1:]]],
        ],
    )
    def test_evidence_has_one_form(self, bend: object) -> None:
        """Or one crime could be reported, and punished, many times."""
        wire = codec.unpack_own(DoubleSign.of(vote(1, A), vote(1, B)).pack())
        assert callable(bend)
        with pytest.raises(Malformed):
            DoubleSign.unpack(codec.pack(bend(wire)))
