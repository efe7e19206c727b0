"""Events of final blocks, encoded once for everyone who reads them.

What a filter picks from a block is kept for those who come after it with the same filter: a
thousand subscribers of one block cost one encoding. Topics that show the same events by other
filters (a `family`) share the bytes of each event.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import trio

from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.subscriptions import Event

# Events turned into JSON between two turns of the loop: about a millisecond.
EVENTS_SLICE: Final = 16
# Events looked at, and not taken, between two turns of the loop.
LOOKED_SLICE: Final = 256
# Encoded events kept for the next reader: some full blocks, or thousands of usual ones.
CACHE_BYTES_MAX: Final = 32 * 1024 * 1024
# What an entry takes beside its events, and an event beside its data.
_ENTRY_BYTES: Final = 500
_EVENT_BYTES: Final = 200


class Candidate(NamedTuple):
    """An event of a block as a reader meets it: its place, and its JSON; None: no match."""

    place: int
    make: Callable[[], Any] | None


# (height, filter) → what the block has, in order; those that do not match without JSON.
Reader = Callable[[int, Any], Iterator[Candidate]]


class Picked(NamedTuple):
    """What one filter picks from one block: places in order, and the events at them."""

    places: Sequence[int]
    events: Sequence[Event]


class _Family:
    """The encoded events of one block by place, and how many selections use them."""

    __slots__ = ("events", "users")

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.users = 0


_Key = tuple[str, int, Any]


class EventCache:
    """What was read lately, within a bound of bytes. One per node."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._picked: OrderedDict[_Key, tuple[Picked, int]] = OrderedDict()
        self._families: dict[tuple[str, int], _Family] = {}
        self._making: dict[_Key, trio.Event] = {}
        #: How many events were encoded, for tests and measurements.
        self.encoded = 0

    @property
    def bytes(self) -> int:
        """How much is kept, an event of several selections counted with each."""
        return self._bytes

    async def select(self, family: str, height: int, matching: Any, read: Reader) -> Picked:
        """Return what a filter picks from a block; made once, whoever else wants it meanwhile.

        Raises what `read` raises. The loop has its turn between slices; a cancelled maker leaves
        the work to the next who waits for it.
        """
        key = family, height, matching
        while True:
            found = self._picked.get(key)
            if found is not None:
                self._picked.move_to_end(key)
                return found[0]
            making = self._making.get(key)
            if making is None:
                break
            await making.wait()
        done = self._making[key] = trio.Event()
        try:
            return await self._make(key, read)
        finally:
            del self._making[key]
            done.set()

    async def _make(self, key: _Key, read: Reader) -> Picked:
        name, height, matching = key
        family = self._families.setdefault((name, height), _Family())
        family.users += 1
        is_kept = False
        try:
            picked = await self._pick(family.events, height, read(height, matching))
            self._keep(key, picked)
            is_kept = True
            return picked
        finally:
            if not is_kept:
                self._leave(name, height)

    async def _pick(
        self, known: dict[int, Event], height: int, candidates: Iterator[Candidate]
    ) -> Picked:
        picked = Picked([], [])
        places, events = picked.places, picked.events
        assert isinstance(places, list)
        assert isinstance(events, list)
        for looked, (place, make) in enumerate(candidates, 1):
            if make is None:
                if looked % LOOKED_SLICE == 0:
                    await trio.lowlevel.checkpoint()
                continue
            event = known.get(place)
            if event is None:
                event = known[place] = Event(f"{height}.{place}", encode_json(make()))
                self.encoded += 1
            places.append(place)
            events.append(event)
            if len(events) % EVENTS_SLICE == 0:
                await trio.lowlevel.checkpoint()
        return picked

    def _keep(self, key: _Key, picked: Picked) -> None:
        size = _ENTRY_BYTES + sum([_EVENT_BYTES + len(event.data) for event in picked.events])
        self._picked[key] = picked, size
        self._bytes += size
        # The newest stays whatever its size: many wait for it at this moment.
        while self._bytes > self._bytes_max and len(self._picked) > 1:
            (name, height, _), (_, gone) = self._picked.popitem(last=False)
            self._bytes -= gone
            self._leave(name, height)

    def _leave(self, name: str, height: int) -> None:
        family = self._families[name, height]
        family.users -= 1
        if not family.users:
            del self._families[name, height]
