"""What an issuer arranges: new assets, their terms, agents and reserves: in the machine."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from clawpurse.ledger.crypto import message_hash_of
from tests.ledger.model.machine import DAY_MS, Machine, mostly_issuer, switches
from tests.ledger.model.world import ISSUER
from tests.ledger.sandbox import ALICE, BOB, DAVE, Key

REPORT = message_hash_of(b"report")
new = st.sampled_from(("NOTE", "NOTE", "BOND"))
flags = st.sampled_from((0, 8, 8, 32, 40, 15, 24))


class Arranging(Machine):
    """See the module."""

    @rule(who=mostly_issuer, name=new, flags=flags, cap=st.sampled_from((None, None, 100)))
    def creates_an_asset(self, who: Key, name: str, flags: int, cap: int | None) -> None:
        deed = lambda: self.model.create(who, name, flags, cap)  # noqa: E731
        self.does(who, deed, "assets.create", name, 2, "T", flags, cap, "", None)

    @rule(who=mostly_issuer, name=st.sampled_from(("NOTE", "NOTE", "BOND", "USDX", "EUR")),
          text=st.sampled_from(("", "here", "there")))  # fmt: skip
    def describes_an_asset(self, who: Key, name: str, text: str) -> None:
        deed = lambda: self.model.set_text(who, name, text)  # noqa: E731
        self.does(who, deed, "assets.setMetadata", name, text, None)

    @rule(who=mostly_issuer, name=new, flags=flags)
    def changes_flags(self, who: Key, name: str, flags: int) -> None:
        deed = lambda: self.model.set_flags(who, name, flags)  # noqa: E731
        self.does(who, deed, "assets.setFlags", name, flags)

    @rule(who=mostly_issuer, name=st.sampled_from(("NOTE", "BOND", "USDX")),
          cap=st.sampled_from((None, 100, 5_000, 20_000)))  # fmt: skip
    def changes_a_cap(self, who: Key, name: str, cap: int | None) -> None:
        deed = lambda: self.model.set_cap(who, name, cap)  # noqa: E731
        self.does(who, deed, "assets.setCap", name, cap)

    @rule(who=mostly_issuer, name=new, amount=st.sampled_from((7, 30, 90)))
    def mints_to_itself(self, who: Key, name: str, amount: int) -> None:
        """Within what is attested to back it, where it was issued so."""
        deed = lambda: self.model.mint(who, name, ISSUER, amount)  # noqa: E731
        self.does(who, deed, "assets.mint", name, ISSUER, amount)

    @rule(
        who=mostly_issuer, name=st.sampled_from(("EURX", "EURX", "USDX", "NOTE")),
        duty=st.sampled_from(("mint", "freeze", "authorise", "clawback", "reserve")),
        whom=st.sampled_from((ALICE, ALICE, BOB, DAVE)), on=switches,
    )  # fmt: skip
    def appoints(self, who: Key, name: str, duty: str, whom: Key, on: bool) -> None:
        if not on and who is ISSUER:
            taken = sorted(
                (role, one.account, one)
                for role, holders in self.model.roles.items()
                for one in holders
                if role.startswith(name.lower() + ".")
            )
            if taken:
                duty, whom = taken[0][0].split(".")[1], taken[0][2]
        verb = "appoint" if on else "dismiss"
        deed = lambda: self.model.appoint(who, name, duty, whom, on)  # noqa: E731
        self.does(who, deed, f"assets.{verb}", name, duty, whom)

    @rule(
        who=mostly_issuer, name=st.sampled_from(("NOTE", "NOTE", "BOND", "EURX")),
        amount=st.sampled_from((50, 100, 1_000)), ago=st.sampled_from((1_000, DAY_MS)),
        span=st.sampled_from((DAY_MS, DAY_MS, 0, 460 * DAY_MS)),
    )  # fmt: skip
    def says_what_backs_it(self, who: Key, name: str, amount: int, ago: int, span: int) -> None:
        if not self.can_pay(who):
            return
        as_of_ms = self.model.now_ms - ago
        until_ms = as_of_ms + span
        self.does(
            who, lambda: self.model.attest_reserve(who, name, amount, as_of_ms, until_ms),
            "assets.attestReserve", name, amount, as_of_ms, REPORT, until_ms,
        )  # fmt: skip

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        for name, one in self.model.assets.items():
            found = self.world.query("assets.get", name)
            assert found.cap == one.cap and bool(found.frozen) == one.frozen, name
            if name in ("NOTE", "BOND"):
                assert (found.flags, bool(found.issued)) == (one.flags, one.issued), name
            assert self.world.query("assets.supply", name) == self.model.supply[name], name
        assert self.world.query("assets.get", "EUR") is not None
