"""What a routing table of the kernel holds, by netlink: its entries, and through them its VIFs.

OSError is all that comes out. /proc would tell VIF numbers, but of the default table alone, and
takes 19 s for 100,000 entries. Source: net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from mfc_dbus.kernel.abi import MAXVIFS
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.kernel.netlink import RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE, EventSocket
from mfc_dbus.kernel.socket_owner import SocketOwner

_RTNL_FAMILIES = {socket.AF_INET: 128, socket.AF_INET6: 129}  # RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR
_RTM_GETROUTE = 26
_RTM_NEWROUTE = 24
_RTM_DELROUTE = 25
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_REQUEST_DUMP = 0x301
_SOL_NETLINK = 270
_NETLINK_GET_STRICT_CHK = 12
_DEFAULT_TABLES = {socket.AF_INET: 253, socket.AF_INET6: 254}
_RTNH_F_UNRESOLVED = 32
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 2, 3, 9, 15

_NLMSGHDR = struct.Struct("=LHHLL")
_RTMSG = struct.Struct("=BBBBBBBBL")
_RTATTR = struct.Struct("=HH")
_RTNEXTHOP = struct.Struct("=HBBi")
_UINT32 = struct.Struct("=L")
_MESSAGE = 1024 * 1024
_SOME = 8  # VIFs in one entry: of more the kernel may not be able to tell
_TRIES = 8  # until nothing changes meanwhile
_GROUPS = {socket.AF_INET: RTNLGRP_IPV4_MROUTE, socket.AF_INET6: RTNLGRP_IPV6_MROUTE}

_Key = tuple[bytes, bytes, int]

# No packet comes from such a source, and no route is for one.
_NOBODY = {socket.AF_INET: b"\xff" * 4, socket.AF_INET6: b"\xff" * 16}
_NO_GROUP = {socket.AF_INET: b"\xef\xff\xff\xff", socket.AF_INET6: b"\xff" * 16}


class HeldEntry(NamedTuple):
    """An MFC entry in terms of devices; iif is 0 where that has gone.

    oifs: TTL thresholds by ifindex. A device that has gone is left out, and still in the entry.
    table: its number, 0 for the default table. resolved: whether it was written; if not, the kernel
    has asked about the stream, and does not say where that arrives.
    """

    source: bytes
    group: bytes
    iif: int
    oifs: Mapping[int, int]
    table: int = 0
    resolved: bool = True


class Held(NamedTuple):
    """What a table has: ifindex by VIF number, and entries.

    unresolved: sources and groups of the streams that the kernel has asked about.
    """

    vifs: Mapping[int, int]
    entries: Sequence[HeldEntry]
    unresolved: Sequence[tuple[bytes, bytes]] = ()


def held(mroute: MRoute) -> Held:
    """Read what the table holds that is ours. Raises OSError, EBUSY where it does not hold still.

    A dump is no snapshot: entries that are deleted meanwhile make it skip others. So it is done
    again where deletions were heard of, and what any of them has shown is there until its deletion.
    """
    found: dict[_Key, HeldEntry] = {}
    with EventSocket(_GROUPS[mroute.family]) as events:
        for _ in range(_TRIES):
            found |= {key(each): each for each in entries(mroute.family, mroute.table)}
            if _take_in(events, mroute, found):
                break
    resolved = [each for each in found.values() if each.resolved]
    unresolved = tuple((each.source, each.group) for each in found.values() if not each.resolved)
    return Held(vifs(mroute), resolved, unresolved)


def key(entry: HeldEntry) -> tuple[bytes, bytes, int]:
    """What the kernel finds an entry of a table by."""
    return entry.source, entry.group, 0 if any(entry.source) else entry.iif


def _take_in(events: EventSocket, mroute: MRoute, found: dict[_Key, HeldEntry]) -> bool:
    """Bring what was found to where it is now; whether nothing may have been skipped."""
    whole = True
    for data in events.receive():
        if data is None:
            whole = False
            continue
        for message in messages(data):
            if message is None:
                continue
            entry, deleted = message
            if entry.table != mroute.table or entry.source == _NOBODY[mroute.family]:
                continue
            if deleted:
                found.pop(key(entry), None)
                whole = whole and not entry.resolved  # these come last in a dump
            else:
                found[key(entry)] = entry
    return whole


def vifs(mroute: MRoute) -> dict[int, int]:
    """Find the ifindexes of the table's VIFs by their numbers. Raises OSError, as `held` does.

    The kernel tells of devices, not of VIFs: an entry with some VIFs shows them in their order.
    """
    for _ in range(_TRIES):
        numbers = [number for number in range(MAXVIFS) if mroute.has_vif(number)]
        found: dict[int, int] = {}
        for some in (numbers[at : at + _SOME] for at in range(0, len(numbers), _SOME)):
            shown = _probe(mroute, some)
            if len(shown) == len(some):
                found |= zip(some, shown, strict=True)
        if len(found) == len(numbers):
            return found
    raise OSError(errno.EBUSY, "devices come and go")


def _probe(mroute: MRoute, numbers: Sequence[int]) -> Sequence[int]:
    """Find the ifindexes of some VIFs; there are fewer if one has gone."""
    source, group = _NOBODY[mroute.family], _NO_GROUP[mroute.family]
    probe = MFCEntry(source, group, 0, tuple((number, 1) for number in numbers))
    mroute.add_mfc(probe)
    try:
        shown = _ask(mroute, source, group)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT):
            raise
        # An old kernel cannot be asked for one; or another program has deleted it.
        found = (each for each in entries(mroute.family, mroute.table) if each.source == source)
        shown = next(found, HeldEntry(source, group, 0, {}))
    finally:
        with suppress(OSError):  # another program has deleted it
            mroute.del_mfc(probe)
    return [*shown.oifs]


class Dump(SocketOwner):
    """A dump of a table's entries, piece by piece, also of those that are not resolved."""

    def __init__(self, family: socket.AddressFamily, table: int = 0) -> None:
        self.done = False
        self._sock = _requesting(family, table, _NLM_F_REQUEST_DUMP)

    def receive(self) -> bytes:
        """Have the kernel make the next piece; this takes milliseconds in a large table."""
        return self._sock.recv(_MESSAGE)

    def read(self, piece: bytes) -> Iterator[HeldEntry]:
        """Go through the entries of a piece."""
        for message in messages(piece):
            if message is None:
                self.done = True
                return
            yield message[0]


def entries(family: socket.AddressFamily, table: int = 0) -> Iterator[HeldEntry]:
    """Go through the entries of a table; also those that are not resolved."""
    with Dump(family, table) as dump:
        while not dump.done:
            yield from dump.read(dump.receive())


def _ask(mroute: MRoute, source: bytes, group: bytes) -> HeldEntry:
    """Ask for the one entry of a stream."""
    more = b"".join(
        _RTATTR.pack(_RTATTR.size + len(source), type_) + address
        for type_, address in ((_RTA_SRC, source), (_RTA_DST, group))
    )
    with closing(
        _requesting(mroute.family, mroute.table, _NLM_F_REQUEST, 8 * len(source), more)
    ) as sock:
        for message in messages(sock.recv(_MESSAGE)):
            if message is not None:
                return message[0]
    raise OSError(errno.ENOENT, "there is no such entry")


def _requesting(
    family: socket.AddressFamily, table: int, flags: int, length: int = 0, more: bytes = b""
) -> socket.socket:
    """Open a socket that has asked for the entries of a table, or for one of them.

    length: of the addresses of that, in bits. more: its attributes.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        # Only then the kernel looks at the table that is asked for.
        sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        sock.bind((0, 0))
        request = _RTMSG.pack(_RTNL_FAMILIES[family], length, length, 0, 0, 0, 0, 0, 0) + more
        number = table or _DEFAULT_TABLES[family]
        request += _RTATTR.pack(_RTATTR.size + 4, _RTA_TABLE) + _UINT32.pack(number)
        size = _NLMSGHDR.size + len(request)
        sock.send(_NLMSGHDR.pack(size, _RTM_GETROUTE, flags, 1, 0) + request)
    except OSError:
        sock.close()
        raise
    return sock


def messages(data: bytes) -> Iterator[tuple[HeldEntry, bool] | None]:
    """Read netlink messages: entries, and whether they are deleted; None at the end of a dump."""
    at = 0
    while at < len(data):
        length, type_, _, _, _ = _NLMSGHDR.unpack_from(data, at)
        if type_ in (_RTM_NEWROUTE, _RTM_DELROUTE):
            yield _entry(data, at + _NLMSGHDR.size, at + length), type_ == _RTM_DELROUTE
        elif type_ == _NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", data, at + _NLMSGHDR.size)
            raise OSError(-number, "the kernel does not list its multicast routes")
        elif type_ == _NLMSG_DONE:
            yield None
        at += length + 3 & ~3  # the next begins at a multiple of 4, as attributes do


def _entry(data: bytes, start: int, end: int) -> HeldEntry:
    *_, flags = _RTMSG.unpack_from(data, start)
    attributes: dict[int, bytes] = {}
    at = start + _RTMSG.size
    while at < end:
        length, type_ = _RTATTR.unpack_from(data, at)
        attributes[type_] = data[at + _RTATTR.size : at + length]
        at += length + 3 & ~3
    (iif,) = _UINT32.unpack(attributes.get(_RTA_IIF, bytes(4)))
    (table,) = _UINT32.unpack(attributes[_RTA_TABLE])
    nexthops = _RTNEXTHOP.iter_unpack(attributes.get(_RTA_MULTIPATH, b""))  # without attributes
    oifs = {ifindex: ttl for _, _, ttl, ifindex in nexthops}
    number = 0 if table in _DEFAULT_TABLES.values() else table
    resolved = not flags & _RTNH_F_UNRESOLVED
    return HeldEntry(attributes[_RTA_SRC], attributes[_RTA_DST], iif, oifs, number, resolved)
