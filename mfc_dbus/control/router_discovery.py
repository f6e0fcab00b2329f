"""When switches are told that a multicast router is here, and on which interfaces (RFC 4286).

Solicitations are not answered: hearing one takes a join of 224.0.0.2 on each interface, of which a
socket holds 20, and a look at every IGMP packet. A switch that starts has its link come up, which
is seen here; one that is farther away waits for an interval at the most.
"""

import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mfc_dbus.config.settings import CurrentSettings
from mfc_dbus.kernel.links import Event, Gone, Link, Missed
from mfc_dbus.model.interfaces import expand, matches
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.table import Table

log = logging.getLogger(__name__)

# Times are nanoseconds.
_SECOND = 1_000_000_000
FIRST = 3  # that are said one shortly after the other (MaxInitialAdvertisements)
FIRST_WAIT = 2 * _SECOND  # before each of them, at the most (MaxInitialAdvertisementInterval)
MOST = 100  # at one time, so that others are served in between
SHORTEST = 0.75  # of the interval, before all others (MinAdvertisementInterval)


@dataclass(slots=True)
class _Port:
    """An interface on which the service advertises in one family.

    first: how many of the first advertisements, which come fast, are still to be sent. due: when
    the next one is to be sent; None before `do_due` has chosen a time. announced: whether one was
    sent. error: the last errno that was logged.
    """

    link: Link
    first: int = FIRST
    due: int | None = None
    announced: bool = False
    error: int | None = None

    def begin(self, link: Link | None = None) -> None:
        """Be new to the switch that is there now."""
        self.link = link or self.link
        self.first = FIRST
        self.due = None


class RouterDiscovery:
    """The interfaces of the configuration, in each default table that it has. Time is given."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        settings: CurrentSettings,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """spread: a number from 0 up to 1 each time, so that routers do not speak all at once."""
        self._tables = tables
        self._spread = spread
        self._settings = settings
        self._interval = settings.now.advertising_interval
        self._ports: dict[TableId, dict[str, _Port]] = {}
        self.configure({})

    def __len__(self) -> int:
        return sum(map(len, self._ports.values()))

    @property
    def next_due(self) -> int | None:
        """When `do_due` has something to do."""
        return min((port.due or 0 for _, port in self._active()), default=None)

    def configure(self, present: Mapping[str, Link]) -> None:
        """Go by other settings, and say goodbye where these have no interface or table any more."""
        settings = self._settings.now
        wanted = {
            name for each in settings.router_discovery_interfaces for name in expand(each, present)
        }
        before, self._ports = self._ports, {id_: {} for id_ in settings.tables if not id_.number}
        for id_, ports in before.items():
            for name, port in ports.items():
                if id_ in self._ports and name in wanted:
                    self._ports[id_][name] = port
                else:
                    self._part(self._tables[id_], port)
        for ports in self._ports.values():
            if settings.advertising_interval != self._interval:
                for port in ports.values():
                    port.begin()
            ports.update({name: _Port(present[name]) for name in wanted - ports.keys()})
        self._interval = settings.advertising_interval

    def see(self, event: Event) -> None:
        """Take in what happened to an interface."""
        if isinstance(event, Missed):
            return
        link = event.link
        patterns = self._settings.now.router_discovery_interfaces
        wanted = any(matches(pattern, link.name) for pattern in patterns)
        for ports in self._ports.values() if wanted else ():
            if isinstance(event, Gone):
                ports.pop(link.name, None)
            else:
                ports.setdefault(link.name, _Port(link)).begin(link)

    def do_due(self, now: int) -> None:
        """Send the advertisements that are due, some at a time."""
        due = []
        for table, port in self._active():
            if port.due is None:
                port.due = now + int(FIRST_WAIT * self._spread())
            elif port.due <= now:
                due.append((table, port))
        for table, port in due[:MOST]:
            self._advertise(table, port, now)

    def announce_termination(self) -> None:
        """Say goodbye everywhere."""
        for table, port in self._active():
            self._part(table, port)
            port.begin()

    def _active(self) -> Iterator[tuple[Table, _Port]]:
        """Yield the tables that are ours, each with its interfaces that can carry a message."""
        for id_, ports in self._ports.items():
            if id_ in self._tables and self._tables[id_].owned:
                for port in ports.values():
                    if port.link.up and port.link.multicast:
                        yield self._tables[id_], port

    def _advertise(self, table: Table, port: _Port, now: int) -> None:
        interval = self._interval
        port.first = max(0, port.first - 1)
        if port.first:
            port.due = now + int(FIRST_WAIT * self._spread())
        else:
            port.due = now + int(interval * (SHORTEST + (1 - SHORTEST) * self._spread()))
        try:
            table.kernel.advertise(port.link.ifindex, interval // _SECOND)
        except OSError as error:
            # An interface that has just come may have no address for some seconds.
            if not port.first and port.error != error.errno:
                log.warning(
                    "Switches at %s do not hear that it leads to an %s multicast router: %s",
                    port.link.name,
                    table.id,
                    os.strerror(error.errno or 0),
                )
                port.error = error.errno
        else:
            port.announced = True
            port.error = None

    def _part(self, table: Table, port: _Port) -> None:
        if not port.announced or not table.owned:
            return
        port.announced = False
        try:
            table.kernel.terminate(port.link.ifindex)
        except OSError as error:  # the switch will know it in three intervals
            log.debug("Switches at %s are not told goodbye: %s", port.link.name, error)
