"""What somebody wants to pay, and what it would be if it were paid now. Values only.

An `Intent` is one payment; several of them, as one transaction, are a tuple. A `Quote` is what a
person reads before saying yes, or a program before it goes on: nothing in it is a promise of the
ledger, which judges again when the payment is in a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from clawpurse.ledger.errors import Code
from clawpurse.wallet.builder import ChainTerms
from clawpurse.wallet.guardrails import Verdict


@dataclass(frozen=True)
class Intent:
    """One payment as it is wanted, `amount` and `fee` in minor units.

    `fee` is what `account` pays for the transaction, in the native asset: 0 when a sponsor does,
    and in all but the first payment of a batch. `memo` is public.
    """

    account: bytes
    recipient: bytes
    asset: str
    amount: int
    memo: str = ""
    fee: int = 0


@dataclass(frozen=True)
class Payer:
    """Whose money it is and which key signs: `public_key` is the key whose guardrails judge.

    `session_key` is that key when it signs for somebody else's `account`; `lanes` are those that
    may be used, None for any; `sponsor` pays the fee, if it is not `account`.
    """

    account: bytes
    public_key: bytes
    lanes: tuple[int, ...] | None = None
    session_key: bytes | None = None
    sponsor: bytes | None = None


class Outlook(StrEnum):
    """What the ledger would do with a payment now."""

    PAID = "paid"
    HELD = "held"
    REFUSED = "refused"


@dataclass(frozen=True)
class Quote:
    """A payment as it would be now. Amounts in minor units; `decimals` and `left` by asset.

    `strangers` are recipients that never received anything on this network. `rule` is what holds
    or refuses, `code` and `reason` why, of `rules` that were asked; `guardrails` is this wallet's
    own verdict.
    """

    payer: Payer
    intents: tuple[Intent, ...]
    terms: ChainTerms
    fee: int
    decimals: Mapping[str, int]
    left: Mapping[str, int]
    strangers: frozenset[bytes]
    outlook: Outlook
    guardrails: Verdict
    rule: str | None = None
    code: Code = Code.OK
    reason: str | None = None
    rules: int = 0
