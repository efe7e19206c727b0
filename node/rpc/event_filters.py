"""Filters of the final topics: what they take, and whether an event or transaction matches.

A filter never changes what an event says or where it stands: the filtered stream is the stream
without what does not match, with the same cursors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Code
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.node.chain import BlockView
from clawpurse.node.rpc.values import Account, Asset, code_label

# How the kinds of event begin that officers follow.
OFFICERS_FOLLOW: Final = ("compliance.", "kernel.held", "kernel.holdEnded")
# Events that change balances: at which place among their accounts the giver and the taker stand.
_MOVES: Final = {
    "assets.transferred": (0, 1),
    "assets.minted": (None, 0),
    "assets.burned": (0, None),
    "kernel.seized": (0, 1),
}
_KIND: Final = r"^[a-zA-Z][a-zA-Z0-9.]{0,63}$"


class _About(Params):
    """What filters of events have in common."""

    kind: str | None = Field(
        None, pattern=_KIND, description="How the kind begins: `assets.`, `kernel.held`"
    )
    asset: Asset | None = Field(None, description="Only what is about this asset")
    direction: Literal["in", "out"] | None = Field(
        None, description="Only changes of the account's balance: what it got, or gave"
    )


class EventFilter(_About):
    """Filter of `events`."""

    account: Account | None = Field(None, description="Only what touches this account")

    @model_validator(mode="after")
    def _needs_account(self) -> Self:
        _check(self.direction, self.account)
        return self


class AccountFilter(_About):
    """Filter of `account`."""

    account: Account = Field(description="Whose events")


class AssetFilter(_About):
    """Filter of `asset`."""

    asset: Asset = Field(description="Which asset's events")
    account: Account | None = Field(None, description="Only what touches this account")

    @model_validator(mode="after")
    def _needs_account(self) -> Self:
        _check(self.direction, self.account)
        return self


class ComplianceFilter(Params):
    """Filter of `compliance`."""

    kind: str | None = Field(None, pattern=_KIND, description="How the kind begins")
    asset: Asset | None = Field(None, description="Only what is about this asset")
    account: Account | None = Field(None, description="Only what touches this account")


class BlockFilter(Params):
    """Filter of `blocks`."""

    non_empty: bool = Field(False, description="Only blocks with transactions")


class TransactionFilter(Params):
    """Filter of `transactions`."""

    account: Account | None = Field(None, description="Only those that this account took part in")
    direction: Literal["in", "out"] | None = Field(
        None, description="`out`: the account is sender or payer; `in`: it is neither"
    )
    asset: Asset | None = Field(None, description="Only those with an event about this asset")
    kind: str | None = Field(
        None, pattern=_KIND, description="Only those with an event whose kind begins so"
    )
    action: str | None = Field(
        None, pattern=_KIND, description="Only those with an action whose name begins so"
    )
    failed: bool | None = Field(None, description="true: only failed ones; false: only others")
    code: str | None = Field(
        None, max_length=64, description="Only those whose receipt has this code, such as `frozen`"
    )

    @model_validator(mode="after")
    def _needs_account(self) -> Self:
        _check(self.direction, self.account)
        return self


class Wanted(NamedTuple):
    """What is asked of an event, whichever topic's filter asks."""

    kind: tuple[str, ...] | None
    account: bytes | None
    asset: str | None
    direction: str | None


class EventJudge:
    """Tells which events match. `marks` are bytes that stand in every packed event that does."""

    def __init__(self, wanted: Wanted, registry: Registry) -> None:
        self._wanted = wanted
        self._registry = registry
        marks = [wanted.account] if wanted.account is not None else []
        if wanted.asset is not None:
            marks.append(wanted.asset.encode("ascii"))
        self._marks = tuple(marks)
        self._kinds = tuple(kind.encode("ascii") for kind in wanted.kind or ())

    def read(self, packed: bytes) -> Event | None:
        """Return the event if it matches; what cannot match is not even decoded."""
        for mark in self._marks:
            if mark not in packed:
                return None
        # The kind stands in an event as it is.
        if self._kinds and not any(kind in packed for kind in self._kinds):
            return None
        event = Event.unpack(packed)
        return event if self.matches(event) else None

    def matches(self, event: Event) -> bool:
        """Tell whether an event matches."""
        wanted = self._wanted
        if wanted.kind is not None and not event.kind.startswith(wanted.kind):
            return False
        if wanted.account is not None and wanted.account not in event.accounts:
            return False
        if wanted.asset is not None and event_asset(event, self._registry) != wanted.asset:
            return False
        return wanted.direction is None or _moves(event, wanted.account, wanted.direction)


class TransactionJudge:
    """Tells which transactions of a block match."""

    def __init__(self, wanted: TransactionFilter, registry: Registry) -> None:
        self._wanted = wanted
        self._registry = registry

    def matches(self, view: BlockView, index: int) -> bool:
        """Tell whether the transaction at a place of a block matches."""
        wanted = self._wanted
        receipt = Receipt.unpack(view.receipts[index])
        if wanted.failed is not None and wanted.failed == (receipt.code == Code.OK):
            return False
        if wanted.code is not None and code_label(receipt.code) != wanted.code:
            return False
        events = view.events[receipt.first_event : receipt.first_event + receipt.event_count]
        if wanted.asset is not None and not self._any(
            events, Wanted(None, None, wanted.asset, None)
        ):
            return False
        if wanted.kind is not None and not self._any(
            events, Wanted((wanted.kind,), None, None, None)
        ):
            return False
        raw = view.block.transactions[index]
        if wanted.action is not None:
            names = [action.name for action in decode_transaction(raw).body.actions]
            if not any(name.startswith(wanted.action) for name in names):
                return False
        return wanted.account is None or self._takes_part(events, raw, wanted.account)

    def _any(self, events: Sequence[bytes], wanted: Wanted) -> bool:
        judge = EventJudge(wanted, self._registry)
        return any(judge.read(packed) is not None for packed in events)

    def _takes_part(self, events: Sequence[bytes], raw: bytes, account: bytes) -> bool:
        """Tell whether an account is sender, payer, or in an event of a transaction."""
        pays = False
        if account in raw:
            body = decode_transaction(raw).body
            pays = account in (body.sender, body.payer)
        if self._wanted.direction == "out":
            return pays
        if self._wanted.direction == "in" and pays:
            return False
        return pays or self._any(events, Wanted(None, account, None, None))


def event_asset(event: Event, registry: Registry) -> str | None:
    """Return which asset an event is about: the field of that name; None for none."""
    names = registry.events.get(event.kind, ())
    if "asset" not in names:
        return None
    place = names.index("asset")
    value = event.data[place] if place < len(event.data) else None
    return value if isinstance(value, str) else None


def _moves(event: Event, account: bytes | None, direction: str) -> bool:
    giver, taker = _MOVES.get(event.kind, (None, None))
    place = taker if direction == "in" else giver
    return place is not None and place < len(event.accounts) and event.accounts[place] == account


def _check(direction: str | None, account: bytes | None) -> None:
    if direction is not None and account is None:
        raise ValueError("a direction is an account's: name the account")
