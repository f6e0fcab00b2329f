"""The kernel's table in the router of a topology, spoken to in names and addresses."""

import socket
from typing import Self

from lab.topology import Topology
from mfc_dbus.kernel.mroute import MFCEntry, MRoute, SGCount, VIFCount


class Table:
    """MRoute and nothing more: numbers VIFs in the order in which their devices were named."""

    def __init__(self, lab: Topology, number: int = 0) -> None:
        self._lab = lab
        self._vifs: dict[str, int] = {}
        with lab.router:
            self.mroute = MRoute(lab.family, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.mroute.close()

    def add_vifs(self, *names: str) -> None:
        for name in names:
            vif = next(n for n in range(32) if n not in self._vifs.values())
            self.mroute.add_vif(vif, self._lab.ifindex(name))
            self._vifs[name] = vif

    def del_vif(self, name: str) -> None:
        self.mroute.del_vif(self._vifs.pop(name))

    def entry(
        self, iif: str, *oifs: str, source: str = "", group: str = "", ttl: int = 1
    ) -> MFCEntry:
        """Name the lab's stream, from its source to its group where nothing else is said."""
        return MFCEntry(
            self._packed(source or self._lab.addresses.source),
            self._packed(group or self._lab.addresses.group),
            self._vifs[iif],
            tuple((self._vifs[oif], ttl) for oif in oifs),
        )

    def any_source_entry(self, iif: str, *oifs: str) -> MFCEntry:
        return self.entry(iif, *oifs, source=self._lab.addresses.any_source)

    def sg_count(self, source: str = "", group: str = "") -> SGCount:
        return self.mroute.sg_count(
            self._packed(source or self._lab.addresses.source),
            self._packed(group or self._lab.addresses.group),
        )

    def vif_count(self, name: str) -> VIFCount:
        return self.mroute.vif_count(self._vifs[name])

    def _packed(self, address: str) -> bytes:
        return socket.inet_pton(self._lab.family, address)
