"""What changes in the kernel's multicast routing tables, whoever does it.

OSError is all that comes out. VIFs are not told of, nor what traffic does. Source: rtnetlink(7),
net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry, messages
from mfc_dbus.kernel.netlink import RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE, EventSocket


class EntryChange(NamedTuple):
    """An entry was written, or deleted."""

    entry: HeldEntry
    deleted: bool


class EntryChanges(EventSocket):
    """Changes of MFC entries in all tables of this network namespace."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE)

    def read(self) -> Sequence[EntryChange] | None:
        """Take what has happened since the last time; None: so much that some of it is lost."""
        changes: list[EntryChange] | None = []
        for data in self.receive():
            if data is None:
                changes = None
            elif changes is not None:
                changes += [EntryChange(*message) for message in messages(data) if message]
        return changes
