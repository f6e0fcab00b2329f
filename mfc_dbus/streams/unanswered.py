"""Streams that the kernel has asked about and that no route covered, until it asks again (pure).

A route that comes meanwhile may cover some: these are to be answered.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mfc_dbus.model.addresses import Prefix, mask
from mfc_dbus.model.route import Route, RouteKey

# The kernel asks once for a stream, and asks again at the earliest when 10 s have passed
# (ipmr_cache_unresolved, ip6mr_cache_unresolved). Until then nobody else knows of it.
_WAITS = 11_000_000_000
_MOST_WAITING = 4096
_ANSWERS = 64  # streams at one time, so that others are served in between


class Arrival(NamedTuple):
    """The interface on which a stream arrives, and when the kernel told of it."""

    iif: str
    told: int


class Unanswered:
    """These streams in the order in which the kernel told of them."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[RouteKey, Arrival] = OrderedDict()
        self._to_answer: OrderedDict[RouteKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, stream: RouteKey) -> bool:
        return stream in self._waiting

    @property
    def any_to_answer(self) -> bool:
        return bool(self._to_answer)

    def put(self, stream: RouteKey, iif: str, now: int) -> None:
        self._forget_old(now)
        self._waiting.pop(stream, None)
        if len(self._waiting) == _MOST_WAITING:
            self._waiting.popitem(last=False)
        self._waiting[stream] = Arrival(iif, now)

    def remove(self, stream: RouteKey, iif: str) -> None:
        """Forget a stream that has got its entry, if it arrives on this interface."""
        waiting = self._waiting.get(stream)
        if waiting is not None and waiting.iif == iif:
            del self._waiting[stream]

    def retry(self, stream: RouteKey, now: int) -> None:
        """Have a stream answered whose arrival interface is not known any more."""
        if stream not in self._waiting:
            self.put(stream, "", now)
            self._to_answer[stream] = None

    def retry_covered(self, routes: Sequence[Route], now: int) -> None:
        """Have the streams answered that may be covered by these routes, which are new."""
        self._forget_old(now)
        prefixes = {(route.source, route.group) for route in routes}
        lengths = {(source.length, group.length) for source, group in prefixes}
        for stream in self._waiting:
            source, group = stream.source.address, stream.group.address
            if any((_around(source, n), _around(group, m)) in prefixes for n, m in lengths):
                self._to_answer[stream] = None

    def take_to_answer(self) -> Iterator[tuple[RouteKey, str]]:
        """Yield some of the streams that are to be answered, and where they arrive, if known."""
        for _ in range(min(_ANSWERS, len(self._to_answer))):
            stream, _ = self._to_answer.popitem(last=False)
            waiting = self._waiting.get(stream)
            if waiting is not None:
                yield stream, waiting.iif

    def _forget_old(self, now: int) -> None:
        while self._waiting:
            stream, waiting = next(iter(self._waiting.items()))
            if now - waiting.told < _WAITS:
                break
            del self._waiting[stream]


def _around(address: bytes, length: int) -> Prefix:
    return Prefix(mask(address, length), length)
