"""Changes of the entries in the kernel's multicast routing tables, whoever makes them.

Only OSError is raised here. The kernel has no such events for VIFs, nor for traffic. Source:
rtnetlink(7), net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry, changes
from mfc_dbus.kernel.netlink import RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE, EventSocket


class EntryChange(NamedTuple):
    """An entry was written, or deleted."""

    entry: HeldEntry
    deleted: bool


class EntryChanges(EventSocket):
    """Receives the changes of MFC entries in all tables of this network namespace."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE)

    def read(self) -> Iterator[EntryChange | None]:
        """Yield the changes since the last call; None where some were lost."""
        for data in self.receive():
            if data is None:
                yield None
                continue
            for change in map(EntryChange._make, changes(data)):
                if change.entry.resolved:
                    yield change
