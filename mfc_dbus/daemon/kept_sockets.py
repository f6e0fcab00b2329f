"""The sockets that outlive a process: those that an earlier one left, and ours for the next."""

import itertools
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, suppress

from mfc_dbus.daemon.sdnotify import ServiceManager, kept_fds
from mfc_dbus.kernel import dump
from mfc_dbus.kernel.dump import Dump, Held, HeldEntry
from mfc_dbus.kernel.groups import GroupSocket
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.loop.worker import aside
from mfc_dbus.model.addresses import Family
from mfc_dbus.model.route import TableId

log = logging.getLogger(__name__)

_GROUPS = "groups-"


class KeptSockets:
    """Opens the sockets of tables and memberships, each kept under a name of its own."""

    def __init__(self, manager: ServiceManager, tables: Iterable[TableId]) -> None:
        """Take the sockets that were left for these tables and for groups, and close others."""
        self._manager = manager
        names = {_name(id_): id_ for id_ in tables}
        self._kept: dict[TableId, int] = {}
        self._tables: dict[TableId, MRoute] = {}
        self._joined: dict[str, int] = {}
        for name, fd in kept_fds(os.environ):
            if name in names and names[name] not in self._kept:
                self._kept[names[name]] = fd
            elif name.startswith(_GROUPS) and name not in self._joined:
                self._joined[name] = fd
            else:
                log.warning("Closing the socket '%s', which was kept for nobody", name)
                os.close(fd)
                manager.forget(name)
        # Earlier sockets keep their names until all groups are joined on new ones.
        names_of_joins = (f"{_GROUPS}{number}" for number in itertools.count())
        self._free_names = (name for name in names_of_joins if name not in self._joined)

    # Tables

    def open_table(self, stack: ExitStack, id_: TableId) -> MRoute | OSError:
        """Return the socket of a table, a new or a left one; or the error why there is none."""
        try:
            mroute = MRoute(id_.family, id_.number, kept=self._kept.get(id_))
        except OSError as error:
            return error
        self._tables[id_] = stack.enter_context(mroute)
        return mroute

    def held(self) -> dict[TableId, Held]:
        """Read what an earlier process left in tables; one that cannot be read begins anew."""
        held: dict[TableId, Held] = {}
        for id_ in self._kept.keys() & self._tables.keys():
            mroute = self._tables[id_]
            try:
                if mroute.owns():
                    held[id_] = dump.held(mroute)
            except OSError as error:
                log.error("What the kernel holds cannot be read, and is given up: %s", error)
                with suppress(OSError):
                    mroute.done()
        return held

    def read_vifs(self, id_: TableId) -> Mapping[int, int]:
        """Find the VIFs of a table that is ours. Raises OSError."""
        return dump.vifs(self._tables[id_])

    async def read_entries(self, id_: TableId) -> AsyncIterator[Iterable[HeldEntry]]:
        """Go through its entries, some at a time; also those not resolved. Raises OSError."""
        with Dump(id_.family, id_.number) as reading:
            while not reading.done:
                piece = await aside(reading.receive)
                yield reading.read(piece)

    def keep_table(self, id_: TableId, fd: int) -> None:
        self._manager.keep(_name(id_), fd)

    def forget_table(self, id_: TableId) -> None:
        self._manager.forget(_name(id_))

    # Memberships

    def open_group(self, family: Family) -> GroupSocket:
        """Open a socket that is kept from the start."""
        return _KeptGroupSocket(family, self._manager, next(self._free_names))

    def leave_earlier_groups(self) -> None:
        """Close the sockets of an earlier process, since all groups are joined on new ones."""
        for name, fd in self._joined.items():
            os.close(fd)
            self._manager.forget(name)
        self._joined.clear()


class _KeptGroupSocket(GroupSocket):
    """A group socket that the service manager keeps too, so that its joins outlive a process."""

    def __init__(self, family: Family, manager: ServiceManager, name: str) -> None:
        super().__init__(family)
        self._manager = manager
        self._name = name
        manager.keep(name, self.fileno())

    def give_up(self) -> None:
        self._manager.forget(self._name)
        super().give_up()


def _name(id_: TableId) -> str:
    return f"mroute-{id_}".replace("/", "-")
