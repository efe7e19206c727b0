"""Alerts: what somebody should look at is said once, in time, and never of a healthy network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.crypto import public_key_of
from clawpurse.node.alerts import KINDS, AlertBook, Checked, Condition, Severity, evaluate
from clawpurse.node.explanation import AuthorityFacts, Facts, SigningFacts, explain

ROOT = Path(__file__).resolve().parents[2]
KEYS = [public_key_of(bytes([n]) * 32) for n in range(1, 5)]
NAMES = ("Berlin", "Milan", "Rome", "Paris")


def facts(**changes: Any) -> Facts:
    """A healthy network of four, seen by its first authority."""
    authorities = tuple(
        AuthorityFacts(
            key, name, is_self=key == KEYS[0], vote_height=9, vote_age_ms=100, life_age_ms=100
        )
        for key, name in zip(KEYS, NAMES, strict=True)
    )
    usual: dict[str, Any] = {
        "height": 10, "tip": 9, "tip_age_ms": 400, "round": 0, "step": "propose",
        "waiting": True, "round_age_ms": 300, "busy_age_ms": 300, "vote_due_ms": 1000,
        "authorities": authorities, "quorum": 3, "proposer": KEYS[1], "has_proposal": False,
        "peers": 3, "up_ms": 60_000, "signing": SigningFacts(),
    }  # fmt: skip
    return Facts(**{**usual, **changes})


def checked(known: Facts, **changes: Any) -> Checked:
    usual: dict[str, Any] = {
        "disk_free_mb": 100_000, "disk_needed_mb": 512, "pool_transactions": 10,
        "pool_transactions_max": 1000, "pool_bytes": 1000, "pool_bytes_max": 100_000,
    }  # fmt: skip
    return Checked(known, explain(known), **{**usual, **changes})


def silenced(known: Facts, *names: str, **changes: Any) -> Facts:
    """The same with these authorities gone for eight seconds."""
    gone = {"life_age_ms": 8_000, "vote_age_ms": 8_000, **changes}
    return replace(
        known,
        authorities=tuple(
            replace(one, **gone) if one.name in names else one for one in known.authorities
        ),
    )


def names(moment: Checked, *firing: tuple[str, str]) -> list[str]:
    return [one.name for one in evaluate(moment, frozenset(firing))]


WELL = facts()
FOLLOWING = {"life_age_ms": 100, "vote_age_ms": 8_000, "passed_age_ms": 5_000}
CASES = {
    "AuthoritySilent": checked(silenced(WELL, "Milan")),
    "AuthorityNotSigning": checked(silenced(WELL, "Milan", **FOLLOWING)),
    "Stalled": checked(silenced(WELL, "Milan", "Rome")),
    "Halted": checked(facts(halt="a quorum decided 0xab…, invalid here")),
    "RecoveryNeeded": checked(
        silenced(
            facts(
                signing=SigningFacts("observing", "it observes", passing=True, from_height=40),
                waiting=False, round_age_ms=9_000,
            ),
            "Milan", **FOLLOWING,
        )
    ),
    "NotSigning": checked(facts(signing=SigningFacts("away", "its signer cannot be asked"))),
    "NodeBehind": checked(facts(behind=90, best=100)),
    "NoPeers": checked(facts(peers=0)),
    "ClockSkew": checked(facts(skew_ms=-400)),
    "DiskLow": checked(WELL, disk_free_mb=1_000),
    "PoolNearlyFull": checked(WELL, pool_transactions=800),
    "EvidenceSeen": checked(facts(double_signs=((KEYS[2], 7),))),
    "AmendmentUnknown": checked(facts(amendment=("fees2", 40))),
    "CertificateExpiring": checked(
        WELL, others=(Condition("CertificateExpiring", "tls.pem", "It ends soon.", {}),)
    ),
    "WebhookDisabled": checked(
        WELL, others=(Condition("WebhookDisabled", "wh_1", "It was disabled.", {}),)
    ),
    "WebhooksStopped": checked(WELL, others=(Condition("WebhooksStopped", "", "Stopped.", {}),)),
    "ModuleStopped": checked(WELL, others=(Condition("ModuleStopped", "shop", "It stopped.", {}),)),
    "ModuleWaits": checked(WELL, others=(Condition("ModuleWaits", "shop", "It waits.", {}),)),
    "ModulePromiseMissed": checked(
        WELL, others=(Condition("ModulePromiseMissed", "shop.ticket.reply", "It ran out.", {}),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(KINDS))
def test_each_alert_has_a_case_and_a_runbook(name: str) -> None:
    """An operator who is woken by a name finds what it means, how to check, and what mends it."""
    assert name in names(CASES[name])
    page = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n\nSeverity: {KINDS[name].severity}.\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Meaning",
        "## Check",
        "## Mend",
    ]


def test_each_runbook_has_an_alert() -> None:
    """A page about an alert that can never come sends people the wrong way."""
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert pages - {"README"} == set(KINDS)
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        assert f"| [{name}]({name}.md) | {kind.severity} | {kind.meaning} |" in index


def test_nothing_fires_while_all_is_well() -> None:
    assert names(checked(WELL)) == []
    alone = facts(authorities=WELL.authorities[:1], quorum=1, peers=0)
    assert names(checked(alone)) == [], "a network of one needs no peers"


def test_silent_is_said_only_of_whom_the_explanation_says_it() -> None:
    """Nobody is sent to a machine that works because a certificate left a late vote out."""
    late = silenced(WELL, "Milan", life_age_ms=100, vote_age_ms=2_000)
    assert names(checked(late)) == []
    found = list(evaluate(CASES["AuthoritySilent"], frozenset()))
    assert [(one.facts["name"], one.facts["lastSeenHeight"]) for one in found] == [("Milan", 9)]
    assert "8" not in found[0].summary, "what grows old does not change the alert"


def test_limits_have_two_sides_so_that_nothing_flaps() -> None:
    """A pool at its limit does not ring a hundred times."""
    full = ("PoolNearlyFull", "")
    for used, fires, goes_on in ((650, False, False), (750, False, True), (800, True, True)):
        moment = checked(WELL, pool_transactions=used)
        assert ("PoolNearlyFull" in names(moment)) is fires
        assert ("PoolNearlyFull" in names(moment, full)) is goes_on
    assert "PoolNearlyFull" in names(checked(WELL, pool_bytes=95_000))
    for free, fires, goes_on in ((1_000, True, True), (1_200, False, True), (1_600, False, False)):
        moment = checked(WELL, disk_free_mb=free)
        assert ("DiskLow" in names(moment)) is fires
        assert ("DiskLow" in names(moment, ("DiskLow", ""))) is goes_on
    assert names(checked(WELL, disk_free_mb=None)) == []


SUBJECT = st.sampled_from(["a", "b"])
NAME = st.sampled_from(["AuthoritySilent", "ClockSkew", "Stalled"])
MOMENT = st.tuples(
    st.integers(100, 4_000), st.sets(st.tuples(NAME, SUBJECT), max_size=4).map(sorted)
)


@given(moments=st.lists(MOMENT, max_size=30))
def test_every_alert_begins_once_and_ends_once(
    moments: list[tuple[int, list[tuple[str, str]]]],
) -> None:
    """Begin and end alternate; what fires is what began and did not end; `since` stays."""
    book, now = AlertBook(), 0
    open_since: dict[tuple[str, str], int] = {}
    first_seen: dict[tuple[str, str], int] = {}
    last_seen: dict[tuple[str, str], int] = {}
    for wait, keys in moments:
        now += wait
        begun, ended = book.update([Condition(n, s, "x", {}) for n, s in keys], now)
        for alert in begun:
            key = alert.condition.name, alert.condition.subject
            assert key in keys
            assert key not in open_since
            open_since[key] = alert.since_ms
            assert now - alert.since_ms >= KINDS[key[0]].hold_ms
        for alert in ended:
            key = alert.condition.name, alert.condition.subject
            assert key not in keys
            assert open_since.pop(key) == alert.since_ms
            assert now - last_seen[key] >= KINDS[key[0]].rest_ms
        for key in keys:
            first_seen.setdefault(key, now)
            last_seen[key] = now
        fires = {(a.condition.name, a.condition.subject): a.since_ms for a in book.firing}
        assert fires == open_since
        assert book.keys == frozenset(open_since)
    ranks = [alert.kind.severity is Severity.CRITICAL for alert in book.firing]
    assert ranks == sorted(ranks, reverse=True)
