"""What `wallet guardrails` and `wallet allowlist` do: show limits, change them.

A change that loosens anything asks for what an override asks for: a code, a co-signer's file, or
the words of the key. At a terminal it is asked for; elsewhere it comes from files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli import factors, prompts
from clawpurse.cli.acting import run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.outgoing import outbox_of
from clawpurse.cli.promising import decimals_of, parsed
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import ClawPurseError, Malformed
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.wallet.amounts import number_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import read_private
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrail_files import Kept
from clawpurse.wallet.guardrail_json import TEXT_BYTES_MAX, checked, import_allowlist, policy_json
from clawpurse.wallet.guardrail_lines import SpentToday, spent_today
from clawpurse.wallet.guardrails import (
    DEFAULT_POLICY,
    AssetRule,
    Cosigner,
    Journal,
    Mode,
    Policy,
    RecipientRule,
    Stance,
    Verdict,
)

Json = dict[str, Any]
UNCHANGED: Final = "Nothing was changed."
# Limits are worth an answer without a network; nobody waits for one that is not there.
_PATIENCE_S: Final = 2.0
_NO_LIMIT: Final = "none"
_STANCES: Final = {
    Stance.ALLOW: "may be paid",
    Stance.CONFIRM: "are asked about",
    Stance.REFUSE: "are refused",
}


class Limits(NamedTuple):
    """Limits as typed: (asset, amount) pairs; an amount may be `none`."""

    once: Sequence[tuple[str, str]] = ()
    daily: Sequence[tuple[str, str]] = ()
    asked: Sequence[tuple[str, str]] = ()


class Wish(NamedTuple):
    """What `guardrails set` was told; None leaves as it is."""

    limits: Limits
    unknown: str | None
    other_assets: str | None
    memo_begins: str | None
    memo_required: bool | None
    add_cosigners: Sequence[str]
    remove_cosigners: Sequence[str]


def offer(session: Session, name: str, passphrase: str) -> None:
    """Tell who made a key just now what it may pay, and let the limits be changed before they are
    anybody's habit. Without a yes, and without a terminal, the default ones hold (*enforce*).
    """
    out, rule = session.out, DEFAULT_POLICY.assets[0]
    once, daily, asked = (number_text(one or 0, rule.decimals) for one in _limits_of(rule))
    out.note(f"Its guardrails: {once} {rule.asset} at once, {daily} a day, asked above {asked}.")
    if not prompts.confirm(out, "Change them now?", f"clawpurse wallet guardrails set {name}"):
        return
    policy = _wizard(session, DEFAULT_POLICY)
    signer = session.keystore.unlock(name, passphrase).signer
    factors.guardrails_of(session).save(signer, policy, fresh=True)
    out.tick(f"guardrails of {name}: {_rule_words(policy.assets[0])}")


def _wizard(session: Session, policy: Policy) -> Policy:
    """Ask for each limit; Enter keeps what is shown, `none` is no limit."""
    rule = policy.assets[0]

    def asked(question: str, limit: int | None) -> int | None:
        shown = _NO_LIMIT if limit is None else number_text(limit, rule.decimals, marks=False)
        session.out.ask(f"  {question}, in {rule.asset} [{shown}]: ")
        text = sys.stdin.readline().strip()
        return limit if not text else _limit(text, rule.asset, rule.decimals)

    once = asked("At most at once", rule.per_transaction)
    daily = asked("At most a day", rule.per_day)
    above = asked("Ask above", rule.confirm_above)
    unknown = policy.unknown
    if prompts.confirm(session.out, "  Refuse whoever is not on the allowlist?", "--yes"):
        unknown = Stance.REFUSE
    rules = (replace(rule, per_transaction=once, per_day=daily, confirm_above=above),)
    return replace(policy, assets=rules, unknown=unknown)


def show(session: Session, name: str | None) -> None:
    """Show what a key may pay."""
    info = _key(session, name, "clawpurse wallet guardrails show ")
    store = factors.guardrails_of(session)
    kept, codes = store.show(info.public_key), store.asks_for_codes(info.public_key)
    policy = kept.policy
    today = _today(session, info, policy)
    if session.json_mode:
        session.out.emit(_json(info, kept, codes, today))
        return
    only_says = "" if policy.mode is Mode.ENFORCE else ": what is beyond a limit is only said"
    pairs = [("Key", info.name), ("Mode", policy.mode.value + only_says)]
    pairs += [(rule.asset, _rule_words(rule)) for rule in policy.assets]
    pairs += [("Spent today", _spent_words(one)) for one in today]
    pairs += [
        ("Other assets", _STANCES[policy.other_assets]),
        ("Strangers", _strangers(policy)),
        ("Memo", _memo_words(policy)),
        ("Lifted by", _lifted_by(policy, codes)),
        ("Since", time_text(kept.changed_ms) if kept.revision else "the default ones"),
    ]
    session.out.fields(pairs)
    if policy.recipients:
        session.out.note(f"Allowlist: clawpurse wallet allowlist list --from {info.name}")


def _today(session: Session, info: factors.Whose, policy: Policy) -> tuple[SpentToday, ...]:
    """Return what is spent today on the chosen network; nothing while no node names it."""

    async def ask() -> tuple[bytes, Policy] | None:
        with trio.move_on_after(_PATIENCE_S):
            async with session.node() as node:
                found = policy
                for rule in policy.assets:
                    decimals = (await node.asset(rule.asset)).decimals
                    found = found.at_decimals(rule.asset, decimals)
                return (await node.terms()).genesis_hash, found
        return None

    try:
        known = trio.run(ask)
    except ClawPurseError:
        return ()
    if known is None:
        return ()
    genesis, scaled = known
    spent: list[SpentToday] = []

    def look(journal: Journal) -> Verdict:
        spent.extend(spent_today(scaled, info.account, journal, session.now_ms()))
        return Verdict(True)

    with outbox_of(session) as outbox:
        outbox.judged(genesis, info.public_key, look)
    return tuple(spent)


def _spent_words(one: SpentToday) -> str:
    spent = f"{number_text(one.spent, one.decimals)} {one.asset}"
    if one.left is None:
        return spent
    left = number_text(one.left, one.decimals)
    return f"{spent}, {left} left until {time_text(one.resets_ms)}"


def change(
    session: Session, name: str | None, wish: Wish, given: factors.Given, mode: Mode | None = None
) -> None:
    """Change limits."""
    info = _key(session, name, "clawpurse wallet guardrails set ")

    def changed(policy: Policy) -> Policy:
        return _wished(session, policy, wish, mode)

    _apply(session, info, changed, given)


def _wished(session: Session, policy: Policy, wish: Wish, mode: Mode | None) -> Policy:
    assets = _with_limits(session, policy.assets, policy, wish.limits)
    cosigners = [one for one in policy.cosigners if one.label not in wish.remove_cosigners]
    if gone := set(wish.remove_cosigners) - {one.label for one in policy.cosigners}:
        raise UsageFault(f"{min(gone)} is no co-signer.", UNCHANGED, "")
    for text in wish.add_cosigners:
        whom = account_named(session, text, UNCHANGED)
        key = whom.account
        if whom.is_own_key and whom.label is not None:
            key = factors.whose(session, whom.label).public_key
        cosigners.append(Cosigner(whom.label or text[:16], key))
    return replace(
        policy,
        mode=mode or policy.mode,
        assets=assets,
        unknown=policy.unknown if wish.unknown is None else Stance(wish.unknown),
        other_assets=(
            policy.other_assets if wish.other_assets is None else Stance(wish.other_assets)
        ),
        memo_prefix=policy.memo_prefix if wish.memo_begins is None else wish.memo_begins,
        memo_required=(policy.memo_required if wish.memo_required is None else wish.memo_required),
        cosigners=tuple(cosigners),
    )


def list_allowed(session: Session, name: str | None) -> None:
    """List whom a key may pay."""
    info = _key(session, name, "clawpurse wallet allowlist list --from ")
    kept = factors.guardrails_of(session).show(info.public_key)
    if session.json_mode:
        document = policy_json(kept.policy)
        session.out.emit(
            {"name": info.name, "unknown": document["unknown"], "allowlist": document["recipients"]}
        )
        return
    rows = [
        (one.label, account_text(one.account), _limits_words(one), one.notes)
        for one in kept.policy.recipients
    ]
    session.out.table(("name", "account", "limits", "notes"), rows)
    session.out.note(f"Others {_strangers(kept.policy)}.")


def init_allowlist(
    session: Session, name: str | None, file: Path | None, unknown: str | None, given: factors.Given
) -> None:
    """Start an allowlist: strangers are refused. A file of the existing wallet can fill it."""
    info = _key(session, name, "clawpurse wallet allowlist init --from ")

    def changed(policy: Policy) -> Policy:
        if file is not None:
            policy = _imported(session, policy, file)
        if file is None or unknown is not None:
            policy = replace(policy, unknown=Stance(unknown or Stance.REFUSE))
        return policy

    _apply(session, info, changed, given)
    session.out.note(f"Next: clawpurse wallet allowlist add ACCOUNT --from {info.name}")


def _imported(session: Session, policy: Policy, file: Path) -> Policy:
    rule = policy.rule(NATIVE_ASSET)
    decimals = _decimals(session, NATIVE_ASSET) if rule is None else rule.decimals
    try:
        data = read_private(file, TEXT_BYTES_MAX)
        found = import_allowlist(data, policy, decimals)
    except FileNotFoundError:
        raise UsageFault(f"{file} is not there.", UNCHANGED, "check FILE") from None
    except Malformed as err:
        raise UsageFault(f"{file}: {err.field} {err.problem}.", UNCHANGED, "") from err
    for line in found.told:
        session.out.warn(line)
    return found.policy


class Entry(NamedTuple):
    """What `allowlist add` was told."""

    account: str
    label: str | None
    limits: Limits
    memo_required: bool
    notes: str


def allow(session: Session, name: str | None, entry: Entry, given: factors.Given) -> None:
    """Put somebody on the allowlist, or change how."""
    info = _key(session, name, f"clawpurse wallet allowlist add {entry.account} --from ")
    whom = account_named(session, entry.account, UNCHANGED)
    label = entry.label or whom.label or ""

    def changed(policy: Policy) -> Policy:
        limits = _with_limits(session, (), policy, entry.limits)
        person = RecipientRule(whom.account, label, limits, entry.memo_required, entry.notes)
        rest = [one for one in policy.recipients if one.account != whom.account]
        return replace(policy, recipients=(*rest, person))

    _apply(session, info, changed, given)


def forbid(session: Session, name: str | None, account: str, given: factors.Given) -> None:
    """Take somebody off the allowlist."""
    info = _key(session, name, f"clawpurse wallet allowlist remove {account} --from ")
    kept = factors.guardrails_of(session).show(info.public_key).policy
    labelled = [one.account for one in kept.recipients if one.label == account]
    target = labelled[0] if labelled else account_named(session, account, UNCHANGED).account
    if kept.recipient(target) is None:
        command = f"clawpurse wallet allowlist list --from {info.name}"
        raise UsageFault(f"{account} is not on the allowlist.", UNCHANGED, command)

    def changed(policy: Policy) -> Policy:
        rest = tuple(one for one in policy.recipients if one.account != target)
        return replace(policy, recipients=rest)

    _apply(session, info, changed, given)


def _apply(
    session: Session, info: factors.Whose, changed: Callable[[Policy], Policy], given: factors.Given
) -> None:
    """Judge the change, get a factor for it if it loosens something, and keep it."""
    store = factors.guardrails_of(session)
    before = store.show(info.public_key)
    try:
        policy = checked(changed(before.policy))
    except Malformed as err:
        raise UsageFault(f"{err.field} {err.problem}.", UNCHANGED, "") from err
    weaker = weakened(before.policy, policy)
    if given.request is not None:
        factors.write_change_request(session, store, info, before, policy, given.request)
        return
    for line in weaker:
        session.out.note(f"  ! {line}")
    signer = factors.unlock(session, info.name, given)
    factor = factors.factor_of(session, store, info, given) if weaker else None
    kept, _ = store.save(signer, policy, factor)
    if session.json_mode:
        codes = store.asks_for_codes(info.public_key)
        document = _json(info, kept, codes, _today(session, info, kept.policy))
        session.out.emit({**document, "weakened": list(weaker)})
        return
    session.out.tick(f"guardrails of {info.name}, revision {kept.revision}")
    session.out.note(f"Next: clawpurse wallet guardrails show {info.name}")


def _with_limits(
    session: Session, rules: Sequence[AssetRule], policy: Policy, limits: Limits
) -> tuple[AssetRule, ...]:
    """Return rules with the typed limits in them; a rule that limits nothing still stands."""
    found = {one.asset: one for one in rules}
    for place, pairs in enumerate(limits):
        for typed, amount in pairs:
            try:
                asset = asset_name(typed, "asset")
            except Malformed as err:
                raise UsageFault(f"{typed} {err.problem}.", UNCHANGED, "") from err
            known = found.get(asset) or policy.rule(asset)
            decimals = _decimals(session, asset) if known is None else known.decimals
            values = list(_limits_of(found.get(asset, AssetRule(asset, decimals))))
            values[place] = _limit(amount, asset, decimals)
            found[asset] = AssetRule(asset, decimals, *values)
    return tuple(found.values())


def _limit(text: str, asset: str, decimals: int) -> int | None:
    return None if text == _NO_LIMIT else parsed(text, asset, decimals)


def _decimals(session: Session, asset: str) -> int:
    async def work(node: NodeClient) -> int:
        return await decimals_of(node, asset)

    found: int = run_with_node(session, work)
    return found


def _key(session: Session, name: str | None, command: str) -> factors.Whose:
    return factors.whose(session, name or own_key(session, command))


def _json(info: factors.Whose, kept: Kept, codes: bool, today: Sequence[SpentToday]) -> Json:
    return {
        "name": info.name,
        "publicKey": f"0x{info.public_key.hex()}",
        "revision": kept.revision,
        "changed": time_text(kept.changed_ms) if kept.revision else None,
        "codes": codes,
        **policy_json(kept.policy),
        "today": [
            {
                "asset": one.asset,
                "spent": str(one.spent),
                "perDay": None if one.per_day is None else str(one.per_day),
                "left": None if one.left is None else str(one.left),
                "resetsAt": time_text(one.resets_ms),
            }
            for one in today
        ],
    }


def _limits_of(rule: AssetRule) -> tuple[int | None, int | None, int | None]:
    return rule.per_transaction, rule.per_day, rule.confirm_above


def _rule_words(rule: AssetRule) -> str:
    forms = ("{} at once", "{} a day", "asked above {}")
    parts = [
        form.format(number_text(limit, rule.decimals))
        for form, limit in zip(forms, _limits_of(rule), strict=True)
        if limit is not None
    ]
    return ", ".join(parts) or "no limits"


def _limits_words(who: RecipientRule) -> str:
    parts = [f"{rule.asset}: {_rule_words(rule)}" for rule in who.limits]
    return "; ".join([*parts, *(["memo required"] if who.memo_required else [])])


def _strangers(policy: Policy) -> str:
    if policy.unknown is Stance.CONFIRM and not policy.recipients:
        return "nobody is one: the allowlist is empty"
    return _STANCES[policy.unknown]


def _memo_words(policy: Policy) -> str:
    if policy.memo_prefix:
        return f"begins with “{policy.memo_prefix}”"
    return "required" if policy.memo_required else "as you like"


def _lifted_by(policy: Policy, codes: bool) -> str:
    ways = ["a code"] if codes else []
    ways += [one.label for one in policy.cosigners]
    return ", ".join(ways) or "the words of the key only"
