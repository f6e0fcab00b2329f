"""Which of the streams that no route covers are told of: not too often, and not too many (pure)."""

from typing import NamedTuple

DEFAULT_TABLE = 0

# Times are nanoseconds.
_SECOND = 1_000_000_000
INTERVAL = 10 * _SECOND  # in which a stream is told of once
RATE = 20  # a second, of all streams
BURST = 100  # at once, after some time of silence


class Stream(NamedTuple):
    """What arrives: packed addresses, the interface, and the routing table."""

    source: bytes
    group: bytes
    iif: str
    table: int = DEFAULT_TABLE


_Key = tuple[bytes, bytes, int]


class Unrouted:
    """Remembers what was told, and nothing else: at most BURST streams and RATE for a second."""

    def __init__(self) -> None:
        self._told: dict[_Key, int] = {}  # when, the oldest first
        self._credit = BURST * _SECOND // RATE  # a signal takes a second / RATE of it
        self._now = 0

    def __len__(self) -> int:
        """How many streams are remembered."""
        return len(self._told)

    def has_room(self, now: int) -> bool:
        """Whether any stream can be told of now: in a flood this alone is asked, of nearly all."""
        self._credit = min(self._credit + now - self._now, BURST * _SECOND // RATE)
        self._now = now
        return self._credit >= _SECOND // RATE

    def admit(self, stream: Stream, now: int) -> bool:
        """Whether to tell of a stream that arrives now; then it counts as told."""
        if not self.has_room(now):
            return False
        self._forget(now - INTERVAL)
        key = stream.source, stream.group, stream.table
        if key in self._told:
            return False
        self._credit -= _SECOND // RATE
        self._told[key] = now
        return True

    def _forget(self, until: int) -> None:
        while self._told:
            key, when = next(iter(self._told.items()))
            if when > until:
                break
            del self._told[key]
