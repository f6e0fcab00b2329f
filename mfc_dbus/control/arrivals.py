"""The interfaces that routes may use now, and those that have to wait until then.

VIFs are held by name. So an interface that is there anew, under an old name or an old ifindex, is
not there for routes until all that were on the old one have let go of its VIF.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping

from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed, Turned
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.present_links import PresentLinks
from mfc_dbus.routing.table import Table


class Arrivals:
    """What happens to interfaces, told in an order that routes can follow in slices."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        tell: Callable[[Event], None],
        holds: Callable[[Table], bool],
    ) -> None:
        """tell: is called with each event when it takes effect. holds: tells whether a table cannot
        take a new VIF for now.
        """
        self.present = PresentLinks()
        self._coming: dict[str, Link] = {}
        self._tables = tables
        self._tell = tell
        self._holds = holds

    @property
    def coming(self) -> Mapping[str, Link]:
        """The interfaces that exist and that routes may not use yet."""
        return self._coming

    @property
    def known(self) -> Mapping[str, Link]:
        """All interfaces that exist."""
        return ChainMap(self.present, self._coming)

    def follow(self, events: Iterable[Event]) -> dict[str, None]:
        """Follow events. Return the names of the interfaces whose routes have to be looked at."""
        names: list[str] = []
        for event in events:
            if isinstance(event, Missed):
                names += self._find_lost()
                self._tell(event)
            elif isinstance(event, Gone):
                names += self._remove(event.link)
            else:
                names += self._put(event)
        names += self.admit()
        return dict.fromkeys(names)

    def admit(self) -> dict[str, None]:
        """Hand interfaces that need not wait any more to routes. Return their names."""
        owned = [table for table in self._tables.values() if table.owned]
        if not self._coming or any(self._holds(table) for table in owned):
            return {}
        # A VIF may have the name, or be of this device under another name.
        vifs = [vif for table in owned for vif in table.vifs]
        names, ifindexes = {vif.name for vif in vifs}, {vif.ifindex for vif in vifs}
        free = [
            link
            for link in self._coming.values()
            if link.name not in names and link.ifindex not in ifindexes
        ]
        for link in free:
            del self._coming[link.name]
            self.present.put(link)
            self._tell(Came(link))
        return dict.fromkeys(link.name for link in free)

    def _remove(self, link: Link) -> Iterable[str]:
        self._coming.pop(link.name, None)
        if self.present.remove(link.name) is None:
            return ()
        self._tell(Gone(link))
        return (link.name,)

    def _put(self, event: Came | Turned) -> Iterable[str]:
        link, before = event.link, self.present.get(event.link.name)
        if before is None:
            self._coming[link.name] = link
            return ()
        if before.ifindex != link.ifindex:
            gone = self._remove(before)
            self._coming[link.name] = link
            return gone
        self.present.put(link)
        self._tell(event)
        return (link.name,)

    def _find_lost(self) -> Iterable[str]:
        """Treat interfaces as new that went and came back under their old name and ifindex."""
        lost = {
            name: link
            for table in self._tables.values()
            if table.owned
            for name in table.lost_vifs()
            if (link := self.present.remove(name)) is not None
        }
        self._coming.update(lost)
        return lost
