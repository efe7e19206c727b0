"""The OpenRPC document and the reference for people, made from the method definitions.

The same models that validate parameters describe them here, so the description cannot lag
behind. The document follows OpenRPC 1.3.2; `x-` members carry cost, role and deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from clawpurse.modules.kit.web.errors import (
    ERROR_KINDS,
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RATE_LIMITED,
    TIMEOUT,
    UNAUTHENTICATED,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import CALLER, Method, NoParams
from clawpurse.modules.kit.web.replies import RawJson, encode_json

OPENRPC_VERSION = "1.3.2"
_REF = "#/components/schemas/{model}"

DISCOVER = "rpc_discover"

GENERAL_ERRORS = (
    PARSE_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    INVALID_PARAMS,
    INTERNAL_ERROR,
    LIMIT_EXCEEDED,
    RATE_LIMITED,
    UNAUTHENTICATED,
    FORBIDDEN,
    TIMEOUT,
)
"""Codes that a call of any method may get, because of the message, the caller or the load. A
method declares the others that it gives."""


class _WithoutTitles(GenerateJsonSchema):
    """A member's name says what its title would repeat."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def discovery(
    methods: Iterable[Method], *, title: str, version: str, description: str = ""
) -> tuple[Method, bytes]:
    """Return the method `rpc_discover`, and the document of `methods` and of itself as JSON.

    The document is what the method answers. It costs tenths of a second, so a server that also
    has it at an address serves these bytes there.
    """
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
    return method, document[0]


def discover_method(
    methods: Iterable[Method], *, title: str, version: str, description: str = ""
) -> Method:
    """The method `rpc_discover`, which returns the document of `methods` and of itself."""
    return discovery(methods, title=title, version=version, description=description)[0]


def openrpc_document(
    methods: Iterable[Method], *, title: str, version: str, description: str = ""
) -> dict[str, Any]:
    """Describe methods, sorted by name. `version` is that of the interface."""
    schemas: dict[str, Any] = {}
    described = [_method_object(m, schemas) for m in sorted(methods, key=lambda m: m.name)]
    info = {"title": title, "version": version}
    if description:
        info["description"] = description
    general = {_error_name(code): _error_object(code) for code in GENERAL_ERRORS}
    return {
        "openrpc": OPENRPC_VERSION,
        "info": info,
        "methods": described,
        "components": {"schemas": dict(sorted(schemas.items())), "errors": general},
    }


def _error_name(code: int) -> str:
    """Return a code's name as a component's key: letters only."""
    return (
        ERROR_KINDS[code].message.title().replace(" ", "")
        if code < -32099
        else (ERROR_KINDS[code].message)
    )


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
    if method.prove_cost:
        answer["x-proveCost"] = method.prove_cost
    return answer


def _error_object(code: int) -> dict[str, Any]:
    error = RpcError(code, "")
    data = {"class": error.error_class, "retryable": error.retryable, "hint": error.hint}
    return {"code": code, "message": error.message, "data": data}


def _params(model: type[BaseModel], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if model is NoParams:
        return []
    schema = _hoisted(
        model.model_json_schema(by_alias=True, ref_template=_REF, schema_generator=_WithoutTitles),
        schemas,
    )
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
    schema = adapter.json_schema(
        by_alias=True, ref_template=_REF, mode="serialization", schema_generator=_WithoutTitles
    )
    return _hoisted(schema, schemas)


def _hoisted(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's own definitions to the document's components."""
    for name, definition in schema.pop("$defs", {}).items():
        if schemas.setdefault(name, definition) != definition:
            raise ValueError(f"two different models are called {name}")
    return schema


def reference_markdown(methods: Iterable[Method], words_of: Mapping[str, str] | None = None) -> str:
    """The reference for people: a section per namespace, the shapes of results, the error codes.

    `words_of` names what a pattern of text stands for, such as an account.
    """
    lines: list[str] = []
    namespace = ""
    shapes: dict[str, Any] = {}
    for method in sorted(methods, key=lambda m: m.name):
        head = method.name.partition("_")[0]
        if head != namespace:
            namespace = head
            lines += [f"## {namespace}", ""]
        lines += _method_lines(method, shapes)
    lines += [
        "## Shapes",
        "",
        "Members marked `?` are there only sometimes, or need not be sent.",
        "",
    ]
    for name, schema in sorted(shapes.items(), key=lambda item: item[0].lower()):
        lines += _shape_lines(name, schema, words_of or {})
    general = ", ".join(f"{code} {RpcError(code, '').message}" for code in GENERAL_ERRORS)
    lines += ["## Error codes", "", f"Any call may get: {general}.", ""]
    lines += ["| code | name | class | retryable | what to do |"]
    lines.append("|---|---|---|---|---|")
    for kind in ERROR_KINDS.values():
        retry = "yes" if kind.retryable else "no"
        lines.append(
            f"| {kind.code} | {kind.message} | {kind.error_class} | {retry} | {_cell(kind.hint)} |"
        )
    return "\n".join(lines) + "\n"


def _method_lines(method: Method, shapes: dict[str, Any]) -> list[str]:
    lines = [f"### {method.name}", "", f"{method.summary}.", ""]
    if method.description:
        lines += [method.description, ""]
    params = _params(method.params, shapes)
    if params:
        lines += ["| parameter | type | required | meaning |", "|---|---|---|---|"]
        for param in params:
            required = "yes" if param["required"] else "no"
            meaning = _cell(param.get("description", ""))
            kind = _cell(_type_words(param["schema"]))
            lines.append(f"| `{param['name']}` | {kind} | {required} | {meaning} |")
        lines.append("")
    more = f", with `prove` {method.prove_cost} more" if method.prove_cost else ""
    result = _result_schema(method.result, shapes)
    kind = method.result_name
    if "properties" in result:
        # A model that nothing else refers to is described in its place, not among the shared ones.
        kind = str(result["title"])
        shapes.setdefault(kind, result)
    shape = f"[{kind}](#{kind.lower()})" if kind in shapes else f"`{kind}`"
    words = method.result_description or _type_words(result)
    lines.append(f"Result {shape}: {words}. Cost {method.cost}{more}.")
    if method.role:
        named = "" if method.role == CALLER else f" with the role `{method.role}`"
        lines.append(f"Needs a token{named}.")
    if method.errors:
        named = ", ".join(f"{code} {RpcError(code, '').message}" for code in method.errors)
        lines.append(f"Errors: {named}.")
    lines.append("")
    return lines


def _shape_lines(name: str, schema: Mapping[str, Any], words_of: Mapping[str, str]) -> list[str]:
    lines = [f"### {name}", ""]
    if "description" in schema:
        lines += [" ".join(str(schema["description"]).split()), ""]
    required = schema.get("required", ())
    lines += ["| member | type |", "|---|---|"]
    for member, described in schema.get("properties", {}).items():
        mark = "" if member in required else "?"
        lines.append(f"| `{member}`{mark} | {_cell(_type_words(described, words_of))} |")
    return [*lines, ""]


def _type_words(schema: Mapping[str, Any], words_of: Mapping[str, str] | None = None) -> str:
    words_of = words_of or {}
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(_type_words(option, words_of) for option in schema["anyOf"])
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_type_words(schema.get('items', {}), words_of)}"
    found = words_of.get(schema.get("pattern", schema.get("format", "")))
    return found or str(schema.get("type", "any JSON value"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
