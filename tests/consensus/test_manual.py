"""`docs/consensus.md` is what strangers go by: its example runs and its tables are complete."""

from __future__ import annotations

import contextlib
import io
import re
import types
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from clawpurse.consensus import effects, inputs

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "consensus.md").read_text("utf-8")


def test_the_example_runs_as_printed() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", MANUAL, flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "docs/consensus.md", "exec"), {"__name__": "example"})
    assert printed.getvalue().split() == [
        "Validate",
        "Broadcast",
        # The precommit's broadcast, after the polka and the proposal that explain it.
        "Broadcast",
        "Broadcast",
        "Broadcast",
        "Decide",
    ]


@pytest.mark.parametrize(
    "kind", [*get_args(inputs.Input), *get_args(effects.Effect)], ids=lambda kind: kind.__name__
)
def test_every_input_and_effect_is_listed_with_its_fields(kind: type) -> None:
    """A stranger who drives the machine needs all of them, with the types as they are."""
    (row,) = re.findall(rf"^\| `{kind.__name__}` \| (.*?) \| ", MANUAL, flags=re.MULTILINE)
    listed = [entry.replace("\\|", "|") for entry in re.findall(r"`([^`]+)`", row)]
    assert listed == [f"{field.name}: {_shown(field.type)}" for field in fields(kind)]


def _shown(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else str(annotation)
    return {"SignedMessage": "Vote | Proposal"}.get(text, text)


def test_every_rule_that_the_code_cites_is_explained() -> None:
    root = Path(__file__).resolve().parents[2]
    cited = set()
    for folder in ("consensus", "ledger/agreement"):
        for path in (root / folder).glob("*.py"):
            cited |= set(re.findall(r"\bR(\d+)\b", path.read_text("utf-8")))
    explained = set(re.findall(r"\bR(\d+)\b", MANUAL))
    assert cited - explained - {"25"} == set(), "the remote signer has its own page"


def test_unions_are_what_the_machine_takes() -> None:
    assert isinstance(inputs.Input, types.UnionType)
    assert isinstance(effects.Effect, types.UnionType)
