"""What the clerk writes down of what an issuer arranges: terms of an asset, agents, reserves.

Written from docs/modules/assets.md.
"""

from __future__ import annotations

from tests.ledger.model.naive import (
    CLAWBACK,
    DAY_MS,
    FREEZABLE,
    IMMUTABLE,
    REQUIRED,
    RESERVE,
    TRANSFERABLE,
    Asset,
    Reasons,
)
from tests.ledger.model.naive_rules import Rules
from tests.ledger.sandbox import Key

VALID_MS = 456 * DAY_MS


class Issuing(Rules):
    """Assets, beside what moves them."""

    def create(self, who: Key, name: str, flags: int, cap: int | None) -> Reasons:
        found = Reasons() if who in self.roles["issuer"] else {"kernel.role"}
        if name in self.assets:
            found.add("assets.exists")
        if not found:
            needs = bool(flags & REQUIRED)
            self.assets[name] = Asset(who, needs, bool(flags & CLAWBACK), cap, flags=flags)
        return found

    def terms_of(self, who: Key, name: str) -> Reasons:
        one = self.assets.get(name)
        if one is None:
            return {"kernel.asset"}
        found = Reasons() if who is one.issuer else {"assets.issuerOnly", "assets.noIssuer"}
        if one.flags & IMMUTABLE:
            found.add("assets.immutable")
        return found

    def set_text(self, who: Key, name: str, text: str) -> Reasons:
        found = self.terms_of(who, name)
        if name in self.assets and self.assets[name].text == text:
            found.add("assets.unchanged")
        if not found:
            self.assets[name].text = text
        return found

    def set_cap(self, who: Key, name: str, cap: int | None) -> Reasons:
        found, one = self.terms_of(who, name), self.assets.get(name)
        if one is not None and one.cap == cap:
            found.add("assets.unchanged")
        if cap is not None and self.supply[name] > cap:
            found.add("assets.cap")
        if not found and one is not None:
            one.cap = cap
        return found

    def set_flags(self, who: Key, name: str, flags: int) -> Reasons:
        found, one = self.terms_of(who, name), self.assets.get(name)
        if one is None:
            return found
        if one.flags == flags:
            found.add("assets.unchanged")
        if one.issued and flags & ~one.flags & (REQUIRED | FREEZABLE | CLAWBACK):
            found.add("assets.powerTaken")
        if one.issued and one.flags & ~flags & (TRANSFERABLE | RESERVE | IMMUTABLE):
            found.add("assets.promiseBroken")
        if not found:
            one.flags = flags
        return found

    def appoint(self, who: Key, name: str, duty: str, whom: Key, on: bool) -> Reasons:
        one = self.assets.get(name)
        if one is None:
            return {"kernel.asset"}
        found = Reasons() if who is one.issuer else {"assets.issuerOnly", "assets.noIssuer"}
        role = f"{name.lower()}.{duty}"
        if whom not in self.people:
            found.add("kernel.sender")
        if (whom in self.roles[role]) == on:
            found.add("assets.appointed" if on else "assets.notAppointed")
        if not found:
            (self.roles[role].add if on else self.roles[role].discard)(whom)
        return found

    def attest_reserve(
        self, who: Key, name: str, amount: int, as_of_ms: int, until_ms: int
    ) -> Reasons:
        found, one = self.duty(who, name, "reserve"), self.assets.get(name)
        if one is not None and not one.flags & RESERVE:
            found.add("assets.lacksFlag")
        late = as_of_ms > self.now_ms or until_ms <= self.now_ms
        if late or until_ms > as_of_ms + VALID_MS:
            found.add("assets.reserveTime")
        if one is not None and one.reserve is not None and one.reserve[1] >= as_of_ms:
            found.add("assets.reserveOlder")
        if not found and one is not None:
            one.reserve = amount, as_of_ms, until_ms
        return found
