"""What an audit bundle tells, in words and as JSON: who did what when, and what came of it.

Nothing of the bundle is printed raw: memos and texts come escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Event, Header
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import Account, Balance, unpack_supply
from clawpurse.ledger.module_api import KERNEL, Registry, Words
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.modules.assets.records import TREE as ASSETS_TREE
from clawpurse.modules.assets.records import asset_key, get_asset
from clawpurse.wallet.bundle_claims import Claims, asset_reader
from clawpurse.wallet.bundles import ProvenState, ProvenTransaction, Story, scope_json
from clawpurse.wallet.describe import action_words, memo_words, printable, words_for
from clawpurse.wallet.receipts import VERDICTS, code_name, event_json, reason_of, receipt_json

# What a rule said, as people say it.
_VERDICT_WORDS: Final = {"allow": "allows it", "hold": "holds it", "deny": "refuses it"}
_HELD: Final = "kernel.held"

Json = dict[str, Any]


class Row(NamedTuple):
    """One thing that happened."""

    height: int
    time: str
    who: str
    what: str
    result: str


class _Proven:
    """Proven state as a `StateReader`, for what reads records of modules."""

    def __init__(self, story: Story) -> None:
        self._values = {(one.module, one.key): one.value for one in story.state}

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return a proven value, None for one that is not there or not known."""
        return self._values.get((tree, key))

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return nothing: a bundle proves single keys."""
        return []


class Telling:
    """Words for one story. `label_of` gives a name for an account, None for none."""

    def __init__(
        self,
        story: Story,
        registry: Registry,
        label_of: Callable[[bytes], str | None] = lambda account: None,
    ) -> None:
        self._story = story
        self._registry = registry
        self._label_of = label_of
        self.decimals = _decimals(story)
        self._words: Words = words_for(self.decimals, label_of)

    def name(self, account: bytes) -> str:
        """Return how an account is called: its label, else its address."""
        return self._label_of(account) or account_text(account)

    def rows(self) -> list[Row]:
        """Return everything that happened, in order."""
        rows: list[Row] = []
        for block in self._story.blocks:
            height, time = block.header.height, time_text(block.header.time_ms)
            for event in block.due:
                rows.append(Row(height, time, "(due)", self._event_words(event), "done"))
            for one in block.transactions:
                who = self.name(one.transaction.body.sender)
                rows.append(Row(height, time, who, self._what(one), self._result(one)))
        return rows

    def _what(self, one: ProvenTransaction) -> str:
        body = one.transaction.body
        said = [
            action_words(action, self._registry, self._words)
            or f"{printable(action.name)} (this version does not know it)."
            for action in body.actions
        ]
        if body.memo:
            said.append(f"Memo {memo_words(body.memo)}.")
        return " ".join(said)

    def _result(self, one: ProvenTransaction) -> str:
        receipt = one.receipt
        if receipt.code != Code.OK:
            reason = reason_of(receipt, self._registry, self.decimals)
            said = f"refused ({code_name(receipt.code)}): {printable(reason or receipt.rule)}"
        elif any(event.kind == _HELD for event in one.events):
            said = "held by a rule"
        else:
            said = "done"
        trace = [
            f"{printable(rule)} version {version} {_VERDICT_WORDS[VERDICTS[verdict]]}"
            for rule, version, verdict in receipt.trace
        ]
        return f"{said} [{'; '.join(trace)}]" if trace else said

    def _event_words(self, event: Event) -> str:
        names = self._registry.events.get(event.kind, ())
        asset = asset_reader(self._registry)(event)
        parts = []
        for place, value in enumerate(event.data):
            name = names[place] if place < len(names) else str(place)
            if name == "amount" and asset is not None and isinstance(value, int):
                parts.append(f"{name} {self._words.amount(asset, value)}")
            elif name != "asset" or "amount" not in names:
                shown = f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
                parts.append(f"{name} {printable(shown)}")
        about = " and ".join(self.name(account) for account in event.accounts)
        return f"{printable(event.kind)} of {about or 'nobody'}: {', '.join(parts)}."

    def state_words(self, one: ProvenState) -> str:
        """Return a proven value of state in a sentence."""
        after = f"After block {one.height}"
        kind, rest = one.key[:1], one.key[1:]
        native = self._words.amount
        if one.module == KERNEL and kind == b"a" and len(rest) == 32:
            if one.value is None:
                return f"{after}, {self.name(rest)} was no account."
            account = Account.unpack(one.value)
            return (
                f"{after}, {self.name(rest)} had {native(NATIVE_ASSET, account.balance)}, "
                f"{native(NATIVE_ASSET, account.held)} held."
            )
        if one.module == KERNEL and kind == b"b" and len(rest) > 32:
            asset = rest[32:].decode("ascii", "replace")
            found = Balance(0, 0, 0) if one.value is None else Balance.unpack(one.value)
            return (
                f"{after}, {self.name(rest[:32])} had {native(asset, found.amount)}, "
                f"{native(asset, found.held)} held."
            )
        if one.module == KERNEL and kind == b"u":
            asset = rest.decode("ascii", "replace")
            supply = 0 if one.value is None else unpack_supply(one.value)
            return f"{after}, there were {native(asset, supply)} in all."
        shown = "nothing" if one.value is None else f"0x{one.value.hex()}"
        return f"{after}, {one.module} had at 0x{one.key.hex()}: {shown}."

    # -- for programs

    def as_json(self, claims: Claims) -> Json:
        """Return the whole story for programs."""
        story = self._story
        last = story.blocks[-1].header.height if story.blocks else None
        return {
            "chainId": story.genesis.chain_id,
            "genesisHash": f"0x{story.genesis.hash.hex()}",
            "scope": scope_json(story.scope, account_text),
            "blocks": len(story.blocks),
            "lastHeight": last,
            "transactions": [self._json(header, one) for header, one in story.transactions],
            "due": [
                {
                    **event_json(event, self._registry),
                    "height": block.header.height,
                    "words": self._event_words(event),
                }
                for block in story.blocks
                for event in block.due
            ],
            "state": [
                {
                    "height": one.height,
                    "module": one.module,
                    "key": f"0x{one.key.hex()}",
                    "value": None if one.value is None else f"0x{one.value.hex()}",
                    "words": self.state_words(one),
                }
                for one in story.state
            ],
            "completeness": {
                "proven": list(claims.proven),
                "notProven": list(claims.unproven),
                "sent": [
                    {
                        "account": account_text(one.account),
                        "complete": one.complete,
                        "shown": one.shown,
                        "upToHeight": one.up_to,
                        "missing": one.missing_count,
                    }
                    for one in claims.sent
                ],
            },
        }

    def _json(self, header: Header, one: ProvenTransaction) -> Json:
        body = one.transaction.body
        shown = receipt_json(
            one.receipt,
            one.events,
            height=header.height,
            index=one.place,
            time_ms=header.time_ms,
            registry=self._registry,
            decimals=self.decimals,
        )
        return {
            **shown,
            "sender": account_text(body.sender),
            "payer": None if body.payer is None else account_text(body.payer),
            "approvers": [
                account_text(entry.account) for entry in one.transaction.witness if entry.role == 2
            ],
            "words": self._what(one),
            "result": self._result(one),
        }


def _decimals(story: Story) -> Mapping[str, int]:
    """Return the decimals of genesis' assets and of those whose records are proven."""
    known = dict(story.genesis.decimals)
    reader = _Proven(story)
    for one in story.state:
        if one.module == ASSETS_TREE and one.key.isascii():
            name = one.key[1:].decode("ascii")
            found = get_asset(reader, name) if asset_key(name) == one.key else None
            if found is not None:
                known[name] = found.decimals
    return known
