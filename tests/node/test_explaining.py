"""Whole nodes say what they wait for: kill, cut and start authorities, and read the sentence.

On virtual time. A network that loses an authority must say so within five seconds, by name, and
must never accuse one that is there.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from clawpurse.consensus.inputs import VoteReceived
from clawpurse.ledger import crypto
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.crypto import public_key_of
from clawpurse.node.explaining import signing_facts
from clawpurse.node.explanation import State
from tests.node.lab import Lab, clock_off, run_lab
from tests.node.rpc.nodeworld import Running, until

#: EXPERIENCE §8: what killing an authority changes, it changes within this time.
NOTICED_S = 5.0


def names_of(lab: Lab) -> tuple[str, ...]:
    """What an operator would write into config.toml."""
    return tuple(
        f"authority-{number}={authority_text(public_key_of(seed))}"
        for number, seed in enumerate(lab.seeds, 1)
    )


def key_of(node: Running) -> bytes:
    key = node.node.own_key
    assert key is not None
    return key


async def network(lab: Lab, *numbers: int) -> list[Running]:
    chosen = numbers or range(1, lab.count + 1)
    return [
        await lab.start(f"authority-{number}", authority_names=names_of(lab)) for number in chosen
    ]


async def ask(node: Running) -> dict[str, Any]:
    answer: dict[str, Any] = await node.call("consensus_explain")
    return answer


async def says(node: Running, state: State, seconds: float = NOTICED_S) -> dict[str, Any]:
    """Wait until a node's explanation is in a state; return it."""
    with trio.move_on_after(seconds):
        while (found := await ask(node))["state"] != state:
            await trio.sleep(0.1)
        return found
    raise AssertionError(f"after {seconds} s it says: {await ask(node)}")


async def heard(lab: Lab, nodes: list[Running]) -> None:
    """Make a block and wait until all have heard all."""
    await lab.final(nodes[0], lab.pay(lab.alice))
    everybody = {"have": len(nodes), "need": len(nodes) * 2 // 3 + 1, "of": len(nodes)}
    with trio.fail_after(20):
        for node in nodes:
            while (await ask(node))["quorum"] != everybody:
                await trio.sleep(0.1)
                await lab.final(nodes[0], lab.pay(lab.alice))


def test_an_idle_network_waits_for_nothing_and_accuses_nobody() -> None:
    """For minutes without payments; whoever is merely left out of certificates is not silent."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        for _ in range(120):
            await trio.sleep(1)
            for node in nodes:
                found = await ask(node)
                assert found["ok"], found
                assert found["missing"] == []
                assert found["quorum"]["have"] == 4

    run_lab(scenario)


def test_killing_one_of_four_changes_the_sentence_within_five_seconds() -> None:
    """On an idle network, which has no votes to miss."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        await trio.sleep(10)
        victim = nodes.pop(2)
        disk = await lab.crash(victim)
        for node in nodes:
            found = await says(node, State.DEGRADED)
            assert found["sentence"].startswith("3 of 4 authorities sign. authority-3 silent ")
            assert found["sentence"].endswith("Payments continue; one more loss stops them.")
            (missing,) = found["missing"]
            assert missing["name"] == "authority-3"
            assert missing["authority"] == authority_text(public_key_of(lab.seeds[2]))
            assert missing["standing"] == "silent"
            # It may have decided the newest block without having to vote.
            assert node.height - 1 <= missing["lastSeenHeight"] <= node.height
            assert 3_000 < missing["sinceMs"] < 6_000
            assert found["command"]
        (paid,) = await lab.final(nodes[0], lab.pay(lab.alice))
        assert paid["status"] == "final"
        back = await lab.start("authority-3", disk)
        # It listens for a round before it signs, and is believed at its first vote.
        await until(lambda: back.node.engine.may_sign, 10)
        await lab.final(nodes[0], lab.pay(lab.alice))
        for node in nodes:
            await says(node, State.IDLE, 10)

    run_lab(scenario)


def test_under_load_too_and_the_one_who_stays_is_never_accused() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)

        async def pay() -> None:
            while True:
                await lab.final(nodes[0], lab.pay(lab.alice))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay)
            for _ in range(40):
                await trio.sleep(0.25)
                for node in nodes:
                    assert (await ask(node))["missing"] == []
            await lab.crash(nodes.pop(3))
            for node in nodes:
                found = await says(node, State.DEGRADED)
                assert [one["name"] for one in found["missing"]] == ["authority-4"]
            for _ in range(40):
                await trio.sleep(0.25)
                for node in nodes:
                    missing = (await ask(node))["missing"]
                    assert [one["name"] for one in missing] == ["authority-4"]
            nursery.cancel_scope.cancel()

    run_lab(scenario)


def test_without_a_quorum_it_says_who_is_missing_and_that_nothing_is_lost() -> None:
    """For as long as it takes: the two that are left stay known as there."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        height = nodes[0].height
        disks = {name: await lab.crash(lab.nodes[name]) for name in ("authority-3", "authority-4")}
        left = nodes[:2]
        await left[0].call("tx_submit", tx="0x" + lab.pay(lab.alice).raw.hex())
        for node in left:
            await says(node, State.NO_QUORUM)
        for minute in range(5):
            await trio.sleep(60)
            for node in left:
                found = await ask(node)
                assert found["sentence"].startswith("2 of 4 authorities sign, 3 are needed.")
                assert "Payments wait, nothing is lost." in found["sentence"]
                assert sorted(one["name"] for one in found["missing"]) == sorted(disks)
                assert all(one["sinceMs"] > minute * 60_000 for one in found["missing"])
                assert found["round"] == 0
        # A third one dies after it has voted: its vote is here, and it is not.
        await lab.crash(left.pop())
        await says(left[0], State.ALONE)
        await trio.sleep(4)
        found = await ask(left[0])
        assert found["quorum"] == {"have": 1, "need": 3, "of": 4}
        for name, disk in disks.items():
            await lab.start(name, disk)
        await lab.reach(height + 1)

    run_lab(scenario)


def test_a_cut_off_node_says_that_it_is_alone_and_then_how_far_behind() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        disk = await lab.crash(nodes.pop())
        for _ in range(30):
            await lab.final(nodes[0], lab.pay(lab.alice))
        for node in nodes:
            lab.links.cut(node.name, "authority-4")
            lab.links.cut("authority-4", node.name)
        late = await lab.start("authority-4", disk)
        found = await says(late, State.ALONE)
        assert found["peers"] == 0
        # It cannot sign either, and that is not what it needs to hear first.
        assert any("does not sign" in sentence for sentence in found["also"])
        lab.heal_all()
        await lab.reach(nodes[0].height, late)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await says(late, State.IDLE, 20)

    run_lab(scenario)


def test_a_follower_tells_what_it_can_know() -> None:
    """It hears no votes: it accuses nobody, and says when blocks are overdue."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        follower = await lab.node("follower", *nodes)
        await heard(lab, nodes)
        await lab.reach(nodes[0].height, follower)
        assert (await says(follower, State.IDLE))["signing"]["state"] == "follower"
        for name in ("authority-3", "authority-4"):
            await lab.crash(lab.nodes[name])
        await follower.call("tx_submit", tx="0x" + lab.pay(lab.bob).raw.hex())
        found = await says(follower, State.OVERDUE, 20)
        assert found["missing"] == []

    run_lab(scenario)


def test_a_clock_that_is_wrong_is_told_by_its_own_node() -> None:
    """R20: alarmed at half of what stops it from taking part; the others see nothing wrong."""

    async def scenario(lab: Lab) -> None:
        nodes = []
        for number, offset_ms in enumerate((0, 0, 0, -400), 1):
            name = f"authority-{number}"
            nodes.append(await lab.start(name, clock=clock_off(offset_ms)))
        for _ in range(16):
            await lab.final(nodes[0], lab.pay(lab.alice))
        found = await says(nodes[3], State.SKEW)
        assert -420 < found["skewMs"] < -360
        for node in nodes[:3]:
            other = await ask(node)
            assert other["state"] != State.SKEW
            assert other["skewMs"] is None or abs(other["skewMs"]) < 60

    run_lab(scenario)


def test_tools_see_every_vote_by_name_and_what_is_timed() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        for victim in (nodes.pop(), nodes.pop()):
            await lab.crash(victim)
        height = nodes[0].height + 1
        await nodes[0].call("tx_submit", tx="0x" + lab.pay(lab.alice).raw.hex())
        await trio.sleep(10)
        for node in nodes:
            state = await node.call("consensus_getState")
            assert (state["height"], state["quorum"], state["signing"]) == (height, 3, True)
            assert [one["name"] for one in state["authorities"]] == [
                node.node.explainer.name(key) for key in node.node.chain.authorities
            ]
            assert state["roundMs"] > 1_000
            (votes,) = [entry for entry in state["votes"] if entry["round"] == state["round"]]
            voters = sorted(one["name"] for one in votes["prevotesBy"])
            assert voters == ["authority-1", "authority-2"]
            assert int(votes["prevotes"], 16).bit_count() == 2
            assert votes["polka"] is None
            assert [timer["kind"] for timer in state["timers"]] == ["rebroadcast"]
            assert state["signer"] == {"state": "signs", "why": ""}
            assert [one["kind"] for one in state["ownMessages"]][-1] == "prevote"
            assert state["decided"] is None

    run_lab(scenario)


def test_alerts_have_their_figures() -> None:
    """Zero for who signs, seconds for who is missing, and a gap, not a zero, for the unknown."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        first = nodes[0]
        known = first.node.explainer.silent_seconds()
        assert known == {key_of(first): 0.0} or len(known) < 4
        await heard(lab, nodes)
        assert set(first.node.explainer.silent_seconds().values()) == {0.0}
        victim = key_of(nodes[1])
        await lab.crash(nodes[1])
        await says(first, State.DEGRADED)
        silent = first.node.explainer.silent_seconds()
        assert silent.pop(victim) > 3
        assert set(silent.values()) == {0.0}
        text = await scrape(first)
        assert (
            text[f'clawpurse_authority_silent_seconds{{authority="{authority_text(victim)}"}}'] > 3
        )
        assert text["clawpurse_signing"] == 1
        assert text["clawpurse_consensus_round"] == 0
        assert text["clawpurse_evidence_seen"] == 0

    run_lab(scenario)


async def scrape(node: Running) -> dict[str, float]:
    """The samples of a node's metrics port."""
    text = node.node.metrics.exposition().decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_an_authority_that_signed_twice_is_named() -> None:
    """Also by those who only heard of it, and for as long as it decides with them."""

    async def scenario(lab: Lab) -> None:
        nodes = await network(lab)
        await heard(lab, nodes)
        guilty, seed = key_of(nodes[1]), lab.seeds[1]
        # A node that hears that its own key signed elsewhere would end, and rightly so.
        await lab.crash(nodes.pop(1))
        height = nodes[0].height + 1
        for block_id in (b"\1" * 32, b"\2" * 32):
            unsigned = Vote(Kind.PREVOTE, height, 0, block_id, guilty)
            signature = crypto.sign(seed, unsigned.sign_bytes(lab.node_domain(nodes[0])))
            signed = unsigned._replace(signature=signature)
            await nodes[0].node.engine.deliver(VoteReceived(signed), None)
        await trio.sleep(NOTICED_S)
        for node in nodes:
            found = await ask(node)
            assert found["evidence"] == [{"authority": authority_text(guilty), "height": height}]
            sentence = f"authority-2 signed two different things at height {height}."
            told = [found["sentence"], *found["also"]]
            assert any(one.startswith(sentence) for one in told)

    run_lab(scenario)


@pytest.mark.parametrize(
    ("described", "kind", "words"),
    [
        ({"state": "signing"}, "signs", ""),
        ({"state": "outside"}, "outside", "its key is no authority of this height"),
        ({"state": "away", "why": "no answer"}, "away", "its signer cannot be asked (no answer)"),
        ({"state": "listening", "answers": 5}, "listening", "2 of 2 peers have said"),
        ({"state": "listening", "answers": 1}, "listening", "1 of 2 peers have said"),
        ({"state": "observing", "from_height": 9}, "observing", "signs again from block 9"),
    ],
)
def test_why_a_key_does_not_sign_is_said(described: dict[str, Any], kind: str, words: str) -> None:
    """An operator who reads "not signing" alone restarts what must be left in peace."""
    facts = signing_facts(described, 2)
    assert facts.kind == kind
    assert words in facts.why
    assert bool(facts.why) == (kind != "signs")
