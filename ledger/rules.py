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

    Facts are rendered by their kind: `{0:account}`, `{1:amount}` (in units of the fact that is
    rendered as `asset`), `{2:asset}`, `{3:number}`, `{4:hash}`, `{5:time}`.
    """

    code: Code
    sentence: str


KERNEL_RULES: Final[Mapping[str, Rule]] = {
    "kernel.chain": Rule(Code.WRONG_CHAIN, "Signed for {0:asset}, this is another network."),
    "kernel.expired": Rule(Code.EXPIRED, "Valid until {0:number} ms, block time is {1:number} ms."),
    "kernel.height": Rule(Code.EXPIRED, "Valid up to height {0:number}, the next is {1:number}."),
    "kernel.validity": Rule(
        Code.MALFORMED, "Valid until {0:number} ms, more than a day after {1:number} ms."
    ),
    "kernel.sender": Rule(Code.NOT_FOUND, "{0:account} is not an account yet."),
    "kernel.key": Rule(Code.NOT_AUTHORISED, "That key may not sign for {0:account}."),
    "kernel.witness": Rule(
        Code.BAD_SIGNATURE, "The signatures are not those this needs for {0:account}."
    ),
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
    "kernel.action": Rule(Code.MALFORMED, "There is no action {0:asset} on this chain."),
    "kernel.hold": Rule(
        Code.POLICY_REJECTED, "A rule would hold one payment of several; send it alone."
    ),
    "kernel.holdMissing": Rule(Code.NOT_FOUND, "There is no hold {0:hash}."),
    "kernel.policy": Rule(Code.POLICY_REJECTED, "A rule refused the payment."),
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
    """Return a rule's sentence with its facts filled in.

    `decimals_of` gives an asset's decimals, so that amounts read as people write them; without
    it they are minor units. Facts that do not fit the sentence are shown as they are, because
    a receipt must always be printable.
    """
    decimals = None
    if decimals_of is not None:
        asset = _asset_fact(rule.sentence, facts)
        decimals = decimals_of(asset) if asset is not None else None
    text = rule.sentence
    for index, fact in enumerate(facts):
        for kind in ("account", "amount", "asset", "number", "hash"):
            slot = f"{{{index}:{kind}}}"
            if slot in text:
                text = text.replace(slot, _fact_text(kind, fact, decimals))
    return text


def _asset_fact(text: str, facts: Sequence[Wire]) -> str | None:
    for index, fact in enumerate(facts):
        if f"{{{index}:asset}}" in text and isinstance(fact, str):
            return fact
    return None


def _fact_text(kind: str, fact: Wire, decimals: int | None) -> str:
    if kind == "account" and isinstance(fact, bytes) and len(fact) == 32:
        return account_text(fact)
    if kind == "hash" and isinstance(fact, bytes):
        return "0x" + fact.hex()
    if kind == "amount" and isinstance(fact, int) and decimals:
        whole, minor = divmod(fact, 10**decimals)
        return f"{whole:,}.{minor:0{decimals}d}"
    return str(fact)
