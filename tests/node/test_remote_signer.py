"""A signer of its own: it guards the key alone, and its absence or death harms nothing.

The node stands in one process of the simulation, its signer in another, connected by a link that
can be cut. Whatever dies when, no position is ever signed twice.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, cast

import pytest
import trio

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.signbytes import Kind, vote_bytes
from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.node.app import Keys
from clawpurse.node.files import MemoryFiles
from clawpurse.node.signer import (
    DoubleSignRefused,
    FileSigner,
    SignerAway,
    asked_guard,
    create_sign_state,
    sealed,
    state_name,
)
from clawpurse.node.signer_link import SignerLink
from clawpurse.node.signer_server import STRANGERS_MAX, SignerServer
from clawpurse.node.signer_wire import MAGIC, MESSAGE_BYTES_MAX, Ask, Gone, Say, secure
from clawpurse.node.workers import InlineLane
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.records import RecordCipher
from clawpurse.p2p.transport import MemoryNetwork, MemoryTransport
from tests.node.lab import Lab, PowerCut, WatchedSigner, run_lab
from tests.node.rpc.nodeworld import TOKEN, Disk, Running, until

GENESIS = b"\x11" * 32
DOMAIN = Domain("acme", GENESIS, 0)
SEED = b"\x05" * 32
KEY = crypto.public_key_of(SEED)
NODE, SIGNER, STRANGER = (bytes((n,)) * 32 for n in (0x21, 0x22, 0x23))
PORT = 9639
BLOCK, OTHER = b"\xaa" * 32, b"\xbb" * 32


def vote(height: int, round_: int = 0, block: bytes | None = BLOCK) -> bytes:
    return vote_bytes(DOMAIN, Kind.PREVOTE, height, round_, block)


def identity(seed: bytes, genesis: bytes = GENESIS, magic: bytes = MAGIC) -> Identity:
    return Identity("acme", genesis, seed, seed[::-1], magic=magic)


class Bench:
    """A signer with its disk, a node's link to it, and the network between them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.start, self.start_soon = nursery.start, nursery.start_soon
        self.chance = random.Random(7)
        self.disk, self.own = MemoryFiles(), MemoryFiles()
        create_sign_state(self.disk, GENESIS, KEY)
        self.scope = trio.CancelScope()
        self.back = 0
        self.link = self.connect(NODE, self.own)
        self.signer = self.link.signers[KEY]

    def connect(self, seed: bytes, files: MemoryFiles) -> SignerLink:
        return SignerLink(
            MemoryTransport(self.network, "node"),
            ("signer", PORT),
            identity(seed),
            crypto.public_key_of(SIGNER),
            [asked_guard(GENESIS, KEY, files)],
            InlineLane(),
            self.chance.randbytes,
        )

    async def serve(self, **changes: Any) -> SignerServer:
        file_signer = FileSigner(SEED, GENESIS, self.disk, InlineLane())
        server = SignerServer(
            changes.get("signers", {KEY: file_signer}),
            identity(SIGNER),
            crypto.public_key_of(NODE),
            self.chance.randbytes,
        )
        self.scope = trio.CancelScope()
        await self.start(self._serve, server)
        return server

    async def _serve(self, server: SignerServer, *, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                transport = MemoryTransport(self.network, "signer")
                await nursery.start(transport.serve, "signer", PORT, server.serve)
                task_status.started()

    async def kill(self) -> None:
        self.scope.cancel()
        self.network.reset("signer")
        await trio.sleep(0.01)

    def run(self) -> None:
        self.start_soon(self.link.run, self._count)

    def _count(self) -> None:
        self.back += 1

    async def ready(self) -> None:
        await until(lambda: not self.signer.away, 60)


async def test_it_signs_remembers_and_refuses_through_the_link(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(nursery)
    assert "was not reached yet" in bench.signer.away
    with pytest.raises(SignerAway):
        await bench.signer.sign(vote(1))
    server = await bench.serve()
    bench.run()
    await bench.ready()
    signature = await bench.signer.sign(vote(1))
    assert crypto.verify(KEY, vote(1), signature)
    assert await bench.signer.sign(vote(1)) == signature
    with pytest.raises(DoubleSignRefused):
        await bench.signer.sign(vote(1, 0, OTHER))
    # The node's own guard said no: the question never left.
    assert (server.signed_count, server.refused_count) == (2, 0)
    nursery.cancel_scope.cancel()


async def test_the_signer_refuses_what_a_node_that_forgot_asks_for(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """The node's machine was set back; its signer was not."""
    bench = Bench(nursery)
    await bench.serve()
    bench.run()
    await bench.ready()
    await bench.signer.sign(vote(5))
    await bench.kill()
    bench.link = bench.connect(NODE, MemoryFiles())
    bench.signer = bench.link.signers[KEY]
    await bench.serve()
    bench.run()
    await bench.ready()
    # What the signer knows is taken over when they meet, so the node's guard knows it too.
    assert bench.signer.watermark.order == (5, 0, int(Kind.PREVOTE))
    assert bench.signer.watermark.sign_bytes == vote(5)
    for asked in (vote(5, 0, OTHER), vote(4)):
        with pytest.raises(DoubleSignRefused):
            await bench.signer.sign(asked)
    assert crypto.verify(KEY, vote(5), await bench.signer.sign(vote(5)))
    nursery.cancel_scope.cancel()


async def test_a_signer_that_was_set_back_is_not_asked_for_two_things(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Why the node keeps a watermark of its own: the signer's may be yesterday's."""
    bench = Bench(nursery)
    early = dict(bench.disk.contents)
    await bench.serve()
    bench.run()
    await bench.ready()
    await bench.signer.sign(vote(5))
    await bench.kill()
    bench.disk.contents = early
    await bench.serve()
    await until(lambda: bench.back == 2, 60)
    with pytest.raises(DoubleSignRefused):
        await bench.signer.sign(vote(5, 0, OTHER))
    # The same bytes may be signed again: that is the same vote.
    assert crypto.verify(KEY, vote(5), await bench.signer.sign(vote(5)))
    nursery.cancel_scope.cancel()


async def test_a_floor_reaches_both_guards_also_after_an_absence(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(nursery)
    await bench.signer.raise_to(sealed(7))
    await bench.serve()
    bench.run()
    await bench.ready()
    assert FileSigner(SEED, GENESIS, bench.disk, InlineLane()).watermark.order == sealed(7)
    await bench.signer.raise_to(sealed(9))
    assert FileSigner(SEED, GENESIS, bench.disk, InlineLane()).watermark.order == sealed(9)
    assert asked_guard(GENESIS, KEY, bench.own).watermark.order == sealed(9)
    # What a node asks for is not what a key in its folder signed.
    assert state_name(GENESIS, KEY) not in bench.own.names()
    nursery.cancel_scope.cancel()


async def test_an_absent_signer_is_tried_again_with_pauses_that_have_an_end(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(nursery)
    dialled: list[float] = []
    open_stream = bench.network.connect

    async def noted(*place: Any) -> Any:
        dialled.append(trio.current_time())
        return await open_stream(*place)

    cast(Any, bench.network).connect = noted
    bench.run()
    await trio.sleep(3_600)
    pauses = [later - earlier for earlier, later in itertools.pairwise(dialled)]
    assert len(dialled) < 400
    assert pauses[0] < 1 and max(pauses) < 11
    assert "nobody listens" in bench.signer.away
    await bench.serve()
    await until(lambda: not bench.signer.away, 11)
    assert bench.back == 1
    nursery.cancel_scope.cancel()


async def test_a_signer_that_hangs_is_given_up_within_a_round(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Consensus waits for a signature; it must not wait for ever."""
    bench = Bench(nursery)

    class Slow(FileSigner):
        async def sign(self, sign_bytes: bytes) -> bytes:
            await trio.sleep(1_000)
            return await super().sign(sign_bytes)

    await bench.serve(signers={KEY: Slow(SEED, GENESIS, bench.disk, InlineLane())})
    bench.run()
    await bench.ready()
    before = trio.current_time()
    with pytest.raises(SignerAway, match="longer than"):
        await bench.signer.sign(vote(1))
    assert trio.current_time() - before < 3
    assert "longer than" in bench.signer.away
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["signature", "fault", "kind", "key"])
async def test_a_signer_that_talks_nonsense_is_not_believed(
    what: str, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A forged signature in our name would have this node punished by every peer."""
    bench = Bench(nursery)
    server = await bench.serve()
    answer = server._answer

    async def nonsense(kind: int, payload: Any) -> Any:
        if kind == Ask.STATE and what == "key":
            return Say.STATE, []
        if kind != Ask.SIGN:
            return await answer(kind, payload)
        return {
            "signature": (Say.SIGNED, [bytes(64)]),
            "fault": (Say.FAULT, ["no"]),
            "kind": (Say.PONG, [1, 2]),
        }[what]

    server._answer = nonsense  # type: ignore[method-assign]
    bench.run()
    if what == "key":
        await until(lambda: bench.back > 0, 60)
        assert "does not hold this key" in bench.signer.away
    else:
        await bench.ready()
    with pytest.raises(SignerAway):
        await bench.signer.sign(vote(1))
    nursery.cancel_scope.cancel()


# -- hostile input


async def test_only_the_one_node_gets_past_the_handshake(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(nursery)
    server = await bench.serve()
    for who in (
        identity(STRANGER),
        identity(NODE, b"\x99" * 32),
        identity(NODE, magic=b"clawp2p\x00"),
    ):
        stream = await bench.network.connect("node", "signer", PORT)
        expected = crypto.public_key_of(SIGNER)
        with pytest.raises((Gone, ProtocolViolation, Exception)):
            line = await secure(stream, who, bench.chance.randbytes, expected, initiator=True)
            await line.send(Ask.SIGN, [KEY, vote(1)])
            await line.receive()
    assert server.signed_count == 0
    bench.run()
    await bench.ready()
    # And the node talks to nobody who merely listens in the signer's place.
    with pytest.raises(ProtocolViolation, match="is not the key"):
        stream = await bench.network.connect("node", "signer", PORT)
        me = identity(NODE)
        await secure(stream, me, bench.chance.randbytes, b"\x01" * 32, initiator=True)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(6))
async def test_rubbish_from_strangers_neither_ends_nor_fills_the_signer(
    seed: int, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(nursery)
    await bench.serve()
    chance = random.Random(seed)
    silent = [await bench.network.connect("node", "signer", PORT) for _ in range(30)]
    await trio.sleep(0.1)
    assert sum(not stream.is_closed for stream in silent) >= STRANGERS_MAX
    await trio.sleep(6)
    for _ in range(40):
        stream = await bench.network.connect("node", "signer", PORT)
        rubbish = chance.randbytes(chance.randrange(1, 400))
        if chance.random() < 0.5:
            rubbish = identity(NODE).preface + rubbish
        try:
            await stream.send_all(rubbish)
        except trio.BrokenResourceError:
            pass  # Refused before it was done.
    await trio.sleep(6)
    bench.run()
    await bench.ready()
    assert crypto.verify(KEY, vote(1), await bench.signer.sign(vote(1)))
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "plain",
    [
        b"\x02",
        b"\x02\xff",
        b"\x63" + codec.pack([]),
        b"\x02" + codec.pack([]),
        b"\x02" + codec.pack([KEY]),
        b"\x02" + codec.pack([b"\x01" * 32, vote(1)]),
        b"\x02" + codec.pack([KEY, 7]),
        b"\x03" + codec.pack([KEY, -1, 0, 0]),
        b"\x03" + codec.pack([KEY, "x", 0, 0]),
        b"\x01" + codec.pack([1, 2, 3, 4, 5]),
        b"\x02" + bytes(MESSAGE_BYTES_MAX),
    ],
)
async def test_rubbish_from_the_node_itself_ends_its_connection_only(
    plain: bytes, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A node that was broken into must not break into its signer."""
    bench = Bench(nursery)
    await bench.serve()
    stream = await bench.network.connect("node", "signer", PORT)
    expected = crypto.public_key_of(SIGNER)
    line = await secure(stream, identity(NODE), bench.chance.randbytes, expected, initiator=True)
    seal: RecordCipher = line._seal
    await stream.send_all(seal.seal(plain))
    with pytest.raises(Gone), trio.fail_after(5):
        await line.receive()
    bench.run()
    await bench.ready()
    assert crypto.verify(KEY, vote(1), await bench.signer.sign(vote(1)))
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"pay mallory",
        vote(9)[:-1],
        bytes(len(vote(9))),
        vote_bytes(Domain("acme", b"\x22" * 32, 0), Kind.PREVOTE, 9, 0, BLOCK),
    ],
)
async def test_it_signs_votes_of_its_network_and_nothing_else(
    data: bytes, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Else whoever holds the node could have the key sign money away."""
    bench = Bench(nursery)
    server = await bench.serve()
    stream = await bench.network.connect("node", "signer", PORT)
    expected = crypto.public_key_of(SIGNER)
    line = await secure(stream, identity(NODE), bench.chance.randbytes, expected, initiator=True)
    await line.send(Ask.SIGN, [KEY, data])
    say, _ = await line.receive()
    assert say == Say.FAULT
    assert server.signed_count == 0
    nursery.cancel_scope.cancel()


async def test_the_newest_connection_of_the_node_is_served(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A node that came back must not wait until its dead connection is noticed."""
    bench = Bench(nursery)
    await bench.serve()
    expected = crypto.public_key_of(SIGNER)
    lines = []
    for _ in range(2):
        stream = await bench.network.connect("node", "signer", PORT)
        me = identity(NODE)
        lines.append(await secure(stream, me, bench.chance.randbytes, expected, initiator=True))
        await trio.sleep(0.01)
    await lines[1].send(Ask.PING, [])
    assert (await lines[1].receive())[0] == Say.PONG
    with pytest.raises(Gone):
        await lines[0].send(Ask.PING, [])
        await lines[0].receive()
    nursery.cancel_scope.cancel()


# -- whole nodes


class SignerLab(Lab):
    """A lab whose first authority has its key in a signer of its own."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.vault = MemoryFiles()
        self.scope = trio.CancelScope()
        self.wire: Callable[[], None] = lambda: None

    def _keys(self, name: str, node_seed: bytes, seed: bytes | None, disk: Disk) -> Keys:
        if name != "authority-1" or seed is None:
            return super()._keys(name, node_seed, seed, disk)
        key, genesis = crypto.public_key_of(seed), self.genesis.hash
        self.client = crypto.public_key_of(node_seed)
        chance = random.Random(name)
        link = SignerLink(
            self.links.transport(name),
            ("signer", PORT),
            Identity(self.genesis.chain_id, genesis, node_seed, bytes(31) + b"\1", magic=MAGIC),
            crypto.public_key_of(SIGNER),
            [asked_guard(genesis, key, disk.signer)],
            InlineLane(),
            chance.randbytes,
        )
        return Keys(node_seed, dict(link.signers), TOKEN, link)

    async def vault_starts(self) -> None:
        genesis, seed = self.genesis, self.seeds[0]
        key = crypto.public_key_of(seed)
        if not self.vault.names():
            create_sign_state(self.vault, genesis.hash, key)
        signer = WatchedSigner(seed, genesis.hash, self.vault, InlineLane())
        signer.released, signer.violations = self.released, self.violations
        secret = bytes(31) + b"\2"
        me = Identity(genesis.chain_id, genesis.hash, SIGNER, secret, magic=MAGIC)
        server = SignerServer({key: signer}, me, self.client, random.Random(3).randbytes)
        self.scope = trio.CancelScope()
        await self.nursery.start(self._serve, server)

    async def _serve(self, server: SignerServer, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    transport = self.links.transport("signer")
                    await nursery.start(transport.serve, "signer", PORT, server.serve)
                    task_status.started()
        except* PowerCut:
            self.links.reset("signer")

    async def vault_dies(self) -> None:
        self.scope.cancel()
        self.links.reset("signer")
        await trio.sleep(0.01)


def run_signer_lab(scenario: Callable[[SignerLab], Any], seed: int = 0) -> None:
    run_lab(scenario, seed=seed, make=SignerLab)


async def pay(lab: Lab, nodes: list[Running], blocks: int) -> None:
    for turn in range(blocks):
        await lab.final(nodes[turn % len(nodes)], lab.pay(lab.alice))


def signs(lab: SignerLab) -> int:
    key = crypto.public_key_of(lab.seeds[0])
    return sum(signer == key for signer, _ in lab.released)


def test_a_node_observes_without_its_signer_and_votes_when_it_is_back() -> None:
    async def scenario(lab: SignerLab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        assert "signer:9639" in "; ".join(nodes[0].node.care.problems())
        assert signs(lab) == 0
        await lab.vault_starts()
        await until(lambda: nodes[0].node.engine.may_sign, 60)
        await pay(lab, nodes, 3)
        await until(lambda: signs(lab) > 2, 10)
        for _ in range(3):
            await lab.vault_dies()
            await until(lambda: not nodes[0].node.engine.may_sign, 30)
            await pay(lab, nodes, 2)
            before = signs(lab)
            await lab.vault_starts()
            await until(lambda: nodes[0].node.engine.may_sign, 60)
            await pay(lab, nodes, 3)
            await until(lambda n=before: signs(lab) > n, 10)  # type: ignore[misc]
        await lab.reach(nodes[0].height)

    run_signer_lab(scenario)


def test_a_network_that_needs_the_signer_s_vote_goes_on_when_it_is_back() -> None:
    """What was asked for in its absence is asked for again."""

    async def scenario(lab: SignerLab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.vault_starts()
        await until(lambda: nodes[0].node.engine.may_sign, 60)
        await pay(lab, nodes, 2)
        for _ in range(3):
            await lab.vault_dies()
            height = max(node.height for node in nodes)
            raw = lab.pay(lab.alice).raw
            await nodes[1].node.intake.submit(raw)
            await trio.sleep(30)
            assert max(node.height for node in nodes) <= height + 1
            await lab.vault_starts()
            await pay(lab, nodes, 2)

    run_signer_lab(scenario)


class CutFiles(MemoryFiles):
    """A disk whose machine dies at one of its writes."""

    def __init__(self, contents: dict[str, bytes], at: int, how: str) -> None:
        super().__init__()
        self.contents = contents
        self.at, self.how, self.count = at, how, 0
        self.left: dict[str, bytes] | None = None

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        self.count += 1
        if self.count != self.at:
            super().write_slot(name, offset, data)
            return
        if self.how != "before":
            super().write_slot(name, offset, data if self.how == "after" else data[:100])
        self.left = dict(self.contents)
        raise PowerCut("the signer's machine died")


@pytest.mark.parametrize("how", ["before", "torn", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_signer_killed_at_any_step_never_signs_twice(at: int, how: str) -> None:
    """Its network is one vote short without it, so each restart must also go on."""

    async def scenario(lab: SignerLab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.vault_starts()
        await until(lambda: nodes[0].node.engine.may_sign, 60)
        await pay(lab, nodes, 1)
        await lab.vault_dies()
        cut = CutFiles(dict(lab.vault.contents), at, how)
        lab.vault = cut
        await lab.vault_starts()
        for _ in range(6):
            if cut.left is not None:
                break
            with trio.move_on_after(10):
                await pay(lab, nodes[1:], 1)
        assert cut.left is not None
        lab.links.reset("signer")
        fresh = MemoryFiles()
        fresh.contents = cut.left
        lab.vault = fresh
        await lab.vault_starts()
        await pay(lab, nodes, 2)

    run_signer_lab(scenario, seed=at)
