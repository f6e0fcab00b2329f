"""A socket that IGMP and MLD joins hang on: groups, and sources of groups, by ifindex.

OSError is all that comes out; no capability is needed. How joins are spread over sockets is decided
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
    """Read the groups that are joined here, by whoever it is, and the ifindexes they are joined on.

    A family that the kernel does not have has none.
    """
    groups: set[tuple[bytes, int]] = set()
    ifindex = 0
    with suppress(FileNotFoundError):
        for line in (_LISTS / "igmp").read_text().splitlines()[1:]:
            first = line.split()[0]
            if line.startswith("\t"):
                groups.add((int(first, 16).to_bytes(4, sys.byteorder), ifindex))
            else:
                ifindex = int(first)
    with suppress(FileNotFoundError):
        for line in (_LISTS / "igmp6").read_text().splitlines():
            number, _, group, *_ = line.split()
            groups.add((bytes.fromhex(group), int(number)))
    return groups


class GroupSocket(SocketOwner):
    """An unbound UDP socket: it receives nothing. Its joins live as long as any copy of it.

    It takes net.ipv4.igmp_max_memberships groups (20) and igmp_max_msf sources of each (10); IPv6
    counts bytes (net.core.optmem_max), and mld_max_msf sources (64). A group must not be joined
    from any source and from one on the same socket and device: the kernel would make the first a
    join of that source alone, and say nothing.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        self._abi = abi.ABIS[family]
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def join(self, group: bytes, ifindex: int, source: bytes) -> None:
        """Join a group on a device; a source of zeros is any source.

        ENOBUFS, ENOMEM: this socket takes no more. ENODEV: no such device, or it has no IPv6.
        EADDRINUSE, EADDRNOTAVAIL: joined already. A source that was refused may leave the group
        joined, from no source: see `leave_group`.
        """
        if any(source):
            request = self._abi.group_source(group, ifindex, source)
            self._set(abi.MCAST_JOIN_SOURCE_GROUP, request)
        else:
            self._set(abi.MCAST_JOIN_GROUP, self._abi.group(group, ifindex))

    def leave(self, group: bytes, ifindex: int, source: bytes) -> None:
        """Leave what was joined. No error where the device has gone, which took the join with it.

        The socket would count it all the same, and mistake the next device of this ifindex for it.
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
        """Leave a group with all of its sources. No error where it is not joined."""
        try:
            self._set(abi.MCAST_LEAVE_GROUP, self._abi.group(group, ifindex))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise

    def give_up(self) -> None:
        """Leave all that was joined: a kernel that refuses to leave a group still closes sockets.

        Whoever keeps a copy of the socket has to close that, too.
        """
        self.close()

    def _set(self, option: int, argument: bytes) -> None:
        self._sock.setsockopt(self._abi.level, option, argument)
