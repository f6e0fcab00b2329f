"""One routing table of one family: who owns it, and what it holds."""

import errno
import os
from typing import Protocol

from mfc_dbus.errors import KernelError, TableBusy
from mfc_dbus.kernel.mroute import SGCount, VIFCount
from mfc_dbus.model import FAMILY_NAMES, Family, Route, RouteKey
from mfc_dbus.plan import KernelTable
from mfc_dbus.routes import Routes
from mfc_dbus.vifs import Vifs


class Kernel(KernelTable, Protocol):
    """The routing table in the kernel; each call raises OSError."""

    def init(self) -> None: ...
    def owns(self) -> bool: ...
    def done(self) -> None: ...
    def fileno(self) -> int: ...
    def vif_count(self, vif: int) -> VIFCount: ...
    def sg_count(self, source: bytes, group: bytes) -> SGCount: ...


class Table:
    """The routes of a table, and the VIFs that they use. It is ours only when `take` succeeded."""

    def __init__(self, family: Family, kernel: Kernel | OSError) -> None:
        """kernel: the table, or why there is none on this system."""
        self.family = family
        self.routes = Routes()
        self.installed: dict[RouteKey, Route] = {}  # what of them is in the kernel
        self.vifs = Vifs()
        # What an earlier process wrote may have the VIF numbers of devices that have gone, which
        # the kernel does not show: before one of these is used, the entries are written anew.
        self.doubtful: frozenset[int] = frozenset()
        self.owned = False
        self.wanted = True
        self._kernel = None if isinstance(kernel, OSError) else kernel
        self._error = kernel if isinstance(kernel, OSError) else None

    def take(self) -> bool:
        """Try to become the owner, if that is not so yet. Whether it is new that we are."""
        if self._kernel is None or self.owned or not self.wanted:
            return False
        try:
            self._kernel.init()
        except OSError as error:
            self._error = error
        else:
            self._error = None
            self.owned = True
        return self.owned

    def take_up(self) -> bool:
        """Whether it is ours already, through a socket that was kept from an earlier process."""
        try:
            self.owned = self._kernel is not None and self._kernel.owns()
        except OSError as error:  # it is no such socket
            self._error = error
        return self.owned

    def leave(self) -> None:
        """Give it up; the kernel forgets what is in it. Raises OSError."""
        if self._kernel is not None and self.owned:
            try:
                self._kernel.done()
            except OSError as error:
                if error.errno != errno.EACCES:  # it was given up before
                    raise
            self.owned = False
            self.forget()

    def forget(self) -> None:
        """Begin anew, with a table that the kernel has emptied."""
        self.installed.clear()
        self.vifs = Vifs()
        self.doubtful = frozenset()

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
        name = FAMILY_NAMES[self.family]
        if not self.wanted:
            return f"The configuration leaves the {name} multicast routing table alone"
        if self._error is None:
            return ""
        if self._busy:
            return f"Another program owns the {name} multicast routing table"
        cause = os.strerror(self._error.errno or 0)
        return f"This system does not route {name} multicast: {cause}"

    def state(self, route: Route) -> str:
        """How much of a desired route is in the kernel."""
        if not self.owned:
            return "unavailable"
        installed = self.installed.get(route.key)
        if installed is None:
            return "waiting"
        return "active" if len(installed.oifs) == len(route.oifs) else "partial"

    def lost_vifs(self) -> list[str]:
        """The interfaces whose VIFs the kernel has dropped: their devices were deleted."""
        return [vif.name for vif in self.vifs if not self._has(vif.number)]

    def _has(self, number: int) -> bool:
        try:
            self.kernel.vif_count(number)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL):
                raise
            return False
        return True

    @property
    def _busy(self) -> bool:
        return self.wanted and self._error is not None and self._error.errno == errno.EADDRINUSE
