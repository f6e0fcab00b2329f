"""Multicast Router Discovery (RFC 4286): what a multicast router says to the switches on a link.

It is said by the socket of a routing table, and nothing is heard. OSError is all that comes out;
when to say what is decided above. Facts: net/ipv4/raw.c, net/ipv6/raw.c, net/ipv6/datagram.c.
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
_ANY_PORT = 9  # nothing is sent there

# Type, interval in seconds, checksum, and of IGMP or MLD the query interval and the robustness:
# both are 0, since we query nobody.
_ADVERTISEMENT = struct.Struct("!BBHHH")
_TERMINATION = struct.Struct("!BxH")

_Ancillary = list[tuple[int, int, bytes]]


class _Family(NamedTuple):
    """What differs between IPv4 and IPv6.

    snoopers: the group of all that listen. ancillary: with it a message leaves by a device.
    """

    snoopers: str
    advertisement: int
    termination: int
    ancillary: Callable[[int], _Ancillary]


def prepare(sock: socket.socket) -> None:
    """Set what takes CAP_NET_RAW: IPv6's Router Alert stays on the socket, for all that it says."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, _IPV6_ROUTER_ALERT)


def advertise(sock: socket.socket, ifindex: int, interval: int) -> None:
    """Say on a device that there is a router, and will say so again in these seconds, 4 to 180.

    ENODEV, ENETUNREACH: it has gone, or is down. EADDRNOTAVAIL: it has no link-local IPv6 address.
    Where it has no IPv4 address the kernel takes another device's, or 0.0.0.0.
    """
    family = _FAMILIES[sock.family]
    _send(sock, family, ifindex, _ADVERTISEMENT.pack(family.advertisement, interval, 0, 0, 0))


def terminate(sock: socket.socket, ifindex: int) -> None:
    """Say on a device that there is a router no more; the errors are those of `advertise`."""
    family = _FAMILIES[sock.family]
    _send(sock, family, ifindex, _TERMINATION.pack(family.termination, 0))


def _send(sock: socket.socket, family: _Family, ifindex: int, message: bytes) -> None:
    # The TTL is 1 without being asked for, as of all multicast.
    checksum = struct.pack("!H", _checksum(message))  # of ICMPv6 the kernel makes its own
    whole = message[:2] + checksum + message[4:]
    to = (family.snoopers, 0)
    sock.sendmsg([whole], family.ancillary(ifindex), socket.MSG_DONTWAIT, to)


def _checksum(message: bytes) -> int:
    """Sum up as RFC 1071 does; carries come round, so it is the sum modulo 0xFFFF."""
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
    """Have the kernel choose one; left to itself it would take a global one where it must."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        probe.connect((_IPV6.snoopers, _ANY_PORT, 0, ifindex))
        address = IPv6Address(probe.getsockname()[0].partition("%")[0])
    if not address.is_link_local:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return address.packed


_IPV4 = _Family("224.0.0.106", 0x30, 0x32, _ipv4_ancillary)
_IPV6 = _Family("ff02::6a", 151, 153, _ipv6_ancillary)
_FAMILIES = {socket.AF_INET: _IPV4, socket.AF_INET6: _IPV6}
