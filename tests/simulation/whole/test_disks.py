"""What bad disks do to a node: torn, flipped, full, failing, slow, lying.

A node must come back with everything that it acknowledged, or say that it cannot. A user would
lose a payment, or see two truths, if a node went on with less than it had and said nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
import trio

from clawpurse.consensus.effects import Sign
from clawpurse.ledger.store import schema
from clawpurse.node.wal import FRAME_BYTES
from tests.node.rpc.nodeworld import Running, until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, clients_of, lacking
from tests.simulation.whole.crashes import INPUTS, JOURNAL, NEW_LOG, OWN_MESSAGE, WATERMARK
from tests.simulation.whole.harms import flipped
from tests.simulation.whole.media import Backup, Fuse, Medium
from tests.simulation.whole.operator import bring_back, database_problems
from tests.simulation.whole.world import World, run_world

VICTIM = "authority-1"
TORN = (INPUTS, WATERMARK, OWN_MESSAGE, NEW_LOG, JOURNAL)


async def network(world: World) -> None:
    await world.begin_all(world.names)
    await until(lambda: all(node.node.engine.may_sign for node in world.up), 60)


async def pay(world: World, client: Client, node: Running, seconds: float = 120) -> None:
    """Pay at a node, at others when it is gone; wait until all that run have it."""
    client.hand_in(node)
    deadline = trio.current_time() + seconds
    while client.open is not None:
        assert trio.current_time() < deadline, "nobody accepts the payment"
        await trio.sleep(0.5)
        if client.open is not None:
            client.hand_in(world.up[-1])
    await until(lambda: not lacking(world), seconds)


async def signing(world: World) -> None:
    """Wait until everybody runs and signs."""
    await until(
        lambda: (
            len(world.nodes) == len(world.names)
            and all(node.node.engine.may_sign for node in world.up)
        ),
        200,
    )


def disk_at(point: str, how: str, skip: int) -> Backup:
    """What a node has on disk when it dies at a place; equal up to there, however it dies."""

    async def scenario(world: World) -> Backup:
        await network(world)
        client = Client(world, world.alice, 0)
        await pay(world, client, world.nodes[VICTIM])
        world.machines[VICTIM].fuse = Fuse(point, how, skip, 0.5)
        with trio.move_on_after(60):
            while VICTIM in world.nodes:
                client.hand_in(world.nodes[VICTIM])
                await trio.sleep(1)
        return world.down[VICTIM].backup()

    found: Backup = run_world(scenario, seed=3)
    return found


def change(before: Backup, after: Backup) -> tuple[str, str, bytes, bytes]:
    """The folder, the file, and its content before and after one durable step."""
    for folder in ("wal", "journal", "signer"):
        old, new = getattr(before, folder), getattr(after, folder)
        for name, data in new.items():
            if old.get(name) != data:
                return folder, name, old.get(name, b""), data
    raise AssertionError("nothing changed")


def with_file(backup: Backup, folder: str, name: str, data: bytes) -> Backup:
    folders = {kind: dict(getattr(backup, kind)) for kind in ("store", "wal", "journal", "signer")}
    folders[folder][name] = data
    return Backup(**folders)


def remembers(node: Running) -> tuple[object, ...]:
    """What a node that has just started knows, before anybody speaks to it."""
    engine = node.node.engine
    desk = next(iter(node.node.signing._desks.values()))
    return engine.machine.state, desk.signer.watermark, len(node.node.journal)


async def started(world: World, backup: Backup) -> Running | None:
    """Start the victim alone on a disk."""
    medium = Medium(VICTIM, world.chance)
    medium.restore(backup, data=True, signer=True)
    return await world.begin(VICTIM, medium)


async def looked_at(world: World, backup: Backup) -> tuple[object, ...] | None:
    """What a node knows that starts on a disk; None when it refuses."""
    node = await started(world, backup)
    if node is None:
        return None
    found = remembers(node)
    await world.kill(node, power=True)
    return found


def ends(data: bytes, start: int) -> Iterable[int]:
    """Where the records of a log end, from a place on."""
    while start < len(data):
        start += FRAME_BYTES + int.from_bytes(data[start : start + 4], "big")
        yield start


def torn_at(places: Callable[[int], Iterable[int]], point: str, skip: int) -> None:
    before, after = disk_at(point, "before", skip), disk_at(point, "after", skip)
    folder, name, old, new = change(before, after)

    async def scenario(world: World) -> None:
        # A slot is overwritten in place; a file grows, or begins.
        start = len(old) if new.startswith(old) else 0
        # Several records may be written at once; each of them was made or was not.
        wholes = [before, after]
        if start and folder == "wal":
            wholes += [with_file(before, folder, name, new[:end]) for end in ends(new, start)]
        known = [await looked_at(world, backup) for backup in wholes]
        assert None not in known
        for place in places(len(new) - start):
            torn = new[: start + place]
            torn += old[len(torn) :]
            found = await looked_at(world, with_file(before, folder, name, torn))
            assert found is not None, f"refuses after a write torn at byte {place}"
            assert found in known, f"knows something else after a write torn at byte {place}"

    run_world(scenario, seed=4)


@pytest.mark.parametrize("point", TORN)
def test_a_write_that_is_torn_was_made_or_was_not(point: str) -> None:
    torn_at(lambda size: range(0, size + 1, max(1, size // 16)), point, 0)


@pytest.mark.full
@pytest.mark.parametrize("point", TORN)
@pytest.mark.parametrize("skip", [0, 1])
def test_a_write_that_is_torn_at_any_byte_was_made_or_was_not(point: str, skip: int) -> None:
    torn_at(lambda size: range(size + 1), point, skip)


# -- flipped bits


def explained(node: Running) -> bool:
    """Whether what the key signed last is in what the node remembers, or the key is silent."""
    engine = node.node.engine
    machine, domain = engine.machine, node.node.domain
    desk = next(iter(node.node.signing._desks.values()))
    watermark = desk.signer.watermark
    if not watermark.sign_bytes or watermark.is_silent_at(machine.height):
        return True
    if watermark.order[0] < machine.height:
        return True
    said = [*machine.own_messages]
    said += [effect.message for effect in machine.outstanding() if isinstance(effect, Sign)]
    return watermark.sign_bytes in [message.sign_bytes(domain) for message in said]


def flips(count: int, seed: int) -> None:
    """Flip bits of log, journal and signing state; the node refuses, or forgot nothing that
    could matter."""
    backup = disk_at(OWN_MESSAGE, "after", 1)
    chance = random.Random(seed)

    async def scenario(world: World) -> None:
        world.tampered[VICTIM] = "flipped bits"
        files = [
            (folder, name)
            for folder in ("wal", "journal", "signer")
            for name, data in getattr(backup, folder).items()
            if data
        ]
        whole = await looked_at(world, backup)
        outcomes = {"refused": 0, "unharmed": 0, "less, and explained": 0}
        for _ in range(count):
            folder, name = chance.choice(files)
            data = getattr(backup, folder)[name]
            place = chance.randrange(8 * len(data))
            bent = with_file(backup, folder, name, flipped(data, place))
            node = await started(world, bent)
            if node is None:
                assert world.endings[-1].kind == "refused", world.endings[-1]
                outcomes["refused"] += 1
                continue
            # A turn of the loop, in which log and signing state tell each other what was signed.
            await trio.sleep(0.01)
            if remembers(node) == whole:
                outcomes["unharmed"] += 1
            else:
                assert explained(node), f"bit {place} of {folder} {name} is forgotten in silence"
                outcomes["less, and explained"] += 1
            await world.kill(node, power=True)
        print(outcomes)
        assert outcomes["refused"]

    run_world(scenario, seed)


def test_a_flipped_bit_is_refused_or_forgets_nothing_that_was_signed() -> None:
    flips(150, seed=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
def test_many_flipped_bits_are_refused_or_forget_nothing(seed: int) -> None:
    flips(2_000, seed)


def test_a_flipped_bit_in_any_record_of_the_database_is_found_by_the_check() -> None:
    async def scenario(world: World) -> None:
        await network(world)
        for turn in range(4):
            for client in clients_of(world):
                await pay(world, client, world.up[turn % 4])
        await world.kill(world.nodes[VICTIM], power=True)
        medium = world.down[VICTIM]
        assert database_problems(world, medium) == []
        missed = []
        for key in medium.disk.record_keys():
            record = medium.disk._durable[key]
            medium.disk.flip_bit(key, world.chance.randrange(8 * len(record)))
            if key != schema.KEY_FORMAT and not database_problems(world, medium):
                missed.append(key)
            medium.disk._durable[key] = record
        assert missed == []

    run_world(scenario, seed=5)


def damaged_database(seed: int) -> None:
    """A node with one bad record goes on as the others do, or ends and says why; and it comes
    back when its operator has moved the database away."""

    async def scenario(world: World) -> None:
        await network(world)
        clients = clients_of(world)
        for client in clients:
            await pay(world, client, world.up[0])
        await world.kill(world.nodes[VICTIM], power=True)
        medium = world.down[VICTIM]
        key = world.chance.choice(medium.disk.record_keys())
        medium.disk.flip_bit(key, world.chance.randrange(8 * len(medium.disk._durable[key])))
        bad = key, medium.disk._durable[key]
        world.tampered[VICTIM] = "bit flip: database"
        await world.begin(VICTIM)
        for turn in range(4):
            await pay(world, clients[turn % len(clients)], world.up[-1])
        if VICTIM in world.nodes:
            await world.kill(world.nodes[VICTIM], power=True)
        await bring_back(world, VICTIM, bad)
        await pay(world, clients[0], world.up[0])
        await signing(world)
        assert world.nodes[VICTIM].height == world.height

    run_world(scenario, seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_record_never_makes_a_node_differ(seed: int) -> None:
    damaged_database(seed)


@pytest.mark.full
@pytest.mark.parametrize("chunk", range(8))
def test_a_bad_record_never_makes_a_node_differ_over_seeds(chunk: int) -> None:
    for seed in range(100 + 20 * chunk, 120 + 20 * chunk):
        damaged_database(seed)


# -- full, failing, slow, lying


def fails_at(steps: Iterable[int], error: str) -> None:
    """A disk fails one durable step; the node ends with an operator's error and comes back."""

    async def scenario(world: World) -> None:
        await network(world)
        client, other = Client(world, world.alice, 0), Client(world, world.bob, 0)
        for step in steps:
            world.machines[VICTIM].breaks_in = step, error
            for _ in range(20):
                if VICTIM not in world.nodes:
                    break
                await pay(world, client, world.nodes[VICTIM])
            ending = world.endings[-1]
            assert (ending.node, ending.kind) == (VICTIM, "fault"), ending
            assert error in ending.why
            await pay(world, other, world.up[0])
            # As long as the disk is bad it ends again, at the latest when it has to write.
            await world.begin(VICTIM)
            await pay(world, other, world.up[-1])
            await until(lambda: VICTIM in world.down, 60)
            assert world.endings[-1].kind == "fault"
            world.down[VICTIM].mend()
            assert await world.begin(VICTIM) is not None
            await signing(world)
        world.check_step()
        world.check_end()

    run_world(scenario, seed=6, checkers=checkers())


@pytest.mark.parametrize("error", ["No space left on device.", "Input/output error."])
def test_a_full_or_failing_disk_ends_a_node_and_loses_nothing(error: str) -> None:
    fails_at((1, 2, 5, 9), error)


@pytest.mark.full
@pytest.mark.parametrize("first", range(1, 41, 5))
def test_a_disk_that_fails_any_step_loses_nothing(first: int) -> None:
    fails_at(range(first, first + 5), "No space left on device.")


def test_one_slow_disk_slows_nobody_and_slow_disks_stop_nobody() -> None:
    async def scenario(world: World) -> None:
        await network(world)
        client = Client(world, world.alice, 0)
        world.machines[VICTIM].sync_s = lambda: 5.0
        for _ in range(4):
            client.hand_in(world.nodes["authority-2"])
            await until(lambda: client.open is None, 10)
            others = [node for node in world.up if node.name != VICTIM]
            # The round of the one with the slow disk takes its time; theirs do not.
            await until(lambda o=others: not lacking(world, o), 20)  # type: ignore[misc]
        for name in world.names:
            world.machines[name].sync_s = lambda: world.chance.uniform(0.05, 1.0)
        for _ in range(3):
            client.hand_in(world.nodes["authority-3"])
            await until(lambda: client.open is None, 30)
        await until(lambda: not lacking(world), 300)
        world.check_end()

    run_world(scenario, seed=7, checkers=checkers())


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_lied_costs_its_owner_a_while_and_contradicts_nothing(seed: int) -> None:
    """The power goes at a machine whose disk had acknowledged what it never wrote. What it signed
    is known to its peers, so its key keeps silent until nothing can be contradicted."""

    async def scenario(world: World) -> None:
        await network(world)
        client = Client(world, world.alice, 0)
        await pay(world, client, world.up[0])
        world.machines[VICTIM].lying = True
        world.tampered[VICTIM] = "lying disk"
        for turn in range(3):
            await pay(world, client, world.up[1 + turn % 3])
        await world.kill(world.nodes[VICTIM], power=True)
        await bring_back(world, VICTIM)
        # An idle network makes a block now and then, and above those it forgot it signs again.
        await signing(world)
        for node in world.up:
            await pay(world, client, node)
        world.check_step()
        # Nobody is excused here: property 4 holds for the victim's key too.
        assert not world.excused
        world.check_end()

    run_world(scenario, seed, checkers=checkers())
