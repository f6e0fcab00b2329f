"""What changes in the kernel's multicast routing tables, whoever does it.

OSError is all that comes out. VIFs are not told of, nor what traffic does. Source: rtnetlink(7),
net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

from collections.abc import Iterator
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

    def read(self) -> Iterator[EntryChange | None]:
        """Go through what has happened since the last time; None: some of it is lost."""
        for data in self.receive():
            if data is None:
                yield None
                continue
            for message in messages(data):
                if message is not None and message[0].resolved:
                    yield EntryChange(*message)
