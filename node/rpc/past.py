"""State as it was after a block: what `atHeight` asks for, as far as undo records reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from pydantic import Field

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.overlay import StateReader
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Height

AT_HEIGHT: Final = "After which block; the newest if left out"
AtHeight = Annotated[Height | None, Field(description=AT_HEIGHT)]


@contextmanager
def state_after(services: Services, at_height: int | None) -> Iterator[tuple[StateReader, int]]:
    """Give (state, height) after a block; None means the newest.

    Raises `Pruned` below the undo floor, `NotFound` above the head. Must be left without
    waiting: the newest state moves with the chain.
    """
    chain = services.chain
    if at_height is None or at_height == chain.height:
        yield chain.reader, chain.height
        return
    view = chain.state.at_height(at_height)
    try:
        yield PastState(view), at_height
    finally:
        view.close()


class PastState:
    """A past state as a `StateReader`; it has no ordered indexes, and nobody asks it for one."""

    def __init__(self, view: Any) -> None:
        self._view = view

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return a value."""
        data: bytes | None = self._view.get(tree, key)
        return data

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Refuse: nothing about the past is asked in order."""
        raise Bug(
            f"a past state was asked for an order of {tree} {prefix.hex()} {limit} {after.hex()}"
        )
