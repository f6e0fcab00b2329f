"""One multicast routing table of one address family: its VIFs, MFC entries and counters.

Only OSError is raised here. Who owns which VIF, and in what order things have to happen, is
decided above. Facts: net/ipv4/ipmr.c, net/ipv6/ip6mr.c, linux/mroute.h.
"""

import errno
import fcntl
import socket
import struct
from contextlib import suppress
from typing import Any, NamedTuple

from mfc_dbus.kernel import abi, router_discovery
from mfc_dbus.kernel.abi import Upcall
from mfc_dbus.kernel.socket_owner import SocketOwner

_MESSAGE = 64  # bytes: an upcall is shorter
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 * 1024 * 1024  # some 10,000 upcalls; one without room is lost with its packet


class MFCEntry(NamedTuple):
    """An entry of the multicast forwarding cache.

    source, group: packed addresses in network byte order; a source of zeros is any source.
    parent: the VIF on which the stream has to arrive.
    ttls: a pair for each VIF that it leaves by, the VIF's number and its TTL threshold, 1 to 254:
        a packet leaves where its TTL is greater. IPv6 has no thresholds: they are ignored.
    """

    source: bytes
    group: bytes
    parent: int
    ttls: tuple[tuple[int, int], ...]

    @property
    def any_source(self) -> bool:
        return not any(self.source)


class SGCount(NamedTuple):
    """Counters of an MFC entry; `wrong_if` are packets that came in by another VIF."""

    packets: int
    bytes: int
    wrong_if: int


class VIFCount(NamedTuple):
    """Counters of a VIF, of multicast that was forwarded from it (in) and to it (out)."""

    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


class MRoute(SocketOwner):
    """The socket that owns a routing table. The kernel forgets all of it when the socket closes."""

    def __init__(
        self, family: socket.AddressFamily, table: int = 0, *, kept: int | None = None
    ) -> None:
        """Open the socket; needs CAP_NET_RAW, and CAP_NET_ADMIN for a table other than 0.

        kept: the file descriptor of a socket that owns the table already.
        """
        self.family = family
        self.table = table
        self._abi = abi.ABIS[family]
        abi.ffi()  # parse the structs now, so that the first route does not wait for it
        if kept is not None:
            self._sock = socket.socket(fileno=kept)
            with suppress(PermissionError):  # set already, unless an old version opened the socket
                router_discovery.prepare(self._sock)
            return
        self._sock = socket.socket(
            family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self._abi.protocol
        )
        try:
            with suppress(PermissionError):  # without CAP_NET_ADMIN the buffer keeps its usual size
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._abi.prepare(self._sock)
            router_discovery.prepare(self._sock)
            if table:
                self._set(abi.MRT_TABLE, struct.pack("@I", table))
        except OSError:
            self._sock.close()
            raise

    def init(self) -> None:
        """Become the table's owner; needs no capability. EADDRINUSE: another process owns it."""
        self._set(abi.MRT_INIT, struct.pack("@i", 1))

    def owns(self) -> bool:
        """Return whether this socket owns the table; with CAP_NET_ADMIN always True, unchecked."""
        try:
            self._set(abi.MRT_FLUSH, struct.pack("@i", 0))
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
            return False
        return True

    def done(self) -> None:
        """Give the table up: the kernel deletes its VIFs and entries."""
        self._set(abi.MRT_DONE, struct.pack("@i", 1))

    def add_vif(self, vif: int, ifindex: int) -> None:
        """Make a device the VIF with this number, 0 to 31.

        EADDRNOTAVAIL: no such device, ENFILE: number above 31, EADDRINUSE: number taken,
        EOVERFLOW: the kernel's struct for IPv6 has 16 bits for the ifindex.
        """
        try:
            argument = self._abi.vif(vif, ifindex)
        except OverflowError as error:
            raise OSError(errno.EOVERFLOW, f"ifindex {ifindex} is too large") from error
        self._set(abi.MRT_ADD_VIF, argument)

    def del_vif(self, vif: int) -> None:
        """Remove a VIF. No error where its device has gone, which took the VIF with it.

        Entries that name the number stay, and would use the next VIF of this number: rewrite or
        delete them first.
        """
        if not self.has_vif(vif):
            return  # what is set waits until the kernel has done with a device that goes
        try:
            self._set(abi.MRT_DEL_VIF, self._abi.vif_number(vif))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise

    def add_mfc(self, entry: MFCEntry) -> None:
        """Add an entry, or rewrite that of the same key; its counters go on.

        Only a packet that is forwarded in the nanoseconds of a rewrite may be lost: the kernel
        clears the thresholds before it writes them (ipmr_update_thresholds).

        The key is source and group, for any source also the parent. EINVAL: not a multicast group,
        a VIF above 31 in `ttls`, an IPv4 threshold above 255. ENFILE: a parent above 31.
        """
        self._mfc(abi.MRT_ADD_MFC, abi.MRT_ADD_MFC_PROXY, entry)

    def del_mfc(self, entry: MFCEntry) -> None:
        """Delete the entry that has the key of this one. ENOENT: there is none."""
        self._mfc(abi.MRT_DEL_MFC, abi.MRT_DEL_MFC_PROXY, entry)

    def sg_count(self, source: bytes, group: bytes) -> SGCount:
        """Read an entry's counters. EADDRNOTAVAIL: there is none.

        Of several any-source entries for one group the kernel picks one.
        """
        stream = self._abi.stream(source, group)
        request = stream + bytes(abi.SG_COUNTERS.size)
        counters = fcntl.ioctl(self._sock, abi.SIOCGETSGCNT, request)
        return SGCount(*abi.SG_COUNTERS.unpack_from(counters, len(stream)))

    def has_vif(self, vif: int) -> bool:
        """Return whether there is a VIF with this number; a device that goes takes its VIF."""
        try:
            self.vif_count(vif)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL):
                raise
            return False
        return True

    def ask_for_wrong_vif(self) -> None:
        """Ask for upcalls about streams that arrive on another VIF than their entry's parent."""
        one = struct.pack("@i", 1)
        try:
            self._set(abi.MRT_PIM, one)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            # A kernel without PIM makes such upcalls only where that VIF is an oif of the entry.
            self._set(abi.MRT_ASSERT, one)

    def upcalls(self, most: int) -> list[Upcall]:
        """Read so many waiting messages at most, and return the upcalls among them."""
        found = []
        for _ in range(most):
            try:
                message = self._sock.recv(_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            upcall = self._abi.upcall(message)
            if upcall is not None:
                found.append(upcall)
        return found

    def advertise(self, ifindex: int, interval: int) -> None:
        """Tell the switches on a device's link that a router is there: see router_discovery.py."""
        router_discovery.advertise(self._sock, ifindex, interval)

    def terminate(self, ifindex: int) -> None:
        """Tell the switches on a device's link that the router has gone."""
        router_discovery.terminate(self._sock, ifindex)

    def vif_count(self, vif: int) -> VIFCount:
        """Read a VIF's counters. EADDRNOTAVAIL, or above the highest VIF EINVAL: there is none."""
        request = abi.ffi().new(self._abi.vif_req)
        if vif >= abi.MAXVIFS:
            raise OSError(errno.EINVAL, "no such VIF")
        abi.ffi().buffer(request)[0:2] = struct.pack("@H", vif)  # vifi and mifi come first
        self._get(abi.SIOCGETVIFCNT, request)
        return VIFCount(request.icount, request.ocount, request.ibytes, request.obytes)

    def _mfc(self, option: int, any_source_option: int, entry: MFCEntry) -> None:
        source, group, parent, ttls = entry
        if not any(source):
            option = any_source_option
            # The kernel finds an any-source entry by the arrival VIF among its ttls: without that
            # VIF the entry would never match. It does not forward back there all the same.
            ttls = (*ttls, (parent, 1))
        try:
            argument = self._abi.mfc(source, group, parent, ttls)
        except (IndexError, OverflowError) as error:
            raise OSError(errno.EINVAL, "a VIF or TTL threshold is out of range") from error
        self._set(option, argument)

    def _set(self, option: int, argument: bytes) -> None:
        self._sock.setsockopt(self._abi.level, option, argument)

    def _get(self, request: int, argument: Any) -> None:
        fcntl.ioctl(self._sock, request, abi.ffi().buffer(argument))
