"""`consensus explain|state|evidence`: words first, then facts that can be pasted back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.cli.consensus import best_of
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

MILAN = "clawval1" + "m" * 58
ROME = "clawval1" + "q" * 58


def explanation(**changes: Any) -> dict[str, Any]:
    """What consensus_explain answers when one of four is gone."""
    return {
        "state": "degraded",
        "ok": False,
        "sentence": "3 of 4 authorities sign. Milan silent 14 s. Payments continue; one more loss "
        "stops them.",
        "also": ["This node's clock is 0.8 s behind the others'."],
        "waitingFor": "proposal",
        "command": "clawpurse testnet start",
        "hint": "It starts what is down.",
        "height": 132,
        "round": 1,
        "step": "propose",
        "proposer": ROME,
        "roundMs": 300,
        "heightMs": 1_300,
        "missing": [
            {
                "authority": MILAN,
                "name": "Milan",
                "standing": "silent",
                "sinceMs": 14_000,
                "sinceTime": "2026-11-22T14:02:11Z",
                "lastSeenHeight": 131,
            },
            {
                "authority": ROME,
                "name": None,
                "standing": "following",
                "sinceMs": 60_000,
                "sinceTime": "2026-11-22T14:01:25Z",
                "lastSeenHeight": None,
            },
        ],
        "quorum": {"have": 3, "need": 3, "of": 4},
        "authorities": [],
        "newest": {"height": 131, "ageMs": 1_500},
        "peers": 2,
        "behind": 0,
        "best": 131,
        "blocksPerSecond": 0.0,
        "skewMs": -812,
        "signing": {"state": "signs", "why": None},
        "evidence": [],
        **changes,
    }


def test_the_sentence_comes_first_and_the_next_command_last(cli: Cli, node: FakeNode) -> None:
    node.overrides["consensus_explain"] = lambda _: explanation()
    done = cli("consensus", "explain")
    assert done.code == 0
    assert done.out.splitlines() == [
        "! 3 of 4 authorities sign. Milan silent 14 s. Payments continue; one more loss stops "
        "them.",
        "! This node's clock is 0.8 s behind the others'.",
        "",
        "  Waits for  proposal",
        "  Block      132, round 1, propose, 0.3 s",
        "  Newest     block 131, 1.5 s old",
        "  Signing    3 of 4, 3 needed",
        f"  Missing    Milan ({MILAN}) silent since 2026-11-22T14:02:11Z, 14 s, last vote for "
        "block 131",
        f"  Missing    {ROME} follows without signing since 2026-11-22T14:01:25Z, 60 s, never "
        "heard here",
        "  This node  signs, 2 peers",
        "  Clock      -812 ms from the others'",
    ]
    assert done.err == "Next: clawpurse testnet start  (It starts what is down.)\n"
    assert json.loads(cli("consensus", "explain", "--json").out) == explanation()


def test_when_all_is_well_nothing_is_asked_of_anybody(cli: Cli, node: FakeNode) -> None:
    node.overrides["consensus_explain"] = lambda _: explanation(
        ok=True, sentence="All is well.", also=[], missing=[], skewMs=None
    )
    done = cli("consensus", "explain")
    assert done.out.startswith("✓ All is well.\n")
    assert "  Clock      not known yet" in done.out
    assert done.err == ""


def test_status_opens_with_the_same_sentence(cli: Cli, node: FakeNode) -> None:
    """Whoever reads only the first line must know whether to worry."""
    node.overrides["consensus_explain"] = lambda _: explanation()
    done = cli("status")
    assert done.out.startswith("! 3 of 4 authorities sign. Milan silent 14 s.")
    assert "Next: clawpurse testnet start" in done.err
    document = json.loads(cli("status", "--json").out)
    assert (document["chainId"], document["explanation"]["state"]) == ("acme-test", "degraded")


def test_of_several_nodes_one_that_speaks_of_the_network_is_heard() -> None:
    """A node that is cut off would only say so, and hide what the others know."""
    alone, degraded = {"state": "alone"}, {"state": "degraded"}
    assert best_of([alone, degraded]) is degraded
    assert best_of([degraded, alone]) is degraded
    assert best_of([alone]) is alone
    assert best_of([]) is None


def state(**changes: Any) -> dict[str, Any]:
    votes = {
        "round": 1,
        "prevotes": "0xc0",
        "precommits": "0x00",
        "polka": None,
        "prevotesBy": [
            {"authority": MILAN, "name": "Milan", "blockId": "0x" + "ab" * 32},
            {"authority": ROME, "name": None, "blockId": None},
        ],
        "precommitsBy": [],
    }
    return {
        "height": 132,
        "round": 1,
        "step": "prevote",
        "waiting": False,
        "proposer": ROME,
        "lockedValue": "0x" + "cd" * 32,
        "lockedRound": 0,
        "validValue": None,
        "validRound": -1,
        "votes": [votes],
        "authorities": [
            {"authority": MILAN, "name": "Milan"},
            {"authority": ROME, "name": None},
            {"authority": "clawval1" + "z" * 58, "name": "Oslo"},
        ],
        "timers": [{"kind": "prevote", "height": 132, "round": 1, "leftMs": 400}],
        "signing": True,
        "signer": {"state": "signs", "why": ""},
        "refused": {"round": 0, "problem": "the state root differs"},
        "evidenceSeen": 0,
        **changes,
    }


def test_state_shows_every_vote_and_who_lacks(cli: Cli, node: FakeNode) -> None:
    """Piped: tabs and whole names, one row an authority and round."""
    node.overrides["consensus_getState"] = lambda _: state()
    done = cli("consensus", "state")
    lines = done.out.splitlines()
    assert lines[0] == "Block 132, round 1: the node is at prevote."
    assert f"  Locked    0x{'cd' * 32} in round 0" in lines
    assert "  Timers    prevote in 0.4 s" in lines
    assert "  Refused   the block of round 0: the state root differs" in lines
    assert lines[-3:] == [
        "1\tMilan\t0xabababababab…\t–",
        f"1\t{ROME}\tnil\t–",
        "1\tOslo\t–\t–",
    ]
    assert json.loads(cli("consensus", "state", "--json").out) == state()


def test_state_says_why_a_node_does_not_sign(cli: Cli, node: FakeNode) -> None:
    node.overrides["consensus_getState"] = lambda _: state(
        signing=False,
        signer={"state": "listening", "why": "it listens first"},
        votes=[],
        waiting=True,
        timers=[],
        refused=None,
    )
    done = cli("consensus", "state")
    assert done.out.startswith("Block 132, round 1: the node waits for something to decide.\n")
    assert "  Signing   no: it listens first" in done.out
    assert "No vote of this block is known yet." in done.err


@pytest.mark.parametrize("cursor", [None, "12"])
def test_evidence_lists_who_signed_twice(cli: Cli, node: FakeNode, cursor: str | None) -> None:
    record = {"authority": MILAN, "height": 120, "round": 0, "kind": "prevote"}
    node.overrides["consensus_getEvidence"] = lambda _: {
        "evidence": [{**record, "state": "committed", "committedHeight": 122}, record],
        "nextCursor": cursor,
    }
    done = cli("consensus", "evidence")
    assert done.out.splitlines() == [
        "! 1 authority has signed two different things for one position.",
        "",
        f"{MILAN}\t120\t0\tprevote\tcommitted\t122",
        f"{MILAN}\t120\t0\tprevote\t–\t–",
    ]
    assert ("cursor=12" in done.err) == (cursor is not None)


def test_no_evidence_is_said_in_words(cli: Cli, node: FakeNode) -> None:
    node.overrides["consensus_getEvidence"] = lambda _: {"evidence": []}
    assert cli("consensus", "evidence").out == "✓ No authority was found to have signed twice.\n"
