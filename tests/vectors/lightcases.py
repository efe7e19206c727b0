"""What the light client's golden vectors show: each verdict and each reason, at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.light import (
    CLOCK_DRIFT_MS,
    TRUSTING_PERIOD_MS,
    Invalid,
    LightBlock,
    Trusted,
    Verdict,
    verify,
)
from tests.ledger.lightworld import LightWorld, certify_by, keys_of

TRUSTED_HEIGHTS: Final = (3, 5)


class Case(NamedTuple):
    """A question: does `block` follow from the trusted one, by this clock? Height 0 is genesis."""

    name: str
    trusted_height: int
    block: LightBlock
    now_ms: int

    def verdict(self) -> Verdict:
        """The answer of our code."""
        chain = world()
        trusted = chain.root
        if self.trusted_height:
            trusted = Trusted.of(chain.blocks[self.trusted_height])
        return verify(trusted, self.block, self.now_ms)


def verdict_text(verdict: Verdict) -> str:
    """`success`, `notEnoughTrust`, or `invalid ` and the reason."""
    return f"invalid {verdict.reason}" if isinstance(verdict, Invalid) else verdict.value


def world() -> LightWorld:
    """Twelve blocks: four authorities, one added at 6, all but one replaced at 9."""
    return LightWorld({1: range(4), 6: range(5), 9: (4, 10, 11, 12)}, 12, chain_id="vectors-1")


def cases() -> list[Case]:
    """All questions."""
    chain = world()
    now_ms, blocks = chain.now_ms, chain.blocks
    found = [
        Case("genesis to the first block", 0, blocks[1], now_ms),
        Case("a skip within one set", 0, blocks[5], now_ms),
        Case("a skip to a larger set", 3, blocks[8], now_ms),
        Case("the next block", 3, blocks[4], now_ms),
        Case("the next block, of a new set", 5, blocks[6], now_ms),
        Case("a skip to a set of which none is known", 3, blocks[12], now_ms),
        Case("one of five known: no more than a third", 5, blocks[12], now_ms),
    ]
    edge = blocks[3].header.time_ms + TRUSTING_PERIOD_MS
    found += [
        Case("the last millisecond of trust", 3, blocks[5], edge - 1),
        Case("trust has ended", 3, blocks[5], edge),
    ]
    edge = blocks[5].header.time_ms - CLOCK_DRIFT_MS
    found += [
        Case("as far ahead as a clock may be", 3, blocks[5], edge + 1),
        Case("further ahead", 3, blocks[5], edge),
    ]
    bent = _bent_headers(chain)
    bent += [(name, replace(blocks[5], certificate=one)) for name, one in _bent_proofs(chain)]
    found += [Case(name, 3, block, now_ms) for name, block in bent]
    found += [
        Case("a parent that is not the trusted block", 3, _other_parent(chain), now_ms),
        Case("a successor that nobody named", 3, _usurpers(chain, 4), now_ms),
        Case("a set of a liar's own making, far away", 3, _usurpers(chain, 6), now_ms),
        Case("the trusted height", 5, blocks[5], now_ms),
        Case("a lower height", 5, blocks[4], now_ms),
    ]
    return found


def _bent_headers(chain: LightWorld) -> list[tuple[str, LightBlock]]:
    """Blocks of height 5 that a quorum signed, each against one rule."""
    return [
        ("another chain id", chain.make(5, chain_id="vectors-2")),
        ("another genesis hash", chain.make(5, genesis_hash=b"\x01" * 32)),
        ("a recovery epoch that is not trusted", chain.make(5, recovery_epoch=1)),
        ("the time of the trusted block", chain.make(5, time_ms=chain.blocks[3].header.time_ms)),
        ("a set that is not the header's", replace(chain.blocks[5], authorities=keys_of(range(5)))),
        (
            "a next set that is not the header's",
            replace(chain.blocks[5], next_authorities=keys_of(range(4))),
        ),
    ]


def _bent_proofs(chain: LightWorld) -> list[tuple[str, Certificate]]:
    """Certificates of block 5 that prove nothing. Three of four signed it: bitmap 0x07."""
    good = chain.blocks[5].certificate
    return [
        ("two of four", replace(good, signers=b"\x03", signatures=good.signatures[:2])),
        ("a signature twice", replace(good, signatures=(*good.signatures[:2], good.signatures[0]))),
        ("in another order", replace(good, signatures=good.signatures[::-1])),
        ("one signature too few", replace(good, signatures=good.signatures[:2])),
        ("one signature too many", replace(good, signatures=(*good.signatures, bytes(64)))),
        ("a bitmap that is too long", replace(good, signers=good.signers + b"\x00")),
        ("a bit beyond the set", replace(good, signers=b"\x13")),
        ("another member's bit", replace(good, signers=b"\x0b")),
        ("another round", replace(good, round=1)),
        ("a bent signature", replace(good, signatures=(*good.signatures[:2], bytes(64)))),
        ("another height", chain.blocks[4].certificate),
        ("another block", chain.make(5, state_root=b"\x02" * 32).certificate),
    ]


def _other_parent(chain: LightWorld) -> LightBlock:
    return chain.make(4, parent_id=b"\x03" * 32)


def _usurpers(chain: LightWorld, height: int) -> LightBlock:
    """A block decided by its maker's own authorities, with two honest names borrowed."""
    own = keys_of(range(20, 26))
    members = AuthoritySet([*own, *keys_of(range(2))])
    header = replace(
        chain.header(height),
        authorities_hash=members.hash,
        next_authorities_hash=members.hash,
    )
    return LightBlock(header, certify_by(header, members, own), members, members)
