"""Attestations: what issuers say of accounts, as commitments, and who may say what.

An attestation counts when its issuer may (still) attest its topic, its holder has accepted it,
and it is neither expired nor revoked. All of an account stand in one record, so that a policy of
many rules reads each account once. No personal data is here: subject and commitment are hashes
under keys that only issuers know.

xi‖issuer → issuer · a‖account → attestations · j‖account → since when its subject is known
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.compliance.records import TREE, Get, own, pack

# Each topic is a department's word ("kyc", "sanctions-checked"); an issuer has a handful.
TOPICS_MAX: Final = 32
# Issuers of one network: banks, agencies, its own back office. All are listed to people.
ISSUERS_MAX: Final = 256
# Of one account, dead ones included until a new one needs the place: one record holds them all.
ATTESTATIONS_MAX: Final = 32
ISSUER_PREFIX: Final = b"xi"
ISSUER_COUNT_KEY: Final = b"ci"


class Issuer(NamedTuple):
    """Who may attest which topics. `active` 0: removed at `height` for `reason`."""

    topics: tuple[str, ...]
    active: int
    height: int
    by: bytes
    reason: str

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Issuer:
        """Read a record that we wrote."""
        topics, *rest = own(data, 5)
        return cls(tuple(topics), *rest)


class Status(IntEnum):
    """Where an attestation stands; whether it has expired is a matter of time."""

    ISSUED = 0
    ACCEPTED = 1
    REVOKED = 2


STATUS_NAMES: Final = {
    Status.ISSUED: "issued",
    Status.ACCEPTED: "accepted",
    Status.REVOKED: "revoked",
}


class Attestation(NamedTuple):
    """What an issuer says of an account. `height` is where it came to its status.

    `subject` is who stands behind the account and `commitment` what was looked at, both 32-byte
    hashes; it counts until `expires_ms`. `reason` and `by` tell why and who revoked it.
    """

    topic: str
    issuer: bytes
    level: int
    subject: bytes
    commitment: bytes
    expires_ms: int
    status: int
    height: int
    reason: str
    by: bytes

    def live(self, time_ms: int) -> bool:
        """Tell whether it may still come to count, or counts."""
        return self.status != Status.REVOKED and time_ms < self.expires_ms


def issuer_key(account: bytes) -> bytes:
    """Return the key of an issuer; in the index, so that issuers can be listed."""
    return ISSUER_PREFIX + account


def attestations_key(account: bytes) -> bytes:
    """Return the key of what is said of an account."""
    return b"a" + account


def binding_key(account: bytes) -> bytes:
    """Return the key of the block time at which an account's subject was last set."""
    return b"j" + account


def issuer_at(get: Get, account: bytes) -> Issuer | None:
    """Return an issuer, removed or not; None for who never was one."""
    data = get(issuer_key(account))
    return None if data is None else Issuer.unpack(data)


def may_attest(get: Get, issuer: bytes, topic: str) -> bool:
    """Tell whether an account may attest a topic now."""
    found = issuer_at(get, issuer)
    return found is not None and bool(found.active) and topic in found.topics


def attestations_at(get: Get, account: bytes) -> tuple[Attestation, ...]:
    """Return everything that is said of an account, dead ones included, oldest first."""
    data = get(attestations_key(account))
    if data is None:
        return ()
    return tuple([Attestation(*one) for one in own(data, 1)[0]])


def pack_attestations(found: tuple[Attestation, ...]) -> bytes:
    """Return the bytes of an account's record."""
    return pack(found)


def level_in(get: Get, found: tuple[Attestation, ...], topic: str, time_ms: int) -> int | None:
    """Return the highest level that counts at a time, None for no attestation that does."""
    counting = [
        one
        for one in found
        if one.topic == topic and one.status == Status.ACCEPTED and time_ms < one.expires_ms
    ]
    # From the highest down, so that few issuers are looked up, however many attested it.
    for one in sorted(counting, key=lambda one: -one.level):
        if may_attest(get, one.issuer, topic):
            return one.level
    return None


def level(reader: StateReader, account: bytes, topic: str, time_ms: int) -> int | None:
    """Return the highest level of a topic that an account is attested, None for none.

    A level of 0 is an attestation too. `time_ms` is block time.
    """
    get: Get = lambda key: reader.get(TREE, key)  # noqa: E731
    return level_in(get, attestations_at(get, account), topic, time_ms)


def bound_ms(get: Get, account: bytes) -> int | None:
    """Return the block time at which an account's subject was last set; None: never."""
    data = get(binding_key(account))
    return None if data is None else codec.integer(own(data, 1)[0], "compliance.bound")
