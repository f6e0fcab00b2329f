"""How many calls there were and how long they took, for whoever watches the service."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from mfc_dbus.bus.backend import Variant
from mfc_dbus.model.status import StoreCounters


class Statistics:
    """Counts since the service started. The names are those of the table of members: no more."""

    def __init__(self) -> None:
        self.unrouted = 0  # signals of UnroutedTraffic
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}

    def begin(self, name: str) -> Callable[..., None]:
        """Return the function that counts a call which begins now, at its answer.

        name: the full name of its method.
        """
        begin = time.monotonic()
        member = name.rpartition(".")[2]

        def answered(*, failed: bool) -> None:
            self._calls[member] += 1
            self._errors[member] += failed
            self._seconds[member] = self._seconds.get(member, 0.0) + time.monotonic() - begin

        return answered

    def read(self, store: StoreCounters) -> Mapping[str, Variant]:
        """Return them as GetStatistics does."""
        return {
            "calls": Variant("a{st}", dict(self._calls)),
            "call-errors": Variant("a{st}", dict(self._errors)),
            "call-seconds": Variant("a{sd}", self._seconds),
            "store-commits": Variant("t", store.commits),
            "store-failures": Variant("t", store.failures),
            "store-seconds": Variant("d", store.seconds),
            "unrouted": Variant("t", self.unrouted),
        }
