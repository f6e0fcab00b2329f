"""The multicast ABI of linux/mroute.h, linux/mroute6.h and linux/in.h, by cffi in ABI mode.

Constants and structs keep their kernel names. What differs between IPv4 and IPv6 is data here
(`IPV4`, `IPV6`), so that mroute.py is written once.
"""

import functools
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from cffi import FFI

MRT_INIT = 200
MRT_DONE = 201
MRT_ADD_VIF = 202
MRT_DEL_VIF = 203
MRT_ADD_MFC = 204
MRT_DEL_MFC = 205
MRT_ASSERT = 207
MRT_PIM = 208
MRT_TABLE = 209
MRT_ADD_MFC_PROXY = 210
MRT_DEL_MFC_PROXY = 211
MRT_FLUSH = 212
SIOCGETVIFCNT = 0x89E0  # SIOCGETMIFCNT_IN6
SIOCGETSGCNT = 0x89E1  # SIOCGETSGCNT_IN6
MAXVIFS = 32  # MAXMIFS
VIFF_USE_IFINDEX = 8
MCAST_JOIN_GROUP = 42
MCAST_LEAVE_GROUP = 45
MCAST_JOIN_SOURCE_GROUP = 46
MCAST_LEAVE_SOURCE_GROUP = 47
IGMPMSG_NOCACHE = 1  # MRT6MSG_NOCACHE
IGMPMSG_WRONGVIF = 2  # MRT6MSG_WRONGMIF

TTLs = tuple[tuple[int, int], ...]  # a pair for each VIF: its number, and its TTL threshold

_ICMP6_FILTER = 1
_ICMP6_FILTER_BLOCK_ALL = b"\xff" * 32

# struct igmpmsg: im_msgtype, im_mbz, im_vif, im_vif_hi, im_src, im_dst. The 8 bytes before these
# are still those of the packet's IP header, which begins with its version.
_IGMPMSG = struct.Struct("@B7xBBBB4s4s")
# struct mrt6msg: im6_mbz, im6_msgtype, im6_mif, im6_src, im6_dst
_MRT6MSG = struct.Struct("@BBH4x16s16s")
# struct sioc_sg_req and sioc_sg_req6, after the addresses: pktcnt, bytecnt, wrong_if
SG_COUNTERS = struct.Struct("@LLL")
# struct sockaddr_in6: sin6_family, sin6_addr
_SOCKADDR_IN6 = struct.Struct("@H6x16s4x")

STRUCTS = """
struct in_addr { uint32_t s_addr; };
struct in6_addr { uint8_t s6_addr[16]; };
struct sockaddr_in6 {
    uint16_t sin6_family;
    uint16_t sin6_port;
    uint32_t sin6_flowinfo;
    struct in6_addr sin6_addr;
    uint32_t sin6_scope_id;
};

struct sockaddr_in {
    uint16_t sin_family;
    uint16_t sin_port;
    struct in_addr sin_addr;
    unsigned char __pad[8];
};
struct __kernel_sockaddr_storage {
    union {
        struct { uint16_t ss_family; char __data[126]; };
        void *__align;
    };
};
struct group_req {
    uint32_t gr_interface;
    struct __kernel_sockaddr_storage gr_group;
};
struct group_source_req {
    uint32_t gsr_interface;
    struct __kernel_sockaddr_storage gsr_group;
    struct __kernel_sockaddr_storage gsr_source;
};

struct vifctl {
    unsigned short vifc_vifi;
    unsigned char vifc_flags;
    unsigned char vifc_threshold;
    unsigned int vifc_rate_limit;
    union { struct in_addr vifc_lcl_addr; int vifc_lcl_ifindex; };
    struct in_addr vifc_rmt_addr;
};
struct mfcctl {
    struct in_addr mfcc_origin;
    struct in_addr mfcc_mcastgrp;
    unsigned short mfcc_parent;
    unsigned char mfcc_ttls[32];
    unsigned int mfcc_pkt_cnt;
    unsigned int mfcc_byte_cnt;
    unsigned int mfcc_wrong_if;
    int mfcc_expire;
};
struct sioc_sg_req {
    struct in_addr src;
    struct in_addr grp;
    unsigned long pktcnt;
    unsigned long bytecnt;
    unsigned long wrong_if;
};
struct sioc_vif_req {
    unsigned short vifi;
    unsigned long icount;
    unsigned long ocount;
    unsigned long ibytes;
    unsigned long obytes;
};

struct if_set { uint32_t ifs_bits[8]; };
struct mif6ctl {
    unsigned short mif6c_mifi;
    unsigned char mif6c_flags;
    unsigned char vifc_threshold;
    uint16_t mif6c_pifi;
    unsigned int vifc_rate_limit;
};
struct mf6cctl {
    struct sockaddr_in6 mf6cc_origin;
    struct sockaddr_in6 mf6cc_mcastgrp;
    unsigned short mf6cc_parent;
    struct if_set mf6cc_ifset;
};
struct sioc_sg_req6 {
    struct sockaddr_in6 src;
    struct sockaddr_in6 grp;
    unsigned long pktcnt;
    unsigned long bytecnt;
    unsigned long wrong_if;
};
struct sioc_mif_req6 {
    unsigned short mifi;
    unsigned long icount;
    unsigned long ocount;
    unsigned long ibytes;
    unsigned long obytes;
};
"""


@functools.cache
def ffi() -> Any:
    """Return cffi with the structs, which the first call parses: an import should cost nothing."""
    parsed = FFI()
    parsed.cdef(STRUCTS)
    return parsed


# These are cached since very many entries differ in their addresses alone.


@functools.lru_cache(maxsize=4096)
def _end_of_mfcctl(parent: int, ttls: TTLs) -> bytes:
    """Lay out what follows the addresses in a struct mfcctl."""
    ctl = ffi().new("struct mfcctl *")
    ctl.mfcc_parent = parent
    for vif, ttl in ttls:
        ctl.mfcc_ttls[vif] = ttl
    return bytes(ffi().buffer(ctl))[ffi().offsetof("struct mfcctl", "mfcc_parent") :]


@functools.lru_cache(maxsize=4096)
def _end_of_mf6cctl(parent: int, ttls: TTLs) -> bytes:
    """Lay out what follows the addresses in a struct mf6cctl."""
    ctl = ffi().new("struct mf6cctl *")
    ctl.mf6cc_parent = parent
    for vif, _ in ttls:
        if vif >= MAXVIFS:  # the kernel's set has room for more than the kernel uses
            raise IndexError(vif)
        ctl.mf6cc_ifset.ifs_bits[vif // 32] |= 1 << vif % 32
    return bytes(ffi().buffer(ctl))[ffi().offsetof("struct mf6cctl", "mf6cc_parent") :]


class Upcall(NamedTuple):
    """The kernel's question about a packet that arrived on a VIF; the addresses are packed.

    type: IGMPMSG_NOCACHE: the stream has no entry, and up to 4 of its packets wait for one; or
        IGMPMSG_WRONGVIF: its entry is for another VIF. The kernel asks this at most once in 3 s.
    has_packet: whether a packet arrived at all. Anybody may ask by netlink for the route of a
        stream; in IPv4 the kernel then asks about a packet that it makes up (ipmr_get_route).
    """

    type: int
    vif: int
    source: bytes
    group: bytes
    has_packet: bool = True


@dataclass(frozen=True, slots=True)
class FamilyABI:
    """The socket numbers of one address family, and the layout of its structs."""

    family: socket.AddressFamily
    protocol: int
    level: int
    vif_req: str

    def prepare(self, sock: socket.socket) -> None:
        """Have the socket receive upcalls alone, where the family has an option for that."""

    def vif(self, vif: int, ifindex: int) -> bytes:
        """Lay out the argument of MRT_ADD_VIF."""
        raise NotImplementedError

    def vif_number(self, vif: int) -> bytes:
        """Lay out the argument of MRT_DEL_VIF."""
        raise NotImplementedError

    def stream(self, source: bytes, group: bytes) -> bytes:
        """Lay out the two packed addresses that the structs of entries and counters begin with."""
        raise NotImplementedError

    def mfc(self, source: bytes, group: bytes, parent: int, ttls: TTLs) -> bytes:
        """Lay out the argument of the MFC options.

        Raises IndexError, OverflowError for a VIF or TTL threshold that the struct has no room for.
        """
        raise NotImplementedError

    def upcall(self, message: bytes) -> Upcall | None:
        """Parse a message that the socket received. Return None for an ordinary packet."""
        raise NotImplementedError

    def set_address(self, field: Any, packed: bytes) -> None:
        """Write a packed address, network byte order, into an address field."""
        raise NotImplementedError

    def set_sockaddr(self, storage: Any, packed: bytes) -> None:
        """Write a packed address into a struct __kernel_sockaddr_storage."""
        raise NotImplementedError

    def group(self, group: bytes, ifindex: int) -> bytes:
        """Lay out the argument of MCAST_JOIN_GROUP and MCAST_LEAVE_GROUP."""
        req = ffi().new("struct group_req *")
        req.gr_interface = ifindex
        self.set_sockaddr(req.gr_group, group)
        return bytes(ffi().buffer(req))

    def group_source(self, group: bytes, ifindex: int, source: bytes) -> bytes:
        """Lay out the argument of MCAST_JOIN_SOURCE_GROUP and MCAST_LEAVE_SOURCE_GROUP."""
        req = ffi().new("struct group_source_req *")
        req.gsr_interface = ifindex
        self.set_sockaddr(req.gsr_group, group)
        self.set_sockaddr(req.gsr_source, source)
        return bytes(ffi().buffer(req))


class _IPv4ABI(FamilyABI):
    __slots__ = ()

    def vif(self, vif: int, ifindex: int) -> bytes:
        ctl = ffi().new("struct vifctl *")
        ctl.vifc_vifi = vif
        ctl.vifc_flags = VIFF_USE_IFINDEX
        ctl.vifc_threshold = 1
        ctl.vifc_lcl_ifindex = ifindex
        return bytes(ffi().buffer(ctl))

    def vif_number(self, vif: int) -> bytes:
        ctl = ffi().new("struct vifctl *")
        ctl.vifc_vifi = vif
        return bytes(ffi().buffer(ctl))

    def stream(self, source: bytes, group: bytes) -> bytes:
        return source + group

    def mfc(self, source: bytes, group: bytes, parent: int, ttls: TTLs) -> bytes:
        return source + group + _end_of_mfcctl(parent, ttls)

    def upcall(self, message: bytes) -> Upcall | None:
        if len(message) < _IGMPMSG.size:
            return None
        start, type_, mbz, low, high, source, group = _IGMPMSG.unpack_from(message)
        if mbz:  # an ordinary packet has the number of its protocol there, which is IGMP
            return None
        # The packet that the kernel makes up has version 0.
        return Upcall(type_, high << 8 | low, source, group, has_packet=start >> 4 != 0)

    def set_address(self, field: Any, packed: bytes) -> None:
        field.s_addr = int.from_bytes(packed, sys.byteorder)

    def set_sockaddr(self, storage: Any, packed: bytes) -> None:
        address = ffi().cast("struct sockaddr_in *", ffi().addressof(storage))
        address.sin_family = socket.AF_INET
        self.set_address(address.sin_addr, packed)


class _IPv6ABI(FamilyABI):
    __slots__ = ()

    def prepare(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ICMP6_FILTER_BLOCK_ALL)

    def vif(self, vif: int, ifindex: int) -> bytes:
        ctl = ffi().new("struct mif6ctl *")
        ctl.mif6c_mifi = vif
        ctl.vifc_threshold = 1
        ctl.mif6c_pifi = ifindex
        return bytes(ffi().buffer(ctl))

    def vif_number(self, vif: int) -> bytes:
        return bytes(ffi().buffer(ffi().new("unsigned short *", vif)))

    def stream(self, source: bytes, group: bytes) -> bytes:
        family = socket.AF_INET6
        return _SOCKADDR_IN6.pack(family, source) + _SOCKADDR_IN6.pack(family, group)

    def mfc(self, source: bytes, group: bytes, parent: int, ttls: TTLs) -> bytes:
        return self.stream(source, group) + _end_of_mf6cctl(parent, ttls)

    def upcall(self, message: bytes) -> Upcall | None:
        if len(message) < _MRT6MSG.size:
            return None
        mbz, type_, mif, source, group = _MRT6MSG.unpack_from(message)
        # An ordinary packet begins with its ICMPv6 type.
        return None if mbz else Upcall(type_, mif, source, group)

    def set_address(self, field: Any, packed: bytes) -> None:
        field.sin6_family = socket.AF_INET6
        ffi().memmove(field.sin6_addr.s6_addr, packed, 16)

    def set_sockaddr(self, storage: Any, packed: bytes) -> None:
        self.set_address(ffi().cast("struct sockaddr_in6 *", ffi().addressof(storage)), packed)


IPV4 = _IPv4ABI(
    family=socket.AF_INET,
    protocol=socket.IPPROTO_IGMP,
    level=socket.IPPROTO_IP,
    vif_req="struct sioc_vif_req *",
)
IPV6 = _IPv6ABI(
    family=socket.AF_INET6,
    protocol=socket.IPPROTO_ICMPV6,
    level=socket.IPPROTO_IPV6,
    vif_req="struct sioc_mif_req6 *",
)
ABIS = {each.family: each for each in (IPV4, IPV6)}
