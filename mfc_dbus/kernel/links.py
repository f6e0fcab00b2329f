"""The network interfaces of this network namespace, and events when they come, go or change.

Only OSError is raised here. Source: rtnetlink(7).
"""

import socket
import struct
from collections.abc import Generator, Iterator
from typing import NamedTuple

from mfc_dbus.kernel.netlink import (
    NLM_F_REQUEST_DUMP,
    RTNLGRP_LINK,
    EventSocket,
    Message,
    ask,
    attributes,
    messages,
)

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_NLM_F_DUMP_INTR = 0x10
_IFLA_IFNAME, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 3, 52, 53
_IFINFOMSG = struct.Struct("=BxHiLL")  # family, type, index, flags, change
_EMPTY_IFINFOMSG = bytes(_IFINFOMSG.size)
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFF_MULTICAST = 0x1000
_MOST_MESSAGES = 100  # in one update, so that others are served in between
_MOST_LINKS = 200  # in one update likewise: those that are listed, or told of
_MOST_DUMPS = 10  # in a row, when interfaces come or go during each; then the last one has to do


class Link(NamedTuple):
    """A network interface.

    name: bytes that are no UTF-8 are lone surrogates in it (PEP 383). multicast: whether it says
    that it carries multicast (IFF_MULTICAST); the kernel forwards from and to others all the same.
    up: whether it is up and its link works (IFF_RUNNING). enabled: whether it is up (IFF_UP),
    whatever its link does. altnames: further names by which the kernel finds it.
    """

    name: str
    ifindex: int
    multicast: bool
    up: bool = False
    enabled: bool = False
    altnames: tuple[str, ...] = ()

    def turned_from(self, other: "Link") -> bool:
        """Return whether nothing else differs than its being up or enabled, and its altnames."""
        mine = (self.name, self.ifindex, self.multicast)
        return mine == (other.name, other.ifindex, other.multicast)


class Gone(NamedTuple):
    """An interface has gone, or has another name now."""

    link: Link


class Came(NamedTuple):
    """An interface is there, maybe under a new name, or its `multicast` has changed."""

    link: Link


class Turned(NamedTuple):
    """An interface went up or down, or has other altnames, and is otherwise the same."""

    link: Link


class Missed(NamedTuple):
    """Events were lost: an interface may have gone and come back unnoticed, with its ifindex."""


Event = Gone | Came | Turned | Missed


class Links(EventSocket):
    """Follows all interfaces. The first `update` reports each that exists as Came."""

    def __init__(self) -> None:
        super().__init__(RTNLGRP_LINK)
        self._links: dict[int, Link] = {}
        self._complete = False  # whether `_links` has followed every event
        self._listing: _Listing | None = None  # of all interfaces, which is not at its end yet
        self._untold: list[Event] = []  # which come before all that happens from now on

    @property
    def behind(self) -> bool:
        """Whether `update` has more to do, of which the socket does not tell."""
        return self._listing is not None or bool(self._untold)

    def update(self) -> list[Event]:
        """Return the events since the last call, or the first of very many; all Gone come first.

        An interface has at most one Gone and one Came or Turned: its states in between are over,
        and its name may be another's by now. Where interfaces have to be listed, a call lists some
        of them, and the last one returns what came out.
        """
        events = self._untold or self._find_events()
        self._untold = events[_MOST_LINKS:]
        return events[:_MOST_LINKS]

    def _find_events(self) -> list[Event]:
        now: dict[int, Link | None] = {}
        deleted: set[int] = set()
        if self._listing is None:  # what is heard meanwhile is newer
            for told, there in self._changes():
                now[told.ifindex] = told if there else None
                if not there:
                    deleted.add(told.ifindex)
        missed = []
        if not now and self._complete:
            return []
        if not self._complete:
            listed = self._list_some()
            if listed is None:
                return []
            missed = [Missed()] if self._links else []
            now = dict.fromkeys(self._links) | {link.ifindex: link for link in listed}
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

    def _list_some(self) -> list[Link] | None:
        """List some interfaces; return all of them if these were the last. Raises OSError."""
        listing, self._listing = self._listing or _dump(), None
        try:
            next(listing)
        except StopIteration as end:
            return list(end.value)
        self._listing = listing
        return None

    def _changes(self) -> Iterator[tuple[Link, bool]]:
        """Yield changed interfaces and whether they are there, until an event was lost."""
        for number, data in enumerate(self.receive()):
            if data is None:
                self._complete = False
            elif self._complete:  # otherwise a dump will follow, which tells all
                for message in messages(data):
                    link = _link(data, message)
                    if link is not None:
                        yield link, message.type == _RTM_NEWLINK
                if number == _MOST_MESSAGES:
                    return


_Listing = Generator[None, None, list[Link]]


def _dump() -> _Listing:
    """Return all interfaces; yield now and then, so that others are served in between."""
    for _ in range(_MOST_DUMPS):
        found, whole = yield from _dump_once()
        if whole:
            break
    return found


def _dump_once() -> Generator[None, None, tuple[list[Link], bool]]:
    """Return all interfaces, and whether none came or went meanwhile: that may hide others."""
    found: list[Link] = []
    whole = True
    for data, message in ask(_RTM_GETLINK, NLM_F_REQUEST_DUMP, _EMPTY_IFINFOMSG):
        whole = whole and not message.flags & _NLM_F_DUMP_INTR
        link = _link(data, message)
        if link is not None:
            found.append(link)
            if len(found) % _MOST_LINKS == 0:
                yield
    return found, whole


def _link(data: bytes, message: Message) -> Link | None:
    """Parse a message about an interface. Return None for a message about something else."""
    if message.type not in (_RTM_NEWLINK, _RTM_DELLINK):
        return None
    family, _, ifindex, flags, _ = _IFINFOMSG.unpack_from(data, message.start)
    if family != socket.AF_UNSPEC:
        return None  # a bridge reports its ports by the same messages, in a family of its own
    name, altnames = "", []
    for type_, value in attributes(data, message.start + _IFINFOMSG.size, message.end):
        if type_ == _IFLA_IFNAME:
            name = _name(value)
        elif type_ == _IFLA_PROP_LIST:
            inner = attributes(value, 0, len(value))
            altnames = [_name(each) for kind, each in inner if kind == _IFLA_ALT_IFNAME]
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
