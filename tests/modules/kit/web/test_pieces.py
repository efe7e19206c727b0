"""Long answers in pieces and dear work in turns: nobody waits behind somebody else's megabytes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.modules.kit.web.messages import Response, has_long_body, render
from clawpurse.modules.kit.web.pieces import PIECE_BYTES, Pieces, encoded, is_long, sendable
from clawpurse.modules.kit.web.turns import next_turn

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=120,
)


@given(VALUES)
def test_pieces_say_what_one_go_would(value: Any) -> None:
    """Otherwise a long answer says something else than a short one of the same."""
    assert b"".join(encoded(value)) == to_json(value)


def test_a_long_list_is_never_encoded_in_one_go() -> None:
    """Otherwise one answer keeps the loop from everybody."""
    long = {"a": 1, "inner": {"rows": [{"n": n} for n in range(1_000)]}}
    assert is_long(long)
    assert max(map(len, encoded(long))) < 300
    assert not is_long({"rows": list(range(10))})


@given(st.lists(st.binary(max_size=3 * PIECE_BYTES), max_size=6))
def test_portions_are_the_same_bytes_and_quick_to_send(pieces: list[bytes]) -> None:
    """Otherwise a megabyte goes to the kernel in one go, or bytes are lost between pieces."""
    portions = list(sendable(pieces))
    assert b"".join(portions) == b"".join(pieces) == bytes(Pieces(pieces))
    assert all(0 < len(portion) <= PIECE_BYTES for portion in portions)


def rows(_params: Any, _context: Any) -> dict[str, Any]:
    return {"rows": [{"number": number, "text": "x" * 90} for number in range(5_000)]}


async def rows_later(params: Any, context: Context) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return rows(params, context)


async def broken(_params: Any, _context: Context) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"rows": [*range(100), object()]}


METHODS = [
    Method("rows_now", "Rows", rows),
    Method("rows_later", "Rows", rows_later),
    Method("rows_broken", "No rows", broken),
]
ROWS = rows(None, None)


def call(method: str, ident: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "method": method}


async def test_long_answers_alone_and_in_batches_are_whole(make_web: Any) -> None:
    """Otherwise who asks for much gets something else, or reads one answer's end as the next."""
    web = make_web(extra_methods=METHODS)
    client = web.connect()
    names = ["rows_later", "rows_now", "rows_later"]
    for _ in range(2):
        alone = {"jsonrpc": "2.0", "id": 1, "result": ROWS}
        assert await client.rpc(call("rows_later")) == (200, alone)
        both = [call(name, place) for place, name in enumerate(names)]
        assert await client.rpc(both) == (200, [{**alone, "id": place} for place in range(3)])
    answered = [("rows_later", 0), ("rows_later", 0), ("rows_now", 0), ("rows_later", 0)]
    assert web.observed == 2 * answered


async def test_a_long_answer_keeps_to_its_limit_and_to_json(make_web: Any) -> None:
    """Otherwise an answer without end fills the node's memory, or half an answer is sent."""
    small = make_web(limits={"response_bytes_max": 100_000}, extra_methods=METHODS)
    _, refused = await small.connect().rpc(call("rows_later"))
    assert refused["error"]["message"] == "limitExceeded"
    client = make_web(extra_methods=METHODS).connect()
    _, failed = await client.rpc(call("rows_broken"))
    assert failed["error"]["code"] == -32603


def test_a_long_body_is_not_part_of_its_head() -> None:
    """Otherwise megabytes are copied once more, or a HEAD request gets a body."""
    long = Response(200, b"x" * (PIECE_BYTES + 1))
    assert has_long_body(long, None)
    head = render(long, None, keep_alive=False)
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % (PIECE_BYTES + 1) in head
    assert not has_long_body(Response(304, b"x" * (PIECE_BYTES + 1)), None)


@pytest.mark.parametrize("workers", [1, 30])
async def test_of_all_who_work_in_slices_one_works_in_a_turn_of_the_loop(workers: int) -> None:
    """Otherwise a vote waits as many slices as there are clients."""
    slices_between: list[int] = []
    slices = 0

    async def work() -> None:
        nonlocal slices
        for _ in range(20):
            await next_turn()
            slices += 1

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
        before = 0
        while len(nursery.child_tasks) > 0:
            await trio.lowlevel.checkpoint()
            slices_between.append(slices - before)
            before = slices
    assert slices == 20 * workers
    assert max(slices_between) <= 2
