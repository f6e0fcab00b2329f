"""What is known of a stream before anything is counted: addresses, routes, interfaces, settings."""

import socket
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.kernel.link_details import Details
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.rules import AnyRule
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.route import Route, TableId
from mfc_dbus.model.status import Sighting

STRICT = 1  # of rp_filter; 2 is loose


class StreamQuestion(NamedTuple):
    """What is asked: why is this stream not forwarded?

    source: one address, or of length 0 for any. group: one address, maybe no multicast group. iif,
    oif: only what arrives, or leaves, there; empty for any. table: its number.
    """

    source: Prefix
    group: Prefix
    iif: str = ""
    oif: str = ""
    table: int = 0

    @property
    def is_ipv6(self) -> bool:
        return self.group.family == socket.AF_INET6

    @property
    def table_id(self) -> TableId:
        return TableId(self.group.family, self.table)


class Interface(NamedTuple):
    """An interface of the route.

    link: None where there is none of this name. bridge: the name of the bridge that it is a port
    of. vif: whether the kernel's table knows it. has_ipv6: whether IPv6 is not switched off on it.
    ttl: the TTL threshold, of an oif. wanted: whether it is no bridge that snoops and knows nobody
    who has joined the group.
    """

    name: str
    link: Link | None = None
    details: Details = Details()
    bridge: str = ""
    vif: bool = True
    has_ipv6: bool = True
    ttl: int = 1
    wanted: bool = True


class ReversePath(NamedTuple):
    """The way back to the source, which IPv4's rp_filter asks about.

    of_all, of_iif: what is set for all interfaces and for the iif: 0 none, 1 strict, 2 loose. way:
    the interface that leads to the source; empty where there is none. local: whether the source is
    an address of this machine.
    """

    of_all: int = 0
    of_iif: int = 0
    way: str = ""
    local: bool = False

    @property
    def in_force(self) -> int:
        return max(self.of_all, self.of_iif)

    def drops(self, iif: str) -> bool:
        """Tell whether rp_filter drops what arrives from the source on an interface.

        A strict one does where the way back leads elsewhere, and a loose one where there is none.
        """
        if not self.in_force or self.local:
            return False
        return self.way != iif if self.in_force == STRICT else not self.way


class Situation(NamedTuple):
    """A stream, and all that does not count packets.

    table_reason: why the kernel's table is not ours; empty where it is. route: the one that decides
    on the stream; None for none. overridden: where that one stops the stream, the route that would
    forward it. disabled: routes that would cover it, if they were enabled. nearest: where no route
    covers it, some that nearly do. any_source: whether the kernel's entry is for all senders.
    crowded: whether as many interfaces have a VIF as the kernel can know. sightings: of the streams
    to this group. rules: the kernel's, by which a packet's table is chosen; None where they could
    not be read. tables: the numbers of those that are there for sure.
    """

    question: StreamQuestion
    table_reason: str = ""
    route: Route | None = None
    overridden: Route | None = None
    disabled: Sequence[Route] = ()
    nearest: Sequence[Route] = ()
    iif: Interface | None = None
    oifs: Sequence[Interface] = ()
    left_out: str = ""
    any_source: bool = False
    is_learned: bool = False
    learned_are_full: bool = False
    crowded: bool = False
    reverse: ReversePath = ReversePath()
    joined: bool = False
    sightings: Sequence[Sighting] = ()
    rules: Sequence[AnyRule] | None = None
    tables: Collection[int] = (0,)

    @property
    def interfaces(self) -> Mapping[str, Interface]:
        """The interfaces of the route, by name."""
        return {each.name: each for each in (self.iif, *self.oifs) if each is not None}

    @property
    def elsewhere(self) -> Sequence[Sighting]:
        """Where else this stream was seen."""
        source, iif = self.question.source, self.iif.name if self.iif else ""
        return [
            each
            for each in self.sightings
            if each.iif != iif and (not source.length or each.source == source.address)
        ]

    @property
    def other_sources(self) -> Sequence[Sighting]:
        """The other senders to this group that were seen on the iif."""
        source, iif = self.question.source, self.iif.name if self.iif else ""
        return [
            each for each in self.sightings if each.iif == iif and each.source != source.address
        ]
