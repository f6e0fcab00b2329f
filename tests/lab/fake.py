"""A routing table and network interfaces that exist in memory only.

They hold to what the kernel does; tests/kernel/test_fake.py holds both to the same tests.
"""

import errno
import os
from collections.abc import Mapping

from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mroute import MFCEntry, VIFCount
from mfc_dbus.model import MAX_VIFS


class FakeLinks:
    """Interfaces by name; those named in `silent` do not carry multicast."""

    def __init__(self, *names: str, silent: tuple[str, ...] = ()) -> None:
        self.links: dict[str, Link] = {}
        self._next = 1
        for name in (*names, *silent):
            self.add(name, multicast=name not in silent)

    def add(self, name: str, *, multicast: bool = True) -> None:
        self.links[name] = Link(name, self._next, multicast)
        self._next += 1

    def lookup(self, name: str) -> Link:
        if name not in self.links:
            raise _error(errno.ENODEV)
        return self.links[name]


class FakeKernel:
    """A routing table of the kernel. `fail_in`: how many calls succeed before one fails."""

    def __init__(self, links: FakeLinks) -> None:
        self.owner: object = None
        self.vifs: dict[int, int] = {}
        self.fail_in: int | None = None
        self._entries: dict[tuple[bytes, bytes, int | None], MFCEntry] = {}
        self._links = links

    @property
    def entries(self) -> set[MFCEntry]:
        return set(self._entries.values())

    def init(self) -> None:
        self._call()
        if self.owner not in (None, self):
            raise _error(errno.EADDRINUSE)
        self.owner = self

    def add_vif(self, vif: int, ifindex: int) -> None:
        self._call()
        if vif >= MAX_VIFS:
            raise _error(errno.ENFILE)
        if vif in self.vifs:
            raise _error(errno.EADDRINUSE)
        if ifindex not in {link.ifindex for link in self._links.links.values()}:
            raise _error(errno.EADDRNOTAVAIL)
        self.vifs[vif] = ifindex

    def del_vif(self, vif: int) -> None:
        self._call()
        self.vifs.pop(vif, None)

    def add_mfc(self, entry: MFCEntry) -> None:
        self._call()
        if entry.group[0] != 0xFF and entry.group[0] >> 4 != 0xE:
            raise _error(errno.EINVAL)
        # The kernel leaves out VIFs that it does not have, and says nothing.
        ttls = tuple((vif, ttl) for vif, ttl in entry.ttls if vif in self.vifs)
        self._entries[_key(entry)] = entry._replace(ttls=ttls)

    def del_mfc(self, entry: MFCEntry) -> None:
        self._call()
        if _key(entry) not in self._entries:
            raise _error(errno.ENOENT)
        del self._entries[_key(entry)]

    def vif_count(self, vif: int) -> VIFCount:
        if vif not in self.vifs:
            raise _error(errno.EADDRNOTAVAIL)
        return VIFCount(0, 0, 0, 0)

    def named(self, links: Mapping[str, Link]) -> set[tuple[object, ...]]:
        """The entries with interface names for VIF numbers: source, group, iif, oifs."""
        names = {link.ifindex: link.name for link in links.values()}
        by_vif = {vif: names[ifindex] for vif, ifindex in self.vifs.items()}
        return {
            (
                entry.source,
                entry.group,
                by_vif[entry.parent],
                frozenset((by_vif[vif], ttl) for vif, ttl in entry.ttls),
            )
            for entry in self.entries
        }

    def _call(self) -> None:
        if self.fail_in == 0:
            self.fail_in = None
            raise _error(errno.ENOMEM)
        if self.fail_in is not None:
            self.fail_in -= 1


def _key(entry: MFCEntry) -> tuple[bytes, bytes, int | None]:
    return entry.source, entry.group, entry.parent if entry.any_source else None


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
