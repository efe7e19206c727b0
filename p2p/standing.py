"""How peers stand: scores that decay, bans with a reason and an end.

What no honest node sends (a bad signature, bad encoding, an oversized frame) is banned at once,
key and address; what version skew or a slow link can cause is only rate-limited. Loopback and
configured addresses are never banned, a configured key is only disconnected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from clawpurse.p2p.address import ban_key, is_loopback
from clawpurse.p2p.configured import Configured

BAN_FIRST_S: Final = 3_600
# Each further ban of the same key or address is longer, up to a day.
BAN_MAX_S: Final = 86_400
_DOUBLINGS_MAX: Final = 8
# Failed handshakes are cheap to cause and may be a port scan: only many of them are a ban.
SCORE_BAN: Final = 100.0
SCORE_HALF_LIFE_S: Final = 600.0
SCORES_MAX: Final = 4_096
BANS_MAX: Final = 4_096


class Ban(NamedTuple):
    """A ban of a node id (hex) or an address; `until_ms` by the wall clock."""

    subject: str
    reason: str
    until_ms: int
    times: int


class Standing:
    """Scores and bans of one node. `now_ms` is the wall clock, because bans outlive restarts."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        configured: Configured,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._now_ms = now_ms
        self.configured: Final = configured
        self._changed = changed
        self._bans: dict[str, Ban] = {}
        self._scores: dict[str, tuple[float, int]] = {}

    def banned(self, node_id: bytes | None, host: str) -> Ban | None:
        """Return the ban in force against a key or an address."""
        if node_id in self.configured:
            return None
        subjects = [] if self._is_exempt(host) else [ban_key(host)]
        if node_id is not None:
            subjects.append(node_id.hex())
        now = self._now_ms()
        for subject in subjects:
            ban = self._bans.get(subject)
            if ban is not None and ban.until_ms > now:
                return ban
        return None

    def _is_exempt(self, host: str) -> bool:
        return is_loopback(host) or self.configured.has_host(host)

    def ban(self, node_id: bytes | None, host: str, reason: str) -> list[str]:
        """Ban a key and an address, as far as they may be; return what is banned now.

        A configured key keeps its address too: behind a configured name there is an address
        that the configuration does not spell.
        """
        if node_id in self.configured:
            return []
        subjects = [] if node_id is None else [node_id.hex()]
        if not self._is_exempt(host):
            subjects.append(ban_key(host))
        for subject in subjects:
            self._add(subject, reason)
        return subjects

    def ban_key_of(self, node_id: bytes, reason: str) -> None:
        """Ban a key wherever it comes from, because the operator says so."""
        self._add(node_id.hex(), reason)

    def lift(self, node_id: bytes) -> None:
        """End a key's ban, as who configures it means to talk to it."""
        if self._bans.pop(node_id.hex(), None) is not None:
            self._changed()

    def _add(self, subject: str, reason: str) -> None:
        before = self._bans.pop(subject, None)
        count = 1 if before is None else before.times + 1
        length_s = min(BAN_FIRST_S * 2 ** min(count - 1, _DOUBLINGS_MAX), BAN_MAX_S)
        until = self._now_ms() + 1000 * length_s
        self._bans[subject] = Ban(subject, reason, until, count)
        while len(self._bans) > BANS_MAX:
            del self._bans[next(iter(self._bans))]
        self._changed()

    def annoy(self, host: str, points: float, reason: str) -> None:
        """Add to an address's score; enough of it is a ban."""
        key, now = ban_key(host), self._now_ms()
        score = self.score(host) + points
        self._scores.pop(key, None)
        if score >= SCORE_BAN:
            self.ban(None, host, reason)
            return
        self._scores[key] = (score, now)
        while len(self._scores) > SCORES_MAX:
            del self._scores[next(iter(self._scores))]

    def score(self, host: str) -> float:
        """Return how annoying an address is now: 0 is spotless, `SCORE_BAN` is banned."""
        score, at = self._scores.get(ban_key(host), (0.0, 0))
        passed_s = max(0, self._now_ms() - at) / 1000
        return float(score * 0.5 ** (passed_s / SCORE_HALF_LIFE_S))

    def bans(self) -> list[Ban]:
        """Return the bans in force."""
        now = self._now_ms()
        return [ban for ban in self._bans.values() if ban.until_ms > now]

    def export(self) -> list[list[Any]]:
        """Return the bans as JSON values, to be kept."""
        return [list(ban) for ban in self.bans()]

    def restore(self, saved: Iterable[Any]) -> None:
        """Take back what `export` returned; entries of another form are left out."""
        for item in saved:
            if (
                isinstance(item, list)
                and len(item) == len(Ban._fields)
                and isinstance(item[0], str)
                and isinstance(item[1], str)
                and isinstance(item[2], int)
                and isinstance(item[3], int)
                and len(self._bans) < BANS_MAX
            ):
                self._bans[item[0]] = Ban(*item)
