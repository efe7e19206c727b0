"""Every way in which the ledger refuses: rule → code, and the sentence for people.

Receipts carry a rule and its facts, never prose, so that wording may change without a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Code, Refused


class Rule(NamedTuple):
    """What a refusal means: its code and a sentence over its facts.

    Facts are rendered by their kind (`FACT_KINDS`): `{0:account}`, `{1:amount}` (in units of the
    fact that is rendered as `asset`), `{2:asset}`, `{3:number}`, `{4:hash}`, `{5:time}` (a time
    in ms, shown as RFC 3339), `{6:text}`.
    """

    code: Code
    sentence: str


FACT_KINDS: Final = ("account", "amount", "asset", "number", "hash", "time", "text")

KERNEL_RULES: Final[Mapping[str, Rule]] = {
    "kernel.chain": Rule(Code.WRONG_CHAIN, "Signed for {0:text}, this is another network."),
    "kernel.expired": Rule(Code.EXPIRED, "Valid until {0:time}, block time is {1:time}."),
    "kernel.height": Rule(Code.EXPIRED, "Valid up to height {0:number}, the next is {1:number}."),
    "kernel.validity": Rule(Code.MALFORMED, "Valid until {0:time}, too long after {1:time}."),
    "kernel.sender": Rule(Code.NOT_FOUND, "{0:account} is not an account yet."),
    "kernel.key": Rule(Code.NOT_AUTHORISED, "That key may not sign for {0:account}."),
    "kernel.sequenceLow": Rule(
        Code.SEQUENCE_LOW, "Sequence {0:number} of that lane is used; next is {1:number}."
    ),
    "kernel.sequenceGap": Rule(
        Code.SEQUENCE_GAP, "Sequence {0:number} is ahead; next is {1:number}."
    ),
    "kernel.quota": Rule(
        Code.QUOTA_EXCEEDED, "Costs {0:number}, {1:number} of its quota is left in this window."
    ),
    "kernel.fee": Rule(
        Code.INSUFFICIENT_FUNDS, "The fee is {0:amount} {2:asset}, the minimum {1:amount}."
    ),
    "kernel.feeFunds": Rule(
        Code.INSUFFICIENT_FUNDS,
        "{0:account} has {1:amount} {3:asset}, the fee is {2:amount}.",
    ),
    "kernel.balance": Rule(
        Code.INSUFFICIENT_FUNDS,
        "{0:account} has {1:amount} {3:asset}, needs {2:amount}.",
    ),
    "kernel.amount": Rule(Code.MALFORMED, "An amount must be at least one minor unit."),
    "kernel.overflow": Rule(Code.LIMIT_EXCEEDED, "{0:account} cannot hold that much {1:asset}."),
    "kernel.asset": Rule(Code.NOT_FOUND, "There is no asset {0:asset}."),
    "kernel.duplicateKey": Rule(
        Code.DUPLICATE, "That idempotency key was used by {0:hash} at height {1:number}."
    ),
    "kernel.keysFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} idempotency keys, the most allowed."
    ),
    "kernel.dueFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} things scheduled, the most allowed."
    ),
    "kernel.cost": Rule(
        Code.LIMIT_EXCEEDED, "Costs {0:number}, more than a block may ({1:number})."
    ),
    "kernel.blockFull": Rule(
        Code.LIMIT_EXCEEDED, "Costs {0:number}, {1:number} is left in this block."
    ),
    "kernel.dueTime": Rule(Code.MALFORMED, "Nothing can be scheduled for that time."),
    "kernel.action": Rule(Code.MALFORMED, "There is no action {0:text} on this chain."),
    "kernel.hold": Rule(
        Code.POLICY_REJECTED, "A rule would hold one payment of several; send it alone."
    ),
    "kernel.holdMissing": Rule(Code.NOT_FOUND, "There is no hold {0:hash}."),
    "kernel.policy": Rule(Code.POLICY_REJECTED, "A rule refused the payment."),
    "kernel.role": Rule(
        Code.NOT_AUTHORISED, "{0:account} lacks the role {1:text}, which {2:text} asks for."
    ),
    "kernel.oneChange": Rule(
        Code.LIMIT_EXCEEDED, "The authorities change at height {0:number} already; one at a time."
    ),
    "kernel.permissionsFull": Rule(
        Code.LIMIT_EXCEEDED, "At most {0:number} actions can ask for a role."
    ),
    "kernel.threshold": Rule(
        Code.APPROVAL_REQUIRED,
        "The signatures for {0:account} weigh {1:number}, {2:number} are needed.",
    ),
    "kernel.sessionExpired": Rule(
        Code.EXPIRED, "That session key of {0:account} ended at {1:time}."
    ),
    "kernel.sessionLane": Rule(
        Code.NOT_AUTHORISED, "Lane {1:number} of {0:account} is not that session key's."
    ),
    "kernel.sessionAction": Rule(
        Code.NOT_AUTHORISED, "That session key of {0:account} may not perform {1:text}."
    ),
    "kernel.sessionNoMemo": Rule(
        Code.NOT_AUTHORISED, "That session key of {0:account} must write a memo."
    ),
    "kernel.sessionMemo": Rule(
        Code.NOT_AUTHORISED,
        "That session key of {0:account} needs a memo that begins with {1:hash}.",
    ),
    "kernel.sessionAsset": Rule(
        Code.QUOTA_EXCEEDED, "That session key of {0:account} may take nothing of {1:asset}."
    ),
    "kernel.sessionRecipient": Rule(
        Code.NOT_AUTHORISED, "That session key of {0:account} may not pay {1:account}."
    ),
    "kernel.sessionPayment": Rule(
        Code.QUOTA_EXCEEDED,
        "That session key of {0:account} may take {2:amount} {3:asset} at once, fee included;"
        " this takes {1:amount}.",
    ),
    "kernel.sessionDay": Rule(
        Code.QUOTA_EXCEEDED,
        "That session key of {0:account} may take {2:amount} {3:asset} more until {4:time};"
        " this takes {1:amount}.",
    ),
    "kernel.sponsor": Rule(
        Code.NOT_AUTHORISED, "{0:account} did not sign and does not sponsor {1:account}."
    ),
    "kernel.sponsorAction": Rule(Code.NOT_AUTHORISED, "{0:account} does not sponsor {1:text}."),
    "kernel.sponsorFee": Rule(
        Code.QUOTA_EXCEEDED, "{0:account} pays fees up to {2:amount} {3:asset}, not {1:amount}."
    ),
    "kernel.sponsorDay": Rule(
        Code.QUOTA_EXCEEDED,
        "{0:account} pays {2:amount} {3:asset} more of fees until {4:time}; the fee is {1:amount}.",
    ),
    "kernel.sponsorSpent": Rule(
        Code.QUOTA_EXCEEDED,
        "Of the sponsorship by {0:account}, {2:amount} {3:asset} is left for ever; the fee is"
        " {1:amount}.",
    ),
    "kernel.holdLess": Rule(
        Code.INSUFFICIENT_FUNDS, "The hold {0:hash} has {1:amount} {3:asset} left, not {2:amount}."
    ),
    "kernel.nested": Rule(Code.MALFORMED, "An action within another one is wrong: {0:text}."),
    "kernel.nestedSigners": Rule(
        Code.MALFORMED, "Within another action {0:text} cannot have the signatures that it needs."
    ),
    "kernel.accountExists": Rule(Code.DUPLICATE, "{0:account} is an account already."),
}


def refuse(rule: str, *facts: Wire, table: Mapping[str, Rule] = KERNEL_RULES) -> Refused:
    """Return the error for a rule with its facts; to be raised by the caller."""
    found = table.get(rule)
    if found is None:
        raise Bug(f"rule {rule} is not in its table")
    return Refused(found.code, sentence(found, facts), rule=rule, wire_facts=facts)


def sentence(
    rule: Rule, facts: Sequence[Wire], decimals_of: Callable[[str], int] | None = None
) -> str:
    """Return a rule's sentence with its facts filled in, whatever they are.

    `decimals_of` gives an asset's decimals, so that amounts read as people write them; without
    it they are minor units. Facts that do not fit the sentence are shown as they are, because
    a receipt must always be printable.
    """
    parts = [_split_slot(part) for part in rule.sentence.split("{")[1:]]
    decimals = None
    if decimals_of is not None and any(kind == "amount" for _, kind, _ in parts):
        for index, kind, _ in parts:
            if kind == "asset" and index < len(facts):
                decimals = decimals_of(str(facts[index]))
    shown = [
        (_fact_text(kind, facts[index], decimals) if index < len(facts) else "?") + rest
        for index, kind, rest in parts
    ]
    return rule.sentence.split("{", 1)[0] + "".join(shown)


def _split_slot(part: str) -> tuple[int, str, str]:
    """Split `0:account} is …` into index, kind and the text that follows."""
    slot, _, rest = part.partition("}")
    index, _, kind = slot.partition(":")
    if kind not in FACT_KINDS:
        raise Bug(f"a rule's sentence has the unknown kind of fact {kind!r}")
    return int(index), kind, rest


def _fact_text(kind: str, fact: Wire, decimals: int | None) -> str:
    if isinstance(fact, bytes):
        return account_text(fact) if kind == "account" and len(fact) == 32 else "0x" + fact.hex()
    if type(fact) is int and kind == "amount" and decimals is not None:
        whole, minor = divmod(fact, 10**decimals)
        return f"{whole:,}.{minor:0{decimals}d}" if decimals else f"{whole:,}"
    if type(fact) is int and kind == "time":
        return time_text(fact)
    return str(fact)


def time_text(time_ms: int) -> str:
    """Return `time_ms` (ms since 1970, UTC, not negative) as RFC 3339 text.

    Integers only, and any size: the days are split into eras of 400 years that begin on the
    first of March, so that the leap day ends its year.
    """
    days, ms = divmod(time_ms, 86_400_000)
    era, day_of_era = divmod(days + 719_468, 146_097)
    leaps = day_of_era // 1_460 - day_of_era // 36_524 + day_of_era // 146_096
    year_of_era = (day_of_era - leaps) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = era * 400 + year_of_era + (month <= 2)
    minutes, ms = divmod(ms, 60_000)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1_000:02}.{ms % 1_000:03}"
    return f"{year:04}-{month:02}-{day:02}T{clock}Z"
