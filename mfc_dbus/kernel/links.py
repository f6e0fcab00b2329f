"""The network interfaces of this network namespace, and how they come and go.

OSError is all that comes out. Source: rtnetlink(7).
"""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from mfc_dbus.kernel.netlink import (
    RTNLGRP_LINK,
    EventSocket,
    Message,
    attributes,
    messages,
)

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_NLM_F_REQUEST_DUMP = 0x301
_NLM_F_DUMP_INTR = 0x10
_IFLA_IFNAME, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 3, 52, 53
_REQUEST = struct.Struct("=LHHLL16s")  # nlmsghdr, an empty ifinfomsg
_IFINFOMSG = struct.Struct("=BxHiLL")  # family, type, index, flags, change
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFF_MULTICAST = 0x1000
_MESSAGE = 1024 * 1024
_MOST_MESSAGES = 500  # at one time, so that others are served in between
_MOST_DUMPS = 10  # of those that something changes meanwhile


class Link(NamedTuple):
    """A network interface.

    name: of bytes, of which those that are no UTF-8 are lone surrogates here (PEP 383).
    multicast: whether it says of itself that it carries any (IFF_MULTICAST); the kernel forwards
    from and to others all the same. up: whether it is up, and its link too (IFF_RUNNING).
    enabled: whether it is up (IFF_UP), whatever its link is. altnames: what the kernel finds it by
    besides its name.
    """

    name: str
    ifindex: int
    multicast: bool
    up: bool = False
    enabled: bool = False
    altnames: tuple[str, ...] = ()

    def turned_from(self, other: "Link") -> bool:
        """Whether it is the same as before but for what may change while it is there."""
        mine = (self.name, self.ifindex, self.multicast)
        return mine == (other.name, other.ifindex, other.multicast)


class Gone(NamedTuple):
    """An interface is no more, or no more under this name."""

    link: Link


class Came(NamedTuple):
    """An interface is there, or has changed."""

    link: Link


class Turned(NamedTuple):
    """An interface that is there went up or down, or has other altnames, and stays what it is."""

    link: Link


class Missed(NamedTuple):
    """Events were lost. An interface may have gone and come back as it was, under its ifindex."""


Event = Gone | Came | Turned | Missed


class Links(EventSocket):
    """All interfaces. The first `update` tells of those that there are."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_LINK)
        self._links: dict[int, Link] = {}
        self._complete = False  # whether no event was missed

    def update(self) -> list[Event]:
        """Take in what has happened since the last time, or some of it: what went, then what came.

        What was in between is not told: it would be late, and a name may have moved on.
        """
        now: dict[int, Link | None] = {}
        deleted: set[int] = set()
        for told, there in self._changes():
            now[told.ifindex] = told if there else None
            if not there:
                deleted.add(told.ifindex)
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
                turned = before is not None and link.turned_from(before)
                events.append(Turned(link) if turned else Came(link))
        return events + missed

    def _changes(self) -> Iterator[tuple[Link, bool]]:
        """Read interfaces, and whether they are there, some at a time, or until some are lost."""
        for number, data in enumerate(self.receive()):
            if data is None:
                self._complete = False
            # What was still in the queue when one was lost is older than a full look.
            elif self._complete:
                for message in messages(data):
                    link = _link(data, message)
                    if link is not None:
                        yield link, message.type == _RTM_NEWLINK
                if number == _MOST_MESSAGES:
                    return


def _dump() -> list[Link]:
    for _ in range(_MOST_DUMPS):
        found, whole = _dump_once()
        if whole:
            break
    return found


def _dump_once() -> tuple[list[Link], bool]:
    """List all interfaces; and whether none came or went meanwhile, which may hide others."""
    found: list[Link] = []
    whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(_REQUEST.pack(_REQUEST.size, _RTM_GETLINK, _NLM_F_REQUEST_DUMP, 1, 0, bytes(16)))
        while True:
            data = sock.recv(_MESSAGE)
            for message in messages(data):
                whole = whole and not message.flags & _NLM_F_DUMP_INTR
                if message.type == _NLMSG_DONE:
                    return found, whole
                if message.type == _NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", data, message.start)
                    raise OSError(-number or errno.EIO, "the kernel does not list its interfaces")
                link = _link(data, message)
                if link is not None:
                    found.append(link)


def _link(data: bytes, message: Message) -> Link | None:
    """Read what is said of an interface. None: it is of something else."""
    if message.type not in (_RTM_NEWLINK, _RTM_DELLINK):
        return None
    family, _, ifindex, flags, _ = _IFINFOMSG.unpack_from(data, message.start)
    if family != socket.AF_UNSPEC:
        return None  # a bridge tells of its ports by the same messages, in its own family
    name, altnames = "", []
    for type_, start, end in attributes(data, message.start + _IFINFOMSG.size, message.end):
        if type_ == _IFLA_IFNAME:
            name = _name(data[start:end])
        elif type_ == _IFLA_PROP_LIST:
            inner = attributes(data, start, end)
            altnames = [_name(data[at:to]) for each, at, to in inner if each == _IFLA_ALT_IFNAME]
    return Link(
        name,
        ifindex,
        multicast=bool(flags & _IFF_MULTICAST),
        up=bool(flags & _IFF_RUNNING),
        enabled=bool(flags & _IFF_UP),
        altnames=tuple(altnames),
    )


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")
