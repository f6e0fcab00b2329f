"""Multicast Router Discovery (RFC 4286): messages of a multicast router to the switches on a link.

The socket of a routing table sends them; none is received. Only OSError is raised here. When to
send is decided above. Facts: net/ipv4/raw.c, net/ipv6/raw.c, net/ipv6/datagram.c.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import NamedTuple

_IP_RETOPTS = 7
_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("@i8x")
_IN6_PKTINFO = struct.Struct("@16si")
_IP_ROUTER_ALERT = bytes([0x94, 4, 0, 0])
# A header of 8 bytes, the option, PadN of 2 bytes.
_IPV6_ROUTER_ALERT = bytes([0, 0, 5, 2, 0, 0, 1, 0])
_ANY_PORT = 9  # of the probe, which sends nothing

# Type, interval in seconds, checksum, and of IGMP or MLD the query interval and the robustness:
# both are 0, since we query nobody.
_ADVERTISEMENT = struct.Struct("!BBHHH")
_TERMINATION = struct.Struct("!BxH")

_Ancillary = list[tuple[int, int, bytes]]


class _Family(NamedTuple):
    """What differs between IPv4 and IPv6.

    snoopers: the group that switches listen to. advertisement, termination: types of messages.
    ancillary: makes the ancillary data with which a message leaves by the device of an ifindex.
    """

    snoopers: str
    advertisement: int
    termination: int
    ancillary: Callable[[int], _Ancillary]


def prepare(sock: socket.socket) -> None:
    """Have all IPv6 messages of this socket carry Router Alert; that needs CAP_NET_RAW."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, _IPV6_ROUTER_ALERT)


def advertise(sock: socket.socket, ifindex: int, interval: int) -> None:
    """Say on a device that a router is there. interval: seconds to the next message, 4 to 180.

    ENODEV, ENETUNREACH: the device has gone, or is down. EADDRNOTAVAIL: it has no link-local IPv6
    address. Where it has no IPv4 address the kernel sends from another device's, or 0.0.0.0.
    """
    family = _FAMILIES[sock.family]
    _send(sock, family, ifindex, _ADVERTISEMENT.pack(family.advertisement, interval, 0, 0, 0))


def terminate(sock: socket.socket, ifindex: int) -> None:
    """Say on a device that the router has gone; the errors are those of `advertise`."""
    family = _FAMILIES[sock.family]
    _send(sock, family, ifindex, _TERMINATION.pack(family.termination, 0))


def _send(sock: socket.socket, family: _Family, ifindex: int, message: bytes) -> None:
    # The TTL of multicast is 1 unless a program sets another.
    checksum = struct.pack("!H", _checksum(message))  # the kernel overwrites that of ICMPv6
    whole = message[:2] + checksum + message[4:]
    to = (family.snoopers, 0)
    sock.sendmsg([whole], family.ancillary(ifindex), socket.MSG_DONTWAIT, to)


def _checksum(message: bytes) -> int:
    """Return the checksum of RFC 1071, whose carries come round: it is a sum modulo 0xFFFF."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", message))
    return ~(total % 0xFFFF) & 0xFFFF


def _ipv4_ancillary(ifindex: int) -> _Ancillary:
    return [
        (socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(ifindex)),
        (socket.IPPROTO_IP, _IP_RETOPTS, _IP_ROUTER_ALERT),
    ]


def _ipv6_ancillary(ifindex: int) -> _Ancillary:
    source = _link_local_address(ifindex)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(source, ifindex))]


def _link_local_address(ifindex: int) -> bytes:
    """Have the kernel choose a link-local address of a device. EADDRNOTAVAIL: it has none.

    A message without an address would then leave from a global one.
    """
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        probe.connect((_IPV6.snoopers, _ANY_PORT, 0, ifindex))
        address = IPv6Address(probe.getsockname()[0].partition("%")[0])
    if not address.is_link_local:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return address.packed


_IPV4 = _Family("224.0.0.106", 0x30, 0x32, _ipv4_ancillary)
_IPV6 = _Family("ff02::6a", 151, 153, _ipv6_ancillary)
_FAMILIES = {socket.AF_INET: _IPV4, socket.AF_INET6: _IPV6}
