"""The network interfaces of this network namespace, and how they come and go.

OSError is all that comes out. pyroute2 reads the messages; the socket is ours, since a lost event
(ENOBUFS) ends pyroute2's own, and must lead to a full look here. Source: rtnetlink(7).
"""

import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from mfc_dbus.kernel.netlink import RTNLGRP_LINK, EventSocket

_NLMSG_DONE = 3
_NLM_F_REQUEST_DUMP = 0x301
_REQUEST = struct.Struct("=LHHLL16s")  # nlmsghdr, an empty ifinfomsg
_IFF_RUNNING = 0x40
_IFF_MULTICAST = 0x1000
_MESSAGE = 1024 * 1024


class Link(NamedTuple):
    """A network interface.

    multicast: whether it carries any (IFF_MULTICAST). up: whether it is up, and its link too
    (IFF_RUNNING).
    """

    name: str
    ifindex: int
    multicast: bool
    up: bool = False


class Gone(NamedTuple):
    """An interface is no more, or no more under this name."""

    link: Link


class Came(NamedTuple):
    """An interface is there, or has changed."""

    link: Link


class Turned(NamedTuple):
    """An interface that is there went up or down, and is what it was otherwise."""

    link: Link


class Missed(NamedTuple):
    """Events were lost. An interface may have gone and come back as it was, under its ifindex."""


Event = Gone | Came | Turned | Missed


class Links(EventSocket):
    """All interfaces. The first `update` tells of those that there are."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_LINK)
        self._marshal = MarshalRtnl()
        self._links: dict[int, Link] = {}
        self._complete = False  # whether no event was missed

    def update(self) -> list[Event]:
        """Take in what has happened since the last time: what went, then what came.

        What was in between is not told: it would be late, and a name may have moved on.
        """
        now: dict[int, Link | None] = {}
        deleted: set[int] = set()
        for message in self._messages():
            if message["header"]["type"] == RTM_DELLINK:
                now[message["index"]] = None
                deleted.add(message["index"])
            else:
                now[message["index"]] = _link(message)
        missed = []
        if not self._complete:
            missed = [Missed()] if self._links else []
            now = dict.fromkeys(self._links) | {link.ifindex: link for link in _dump()}
            self._complete = True

        events: list[Event] = []
        for ifindex, link in now.items():
            before = self._links.get(ifindex)
            if before and (link is None or link.name != before.name or ifindex in deleted):
                events.append(Gone(self._links.pop(ifindex)))
        for ifindex, link in now.items():
            before = self._links.get(ifindex)
            if link is not None and link != before:
                self._links[ifindex] = link
                turned = before is not None and link == before._replace(up=link.up)
                events.append(Turned(link) if turned else Came(link))
        return events + missed

    def _messages(self) -> Iterator[Any]:
        """Read those of interfaces, until there are no more or some were lost."""
        for data in self.receive():
            if data is None:
                self._complete = False
            # What was still in the queue when one was lost is older than a full look.
            elif self._complete:
                for message in self._marshal.parse(data):
                    # A bridge tells of its ports by the same messages, in its own family.
                    kind = message["header"]["type"]
                    if message["family"] == socket.AF_UNSPEC and kind in (RTM_NEWLINK, RTM_DELLINK):
                        yield message


def _dump() -> Iterator[Link]:
    marshal = MarshalRtnl()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(_REQUEST.pack(_REQUEST.size, RTM_GETLINK, _NLM_F_REQUEST_DUMP, 1, 0, bytes(16)))
        while True:
            for message in marshal.parse(sock.recv(_MESSAGE)):
                if message["header"]["type"] == _NLMSG_DONE:
                    return
                if message["header"]["type"] == RTM_NEWLINK:
                    yield _link(message)


def _link(message: Any) -> Link:
    flags = message["flags"]
    return Link(
        message.get_attr("IFLA_IFNAME"),
        message["index"],
        multicast=bool(flags & _IFF_MULTICAST),
        up=bool(flags & _IFF_RUNNING),
    )
