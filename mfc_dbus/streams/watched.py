"""The interfaces that are listened on though no route may use them: each has a VIF of its own.

A VIF that no route uses has no references, and goes when a route needs its place.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mfc_dbus.kernel.links import Came, Event, Gone, Link
from mfc_dbus.model.interfaces import matches
from mfc_dbus.model.route import MAX_VIFS
from mfc_dbus.routing.placement import is_for_patterns
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import add_vif
from mfc_dbus.routing.vifs import Vif

log = logging.getLogger(__name__)


class Watching:
    """What is watched of the interfaces that there are, and the VIFs for it in each table."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = patterns
        self._watched: dict[str, Link] = {}
        self._full = False

    def configure(self, patterns: Sequence[str], present: Mapping[str, Link]) -> None:
        self._patterns = patterns
        self._watched = {name: link for name, link in present.items() if self._wants(link)}

    def see(self, event: Event, tables: Iterable[Table]) -> None:
        """Take in what happened to an interface, before the routes do."""
        if isinstance(event, Came):
            if self._wants(event.link):
                self._watched[event.link.name] = event.link
            else:
                self._watched.pop(event.link.name, None)
        elif isinstance(event, Gone):
            self._watched.pop(event.link.name, None)
            for table in tables:
                lose(table, event.link.name)

    def settle(self, table: Table) -> bool:
        """Give each watched interface a VIF, and no other; whether there was anything to do."""
        if not table.owned:
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
        # There may be thousands: no more are gone through than there is room for.
        lacking = (link for name, link in self._watched.items() if name not in table.vifs)
        chosen = list(islice(lacking, room)) if without else []
        added = [link for link in chosen if _add(table, link)]
        return bool(surplus or added)

    def _wants(self, link: Link) -> bool:
        return is_for_patterns(link) and any(matches(each, link.name) for each in self._patterns)


def lose(table: Table, name: str) -> None:
    """Take the VIF of an interface away, if no route uses it."""
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
    except OSError as error:  # it has gone again, or waits for the next change
        log.debug("Interface %s is not watched: %s", link.name, error)
        return False
    return True


def _idle(table: Table) -> Iterator[Vif]:
    return (vif for vif in table.vifs if not vif.references)
