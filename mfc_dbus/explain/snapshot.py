"""Counters at one moment, and how much they rose between two."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mfc_dbus.kernel.counters import LinkCount
from mfc_dbus.kernel.mroute import SGCount, VIFCount
from mfc_dbus.kernel.queues import Dropped

_NO_ENTRY = SGCount(0, 0, 0)
_NO_VIF = VIFCount(0, 0, 0, 0)
_NO_LINK = LinkCount(0, 0, 0)


class Snapshot(NamedTuple):
    """The counters of a moment.

    entry: of the kernel's entry that has the stream; None where there is none. vifs, links: by the
    name of the interface. ipv4: of the whole machine. ipv6: of each interface with a VIF, by its
    name. drops: what queues and filters of an interface dropped, by its name.
    """

    entry: SGCount | None = None
    vifs: Mapping[str, VIFCount] = {}
    links: Mapping[str, LinkCount] = {}
    ipv4: Mapping[str, int] = {}
    ipv6: Mapping[str, Mapping[str, int]] = {}
    drops: Mapping[str, Dropped] = {}


class Rise(NamedTuple):
    """How much the counters of the first snapshot rose until the second.

    The first reads the entry last and the second reads it first. So in healthy forwarding every
    other counter on the way rose by as many packets as the entry's, or by more.
    """

    before: Snapshot
    after: Snapshot
    seconds: float

    @property
    def packets(self) -> int:
        """Packets that came by the iif of the entry."""
        return self._entry(lambda count: count.packets - count.wrong_if)

    @property
    def wrong(self) -> int:
        """Packets that came by another interface than the entry's."""
        return self._entry(lambda count: count.wrong_if)

    @property
    def bytes(self) -> int:
        return self._entry(lambda count: count.bytes)

    def out(self, interface: str) -> int:
        """Packets of all streams that the table sent to an interface."""
        before = self.before.vifs.get(interface, _NO_VIF).packets_out
        return max(0, self.after.vifs.get(interface, _NO_VIF).packets_out - before)

    def received(self, interface: str) -> int:
        """Packets of any kind that arrived on an interface."""
        before = self.before.links.get(interface, _NO_LINK).rx_packets
        return max(0, self.after.links.get(interface, _NO_LINK).rx_packets - before)

    def sent(self, interface: str) -> int:
        """Packets of any kind that left by an interface."""
        before = self.before.links.get(interface, _NO_LINK).tx_packets
        return max(0, self.after.links.get(interface, _NO_LINK).tx_packets - before)

    def dropped(self, interface: str) -> int:
        """Packets that the driver of an interface did not send."""
        before = self.before.links.get(interface, _NO_LINK).tx_dropped
        return max(0, self.after.links.get(interface, _NO_LINK).tx_dropped - before)

    def queue_drops(self, interface: str) -> int:
        """Packets that the queues of an interface had no room for."""
        before = self.before.drops.get(interface, Dropped()).queue
        return max(0, self.after.drops.get(interface, Dropped()).queue - before)

    def filter_drops(self, interface: str) -> int:
        """Packets that filters of tc dropped as they arrived or left."""
        before = self.before.drops.get(interface, Dropped()).filters
        return max(0, self.after.drops.get(interface, Dropped()).filters - before)

    def queue_kind(self, interface: str) -> str:
        return self.after.drops.get(interface, Dropped()).kind

    def ipv4(self, name: str) -> int:
        """Packets that IPv4 counted on the whole machine."""
        return max(0, self.after.ipv4.get(name, 0) - self.before.ipv4.get(name, 0))

    def ipv6(self, interface: str, name: str) -> int:
        """Packets that IPv6 counted on an interface."""
        before = self.before.ipv6.get(interface, {}).get(name, 0)
        return max(0, self.after.ipv6.get(interface, {}).get(name, 0) - before)

    def _entry(self, read: Callable[[SGCount], int]) -> int:
        return max(0, read(self.after.entry or _NO_ENTRY) - read(self.before.entry or _NO_ENTRY))
