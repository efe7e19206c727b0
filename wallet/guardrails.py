"""Guardrails: what a key of this wallet may pay without anybody else's word. Pure.

A policy caps a transaction and a day by asset, narrows both for single recipients, says what
happens to recipients that it does not know, and asks for memos. `judge` holds a payment against
it; the sums of the day come from the journal of what was signed (`outbox.py`), so that a payment
on its way counts. A day is UTC, ms div 86,400,000, as on the ledger, and fees count, as there.

These are rules of one wallet, for its person's slips and for programs that pay through it. Who
holds the key and signs with other software is not held by them: for that a policy becomes a
session key on the ledger (`guardrail_sessions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.wallet.amounts import amount_text, number_text

# As many as a home keeps contacts for, and far more assets than a session key takes (16).
RECIPIENTS_MAX: Final = 2_000
ASSETS_MAX: Final = 64
COSIGNERS_MAX: Final = 16
# What the ledger lets a session key's memo begin with, so that a policy can become one.
MEMO_BYTES_MAX: Final = 64
LABEL_CHARS_MAX: Final = 64
NOTES_CHARS_MAX: Final = 200
LOOK: Final = "clawpurse wallet guardrails"

K = TypeVar("K")


class Mode(StrEnum):
    """What comes of a payment beyond a limit: `enforce` refuses it, `allow` only says so."""

    ENFORCE = "enforce"
    ALLOW = "allow"


class Stance(StrEnum):
    """What happens to what a policy does not know, ascending by strictness."""

    ALLOW = "allow"
    CONFIRM = "confirm"
    REFUSE = "refuse"


class Paying(Protocol):
    """One payment as it is judged: `Intent` is one. Amounts and fee in minor units.

    `fee` is 0 when somebody else pays it.
    """

    @property
    def account(self) -> bytes: ...
    @property
    def recipient(self) -> bytes: ...
    @property
    def asset(self) -> str: ...
    @property
    def amount(self) -> int: ...
    @property
    def memo(self) -> str: ...
    @property
    def fee(self) -> int: ...


@dataclass(frozen=True)
class AssetRule:
    """Limits of one asset, minor units at `decimals`; None is no limit. At least 1 each."""

    asset: str
    decimals: int
    per_transaction: int | None = None
    per_day: int | None = None
    confirm_above: int | None = None

    def at_decimals(self, decimals: int) -> AssetRule:
        """Return the same limits of an asset that has other decimals, never looser ones."""
        if decimals == self.decimals:
            return self

        def scaled(limit: int | None) -> int | None:
            if limit is None:
                return None
            moved: int = limit * 10**decimals // 10**self.decimals
            return min(moved, U64_MAX)

        return AssetRule(
            self.asset,
            decimals,
            scaled(self.per_transaction),
            scaled(self.per_day),
            scaled(self.confirm_above),
        )


@dataclass(frozen=True)
class RecipientRule:
    """Somebody on the allowlist. `limits` narrow the policy's, they never widen them."""

    account: bytes
    label: str
    limits: tuple[AssetRule, ...] = ()
    memo_required: bool = False
    notes: str = ""

    def limit(self, asset: str) -> AssetRule | None:
        """Return what narrows payments of an asset to this recipient, None for nothing."""
        return next((one for one in self.limits if one.asset == asset), None)


@dataclass(frozen=True)
class Cosigner:
    """Whose word lifts a limit once: a name and the Ed25519 key that signs approvals."""

    label: str
    public_key: bytes


@dataclass(frozen=True)
class Policy:
    """What one key may pay. Recipients ascend by account, assets and co-signers by name.

    `unknown` is about recipients that are not listed, `other_assets` about assets without a
    rule. `memo_prefix` is how every memo must begin; with `memo_required` there must be one.
    """

    mode: Mode = Mode.ENFORCE
    assets: tuple[AssetRule, ...] = ()
    recipients: tuple[RecipientRule, ...] = ()
    unknown: Stance = Stance.CONFIRM
    other_assets: Stance = Stance.CONFIRM
    memo_required: bool = False
    memo_prefix: str = ""
    cosigners: tuple[Cosigner, ...] = ()

    def rule(self, asset: str) -> AssetRule | None:
        """Return the limits of an asset, None for one that the policy does not know."""
        return next((one for one in self.assets if one.asset == asset), None)

    def recipient(self, account: bytes) -> RecipientRule | None:
        """Return who is listed with that account, None for a stranger."""
        return next((one for one in self.recipients if one.account == account), None)

    def at_decimals(self, asset: str, decimals: int) -> Policy:
        """Return the policy for a network where `asset` has so many decimals.

        A policy can be written before any network was asked. Rounded down: never looser.
        """

        def moved(rules: tuple[AssetRule, ...]) -> tuple[AssetRule, ...]:
            return tuple(one.at_decimals(decimals) if one.asset == asset else one for one in rules)

        if any(one.decimals != decimals for one in self._rules_of(asset)):
            people = tuple(replace(one, limits=moved(one.limits)) for one in self.recipients)
            return replace(self, assets=moved(self.assets), recipients=people)
        return self

    def _rules_of(self, asset: str) -> list[AssetRule]:
        every = [*self.assets, *(one for who in self.recipients for one in who.limits)]
        return [one for one in every if one.asset == asset]


# What a key gets when nobody was asked, in units of the native asset with the two decimals that
# a network has unless its genesis says otherwise: the existing wallet's 1,000 at once and a
# question above 100, and five of the largest payments a day, which that wallet has no limit for.
DEFAULT_POLICY: Final = Policy(
    assets=(AssetRule(NATIVE_ASSET, 2, 1_000_00, 5_000_00, 100_00),),
)


@dataclass(frozen=True)
class Spent:
    """What left an account on the day that is judged, pending payments included.

    `assets` are sums by asset, fees in the native one; `recipients` sums by (account, asset),
    without fees. `latest_ms` is when the newest payment of the journal was signed.
    """

    assets: Mapping[str, int] = field(default_factory=dict)
    recipients: Mapping[tuple[bytes, str], int] = field(default_factory=dict)
    latest_ms: int = 0


@dataclass(frozen=True)
class Refusal:
    """A limit that a payment would exceed, in minor units; facts for programs and for people.

    `limit` names it (`perTransaction`, `perDay`, `recipientPerTransaction`, `recipientPerDay`,
    `unknownRecipient`, `otherAsset`, `memo`; of a session key on the ledger
    `sessionPerTransaction`, `sessionPerDay`, `sessionAsset`, `sessionRecipient`, `sessionMemo`);
    `resets_ms` is when it is whole again, None when
    time does not help.
    """

    limit: str
    asset: str
    allowed: int
    asked: int
    spent: int
    resets_ms: int | None
    remedy: str
    decimals: int = 0
    recipient: bytes | None = None
    label: str = ""

    def data(self) -> dict[str, Any]:
        """Return it for JSON: integers as strings, a time in RFC 3339."""
        return {
            "limit": self.limit,
            "asset": self.asset,
            "decimals": self.decimals,
            "allowed": str(self.allowed),
            "asked": str(self.asked),
            "spent": str(self.spent),
            "resetsAt": None if self.resets_ms is None else time_text(self.resets_ms),
            "recipient": None if self.recipient is None else account_text(self.recipient),
            "remedy": self.remedy,
        }

    @property
    def sentence(self) -> str:
        """Say it in one sentence, without what happened to the money."""
        asked = amount_text(self.asked, self.decimals, self.asset)
        allowed = amount_text(self.allowed, self.decimals, self.asset)
        who = self.label or (account_text(self.recipient) if self.recipient else "")
        match self.limit:
            case "sessionPerTransaction":
                return f"{asked} is over the session key's limit of {allowed}."
            case "sessionPerDay":
                spent = number_text(self.spent, self.decimals)
                return f"{asked} is over the session key's {allowed} a day, {spent} of it spent."
            case "sessionAsset":
                return f"The session key may take nothing of {self.asset}."
            case "sessionRecipient":
                return f"The session key may not pay {who}."
            case "sessionMemo":
                return "The session key needs another memo."
            case "perTransaction":
                return f"{asked} is over your {allowed} limit."
            case "recipientPerTransaction":
                return f"{asked} is over your {allowed} limit for {who}."
            case "perDay" | "recipientPerDay":
                spent = number_text(self.spent, self.decimals)
                whom = "" if self.limit == "perDay" else f" for {who}"
                until = "" if self.resets_ms is None else f" until {time_text(self.resets_ms)}"
                return (
                    f"{asked} is over your limit{whom} of {allowed} a day{until}, "
                    f"{spent} of it spent."
                )
            case "unknownRecipient":
                return f"{who} is not on your allowlist."
            case "otherAsset":
                return f"Your guardrails say nothing of {self.asset}, so it is not paid."
        return "The memo is missing." if not self.label else f"The memo must begin “{self.label}”."


@dataclass(frozen=True)
class Verdict:
    """What comes of a payment. `refusals` stand there in mode `allow` too: said, not enforced.

    `needs_confirmation` are sentences that a person must have said yes to (`--yes` is a yes).
    """

    allowed: bool
    refusals: tuple[Refusal, ...] = ()
    needs_confirmation: tuple[str, ...] = ()


class GuardrailRefused(OperatorError):
    """A payment beyond the guardrails; nothing was signed. Attributes: `refusals`, at least one."""

    def __init__(self, refusals: Sequence[Refusal], why: str = "Nothing was sent.") -> None:
        first = refusals[0]
        super().__init__(first.sentence, why, first.remedy)
        self.refusals = tuple(refusals)


class Journal(Protocol):
    """Whoever knows what was paid: `Outbox` does. Times in ms UTC, sums in minor units."""

    def latest_ms(self) -> int: ...
    def spent(self, account: bytes, asset: str, day_start_ms: int) -> int: ...
    def spent_to(self, account: bytes, recipient: bytes, asset: str, day_start_ms: int) -> int: ...


def day_start_ms(now_ms: int, latest_ms: int = 0) -> int:
    """Return when the day began whose sums count, ms UTC.

    The newest payment of the journal holds time up: a clock that was set back into a day with
    money left frees nothing.
    """
    return max(now_ms, latest_ms) // DAY_MS * DAY_MS


def spent_of(journal: Journal, payments: Sequence[Paying], now_ms: int) -> Spent:
    """Return the day's sums that `payments` are judged by; call it where they are reserved."""
    latest_ms = journal.latest_ms()
    start_ms = day_start_ms(now_ms, latest_ms)
    assets: dict[str, int] = {}
    recipients: dict[tuple[bytes, str], int] = {}
    for one in payments:
        for asset in (one.asset, NATIVE_ASSET):
            if asset not in assets:
                assets[asset] = journal.spent(one.account, asset, start_ms)
        place = (one.recipient, one.asset)
        if place not in recipients:
            recipients[place] = journal.spent_to(one.account, *place, start_ms)
    return Spent(assets, recipients, latest_ms)


def judge(policy: Policy, payment: Paying | Sequence[Paying], spent: Spent, now_ms: int) -> Verdict:
    """Hold what one transaction pays (a batch: all of it) against a policy.

    `now_ms` is the wall clock, ms UTC; `policy` is the one for this network's decimals
    (`Policy.at_decimals`). All payments of a batch leave one account.
    """
    payments = list(payment) if isinstance(payment, Sequence) else [payment]
    resets_ms = day_start_ms(now_ms, spent.latest_ms) + DAY_MS
    refusals: list[Refusal] = []
    questions: list[str] = []
    _judge_assets(policy, payments, spent, resets_ms, refusals, questions)
    _judge_recipients(policy, payments, spent, resets_ms, refusals, questions)
    for one in payments:
        _judge_memo(policy, one, refusals)
    if policy.mode is Mode.ALLOW:
        told = [f"{one.sentence} Your guardrails only say so." for one in refusals]
        return Verdict(True, tuple(refusals), (*told, *questions))
    return Verdict(not refusals, tuple(refusals), tuple(questions))


def _judge_assets(
    policy: Policy,
    payments: Sequence[Paying],
    spent: Spent,
    resets_ms: int,
    refusals: list[Refusal],
    questions: list[str],
) -> None:
    asked = _sums(payments, lambda one: one.asset)
    fees = sum(one.fee for one in payments)
    paid = frozenset(asked)
    if fees:
        asked[NATIVE_ASSET] = asked.get(NATIVE_ASSET, 0) + fees
    for asset, amount in sorted(asked.items()):
        rule = policy.rule(asset)
        if rule is None:
            # A fee of an asset that is not listed is what paying costs, not a payment of it.
            if asset in paid:
                _judge_other(policy.other_assets, asset, amount, refusals, questions)
            continue
        before = spent.assets.get(asset, 0)
        refusals += _over(rule, amount, before, resets_ms)
        if rule.confirm_above is not None and amount > rule.confirm_above:
            limit = amount_text(rule.confirm_above, rule.decimals, asset)
            questions.append(
                f"{amount_text(amount, rule.decimals, asset)} is above {limit}, "
                "from where you want to be asked."
            )


def _judge_other(
    stance: Stance, asset: str, amount: int, refusals: list[Refusal], questions: list[str]
) -> None:
    if stance is Stance.REFUSE:
        refusals.append(Refusal("otherAsset", asset, 0, amount, 0, None, LOOK))
    elif stance is Stance.CONFIRM:
        questions.append(f"Your guardrails say nothing of {asset}.")


def _judge_recipients(
    policy: Policy,
    payments: Sequence[Paying],
    spent: Spent,
    resets_ms: int,
    refusals: list[Refusal],
    questions: list[str],
) -> None:
    asked = _sums(payments, lambda one: (one.recipient, one.asset))
    strangers: set[bytes] = set()
    for (account, asset), amount in sorted(asked.items()):
        who = policy.recipient(account)
        if who is None:
            if account in strangers or account == payments[0].account:
                continue
            strangers.add(account)
            rule = policy.rule(asset)
            refusal = Refusal(
                "unknownRecipient",
                asset,
                0,
                amount,
                0,
                None,
                f"clawpurse wallet allowlist add {account_text(account)}",
                decimals=0 if rule is None else rule.decimals,
                recipient=account,
            )
            if policy.unknown is Stance.REFUSE:
                refusals.append(refusal)
            elif policy.unknown is Stance.CONFIRM and policy.recipients:
                questions.append(refusal.sentence)
            continue
        narrow = who.limit(asset)
        if narrow is not None:
            before = spent.recipients.get((account, asset), 0)
            refusals += _over(narrow, amount, before, resets_ms, who)


def _over(
    rule: AssetRule, amount: int, before: int, resets_ms: int, who: RecipientRule | None = None
) -> list[Refusal]:
    """Return what an amount exceeds of a rule, after what was spent before."""
    found: list[Refusal] = []
    account, label = (None, "") if who is None else (who.account, who.label)
    names = ("perTransaction", "perDay")
    if who is not None:
        names = ("recipientPerTransaction", "recipientPerDay")

    def add(name: str, allowed: int, resets: int | None) -> None:
        decimals = rule.decimals
        found.append(
            Refusal(
                name, rule.asset, allowed, amount, before, resets, LOOK, decimals, account, label
            )
        )

    if rule.per_transaction is not None and amount > rule.per_transaction:
        add(names[0], rule.per_transaction, None)
    if rule.per_day is not None and before + amount > rule.per_day:
        # Waiting helps only who asks for no more than a day's worth.
        add(names[1], rule.per_day, resets_ms if amount <= rule.per_day else None)
    return found


def _judge_memo(policy: Policy, payment: Paying, refusals: list[Refusal]) -> None:
    who = policy.recipient(payment.recipient)
    required = policy.memo_required or (who is not None and who.memo_required)
    fails = (required and not payment.memo) or not payment.memo.startswith(policy.memo_prefix)
    if fails:
        rule = policy.rule(payment.asset)
        decimals = 0 if rule is None else rule.decimals
        remedy = f"add --memo “{policy.memo_prefix}…”" if policy.memo_prefix else "add --memo TEXT"
        refusals.append(
            Refusal(
                "memo",
                payment.asset,
                0,
                payment.amount,
                0,
                None,
                remedy,
                decimals,
                payment.recipient,
                policy.memo_prefix,
            )
        )


def _sums(payments: Sequence[Paying], key: Callable[[Paying], K]) -> dict[K, int]:
    sums: dict[K, int] = {}
    for one in payments:
        sums[key(one)] = sums.get(key(one), 0) + one.amount
    return sums
