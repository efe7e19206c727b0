"""Whether those who signed a transaction may: key, signers, session key, payer, sponsor.

Signatures were verified before. Here each is held against state: whose key signed, within which
limits. All is judged before a transaction enters a block, but what a session key takes, which is
charged where value leaves the account (`SessionMeter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.entitlements import (
    Entitlements,
    Session,
    Signers,
    Spent,
    Sponsorship,
    day_end_ms,
    day_of,
)
from clawpurse.ledger.kernel.records import TREE, Account, own_record, subject_key
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transactions import Body, Role, Transaction, WitnessEntry

# One in so many of its account's quota, idempotency keys and scheduled work is all that session
# keys use up together: a stolen one cannot keep the owner from revoking it.
SESSION_SHARE: Final = 2
_SENDER: Final = int(Role.SENDER)
_PAYER: Final = int(Role.PAYER)


def subject_of(books: Books, account: bytes) -> bytes:
    """Return who stands behind an account: its attested subject, else the account itself."""
    data = books.overlay.get(TREE, subject_key(account))
    if data is None:
        return account
    return codec.digest(own_record(data, 2)[1], "subject")


class SessionMeter:
    """Charges what one transaction takes by a session key, against its caps.

    The day's sum is state, so a failed transaction gives back all but its fee; what this
    transaction took is kept here, and `mark` and `rollback` follow attempts within it.
    """

    __slots__ = ("_entitlements", "_taken", "_time_ms", "_today", "account", "key", "session")

    def __init__(
        self, entitlements: Entitlements, account: bytes, key: bytes, session: Session, time_ms: int
    ) -> None:
        self._entitlements = entitlements
        self._taken: dict[str, int] = {}
        self._time_ms = time_ms
        spent = entitlements.spent(account, key)
        is_today = spent is not None and spent.day == day_of(time_ms)
        self._today: dict[str, int] = dict(spent.amounts) if spent and is_today else {}
        self.account = account
        self.key = key
        self.session = session

    def mark(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what was taken so far, for `rollback`."""
        return dict(self._taken), dict(self._today)

    def rollback(self, mark: tuple[dict[str, int], dict[str, int]]) -> None:
        """Forget what was taken since `mark`; the caller rolls state back."""
        self._taken, self._today = mark

    def check(self, asset: str, amount: int) -> None:
        """Raise `Refused` if taking more would be above a cap."""
        cap = self.session.cap(asset)
        if cap is None:
            raise refuse("kernel.sessionAsset", self.account, asset)
        taken = self._taken.get(asset, 0) + amount
        if taken > cap.per_transaction:
            raise refuse("kernel.sessionPayment", self.account, taken, cap.per_transaction, asset)
        left = cap.per_day - self._today.get(asset, 0)
        if amount > left:
            resets_ms = day_end_ms(self._time_ms)
            raise refuse("kernel.sessionDay", self.account, amount, max(0, left), asset, resets_ms)

    def charge(self, asset: str, amount: int, recipient: bytes | None) -> None:
        """Charge what leaves the account. `recipient` None: a fee, a deposit, or destroyed."""
        if not self._entitlements.has_session(self.account, self.key):
            # It gave itself up earlier in this transaction, and its day's sum with it.
            raise refuse("kernel.key", self.account)
        allowed = self.session.recipients
        if recipient is not None and allowed and recipient not in allowed:
            raise refuse("kernel.sessionRecipient", self.account, recipient)
        if not amount:
            return
        self.check(asset, amount)
        self._taken[asset] = self._taken.get(asset, 0) + amount
        self._today[asset] = self._today.get(asset, 0) + amount
        spent = Spent(day_of(self._time_ms), tuple(sorted(self._today.items())))
        self._entitlements.set_spent(self.account, self.key, spent)


class Entitled(NamedTuple):
    """Who sends and who pays, as the ledger knows them, and within which limits.

    `meter` when a session key signed; `sponsorship` when the payer's signature is not there
    because it said before that it would pay.
    """

    sender: Account
    payer: Account
    meter: SessionMeter | None = None
    sponsorship: Sponsorship | None = None


def judge_witness(books: Books, transaction: Transaction, time_ms: int) -> Entitled:
    """Return who sends and who pays. Raises `Refused` when a signature is not entitled."""
    body = transaction.body
    sender = books.account(body.sender)
    if sender is None:
        raise refuse("kernel.sender", body.sender)
    witness = transaction.witness
    # Entries ascend by role, so the sender's stand first; nearly always one, by its own key.
    alone = len(witness) == 1 or witness[1][0] != _SENDER
    if alone and body.payer is None and witness[0][2] == sender.key and sender.policy is None:
        return Entitled(sender, sender)
    payer = sender
    if body.payer is not None:
        found = books.account(body.payer)
        if found is None:
            raise refuse("kernel.sender", body.payer)
        payer = found
    entries = [entry for entry in witness if entry.role == _SENDER]
    meter = None
    if len(entries) != 1 or entries[0].public_key != sender.key or sender.policy is not None:
        session = _session_of(books, body.sender, entries)
        if session is None:
            _judge_signers(books, body.sender, sender, entries)
        else:
            key = entries[0].public_key
            meter = SessionMeter(books.entitlements, body.sender, key, session, time_ms)
            _judge_session(meter, body, time_ms)
    sponsorship = None
    if body.payer is not None:
        entries = [entry for entry in witness if entry.role == _PAYER]
        if entries:
            _judge_signers(books, body.payer, payer, entries)
        else:
            sponsorship = _judge_sponsor(books.entitlements, body, body.payer, time_ms)
    return Entitled(sender, payer, meter, sponsorship)


def _judge_signers(
    books: Books, account: bytes, record: Account, entries: Sequence[WitnessEntry]
) -> None:
    """Judge signatures given for an account by its key, or by its signers up to the threshold."""
    if record.policy is None:
        if len(entries) != 1 or entries[0].public_key != record.key:
            raise refuse("kernel.key", account)
        return
    signers = books.entitlements.signers(account)
    if signers is None:
        raise Bug("an account names signers that are not there")
    keys = {entry.public_key for entry in entries}
    found = weight_of_keys(books, signers, keys)
    if found is None:
        raise refuse("kernel.key", account)
    if found < signers.threshold:
        raise refuse("kernel.threshold", account, found, signers.threshold)


def weight_of_keys(books: Books, signers: Signers, keys: set[bytes]) -> int | None:
    """Return the weight of the members whose keys these are; None if one is no member's.

    Each subject counts once, whatever accounts or keys it has by now.
    """
    weight, known, subjects = 0, 0, set()
    counted: set[bytes] = set()
    for member, share in signers.members:
        record = books.account(member)
        if record is None or record.key is None or record.key not in keys:
            continue
        if record.key in counted:
            continue  # Two members came to have one key: it is one signature.
        counted.add(record.key)
        known += 1
        subject = subject_of(books, member)
        if subject not in subjects:
            subjects.add(subject)
            weight += share
    return weight if known == len(keys) else None


def keys_up_to(books: Books, signers: Signers) -> list[bytes]:
    """Return keys of members, the weightiest first, that reach the threshold together; all keys
    when no choice of them does.
    """
    keys: list[bytes] = []
    for member, _ in sorted(signers.members, key=lambda one: (-one[1], one[0])):
        record = books.account(member)
        if record is None or record.key is None or record.key in keys:
            continue
        keys.append(record.key)
        if (weight_of_keys(books, signers, set(keys)) or 0) >= signers.threshold:
            break
    return keys


def _session_of(books: Books, account: bytes, entries: Sequence[WitnessEntry]) -> Session | None:
    if len(entries) != 1:
        return None
    return books.entitlements.session(account, entries[0].public_key)


def _judge_session(meter: SessionMeter, body: Body, time_ms: int) -> None:
    """Judge all that a session key may not, but what its actions take. Raises `Refused`."""
    session, account = meter.session, meter.account
    if session.expires_ms <= time_ms:
        raise refuse("kernel.sessionExpired", account, session.expires_ms)
    if not session.lanes >> body.lane & 1:
        raise refuse("kernel.sessionLane", account, body.lane)
    for action in body.actions:
        if action.name not in session.actions:
            raise refuse("kernel.sessionAction", account, action.name)
    if session.memo_required and not body.memo:
        raise refuse("kernel.sessionNoMemo", account)
    if not body.memo.startswith(session.memo):
        raise refuse("kernel.sessionMemo", account, session.memo)
    if body.fee and body.payer is None:
        meter.check(NATIVE_ASSET, body.fee)


def _judge_sponsor(
    entitlements: Entitlements, body: Body, sponsor: bytes, time_ms: int
) -> Sponsorship:
    """Return the sponsorship with this fee charged. Raises `Refused` beyond its limits."""
    terms = entitlements.sponsorship(sponsor, body.sender)
    if terms is None or terms.expires_ms <= time_ms:
        raise refuse("kernel.sponsor", sponsor, body.sender)
    if terms.actions:
        for action in body.actions:
            if action.name not in terms.actions:
                raise refuse("kernel.sponsorAction", sponsor, action.name)
    if body.fee > terms.per_transaction:
        raise refuse("kernel.sponsorFee", sponsor, body.fee, terms.per_transaction, NATIVE_ASSET)
    if body.fee > terms.total:
        raise refuse("kernel.sponsorSpent", sponsor, body.fee, terms.total, NATIVE_ASSET)
    day = day_of(time_ms)
    left = terms.per_day - terms.spent_on(day)
    if body.fee > left:
        resets_ms = day_end_ms(time_ms)
        raise refuse("kernel.sponsorDay", sponsor, body.fee, left, NATIVE_ASSET, resets_ms)
    return terms._replace(
        total=terms.total - body.fee, day=day, spent=terms.spent_on(day) + body.fee
    )
