"""Deliveries to good and bad receivers on real sockets: the table says what became of each event.

If these failed, an event would be lost, sent where it must not go, or sent for ever.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from clawpurse.modules.kit.webhooks.deliveries import PENDING_MAX, Kept
from clawpurse.modules.kit.webhooks.posting import ANSWER_BYTES_MAX
from clawpurse.modules.kit.webhooks.schedule import ATTEMPTS_MAX, DELAYS_MS, JITTER
from clawpurse.modules.kit.webhooks.signing import Scheme, new_secret
from clawpurse.modules.kit.webhooks.tables import DEAD, DELIVERED, PENDING
from tests.modules.kit.webhooks.certificates import tls_pair
from tests.modules.kit.webhooks.hookworld import (
    OK,
    Answer,
    always,
    breaking_off,
    endless,
    hang,
    hook_world,
    message,
    saying,
    status,
)

SECOND_MS = 1_000
HOUR_MS = 3_600_000

pytestmark = pytest.mark.real


async def test_events_arrive_once_in_order_and_signed(tmp_path: Path) -> None:
    """The case that everybody hopes for; the reference library checks every signature."""
    async with hook_world(tmp_path, count=100) as world:
        receiver = await world.receiver(always(OK))
        await world.hook(f"http://127.0.0.1:{receiver.port}/in?a=b")
        await world.until_state(DELIVERED, 100)
        world.log.grow(3)
        await world.until_state(DELIVERED, 103)
        assert receiver.idents == [message(n).ident for n in range(1, 104)]
        assert all(world.genuine(request) for request in receiver.requests)
        first = receiver.requests[0]
        assert first.line == "POST /in?a=b HTTP/1.1"
        assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert first.headers["content-type"].startswith("application/cloudevents+json")
        assert first.body == message(1).body
        assert {row.attempts for row in await world.rows()} == {1}
        assert receiver.most_at_once == 1


LIES: dict[str, tuple[Answer, int | None, str]] = {
    "fails": (always(status(500)), 500, "answered 500"),
    "redirects": (always(status(302, "location: http://127.0.0.1:1/")), 302, "redirect"),
    "says too little": (always(status(199)), None, "no answer|HTTP"),
    "says nothing": (hang, None, "no answer within"),
    "closes at once": (breaking_off(b""), None, "closed"),
    "breaks off its head": (breaking_off(b"HTTP/1.1 200 OK\r\ncont"), None, "ended in its head"),
    "breaks off its body": (
        breaking_off(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"),
        None,
        "ended in its body",
    ),
    "breaks off a chunk": (
        breaking_off(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok"),
        None,
        "ended in its body",
    ),
    "speaks no HTTP": (breaking_off(b"\x00\xffSSH-2.0-lies\r\n\r\n"), None, "HTTP"),
    "two lengths": (
        always(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok"),
        None,
        "HTTP",
    ),
    "endless head": (endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000), None, "too large"),
    "a huge refusal": (
        endless(
            b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n",
            b"400\r\n%b\r\n" % (b"x" * 1024),
        ),
        500,
        "answered 500",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_2xx_with_an_answer_behind_it_is_tried_again(
    lie: str, tmp_path: Path
) -> None:
    """Whatever a receiver says or breaks off, its event waits for the next attempt."""
    answer, code, problem = LIES[lie]
    async with hook_world(tmp_path, count=2, timeout_ms=300) as world:
        receiver = await world.receiver(answer)
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        row = await world.until_attempts(1)
        assert (row.state, row.round, row.status) == (PENDING, 1, code)
        assert row.problem is not None
        assert any(part in row.problem for part in problem.split("|")), row.problem
        assert row.due_ms >= world.clock.now_ms() + DELAYS_MS[1]
        assert world.clock.now_ms() < row.due_ms <= world.clock.now_ms() + 7 * SECOND_MS
        receiver.answer = always(OK)
        world.clock.turn(7 * SECOND_MS)
        await world.until_state(DELIVERED, 2)
        rows = await world.rows()
        assert [one.attempts for one in rows] == [2, 1]
        # Strictly in order: the second was not sent before the first was taken.
        assert receiver.idents[-2:] == [message(1).ident, message(2).ident]
        assert {one.ident for one in receiver.requests[:-1]} == {message(1).ident}
        stamps = {int(one.headers["webhook-timestamp"]) for one in receiver.requests}
        assert len(stamps) == 2, "each attempt is stamped with its own time"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 202 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No\r\nconnection: close\r\n\r\n",
    ],
)
async def test_a_huge_answer_is_not_read(head: bytes, tmp_path: Path) -> None:
    """Its status counts; what comes behind it costs us nothing."""
    async with hook_world(tmp_path, count=1) as world:
        piece = b"%x\r\n%b\r\n" % (ANSWER_BYTES_MAX, b"x" * ANSWER_BYTES_MAX)
        receiver = await world.receiver(endless(head, piece))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        await world.until_state(DELIVERED, 1)
        assert len(receiver.requests) == 1


async def test_the_table_of_the_specification_then_a_dead_letter(tmp_path: Path) -> None:
    """Ten attempts over three days at its times, then given up, switched off and told."""
    async with hook_world(tmp_path, count=3) as world:
        receiver = await world.receiver(always(status(503)))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        start_ms = world.clock.now_ms()
        for number in range(1, ATTEMPTS_MAX):
            row = await world.until_attempts(number)
            delay_ms = row.due_ms - world.clock.now_ms()
            least, most = DELAYS_MS[number], int(DELAYS_MS[number] * (1 + JITTER))
            assert least <= delay_ms <= most + 2 * SECOND_MS, number
            world.clock.turn(delay_ms - 1)
            await trio.sleep(0.01)
            assert len(receiver.requests) == number, "it came before its time"
            world.clock.turn(1)
        await world.until_state(DEAD, 1)
        passed_ms = world.clock.now_ms() - start_ms
        assert sum(DELAYS_MS) <= passed_ms <= sum(DELAYS_MS) * 1.1 + 60 * SECOND_MS
        assert {one.ident for one in receiver.requests} == {message(1).ident}
        assert len(receiver.requests) == ATTEMPTS_MAX
        endpoint = await world.endpoints.get("wh_1")
        assert (endpoint.enabled, endpoint.reason) == (False, "exhausted")
        assert "answered 503" in (endpoint.why or "")
        rows = await world.rows()
        assert [row.state for row in rows] == [DEAD, PENDING, PENDING]
        _, tries = await world.deliveries.get("wh_1", rows[0].id)
        assert [one.status for one in tries] == [503] * ATTEMPTS_MAX
        # Switched on again it goes on with what waits; the dead letter comes when it is asked for.
        receiver.answer = always(OK)
        await world.endpoints.enable("wh_1", None, world.clock.now_ms())
        world.courier.changed("wh_1")
        await world.until_state(DELIVERED, 2)
        assert await world.deliveries.replay_dead("wh_1", world.clock.now_ms()) == 1
        world.courier.changed("wh_1")
        await world.until_state(DELIVERED, 3)
        last = receiver.requests[-1]
        assert last.ident == message(1).ident
        row = (await world.rows())[0]
        assert (row.replays, row.attempts, row.round) == (1, ATTEMPTS_MAX + 1, 1)


async def test_retry_after_is_heeded_up_to_a_day(tmp_path: Path) -> None:
    """A receiver that asks for time gets it, and cannot ask for ever."""
    async with hook_world(tmp_path, count=2) as world:
        receiver = await world.receiver(
            saying(status(429, "retry-after: 3600"), status(503, "retry-after: 99999999"))
        )
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        row = await world.until_attempts(1)
        assert 0 <= row.due_ms - world.clock.now_ms() - HOUR_MS <= 2 * SECOND_MS
        assert (await world.endpoints.get("wh_1")).rest_until_ms >= world.clock.now_ms() + HOUR_MS
        world.clock.turn(HOUR_MS - SECOND_MS)
        await trio.sleep(0.02)
        assert len(receiver.requests) == 1
        world.clock.turn(4 * SECOND_MS)
        row = await world.until_attempts(2)
        assert 23 * HOUR_MS < row.due_ms - world.clock.now_ms() <= 24 * HOUR_MS + 2 * SECOND_MS
        world.clock.turn(25 * HOUR_MS)
        await world.until_state(DELIVERED, 2)


async def test_410_switches_off_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """A receiver that is gone is left alone; should it come back, it goes on where it stopped."""
    async with hook_world(tmp_path, count=5) as world:
        receiver = await world.receiver(saying(OK, status(410)))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")

        async def off() -> bool:
            return not (await world.endpoints.get("wh_1")).enabled

        await world.until(off)
        endpoint = await world.endpoints.get("wh_1")
        assert endpoint.reason == "gone"
        states = [row.state for row in await world.rows()]
        assert states == [DELIVERED, PENDING, PENDING, PENDING, PENDING]
        world.clock.turn(100 * HOUR_MS)
        world.log.grow(5)
        await trio.sleep(0.02)
        assert len(receiver.requests) == 2
        await world.endpoints.enable("wh_1", None, world.clock.now_ms())
        world.courier.changed("wh_1")
        await world.until_state(DELIVERED, 10)
        assert list(dict.fromkeys(receiver.idents)) == [message(n).ident for n in range(1, 11)]


async def test_private_addresses_and_changed_names_get_nothing(tmp_path: Path) -> None:
    """Neither a name of our own network nor one that becomes one later sees a connection."""
    async with hook_world(tmp_path, count=1, allow=["rebinding.example"]) as world:
        inside = await world.receiver(always(OK))
        world.names["inside.example"] = ["10.0.0.7"]
        world.names["mixed.example"] = ["93.184.216.34", "127.0.0.9"]
        await world.hook(f"https://inside.example:{inside.port}/", ident="wh_1")
        await world.hook(f"https://mixed.example:{inside.port}/", ident="wh_2")
        await world.hook("https://unknown.example/", ident="wh_3")
        for ident, words in (
            ("wh_1", "10.0.0.7 is private"),
            ("wh_2", "127.0.0.9 is loopback"),
            ("wh_3", "not known"),
        ):
            row = await world.until_attempts(1, ident)
            assert words in (row.problem or ""), row.problem
            assert (row.state, row.status) == (PENDING, None)
        world.names["rebinding.example"] = ["127.0.0.1"]
        await world.hook(f"http://rebinding.example:{inside.port}/", ident="wh_4")
        await world.until_state(DELIVERED, 1, "wh_4")
        assert inside.requests[0].headers["host"] == f"rebinding.example:{inside.port}"
        world.names["rebinding.example"] = ["169.254.169.254"]
        world.log.grow()

        async def refused() -> bool:
            rows = await world.rows("wh_4")
            return len(rows) == 2 and rows[1].attempts == 1

        await world.until(refused)
        row = (await world.rows("wh_4"))[-1]
        assert "169.254.169.254 is metadata" in (row.problem or "")
        assert len(inside.requests) == 1


async def test_a_redirect_to_another_receiver_is_not_followed(tmp_path: Path) -> None:
    """Redirects would lead past every check of addresses."""
    async with hook_world(tmp_path, count=1) as world:
        other = await world.receiver(always(OK))
        location = f"location: http://127.0.0.1:{other.port}/"
        receiver = await world.receiver(always(status(307, location)))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        row = await world.until_attempts(1)
        assert (row.status, row.problem) == (307, "answered 307, a redirect, which is not followed")
        assert other.requests == []


async def test_a_receiver_that_dies_gets_its_events_when_it_is_back(tmp_path: Path) -> None:
    """Also those that were on their way when it died, under the same ids."""
    async with hook_world(tmp_path, count=3) as world:
        receiver = await world.receiver(hang)
        await world.hook(f"http://127.0.0.1:{receiver.port}/")

        async def reached() -> bool:
            return bool(receiver.requests)

        await world.until(reached)
        receiver.stop()
        row = await world.until_attempts(1)
        assert row.status is None
        world.clock.turn(7 * SECOND_MS)
        row = await world.until_attempts(2)
        assert "refused" in (row.problem or "").lower()
        receiver.answer = always(OK)
        await receiver.restart(world.spawn)
        world.clock.turn(HOUR_MS)
        await world.until_state(DELIVERED, 3)
        assert receiver.idents[0] == receiver.idents[1] == message(1).ident


async def test_one_slow_endpoint_holds_up_no_other(tmp_path: Path) -> None:
    """A receiver that never answers must not cost its neighbour a second."""
    async with hook_world(tmp_path, count=20, timeout_ms=60_000) as world:
        slow, quick = await world.receiver(hang), await world.receiver(always(OK))
        for number in range(4):
            await world.hook(f"http://127.0.0.1:{slow.port}/", ident=f"wh_s{number}")
        await world.hook(f"http://127.0.0.1:{quick.port}/", ident="wh_q")
        with trio.fail_after(10):
            await world.until_state(DELIVERED, 20, "wh_q")
        assert len(slow.requests) <= 4


async def test_concurrency_is_bounded_and_a_bad_event_does_not_stop_the_rest(
    tmp_path: Path,
) -> None:
    """With more than one at a time a poisoned event waits by itself, and dies by itself."""
    async with hook_world(tmp_path, count=60) as world:
        bad = message(5).ident

        async def picky(receiver: object, request: object, stream: trio.SocketStream) -> None:
            await trio.sleep(0.002)
            await stream.send_all(status(500) if request.ident == bad else OK)  # type: ignore[attr-defined]

        receiver = await world.receiver(picky)
        await world.hook(f"http://127.0.0.1:{receiver.port}/", concurrency=4)
        await world.until_state(DELIVERED, 59)
        assert 2 <= receiver.most_at_once <= 4
        for number in range(1, ATTEMPTS_MAX):
            await world.until_message(bad, number)
            world.clock.turn(int(DELAYS_MS[number] * (1 + JITTER)) + 2 * SECOND_MS)
            world.log.grow()
            await world.until_state(DELIVERED, 59 + number)
        await world.until_state(DEAD, 1)
        assert (await world.endpoints.get("wh_1")).enabled, "it took everything else meanwhile"


async def test_what_waits_is_bounded_and_the_log_is_the_queue(tmp_path: Path) -> None:
    """A receiver that is away for a month costs a thousand rows, and gets every event after it."""
    async with hook_world(tmp_path, count=PENDING_MAX + 150) as world:
        receiver = await world.receiver(always(status(500)))
        await world.hook(f"http://127.0.0.1:{receiver.port}/", concurrency=16)

        async def full() -> bool:
            return (await world.deliveries.counts("wh_1")).get(PENDING) == PENDING_MAX

        await world.until(full)
        await trio.sleep(0.05)
        assert await full()
        assert int((await world.endpoints.get("wh_1")).cursor) == PENDING_MAX
        receiver.answer = always(OK)
        for _ in range(3):
            world.clock.turn(HOUR_MS)
            await trio.sleep(0.05)
        await world.until_state(DELIVERED, PENDING_MAX + 150)
        assert len(set(receiver.idents)) == PENDING_MAX + 150


async def test_a_log_that_was_pruned_beneath_an_endpoint_is_told(tmp_path: Path) -> None:
    """Events that can no longer be had are never passed over in silence."""
    async with hook_world(tmp_path, count=10) as world:
        world.log.floor = 5
        receiver = await world.receiver(always(OK))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")

        async def off() -> bool:
            return not (await world.endpoints.get("wh_1")).enabled

        await world.until(off)
        endpoint = await world.endpoints.get("wh_1")
        assert endpoint.reason == "pruned"
        assert "5" in (endpoint.why or "")
        assert receiver.requests == []
        await world.endpoints.enable("wh_1", "4", world.clock.now_ms())
        world.courier.changed("wh_1")
        await world.until_state(DELIVERED, 6)


async def test_replay_from_a_cursor_keeps_ids_and_order(tmp_path: Path) -> None:
    """A receiver that lost its database asks for everything again, and is not confused by it."""
    async with hook_world(tmp_path, count=10) as world:
        receiver = await world.receiver(always(OK))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        await world.until_state(DELIVERED, 10)
        await world.endpoints.rewind("wh_1", "6")
        world.courier.changed("wh_1")

        async def again() -> bool:
            return len(receiver.requests) == 14

        await world.until(again)
        await world.until_state(DELIVERED, 10)
        assert receiver.idents[10:] == [message(n).ident for n in range(7, 11)]
        rows = await world.rows()
        assert [row.replays for row in rows] == [0] * 6 + [1] * 4
        await world.deliveries.replay_one("wh_1", rows[2].id, world.clock.now_ms())
        world.courier.changed("wh_1")
        await world.until_state(DELIVERED, 10)

        async def once_more() -> bool:
            return receiver.idents[-1] == message(3).ident

        await world.until(once_more)


async def test_rotation_loses_no_event_on_either_side(tmp_path: Path) -> None:
    """While both keys count a receiver with either takes every event; then only with the new."""
    async with hook_world(tmp_path, count=1) as world:
        receiver = await world.receiver(always(OK))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        await world.until_state(DELIVERED, 1)
        old = world.keys["wh_1"]
        fresh = new_secret(Scheme.ED25519, world.clock.now_ms(), world.chance.randbytes)
        await world.endpoints.rotate("wh_1", fresh, HOUR_MS)
        world.courier.changed("wh_1")
        world.log.grow()
        await world.until_state(DELIVERED, 2)
        both = receiver.requests[-1].headers["webhook-signature"].split(" ")
        assert [one.partition(",")[0] for one in both] == ["v1", "v1a"]
        for key in (old, fresh.receiver_text):
            world.keys["wh_1"] = key
            assert world.genuine(receiver.requests[-1])
        world.clock.turn(HOUR_MS + 1)
        world.log.grow()
        await world.until_state(DELIVERED, 3)
        assert receiver.requests[-1].headers["webhook-signature"].startswith("v1a,")
        await world.endpoints.forget_expired(world.clock.now_ms())
        assert len((await world.endpoints.get("wh_1")).secrets) == 1


async def test_a_test_post_is_one_and_is_told(tmp_path: Path) -> None:
    """Whoever sets up a receiver sees at once whether it works, also while it is off."""
    async with hook_world(tmp_path) as world:
        receiver = await world.receiver(saying(OK, status(500)))
        endpoint = await world.hook(f"http://127.0.0.1:{receiver.port}/")
        await world.endpoints.disable("wh_1", "operator", "", world.clock.now_ms())
        first = await world.courier.test(endpoint, message(1001))
        second = await world.courier.test(endpoint, message(1002))
        assert (first.state, first.test, first.status) == (DELIVERED, True, 200)
        assert (second.state, second.problem) == ("failed", "answered 500")
        world.clock.turn(48 * HOUR_MS)
        await trio.sleep(0.02)
        assert len(receiver.requests) == 2, "a test is never tried again"


async def test_a_deleted_webhook_is_silent_at_once(tmp_path: Path) -> None:
    """Its posts under way are cut off, and its rows and keys are gone."""
    async with hook_world(tmp_path, count=3, timeout_ms=60_000) as world:
        receiver = await world.receiver(hang)
        await world.hook(f"http://127.0.0.1:{receiver.port}/")

        async def reached() -> bool:
            return bool(receiver.requests)

        await world.until(reached)
        await world.endpoints.delete("wh_1")
        world.courier.deleted("wh_1")

        async def gone() -> bool:
            return receiver.under_way == 0 and not world.courier.endpoints

        receiver.stop()
        await world.until(gone)
        left = await world.database.read(
            lambda db: db.execute(
                "SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM secrets)"
            ).fetchone()[0]
        )
        assert left == 0


async def test_old_rows_go_and_what_waits_stays(tmp_path: Path) -> None:
    """The table does not grow for ever, and never at the cost of an event that is still to go."""
    async with hook_world(tmp_path, count=30) as world:
        receiver = await world.receiver(saying(*[OK] * 20, then=status(500)))
        await world.hook(f"http://127.0.0.1:{receiver.port}/")
        await world.until_state(DELIVERED, 20)
        kept = Kept(delivered_ms=1000, delivered_max=10_000, rows_per_sweep=6)
        world.clock.turn(500)
        assert await world.deliveries.prune("wh_1", world.clock.now_ms(), kept) == 0
        world.clock.turn(1000)
        swept = [await world.deliveries.prune("wh_1", world.clock.now_ms(), kept) for _ in "12345"]
        assert swept == [6, 6, 6, 2, 0]
        counts = await world.deliveries.counts("wh_1")
        assert counts == {PENDING: 10}


async def test_https_is_judged_by_name_and_sent_to_the_address(tmp_path: Path) -> None:
    """TLS checks the certificate for the URL's name although the connection is to an address."""
    certificate = tls_pair(tmp_path, "hook.example")
    async with hook_world(tmp_path, count=2) as world:
        asked: list[str | None] = []
        context = certificate.server()
        context.sni_callback = lambda _socket, name, _context: asked.append(name)

        def wrap(stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
            return trio.SSLStream(stream, context, server_side=True, https_compatible=True)

        receiver = await world.receiver(always(OK), wrap=wrap)
        world.names |= {"hook.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
        world.courier._poster._tls = certificate.client
        await world.hook(f"https://hook.example:{receiver.port}/", ident="wh_1")
        await world.until_state(DELIVERED, 2)
        assert set(asked) == {"hook.example"}
        await world.hook(f"https://other.example:{receiver.port}/", ident="wh_2")
        row = await world.until_attempts(1, "wh_2")
        assert "ertificate" in (row.problem or "") or "mismatch" in (row.problem or "")
        assert len(receiver.requests) == 2
