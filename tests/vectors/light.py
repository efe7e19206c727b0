"""Writes tests/vectors/light.json: what a light client must answer (docs/protocol.md, §7).

Run `python -m tests.vectors.light` in the root to write the file anew. Everything in it follows
from fixed seeds; `tests/test_light_vectors.py` checks that running it again gives the same file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# First: it makes `clawpurse` this checkout, whatever else is installed.
from tests.vectors.generate import text

# isort: split
from clawpurse.ledger.agreement.light import CLOCK_DRIFT_MS, TRUSTING_PERIOD_MS, LightBlock
from tests.vectors import lightcases

FILE = Path(__file__).resolve().parent / "light.json"


def document() -> dict[str, Any]:
    """Blocks of a chain whose authorities change, lies about it, and what a client must say."""
    world, cases = lightcases.world(), lightcases.cases()
    names: dict[bytes, str] = {}
    blocks: dict[str, dict[str, str]] = {}
    for case in cases:
        packed = case.block.pack()
        if packed not in names:
            names[packed] = str(len(names) + 1)
            blocks[names[packed]] = parts(case.block)
    return {
        "about": "Golden vectors of light clients, written by tests/vectors/light.py.",
        "trustingPeriodMs": TRUSTING_PERIOD_MS,
        "clockDriftMs": CLOCK_DRIFT_MS,
        "genesis": text(world.genesis.packed),
        "genesisHash": text(world.genesis.hash),
        "trusted": {
            str(height): parts(world.blocks[height]) for height in lightcases.TRUSTED_HEIGHTS
        },
        "blocks": blocks,
        "cases": [
            {
                "name": case.name,
                "trusted": str(case.trusted_height),
                "block": names[case.block.pack()],
                "nowMs": case.now_ms,
                "verdict": lightcases.verdict_text(case.verdict()),
            }
            for case in cases
        ],
    }


def parts(block: LightBlock) -> dict[str, str]:
    """The four parts of a light block, as nodes serve them."""
    return {
        "header": text(block.header.pack()),
        "certificate": text(block.certificate.pack()),
        "authorities": text(block.authorities.pack()),
        "nextAuthorities": text(block.next_authorities.pack()),
    }


def rendered() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(rendered(), "utf-8")
