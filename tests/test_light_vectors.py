"""docs/protocol.md is enough to write a light client: one made from it says what ours says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.agreement.light import Accepted, Reason
from tests.vectors import light, stranger
from tests.vectors.stranger import octets

ROOT = Path(__file__).resolve().parent.parent
VECTORS: dict[str, Any] = json.loads(light.FILE.read_text("utf-8"))


def opened(parts: dict[str, str]) -> dict[str, bytes]:
    return {name: octets(value) for name, value in parts.items()}


def test_the_vectors_are_what_the_code_makes_now() -> None:
    """When this fails the protocol has changed: that is a decision, not a detail."""
    assert light.rendered() == light.FILE.read_text("utf-8"), (
        "→ python -m tests.vectors.light, if the change is meant"
    )


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_stranger_s_light_client_gives_the_same_verdicts(case: dict[str, Any]) -> None:
    """One that followed what another refuses would be led away from it."""
    trusted = None
    if case["trusted"] != "0":
        trusted = opened(VECTORS["trusted"][case["trusted"]])
    block = opened(VECTORS["blocks"][case["block"]])
    genesis = octets(VECTORS["genesis"])
    assert stranger.blake("claw.genesis", genesis) == octets(VECTORS["genesisHash"])
    assert stranger.light_verdict(trusted, genesis, block, case["nowMs"]) == case["verdict"]


def test_every_verdict_and_every_reason_has_a_vector() -> None:
    shown = {case["verdict"] for case in VECTORS["cases"]}
    reasons = {f"invalid {reason}" for reason in Reason}
    assert shown == {verdict.value for verdict in Accepted} | reasons


def test_the_reasons_in_the_document_are_those_of_the_code_in_their_order() -> None:
    text = (ROOT / "docs/protocol.md").read_text("utf-8")
    section = text.split("\n### Light clients\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| \d+ \| `(\w+)` \|", section, flags=re.MULTILINE)
    assert rows == list(Reason)
