"""Upcalls: streams of routes that have no entry of their own become entries, move, and expire.

Nothing here is stored, and nobody waits for it: packets of a new stream wait in the kernel.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mfc_dbus.addresses import exactly, forwardable
from mfc_dbus.config import Config
from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, IGMPMSG_WRONGVIF, Upcall
from mfc_dbus.learned import derive
from mfc_dbus.model import Route, RouteKey
from mfc_dbus.placement import Learned, Wide
from mfc_dbus.plan import entry
from mfc_dbus.table import Table
from mfc_dbus.unrouted import Stream

log = logging.getLogger(__name__)

_LOOKS = 4  # at an entry, in the time after which it goes
# The kernel asks once for a stream, and asks again at the earliest when 10 s have passed
# (ipmr_cache_unresolved, ip6mr_cache_unresolved). Until then nobody else knows of it.
_WAITS = 11_000_000_000
_MOST_WAITING = 4096
_FEW = 16  # routes that it is quicker to ask one by one


class _Use(NamedTuple):
    """How many packets had used an entry, and when it was first seen that it was so many."""

    packets: int
    since: int


class _Waiting(NamedTuple):
    """Where a stream arrives that no route was for, and when the kernel asked."""

    iif: str
    since: int


class Learning:
    """What one table's kernel asks, and what became of it. Times are nanoseconds."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._uses: dict[RouteKey, _Use] = {}
        self._looks: deque[tuple[int, RouteKey]] = deque()  # when each was looked at last
        self._waiting: dict[RouteKey, _Waiting] = {}  # in the order of asking
        self._full = False
        self._refused = False

    def next_look(self, config: Config) -> int | None:
        """When `look` has something to do."""
        return self._looks[0][0] + config.learned_expiry // _LOOKS if self._looks else None

    def hear(self, upcalls: Iterable[Upcall], now: int, config: Config) -> list[Stream]:
        """Write the entries that the kernel asks for, where a route covers the stream.

        The new streams of which nothing was learned.
        """
        names = {vif.number: vif.name for vif in self._table.vifs}
        others = []
        for type_, vif, source, group in upcalls:
            known = type_ in (IGMPMSG_NOCACHE, IGMPMSG_WRONGVIF) and vif in names
            if not known or not forwardable(source, group):
                continue
            stream = RouteKey(exactly(source), exactly(group), "", self._table.id.number)
            before = self._table.learned.get(stream)
            learned = derive(self._table.routes, stream, names[vif], self._table.installed.get)
            if learned is None:
                if before is not None and self._is_native(stream, names[vif]):
                    self._forget(before)
                if type_ == IGMPMSG_NOCACHE:
                    self._remember(stream, _Waiting(names[vif], now))
                    if before is None:
                        others.append(Stream(source, group, names[vif], self._table.id.number))
            elif type_ == IGMPMSG_WRONGVIF and learned == before:
                continue  # it has moved since
            elif before is not None or self._has_room(config):
                self._write(learned, now)
        return others

    def covers(self, stream: Stream) -> bool:
        """Whether a route says what is to become of a stream, be it in the kernel or not."""
        routes = self._table.routes
        key = RouteKey(exactly(stream.source), exactly(stream.group), "", stream.table)
        best = routes.best(stream.source, stream.group, stream.iif)
        return best is not None or routes.get(key) is not None

    def answer(self, routes: Sequence[Route], now: int, config: Config) -> None:
        """Write the entries that the kernel has asked for before there were these routes."""
        self._forget_waiting(now)
        if not self._waiting:
            return
        wide = [route for route in routes if isinstance(self._table.installed.get(route.key), Wide)]
        few = len(wide) <= _FEW
        for stream, waiting in [*self._waiting.items()] if wide else ():
            if few and not any(_covers(route, stream) for route in wide):
                continue
            learned = derive(self._table.routes, stream, waiting.iif, self._table.installed.get)
            if learned is not None and self._has_room(config):
                self._write(learned, now)

    def take_up(self, now: int) -> None:
        """Begin to look at what was learned by an earlier process."""
        for learned in self._table.learned:
            if learned.key not in self._uses:
                self._begin_to_look(learned.key, now)

    def look(self, now: int, config: Config, most: int) -> None:
        """Look at entries whose time it is, at most so many, and delete what is not used."""
        for _ in range(most):
            when = self.next_look(config)
            if when is None or when > now:
                break
            _, stream = self._looks.popleft()
            if not self._table.owned or stream not in self._table.learned:
                del self._uses[stream]
            elif self._is_used(stream, now, config):
                self._looks.append((now, stream))
            else:
                del self._uses[stream]
                self._forget(self._table.learned[stream])

    def _remember(self, stream: RouteKey, waiting: _Waiting) -> None:
        self._forget_waiting(waiting.since)
        self._waiting.pop(stream, None)
        if len(self._waiting) == _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[stream] = waiting

    def _forget_waiting(self, now: int) -> None:
        while self._waiting:
            stream, waiting = next(iter(self._waiting.items()))
            if now - waiting.since < _WAITS:
                break
            del self._waiting[stream]

    def _is_native(self, stream: RouteKey, iif: str) -> bool:
        """Whether an entry of the kernel's own has a stream, once it is not learned any more."""
        route = self._table.routes.best(stream.source.address, stream.group.address, iif)
        return route is not None and isinstance(self._table.installed.get(route.key), Route)

    def _has_room(self, config: Config) -> bool:
        full = len(self._table.learned) >= config.max_learned
        if full and not self._full:
            log.warning(
                "%d streams are learned, and the configuration allows no more", config.max_learned
            )
        self._full = full
        return not full

    def _write(self, learned: Learned, now: int) -> None:
        self._waiting.pop(learned.key, None)
        try:
            self._table.kernel.add_mfc(entry(learned, self._table.vifs))
        except OSError as error:
            if not self._refused:
                log.error("The kernel refused a stream of a route: %s", error)
            self._refused = True
            return
        self._refused = False
        self._table.written += 1
        self._table.learned.put(learned)
        self._begin_to_look(learned.key, now)

    def _begin_to_look(self, stream: RouteKey, now: int) -> None:
        if stream not in self._uses:
            self._looks.append((now, stream))
        self._uses[stream] = _Use(0, now)

    def _is_used(self, stream: RouteKey, now: int, config: Config) -> bool:
        try:
            count = self._table.kernel.sg_count(stream.source.address, stream.group.address)
        except OSError:  # somebody else has deleted it
            return False
        packets = count.packets - count.wrong_if
        before = self._uses[stream]
        if packets != before.packets:
            self._uses[stream] = _Use(packets, now)
            return True
        return now - before.since < config.learned_expiry

    def _forget(self, learned: Learned) -> None:
        self._table.learned.remove(learned.key)
        try:
            self._table.kernel.del_mfc(entry(learned, self._table.vifs))
        except OSError as error:
            log.debug("The entry of a stream was deleted by somebody else: %s", error)
        else:
            self._table.written += 1


def _covers(route: Route, stream: RouteKey) -> bool:
    return route.group.covers(stream.group) and route.source.covers(stream.source)
