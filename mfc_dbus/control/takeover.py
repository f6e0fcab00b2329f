"""Goes on with what an earlier process left: what it stored, and what the kernel holds of it."""

from collections.abc import Callable, Iterable, Mapping

from mfc_dbus.config.settings import CurrentSettings
from mfc_dbus.control.change_log import log_restored
from mfc_dbus.control.interface_follower import InterfaceFollower
from mfc_dbus.control.membership_changes import MembershipChanges
from mfc_dbus.control.reconciler import Reconciler
from mfc_dbus.control.status_changes import StatusChanges
from mfc_dbus.control.timeouts import Timeouts
from mfc_dbus.kernel.dump import Held
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.table import Table
from mfc_dbus.streams.upcalls import Upcalls


class Takeover:
    """Begins with what is left; what is too much to be read at a start is taken over as it is seen.

    It is the heir of the DriftDetector, which sees that.
    """

    def __init__(
        self,
        tables: dict[TableId, Table],
        memberships: Memberships,
        current: CurrentSettings,
        interfaces: InterfaceFollower,
        reconciler: Reconciler,
        upcalls: Upcalls,
        timeouts: Timeouts,
        status_changes: StatusChanges,
        membership_changes: MembershipChanges,
        tell: Callable[[], None],
    ) -> None:
        """tell: tells of what has changed, if no change is being done that will do so."""
        self._tables = tables
        self._memberships = memberships
        self._current = current
        self._interfaces = interfaces
        self._reconciler = reconciler
        self._upcalls = upcalls
        self._timeouts = timeouts
        self._status_changes = status_changes
        self._membership_changes = membership_changes
        self._tell = tell

    def restore(
        self, stored: Iterable[Desired], held: Mapping[TableId, Held] | None = None
    ) -> None:
        """Begin with what was stored, and tell nobody. What cannot be done now waits.

        held: what the kernel has of tables that an earlier process left to us.
        """
        self._interfaces.begin()
        memberships: list[Membership] = []
        for desired in stored:
            if isinstance(desired, Membership):
                memberships.append(desired)
                continue
            id_ = desired.table_id
            if id_ not in self._tables:
                self._tables[id_] = Table(id_, None)
            self._tables[id_].routes.put(desired)
            self._timeouts.remember(desired)
        self._memberships.restore(memberships, self._reconciler.present)
        for id_, table in self._tables.items():
            table.wanted = table.opened and id_ in self._current.now.tables
            if held and id_ in held:
                self._adopt(table, held[id_])
            else:
                self._reconciler.begin(table)
        self._reconciler.watch()
        self._status_changes.begin()
        self._membership_changes.begin()
        log_restored(
            self._status_changes.signalled.values(),
            self._memberships,
            (len(self._status_changes.signalled), len(memberships)),
        )

    def inherit(self, table: Table, source: bytes, group: bytes, iif: str) -> bool:
        """Go on with the entry of a stream in the kernel, if a route covers it.

        Return whether that is done.
        """
        return self._upcalls.inherit(table, source, group, iif)

    async def finish_adoption(
        self, table: Table, unresolved: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Go on with a table of which all is known now that an earlier process has left in it.

        unresolved: see `Held`. Raises OSError.
        """
        self._upcalls.resume(table, unresolved)
        await self._reconciler.finish_adoption(table)
        self._tell()

    def _adopt(self, table: Table, held: Held) -> None:
        self._reconciler.adopt(table, held)
        self._reconciler.begin(table)
        self._upcalls.resume(table, held.unresolved)
