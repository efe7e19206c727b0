"""What follows from an audit bundle, and what does not: how much of a story is surely there.

A bundle proves each thing in it. That nothing was left out is another matter:

- A range of whole blocks leaves nothing out: blocks name their parents, headers commit to
  complete lists.
- Whatever an account sends takes the next sequence of a lane, and its record says where each
  lane stands. So sequences 0 … n − 1 of each lane, with a record proven after block h that says
  n, are all that the account sent up to block h. Gaps say what is missing.
- Mints and burns of an asset make its supply: if those shown add up to the supply proven after
  block h, then what is missing, if anything, cancels out.
- Nothing else: what others did to an account, and what became due, is in no list of the account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from clawpurse.ledger.blocks import Event
from clawpurse.ledger.kernel.records import (
    Account,
    account_key,
    supply_key,
    unpack_supply,
)
from clawpurse.ledger.module_api import KERNEL, Registry
from clawpurse.wallet.bundles import Story

# Gaps named one by one; more are counted.
_GAPS_NAMED: Final = 5
_MADE: Final = "assets.minted"
_UNMADE: Final = "assets.burned"


class Sent(NamedTuple):
    """What a bundle shows of all that an account sent.

    `up_to` is the height after which its record is proven, None for no such proof; `missing`
    are (lane, sequence) that are surely its and not here, the first few, of `missing_count`.
    """

    account: bytes
    shown: int
    up_to: int | None
    missing: tuple[tuple[int, int], ...]
    missing_count: int

    @property
    def complete(self) -> bool:
        """Whether everything that it sent up to `up_to` is here."""
        return self.up_to is not None and not self.missing_count


class Claims(NamedTuple):
    """Sentences: what is proven of completeness, what is not; and for each account in numbers."""

    proven: tuple[str, ...]
    unproven: tuple[str, ...]
    sent: tuple[Sent, ...]


def asset_reader(registry: Registry) -> Callable[[Event], str | None]:
    """Return a function that tells which asset an event is about, None for none."""
    places = {
        kind: names.index("asset") for kind, names in registry.events.items() if "asset" in names
    }

    def asset_of(event: Event) -> str | None:
        place = places.get(event.kind)
        if place is None or place >= len(event.data):
            return None
        value = event.data[place]
        return value if isinstance(value, str) else None

    return asset_of


def claims_of(story: Story, registry: Registry, name: Callable[[bytes], str]) -> Claims:
    """Return what a proven story shows of completeness; `name` shows accounts."""
    proven: list[str] = []
    unproven: list[str] = []
    sent: list[Sent] = []
    scope = story.scope
    match scope.kind:
        case "heights":
            first, last = scope.heights
            proven.append(
                f"Blocks {first} to {last} are here whole: no transaction, receipt, event or "
                "evidence of them was left out."
            )
        case "accounts":
            for account in scope.accounts:
                one = sent_by(story, account)
                sent.append(one)
                (proven if one.complete else unproven).append(_sent_words(one, name(account)))
            unproven.append(
                "That everything is here that others did to these accounts (payments to them, fees "
                "that they paid for others, what became due): no list of the chain is kept by "
                "account. A bundle of all blocks (--heights 1:N) proves that."
            )
        case "asset":
            (proven if (said := _supply(story, registry)) else unproven).append(
                said or f"That the mints and burns of {scope.asset} here are all there were."
            )
            unproven.append(
                f"That every movement of {scope.asset} is here (a transaction that failed moved "
                "nothing and is no part of it). A bundle of all blocks (--heights 1:N) proves that."
            )
        case _:
            unproven.append("That these are all transactions of anybody: they were picked by id.")
    unproven.append(
        "Who stands behind an account, beyond what attestations in the bundle say; and whether a "
        "quorum of authorities also signed other blocks: clawpurse light verify compares nodes."
    )
    return Claims(tuple(proven), tuple(unproven), tuple(sent))


def sent_by(story: Story, account: bytes) -> Sent:
    """Compare the sequences that an account used with where its lanes stand."""
    used: dict[int, set[int]] = {}
    for _, one in story.transactions:
        body = one.transaction.body
        if body.sender == account:
            used.setdefault(body.lane, set()).add(body.sequence)
    key = account_key(account)
    records = [s for s in story.state if (s.module, s.key) == (KERNEL, key)]
    up_to = records[-1].height if records else None
    lanes = {lane: max(sequences) + 1 for lane, sequences in used.items()}
    if records and records[-1].value is not None:
        record = Account.unpack(records[-1].value)
        for lane in range(len(record.lanes) // 8):
            lanes[lane] = max(lanes.get(lane, 0), record.sequence(lane))
    missing: list[tuple[int, int]] = []
    count = 0
    for lane, end in sorted(lanes.items()):
        have = used.get(lane, set())
        # A record may say 2^60: looked at are no more places than can decide what is named.
        count += end - len(have)
        for sequence in range(min(end, len(have) + _GAPS_NAMED)):
            if sequence not in have and len(missing) < _GAPS_NAMED:
                missing.append((lane, sequence))
    return Sent(account, sum(map(len, used.values())), up_to, tuple(missing), count)


def _sent_words(one: Sent, name: str) -> str:
    if one.complete:
        if not one.shown:
            return f"{name} sent nothing up to block {one.up_to}: its record shows it."
        return (
            f"All that {name} sent up to block {one.up_to} is here ({one.shown}): its sequences "
            "have no gap and end where its record does."
        )
    if one.missing_count:
        named = ", ".join(f"{sequence} of lane {lane}" for lane, sequence in one.missing)
        more = " and more" if one.missing_count > len(one.missing) else ""
        return (
            f"All that {name} sent: {one.missing_count} of its transactions are NOT here "
            f"(sequence {named}{more})."
        )
    return (
        f"That {name} sent no more after the last of these {one.shown}: nothing here proves its "
        "record. Their sequences have no gap."
    )


def _supply(story: Story, registry: Registry) -> str:
    """Return a sentence if mints and burns shown make the supply that is proven."""
    asset = story.scope.asset
    found = [s for s in story.state if (s.module, s.key) == (KERNEL, supply_key(asset))]
    if not found:
        return ""
    height, value = found[-1].height, found[-1].value
    end = 0 if value is None else unpack_supply(value)
    made = sum(
        amount
        for entry in story.genesis.accounts
        for name, amount in entry.balances
        if name == asset
    )
    asset_of = asset_reader(registry)
    for block in story.blocks:
        if block.header.height > height:
            continue
        events = [*block.due, *(event for one in block.transactions for event in one.events)]
        for event in events:
            if event.kind in (_MADE, _UNMADE) and asset_of(event) == asset:
                amount: Any = event.data[registry.events[event.kind].index("amount")]
                made += amount if event.kind == _MADE else -amount
    if made != end:
        return ""
    return (
        f"The mints and burns of {asset} here make its supply after block {height}: any that is "
        "missing is undone by another that is missing."
    )
