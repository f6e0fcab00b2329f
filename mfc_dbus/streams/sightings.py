"""Remembers for some seconds where streams arrive that have no entry, or not there (pure).

The kernel's questions are all that tells it, and each is asked once in a while.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from mfc_dbus.kernel.abi import Upcall
from mfc_dbus.model.status import Sighting

# Times are nanoseconds. The kernel asks again when 10 s have passed.
LASTS = 11_000_000_000
MOST = 2048  # streams on interfaces; of more the one that was seen longest ago is forgotten

_Key = tuple[bytes, bytes, str]


class Sightings:
    """Of one table: which streams the kernel asked about, on which interfaces, and when."""

    def __init__(self) -> None:
        # The oldest first. A plain dictionary would find its first ever more slowly.
        self._seen: OrderedDict[_Key, int] = OrderedDict()
        self._of_group: dict[bytes, dict[_Key, None]] = {}  # ordered sets

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, upcalls: Iterable[Upcall], names: Mapping[int, str], now: int) -> None:
        """Remember what the kernel asks about. names: of interfaces, by their VIF."""
        for upcall in upcalls:
            iif = names.get(upcall.vif)
            if iif is None or not upcall.has_packet:
                continue
            key = upcall.group, upcall.source, iif
            self._seen.pop(key, None)
            self._seen[key] = now
            self._of_group.setdefault(upcall.group, {})[key] = None
        self._forget(now)

    def of(self, group: bytes, now: int) -> Sequence[Sighting]:
        """Return what was seen lately of the streams to a packed group."""
        self._forget(now)
        return [
            Sighting(key[1], group, key[2], now - self._seen[key])
            for key in self._of_group.get(group, ())
        ]

    def _forget(self, now: int) -> None:
        while self._seen:
            key, when = next(iter(self._seen.items()))
            if len(self._seen) <= MOST and now - when < LASTS:
                return
            del self._seen[key]
            keys = self._of_group[key[0]]
            del keys[key]
            if not keys:
                del self._of_group[key[0]]
