"""An authority changes its key while the network lives: the old one up to a height, the new one on.

The node holds both. If the switch left a gap, each rotation would cost the network a round, and
with one authority away it would stand.
"""

from __future__ import annotations

from typing import Any

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.modules.governance.changes import Kind
from clawpurse.node.app import Keys
from clawpurse.node.files import MemoryFiles
from tests.node.decisions import change, decide, in_force, seat
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import Disk, Running, until

#: The number of the seat whose key the first authority holds besides its own.
NEXT = 5


class TwoKeys(Lab):
    """A lab whose first authority holds the key of a fifth seat too, as its next one."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        seat(self, NEXT)
        self.next_state = MemoryFiles()

    def _keys(self, name: str, node_seed: bytes, seed: bytes | None, disk: Disk) -> Keys:
        keys = super()._keys(name, node_seed, seed, disk)
        if name != "authority-1":
            return keys
        extra = self._signer(self.seeds[NEXT - 1], Disk(signer=self.next_state))
        return Keys(node_seed, {**keys.signers, extra.public_key: extra}, keys.admin_token)


def signed_by(lab: Lab, number: int) -> set[int]:
    """The heights at which a seat's key released a signature."""
    key = crypto.public_key_of(lab.seeds[number - 1])
    return {order[0] for signer, order in lab.released if signer == key}


async def metrics(node: Running) -> dict[str, Any]:
    answer = await node.call("consensus_getSignerMetrics")
    return {entry["publicKey"]: entry for entry in answer["keys"]}


def test_the_node_switches_at_the_height_of_the_change_and_misses_no_block() -> None:
    """One of four is away, so each block needs this node's vote: a gap would show as a round."""

    async def scenario(lab: TwoKeys) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await until(lambda: nodes[0].node.engine.may_sign, 20)
        before = await metrics(nodes[1])
        assert len(before) == 1
        old, new = ("0x" + seat(lab, number).hex() for number in (1, NEXT))
        mine = await metrics(nodes[0])
        assert (mine[old]["state"], mine[new]["state"]) == ("signing", "outside")
        wanted = change(lab, Kind.REPLACE, 1, NEXT)
        await decide(lab, nodes[1], wanted, [1, 2, 3])
        since = in_force(nodes[1])
        for _ in range(5):
            await lab.final(nodes[2], lab.pay(lab.alice))
        await lab.reach(since + 3)
        assert seat(lab, NEXT) in nodes[1].node.chain.authorities
        assert max(signed_by(lab, 1)) == since - 1
        assert min(signed_by(lab, NEXT)) == since
        for height in range(1, nodes[1].height + 1):
            chain = nodes[1].node.chain
            packed = chain.blocks.certificate(height)
            assert packed is not None
            # Only the one that is away costs a round, when it is its turn.
            missed = chain.authorities_at(height).proposer(height, 0) == seat(lab, 4)
            assert Certificate.unpack(packed).round == missed
        mine = await metrics(nodes[0])
        assert (mine[old]["state"], mine[new]["state"]) == ("outside", "signing")
        assert mine[old]["outsideFor"] == nodes[0].height + 3 - since
        # The payments' lanes of the faucet follow the set: still disjoint from the others'.
        lanes = [set(node.node._faucet_lanes()) for node in nodes]
        assert not lanes[0] & lanes[1] and not lanes[0] & lanes[2]

    run_lab(scenario, make=TwoKeys)


def test_a_restart_in_the_middle_of_the_change_goes_on_with_the_right_key() -> None:
    async def scenario(lab: TwoKeys) -> None:
        nodes = await lab.authorities()
        await until(lambda: nodes[0].node.engine.may_sign, 20)
        wanted = change(lab, Kind.REPLACE, 1, NEXT)
        await decide(lab, nodes[1], wanted, [1, 2, 3])
        disk = await lab.crash(nodes[0])
        for _ in range(3):
            await lab.final(nodes[2], lab.pay(lab.alice))
        back = await lab.start("authority-1", disk)
        await until(lambda: back.node.engine.may_sign, 30)
        for _ in range(3):
            await lab.final(nodes[2], lab.pay(lab.alice))
        await lab.reach(nodes[2].height)
        assert signed_by(lab, NEXT) and max(signed_by(lab, 1)) < in_force(nodes[1])

    run_lab(scenario, make=TwoKeys)


def test_a_node_follows_until_its_key_is_voted_in_and_after_it_is_voted_out() -> None:
    """Its key is of no use before; the process must not need a restart to notice either."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        seat(lab, NEXT)
        new = await lab.start(f"authority-{NEXT}")
        for _ in range(3):
            await lab.final(new, lab.pay(lab.alice))
        assert not new.node.engine.may_sign and not new.node.care.problems()
        assert not signed_by(lab, NEXT)
        await decide(lab, nodes[1], change(lab, Kind.ADD, NEXT), [1, 2, 3])
        await until(lambda: new.node.engine.may_sign, 30)
        for _ in range(3):
            await lab.final(new, lab.pay(lab.alice))
        assert signed_by(lab, NEXT)
        await decide(lab, nodes[1], change(lab, Kind.REMOVE, NEXT), [1, 2, 3, NEXT])
        gone = in_force(nodes[1])
        for _ in range(3):
            await lab.final(new, lab.pay(lab.alice))
        await trio.sleep(5)
        assert max(signed_by(lab, NEXT)) < gone
        assert not new.node.care.problems()

    run_lab(scenario)


def test_two_keys_of_one_node_in_one_set_is_alarmed_and_one_signs() -> None:
    """A vote that adds instead of replacing: half of this node's weight is silent, and said so."""

    async def scenario(lab: TwoKeys) -> None:
        nodes = await lab.authorities()
        await decide(lab, nodes[1], change(lab, Kind.ADD, NEXT), [1, 2, 3])
        since = in_force(nodes[1])
        for _ in range(4):
            await lab.final(nodes[2], lab.pay(lab.alice))
        await lab.reach(since + 2)
        both = signed_by(lab, 1) | signed_by(lab, NEXT)
        assert max(both) >= since
        late = [{h for h in signed_by(lab, n) if h >= since} for n in (1, NEXT)]
        assert not late[0] or not late[1]
        problems = "; ".join(nodes[0].node.care.problems())
        assert "two of its keys are authorities at once" in problems

    run_lab(scenario, make=TwoKeys)
