"""Checking the checker: each mutant breaks one rule on purpose, and the simulator must notice.

A mutant is a cluster whose nodes have one wrong part. `MUTANTS` names the property that it must
be seen to violate; a mutant that survives its seeds means that the simulator is blind there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clawpurse.consensus.effects import Effect
from clawpurse.consensus.inputs import (
    BlockReady,
    Input,
    Signed,
    StartHeight,
    Validity,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.proposals import ProposalKeeper, Proposed
from clawpurse.consensus.round import Height, Step, Trace
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.consensus.votes import VoteKeeper
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote
from clawpurse.ledger.agreement.signbytes import Kind, vote_bytes
from clawpurse.ledger.blocks import Header
from tests.simulation.cluster import Cluster
from tests.simulation.host import Host, Signer
from tests.simulation.values import DOMAIN, header_of, signed, verify


def cluster_with(rules: type[Height]) -> type[Cluster]:
    """Return a cluster whose machines play by other rules."""

    class MutantMachine(Machine):
        pass

    MutantMachine.rules = rules
    return cluster_of_machines(MutantMachine)


def cluster_of_machines(machine: type[Machine]) -> type[Cluster]:
    """Return a cluster of other machines."""

    class MutantHost(Host):
        machine_class = machine

    return cluster_of_hosts(MutantHost)


def cluster_of_hosts(host: type[Host]) -> type[Cluster]:
    """Return a cluster of other hosts."""

    class MutantCluster(Cluster):
        host_class = host

    return MutantCluster


class LockIgnored(Height):
    """P23, P29: prevotes for any valid block, whatever the lock says."""

    def _locked_elsewhere(self, header: Header) -> bool:
        return False


class LockForgotten(Height):
    """P38: the lock is dropped when a round ends."""

    def start_round(self, round_: int) -> None:
        self.locked, self.locked_round = None, -1
        super().start_round(round_)


class PolkaNotAwaited(Height):
    """P28: believes the valid round that a proposer claims (M#862)."""

    def p28_reproposed(self, proposed: Proposed) -> bool:
        return self._prevote_if_valid(proposed, "P30", "P32:invalid")


class ExecutionNotAwaited(Height):
    """R8, R11: votes and decides before its own execution has matched."""

    def _verdict(self, header: Header) -> Validity | None:
        return Validity(header.block_id, True)


class StepUnguarded(Height):
    """P44 without its guard: precommits nil although it has precommitted a block."""

    def p44_polka_nil(self) -> bool:
        if self.step is not Step.PRECOMMIT or (self.round, "again") in self._once:
            return super().p44_polka_nil()
        if not self.votes.has_quorum_of_any(Kind.PREVOTE, self.round):
            return False
        self._once[self.round, "again"] = True
        self._vote(Kind.PRECOMMIT, None)
        return True


class PrevoteTimerUnguarded(Height):
    """P34 without its guard: the prevote timer is spent before the own prevote."""

    def p34_any_prevotes(self) -> bool:
        if self._did("P34") or not self.votes.has_quorum_of_any(Kind.PREVOTE, self.round):
            return False
        self._do("P34")
        self._schedule(TimeoutKind.PREVOTE, self.timeouts.prevote_ms(self.round))
        return True


class OneVoteSkips(Height):
    """P55: one vote of a higher round is enough to follow it."""

    def p55_skip(self) -> bool:
        if self.votes._highest <= self.round:
            return False
        self.start_round(self.votes._highest)
        return True


class TimerCancelled(Height):
    """P57: a proposal ends the wait for one, whether it can be judged or not (M#850)."""

    def elapse(self, kind: TimeoutKind, round_: int) -> bool:
        if kind is TimeoutKind.PROPOSE and self.proposals.at(self.round):
            return False
        return super().elapse(kind, round_)


class NeverRepeats(Height):
    """R16: says everything once (M#1032)."""

    def rebroadcast(self) -> None:
        pass


class SilentEntry(Height):
    """R16: shows nobody why it is in a higher round, nor what it is locked on."""

    def _broadcast_entry(self) -> None:
        pass

    def rebroadcast(self) -> None:
        pass


class _SmallQuorum(VoteKeeper):
    """A keeper that counts one vote too few."""

    def __init__(self, authorities: AuthoritySet, round_: int = -1) -> None:
        fewer = AuthoritySet(authorities.keys)
        object.__setattr__(fewer, "quorum_size", authorities.quorum_size - 1)
        super().__init__(fewer, round_)


class QuorumOffByOne(Height):
    """3·votes ≥ 2·n − 1 instead of 3·votes > 2·n."""

    def __init__(self, start: StartHeight, out: list[Effect], trace: Trace | None) -> None:
        super().__init__(start, out, trace)
        self.votes = _SmallQuorum(start.authorities)  # type: ignore[misc]


class _ShadowableVotes(VoteKeeper):
    """R14 the wrong way round: the slot is marked by whoever claims it first."""

    def __init__(self, authorities: AuthoritySet, round_: int = -1) -> None:
        super().__init__(authorities, round_)
        self._claimed: dict[tuple[int, int, bytes], bool] = {}

    def is_new(self, vote: Vote) -> bool:
        slot = (vote.round, int(vote.kind), vote.authority)
        return not self._claimed.setdefault(slot, False) and not self._claimed.update({slot: True})


class ShadowedByForgery(Height):
    """A vote with a garbage signature takes the place of the true one."""

    def __init__(self, start: StartHeight, out: list[Effect], trace: Trace | None) -> None:
        super().__init__(start, out, trace)
        self.votes = _ShadowableVotes(start.authorities)  # type: ignore[misc]


class _OneProposal(ProposalKeeper):
    def is_new(self, proposal: Proposal, *, wanted: bool) -> bool:
        return not self.at(proposal.round) and super().is_new(proposal, wanted=wanted)


class HidesLocks(Height):
    """M#956, M#997: only the first proposal counts, and polkas are kept to oneself."""

    def __init__(self, start: StartHeight, out: list[Effect], trace: Trace | None) -> None:
        super().__init__(start, out, trace)
        self.proposals = _OneProposal()  # type: ignore[misc]

    def p36_older_polka(self) -> bool:
        return False

    def _broadcast_polka(self) -> None:
        pass


class DuplicateSigners(Machine):
    """Certificates count signatures, not signers: any member's signature will do for all."""

    def _take_certificate(
        self,
        at: Height,
        event: Input,
        certificate: Certificate | PolkaCertificate | RoundCertificate,
    ) -> bool:
        if isinstance(certificate, RoundCertificate):
            return super()._take_certificate(at, event, certificate)
        message = vote_bytes(
            DOMAIN, certificate.kind, certificate.height, certificate.round, certificate.block_id
        )
        for signature in certificate.signatures:
            if not any(verify(key, message, signature) for key in at.authorities):
                return False
        for key, signature in zip(at.authorities, certificate.signatures, strict=False):
            at.votes.add(
                Vote(
                    certificate.kind,
                    certificate.height,
                    certificate.round,
                    certificate.block_id,
                    key,
                    signature,
                ),
                proven=True,
            )
        return True


class ForgetsOwnVotes(Host):
    """X#4275: replay leaves out what the node itself signed."""

    def boot(self) -> None:
        kept = [i for i, record in enumerate(self.log) if not isinstance(record, Signed)]
        self.log = [self.log[i] for i in kept]
        self.outputs = [self.outputs[i] for i in kept]
        self.flushed = len(self.log)
        super().boot()


class ForgetsOwnBlocks(Host):
    """M#864: the own block is not in the log, so a restart asks for another one."""

    def boot(self) -> None:
        for i, record in enumerate(self.log):
            if isinstance(record, BlockReady):
                del self.log[i:], self.outputs[i:]
                break
        self.flushed = len(self.log)
        super().boot()


class ForgetsPolkas(Host):
    """M#1445: certificates are missing from the log."""

    def boot(self) -> None:
        for i, record in enumerate(self.log):
            if type(record).__name__ == "CertificateReceived":
                del self.log[i], self.outputs[i]
                break
        self.flushed = len(self.log)
        super().boot()


class LosesLog(Host):
    """T#3089: a restart begins the height anew; the guard must refuse what comes of it."""

    def boot(self) -> None:
        self.log, self.outputs, self.flushed = [], [], 0
        super().boot()


class _BlindSigner(Signer):
    def sign(self, message: SignedMessage) -> SignedMessage:
        return signed(message)


class SignsTwice(LosesLog):
    """T#3418: neither log nor watermark survives a crash."""

    signer_class = _BlindSigner


class SendsBeforeFlush(Host):
    """R22 without its fsync: what was signed is sent, and the log of it may be lost."""

    signer_class = _BlindSigner

    def _flush(self) -> None:
        if self.log and isinstance(self.log[-1], StartHeight):
            super()._flush()


class ClockRules(Host):
    """R20: header time is whatever the proposer's clock says, and nobody checks it."""

    def _built(self, epoch: int, height: int, round_: int) -> None:
        if self.epoch != epoch or self.machine.height != height or self.key is None:
            return
        header = header_of(
            height,
            first_round=round_,
            proposer=self.key,
            time_ms=max(1, self.cluster.now + self.skew_ms - 300 * (self.address % 2)),
            parent_id=self.chain[-1][0].block_id if self.chain else bytes(32),
            salt=self.cluster.next_salt(),
        )
        self.cluster.observer.judged_timely.add(header.block_id)
        self.take(BlockReady(height, round_, header))

    def judge(self, header: Header) -> None:
        self.bodies.add(header.block_id)
        self.take(Validity(header.block_id, True))


class BelievesAnyTime(Host):
    """R20: fresh proposals are never judged untimely."""

    def _timely(self, proposal: Proposal) -> bool:
        super()._timely(proposal)
        return True


class DiscardsLateBodies(Host):
    """R17: execution stops when the round does, and nobody asks again."""

    def judge(self, header: Header) -> None:
        if header.first_round == self.machine.round:
            super().judge(header)


class Mutant(NamedTuple):
    """A broken part, the properties of which one must fail, and how many seeds that may take.

    `part` is what is broken; its docstring says which rule that is.
    """

    name: str
    cluster: Callable[..., Cluster]
    properties: tuple[int, ...]
    seeds: int
    part: object
    nodes: int = 4

    @property
    def rule(self) -> str:
        """What is broken."""
        return rule_of(self.part)


def rule_of(part: object) -> str:
    """Return the first sentence of what a broken part says of itself."""
    text = " ".join((part.__doc__ or "").split())
    return text.split(". ")[0].rstrip(".")


def _rules(rules: type[Height], properties: tuple[int, ...], seeds: int, count: int = 4) -> Mutant:
    name = rules.__name__ if count == 4 else f"{rules.__name__}-{count}"
    return Mutant(name, cluster_with(rules), properties, seeds, rules, count)


def _hosts(host: type[Host], properties: tuple[int, ...], seeds: int) -> Mutant:
    return Mutant(host.__name__, cluster_of_hosts(host), properties, seeds, host)


MUTANTS: tuple[Mutant, ...] = (
    _rules(LockIgnored, (1, 5), 400),
    _rules(LockForgotten, (1, 5), 400),
    _rules(PolkaNotAwaited, (1, 5), 400),
    _rules(ExecutionNotAwaited, (2,), 400),
    _rules(StepUnguarded, (4,), 400),
    _rules(OneVoteSkips, (10,), 400),
    _rules(TimerCancelled, (10,), 400),
    _rules(NeverRepeats, (10,), 400),
    _rules(SilentEntry, (10,), 400),
    _rules(QuorumOffByOne, (1, 3), 400),
    _rules(QuorumOffByOne, (1, 3), 400, 5),
    _rules(QuorumOffByOne, (1, 3), 400, 6),
    _rules(QuorumOffByOne, (1, 3), 400, 7),
    _rules(PrevoteTimerUnguarded, (10,), 400),
    _rules(ShadowedByForgery, (10,), 400),
    _rules(HidesLocks, (10,), 400),
    Mutant(
        "DuplicateSigners",
        cluster_of_machines(DuplicateSigners),
        (1, 2, 3, 9),
        400,
        DuplicateSigners,
    ),
    _hosts(ForgetsOwnVotes, (4, 6), 400),
    _hosts(ForgetsOwnBlocks, (4, 6), 400),
    _hosts(ForgetsPolkas, (4, 6), 400),
    _hosts(LosesLog, (4,), 400),
    _hosts(SignsTwice, (4,), 400),
    _hosts(SendsBeforeFlush, (4, 6), 400),
    _hosts(ClockRules, (9,), 400),
    _hosts(BelievesAnyTime, (9,), 400),
    _hosts(DiscardsLateBodies, (10,), 400),
)
