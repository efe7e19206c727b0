"""How often: rates, quotas and numbers that count once; by each gateway, or shared through Redis.

Redis counts by its own clock, so those of the gateways do not matter. It is asked with a short
deadline; once it did not answer it is left alone for a moment, so that its absence costs one
request a wait and not all of them. What happens meanwhile is configured: each gateway counts by
itself (`local`), or what is limited is refused (`refuse`). It never decides about money.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar

import trio

from clawpurse.ledger.errors import OperatorError, PeerError
from clawpurse.modules.gateway.config import Rate

LOG: Final = logging.getLogger("clawpurse.gateway")
DAY_MS: Final = 86_400_000
COUNTERS_MAX: Final = 10_000
NUMBERS_MAX: Final = 200_000
"""Of two minutes; beyond it signed requests wait, so that none is taken twice."""

TIMEOUT_S: Final = 0.25
REST_S: Final = 1.0
CONNECTIONS_MAX: Final = 16
PREFIX: Final = "clawpurse:gateway:"
WhenGone = Literal["local", "refuse"]
T = TypeVar("T")


class LimitsGone(PeerError):
    """Nobody can say how often somebody asked, and the configuration says to refuse then."""


class Limits(Protocol):
    """What a guard asks. Raises `LimitsGone`."""

    async def wait_s(self, route: str, client: str, rate: Rate) -> float:
        """Count a request; 0, or how long to wait with it."""

    async def left_today(self, route: str, client: str, quota: int, now_ms: int) -> bool:
        """Count a request of today; False when the quota is reached."""

    async def is_new(self, number: str, life_s: int) -> bool:
        """Take a number that counts once within its life; False when it was taken."""


class LocalLimits:
    """Counts in memory. `clock_s` only goes forward."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._levels: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._days: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._numbers: OrderedDict[str, float] = OrderedDict()

    async def wait_s(self, route: str, client: str, rate: Rate) -> float:
        """See `Limits`."""
        now, per_s = self._clock_s(), rate.requests / rate.per_s
        level, at = self._levels.pop((route, client), (float(rate.requests), now))
        level = min(float(rate.requests), level + (now - at) * per_s)
        wait_s = 0.0 if level >= 1 else (1 - level) / per_s
        self._levels[route, client] = (level if wait_s else level - 1, now)
        while len(self._levels) > COUNTERS_MAX:
            # The one longest unused is the fullest.
            self._levels.popitem(last=False)
        return wait_s

    async def left_today(self, route: str, client: str, quota: int, now_ms: int) -> bool:
        """See `Limits`."""
        day = now_ms // DAY_MS
        counted = self._days.setdefault((route, client), [day, 0])
        self._days.move_to_end((route, client))
        while len(self._days) > COUNTERS_MAX:
            self._days.popitem(last=False)
        if counted[0] != day:
            counted[:] = [day, 0]
        if counted[1] >= quota:
            return False
        counted[1] += 1
        return True

    async def is_new(self, number: str, life_s: int) -> bool:
        """See `Limits`."""
        now = self._clock_s()
        while self._numbers and next(iter(self._numbers.values())) < now:
            self._numbers.popitem(last=False)
        if number in self._numbers or len(self._numbers) >= NUMBERS_MAX:
            return False
        self._numbers[number] = now + life_s
        return True


_BUCKET: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local burst, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = tonumber(kept[1]) or burst
level = math.min(burst, level + (now - (tonumber(kept[2]) or now)) * rate)
local wait = 0
if level < 1 then wait = (1 - level) / rate else level = level - 1 end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', string.format('%.3f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate) + 1000)
return tostring(wait)
"""
"""A token bucket: `burst`, and `rate` in tokens a millisecond; returns the wait in ms."""

_QUOTA: Final = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count > tonumber(ARGV[1]) then redis.call('DECR', KEYS[1]) return 0 end
return 1
"""


class RedisLimits:
    """Counts in Redis for all gateways that ask the same one. `close` it at the end.

    Raises `OperatorError` when the package is missing or the URL is none; a server that is away is
    none of its errors.
    """

    def __init__(self, url: str, gone: WhenGone, local: LocalLimits) -> None:
        try:
            import redis
        except ImportError:
            raise OperatorError(
                "Shared limits need the package redis.", "", "pip install 'clawpurse[redis]'"
            ) from None
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                max_connections=CONNECTIONS_MAX,
            )
        except ValueError as error:
            raise OperatorError(f"redis: {error}.", "", "redis = redis://host:6379/0") from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._gone: WhenGone = gone
        self._local = local
        self._bucket: Any = self._redis.register_script(_BUCKET)
        self._quota: Any = self._redis.register_script(_QUOTA)
        self._limiter = trio.CapacityLimiter(CONNECTIONS_MAX)
        self._rests_until = 0.0
        #: What keeps it from being asked; empty while it answers.
        self.problem = ""

    def close(self) -> None:
        """Close its connections."""
        self._redis.close()

    async def wait_s(self, route: str, client: str, rate: Rate) -> float:
        """See `Limits`."""
        key = f"{PREFIX}rate:{route}:{rate.requests}/{rate.per_s}:{client}"
        per_ms = rate.requests / (rate.per_s * 1000)
        found = await self._ask(lambda: self._bucket(keys=[key], args=[rate.requests, per_ms]))
        if found is None:
            return await self._local.wait_s(route, client, rate)
        return float(found) / 1000

    async def left_today(self, route: str, client: str, quota: int, now_ms: int) -> bool:
        """See `Limits`."""
        key = f"{PREFIX}day:{now_ms // DAY_MS}:{route}:{client}"
        found = await self._ask(lambda: self._quota(keys=[key], args=[quota, 2 * DAY_MS]))
        if found is None:
            return await self._local.left_today(route, client, quota, now_ms)
        return bool(found)

    async def is_new(self, number: str, life_s: int) -> bool:
        """See `Limits`. Taken here as well: while Redis is away nothing is taken twice here."""
        if not await self._local.is_new(number, life_s):
            return False
        key = f"{PREFIX}once:{number}"
        found = await self._ask(lambda: self._redis.set(key, 1, nx=True, ex=life_s) or 0)
        return found is None or bool(found)

    async def _ask(self, run: Callable[[], T]) -> T | None:
        """Ask in a thread; None where the gateway counts by itself. Raises `LimitsGone`."""
        if trio.current_time() < self._rests_until:
            self._away()
            return None
        try:
            found = await trio.to_thread.run_sync(run, limiter=self._limiter)
        except self._errors as error:
            self._rests_until = trio.current_time() + REST_S
            if not self.problem:
                LOG.warning("Redis is away", extra={"problem": str(error), "limits": self._gone})
            self.problem = str(error)
            self._away()
            return None
        if self.problem:
            LOG.info("Redis answers again")
            self.problem = ""
        return found

    def _away(self) -> None:
        if self._gone == "refuse":
            raise LimitsGone("how often somebody asked cannot be said at the moment")
