"""Sockets that hold IGMP and MLD joins: of groups, and of sources of groups, on devices.

Only OSError is raised here; no capability is needed. How joins are spread over sockets is decided
above. Facts: RFC 3678, net/ipv4/igmp.c, net/ipv6/mcast.c, linux/in.h.
"""

import errno
import socket
import sys
from contextlib import suppress
from pathlib import Path

from mfc_dbus.kernel import abi
from mfc_dbus.kernel.socket_owner import SocketOwner

_LISTS = Path("/proc/thread-self/net")


def held() -> set[tuple[bytes, int]]:
    """Return (packed group, ifindex) of all joins in this network namespace, whoever made them.

    A family that the kernel does not have has none. Raises OSError.
    """
    groups: set[tuple[bytes, int]] = set()
    ifindex = 0
    with suppress(FileNotFoundError):
        for line in _lines("igmp")[1:]:
            first = line.split(None, 1)[0]
            if line.startswith(b"\t"):
                groups.add((int(first, 16).to_bytes(4, sys.byteorder), ifindex))
            else:
                ifindex = int(first)
    with suppress(FileNotFoundError):
        for line in _lines("igmp6"):
            number, *_, group, _, _, _ = line.split()
            groups.add((bytes.fromhex(group.decode()), int(number)))
    return groups


def _lines(file: str) -> list[bytes]:
    """Read the lines of a list, in which the names of devices may be nearly any bytes."""
    return [line for line in (_LISTS / file).read_bytes().split(b"\n") if line]


class GroupSocket(SocketOwner):
    """An unbound UDP socket: it receives nothing. Its joins live as long as any copy of it.

    It takes net.ipv4.igmp_max_memberships groups (20) and igmp_max_msf sources of each (10); IPv6
    counts bytes (net.core.optmem_max), and mld_max_msf sources (64). A group must not be joined
    from any source and from one on the same socket and device: the kernel would silently make the
    first a join of that source alone.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        self._abi = abi.ABIS[family]
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def join(self, group: bytes, ifindex: int, source: bytes) -> None:
        """Join a group on a device. Addresses are packed; a source of zeros is any source.

        ENOBUFS, ENOMEM: this socket takes no more. ENODEV: no such device, or it has no IPv6.
        EADDRINUSE, EADDRNOTAVAIL: joined already. When a source was refused, the group may be left
        joined from no source: see `leave_group`.
        """
        if any(source):
            request = self._abi.group_source(group, ifindex, source)
            self._set(abi.MCAST_JOIN_SOURCE_GROUP, request)
        else:
            self._set(abi.MCAST_JOIN_GROUP, self._abi.group(group, ifindex))

    def leave(self, group: bytes, ifindex: int, source: bytes) -> None:
        """Undo `join`. Raises nothing where the device has gone, and its joins with it.

        A join on a lost device has to be left, too: the socket still counts it, and would take it
        for a join on the next device of this ifindex.
        """
        if not any(source):
            self.leave_group(group, ifindex)
            return
        request = self._abi.group_source(group, ifindex, source)
        try:
            self._set(abi.MCAST_LEAVE_SOURCE_GROUP, request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                self.leave_group(group, ifindex)
            elif error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL):
                raise

    def leave_group(self, group: bytes, ifindex: int) -> None:
        """Leave a group with all of its sources. Raises nothing where it is not joined."""
        try:
            self._set(abi.MCAST_LEAVE_GROUP, self._abi.group(group, ifindex))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise

    def give_up(self) -> None:
        """Leave all groups by closing the socket, which works where the kernel refuses `leave`.

        Whoever keeps a copy of the socket has to close that, too.
        """
        self.close()

    def _set(self, option: int, argument: bytes) -> None:
        self._sock.setsockopt(self._abi.level, option, argument)
