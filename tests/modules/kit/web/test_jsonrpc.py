"""JSON-RPC 2.0 as its specification has it, over HTTP; and our codes, limits and deadlines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.modules.kit.web.guard import Budgets, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, Params, Pending
from clawpurse.modules.kit.web.replies import RawJson
from tests.modules.kit.web.examples import EXAMPLES, error, result, strip


@pytest.mark.parametrize(("message", "expected"), EXAMPLES)
async def test_messages_are_answered_as_the_specification_says(
    web: Any, make_post: Any, message: str, expected: Any
) -> None:
    client = web.connect()
    await client.send(make_post(message.encode()))
    status, fields, body = await client.response()
    if expected is None:
        assert (status, body) == (204, b"")
        assert "content-length" not in fields
    else:
        assert status == 200
        assert strip(json.loads(body)) == expected


async def test_bytes_that_are_not_utf_8_are_a_parse_error(web: Any, make_post: Any) -> None:
    client = web.connect()
    await client.send(make_post(b'{"jsonrpc":"2.0","method":"\xff","id":1}'))
    assert strip(json.loads((await client.response())[2])) == error(-32700)


async def test_notifications_are_carried_out_and_not_answered(web: Any) -> None:
    client = web.connect()
    batch = [{"jsonrpc": "2.0", "method": "notify_hello", "params": [n]} for n in (1, 2)]
    assert await client.rpc(batch) == (204, None)
    assert await client.rpc(batch[0]) == (204, None)
    assert web.calls == [1, 2, 1]
    fault = {"jsonrpc": "2.0", "method": "test_fault"}
    assert await client.rpc(fault) == (204, None)
    assert len(web.faults) == 1


async def test_a_batch_is_answered_in_order_and_bounded(web: Any) -> None:
    client = web.connect()
    calls = [
        {"jsonrpc": "2.0", "method": "test_echoLater" if n % 2 else "test_echo",
         "params": [str(n)], "id": n}
        for n in range(100)
    ]  # fmt: skip
    status, answers = await client.rpc(calls)
    assert [a["id"] for a in answers] == list(range(100))
    assert [a["result"] for a in answers] == [str(n) for n in range(100)]
    status, answer = await client.rpc([*calls, calls[0]])
    assert status == 200
    assert strip(answer) == error(-32004)
    assert "100" in answer["error"]["data"]["reason"]


async def test_the_answers_of_a_batch_are_bounded_too(make_web: Any) -> None:
    """A hundred cheap calls must not make a node build gigabytes."""
    web = make_web(limits={"response_bytes_max": 1_000_000})
    client = web.connect()
    calls = [{"jsonrpc": "2.0", "method": "test_large", "id": n} for n in range(100)]
    _, answers = await client.rpc(calls)
    good = [a for a in answers if "result" in a]
    assert len(good) == 3
    assert {a["error"]["code"] for a in answers[3:]} == {-32004}


async def test_calls_that_wait_run_beside_each_other(web: Any, autojump_clock: Any) -> None:
    client = web.connect()
    started = trio.current_time()
    wait = [{"jsonrpc": "2.0", "method": "test_wait", "params": [2000], "id": n} for n in range(50)]
    _, answers = await client.rpc([*wait, {"jsonrpc": "2.0", "method": "get_data", "id": 99}])
    assert [a["id"] for a in answers] == [*range(50), 99]
    assert trio.current_time() - started < 2.5


async def test_a_method_that_takes_too_long_is_a_timeout(web: Any, autojump_clock: Any) -> None:
    client = web.connect()
    slow = {"jsonrpc": "2.0", "method": "test_slow", "params": [60_000], "id": 1}
    _, answer = await client.rpc(slow)
    assert answer["error"]["message"] == "timeout"
    assert strip(answer) == error(-32008, 1)
    assert answer["error"]["data"]["retryable"] is True
    assert web.observed == [("test_slow", -32008)]


@pytest.mark.parametrize(
    ("method", "code", "message", "facts"),
    [
        ("test_refused", -32018, "frozen", {"rule": "r", "reason": "asset is frozen"}),
        ("test_missing", -32001, "notFound", {"reason": "block 7 is not known here"}),
        ("test_pruned", -32002, "pruned", {"floor": 9, "class": "local"}),
        ("test_malformed", -32602, "Invalid params", {"field": "account"}),
        ("tx_malformed", -32010, "malformed", {"field": "body", "class": "malformed"}),
    ],
)
async def test_errors_of_the_ledger_keep_their_names_and_facts(
    web: Any, method: str, code: int, message: str, facts: dict[str, Any]
) -> None:
    client = web.connect()
    _, answer = await client.rpc({"jsonrpc": "2.0", "method": method, "id": 1})
    assert strip(answer) == error(code, 1)
    assert answer["error"]["message"] == message
    assert facts.items() <= answer["error"]["data"].items()
    assert not web.faults


@pytest.mark.parametrize("method", ["test_fault", "test_notJson"])
async def test_a_fault_of_ours_gets_an_incident_and_tells_the_caller_nothing_else(
    web: Any, method: str, caplog: Any
) -> None:
    client = web.connect()
    _, answer = await client.rpc({"jsonrpc": "2.0", "method": method, "id": 1})
    assert strip(answer) == error(-32603, 1)
    data = answer["error"]["data"]
    assert "secret" not in json.dumps(answer)
    assert data["incident"] in data["reason"]
    record = caplog.records[-1]
    assert (record.levelno, record.incident) == (logging.ERROR, data["incident"])
    assert record.exc_info is not None
    assert len(web.faults) == 1
    assert (await client.rpc({"jsonrpc": "2.0", "method": "get_data", "id": 2}))[0] == 200


async def test_a_mistyped_method_gets_a_suggestion(web: Any) -> None:
    client = web.connect()
    _, answer = await client.rpc({"jsonrpc": "2.0", "method": "subtrct", "id": 1})
    assert answer["error"]["data"]["suggestion"] == "subtract"
    assert "did you mean subtract?" in answer["error"]["data"]["hint"]
    _, answer = await client.rpc({"jsonrpc": "2.0", "method": "x" * 100_000, "id": 1})
    assert len(json.dumps(answer)) < 1000


async def test_wrong_parameters_are_named_and_their_values_not_repeated(web: Any) -> None:
    client = web.connect()
    call = {"jsonrpc": "2.0", "method": "sum", "params": {"a": "my secret", "q": 1}, "id": 1}
    _, answer = await client.rpc(call)
    data = answer["error"]["data"]
    assert "my secret" not in json.dumps(answer)
    assert [p["field"] for p in data["problems"]] == ["a", "q"]
    assert data["problems"][1]["problem"] == "unknown parameter"
    assert data["hint"] == "sum takes: a, b, c"


async def test_admin_methods_need_a_token_with_the_role(
    web: Any, make_post: Any, tokens: tuple[str, str]
) -> None:
    client = web.connect()
    call = json.dumps({"jsonrpc": "2.0", "method": "admin_stop", "id": 1}).encode()
    answers = []
    for value in (None, f"Bearer {tokens[0][:-1]}x", tokens[0], f"Basic {tokens[0]}", "Bearer ",
                  f"Bearer {tokens[1]}", f"Bearer {tokens[0]}", f"bearer {tokens[0]}"):  # fmt: skip
        fields = {} if value is None else {"Authorization": value}
        await client.send(make_post(call, **fields))
        answers.append(strip(json.loads((await client.response())[2])))
    assert answers[:5] == [error(-32006, 1)] * 5
    assert answers[5] == error(-32007, 1)
    assert answers[6:] == [result(True, 1)] * 2


async def test_no_token_configured_means_no_admin_at_all(make_web: Any, make_post: Any) -> None:
    from clawpurse.modules.kit.web.guard import Access

    client = make_web(access=Access()).connect()
    call = json.dumps({"jsonrpc": "2.0", "method": "admin_stop", "id": 1}).encode()
    for value in ("Bearer ", "Bearer x", ""):
        await client.send(make_post(call, Authorization=value))
        assert strip(json.loads((await client.response())[2])) == error(-32006, 1)


async def test_a_spent_budget_is_a_429_and_comes_back(make_web: Any, autojump_clock: Any) -> None:
    web = make_web(budgets=Budgets(10, 5))
    client, call = web.connect(), {"jsonrpc": "2.0", "method": "get_data", "id": 1}
    statuses = [(await client.rpc(call))[0] for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    await client.send(b"")
    status, answer = await client.rpc(call)
    assert strip(answer) == error(-32005)
    assert answer["error"]["data"]["retryAfterMs"] == 100
    batch = [call] * 8
    await trio.sleep(0.3)
    status, answers = await client.rpc(batch)
    assert status == 200
    assert [a.get("error", {}).get("code") for a in answers] == [None] * 3 + [-32005] * 5
    await trio.sleep(10)
    assert (await client.rpc(call))[0] == 200
    from clawpurse.modules.kit.web.messages import Peer

    other = web.connect(Peer("9.9.9.9:1", "9.9.9.9"))
    for _ in range(4):
        await client.rpc(call)
    assert (await client.rpc(call))[0] == 429
    assert (await other.rpc(call))[0] == 200


async def test_a_proof_costs_what_it_costs_and_the_answer_without_it_does_not(
    make_web: Any, autojump_clock: Any
) -> None:
    """Proofs of the past are dear; whoever asks for none does not pay for them."""

    class ProveParams(Params):
        prove: bool = False

    def answer(params: ProveParams, _context: Any) -> bool:
        return params.prove

    method = Method("get_proven", "An answer", answer, ProveParams, prove_cost=20)
    client = make_web(extra_methods=[method], budgets=Budgets(10, 30)).connect()

    async def ask(*, prove: bool) -> tuple[int, Any]:
        call = {"jsonrpc": "2.0", "method": "get_proven", "params": {"prove": prove}, "id": 1}
        status, reply = await client.rpc(call)
        return status, reply

    assert [(await ask(prove=False))[0] for _ in range(9)] == [200] * 9
    assert (await ask(prove=True))[1]["result"] is True
    assert (await ask(prove=False))[0] == 429
    with pytest.raises(ValueError, match="cost"):
        make_web(extra_methods=[replace(method, prove_cost=-1)])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "method", "id", "params", "a", "b"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)
NEAR_REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "2.0", "1.0"]) | JSON_VALUES},
    optional={
        "method": st.sampled_from(["sum", "subtract", "get_data", "test_fault"]) | JSON_VALUES,
        "params": JSON_VALUES,
        "id": JSON_VALUES,
    },
)


@settings(max_examples=300)
@given(
    st.binary(max_size=100)
    | (JSON_VALUES | NEAR_REQUESTS | st.lists(NEAR_REQUESTS, max_size=5)).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_whatever_is_sent_the_answer_is_well_formed(run_web: Any, message: bytes) -> None:
    async def scenario(web: Any) -> None:
        reply = web.dispatcher.answer(message, Context())
        if isinstance(reply, Pending):
            reply = await reply.run()
        if reply is None:
            return
        answer = json.loads(bytes(reply))
        strip(answer)
        for item in answer if isinstance(answer, list) else [answer]:
            assert item["jsonrpc"] == "2.0"
            assert ("result" in item) != ("error" in item)

    logging.getLogger("clawpurse.web").disabled = True
    try:
        run_web(scenario)
    finally:
        logging.getLogger("clawpurse.web").disabled = False


def make(*methods: Method) -> Callable[[], Dispatcher]:
    return lambda: Dispatcher(methods, log=RefusalLog(lambda: 0.0))


def test_methods_that_contradict_each_other_are_refused_at_the_start() -> None:
    method = Method("a_b", "x", lambda _p, _c: 1)
    for bad in ((method, method), (Method("rpc.x", "x", lambda _p, _c: 1),),
                (Method("a", "x", lambda _p, _c: 1, deadline_ms=0),)):  # fmt: skip
        with pytest.raises(ValueError):
            make(*bad)()


def test_raw_json_and_odd_numbers_are_served() -> None:
    dispatcher = make(
        Method("a_raw", "x", lambda _p, _c: RawJson(b'{"x":[1]}')),
        Method("a_nan", "x", lambda _p, _c: float("nan")),
        Method("a_big", "x", lambda _p, _c: 2**200),
    )()
    answers = [
        json.loads(dispatcher.answer(f'{{"jsonrpc":"2.0","method":"{n}","id":1}}', Context()))  # type: ignore[arg-type]
        for n in ("a_raw", "a_nan", "a_big")
    ]
    assert [a["result"] for a in answers] == [{"x": [1]}, None, 2**200]


class Question(Params):
    text: str
    prove: bool = False


async def test_only_who_asks_for_a_proof_waits_for_one() -> None:
    """A method's cheap answer comes at once; with `prove` its async prover gives it, in order."""

    async def proven(params: Question, _context: Context) -> str:
        await trio.lowlevel.checkpoint()
        return f"{params.text}, proven"

    for cost in (1, 50):
        method = Method(
            "test_ask", "Ask", lambda params, _: params.text, Question, cost=cost, prover=proven
        )
        dispatcher = Dispatcher([method], log=RefusalLog())

        async def ask(*calls: dict[str, Any], dispatcher: Dispatcher = dispatcher) -> Any:
            batch = [
                {"jsonrpc": "2.0", "id": n, "method": "test_ask", "params": params}
                for n, params in enumerate(calls)
            ]
            message: Any = batch if len(batch) > 1 else batch[0]
            reply: Any = dispatcher.answer(json.dumps(message).encode(), Context())
            if isinstance(reply, Pending):
                reply = await reply.run()
            else:
                assert len(calls) == 1
            assert reply is not None
            return json.loads(bytes(reply))

        assert (await ask({"text": "a"}))["result"] == "a"
        assert (await ask({"text": "a", "prove": True}))["result"] == "a, proven"
        answers = await ask({"text": "a"}, {"text": "b", "prove": True}, {"text": "c"})
        assert [answer["result"] for answer in answers] == ["a", "b, proven", "c"]


def test_a_prover_that_is_not_async_is_refused() -> None:
    method = Method("test_ask", "Ask", len, Question, prover=len)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="async"):
        Dispatcher([method], log=RefusalLog())
