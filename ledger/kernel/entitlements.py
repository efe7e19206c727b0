"""Who may sign for an account beside its key, and within which limits: the kernel's records.

- *Signers* sign in place of a key: members with weights, of which a threshold must sign.
- A *session key* signs alone, in lanes of its own, for actions that it was allowed, up to caps
  that are charged in the one path on which value leaves an account.
- A *sponsorship* lets somebody name another account as payer of its fees, up to limits.

The module `accounts` writes these records when users ask; what they mean is judged in
`witness.py`. A day is `block_time_ms div 86,400,000`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.kernel.records import (
    RECORD_VERSION,
    SESSION_PREFIX,
    SPONSOR_PREFIX,
    TREE,
    own_record,
)
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import DAY_MS

# Their signatures, a payer's and approvers' fit into one transaction's witness (64).
SIGNERS_MAX: Final = 32
WEIGHT_MAX: Final = 1_000
# Sessions of one account; each owns at least one of its 64 lanes, and lane 0 is never one's.
SESSIONS_MAX: Final = 32
SESSION_ACTIONS_MAX: Final = 32
SESSION_ASSETS_MAX: Final = 16
SESSION_RECIPIENTS_MAX: Final = 64
SESSION_MEMO_BYTES_MAX: Final = 64
# Sponsorships of one account, so that they can be listed and paid for.
SPONSORSHIPS_MAX: Final = 1_000


def day_of(time_ms: int) -> int:
    """Return the number of the day, UTC, that a block time is in."""
    return time_ms // DAY_MS


def day_end_ms(time_ms: int) -> int:
    """Return when that day ends and daily limits begin anew, ms UTC."""
    return (time_ms // DAY_MS + 1) * DAY_MS


class Signers(NamedTuple):
    """Who signs in place of a key: (account, weight) ascending by account, and how much it takes.

    Members are accounts, so that a member who changes its key stays the same member.
    """

    threshold: int
    members: tuple[tuple[bytes, int], ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, self.threshold, self.members])

    @classmethod
    def unpack(cls, data: bytes) -> Signers:
        """Read a record that we wrote."""
        wire: Any = own_record(data, 3)
        return cls(wire[1], tuple([(account, weight) for account, weight in wire[2]]))

    @property
    def hash(self) -> bytes:
        """The hash that an account's record names."""
        return message_hash_of(b"signers" + self.pack())

    def weight_of(self, account: bytes) -> int:
        """Return a member's weight, 0 for who is none."""
        return next((weight for member, weight in self.members if member == account), 0)


class Cap(NamedTuple):
    """What a session key may take of one asset, minor units; fees in the native one count."""

    asset: str
    per_transaction: int
    per_day: int


class Session(NamedTuple):
    """What a session key may do. Sequences of its lanes are its own.

    `lanes` has a bit for each of lanes 1–63; `recipients` empty means anybody; `memo` is how a
    memo must begin; `memo_required` whether there must be one at all. `due` is the id of the
    due work that forgets it.
    """

    expires_ms: int
    lanes: int
    actions: tuple[str, ...]
    caps: tuple[Cap, ...]
    recipients: tuple[bytes, ...]
    memo: bytes
    memo_required: int
    label: str
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Session:
        """Read a record that we wrote."""
        _, expires_ms, lanes, actions, caps, recipients, memo, memo_required, label, due = _any(
            data, 10
        )
        limits = tuple([Cap(*cap) for cap in caps])
        return cls(
            expires_ms,
            lanes,
            tuple(actions),
            limits,
            tuple(recipients),
            memo,
            memo_required,
            label,
            due,
        )

    def cap(self, asset: str) -> Cap | None:
        """Return the cap on an asset; None: the key may take nothing of it."""
        return next((cap for cap in self.caps if cap.asset == asset), None)


class Spent(NamedTuple):
    """What a session key took on one day: (asset, minor units), ascending by asset."""

    day: int
    amounts: tuple[tuple[str, int], ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Spent:
        """Read a record that we wrote."""
        _, day, amounts = _any(data, 3)
        return cls(day, tuple([(asset, amount) for asset, amount in amounts]))


class Sponsorship(NamedTuple):
    """Fees that a sponsor pays for an account, minor units of the native asset.

    `total` is what is left altogether; `actions` empty means any; `spent` counts on `day`.
    """

    expires_ms: int
    per_transaction: int
    per_day: int
    total: int
    actions: tuple[str, ...]
    day: int
    spent: int
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Sponsorship:
        """Read a record that we wrote."""
        _, expires_ms, per_transaction, per_day, total, actions, day, spent, due = _any(data, 9)
        return cls(expires_ms, per_transaction, per_day, total, tuple(actions), day, spent, due)

    def spent_on(self, day: int) -> int:
        """Return what it paid on a day so far."""
        return self.spent if self.day == day else 0


def signers_key(account: bytes) -> bytes:
    """Return the state key of an account's signers."""
    return b"m" + account


def session_key(account: bytes, key: bytes) -> bytes:
    """Return the state key of a session."""
    return SESSION_PREFIX + account + key


def spent_key(account: bytes, key: bytes) -> bytes:
    """Return the state key of what a session key took today; apart, because it changes often."""
    return b"t" + account + key


def sponsorship_key(sponsor: bytes, account: bytes) -> bytes:
    """Return the state key of a sponsorship."""
    return SPONSOR_PREFIX + sponsor + account


class Entitlements:
    """The records, over a view of state. Checks nothing: who writes has judged what it writes."""

    __slots__ = ("_overlay",)

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def signers(self, account: bytes) -> Signers | None:
        """Return who signs in place of an account's key, None if its key does."""
        data = self._overlay.get(TREE, signers_key(account))
        return None if data is None else Signers.unpack(data)

    def put_signers(self, account: bytes, signers: Signers | None) -> None:
        """Write or remove signers; `Context.set_signers` says so in the account, too."""
        data = None if signers is None else signers.pack()
        self._overlay.put(TREE, signers_key(account), data)

    def session(self, account: bytes, key: bytes) -> Session | None:
        """Return what a session key may do, None if it is none."""
        data = self._overlay.get(TREE, session_key(account, key))
        return None if data is None else Session.unpack(data)

    def has_session(self, account: bytes, key: bytes) -> bool:
        """Tell whether a key is a session key of an account."""
        return self._overlay.get(TREE, session_key(account, key)) is not None

    def set_session(self, account: bytes, key: bytes, session: Session | None) -> None:
        """Replace or remove a session; what a removed one took is forgotten with it."""
        data = None if session is None else session.pack()
        self._overlay.put(TREE, session_key(account, key), data)
        if session is None:
            self.set_spent(account, key, None)

    def sessions(
        self, account: bytes, limit: int = SESSIONS_MAX + 1
    ) -> list[tuple[bytes, Session]]:
        """Return (key, session) of an account, ascending by key."""
        rows = self._overlay.ordered(TREE, SESSION_PREFIX + account, limit)
        return [(key[33:], Session.unpack(data)) for key, data in rows]

    def spent(self, account: bytes, key: bytes) -> Spent | None:
        """Return what a session key took, on which day."""
        data = self._overlay.get(TREE, spent_key(account, key))
        return None if data is None else Spent.unpack(data)

    def set_spent(self, account: bytes, key: bytes, spent: Spent | None) -> None:
        """Replace what a session key took."""
        place = spent_key(account, key)
        if spent is not None or self._overlay.get(TREE, place) is not None:
            self._overlay.put(TREE, place, None if spent is None else spent.pack())

    def sponsorship(self, sponsor: bytes, account: bytes) -> Sponsorship | None:
        """Return what a sponsor pays of an account's fees, None for nothing."""
        data = self._overlay.get(TREE, sponsorship_key(sponsor, account))
        return None if data is None else Sponsorship.unpack(data)

    def set_sponsorship(self, sponsor: bytes, account: bytes, terms: Sponsorship | None) -> None:
        """Replace or remove a sponsorship."""
        data = None if terms is None else terms.pack()
        self._overlay.put(TREE, sponsorship_key(sponsor, account), data)

    def sponsorships(
        self, sponsor: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, Sponsorship]]:
        """Return (account, terms) of a sponsor, ascending by account, above `after`."""
        prefix = SPONSOR_PREFIX + sponsor
        rows = self._overlay.ordered(TREE, prefix, limit, prefix + after if after else b"")
        return [(key[33:], Sponsorship.unpack(data)) for key, data in rows]


def _any(data: bytes, length: int) -> list[Any]:
    return own_record(data, length)
