"""Deposit authorisation: accounts that take payments only from those whom they named.

What was set apart for such an account before it asked for this still reaches it: a payer whose
escrow or channel was taken keeps what it was promised. Clawback asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import ACCOUNT_DEPOSIT_AUTH
from clawpurse.ledger.module_api import (
    ALLOW,
    RELEASE,
    ActionType,
    Context,
    Field,
    FieldType,
    Handler,
    Movement,
    Query,
    Verdict,
    VerdictKind,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.accounts.records import (
    LISTED,
    PAYER,
    TREE,
    all_listed,
    count_at,
    listed_key,
    listing,
    pack,
    payers_key,
)

# Business partners of one account; beyond that a policy over attestations is the better list.
PAYERS_MAX: Final = 1_024
RULE_VERSION: Final = 1

_PAYER: Final = Field("account", FieldType.ACCOUNT, "who may pay the sender")


# -- actions


def _set_words(fields: Mapping[str, Any], _words: Words) -> str:
    if fields["on"]:
        return "Take payments only from accounts that this account has named."
    return "Take payments from everybody again."


def _name_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Let {words.account(fields['account'])} pay this account."


def _withdraw_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"No longer let {words.account(fields['account'])} pay this account."


SET: Final = ActionType(
    name="accounts.setDepositAuth",
    fields=(Field("on", FieldType.INTEGER, "1: only from whom it named; 0: from all", high=1),),
    cost=60,
    words=_set_words,
)
PREAUTHORISE: Final = ActionType(
    name="accounts.preauthorise", fields=(_PAYER,), cost=120, words=_name_words
)
WITHDRAW: Final = ActionType(
    name="accounts.withdrawPreauthorisation", fields=(_PAYER,), cost=120, words=_withdraw_words
)


def _set(context: Context, values: Sequence[Any]) -> None:
    account = context.sender
    before = context.account_flags(account)
    after = before & ~ACCOUNT_DEPOSIT_AUTH | ACCOUNT_DEPOSIT_AUTH * values[0]
    if after == before:
        raise context.refuse("accounts.sameDepositAuth", account)
    context.set_account_flags(account, after)
    context.emit("accounts.depositAuthSet", (account,), values[0])


def _preauthorise(context: Context, values: Sequence[Any]) -> None:
    account, payer = context.sender, values[0]
    if payer == account:
        raise context.refuse("accounts.payerSelf", account)
    context.key_of(payer)  # Who may pay and is no account yet is a mistyped one.
    place = listed_key(account, PAYER, payer)
    if context.get(place) is not None:
        raise context.refuse("accounts.payerNamed", payer, account)
    count = count_at(context.get, payers_key(account))
    if count >= PAYERS_MAX:
        raise context.refuse("accounts.payersFull", account, PAYERS_MAX)
    context.put(place, LISTED)
    context.put(payers_key(account), pack(count + 1))
    context.emit("accounts.preauthorised", (account, payer))


def _withdraw(context: Context, values: Sequence[Any]) -> None:
    account, payer = context.sender, values[0]
    place = listed_key(account, PAYER, payer)
    if context.get(place) is None:
        raise context.refuse("accounts.payerNotNamed", payer, account)
    context.delete(place)
    left = count_at(context.get, payers_key(account)) - 1
    if left:
        context.put(payers_key(account), pack(left))
    else:
        context.delete(payers_key(account))
    context.emit("accounts.preauthorisationWithdrawn", (account, payer))


# -- what payments ask


def on_transfer(context: Context, movement: Movement) -> Verdict:
    """Refuse a payment to an account that did not name its payer; others cost no look at state.

    The flag stands in the account's record, which a payment reads anyway.
    """
    _, source, target, _, purpose, _ = movement
    if not context.account_flags(target) & ACCOUNT_DEPOSIT_AUTH:
        return ALLOW
    if purpose == RELEASE or source == target:
        return ALLOW
    if context.get(listed_key(target, PAYER, source)) is not None:
        return _ALLOWED
    return Verdict(VerdictKind.DENY, "accounts.depositAuth", RULE_VERSION, (target, source))


_ALLOWED: Final = Verdict(VerdictKind.ALLOW, "accounts.depositAuth", RULE_VERSION)


# -- queries


def list_payers(reader: StateReader, account: bytes, limit: int, after: bytes = b"") -> list[bytes]:
    """Return up to `limit` accounts that may pay an account, ascending, from after one of them."""
    prefix = listing(account, PAYER)
    rows = reader.ordered(TREE, prefix, limit, after=prefix + after if after else b"")
    return [key[len(prefix) :] for key, _ in rows]


def payers_match(reader: StateReader) -> str | None:
    """Check that the number of those who may pay an account is that of its list."""
    counted: dict[bytes, int] = {}
    for account, _ in all_listed(reader, PAYER):
        counted[account] = counted.get(account, 0) + 1
    for account, count in counted.items():
        if count_at(lambda key: reader.get(TREE, key), payers_key(account)) != count:
            return f"{count} may pay {account_text(account)}, its count is another"
    return None


ACTIONS: Final[tuple[ActionType, ...]] = (SET, PREAUTHORISE, WITHDRAW)
HANDLERS: Final[Mapping[str, Handler]] = {
    SET.name: _set,
    PREAUTHORISE.name: _preauthorise,
    WITHDRAW.name: _withdraw,
}
RULES: Final[Mapping[str, Rule]] = {
    "accounts.depositAuth": Rule(
        Code.NOT_AUTHORISED,
        "{0:account} takes payments only from accounts that it named; {1:account} is none.",
    ),
    "accounts.sameDepositAuth": Rule(
        Code.DUPLICATE, "{0:account} has said that about payments to it already."
    ),
    "accounts.payerSelf": Rule(Code.MALFORMED, "{0:account} need not name itself."),
    "accounts.payerNamed": Rule(Code.DUPLICATE, "{0:account} may pay {1:account} already."),
    "accounts.payerNotNamed": Rule(
        Code.NOT_FOUND, "{0:account} is not among those who may pay {1:account}."
    ),
    "accounts.payersFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has named {1:number} payers, the most allowed."
    ),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.depositAuthSet": ("on",),
    "accounts.preauthorised": (),
    "accounts.preauthorisationWithdrawn": (),
}
QUERIES: Final[Mapping[str, Query]] = {"payers": list_payers}
INVARIANTS: Final[tuple[Callable[[StateReader], str | None], ...]] = (payers_match,)
