"""The interfaces that routes may use now, and those that have to wait until then.

VIFs are held by name. So an interface that is there anew, under an old name or an old ifindex, is
not there for routes until all that were on the old one have let go of its VIF.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping

from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed, Turned
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.table import Table


class Arrivals:
    """What happens to interfaces, told in an order that routes can follow in slices."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        tell: Callable[[Event], None],
        holds: Callable[[Table], bool],
    ) -> None:
        """tell: of what holds from now on. holds: whether a table can have no new VIF for now."""
        self.present: dict[str, Link] = {}
        self._coming: dict[str, Link] = {}
        self._tables = tables
        self._tell = tell
        self._holds = holds

    @property
    def coming(self) -> Mapping[str, Link]:
        """Those that are there, and not yet for routes."""
        return self._coming

    @property
    def known(self) -> Mapping[str, Link]:
        """All that are there."""
        return ChainMap(self.present, self._coming)

    def take_in(self, events: Iterable[Event]) -> dict[str, None]:
        """Follow events; the interfaces whose routes are to be looked at for it."""
        names: list[str] = []
        for event in events:
            if isinstance(event, Missed):
                names += self._take_lost()
                self._tell(event)
            elif isinstance(event, Gone):
                names += self._remove(event.link)
            else:
                names += self._put(event)
        names += self.admit()
        return dict.fromkeys(names)

    def admit(self) -> dict[str, None]:
        """Let those be there that need not wait any more; their names."""
        free = [link for link in self._coming.values() if self._is_free(link)]
        for link in free:
            del self._coming[link.name]
            self.present[link.name] = link
            self._tell(Came(link))
        return dict.fromkeys(link.name for link in free)

    def _remove(self, link: Link) -> Iterable[str]:
        self._coming.pop(link.name, None)
        if self.present.pop(link.name, None) is None:
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
        self.present[link.name] = link
        self._tell(event)
        return (link.name,)

    def _take_lost(self) -> Iterable[str]:
        """Have those come anew that went, and came back under their old name and ifindex."""
        lost = {
            name: self.present.pop(name)
            for table in self._tables.values()
            if table.owned
            for name in table.lost_vifs()
            if name in self.present
        }
        self._coming.update(lost)
        return lost

    def _is_free(self, link: Link) -> bool:
        return not any(
            self._holds(table) or _has_vif(table, link)
            for table in self._tables.values()
            if table.owned
        )


def _has_vif(table: Table, link: Link) -> bool:
    """Whether there is a VIF of this name, or of this device under another name."""
    return link.name in table.vifs or any(vif.ifindex == link.ifindex for vif in table.vifs)
