"""Multisignature policies: signers with weights sign in place of an account's key.

Members are accounts, so that one who changes its key stays the same member; what counts is
judged whenever it counts, by the keys and subjects of then. A member that has signers itself is
refused, and has no weight while it has them: nested policies are not part of this version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.entitlements import SIGNERS_MAX, WEIGHT_MAX, Signers, signers_key
from clawpurse.ledger.kernel.records import Account, account_key, own_record, subject_key
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    Field,
    FieldType,
    Handler,
    Query,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import Body
from clawpurse.modules.accounts.records import (
    LISTED,
    MEMBERSHIP,
    all_listed,
    listed_key,
    multisig_id,
)

# An account's record and its signers; for each member its account, subject, signers and list.
COST_CREATE: Final = 150
COST_SET: Final = 200
COST_MEMBER: Final = 70
# So that what members weigh together is far from any limit of what is counted with it.
THRESHOLD_MAX: Final = SIGNERS_MAX * WEIGHT_MAX

_WEIGHT: Final = Field(
    "weight", FieldType.INTEGER, "what its signature counts", low=1, high=WEIGHT_MAX
)
_THRESHOLD: Final = Field(
    "threshold",
    FieldType.INTEGER,
    "what the signatures must weigh together",
    low=1,
    high=THRESHOLD_MAX,
)


# -- actions


def _shown(threshold: int, members: Sequence[tuple[bytes, int]], words: Words) -> tuple[str, str]:
    """Return how much it takes, and the members with what each counts."""
    total = sum(weight for _, weight in members)
    if all(weight == 1 for _, weight in members):
        return f"{threshold} of {total}", ", ".join(words.account(one) for one, _ in members)
    named = ", ".join(f"{words.account(one)} ({weight})" for one, weight in members)
    return f"{threshold} of a weight of {total}", named


def _create_words(fields: Mapping[str, Any], words: Words) -> str:
    enough, members = _shown(fields["threshold"], fields["members"], words)
    return f"Create an account without a key, for which {enough} sign: {members}."


def _set_words(fields: Mapping[str, Any], words: Words) -> str:
    pairs = [(account, weight) for account, _, weight in fields["members"]]
    enough, members = _shown(fields["threshold"], pairs, words)
    return f"From now on {enough} sign for this account, and no key of its own: {members}."


def _members_approve(values: Sequence[Any], body: Body) -> tuple[tuple[bytes, bytes], ...]:
    """New signers sign too, so that nobody hands an account to keys that nobody has."""
    return tuple(sorted([(account, key) for account, key, _ in values[1]]))


CREATE: Final = ActionType(
    name="accounts.createMultisig",
    fields=(
        _THRESHOLD,
        Field(
            "members",
            FieldType.LIST,
            "who signs, any order",
            SIGNERS_MAX,
            size_min=1,
            items=(Field("account", FieldType.ACCOUNT, "an account with a key"), _WEIGHT),
        ),
        Field("salt", FieldType.HASH, "any 32 bytes: tells accounts of the same signers apart"),
    ),
    cost=COST_CREATE,
    words=_create_words,
    cost_of=lambda values: COST_MEMBER * len(values[1]),
)
SET: Final = ActionType(
    name="accounts.setSigners",
    fields=(
        _THRESHOLD,
        Field(
            "members",
            FieldType.LIST,
            "who signs from now on, any order; their keys sign this too",
            SIGNERS_MAX,
            size_min=1,
            items=(
                Field("account", FieldType.ACCOUNT, "an account with a key"),
                Field("key", FieldType.KEY, "the key that signs for it now"),
                _WEIGHT,
            ),
        ),
    ),
    cost=COST_SET,
    words=_set_words,
    approvers=_members_approve,
    cost_of=lambda values: 2 * COST_MEMBER * len(values[1]),
)


def _create(context: Context, values: Sequence[Any]) -> None:
    threshold, members, salt = values
    signers = _judged(context, threshold, members)
    account = multisig_id(signers, salt)
    _open(context, account)
    _appoint(context, account, None, signers)


def _open(context: Context, account: bytes) -> None:
    """Open the account, unless somebody did before, such as by a payment ahead of time.

    Its id is a hash, so no key can have signed for it meanwhile. Refused if it has signers, or
    had them (its key is no longer its id then): a policy that was replaced does not come back.
    """
    problem = context.attempt(lambda: context.open_account(account))
    if problem is None:
        return
    if problem.rule != "kernel.accountExists":
        raise problem
    if context.key_of(account) != account:
        raise context.refuse("accounts.multisigExists", account)


def _set(context: Context, values: Sequence[Any]) -> None:
    threshold, members = values
    account = context.sender
    for member, key, _ in members:
        if context.key_of(member) != key:
            raise context.refuse("accounts.memberKey", member)
        if member == account:
            raise context.refuse("accounts.memberSelf", account)
    signers = _judged(context, threshold, [(member, weight) for member, _, weight in members])
    before = context.entitlements.signers(account)
    if before == signers:
        raise context.refuse("accounts.sameSigners", account)
    _appoint(context, account, before, signers)


def _judged(context: Context, threshold: int, members: Sequence[tuple[bytes, int]]) -> Signers:
    """Return signers, ascending. Raises `Refused` for a policy that is not what it says it is."""
    keys: list[bytes] = []
    accounts: list[bytes] = []
    subjects: list[bytes] = []
    for account, _ in members:
        if account in accounts:
            raise context.refuse("accounts.memberTwice", account)
        key, subject = context.key_of(account), context.subject_of(account)
        if context.entitlements.signers(account) is not None:
            raise context.refuse("accounts.memberNested", account)
        if key is None:
            raise context.refuse("accounts.memberNoKey", account)
        if key in keys:
            raise context.refuse("accounts.memberKeyTwice", account, accounts[keys.index(key)])
        if subject in subjects:
            other = accounts[subjects.index(subject)]
            raise context.refuse("accounts.memberSubjectTwice", account, other)
        keys.append(key)
        accounts.append(account)
        subjects.append(subject)
    total = sum(weight for _, weight in members)
    if threshold > total:
        raise context.refuse("accounts.threshold", threshold, total)
    return Signers(threshold, tuple(sorted([(account, weight) for account, weight in members])))


def _appoint(context: Context, account: bytes, before: Signers | None, after: Signers) -> None:
    """Let them sign, in place of any key; let them find the account, and its history say so."""
    context.set_signers(account, after)
    context.set_key(account, None)
    unlist(context, account, before)
    for member, _ in after.members:
        context.put(listed_key(member, MEMBERSHIP, account), LISTED)
    parties = (account, *(member for member, _ in after.members))
    context.emit("accounts.signersSet", parties, after.threshold, after.hash)


def unlist(context: Context, account: bytes, signers: Signers | None) -> None:
    """Take an account out of the lists of those who signed for it until now."""
    for member, _ in () if signers is None else signers.members:
        context.delete(listed_key(member, MEMBERSHIP, account))


# -- counting

# What counts of an account: the key that signs for it now, if one does, and its subject.
Standing = Callable[[bytes], tuple[bytes | None, bytes]]


def counted(signers: Signers, approvals: Sequence[bytes], standing: Standing) -> list[bytes]:
    """Return whose approvals count: as signatures do (kernel, `weight_of_keys`).

    Members only, who have a key of their own now; each key and each subject once.
    """
    found: list[bytes] = []
    keys: list[bytes] = []
    subjects: list[bytes] = []
    for member, _ in signers.members:
        if member not in approvals:
            continue
        key, subject = standing(member)
        if key is None or key in keys:
            continue
        keys.append(key)
        if subject not in subjects:
            subjects.append(subject)
            found.append(member)
    return found


def weight_of(context: Context, signers: Signers, approvals: Sequence[bytes]) -> int:
    """Return what the approvals of accounts weigh now."""
    accounts = counted(
        signers, approvals, lambda one: (context.key_of(one), context.subject_of(one))
    )
    return sum(signers.weight_of(one) for one in accounts)


# -- queries


def get_signers(reader: StateReader, account: bytes) -> Signers | None:
    """Return who signs in place of an account's key, None if its key does."""
    data = reader.get(KERNEL, signers_key(account))
    return None if data is None else Signers.unpack(data)


def get_standing(reader: StateReader, account: bytes) -> tuple[bytes | None, bytes]:
    """Return the key that signs for an account, and its subject, as `counted` asks for them."""
    data = reader.get(KERNEL, account_key(account))
    said = reader.get(KERNEL, subject_key(account))
    key = None if data is None else Account.unpack(data).key
    return key, account if said is None else codec.digest(own_record(said, 2)[1], "subject")


def get_counted(reader: StateReader, signers: Signers, approvals: Sequence[bytes]) -> list[bytes]:
    """Return whose approvals count now."""
    return counted(signers, approvals, lambda account: get_standing(reader, account))


def signers_match(reader: StateReader) -> str | None:
    """Check that each signer finds the accounts for which it signs."""
    for member, account in all_listed(reader, MEMBERSHIP):
        signers = get_signers(reader, account)
        if signers is None or not signers.weight_of(member):
            return f"{account_text(member)} is listed as a signer of an account, and is none"
    return None


ACTIONS: Final[tuple[ActionType, ...]] = (CREATE, SET)
HANDLERS: Final[Mapping[str, Handler]] = {CREATE.name: _create, SET.name: _set}
RULES: Final[Mapping[str, Rule]] = {
    "accounts.threshold": Rule(
        Code.MALFORMED, "A threshold of {0:number} is never reached: all weigh {1:number}."
    ),
    "accounts.memberTwice": Rule(Code.DUPLICATE, "{0:account} is among the signers twice."),
    "accounts.memberSelf": Rule(Code.MALFORMED, "{0:account} cannot be its own signer."),
    "accounts.memberNoKey": Rule(
        Code.NOT_AUTHORISED, "No key can sign for {0:account}, so it cannot be a signer."
    ),
    "accounts.memberNested": Rule(
        Code.NOT_AUTHORISED, "{0:account} has signers itself and cannot be a signer."
    ),
    "accounts.memberKey": Rule(
        Code.NOT_AUTHORISED, "The key that is named for {0:account} does not sign for it."
    ),
    "accounts.memberKeyTwice": Rule(
        Code.DUPLICATE, "{0:account} and {1:account} are signers with one and the same key."
    ),
    "accounts.memberSubjectTwice": Rule(
        Code.DUPLICATE, "{0:account} and {1:account} are signers and belong to one subject."
    ),
    "accounts.sameSigners": Rule(Code.DUPLICATE, "{0:account} has those signers already."),
    "accounts.multisigExists": Rule(
        Code.DUPLICATE, "{0:account} was created before; another salt makes another account."
    ),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.signersSet": ("threshold", "policy"),
}
QUERIES: Final[Mapping[str, Query]] = {"signers": get_signers, "counted": get_counted}
INVARIANTS: Final[tuple[Callable[[StateReader], str | None], ...]] = (signers_match,)
