"""What a routing table of the kernel holds: its entries by netlink, its VIFs from /proc.

OSError is all that comes out. Both speak of devices; /proc/net/ip_mr_cache would give VIF numbers
for entries too, but takes 19 s for 100,000 of them. Source: net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_RTNL_FAMILIES = {socket.AF_INET: 128, socket.AF_INET6: 129}  # RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR
_VIF_FILES = {
    socket.AF_INET: Path("/proc/self/net/ip_mr_vif"),
    socket.AF_INET6: Path("/proc/self/net/ip6_mr_vif"),
}
_RTM_GETROUTE = 26
_RTM_NEWROUTE = 24
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST_DUMP = 0x301
_DEFAULT_TABLES = {socket.AF_INET: 253, socket.AF_INET6: 254}
_RTNH_F_UNRESOLVED = 32
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 2, 3, 9, 15

_NLMSGHDR = struct.Struct("=LHHLL")
_RTMSG = struct.Struct("=BBBBBBBBL")
_RTATTR = struct.Struct("=HH")
_RTNEXTHOP = struct.Struct("=HBBi")
_UINT32 = struct.Struct("=L")
_MESSAGE = 1024 * 1024


class HeldEntry(NamedTuple):
    """An MFC entry in terms of devices; iif is 0 where that has gone.

    oifs: TTL thresholds by ifindex. A device that has gone is left out, and still in the entry.
    """

    source: bytes
    group: bytes
    iif: int
    oifs: Mapping[int, int]


def entries(family: socket.AddressFamily) -> Iterator[HeldEntry]:
    """Go through the entries of the default table; those that are not resolved are left out."""
    table = _UINT32.pack(_DEFAULT_TABLES[family])
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        request = _RTMSG.pack(_RTNL_FAMILIES[family], 0, 0, 0, 0, 0, 0, 0, 0)
        size = _NLMSGHDR.size + len(request)
        sock.send(_NLMSGHDR.pack(size, _RTM_GETROUTE, _NLM_F_REQUEST_DUMP, 1, 0) + request)
        while True:
            data = sock.recv(_MESSAGE)
            at = 0
            while at < len(data):
                length, type_, _, _, _ = _NLMSGHDR.unpack_from(data, at)
                if type_ == _NLMSG_DONE:
                    return
                if type_ == _NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", data, at + _NLMSGHDR.size)
                    raise OSError(-number, "the kernel does not list its multicast routes")
                if type_ == _RTM_NEWROUTE:
                    held = _entry(data, at + _NLMSGHDR.size, at + length, table)
                    if held is not None:
                        yield held
                at += length + 3 & ~3  # the next begins at a multiple of 4, as attributes do


def vifs(family: socket.AddressFamily) -> dict[int, int]:
    """Read the VIFs of the default table: ifindex by number."""
    vifs: dict[int, int] = {}
    # In bytes, since a name may be no text at all, or have spaces that only Unicode knows.
    for line in _VIF_FILES[family].read_bytes().splitlines()[1:]:
        number, name, *_ = line.split()
        with suppress(OSError):  # it has gone meanwhile
            vifs[int(number)] = socket.if_nametoindex(os.fsdecode(name))
    return vifs


def _entry(data: bytes, start: int, end: int, table: bytes) -> HeldEntry | None:
    *_, flags = _RTMSG.unpack_from(data, start)
    if flags & _RTNH_F_UNRESOLVED:
        return None
    attributes: dict[int, bytes] = {}
    at = start + _RTMSG.size
    while at < end:
        length, type_ = _RTATTR.unpack_from(data, at)
        attributes[type_] = data[at + _RTATTR.size : at + length]
        at += length + 3 & ~3
    if attributes[_RTA_TABLE] != table:
        return None
    (iif,) = _UINT32.unpack(attributes.get(_RTA_IIF, bytes(4)))
    nexthops = _RTNEXTHOP.iter_unpack(attributes[_RTA_MULTIPATH])  # these have no attributes
    oifs = {ifindex: ttl for _, _, ttl, ifindex in nexthops}
    return HeldEntry(attributes[_RTA_SRC], attributes[_RTA_DST], iif, oifs)
