"""Messages and their answers: the JSON-RPC 2.0 specification's examples, then further edges.

Answers hold an error's code in place of the error object; `strip` makes real ones so.
"""

from __future__ import annotations

from typing import Any


def error(code: int, ident: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "error": code}


def result(value: Any, ident: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "result": value}


# The examples of section 7 of the specification, in its order, then further edges.
EXAMPLES: list[tuple[str, Any]] = [
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', result(19, 1)),
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', result(-19, 2)),
    (
        '{"jsonrpc": "2.0", "method": "subtract", '
        '"params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        result(19, 3),
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", '
        '"params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        result(19, 4),
    ),
    ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', error(-32601, "1")),
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', error(-32700)),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', error(-32600)),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method"]',
        error(-32700),
    ),
    ("[]", error(-32600)),
    ("[1]", [error(-32600)]),
    ("[1,2,3]", [error(-32600)] * 3),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        '{"foo": "boo"},'
        '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        [
            result(7, "1"),
            result(19, "2"),
            error(-32600),
            error(-32601, "5"),
            result(["hello", 5], "9"),
        ],
    ),
    (
        '[{"jsonrpc": "2.0", "method": "notify_hello", "params": [1]},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
    # Ids of every kind come back as they are; what is no id makes the request invalid.
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":null}', result(1, None)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":""}', result(1, "")),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":0}', result(1, 0)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":-7}', result(1, -7)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1.5}', result(1, 1.5)),
    (
        '{"jsonrpc":"2.0","method":"sum","params":[1],"id":123456789012345678901234567890}',
        result(1, 123456789012345678901234567890),
    ),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":"ü\\u0000"}', result(1, "ü\0")),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":true}', error(-32600)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":[1]}', error(-32600)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":{}}', error(-32600)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1e999}', error(-32600)),
    # Ids that come twice are the client's affair; numbers beyond 64 bits are no parameter.
    (
        '[{"jsonrpc":"2.0","method":"sum","params":[1],"id":1},'
        '{"jsonrpc":"2.0","method":"sum","params":[2],"id":1}]',
        [result(1, 1), result(2, 1)],
    ),
    (
        '[{"jsonrpc":"2.0","method":"sum","params":[1],"id":null},'
        '{"jsonrpc":"2.0","method":"sum","params":[1],"id":{}},'
        '{"jsonrpc":"2.0","method":"sum","params":[1]},[],"x",'
        '{"jsonrpc":"2.0","method":"sum","params":[1],"id":0.5}]',
        [result(1, None), *[error(-32600)] * 3, result(1, 0.5)],
    ),
    ('{"jsonrpc":"2.0","method":"test_echo","params":[1e400],"id":1}', error(-32602, 1)),
    (
        '{"jsonrpc":"2.0","method":"test_echo","params":[%s],"id":1}' % ("9" * 4000),
        error(-32602, 1),
    ),
    (
        '{"jsonrpc":"2.0","method":"sum","params":%s,"id":1}' % ("[" * 100 + "]" * 100),
        error(-32602, 1),
    ),
    # The last of two members of one name counts, as with JSON.parse.
    ('{"jsonrpc":"2.0","method":"none","method":"sum","params":[1],"id":1}', result(1, 1)),
    # Requests that are none.
    ("1", error(-32600)),
    ('"sum"', error(-32600)),
    ("null", error(-32600)),
    ("true", error(-32600)),
    ("{}", error(-32600)),
    ("[[]]", [error(-32600)]),
    ('{"method":"sum","params":[1],"id":1}', error(-32600, 1)),
    ('{"jsonrpc":"1.0","method":"sum","params":[1],"id":1}', error(-32600, 1)),
    ('{"jsonrpc":2.0,"method":"sum","params":[1],"id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","method":null,"id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":"x","id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":1,"id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":null,"id":1}', error(-32600, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":false}', error(-32600)),
    ('{"jsonrpc":"2.0","method":"","id":1}', error(-32601, 1)),
    ('{"jsonrpc":"2.0","method":"rpc.describe","id":1}', error(-32601, 1)),
    # Further members are nobody's business.
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1,"x":2}', result(1, 1)),
    ('{"jsonrpc":"2.0","method":"get_data","params":{},"id":1}', result(["hello", 5], 1)),
    ('{"jsonrpc":"2.0","method":"get_data","params":[],"id":1}', result(["hello", 5], 1)),
    # Not JSON.
    ("", error(-32700)),
    (" ", error(-32700)),
    ("{", error(-32700)),
    ("{'a':1}", error(-32700)),
    ('{"a":1,}', error(-32700)),
    ('{"a":NaN}', error(-32700)),
    ("\ufeff{}", error(-32700)),
    ("{} {}", error(-32700)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1}]', error(-32700)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1}x', error(-32700)),
    ("[1,]", error(-32700)),
    ("[1 2]", error(-32700)),
    ("// sum", error(-32700)),
    ("+1", error(-32700)),
    ("01", error(-32700)),
    ("Infinity", error(-32700)),
    ("[" * 5000 + "]" * 5000, error(-32700)),
    ('{"jsonrpc":"2.0","method":"sum","id":"\\ud800"}', error(-32700)),
    # Parameters.
    ('{"jsonrpc":"2.0","method":"sum","id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":[],"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":[1,2,3,4],"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":"1"},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":true},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":1.0},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":null},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":1,"z":1},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"test_echo","params":{"some_text":"x"},"id":1}', error(-32602, 1)),
    ('{"jsonrpc":"2.0","method":"sum","params":{"a":"1"}}', None),
]


def strip(answer: Any) -> Any:
    """Replace error objects by their code, after checking their shape."""
    if isinstance(answer, list):
        return [strip(item) for item in answer]
    if answer is None or "error" not in answer:
        return answer
    assert set(answer) == {"jsonrpc", "id", "error"}
    problem = answer["error"]
    assert set(problem) == {"code", "message", "data"}
    assert problem["message"]
    data = problem["data"]
    assert {"reason", "class", "retryable", "hint"} <= set(data)
    assert data["class"] in ("malformed", "failed", "local", "retry")
    assert isinstance(data["retryable"], bool)
    assert data["reason"]
    assert data["hint"]
    return {**answer, "error": problem["code"]}
