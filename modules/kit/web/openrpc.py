"""The OpenRPC document and the reference for people, made from the method definitions.

The same models that validate parameters describe them here, so the description cannot lag
behind. The document follows OpenRPC 1.3.2; `x-` members carry cost, role and deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from clawpurse.modules.kit.web.errors import ERROR_KINDS, INVALID_PARAMS, RpcError
from clawpurse.modules.kit.web.jsonrpc import Method, NoParams, RawJson, encode_json

OPENRPC_VERSION = "1.3.2"
_REF = "#/components/schemas/{model}"

DISCOVER = "rpc_discover"


def discover_method(
    methods: Iterable[Method], *, title: str, version: str, description: str = ""
) -> Method:
    """The method `rpc_discover`, which returns the document of `methods` and of itself."""
    document: list[bytes] = []
    method = Method(
        name=DISCOVER,
        summary="The OpenRPC document of this server",
        handler=lambda _params, _context: RawJson(document[0]),
        result={"type": "object", "description": "An OpenRPC document"},
        result_name="document",
    )
    everything = [*methods, method]
    described = openrpc_document(everything, title=title, version=version, description=description)
    document.append(encode_json(described))
    return method


def openrpc_document(
    methods: Iterable[Method], *, title: str, version: str, description: str = ""
) -> dict[str, Any]:
    """Describe methods, sorted by name. `version` is that of the interface."""
    schemas: dict[str, Any] = {}
    described = [_method_object(m, schemas) for m in sorted(methods, key=lambda m: m.name)]
    info = {"title": title, "version": version}
    if description:
        info["description"] = description
    return {
        "openrpc": OPENRPC_VERSION,
        "info": info,
        "methods": described,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _method_object(method: Method, schemas: dict[str, Any]) -> dict[str, Any]:
    namespace = method.name.partition("_")[0]
    answer: dict[str, Any] = {
        "name": method.name,
        "summary": method.summary,
        "tags": [{"name": namespace}],
        "paramStructure": "either",
        "params": _params(method.params, schemas),
        "result": {"name": method.result_name, "schema": _result_schema(method.result, schemas)},
        "errors": [_error_object(code) for code in sorted({*method.errors, INVALID_PARAMS})],
        "x-cost": method.cost,
        "x-deadlineMs": method.deadline_ms,
    }
    if method.description:
        answer["description"] = method.description
    if method.result_description:
        answer["result"]["description"] = method.result_description
    if method.role:
        answer["x-role"] = method.role
    return answer


def _error_object(code: int) -> dict[str, Any]:
    error = RpcError(code, "")
    data = {"class": error.error_class, "retryable": error.retryable, "hint": error.hint}
    return {"code": code, "message": error.message, "data": data}


def _params(model: type[BaseModel], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if model is NoParams:
        return []
    schema = _hoisted(model.model_json_schema(by_alias=True, ref_template=_REF), schemas)
    required = set(schema.get("required", ()))
    described = []
    for name, field_schema in schema.get("properties", {}).items():
        content: dict[str, Any] = {
            "name": name,
            "required": name in required,
            "schema": {k: v for k, v in field_schema.items() if k not in ("title", "description")},
        }
        if "description" in field_schema:
            content["description"] = field_schema["description"]
        described.append(content)
    return described


def _result_schema(result: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    adapter: TypeAdapter[Any] = TypeAdapter(result)
    schema = adapter.json_schema(by_alias=True, ref_template=_REF, mode="serialization")
    return _hoisted(schema, schemas)


def _hoisted(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's own definitions to the document's components."""
    for name, definition in schema.pop("$defs", {}).items():
        if schemas.setdefault(name, definition) != definition:
            raise ValueError(f"two different models are called {name}")
    return schema


def reference_markdown(methods: Iterable[Method]) -> str:
    """The reference for people: a section per namespace, then the error codes."""
    lines: list[str] = []
    namespace = ""
    for method in sorted(methods, key=lambda m: m.name):
        head = method.name.partition("_")[0]
        if head != namespace:
            namespace = head
            lines += [f"## {namespace}", ""]
        lines += _method_lines(method)
    lines += ["## Error codes", "", "| code | name | class | retryable | what to do |"]
    lines.append("|---|---|---|---|---|")
    for kind in ERROR_KINDS.values():
        retry = "yes" if kind.retryable else "no"
        lines.append(
            f"| {kind.code} | {kind.message} | {kind.error_class} | {retry} | {_cell(kind.hint)} |"
        )
    return "\n".join(lines) + "\n"


def _method_lines(method: Method) -> list[str]:
    lines = [f"### {method.name}", "", f"{method.summary}.", ""]
    if method.description:
        lines += [method.description, ""]
    params = _params(method.params, {})
    if params:
        lines += ["| parameter | type | required | meaning |", "|---|---|---|---|"]
        for param in params:
            required = "yes" if param["required"] else "no"
            meaning = _cell(param.get("description", ""))
            kind = _cell(_type_words(param["schema"]))
            lines.append(f"| `{param['name']}` | {kind} | {required} | {meaning} |")
        lines.append("")
    words = method.result_description or _type_words(_result_schema(method.result, {}))
    lines.append(f"Result `{method.result_name}`: {words}. Cost {method.cost}.")
    if method.role:
        lines.append(f"Needs a token with the role `{method.role}`.")
    if method.errors:
        named = ", ".join(f"{code} {RpcError(code, '').message}" for code in method.errors)
        lines.append(f"Errors: {named}.")
    lines.append("")
    return lines


def _type_words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(_type_words(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type_words(schema.get('items', {}))}"
    return str(schema.get("type", "any JSON value"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
