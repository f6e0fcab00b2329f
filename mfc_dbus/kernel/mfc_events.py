"""Changes of the entries in the kernel's multicast routing tables, whoever makes them.

Only OSError is raised here. The kernel has no such events for VIFs, nor for traffic. Source:
rtnetlink(7), net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

from collections.abc import Iterator
from contextlib import suppress
from socket import htonl, htons
from typing import NamedTuple

from mfc_dbus.kernel.dump import (
    RTA_SRC,
    RTM_NEWROUTE,
    RTNH_F_UNRESOLVED,
    HeldEntry,
    changes,
)
from mfc_dbus.kernel.netlink import RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE, EventSocket
from mfc_dbus.kernel.socket_filter import Condition, leave_out

_RTPROT_MROUTED = 17
# An entry that the table's owner wrote and nobody else did, by its `rtm_protocol`; of one source,
# which comes after the table's number. What begins with zeros may be any source, and is heard.
_WRITTEN_BY_OWNER = (
    Condition(4, 2, htons(RTM_NEWROUTE)),  # nlmsg_type
    Condition(21, 1, _RTPROT_MROUTED),  # rtm_protocol
    Condition(38, 2, htons(RTA_SRC)),
    Condition(40, 4, 0, equal=False),
)
# A stream that the kernel has asked about, or forgets, by its `rtm_flags`: a flood has thousands a
# second, which would leave no room for what is to be heard.
_UNRESOLVED = (Condition(24, 4, htonl(RTNH_F_UNRESOLVED), bits=htonl(RTNH_F_UNRESOLVED)),)


class EntryChange(NamedTuple):
    """An entry was written, or deleted."""

    entry: HeldEntry
    deleted: bool


class EntryChanges(EventSocket):
    """Receives the changes of MFC entries in all tables of this network namespace."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE)
        with suppress(OSError):  # to hear more is no fault
            self.hear_owners(False)

    def hear_owners(self, heard: bool) -> None:
        """Choose whether to hear from now on what a table's owner writes, too. Raises OSError.

        An entry that anybody else has written keeps the kernel's mark of that until it is deleted:
        so later changes of it by the owner are heard too. Deletions are heard whoever made them,
        and so are entries of any source.
        """
        if heard:
            leave_out(self._sock, _UNRESOLVED)
        else:
            leave_out(self._sock, _UNRESOLVED, _WRITTEN_BY_OWNER)

    def read(self) -> Iterator[EntryChange | None]:
        """Yield the changes since the last call; None where some were lost."""
        for data in self.receive():
            if data is None:
                yield None
                continue
            for change in map(EntryChange._make, changes(data)):
                if change.entry.resolved:
                    yield change
