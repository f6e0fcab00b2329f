"""The watched interfaces: each has a VIF, so that its streams make upcalls without any route.

A VIF that no route uses has no references, and goes when a route needs its place.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mfc_dbus.kernel.links import Came, Event, Gone, Link
from mfc_dbus.model.interfaces import matches
from mfc_dbus.model.route import MAX_VIFS
from mfc_dbus.routing.present_links import is_for_patterns
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import add_vif
from mfc_dbus.routing.vifs import Vif

log = logging.getLogger(__name__)


class Watching:
    """Knows the watched ones of the interfaces that exist, and gives them VIFs in each table."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = patterns
        self._watched: dict[str, Link] = {}
        self._full = False

    def configure(self, patterns: Sequence[str], present: Mapping[str, Link]) -> None:
        self._patterns = patterns
        self._watched = {name: link for name, link in present.items() if self._wants(link)}

    def see(self, event: Event, tables: Iterable[Table]) -> None:
        """Follow an event of an interface; call it before the routes follow that event."""
        if isinstance(event, Came):
            if self._wants(event.link):
                self._watched[event.link.name] = event.link
            else:
                self._watched.pop(event.link.name, None)
        elif isinstance(event, Gone):
            self._watched.pop(event.link.name, None)
            for table in tables:
                lose(table, event.link.name)

    def give_vifs(self, table: Table) -> bool:
        """Give each watched interface a VIF, and no other. Return whether that changed anything."""
        if not table.owned:
            return False
        if not self._watched and not any(_idle(table)):
            self._full = False
            return False
        surplus = [vif for vif in _idle(table) if vif.name not in self._watched]
        for vif in surplus:
            lose(table, vif.name)
        room = MAX_VIFS - len(table.vifs)
        without = len(self._watched) - sum(vif.name in self._watched for vif in table.vifs)
        if without > room and not self._full:
            log.warning(
                "The kernel knows %d interfaces a table: %d are not watched",
                MAX_VIFS,
                without - room,
            )
        self._full = without > room
        # Thousands may be watched: the loop ends when there is no room.
        lacking = (link for name, link in self._watched.items() if name not in table.vifs)
        chosen = list(islice(lacking, room)) if without else []
        added = [link for link in chosen if _add(table, link)]
        return bool(surplus or added)

    def _wants(self, link: Link) -> bool:
        return is_for_patterns(link) and any(matches(each, link.name) for each in self._patterns)


def lose(table: Table, name: str) -> None:
    """Delete the VIF of an interface, if no route uses it."""
    if not table.owned or name not in table.vifs or table.vifs[name].references:
        return
    number = table.vifs[name].number
    table.vifs.drop(name)
    try:
        table.kernel.del_vif(number)
    except OSError as error:
        log.debug("The VIF of an interface was deleted by somebody else: %s", error)


def _add(table: Table, link: Link) -> bool:
    try:
        add_vif(table, link)
    except OSError as error:  # the interface has gone again, or the next `give_vifs` tries again
        log.debug("Interface %s is not watched: %s", link.name, error)
        return False
    return True


def _idle(table: Table) -> Iterator[Vif]:
    return (vif for vif in table.vifs if not vif.references)
