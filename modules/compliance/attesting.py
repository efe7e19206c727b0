"""What issuers, holders and officers do with attestations; the records are in `attestations.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.module_api import OFFICER_ROLE, Context
from clawpurse.ledger.names import ADMIN_ROLE
from clawpurse.ledger.params import MS_MAX
from clawpurse.modules.compliance.attestations import (
    ATTESTATIONS_MAX,
    ISSUER_COUNT_KEY,
    ISSUERS_MAX,
    Attestation,
    Issuer,
    Status,
    attestations_at,
    attestations_key,
    binding_key,
    issuer_at,
    issuer_key,
    may_attest,
    pack_attestations,
)
from clawpurse.modules.compliance.officers import agree, quorum
from clawpurse.modules.compliance.records import count_at, pack


def set_issuer(context: Context, issuer: bytes, topics: Sequence[str], action: str) -> None:
    """Register an issuer, or replace the topics that it may attest."""
    _require_admin(context, action)
    for place, topic in enumerate(topics):
        if topic in topics[:place]:
            raise context.refuse("compliance.topicTwice", topic)
    context.key_of(issuer)  # An issuer that is no account yet is a mistyped one.
    found = issuer_at(context.get, issuer)
    if found is None:
        count = count_at(context.get, ISSUER_COUNT_KEY)
        if count >= ISSUERS_MAX:
            raise context.refuse("compliance.issuersFull", ISSUERS_MAX)
        context.put(ISSUER_COUNT_KEY, pack(count + 1))
    elif found.active and found.topics == tuple(topics):
        raise context.refuse("compliance.sameIssuer", issuer)
    record = Issuer(tuple(topics), 1, context.height, context.sender, "")
    context.put(issuer_key(issuer), record.pack())
    context.emit("compliance.issuerSet", (issuer, context.sender), list(topics))


def remove_issuer(context: Context, issuer: bytes, reason: str, action: str) -> None:
    """Take an issuer's right: nothing that it attested counts from now on."""
    _require_admin(context, action)
    found = issuer_at(context.get, issuer)
    if found is None or not found.active:
        raise context.refuse("compliance.noIssuer", issuer)
    record = Issuer(found.topics, 0, context.height, context.sender, reason)
    context.put(issuer_key(issuer), record.pack())
    context.emit("compliance.issuerRemoved", (issuer, context.sender), reason)


def _require_admin(context: Context, action: str) -> None:
    if not context.has_role(context.sender, ADMIN_ROLE):
        raise context.refuse("kernel.role", context.sender, ADMIN_ROLE, action)


def attest(context: Context, values: Sequence[Any]) -> None:
    """Say something of an account, or renew what was said; it counts once the holder accepts.

    Renewed under the same subject, what was accepted stays accepted.
    """
    account, subject, topic, level, expires_ms, commitment = values
    issuer, get = context.sender, context.get
    if not may_attest(get, issuer, topic):
        raise context.refuse("compliance.mayNotAttest", issuer, topic)
    context.key_of(account)
    last = context.time_ms + MS_MAX
    if not context.time_ms < expires_ms <= last:
        raise context.refuse("compliance.expiry", expires_ms, context.time_ms, last)
    _require_subject(context, account, subject)
    found = list(attestations_at(get, account))
    place = _place_of(found, issuer, topic)
    status = Status.ISSUED
    if place is not None:
        before = found.pop(place)
        if before.status == Status.ACCEPTED and before.subject == subject:
            status = Status.ACCEPTED
    elif len(found) >= ATTESTATIONS_MAX:
        _drop_dead(context, account, found)
    found.append(
        Attestation(
            topic,
            issuer,
            level,
            subject,
            commitment,
            expires_ms,
            status,
            context.height,
            "",
            b"",
        )
    )
    _write(context, account, found)
    data = (topic, level, expires_ms, commitment)
    context.emit("compliance.attested", (account, issuer), *data)


def _require_subject(context: Context, account: bytes, subject: bytes) -> None:
    """Nobody becomes another person by an attestation."""
    bound = context.subject_of(account)
    if bound not in (account, subject):
        raise context.refuse("compliance.otherSubject", account)


def _drop_dead(context: Context, account: bytes, found: list[Attestation]) -> None:
    """Make room by forgetting the oldest attestation that can no longer count."""
    for place, one in enumerate(found):
        alive = one.live(context.time_ms) and may_attest(context.get, one.issuer, one.topic)
        if not alive:
            del found[place]
            return
    raise context.refuse("compliance.attestationsFull", account, ATTESTATIONS_MAX)


def accept(context: Context, issuer: bytes, topic: str) -> None:
    """Let what an issuer says of the sender count; the first one says who stands behind it."""
    account = context.sender
    found = list(attestations_at(context.get, account))
    place = _place_of(found, issuer, topic)
    if place is None:
        raise context.refuse("compliance.noAttestation", account, topic, issuer)
    one = found[place]
    if one.status != Status.ISSUED:
        word = "accepted" if one.status == Status.ACCEPTED else "revoked"
        raise context.refuse("compliance.notOffered", topic, issuer, word)
    if context.time_ms >= one.expires_ms:
        raise context.refuse("compliance.attestationLate", one.expires_ms, context.time_ms)
    if not may_attest(context.get, issuer, topic):
        raise context.refuse("compliance.mayNotAttest", issuer, topic)
    _require_subject(context, account, one.subject)
    if context.subject_of(account) == account:
        bind(context, account, one.subject)
    found[place] = one._replace(status=Status.ACCEPTED, height=context.height)
    _write(context, account, found)
    context.emit("compliance.accepted", (account, issuer), topic, one.level)


def revoke(context: Context, values: Sequence[Any]) -> None:
    """Take back what was said: its issuer, or an officer when the issuer cannot any more."""
    account, topic, issuer, reason = values
    issuer = context.sender if issuer is None else issuer
    if context.sender != issuer and not context.has_role(context.sender, OFFICER_ROLE):
        raise context.refuse("compliance.mayNotRevoke", context.sender, topic)
    found = list(attestations_at(context.get, account))
    place = _place_of(found, issuer, topic)
    if place is None:
        raise context.refuse("compliance.noAttestation", account, topic, issuer)
    one = found[place]
    if one.status == Status.REVOKED:
        raise context.refuse("compliance.notOffered", topic, issuer, "revoked")
    found[place] = one._replace(
        status=Status.REVOKED, height=context.height, reason=reason, by=context.sender
    )
    _write(context, account, found)
    context.emit("compliance.revoked", (account, issuer), topic, reason)


def set_subject(
    context: Context, account: bytes, subject: bytes | None, reason: str, action: str
) -> None:
    """Say who stands behind an account, or that nobody says; by as many officers as must agree."""
    context.key_of(account)
    bound = context.subject_of(account)
    if bound == (account if subject is None else subject):
        raise context.refuse("compliance.sameSubject", account)
    if agree(context, action, [account, subject], quorum(context).needed):
        bind(context, account, subject)
        context.emit("compliance.subjectSet", (account, context.sender), reason)


def bind(context: Context, account: bytes, subject: bytes | None) -> None:
    """Set who stands behind an account, and note when."""
    context.set_subject(account, subject)
    context.put(binding_key(account), pack(context.time_ms))


def _place_of(found: Sequence[Attestation], issuer: bytes, topic: str) -> int | None:
    for place, one in enumerate(found):
        if one.issuer == issuer and one.topic == topic:
            return place
    return None


def _write(context: Context, account: bytes, found: Sequence[Attestation]) -> None:
    context.put(attestations_key(account), pack_attestations(tuple(found)))
