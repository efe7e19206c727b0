"""The kernel's records in state: their keys, their bytes, and nothing else.

Keys of the tree `kernel` (docs/protocol.md lists them for client authors):
a‖account · b‖account‖asset · u‖asset · i‖account‖hash of key · d‖time‖id ·
e‖time‖account‖hash of key · f‖sponsor‖account · h‖id · j‖account · k‖account‖key · m‖account ·
n · o‖asset‖0‖account · p · q · r‖account‖role · s · t‖account‖key · x‖account‖h‖id

Who may sign beside an account's key (f, k, m, t) is in `entitlements.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import account_hash_of, due_hash_of, idempotency_hash_of
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.transactions import LANE_COUNT

RECORD_VERSION: Final = 1
# The kernel's tree. No module has this name.
TREE: Final = "kernel"
DUE_PREFIX: Final = b"d"
# Idempotency records that expire have a queue of their own: as many come due as payments were
# made a day ago, and they must not keep scheduled payments waiting.
EXPIRY_PREFIX: Final = b"e"
# Balances by account, holders by asset, sponsorships by sponsor and session keys by account are
# listed for people.
BALANCE_PREFIX: Final = b"b"
HOLDER_PREFIX: Final = b"o"
SPONSOR_PREFIX: Final = b"f"
SESSION_PREFIX: Final = b"k"
# In every tree, the kernel's and modules', keys that begin so are an index: listed in key order.
INDEX_PREFIX: Final = b"x"
# What a store has to keep in key order beside the kernel's tree; of modules' trees, the index.
ORDERED_PREFIXES: Final = (
    BALANCE_PREFIX,
    DUE_PREFIX,
    EXPIRY_PREFIX,
    SPONSOR_PREFIX,
    SESSION_PREFIX,
    HOLDER_PREFIX,
    INDEX_PREFIX,
)
NETWORK_KEY: Final = b"n"
PARAMS_KEY: Final = b"p"
PERMISSIONS_KEY: Final = b"q"
AUTHORITIES_KEY: Final = b"s"
# Actions that ask for a role; a network names a few dozen, and all are read for each block.
PERMISSIONS_MAX: Final = 256
# Flags of an account's record: it takes payments only from those whom it has named.
ACCOUNT_DEPOSIT_AUTH: Final = 1
# Fees and deposits go here and stay in supply. No key can sign for it.
FEE_ACCOUNT: Final = account_hash_of(b"fees")


def module_account(name: str) -> bytes:
    """Return the account that belongs to a module; no key can sign for it."""
    return account_hash_of(b"module " + name.encode("ascii"))


def account_key(account: bytes) -> bytes:
    """Return the state key of an account record."""
    return b"a" + account


def balance_key(account: bytes, asset: str) -> bytes:
    """Return the state key of a balance in an asset other than the native one."""
    return BALANCE_PREFIX + account + asset.encode("ascii")


def holders_prefix(asset: str) -> bytes:
    """Return how the keys begin that list an asset's holders; the account follows."""
    return HOLDER_PREFIX + asset.encode("ascii") + b"\0"


def holder_key(asset: str, account: bytes) -> bytes:
    """Return the state key that lists a holder of an asset; its record is [1].

    It is there after each block in which there is a record of that balance.
    """
    return holders_prefix(asset) + account


def supply_key(asset: str) -> bytes:
    """Return the state key of an asset's supply."""
    return b"u" + asset.encode("ascii")


def idempotency_key(account: bytes, key: bytes) -> bytes:
    """Return the state key of an idempotency record."""
    return b"i" + account + idempotency_hash_of(key)


def expiry_key(time_ms: int, record_key: bytes) -> bytes:
    """Return the state key that says when an idempotency record ends; its record is [1]."""
    return EXPIRY_PREFIX + time_ms.to_bytes(8, "big") + record_key[1:]


def expiring_record(key: bytes) -> tuple[bytes, bytes]:
    """Return (account, key of the idempotency record) that an expiry key speaks of."""
    return key[9:41], b"i" + key[9:]


def queue_time_ms(key: bytes) -> int:
    """Return the block time (ms UTC) from which an entry of either queue is due."""
    return int.from_bytes(key[1:9], "big")


def due_id(seed: bytes, number: int) -> bytes:
    """Return the `number`th id that is made under a transaction id or a due entry's id."""
    return due_hash_of(seed + number.to_bytes(4, "big"))


def due_key(time_ms: int, entry_id: bytes) -> bytes:
    """Return the state key of due work; ascending keys are ascending times."""
    return DUE_PREFIX + time_ms.to_bytes(8, "big") + entry_id


def hold_key(hold_id: bytes) -> bytes:
    """Return the state key of a hold."""
    return b"h" + hold_id


def hold_index_key(account: bytes, hold_id: bytes) -> bytes:
    """Return the state key that lists a hold under its source or target; its record is [1].

    What a rule made is also listed under `officers_account`, for those who decide on it.
    """
    return INDEX_PREFIX + account + b"h" + hold_id


def officers_account(role: str) -> bytes:
    """Return the account, nobody's, under which holds are listed that a role decides on."""
    return account_hash_of(b"officers " + role.encode("ascii"))


def subject_key(account: bytes) -> bytes:
    """Return the state key that says who stands behind an account; its record is [1, subject]."""
    return b"j" + account


def role_key(account: bytes, role: str) -> bytes:
    """Return the state key that says that an account holds a role."""
    return b"r" + account + role.encode("ascii")


class Account(NamedTuple):
    """An account with its native balance, so that a payment touches one key a side.

    `key` may sign for it (None: nobody, or a policy decides). `lanes` packs the next sequence
    of lanes 0…n as 8 bytes each; absent lanes are at 0. `quota_used` counts cost in the window
    number `quota_window` of block time. `policy` is the hash of the signers who sign in place
    of a key (record `m`), None when the key does.
    """

    key: bytes | None
    balance: int
    held: int
    lanes: bytes
    quota_window: int
    quota_used: int
    idempotency_count: int
    due_count: int
    flags: int
    policy: bytes | None

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    def with_balance(self, balance: int) -> Account:
        """Return the record with another balance; a quarter of the time of `_replace`."""
        return tuple.__new__(Account, (self[0], balance, *self[2:]))

    def sequence(self, lane: int) -> int:
        """Return the next sequence of a lane."""
        return int.from_bytes(self.lanes[8 * lane : 8 * lane + 8], "big")

    def lanes_with(self, lane: int, sequence: int) -> bytes:
        """Return the packed lanes after a lane's next sequence changed."""
        lanes = self.lanes
        if lane == 0 and len(lanes) <= 8:
            return sequence.to_bytes(8, "big")  # What most accounts ever have.
        if len(lanes) < 8 * (lane + 1):
            if not 0 <= lane < LANE_COUNT:
                raise Bug(f"lane {lane} does not exist")
            lanes += bytes(8 * (lane + 1) - len(lanes))
        return lanes[: 8 * lane] + sequence.to_bytes(8, "big") + lanes[8 * lane + 8 :]

    @classmethod
    def unpack(cls, data: bytes) -> Account:
        """Read a record that we wrote."""
        wire = own_record(data, 11)
        return cls(*wire[1:])  # type: ignore[arg-type]


def new_account(key: bytes | None) -> Account:
    """Return a fresh account that `key` may sign for."""
    return Account(key, 0, 0, b"", 0, 0, 0, 0, 0, None)


class Balance(NamedTuple):
    """What an account has of an asset other than the native one. `flags` are for controls."""

    amount: int
    held: int
    flags: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Balance:
        """Read a record that we wrote."""
        return cls(*own_record(data, 4)[1:])  # type: ignore[arg-type]


class IdempotencyRecord(NamedTuple):
    """What a sender's key was used for. `code` is the receipt's."""

    tx_id: bytes
    height: int
    code: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> IdempotencyRecord:
        """Read a record that we wrote."""
        return cls(*own_record(data, 4)[1:])  # type: ignore[arg-type]


class Hold(NamedTuple):
    """Value that is set apart on its way; still the source's until it is paid out.

    `module` decides on it: `kernel` for what a rule stopped, which `needed` holders of the role
    `officers` release or return, who are neither `initiator` nor one subject with it or each
    other; otherwise the module that set it apart (escrow, channel), for whom `expires_ms` is 0.
    `due` is the id of the kernel's due work at expiry, empty for none; `made_ms` the block time
    since when it is set apart.
    """

    asset: str
    source: bytes
    target: bytes
    amount: int
    rule: str
    rule_version: int
    expires_ms: int
    release_at_expiry: int
    module: str = TREE
    officers: str = ""
    needed: int = 0
    initiator: bytes = b""
    due: bytes = b""
    made_ms: int = 0

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Hold:
        """Read a record that we wrote."""
        return cls(*own_record(data, 15)[1:])  # type: ignore[arg-type]

    @property
    def listed_under(self) -> tuple[bytes, ...]:
        """The accounts under which it is listed, each once."""
        parties = (self.source, self.target) if self.source != self.target else (self.source,)
        return (*parties, officers_account(self.officers)) if self.officers else parties


class Network(NamedTuple):
    """Which network this state belongs to, so that nothing signed for another one counts."""

    chain_id: str
    genesis_hash: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Network:
        """Read a record that we wrote."""
        return cls(*own_record(data, 3)[1:])  # type: ignore[arg-type]


class Due(NamedTuple):
    """Work that a module (or the kernel) asked to be woken for."""

    module: str
    creator: bytes
    payload: list[Wire]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Due:
        """Read a record that we wrote."""
        return cls(*own_record(data, 4)[1:])  # type: ignore[arg-type]


class Membership(NamedTuple):
    """Who the authorities are, now and soon (R29): `following` from `change_height` on.

    A change that block h makes is in force at h + 2, so the set of h + 1 can judge what arrives
    early and header h + 1 can name the set that comes after it.
    """

    current: AuthoritySet
    change_height: int
    following: AuthoritySet

    def at(self, height: int) -> AuthoritySet:
        """Return the set in force at a height from the one after the last block on."""
        return self.following if height >= self.change_height else self.current

    def pack(self) -> bytes:
        """Return the record's bytes: [version, keys, height, keys]."""
        keys = self.current.keys, self.change_height, self.following.keys
        return codec.pack([RECORD_VERSION, *keys])

    @classmethod
    def unpack(cls, data: bytes) -> Membership:
        """Read a record that we wrote."""
        _, current, height, following = own_record(data, 4)
        return cls(
            AuthoritySet(current),  # type: ignore[arg-type]
            codec.integer(height, "membership.changeHeight"),
            AuthoritySet(following),  # type: ignore[arg-type]
        )


class Role(NamedTuple):
    """That an account holds a role: since which height, given by whom."""

    height: int
    granted_by: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Role:
        """Read a record that we wrote."""
        return cls(*own_record(data, 3)[1:])  # type: ignore[arg-type]


def pack_permissions(permissions: Mapping[str, str]) -> bytes:
    """Return the record that says which role each guarded action asks for."""
    return codec.pack([RECORD_VERSION, [list(pair) for pair in sorted(permissions.items())]])


def unpack_permissions(data: bytes) -> dict[str, str]:
    """Read a record of `pack_permissions`."""
    pairs: Any = own_record(data, 2)[1]
    return dict(pairs)


def pack_supply(amount: int) -> bytes:
    """Return the bytes of a supply record."""
    return codec.pack([RECORD_VERSION, amount])


def unpack_supply(data: bytes) -> int:
    """Read a supply record that we wrote."""
    return codec.integer(own_record(data, 2)[1], "supply")


def own_record(data: bytes, length: int) -> list[Wire]:
    """Decode a record from our own state; damage there is storage's or our fault, so `Bug`."""
    wire = codec.unpack_own(data)
    if len(wire) != length or wire[0] != RECORD_VERSION:
        raise Bug(f"a state record has {len(wire)} fields or a version other than {RECORD_VERSION}")
    return wire
