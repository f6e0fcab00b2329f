"""Limits the signals about streams that no route covers: of each stream, and of all (pure)."""

from mfc_dbus.model.status import UnroutedStream

# Times are nanoseconds.
_SECOND = 1_000_000_000
INTERVAL = 10 * _SECOND  # in which a stream is told of once
RATE = 20  # a second, of all streams
BURST = 100  # at once, after some time of silence


_Key = tuple[bytes, bytes, int]


class Unrouted:
    """Remembers the streams that were told in the last INTERVAL, and no others."""

    def __init__(self) -> None:
        self._told: dict[_Key, int] = {}  # when, the oldest first
        self._credit = BURST * _SECOND // RATE  # a signal takes a second / RATE of it
        self._now = 0

    def __len__(self) -> int:
        """Return the number of streams that are remembered."""
        return len(self._told)

    def has_room(self, now: int) -> bool:
        """Return whether any stream can be told now. In a flood this alone refuses nearly all."""
        self._credit = min(self._credit + now - self._now, BURST * _SECOND // RATE)
        self._now = now
        return self._credit >= _SECOND // RATE

    def admit(self, stream: UnroutedStream, now: int) -> bool:
        """Return whether to tell of a stream that arrives now; if so, it counts as told."""
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
