"""Who looks at a record at this moment: so that two people do not answer the same customer.

In memory alone, and only of those who say that they are looking: a restart forgets it, a program
that reads is nobody's company, and nothing of it is written down.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

SEEN_MS: Final = 10_000
"""Pages look again every three seconds: who was not heard of for so long has gone."""

RECORDS_MAX: Final = 1_000
VIEWERS_MAX: Final = 16
"""Of one record: more faces than that nobody reads."""

Place = tuple[str, int]


class Presence:
    """Who was seen where. The records that were looked at longest ago are forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Place, dict[str, int]] = OrderedDict()

    def look(self, place: Place, subject: str, now_ms: int) -> None:
        """Note that somebody looks."""
        found = self._seen.setdefault(place, {})
        self._seen.move_to_end(place)
        found.pop(subject, None)
        found[subject] = now_ms
        while len(found) > VIEWERS_MAX:
            del found[next(iter(found))]
        while len(self._seen) > RECORDS_MAX:
            self._seen.popitem(last=False)

    def others(self, place: Place, subject: str, now_ms: int) -> list[str]:
        """Return who else looks now, in order of names."""
        found = self._seen.get(place, {})
        return sorted(
            one for one, at_ms in found.items() if one != subject and now_ms - at_ms <= SEEN_MS
        )
