"""Values for parameters, from the schema that OpenRPC publishes of them: right ones and wrong ones.

Seeded, so that a call that breaks something can be made again. An unknown
pattern that no word at hand fits fails, so that no parameter is left out quietly.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft7Validator

Json = dict[str, Any]
EDGES = (0, 1, -1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 2**64, -(2**63), 10**40)
ODD_TEXTS = (
    "",
    " ",
    "0",
    "x",
    "\0",
    "é" * 9,
    "0x",
    "0xzz",
    "claw1",
    "9" * 80,
    "\u202e",
    "a" * 5000,
)
# What patterns are tried on that are not drawn from letter by letter.
WORDS = (
    "ids", "full", "0", "1", "007", "9" * 20, "kyc", "a" * 32, "-", ".", "CLAW", "EUR", "X",
    "Z" * 16, "A.B", "NONE", "wh_" + "a1" * 10, "assets.transferred", "1.0", "https://example.com/x",
    "ab" * 32 + "@127.0.0.1:9640", "cd" * 32,
)  # fmt: skip
ITEMS_MAX = 4
WRONG_TRIES = 12


class Values:
    """Draws values. `known` are objects that are there, by the name of a parameter."""

    def __init__(self, chance: random.Random, components: Json, known: Mapping[str, Sequence[Any]]):
        self._chance = chance
        self._components = components
        self._known = known

    def call(self, method: Json) -> tuple[Any, bool]:
        """Parameters of a method of the document, and whether its schemas allow them."""
        described: list[Json] = method["params"]
        chance = self._chance
        chosen = [
            one for one in described if one["required"] or chance.random() < 0.4
        ]  # fmt: skip
        params = {one["name"]: self.right(one["name"], one["schema"]) for one in chosen}
        kind = chance.random()
        if kind < 0.55 or (not described and kind < 0.9):
            return self._listed(described, params), True
        if described and kind < 0.9:
            one = chance.choice(described)
            params[one["name"]] = self.wrong(one["schema"])
            return params, False
        if kind < 0.95:
            return {**params, "unheardOf": self.anything()}, False
        missing = [one["name"] for one in described if one["required"]]
        if not missing:
            return [0] * (len(described) + 1), False
        del params[chance.choice(missing)]
        return params, False

    def _listed(self, described: list[Json], params: Json) -> Any:
        """The same by position now and then, where no gap would have to be filled."""
        names = [one["name"] for one in described[: len(params)]]
        if set(names) == set(params) and self._chance.random() < 0.2:
            return [params[name] for name in names]
        return params

    def right(self, name: str, schema: Json) -> Any:
        """A value that the schema allows: one that is there, if any is known by that name."""
        validator = self._validator(schema)
        known = [one for one in self._known.get(name, ()) if validator.is_valid(one)]
        if known and self._chance.random() < 0.7:
            return self._chance.choice(known)
        value = self.of(schema)
        assert validator.is_valid(value), f"{name}: {value!r} is not of {schema}"
        return value

    def wrong(self, schema: Json) -> Any:
        """A value that the schema forbids; null where it allows everything that was tried."""
        validator = self._validator(schema)
        for _ in range(WRONG_TRIES):
            value = self.anything()
            if not validator.is_valid(value):
                return value
        return {"neither": None}

    def anything(self, depth: int = 0) -> Any:
        """Any JSON value."""
        chance = self._chance
        turn = chance.randrange(8 if depth < 3 else 6)
        if turn == 0:
            return chance.choice((None, True, False))
        if turn == 1:
            return chance.choice(EDGES)
        if turn == 2:
            return chance.choice((0.5, -0.0, 1e308, 1.0))
        if turn == 3:
            return chance.choice(ODD_TEXTS)
        if turn == 4:
            return "0x" + chance.randbytes(chance.choice((0, 1, 31, 32, 33, 64))).hex()
        if turn == 5:
            return chance.choice([one for many in self._known.values() for one in many] or [0])
        if turn == 6:
            return [self.anything(depth + 1) for _ in range(chance.randrange(ITEMS_MAX))]
        return {f"k{n}": self.anything(depth + 1) for n in range(chance.randrange(ITEMS_MAX))}

    def of(self, schema: Json) -> Any:
        """A value made by the schema alone."""
        chance = self._chance
        if "$ref" in schema:
            return self.of(self._components["schemas"][schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return self.of(chance.choice(schema["anyOf"]))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            return self.of({**schema, "type": chance.choice(kind)})
        match kind:
            case "null":
                return None
            case "boolean":
                return chance.random() < 0.5
            case "integer":
                return self._integer(schema)
            case "string":
                return self._string(schema)
            case "array":
                least = schema.get("minItems", 0)
                most = min(schema.get("maxItems", ITEMS_MAX), least + ITEMS_MAX)
                return [
                    self.of(schema.get("items", {})) for _ in range(chance.randint(least, most))
                ]
            case "object":
                required = schema.get("required", ())
                return {
                    name: self.of(inner)
                    for name, inner in schema.get("properties", {}).items()
                    if name in required or chance.random() < 0.5
                }
            case None:
                return self.anything()
        raise AssertionError(f"values of {json.dumps(schema)} cannot be made")

    def _integer(self, schema: Json) -> int:
        least, most = schema.get("minimum", 0), schema.get("maximum", 2**64 - 1)
        most = min(most, schema.get("exclusiveMaximum", most + 1) - 1)
        edges = [value for value in (*EDGES, least, most) if least <= value <= most]
        if self._chance.random() < 0.5:
            return self._chance.choice(edges)
        return self._chance.randint(least, min(most, least + 100))

    def _string(self, schema: Json) -> str:
        chance = self._chance
        pattern = schema.get("pattern")
        most = min(schema.get("maxLength", 40), 40)
        if pattern is None:
            least = schema.get("minLength", 0)
            return "".join(chance.choice("aZ0.-é ") for _ in range(chance.randint(least, most)))
        if pattern.startswith("^claw1"):
            return "claw1" + "".join(
                chance.choice("qpzry9x8gf2tvdw0s3jn54khce6mua7l") for _ in range(58)
            )
        if digits := re.fullmatch(r"\^0x\[0-9a-f\]\{(\d+)\}\$", pattern):
            return "0x" + chance.randbytes(int(digits[1]) // 2).hex()
        if pairs := re.fullmatch(r"\^0x\(\[0-9a-f\]\{2\}\)(?:\{1,(\d+)\}|\+)\$", pattern):
            return "0x" + chance.randbytes(chance.choice((1, int(pairs[1] or 200)))).hex()
        if pattern == "^0x([0-9a-f]{2})*$":
            return "0x" + chance.randbytes(chance.choice((0, 1, 32, 33, 64, 200))).hex()
        made = [text for text in WORDS if re.search(pattern, text)]
        assert made, f"what does {pattern} allow?"
        return chance.choice(made)

    def _validator(self, schema: Json) -> Draft7Validator:
        return Draft7Validator({**schema, "components": self._components})
