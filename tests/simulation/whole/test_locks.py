"""What the algorithm is difficult for, arranged on purpose between whole nodes.

Hidden locks: two authorities hold locks on two blocks, and nobody else saw why. A user would see
two truths, or none any more, if locks were forgotten or kept for ever. And a proposer whose
machine computes wrongly: its round fails, the chain does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from clawpurse.ledger.agreement.certificates import PolkaCertificate
from clawpurse.ledger.agreement.envelope import unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.crypto import ZERO_HASH
from clawpurse.node.bodies import Body
from clawpurse.node.messages import ConsensusKind
from clawpurse.p2p.channels import Channel
from tests.node.rpc.nodeworld import until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, lacking
from tests.simulation.whole.links import Message
from tests.simulation.whole.world import World, run_world

Said = Proposal | Vote | PolkaCertificate
#: Tells whether a message is lost: what it says, from whom, to whom.
Rule = Callable[[Said, str, str], bool]
LOCK_LINES = ("P26:locked", "P28:waits", "P30", "P32:locked")
#: Every third seed or so reaches all of them.
LOCK_SEEDS = 30


class Script:
    """Loses messages of consensus by a rule, as long as it is on."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.is_on = True

    def passes(self, message: Message) -> Sequence[tuple[float, bytes]] | None:
        if not self.is_on or message.channel is not Channel.CONSENSUS:
            return None
        if message.kind != ConsensusKind.MESSAGE:
            return None
        said = unpack_message(message.payload)
        if isinstance(said, Said) and self.rule(said, message.source, message.to):
            return []
        return None


def hidden_locks(seed: int = 1) -> World:
    """Two locks on two blocks, seen by nobody else; return the world in which they dissolve."""
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        zero, _one, two, three = (world.key_names[key] for key in sorted(world.key_names))
        seen: dict[int, bytes] = {}

        def lost(said: Said, source: str, to: str) -> bool:
            if said.height != 1 or said.round > 2:
                return False
            if isinstance(said, PolkaCertificate):
                return True
            if isinstance(said, Proposal):
                seen[said.round] = said.block_id
                # Round 0: the fourth does not see the block, so it prevotes nil.
                return said.round == 0 and to == three
            if said.kind is not Kind.PREVOTE:
                return False
            # Only the third sees the polka of round 0, only the fourth that of round 1: all
            # others see a quorum of prevotes, and not for one block.
            return (said.round, source) in ((0, two), (1, three))

        script = Script(lost)
        world.links.taps.append(script)
        await world.begin_all(world.names)
        await until(lambda: all(node.node.engine.may_sign for node in world.up), 30)
        client = Client(world, world.alice, 0)
        client.hand_in(world.nodes[zero])

        machines = {name: world.nodes[name].node.engine.machine for name in world.names}
        await until(lambda: 2 in seen, 60)
        # The third is locked on the block of round 0, the fourth on that of round 1.
        assert machines[two].state.locked_value == seen[0] == seen[2]
        assert machines[three].state.locked_value == seen[1] != seen[0]
        # A proposal that rests on a polka which nobody else saw: they wait for it.
        await until(lambda: world.lines["P28:waits"] > 0, 10)
        script.is_on = False
        await until(lambda: bool(world.accepted) and not lacking(world), 60)
        first = world.first_decision(1)
        assert first is not None
        assert first.header.block_id in (seen[0], seen[1])
        world.check_end()

    run_world(scenario, seed, 4, checkers())
    return worlds[0]


def dissolved_locks() -> Counter[str]:
    """Dissolve hidden locks until each way out was taken; return the lines that were reached.

    Whether the locked authority hears of the older polka before the decision is for the links
    to say.
    """
    lines: Counter[str] = Counter()
    for seed in range(1, LOCK_SEEDS + 1):
        lines += hidden_locks(seed).lines
        if all(lines[line] for line in LOCK_LINES):
            break
    return lines


def test_two_hidden_locks_end_in_one_decision() -> None:
    lines = dissolved_locks()
    assert [line for line in LOCK_LINES if not lines[line]] == []


def late_polka(seed: int = 1) -> World:
    """One authority learns of a polka only after it gave its round up; return the world.

    It takes the block as its valid value, and must neither lock it nor take its nil back.
    """
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        _zero, one, two, three = (world.key_names[key] for key in sorted(world.key_names))

        def lost(said: Said, _source: str, to: str) -> bool:
            if said.height != 1 or said.round > 0:
                return False
            if isinstance(said, Proposal):
                return to == three
            if to != two:
                return False
            # Three prevotes reach the third, one of them nil: a quorum, and not for one block.
            machine = world.nodes[two].node.engine.machine
            waiting = machine.step_name in ("start", "propose", "prevote")
            if isinstance(said, PolkaCertificate):
                return waiting
            # Whoever tells it: the others pass on what they heard.
            is_prevote = said.kind is Kind.PREVOTE and world.key_names[said.authority] == one
            return waiting and is_prevote

        world.links.taps.append(Script(lost))
        await world.begin_all(world.names)
        await until(lambda: all(node.node.engine.may_sign for node in world.up), 30)
        client = Client(world, world.alice, 0)
        client.hand_in(world.nodes[three])
        await until(lambda: bool(world.accepted) and not lacking(world), 60)
        world.check_end()

    run_world(scenario, seed, 4, checkers())
    return worlds[0]


def test_a_polka_that_comes_after_a_nil_precommit_takes_nothing_back() -> None:
    assert late_polka().lines["P42:precommit"] > 0


def wrong_proposer() -> World:
    """One authority's machine computes another state; return what became of its blocks."""
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        await world.begin_all(world.names)
        faulty = world.names[0]
        world.excused[faulty] = "computes wrongly"
        host = cast(Any, world.nodes[faulty].node.host)
        build = host.build
        made: list[bytes] = []

        async def building(*asked: Any) -> Body | None:
            body = await build(*asked)
            if body is None:
                return None
            header = replace(body.block.header, state_root=ZERO_HASH)
            made.append(header.block_id)
            return Body(body.block._replace(header=header), body.prepared)

        host.build = building
        await until(lambda: all(node.node.engine.may_sign for node in world.up), 30)
        client = Client(world, world.alice, 0)
        for turn in range(5):
            client.hand_in(world.up[turn % 4])
            await until(lambda n=turn: len(world.accepted) > n and not lacking(world), 60)  # type: ignore[misc]
        assert made
        assert not any(decision.header.block_id in made for decision in world.decisions)
        world.check_end()

    run_world(scenario, seed=2)
    return worlds[0]


def test_a_proposer_that_computes_wrongly_fails_its_round_and_not_the_chain() -> None:
    assert wrong_proposer().lines["P26:invalid"] > 0
