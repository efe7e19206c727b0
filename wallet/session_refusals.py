"""Which limits of a session key a payment exceeds on the ledger, and when they are whole again.

The ledger names one rule and says it in a sentence. A program wants all limits at once, in the
form of this wallet's own refusals: they are worked out from what `session_get` answers, whose
sums are of final blocks. The ledger's verdict stands; this says only what to ask for instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import PeerError
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.wallet.guardrails import Paying, Refusal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def session_refusals(
    found: Mapping[str, Any], payments: Sequence[Paying], look: str
) -> tuple[Refusal, ...]:
    """Return what `payments`, as one transaction, exceed of a session, as `session_get` tells it.

    `look` is the command that shows the session. Fees count in the native asset, as on the ledger.
    Raises `PeerError` when the answer is not what it should be.
    """
    try:
        return (*_caps(found, payments, look), *_others(found, payments, look))
    except (KeyError, TypeError, ValueError) as err:
        raise PeerError(f"session_get answered what is no session: {err}") from err


def _caps(found: Mapping[str, Any], payments: Sequence[Paying], look: str) -> list[Refusal]:
    taken: dict[str, int] = {}
    for one in payments:
        for asset, amount in ((one.asset, one.amount), (NATIVE_ASSET, one.fee)):
            if amount:
                taken[asset] = taken.get(asset, 0) + amount
    caps = {cap["asset"]: cap for cap in found["caps"]}
    resets_ms = _milliseconds(found["dayEnds"])
    refusals = []
    for asset, asked in sorted(taken.items()):
        cap = caps.get(asset)
        if cap is None:
            refusals.append(Refusal("sessionAsset", asset, 0, asked, 0, None, look))
            continue
        decimals, spent = cap["decimals"] or 0, int(cap["spentToday"])
        once, daily = int(cap["perTransaction"]), int(cap["perDay"])
        if asked > once:
            limit = "sessionPerTransaction"
            refusals.append(Refusal(limit, asset, once, asked, spent, None, look, decimals))
        if asked > int(cap["leftToday"]):
            # Waiting helps only who asks for no more than a day's worth.
            resets = resets_ms if asked <= daily else None
            limit = "sessionPerDay"
            refusals.append(Refusal(limit, asset, daily, asked, spent, resets, look, decimals))
    return refusals


def _others(found: Mapping[str, Any], payments: Sequence[Paying], look: str) -> list[Refusal]:
    allowed, begins = found["recipients"], bytes.fromhex(found["memo"].removeprefix("0x"))
    decimals = {cap["asset"]: cap["decimals"] or 0 for cap in found["caps"]}
    refusals = []
    for one in payments:
        facts = (one.asset, 0, one.amount, 0, None, look, decimals.get(one.asset, 0), one.recipient)
        if allowed and account_text(one.recipient) not in allowed:
            refusals.append(Refusal("sessionRecipient", *facts))
        memo = one.memo.encode()
        if (found["memoRequired"] and not memo) or not memo.startswith(begins):
            refusals.append(Refusal("sessionMemo", *facts))
    return refusals


def _milliseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
