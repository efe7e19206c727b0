"""What a node does about amendments that its software does not know: say so, then stop in time.

It stops before the height from which such an amendment is in force: from there on it would judge
blocks by rules that are no longer the network's. Nothing is lost; newer software goes on there.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawpurse.ledger.amendments import Amendment
from clawpurse.ledger.errors import OperatorError


def unknown(adopted: Sequence[Amendment], known: Sequence[str]) -> list[Amendment]:
    """Return the amendments that this software does not know, ordered by when they are in force."""
    foreign = [item for item in adopted if item.name not in known]
    return sorted(foreign, key=lambda item: (item.height, item.name))


def refuse_unknown(adopted: Sequence[Amendment], known: Sequence[str], height: int) -> None:
    """Raise `OperatorError` if a block of this height is under an amendment not known here."""
    for item in unknown(adopted, known):
        if item.height <= height:
            raise OperatorError(
                f"The amendment {item.name} is in force from block {item.height} on, "
                "and this software does not know it.",
                f"The node stopped before block {height}; nothing is lost.",
                f"install a version that knows {item.name}, then clawpurse start",
            )


def alarms(adopted: Sequence[Amendment], known: Sequence[str]) -> list[str]:
    """Return what an operator must do in time, a sentence for each amendment not known here."""
    return [
        f"this version does not know the amendment {item.name}, in force from block "
        f"{item.height} on: install one that does, or this node stops there"
        for item in unknown(adopted, known)
    ]
