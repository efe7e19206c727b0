"""What others may ask of `compliance`: other modules in consensus, and people through a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from clawpurse.ledger.kernel.records import role_key, subject_key
from clawpurse.ledger.module_api import KERNEL, Movement
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.compliance.attestations import (
    ISSUER_PREFIX,
    Attestation,
    Issuer,
    attestations_at,
    issuer_at,
)
from clawpurse.modules.compliance.hook import End, end_key, end_of
from clawpurse.modules.compliance.judging import (
    Facts,
    Outcome,
    Sight,
    Standing,
    asked_of,
    governing_at,
    judge,
    rules_at,
)
from clawpurse.modules.compliance.language import Rule
from clawpurse.modules.compliance.lists import (
    LIST_PREFIX,
    Change,
    NamedList,
    change_at,
    entries_prefix,
    entry_key,
    list_at,
    since_version,
)
from clawpurse.modules.compliance.officers import BALLOT_PREFIX, QUORUM_KEY, Ballot, Quorum
from clawpurse.modules.compliance.policies import (
    OPEN_PREFIX,
    Head,
    Proposal,
    Version,
    heads_at,
    kept_rules,
    number_key,
    proposal_at,
    version_at,
)
from clawpurse.modules.compliance.records import TREE, Get, own


class Circumstances(NamedTuple):
    """Under which a payment is judged for people: block time, who sends it, who approves it."""

    time_ms: int
    sender: bytes
    approvals: tuple[bytes, ...] = ()


class Report(NamedTuple):
    """What one policy says of a payment, and of each rule whether it would apply by itself."""

    policy: Standing
    rules: list[Any]
    outcome: Outcome
    asked: list[tuple[bool, list[bool]]]


def get_of(reader: StateReader) -> Get:
    """Return reading of the module's own tree."""
    return lambda key: reader.get(TREE, key)


def _after(prefix: bytes, item: bytes | None) -> bytes:
    """Return after which key a page begins; empty: at the first."""
    return b"" if item is None else prefix + item


def list_attestations(reader: StateReader, account: bytes) -> tuple[Attestation, ...]:
    """Return everything that is said of an account, dead ones included; at most 32."""
    return attestations_at(get_of(reader), account)


def get_issuer(reader: StateReader, account: bytes) -> Issuer | None:
    """Return an issuer, removed or not; None for who never was one."""
    return issuer_at(get_of(reader), account)


def list_issuers(
    reader: StateReader, limit: int, after: bytes | None = None
) -> list[tuple[bytes, Issuer]]:
    """Return issuers, removed ones included, ascending by account, after one of them."""
    rows = reader.ordered(TREE, ISSUER_PREFIX, limit, _after(ISSUER_PREFIX, after))
    return [(key[len(ISSUER_PREFIX) :], Issuer.unpack(data)) for key, data in rows]


def get_list(reader: StateReader, name: str) -> NamedList | None:
    """Return a list, None if there is none of that name."""
    return list_at(get_of(reader), name)


def list_lists(
    reader: StateReader, limit: int, after: str | None = None
) -> list[tuple[str, NamedList]]:
    """Return lists, ascending by name, after one of them."""
    last = _after(LIST_PREFIX, None if after is None else after.encode("ascii"))
    rows = reader.ordered(TREE, LIST_PREFIX, limit, last)
    return [(key[len(LIST_PREFIX) :].decode("ascii"), NamedList.unpack(data)) for key, data in rows]


def list_entries(
    reader: StateReader, name: str, limit: int, after: bytes | None = None
) -> list[tuple[bytes, int]]:
    """Return (entry, since which version) of a list, ascending, after one of them."""
    prefix = entries_prefix(name)
    rows = reader.ordered(TREE, prefix, limit, _after(prefix, after))
    return [(key[len(prefix) :], since_version(data)) for key, data in rows]


def is_listed(reader: StateReader, name: str, entry: bytes) -> bool:
    """Tell whether an entry itself is in a list."""
    return reader.get(TREE, entry_key(name, entry)) is not None


def get_change(reader: StateReader, name: str, version: int) -> Change | None:
    """Return what a version of a list did."""
    return change_at(get_of(reader), name, version)


def get_quorum(reader: StateReader) -> Quorum | None:
    """Return what officers set; None: two of them agree, or the only one."""
    data = reader.get(TREE, QUORUM_KEY)
    return None if data is None else Quorum(*own(data, 2))


def list_ballots(
    reader: StateReader, limit: int, after: bytes | None = None
) -> list[tuple[bytes, Ballot]]:
    """Return (digest, ballot) of what officers have begun to agree on, ascending by digest."""
    rows = reader.ordered(TREE, BALLOT_PREFIX, limit, _after(BALLOT_PREFIX, after))
    return [(key[len(BALLOT_PREFIX) :], Ballot.unpack(data)) for key, data in rows]


def list_policies(reader: StateReader) -> tuple[Head, ...]:
    """Return all policies that were ever approved, by name."""
    return heads_at(get_of(reader))


def get_version(reader: StateReader, name: str, version: int) -> Version | None:
    """Return a version of a policy; none is ever forgotten."""
    return version_at(get_of(reader), name, version)


def get_rules(reader: StateReader, policy_id: bytes) -> tuple[Rule, ...]:
    """Return the rules of a proposal or version."""
    return kept_rules(get_of(reader), policy_id)


def get_proposal(reader: StateReader, policy_id: bytes) -> Proposal | None:
    """Return a proposal, whatever became of it."""
    return proposal_at(get_of(reader), policy_id)


def find_proposal(reader: StateReader, number: int) -> bytes | None:
    """Return the id of the proposal of a number, from 1."""
    data = reader.get(TREE, number_key(number))
    return None if data is None else own(data, 1)[0]


def list_proposals(
    reader: StateReader, limit: int, after: int | None = None
) -> list[tuple[bytes, Proposal]]:
    """Return (id, proposal) of those that are open or wait, ascending by number, after one."""
    last = _after(OPEN_PREFIX, None if after is None else after.to_bytes(8, "big"))
    get, found = get_of(reader), []
    for _, data in reader.ordered(TREE, OPEN_PREFIX, limit, last):
        policy_id: bytes = own(data, 1)[0]
        proposal = proposal_at(get, policy_id)
        if proposal is not None:
            found.append((policy_id, proposal))
    return found


def list_governing(reader: StateReader, asset: str | None = None) -> tuple[Standing, ...]:
    """Return the policies in force; of one asset those that govern its payments."""
    found = governing_at(get_of(reader))
    return tuple([one for one in found if asset is None or one.asset in ("", asset)])


def get_end(reader: StateReader, hold_id: bytes) -> End | None:
    """Return how a payment ended that a policy held; None while it is held, or long after."""
    data = reader.get(TREE, end_key(hold_id))
    return None if data is None else end_of(data)


def subject_at(reader: StateReader, account: bytes) -> bytes:
    """Return who stands behind an account: its subject, else the account itself."""
    data = reader.get(KERNEL, subject_key(account))
    return account if data is None else own(data, 1)[0]


def sight_at(
    reader: StateReader, circumstances: Circumstances, score: Callable[[bytes], int | None]
) -> Sight:
    """Return what judging sees outside of a transaction."""
    return Sight(
        get_of(reader),
        lambda account: subject_at(reader, account),
        lambda account, role: reader.get(KERNEL, role_key(account, role)) is not None,
        score,
        circumstances.time_ms,
        circumstances.sender,
        lambda: circumstances.approvals,
    )


def report(reader: StateReader, movement: Movement, sight: Sight) -> list[Report]:
    """Return what each policy in force says of a payment, in the order in which they are asked."""
    found, get = [], get_of(reader)
    facts = Facts(sight, movement)
    for policy in list_governing(reader, movement.asset):
        rules = rules_at(get, policy.id)
        outcome = judge(rules, facts, policy.asset)
        found.append(Report(policy, rules, outcome, asked_of(rules, facts, policy.asset)))
    return found


def deciding(reports: Sequence[Report]) -> list[Report]:
    """Return the reports that a payment's verdict rests on: of those that do not allow."""
    return [one for one in reports if one.outcome.kind]
