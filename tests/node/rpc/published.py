"""Holds every answer that a test gets against the schema that the node publishes for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema import Draft7Validator

from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.jsonrpc import Method
from clawpurse.modules.kit.web.openrpc import openrpc_document

_VALIDATORS: dict[str, Draft7Validator] = {}


def validators(methods: Iterable[Method]) -> Mapping[str, Draft7Validator]:
    """Return a validator of the result of each method; made once, for they are dear."""
    missing = [one for one in methods if one.name not in _VALIDATORS]
    if missing:
        document = openrpc_document(missing, title="t", version="1")
        components = {"components": document["components"]}
        for method in document["methods"]:
            schema = {**method["result"]["schema"], **components}
            _VALIDATORS[method["name"]] = Draft7Validator(schema)
    return _VALIDATORS


class CheckingClient(RpcClient):
    """A client of a node under test: what is answered fits what is published, member by member."""

    methods: Mapping[str, Method] = {}

    async def call(self, method: str, params: Any = None, **options: Any) -> Any:
        answer = await super().call(method, params, **options)
        found = self.methods.get(method)
        if found is not None:
            validator = validators([found])[method]
            problems = [f"{list(e.path)}: {e.message}"[:300] for e in validator.iter_errors(answer)]
            assert not problems, (method, problems)
            unsaid = sorted(undescribed(validator.schema, validator.schema, answer))
            assert not unsaid, (method, unsaid)
        return answer


def undescribed(root: Any, schema: Any, value: Any) -> Iterable[str]:
    """Yield members of an answer of which its schema says nothing."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from undescribed(root, root["components"]["schemas"][name], value)
    elif "anyOf" in schema:
        branches = [one for one in schema["anyOf"] if _fits(root, one, value)]
        found = [list(undescribed(root, one, value)) for one in branches]
        yield from min(found, key=len, default=[])
    elif isinstance(value, dict) and "properties" in schema:
        for name, member in value.items():
            if name in schema["properties"]:
                yield from undescribed(root, schema["properties"][name], member)
            else:
                yield f"{schema.get('title', '?')}.{name}"
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for member in value:
            yield from undescribed(root, schema["items"], member)


def _fits(root: Any, schema: Any, value: Any) -> bool:
    return Draft7Validator({**schema, "components": root["components"]}).is_valid(value)
