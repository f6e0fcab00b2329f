"""One routing table of one family: who owns it, and what it holds."""

import errno
import os
from typing import Protocol

from mfc_dbus.errors import KernelError, TableBusy
from mfc_dbus.kernel.mroute import VIFCount
from mfc_dbus.model import FAMILY_NAMES, Family
from mfc_dbus.plan import KernelTable
from mfc_dbus.routes import Routes
from mfc_dbus.vifs import Vifs


class Kernel(KernelTable, Protocol):
    """The routing table in the kernel; each call raises OSError."""

    def init(self) -> None: ...
    def vif_count(self, vif: int) -> VIFCount: ...


class Table:
    """The routes of a table, and the VIFs that they use. It is ours only when `take` succeeded."""

    def __init__(self, family: Family, kernel: Kernel | OSError) -> None:
        """kernel: the table, or why there is none on this system."""
        self.family = family
        self.routes = Routes()
        self.vifs = Vifs()
        self.owned = False
        self._kernel = None if isinstance(kernel, OSError) else kernel
        self._error = kernel if isinstance(kernel, OSError) else None

    def take(self) -> None:
        """Try to become the owner, if that is not so yet."""
        if self._kernel is None or self.owned:
            return
        try:
            self._kernel.init()
        except OSError as error:
            self._error = error
        else:
            self._error = None
            self.owned = True

    @property
    def kernel(self) -> Kernel:
        """The kernel's table, which is ours. Raises TableBusy, KernelError."""
        self.take()
        if self._kernel is None or not self.owned:
            raise (TableBusy if self._busy else KernelError)(self.reason)
        return self._kernel

    @property
    def reason(self) -> str:
        """Why the table is not ours, as a sentence; empty where it is."""
        if self._error is None:
            return ""
        name = FAMILY_NAMES[self.family]
        if self._busy:
            return f"Another program owns the {name} multicast routing table"
        cause = os.strerror(self._error.errno or 0)
        return f"This system does not route {name} multicast: {cause}"

    @property
    def _busy(self) -> bool:
        return self._error is not None and self._error.errno == errno.EADDRINUSE
