"""What more the kernel tells of one interface: its bridge, or that it is one; its MTU.

Only OSError is raised here. Source: rtnetlink(7), linux/if_link.h.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from mfc_dbus.kernel.netlink import NLM_F_REQUEST_ACK, UINT32, ask, attributes

_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 4, 10, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND = 1, 2, 4
_IFLA_BR_MCAST_SNOOPING = 23
_IFINFOMSG = struct.Struct("=BxHiLL")  # family, type, index, flags, change


class Details(NamedTuple):
    """An interface. bridge: the ifindex of the bridge that it is a port of, or 0. snoops: whether
    it is a bridge that snoops on IGMP and MLD.
    """

    mtu: int = 0
    bridge: int = 0
    snoops: bool = False


def details(ifindex: int) -> Details:
    """Read about an interface. ENODEV: there is none."""
    found = Details()
    request = _IFINFOMSG.pack(0, 0, ifindex, 0, 0)
    for data, message in ask(_RTM_GETLINK, NLM_F_REQUEST_ACK, request):
        if message.type == _RTM_NEWLINK:
            start = message.start + _IFINFOMSG.size
            found = _details(dict(attributes(data, start, message.end)))
    return found


def _details(told: Mapping[int, bytes]) -> Details:
    (mtu,) = UINT32.unpack(told.get(_IFLA_MTU, bytes(4)))
    (master,) = UINT32.unpack(told.get(_IFLA_MASTER, bytes(4)))
    kind = _nested(told.get(_IFLA_LINKINFO, b""))
    snoops = False
    if _text(kind.get(_IFLA_INFO_KIND)) == "bridge":
        settings = _nested(kind.get(_IFLA_INFO_DATA, b""))
        snoops = any(settings.get(_IFLA_BR_MCAST_SNOOPING, b""))
    is_port = _text(kind.get(_IFLA_INFO_SLAVE_KIND)) == "bridge"
    return Details(mtu, master if is_port else 0, snoops)


def _nested(value: bytes) -> Mapping[int, bytes]:
    return dict(attributes(value, 0, len(value)))


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")
