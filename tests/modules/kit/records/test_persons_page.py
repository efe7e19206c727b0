"""docs/how-to/persons-and-promises.md says what works: its blocks are run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

from clawpurse.modules.kit import api
from clawpurse.modules.kit.entities.calendars import DAY_MS, calendar_of
from clawpurse.modules.kit.service.declaration import compiled
from clawpurse.modules.kit.testing.stand import Stand
from tests.modules.kit.records.desk import HelpDesk

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "persons-and-promises.md"


def test_what_the_page_declares_can_be_declared() -> None:
    """Otherwise an author copies it, and learns from an error that the page is old."""
    text = PAGE.read_text("utf-8")
    python = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {name: getattr(api, name) for name in api.__all__}
    declared = compile(
        "from typing import Annotated\n" + python[0], "page", "exec", dont_inherit=True
    )
    exec(declared, {**names, "HOUR_MS": 1, "DAY_MS": DAY_MS})
    for block in python:
        compile(block, "page", "exec")
    (calendar,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert calendar_of(json.loads(calendar)).zone == "Europe/Berlin"


def test_the_page_names_the_methods_that_there_are(tmp_path: Path) -> None:
    """Otherwise somebody asks in vain for what is known of them."""
    stand = Stand(compiled(HelpDesk()), tmp_path / "desk.db", random=Random(1))
    told = set(re.findall(r"`(?:support)?_([a-z]+(?:[A-Z][a-z]+)+)`", PAGE.read_text("utf-8")))
    assert len(told) == 8
    assert [name for name in sorted(told) if not stand.has(name)] == []
    stand.close()
