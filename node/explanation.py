"""What the network waits for, who is missing since when, which command helps: facts in, words out.

`explain(facts)` is pure. It looks for the most important thing first and says it in one sentence;
what else is wrong follows in `also`. It says "silent" only of an authority of which no sign came
for `SILENT_AFTER_MS`: nobody is accused because a certificate left a late vote out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

# Participants say every second at least where they stand; three are missed before one is silent.
SILENT_AFTER_MS: Final = 3_000
# Blocks behind beyond which this node should not be asked (`care.BEHIND_MAX`).
BEHIND_MAX: Final = 3
# R20: own skew is alarmed at half of what makes blocks untimely.
SKEW_MAX_MS: Final = 250
# A follower hears no votes. Work that waits so long for a block is more than a failed round.
OVERDUE_MS: Final = 10_000
# Names in one sentence; the fields have all.
NAMES_MAX: Final = 4


class State(StrEnum):
    """What an explanation is about, the most important first."""

    HALTED = "halted"
    AMENDMENT = "unknownAmendment"
    SYNCING = "syncing"
    ALONE = "alone"
    CEREMONY = "recoveryNeeded"
    NO_QUORUM = "noQuorum"
    ROUNDS = "roundsFail"
    NOT_SIGNING = "notSigning"
    SKEW = "clockSkew"
    DEGRADED = "degraded"
    OVERDUE = "overdue"
    EVIDENCE = "doubleSign"
    DECIDING = "deciding"
    IDLE = "idle"


class Standing(StrEnum):
    """What is known of one authority."""

    SIGNING = "signing"
    #: Connected and following, and yet no vote of it comes.
    FOLLOWING = "following"
    SILENT = "silent"
    #: Nothing was heard of it since this node started, and nothing was due either.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AuthorityFacts:
    """One authority, as this node hears it. Ages in ms; None where nothing was heard.

    `life_age_ms`: since the last sign of life of any kind. `vote_age_ms`: since its newest vote.
    `passed_age_ms`: for how long others have voted two heights beyond that. `follows`: the
    height at which the connection that brings its votes says it stands. `voted`: its vote of the
    round in progress is here. `certified`: newest height whose certificate, seen live, names it.
    """

    key: bytes
    name: str
    is_self: bool = False
    vote_height: int | None = None
    vote_age_ms: int | None = None
    life_age_ms: int | None = None
    passed_age_ms: int | None = None
    follows: int | None = None
    voted: bool = False
    certified: int | None = None


@dataclass(frozen=True)
class SigningFacts:
    """Whether this node signs, and if not, why: `kind` is a word for programs.

    `why` continues the sentence "This node does not sign: …"; `command` mends it, if one does.
    Kinds that are expected of a healthy node (`signs`, `follower`) have no `why`. `passing`
    states end by themselves. `observing` has forgotten votes and waits for block `from_height`.
    """

    kind: str = "signs"
    why: str = ""
    command: str = ""
    hint: str = ""
    passing: bool = False
    from_height: int | None = None


@dataclass(frozen=True)
class Facts:
    """All that a sentence rests on. Heights: `height` is in progress, `tip` is final."""

    height: int
    tip: int
    tip_age_ms: int
    round: int
    step: str
    waiting: bool
    round_age_ms: int
    busy_age_ms: int
    vote_due_ms: int
    authorities: tuple[AuthorityFacts, ...]
    quorum: int
    proposer: bytes | None
    has_proposal: bool
    peers: int
    up_ms: int
    signing: SigningFacts
    behind: int = 0
    best: int = 0
    rate: float = 0.0
    work_age_ms: int | None = None
    refusal: tuple[int, str] | None = None
    skew_ms: int | None = None
    double_signs: tuple[tuple[bytes, int], ...] = ()
    amendment: tuple[str, int] | None = None
    halt: str | None = None
    test_network: bool = False


class Missing(NamedTuple):
    """An authority that does not sign: since how many ms, and the newest height it voted at."""

    key: bytes
    name: str
    standing: Standing
    age_ms: int
    height: int | None


class Finding(NamedTuple):
    """One thing worth a sentence. `well` is false for what somebody should look at."""

    state: State
    well: bool
    sentence: str
    waiting_for: str
    command: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Explanation:
    """The answer. `also` are further sentences, less important; `have` counts who signs."""

    state: State
    well: bool
    sentence: str
    waiting_for: str
    command: str
    hint: str
    also: tuple[str, ...]
    missing: tuple[Missing, ...]
    standings: tuple[Standing, ...]
    have: int
    need: int


def age_text(ms: int) -> str:
    """Return a span in words: `0.8 s`, `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0, ms) / 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def explain(facts: Facts) -> Explanation:
    """Return one sentence on where agreement stands, and the facts behind it."""
    standings = tuple(standing(one, facts) for one in facts.authorities)
    missing = tuple(
        Missing(one.key, _called(one), is_, _missing_age(one, is_, facts), one.vote_height)
        for one, is_ in zip(facts.authorities, standings, strict=True)
        if is_ in (Standing.SILENT, Standing.FOLLOWING)
    )
    have = standings.count(Standing.SIGNING)
    found = list(_findings(facts, missing, have))
    first, others = found[0], found[1:]
    return Explanation(
        first.state,
        first.well,
        first.sentence,
        first.waiting_for,
        first.command,
        first.hint,
        tuple(other.sentence for other in others if not other.well),
        missing,
        standings,
        have,
        facts.quorum,
    )


# -- each authority


def listens(facts: Facts) -> bool:
    """Tell whether this node is among those who hear votes: an authority of the height."""
    return any(one.is_self for one in facts.authorities)


def standing(one: AuthorityFacts, facts: Facts) -> Standing:
    """Judge one authority, in favour of the accused."""
    if one.is_self:
        return Standing.SIGNING if facts.signing.kind == "signs" else Standing.FOLLOWING
    if not listens(facts):
        # Followers get certificates, not votes: who is in one signs, and that is all they know.
        return Standing.UNKNOWN if one.certified is None else Standing.SIGNING
    overdue = facts.round_age_ms > facts.vote_due_ms + SILENT_AFTER_MS
    is_due = not one.voted and not facts.waiting and overdue
    is_passed = one.passed_age_ms is not None and one.passed_age_ms > SILENT_AFTER_MS
    if one.life_age_ms is None:
        return Standing.SILENT if is_due or is_passed else Standing.UNKNOWN
    if one.life_age_ms > SILENT_AFTER_MS:
        return Standing.SILENT
    if (is_due or is_passed) and (one.vote_age_ms or 0) > SILENT_AFTER_MS:
        return Standing.FOLLOWING
    return Standing.SIGNING


def _missing_age(one: AuthorityFacts, is_: Standing, facts: Facts) -> int:
    if one.is_self:
        return facts.up_ms if one.vote_age_ms is None else one.vote_age_ms
    age = one.life_age_ms if is_ is Standing.SILENT else one.vote_age_ms
    return facts.up_ms if age is None else age


# -- the sentences, the most important first


def _findings(facts: Facts, missing: tuple[Missing, ...], have: int) -> Iterator[Finding]:
    """Yield all that is worth saying, ordered; the last is how things are when all is well."""
    yield from _stopped(facts)
    yield from _disconnected(facts)
    count = len(facts.authorities)
    if len(missing) > count - facts.quorum and listens(facts):
        yield _deadlock(facts, missing) or _no_quorum(facts, missing, have)
    elif listens(facts) and _fails(facts):
        yield _rounds(facts, missing)
    yield from _not_signing(facts, missing, have)
    yield from _skewed(facts)
    if missing and len(missing) <= count - facts.quorum and _others(facts, missing):
        yield _degraded(facts, missing, have)
    yield from _overdue(facts)
    for key, height in facts.double_signs:
        yield Finding(
            State.EVIDENCE,
            False,
            f"{_name(facts, key)} signed two different things at height {height}. Payments "
            "continue; its removal is a vote of the others.",
            "nothing",
            "clawpurse consensus evidence",
        )
    yield _well(facts)


def _stopped(facts: Facts) -> Iterator[Finding]:
    if facts.halt is not None:
        yield Finding(
            State.HALTED,
            False,
            f"Halted at block {facts.height}: {facts.halt}. This node decides nothing more.",
            "operator",
            "clawpurse db check",
            "Then compare versions with the other authorities.",
        )
    if facts.amendment is not None:
        name, height = facts.amendment
        left = max(0, height - facts.tip)
        yield Finding(
            State.AMENDMENT,
            False,
            f"Block {height} activates {name}, which this software does not know: this node "
            f"stops before it, {left} blocks from now.",
            "operator",
            "clawpurse version",
            "Install a version that knows it, then clawpurse start.",
        )


def _disconnected(facts: Facts) -> Iterator[Finding]:
    if facts.behind > BEHIND_MAX:
        pace = ""
        if facts.rate > 0:
            left = age_text(round(1000 * facts.behind / facts.rate))
            pace = f" {facts.rate:.0f} blocks/s, about {left} left."
        yield Finding(
            State.SYNCING,
            False,
            f"Syncing {facts.tip}/{facts.best} ({facts.behind} behind).{pace}",
            "blocks",
            "clawpurse status",
            "It goes on by itself.",
        )
    others = len(facts.authorities) - listens(facts)
    if facts.peers == 0 and others:
        waits = " Payments wait here, nothing is lost." if listens(facts) else ""
        yield Finding(
            State.ALONE,
            False,
            f"Alone: no peer is connected, so nothing new arrives here.{waits}",
            "peers",
            "clawpurse testnet start" if facts.test_network else "clawpurse doctor",
        )


def _deadlock(facts: Facts, missing: tuple[Missing, ...]) -> Finding | None:
    """More than f wait for a height that cannot come (R26): nobody else's doing ends it.

    Why the others follow without signing is not known here; that they do is.
    """
    count, waiting = len(facts.authorities), facts.signing.from_height
    watching = [one for one in missing if one.standing is Standing.FOLLOWING]
    if waiting is None or len(watching) <= count - facts.quorum:
        return None
    return Finding(
        State.CEREMONY,
        False,
        f"{len(watching)} of {count} authorities follow without signing, {count - facts.quorum} "
        "may. This node has forgotten votes and signs again from block "
        f"{waiting}, which cannot come if the others wait alike: a lower floor could fork, so "
        "then only the recovery ceremony goes on. Payments wait, nothing is lost.",
        "recovery",
        "clawpurse consensus state",
        "First ask each of them why it does not sign.",
    )


def _no_quorum(facts: Facts, missing: tuple[Missing, ...], have: int) -> Finding:
    count = len(facts.authorities)
    return Finding(
        State.NO_QUORUM,
        False,
        f"{have} of {count} authorities sign, {facts.quorum} are needed. {_list(missing)}. "
        "Payments wait, nothing is lost.",
        "quorum",
        *_remedy(facts),
    )


def _remedy(facts: Facts) -> tuple[str, str]:
    """Return the command that brings authorities back, and where to type it."""
    if facts.test_network:
        return "clawpurse testnet start", "It starts what is down."
    return "clawpurse doctor", "On the machine of whoever is missing."


def _fails(facts: Facts) -> bool:
    """Tell whether more rounds failed than silent proposers explain, or this node refused one."""
    silent_max = len(facts.authorities) - facts.quorum
    return facts.round > silent_max or (facts.refusal is not None and facts.round > 0)


def _rounds(facts: Facts, missing: tuple[Missing, ...]) -> Finding:
    """A round fails and the next begins: why, as far as this node knows."""
    command, hint = "clawpurse consensus state", ""
    absent = {one.key: one for one in missing}
    if facts.refusal is not None:
        round_, problem = facts.refusal
        cause = f"this node refused the block of round {round_} ({problem})"
        command, hint = "clawpurse db check", "Compare versions with the other authorities."
    elif facts.skew_ms is not None and abs(facts.skew_ms) > SKEW_MAX_MS:
        cause = "this node's clock is wrong"
        command = "sudo timedatectl set-ntp true"
    elif facts.proposer in absent:
        one = absent[facts.proposer]
        cause = f"its proposer {_silence(one)}"
        command, hint = _remedy(facts)
    elif not facts.has_proposal:
        cause = f"nothing has come from its proposer {_name(facts, facts.proposer)}"
    elif missing:
        cause = _list(missing)
        command, hint = _remedy(facts)
    else:
        cause = "votes do not meet in time, as over slow or broken links"
    return Finding(
        State.ROUNDS,
        False,
        f"Round {facts.round} of block {facts.height} since {age_text(facts.round_age_ms)}, "
        f"{age_text(facts.busy_age_ms)} in all: {cause}. Payments wait, nothing is lost.",
        _wanted(facts),
        command,
        hint,
    )


def _not_signing(facts: Facts, missing: tuple[Missing, ...], have: int) -> Iterator[Finding]:
    if not facts.signing.why:
        return
    count = len(facts.authorities)
    others = ""
    if listens(facts) and len(missing) <= count - facts.quorum and have:
        others = f" The others go on: {have} of {count} sign, {facts.quorum} are needed."
    yield Finding(
        State.NOT_SIGNING,
        False,
        f"This node does not sign: {facts.signing.why}.{others}",
        "signing",
        facts.signing.command or ("" if facts.signing.passing else "clawpurse doctor"),
        facts.signing.hint or ("It goes on by itself." if facts.signing.passing else ""),
    )


def _skewed(facts: Facts) -> Iterator[Finding]:
    if facts.skew_ms is None or abs(facts.skew_ms) <= SKEW_MAX_MS:
        return
    by = age_text(abs(facts.skew_ms))
    what = f"is {by} behind" if facts.skew_ms < 0 else f"seems {by} ahead of"
    yield Finding(
        State.SKEW,
        False,
        f"This node's clock {what} the others'. Beyond 0.5 s it refuses their blocks and they "
        "refuse its own.",
        "nothing",
        "sudo timedatectl set-ntp true",
    )


def _others(facts: Facts, missing: tuple[Missing, ...]) -> bool:
    own = [one.key for one in facts.authorities if one.is_self]
    return any(one.key not in own for one in missing)


def _degraded(facts: Facts, missing: tuple[Missing, ...], have: int) -> Finding:
    count = len(facts.authorities)
    spare = count - len(missing) - facts.quorum
    more = "one more loss stops them" if spare == 0 else f"{spare + 1} more losses stop them"
    return Finding(
        State.DEGRADED,
        False,
        f"{have} of {count} authorities sign. {_list(missing)}. Payments continue; {more}.",
        _wanted(facts),
        *_remedy(facts),
    )


def _overdue(facts: Facts) -> Iterator[Finding]:
    """What a follower can know of trouble: work waits, and no block comes."""
    if listens(facts) or facts.work_age_ms is None or facts.work_age_ms <= OVERDUE_MS:
        return
    yield Finding(
        State.OVERDUE,
        False,
        f"Block {facts.height} is overdue: payments wait for {age_text(facts.work_age_ms)}. This "
        "node follows and hears no votes; an authority knows who is missing.",
        "block",
        "clawpurse rpc net_getPeers",
        "Ask an authority's node: clawpurse consensus explain --rpc URL",
    )


def _well(facts: Facts) -> Finding:
    if facts.tip == 0 and (facts.waiting or not listens(facts)):
        sentence = "Ready. No block yet: the first payment makes one."
        return Finding(State.IDLE, True, sentence, "nothing")
    newest = f"block {facts.tip} is final, {age_text(facts.tip_age_ms)} old"
    if facts.waiting or (not listens(facts) and facts.work_age_ms is None):
        idle = f"All is well: {newest}; the network waits for nothing.{_unheard(facts)}"
        return Finding(State.IDLE, True, idle, "nothing")
    wanted = _wanted(facts)
    what = {
        "proposal": f"the proposal of {_name(facts, facts.proposer)}",
        "prevotes": "prevotes",
        "precommits": "precommits",
    }.get(wanted, "its votes")
    if facts.tip == 0:
        newest = "the first block"
        return Finding(State.DECIDING, True, f"All is well: {newest} waits for {what}.", wanted)
    return Finding(
        State.DECIDING,
        True,
        f"All is well: {newest}; block {facts.height} waits for {what}.",
        wanted,
    )


def _unheard(facts: Facts) -> str:
    """Return who was not heard yet, after a start: neither there nor missing."""
    if not listens(facts):
        return ""
    names = [one.name for one in facts.authorities if standing(one, facts) is Standing.UNKNOWN]
    if not names:
        return ""
    named = f"{len(names)} authorities" if len(names) > NAMES_MAX else ", ".join(names)
    return f" Not heard since this node started {age_text(facts.up_ms)} ago: {named}."


def _wanted(facts: Facts) -> str:
    """Return what the round in progress waits for, in one word."""
    if facts.waiting:
        return "nothing"
    if not listens(facts):
        return "block"
    if facts.step == "propose":
        return "execution" if facts.has_proposal else "proposal"
    return {"prevote": "prevotes", "precommit": "precommits"}.get(facts.step, "block")


# -- words


def _name(facts: Facts, key: bytes | None) -> str:
    for one in facts.authorities:
        if one.key == key:
            return one.name
    return "nobody" if key is None else f"0x{key.hex()[:12]}…"


def _called(one: AuthorityFacts) -> str:
    return "this node" if one.is_self else one.name


def _silence(one: Missing) -> str:
    if one.standing is Standing.FOLLOWING:
        return f"{one.name} follows without signing for {age_text(one.age_ms)}"
    return f"{one.name} silent {age_text(one.age_ms)}"


def _list(missing: tuple[Missing, ...]) -> str:
    """Return who is missing, those longest gone first."""
    ordered = sorted(missing, key=lambda one: -one.age_ms)
    named = ", ".join(_silence(one) for one in ordered[:NAMES_MAX])
    left = len(ordered) - NAMES_MAX
    return f"{named} and {left} more" if left > 0 else named
