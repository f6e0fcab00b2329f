"""Asks the kernel's unicast routing which way an address lies. Source: rtnetlink(7)."""

import socket
import struct

from mfc_dbus.kernel.netlink import NLM_F_REQUEST_ACK, UINT32, ask, attribute, attributes

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_RTA_DST, _RTA_OIF = 1, 4
_RTN_LOCAL = 2
_RTMSG = struct.Struct("=BBBBBBBBL")
LOCAL = -1


def way_to(family: socket.AddressFamily, address: bytes) -> int:
    """Return the ifindex of the interface that leads to a packed address, LOCAL where it is this
    machine's own. Raises OSError, ENETUNREACH and EHOSTUNREACH where there is no way.
    """
    header = _RTMSG.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    for data, message in ask(
        _RTM_GETROUTE, NLM_F_REQUEST_ACK, header + attribute(_RTA_DST, address)
    ):
        if message.type == _RTM_NEWROUTE:
            *_, kind, _ = _RTMSG.unpack_from(data, message.start)
            if kind == _RTN_LOCAL:
                return LOCAL
            start = message.start + _RTMSG.size
            for type_, value in attributes(data, start, message.end):
                if type_ == _RTA_OIF:
                    (ifindex,) = UINT32.unpack(value)
                    return int(ifindex)
    return 0
