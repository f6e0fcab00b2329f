"""One routing table of one family: who owns it, and what it holds."""

import errno
import os
from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from mfc_dbus.kernel.abi import Upcall
from mfc_dbus.kernel.mroute import SGCount, VIFCount
from mfc_dbus.model.errors import InvalidArgs, KernelError, TableBusy
from mfc_dbus.model.route import RouteKey, TableId
from mfc_dbus.routing.learned_entries import LearnedEntries
from mfc_dbus.routing.placement import Placement
from mfc_dbus.routing.routes import Routes
from mfc_dbus.routing.steps import KernelTable
from mfc_dbus.routing.vifs import Vifs


class Kernel(KernelTable, Protocol):
    """The routing table in the kernel; each call raises OSError."""

    def init(self) -> None: ...
    def done(self) -> None: ...
    def ask_for_wrong_vif(self) -> None: ...
    def fileno(self) -> int: ...
    def upcalls(self, most: int) -> Sequence[Upcall]: ...
    def has_vif(self, vif: int) -> bool: ...
    def vif_count(self, vif: int) -> VIFCount: ...
    def sg_count(self, source: bytes, group: bytes) -> SGCount: ...
    def advertise(self, ifindex: int, interval: int) -> None: ...
    def terminate(self, ifindex: int) -> None: ...


class Table:
    """The routes of a table, and the VIFs that they use. It is ours only after `acquire` or
    `adopt_socket`.
    """

    def __init__(self, id_: TableId, kernel: Kernel | OSError | None) -> None:
        """kernel: the table, or why there is none on this system; None: it was not opened."""
        self.id = id_
        self.routes = Routes(id_.number)
        self.installed: dict[RouteKey, Placement] = {}  # what of them is in the kernel
        # Which interfaces were left out of a route that is there in part or not at all, and why.
        self.left_out: dict[RouteKey, str] = {}
        self.learned = LearnedEntries()
        self.vifs = Vifs()
        # What an earlier process wrote may have the VIF numbers of devices that have gone, which
        # the kernel does not show: before one of these is used, the entries are written anew.
        self.doubtful: frozenset[int] = frozenset()
        # Whether an earlier process may have left entries that nobody has seen yet. They may have
        # any VIF number that is free now or later: until they are found no device gets a VIF.
        self.unseen = False
        self.written = 0  # how many entries and VIFs were, at the least
        self.owned = False
        self.opened = kernel is not None
        self.wanted = self.opened
        self._kernel = None if isinstance(kernel, OSError) else kernel
        self._error = kernel if isinstance(kernel, OSError) else None

    def acquire(self) -> bool:
        """Try to become the owner, if we are not yet. Return whether we have just become it."""
        if self._kernel is None or self.owned or not self.wanted:
            return False
        try:
            self._kernel.init()
            self._kernel.ask_for_wrong_vif()
        except OSError as error:
            self._error = error
        else:
            self._error = None
            self.owned = True
        return self.owned

    def adopt_socket(self) -> None:
        """Go on with a table that is ours already, by a socket that was kept. Raises OSError."""
        self.owned = True
        self.kernel.ask_for_wrong_vif()

    def release(self) -> None:
        """Give the table up; the kernel then empties it. Raises OSError."""
        if self._kernel is not None and self.owned:
            try:
                self._kernel.done()
            except OSError as error:
                if error.errno != errno.EACCES:  # it was given up before
                    raise
            self.owned = False
            self.reset()

    def upcalls(self, most: int) -> Sequence[Upcall]:
        """Read the kernel's upcalls; those of a table that is not ours are dropped."""
        found = self._kernel.upcalls(most) if self._kernel is not None else ()
        return found if self.owned else ()

    def fileno(self) -> int | None:
        """Return the socket's file descriptor, None where there is no socket."""
        return self._kernel.fileno() if self._kernel is not None else None

    def reset(self) -> None:
        """Forget all that was installed, since the kernel has emptied the table."""
        self.installed.clear()
        self.left_out.clear()
        self.learned.clear()
        self.vifs = Vifs()
        self.doubtful = frozenset()
        self.unseen = False

    def check_owned(self) -> None:
        """Raise TableBusy or KernelError where it is not ours."""
        if not self.owned:
            raise (TableBusy if self._busy else KernelError)(self.reason)

    @property
    def kernel(self) -> Kernel:
        """The kernel's table, which is ours. Raises TableBusy, KernelError."""
        self.check_owned()
        assert self._kernel is not None
        return self._kernel

    @property
    def reason(self) -> str:
        """Why the table is not ours, as a sentence; empty where it is."""
        name = str(self.id)
        if not self.wanted:
            return f"The configuration leaves the {name} multicast routing table alone"
        if self._error is None:
            return ""
        if self._busy:
            return f"Another program owns the {name} multicast routing table"
        cause = os.strerror(self._error.errno or 0)
        return f"This system does not route {name} multicast: {cause}"

    def is_named(self, interface: str, but: Container[RouteKey]) -> bool:
        """Return whether a route is on an interface by its name, and not by a pattern alone.

        but: the keys of routes that do not count.
        """
        return any(
            key not in but and self.is_on(key, interface) for key in self.routes.named(interface)
        )

    def is_on(self, key: RouteKey, interface: str) -> bool:
        """Return whether what the kernel has of a route uses an interface."""
        placed = self.installed.get(key)
        return placed is not None and interface in placed.interfaces

    def lost_vifs(self) -> list[str]:
        """Return the interfaces whose VIFs the kernel has dropped: their devices were deleted."""
        return [vif.name for vif in self.vifs if not self.kernel.has_vif(vif.number)]

    @property
    def _busy(self) -> bool:
        return self.wanted and self._error is not None and self._error.errno == errno.EADDRINUSE


def find_table(tables: Mapping[TableId, Table], id_: TableId) -> Table:
    """Find the table that a caller names. Raises InvalidArgs."""
    table = tables.get(id_)
    if table is None:
        raise InvalidArgs(f"There is no table {id_} in the configuration's 'tables'")
    return table
